//! The service for schedules without jobs.

use crate::rpc::status;
use tonic::{Request, Response, Status};

use super::{
    convert::{self, optional_whole, step},
    door::Door,
    fields::{self, checked},
};
use lrs_engine::CurveSteps;
use lrs_model::{MAX_STEP, violation::Violations};
use lrs_proto::{PreviewScheduleRequest, PreviewScheduleResponse, schedule_service_server::ScheduleService};
use lrs_runtime::heavy::in_place;

const MAX_STEPS: usize = 100_000;
const DEFAULT_END_STEP: u64 = 1000;

/// [`ScheduleService`] in front of the engine.
#[derive(Clone)]
pub struct Schedules {
    door: Door,
}

impl Schedules {
    pub(super) fn new(door: Door) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl ScheduleService for Schedules {
    async fn preview_schedule(
        &self,
        request: Request<PreviewScheduleRequest>,
    ) -> Result<Response<PreviewScheduleResponse>, Status> {
        // A curve may take milliseconds, so it is computed on a thread where no other task waits.
        let _turn = self.door.turn().await?;
        let mut request = request.into_inner();
        let engine = self.door.engine()?;
        let mut violations = Violations::new();
        let spec = fields::spec(&mut violations, &engine, "spec", request.spec.take());
        let steps = curve_steps(&mut violations, &request);
        let spec = checked(violations, spec).map_err(status::of)?;
        let curve = in_place(|| engine.preview(&spec, steps).map(|curve| convert::directive::curve_to_proto(&curve)))
            .map_err(status::of)?;
        Ok(Response::new(curve))
    }
}

fn curve_steps(v: &mut Violations, request: &PreviewScheduleRequest) -> CurveSteps {
    let every = optional_whole(v, "every", request.every, 1, MAX_STEP);
    let end = optional_whole(v, "end_step", request.end_step, 1, MAX_STEP).unwrap_or(DEFAULT_END_STEP);
    let length = request.steps.len();
    if length == 0 {
        return CurveSteps::Every { every, end };
    }
    if length > MAX_STEPS {
        v.refuse("steps", format_args!("{length} steps"), format_args!("at most {MAX_STEPS}"));
        return CurveSteps::At(Vec::new());
    }
    let read = |(i, &wire): (usize, &i64)| step(v, format_args!("steps[{i}]"), wire);
    let mut steps: Vec<u64> = request.steps.iter().enumerate().map(read).collect();
    steps.sort_unstable();
    steps.dedup();
    CurveSteps::At(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(request: &PreviewScheduleRequest) -> (CurveSteps, Vec<String>) {
        let mut violations = Violations::new();
        let steps = curve_steps(&mut violations, request);
        (steps, violations.iter().map(|violation| violation.field.clone()).collect())
    }

    #[test]
    fn steps_are_put_in_order() {
        let request = PreviewScheduleRequest { steps: vec![5, 0, 5, 2], ..Default::default() };
        assert_eq!(read(&request), (CurveSteps::At(vec![0, 2, 5]), vec![]));
    }

    #[test]
    fn without_steps_the_curve_is_sampled_up_to_an_end() {
        let request = PreviewScheduleRequest::default();
        assert_eq!(read(&request).0, CurveSteps::Every { every: None, end: 1000 });
        let request =
            PreviewScheduleRequest { every: Some(5), end_step: Some(convert::int64(MAX_STEP)), ..Default::default() };
        assert_eq!(read(&request).0, CurveSteps::Every { every: Some(5), end: MAX_STEP });
    }

    #[test]
    fn wrong_steps_are_named() {
        let request =
            PreviewScheduleRequest { steps: vec![0, -1], every: Some(0), end_step: Some(0), ..Default::default() };
        assert_eq!(read(&request).1, ["every", "end_step", "steps[1]"]);
        let request = PreviewScheduleRequest { steps: vec![1; MAX_STEPS + 1], ..Default::default() };
        assert_eq!(read(&request).1, ["steps"]);
    }
}
