//! What a job's page shows beside its telemetry: the job's health, its plateaus, and its rates, past and planned.

use axum::{
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Problem, Shared, fleet::word, params::Params};
use lrs_engine::Directive;
use lrs_model::{name::JobName, spec::Group};
use lrs_runtime::heavy::in_place;

/// The maximum number of points of a curve of rates.
const POINTS_AT_MOST: u64 = 4000;
/// The most rates, of all groups, that are worked out for an answer.
const RATES_AT_MOST: u64 = 262_144;
/// The most groups in an answer: more curves are no longer told apart.
const GROUPS_AT_MOST: usize = 64;

/// An answer with at least so many rates takes turns with others that are large.
const MANY_RATES: usize = 8192;

/// The answer.
#[derive(Serialize)]
struct Shown {
    health: &'static str,
    health_reason: String,
    plateaus: Vec<Value>,
    on_plan: Vec<Value>,
    step: Vec<u64>,
    groups: Vec<Rates>,
}

/// The rates of a parameter group at the steps.
#[derive(Serialize)]
struct Rates {
    group: String,
    learning_rate: Vec<Option<f64>>,
}

/// The parameters: the attempt whose plateaus are wanted, of which 0 is the newest; the first step of the rates; the
/// first step not wanted; the maximum number of points.
const PARAMETERS: [&str; 4] = ["attempt", "start_step", "end_step", "points"];

pub(super) async fn get(
    State(shared): State<Shared>,
    Path((namespace, job)): Path<(String, String)>,
    params: Params,
) -> Result<Response, Problem> {
    let [attempt, start_step, end_step, points] = params.whole_numbers(PARAMETERS)?;
    let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
    let name = JobName::new(&namespace, &job).map_err(|problem| super::body::invalid("path", problem))?;
    let engine = shared.door.engine()?;
    let view = engine.job(&name).await?;
    let glance = engine.glance(&view).await?;
    let attempt = Some(attempt).filter(|attempt| *attempt > 0);
    let outlook = engine.outlook(&name, attempt).await?;
    let spec = &view.row.spec;
    let points = points.min(POINTS_AT_MOST).min(RATES_AT_MOST / (spec.groups.len() as u64).max(1));
    let steps = spread(start_step, end_step, points);
    let is_large = steps.len().saturating_mul(spec.groups.len()) >= MANY_RATES;
    let _turn = if is_large { Some(shared.door.turn().await?) } else { None };
    let directives = engine.rates(&name, &steps).await?;
    Ok(in_place(|| {
        let group = |(index, group): (usize, &Group)| {
            // A group that was added later has no rate before that.
            let rate = |told: &Directive| told.rates.get(index).map(|rate| rate.learning_rate);
            Rates { group: group.name.clone(), learning_rate: directives.iter().map(rate).collect() }
        };
        axum::Json(Shown {
            health: word(glance.health.state),
            health_reason: glance.health.reason,
            plateaus: outlook
                .plateaus
                .iter()
                .map(|flat| json!({"from": flat.steps.start(), "to": flat.steps.end(), "reason": flat.reason}))
                .collect(),
            on_plan: outlook.off_told.iter().map(|steps| json!({"from": steps.start(), "to": steps.end()})).collect(),
            groups: spec.groups.iter().take(GROUPS_AT_MOST).enumerate().map(group).collect(),
            step: if directives.is_empty() { Vec::new() } else { steps },
        })
        .into_response()
    }))
}

/// At most `points` steps, spread evenly from the first to the last.
fn spread(start: u64, end: u64, points: u64) -> Vec<u64> {
    let steps = end.saturating_sub(start);
    if points == 0 || steps == 0 {
        return Vec::new();
    }
    let stride = steps.div_ceil(points).max(1);
    let mut spread: Vec<u64> = (start..end).step_by(usize::try_from(stride).unwrap_or(usize::MAX)).collect();
    if spread.last() != Some(&(end - 1)) {
        spread.push(end - 1);
    }
    spread
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn steps_are_spread_from_the_first_to_the_last() {
        assert_eq!(spread(0, 5, 10), [0, 1, 2, 3, 4]);
        assert_eq!(spread(10, 21, 4), [10, 13, 16, 19, 20]);
        assert_eq!(spread(5, 5, 4), [0; 0]);
        assert_eq!(spread(0, 9, 0), [0; 0]);
    }
}
