//! A job's history, read from its server.

use super::{History, decision};
use crate::cli::{connect::ConnectArgs, failure::Failure, heart, job, telemetry};
use lrs_model::{
    job::{AttemptRow, Timestamp},
    name::JobName,
};
use lrs_proto::{Attempt, GetJobRequest, QueryTelemetryRequest};

/// Records a page.
const PAGE_SIZE: i32 = 10_000;

/// The history of `attempt` of `name`, or of its newest.
pub(super) async fn read(connect: &ConnectArgs, name: &JobName, attempt: Option<u32>) -> Result<History, Failure> {
    let server = connect.connect().await?;
    let request = GetJobRequest { name: name.to_string() };
    let job = server.call(async |mut service| service.get_job(request.clone()).await).await?;
    let attempts = job::attempts::read(&server, name.as_str()).await?.iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let newest = attempts.last().map(|attempt| attempt.attempt);
    let Some(attempt) = attempt.or(newest).filter(|&wanted| Some(wanted) <= newest) else {
        return Err(Failure::invalid(match newest {
            None => format!("{name} has no attempt yet: there is nothing to replay"),
            Some(newest) => format!("{name} has no such attempt: the newest is {newest}"),
        }));
    };
    let request = QueryTelemetryRequest {
        job: name.to_string(),
        attempt: attempt.into(),
        page_size: PAGE_SIZE,
        ..Default::default()
    };
    let answer = telemetry::query(&server, &request).await?;
    // Read after the telemetry: a decision is stored after its records, so the decisions of every record read are
    // stored by now.
    let decisions = job::decisions::read(&server, name.as_str(), None).await?.into_iter().map(decision::from_proto);
    let refused = |violations| Failure::violated(format!("the spec of {name} is not valid:"), &violations);
    let initial_spec = job.initial_spec.ok_or_else(|| {
        Failure::invalid("the server does not send the spec that the job was registered with")
            .with_hint("it is of an older release; compare `lrs version`")
    })?;
    Ok(History {
        title: name.to_string(),
        initial_spec: heart::spec(initial_spec).map_err(refused)?,
        attempts,
        attempt,
        records: telemetry::samples(&answer)?,
        decisions: Some(decisions.collect::<Result<_, _>>()?),
    })
}

/// An attempt as a value. The message does not say how far steps are reserved, which a replay does not need.
pub(in crate::cli) fn row(attempt: &Attempt) -> Result<AttemptRow, Failure> {
    let wrong = |_| Failure::invalid(format!("attempt {} is out of range", attempt.attempt));
    Ok(AttemptRow {
        attempt: u32::try_from(attempt.attempt).map_err(wrong)?,
        token: attempt.attempt_token.clone(),
        resume_step: u64::try_from(attempt.resume_step).map_err(wrong)?,
        parent_attempt: u32::try_from(attempt.parent_attempt).map_err(wrong)?,
        reserved_end: 0,
        reporting_ranks: attempt.reporting_ranks.map(u32::try_from).transpose().map_err(wrong)?,
        create_time: Timestamp(0),
    })
}
