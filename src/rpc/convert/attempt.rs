//! Attempts.

use super::{int64, time};
use lrs_engine::AttemptInfo;
use lrs_model::job::AttemptRow;
use lrs_proto as proto;

/// An attempt as people see it.
#[must_use]
pub fn to_proto(row: &AttemptRow) -> proto::Attempt {
    proto::Attempt {
        attempt: row.attempt.into(),
        attempt_token: row.token.clone(),
        resume_step: int64(row.resume_step),
        parent_attempt: row.parent_attempt.into(),
        create_time: Some(time::to_proto(row.create_time)),
        reporting_ranks: row.reporting_ranks.and_then(|ranks| i32::try_from(ranks).ok()),
    }
}

/// An attempt as its trainer sees it.
#[must_use]
pub fn to_start_response(info: &AttemptInfo) -> proto::StartAttemptResponse {
    proto::StartAttemptResponse {
        attempt: info.row.attempt.into(),
        resume_step: int64(info.row.resume_step),
        decision_lag: int64(info.spec.decision_lag),
        reporting_ranks: i32::try_from(info.reporting_ranks).unwrap_or(i32::MAX),
        needs_telemetry: info.needs_telemetry,
        groups: info.spec.groups.iter().map(|group| group.name.clone()).collect(),
        total_steps: info.spec.total_steps.map(int64),
        tier: info.spec.tier.number().into(),
    }
}
