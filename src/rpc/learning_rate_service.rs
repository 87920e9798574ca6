//! The service for trainers.

use crate::{rpc::status, trace};
use std::{pin::Pin, time::Duration};

use futures::Stream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    convert::{self, at_most_chars, step, whole},
    door::Door,
    fields::{self, checked},
    telemetry_stream,
};
use lrs_engine::{Error, GroupRate, RateCall};
use lrs_model::violation::Violations;
use lrs_proto::{
    GetLearningRateRequest, GetLearningRateResponse, StartAttemptRequest, StartAttemptResponse, StreamTelemetryRequest,
    StreamTelemetryResponse, learning_rate_service_server::LearningRateService,
};
use lrs_runtime::{heavy::in_place, metrics};

const MAX_TOKEN_CHARS: usize = 200;
/// The most characters of a job's name in the log, whatever the caller sends.
const MAX_JOB_CHARS: usize = 300;
const MAX_PLAN_STEPS: u64 = 65_536;
/// The most rates, momenta and weight decays in a plan: 1 MiB of them, which every client reads.
const MAX_PLAN_NUMBERS: usize = 1 << 17;
/// The size of a plan of this many steps is computed first; a caller whose plan has this many rates takes turns with
/// others.
const LONG_PLAN_STEPS: usize = 1000;
const LARGE_PLAN_RATES: usize = 32_768;

/// [`LearningRateService`] in front of the engine.
#[derive(Clone)]
pub struct LearningRates {
    door: Door,
    stream_messages: usize,
}

impl LearningRates {
    pub(super) fn new(door: Door, stream_messages: usize) -> Self {
        Self { door, stream_messages }
    }
}

#[tonic::async_trait]
impl LearningRateService for LearningRates {
    async fn start_attempt(
        &self,
        request: Request<StartAttemptRequest>,
    ) -> Result<Response<StartAttemptResponse>, Status> {
        let StartAttemptRequest { job, attempt_token, resume_step, reporting_ranks } = request.into_inner();
        let mut violations = Violations::new();
        let job = fields::job_name(&mut violations, "job", &job);
        check_token(&mut violations, &attempt_token);
        let resume_step = step(&mut violations, "resume_step", resume_step);
        let ranks = reporting_ranks.map(|ranks| convert::spec::reporting_ranks(ranks, &mut violations));
        let job = checked(violations, job).map_err(status::of)?;
        let started = self.door.engine()?.start_attempt(&job, attempt_token, resume_step, ranks).await;
        let attempt = started.map_err(status::of)?;
        Ok(Response::new(convert::attempt::to_start_response(&attempt)))
    }

    /// The hot path: the name is not parsed, because an invalid name is simply not found.
    async fn get_learning_rate(
        &self,
        request: Request<GetLearningRateRequest>,
    ) -> Result<Response<GetLearningRateResponse>, Status> {
        let request = request.into_inner();
        let refused = |error| {
            trace::about(&convert::shortened(&request.job, MAX_JOB_CHARS));
            status::of(error)
        };
        let call = rate_call(&request).map_err(refused)?;
        let engine = self.door.engine()?;
        if call.plan_steps >= LONG_PLAN_STEPS {
            // The call waits for its step first, and then for its turn.
            let first = engine.directive(&request.job, RateCall { plan_steps: 0, ..call }).await.map_err(refused)?;
            let rates = &first.directive.rates;
            let plan_steps = call.plan_steps.min(MAX_PLAN_NUMBERS / numbers_of_a_step(rates));
            let is_large = plan_steps * rates.len() >= LARGE_PLAN_RATES;
            let _turn = if is_large { Some(self.door.turn().await?) } else { None };
            let plan = engine
                .directive(&request.job, RateCall { plan_steps, wait: Duration::ZERO, ..call })
                .await
                .map_err(refused)?;
            metrics::told(plan.is_final, 1);
            return Ok(Response::new(in_place(|| convert::directive::answer_to_proto(&plan))));
        }
        let answer = engine.directive(&request.job, call).await.map_err(refused)?;
        metrics::told(answer.is_final, 1);
        Ok(Response::new(convert::directive::answer_to_proto(&answer)))
    }

    type StreamTelemetryStream = Pin<Box<dyn Stream<Item = Result<StreamTelemetryResponse, Status>> + Send>>;

    async fn stream_telemetry(
        &self,
        request: Request<Streaming<StreamTelemetryRequest>>,
    ) -> Result<Response<Self::StreamTelemetryStream>, Status> {
        self.door.engine()?;
        let answers = telemetry_stream::answer(self.door.clone(), request.into_inner(), self.stream_messages);
        Ok(Response::new(Box::pin(answers)))
    }
}

/// The numbers of a call for a step.
fn rate_call(request: &GetLearningRateRequest) -> Result<RateCall, Error> {
    let mut v = Violations::new();
    let plan_steps = whole(&mut v, "plan_steps", request.plan_steps.into(), 0, MAX_PLAN_STEPS);
    let call = RateCall {
        attempt: step(&mut v, "attempt", request.attempt),
        step: step(&mut v, "step", request.step),
        plan_steps: usize::try_from(plan_steps).unwrap_or(usize::MAX),
        wait: fields::wait(&mut v, "wait", request.wait.as_ref()),
    };
    v.into_result(call).map_err(Error::Invalid)
}

/// How many numbers a plan has for each step of a job with these rates.
fn numbers_of_a_step(rates: &[GroupRate]) -> usize {
    let numbers =
        |rate: &GroupRate| 1 + usize::from(rate.momentum.is_some()) + usize::from(rate.weight_decay.is_some());
    rates.iter().map(numbers).sum::<usize>().max(1)
}

fn check_token(v: &mut Violations, token: &str) {
    if token.is_empty() {
        v.add("attempt_token", "is required: the same for all ranks of an attempt, and new for each restart");
    }
    at_most_chars(v, "attempt_token", token, MAX_TOKEN_CHARS);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(request: &GetLearningRateRequest) -> Vec<String> {
        match rate_call(request) {
            Err(Error::Invalid(violations)) => violations.iter().map(|violation| violation.field.clone()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_call_for_a_step_needs_only_the_step() {
        let call = rate_call(&GetLearningRateRequest { step: 7, ..Default::default() }).unwrap();
        assert_eq!(call, RateCall { attempt: 0, step: 7, plan_steps: 0, wait: Duration::ZERO });
    }

    #[test]
    fn everything_wrong_with_a_call_is_named_at_once() {
        let wait = Some(pbjson_types::Duration { seconds: 60, nanos: 1 });
        let request = GetLearningRateRequest { attempt: -1, step: -1, plan_steps: 65_537, wait, ..Default::default() };
        assert_eq!(wrong(&request), ["plan_steps", "attempt", "step", "wait"]);
        let wait = Some(pbjson_types::Duration { seconds: -1, nanos: 0 });
        assert_eq!(wrong(&GetLearningRateRequest { step: 1 << 53, wait, ..Default::default() }), ["step", "wait"]);
    }

    #[test]
    fn a_wait_may_be_a_minute() {
        let wait = Some(pbjson_types::Duration { seconds: 60, nanos: 0 });
        let call = rate_call(&GetLearningRateRequest { wait, ..Default::default() }).unwrap();
        assert_eq!(call.wait, Duration::from_mins(1));
    }

    #[test]
    fn a_token_has_1_to_200_characters() {
        let mut violations = Violations::new();
        check_token(&mut violations, &"ü".repeat(200));
        assert!(violations.is_empty());
        check_token(&mut violations, "");
        check_token(&mut violations, &"x".repeat(201));
        assert_eq!(violations.len(), 2);
    }
}
