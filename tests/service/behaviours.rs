//! The behaviour of the service: a real process over real sockets.

use std::time::Duration;

use crate::server::{self, Server, spec, spec_json};
use lrs_proto::{
    CompleteJobRequest, CreateJobRequest, DeleteJobRequest, FixedRates, ForkJobRequest, GetJobRequest, Job,
    ListAttemptsRequest, ListDecisionsRequest, ListJobsRequest, MetricSeries, OverrideCleared,
    OverrideLearningRateRequest, PauseJobRequest, PreviewScheduleRequest, QueryTelemetryRequest, RateOverride,
    ResumeJobRequest, StartAttemptRequest, StreamTelemetryRequest, UpdateJobRequest, WatchJobRequest, decision::Effect,
    directive::Source, job::State, override_learning_rate_request::Order, rate_override::Setting,
    watch_job_response::Event,
};
use tonic::Code;
use tonic_types::StatusExt as _;

const AT_ONCE: Duration = Duration::ZERO;

/// A job that halves the rate at every third observation in a row without an improvement.
fn plateau(base_lr: f64, rest: &str) -> lrs_proto::JobSpec {
    spec_json(&format!(
        r#"{{"groups": [{{"base_lr": {base_lr}}}],
            "controllers": [{{"reduce_lr_on_plateau": {{"factor": 0.5, "patience": 2}}}}] {rest}}}"#
    ))
}

fn factor(job: &str, factor: f64) -> OverrideLearningRateRequest {
    let set = RateOverride { setting: Some(Setting::Factor(factor)), end_step: None };
    OverrideLearningRateRequest {
        name: job.to_owned(),
        order: Some(Order::Set(set)),
        reason: "looks noisy".to_owned(),
        author: "ann".to_owned(),
        request_id: String::new(),
    }
}

fn violated(status: &tonic::Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let details = status.get_details_bad_request().expect("a BadRequest detail");
    details.field_violations.into_iter().map(|violation| violation.field).collect()
}

fn reason(status: &tonic::Status) -> String {
    status.get_details_error_info().expect("an ErrorInfo detail").reason
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_loop_job_has_final_rates_from_the_first_call() {
    let server = Server::sqlite().await;
    let schedule = r#"{"groups": [{"base_lr": 0.1}], "total_steps": 100, "schedule": {"linear": {}}}"#;
    let job = server.register("a", spec_json(schedule)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;

    let answer = server.ask(&job, attempt, 10, 200, AT_ONCE).await.unwrap();

    let directive = answer.directive.unwrap();
    assert!(directive.is_final);
    assert!((directive.rates[0].learning_rate - 0.09).abs() < 1e-12);
    let plan = answer.plan.unwrap();
    assert_eq!((plan.first_step, plan.groups[0].learning_rate.len()), (11, 200));
    assert_eq!(plan.final_steps, 1, "the next step, until the trainer's pace is known");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_far_ahead_makes_nothing_final() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;

    let far = server.ask(&job, 0, 500_000, 0, AT_ONCE).await.unwrap();
    assert!(!far.directive.unwrap().is_final);

    server.jobs().await.override_learning_rate(factor(&job, 0.5)).await.unwrap();
    assert_eq!(server.final_rate(&job, attempt, 0).await.to_bits(), 0.05f64.to_bits());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_is_all_a_trainer_needs() {
    let server = Server::sqlite().await;
    let job = server.register("a", plateau(1.0, "")).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;

    let mut used = Vec::new();
    for step in 0..12 {
        used.push(stream.directive(step).await.rates[0].learning_rate);
        stream.losses(step, &[1.0]).await;
    }
    stream.until_durable(11).await;

    // The first loss is the best. After it, every third observation in a row without an improvement cuts the rate.
    assert_eq!(used, [1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125]);
    let decisions = ListDecisionsRequest { job: job.clone(), ..Default::default() };
    let decisions = server.jobs().await.list_decisions(decisions).await.unwrap().into_inner().decisions;
    assert_eq!(decisions.iter().map(|d| (d.step, d.effective_step)).collect::<Vec<_>>(), [(3, 4), (6, 7), (9, 10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_caller_gets_the_same_bits_for_a_step() {
    let server = Server::sqlite().await;
    let job = server.register("a", plateau(0.3, r#", "decision_lag": 4"#)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 30]).await;
    stream.directive(33).await;

    for (step, directive) in stream.directives.clone() {
        let rate = server.final_rate(&job, attempt, step).await;
        assert_eq!(rate.to_bits(), directive.rates[0].learning_rate.to_bits(), "step {step}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_that_is_not_final_says_so_and_a_call_may_wait_for_it() {
    let server = Server::sqlite().await;
    let job = server.register("a", plateau(0.3, "")).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    assert!(!server.ask(&job, attempt, 5, 0, AT_ONCE).await.unwrap().directive.unwrap().is_final);

    let (rate, _stream) = tokio::join!(server.final_rate(&job, attempt, 5), async {
        let stream = server.stream(&job, attempt, 0).await;
        stream.losses(0, &[1.0; 5]).await;
        stream
    });
    assert_eq!(rate.to_bits(), 0.15f64.to_bits());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_takes_effect_after_the_last_step_given_out_and_not_before() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let plan = server.ask(&job, attempt, 10, 8, AT_ONCE).await.unwrap().plan.unwrap();
    assert_eq!(plan.final_steps, 1);

    let decision = server.jobs().await.override_learning_rate(factor(&job, 0.5)).await.unwrap().into_inner();

    assert_eq!((decision.step, decision.effective_step), (11, 12));
    assert_eq!(server.final_rate(&job, attempt, 11).await.to_bits(), 0.1f64.to_bits());
    assert_eq!(server.final_rate(&job, attempt, 12).await.to_bits(), 0.05f64.to_bits());
    let directive = server.ask(&job, attempt, 12, 0, AT_ONCE).await.unwrap().directive.unwrap();
    assert_eq!(directive.source(), Source::Override);

    let clear = OverrideLearningRateRequest { order: Some(Order::Clear(OverrideCleared {})), ..factor(&job, 1.0) };
    let cleared = server.jobs().await.override_learning_rate(clear).await.unwrap().into_inner();
    assert_eq!(server.final_rate(&job, attempt, cleared.effective_step).await.to_bits(), 0.1f64.to_bits());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_id_returns_the_first_decision() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let request = OverrideLearningRateRequest { request_id: "r1".to_owned(), ..factor(&job, 0.5) };
    let mut jobs = server.jobs().await;

    let first = jobs.override_learning_rate(request.clone()).await.unwrap().into_inner();
    let second = jobs.override_learning_rate(request.clone()).await.unwrap().into_inner();
    assert_eq!(first, second);

    let other = OverrideLearningRateRequest { request_id: "r1".to_owned(), ..factor(&job, 0.25) };
    assert!(jobs.override_learning_rate(other).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_override_names_every_field() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let rates = [("default".to_owned(), -1.0), ("head".to_owned(), 0.1)].into();
    let set = RateOverride { setting: Some(Setting::Fixed(FixedRates { learning_rates: rates })), end_step: None };
    let request = OverrideLearningRateRequest { order: Some(Order::Set(set)), ..factor(&job, 1.0) };
    let status = server.jobs().await.override_learning_rate(request).await.unwrap_err();
    assert_eq!(violated(&status).len(), 2, "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_the_rate_until_the_job_is_resumed() {
    let server = Server::sqlite().await;
    let schedule = r#"{"groups": [{"base_lr": 1.0}], "total_steps": 100, "schedule": {"linear": {}}}"#;
    let job = server.register("a", spec_json(schedule)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    server.final_rate(&job, attempt, 19).await;

    let pause = PauseJobRequest { name: job.clone(), reason: "looking".to_owned(), ..Default::default() };
    let paused = server.jobs().await.pause_job(pause).await.unwrap().into_inner();
    let found = (paused.state(), paused.state_author.as_str(), paused.state_reason.as_str());
    assert_eq!(found, (State::Paused, "anonymous", "looking"));
    let held = server.final_rate(&job, attempt, 20).await;
    assert_eq!(server.final_rate(&job, attempt, 39).await.to_bits(), held.to_bits());

    let resume = ResumeJobRequest { name: job.clone(), ..Default::default() };
    assert_eq!(server.jobs().await.resume_job(resume).await.unwrap().into_inner().state(), State::Running);
    assert!((server.final_rate(&job, attempt, 50).await - 0.7).abs() < 1e-12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_update_is_a_decision_and_an_etag_guards_it() {
    let server = Server::sqlite().await;
    let created = server.register("a", spec(0.1)).await;
    let attempt = server.start_attempt(&created.name, "t", 0).await;
    server.final_rate(&created.name, attempt, 5).await;
    let mut jobs = server.jobs().await;
    let request = |etag: &str| UpdateJobRequest {
        job: Some(Job {
            name: created.name.clone(),
            etag: etag.to_owned(),
            spec: Some(spec(0.2)),
            ..Default::default()
        }),
        author: "ann".to_owned(),
        reason: "too slow".to_owned(),
        ..Default::default()
    };

    let stale = jobs.update_job(request(&created.etag)).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));

    let updated = jobs.update_job(request("")).await.unwrap().into_inner();
    assert_eq!(updated.spec.unwrap().groups[0].base_lr.to_bits(), 0.2f64.to_bits());
    assert_eq!(server.final_rate(&created.name, attempt, 5).await.to_bits(), 0.1f64.to_bits());
    assert_eq!(server.final_rate(&created.name, attempt, 6).await.to_bits(), 0.2f64.to_bits());
    let decisions = ListDecisionsRequest { job: created.name.clone(), ..Default::default() };
    let decisions = jobs.list_decisions(decisions).await.unwrap().into_inner().decisions;
    assert!(matches!(decisions[0].effect, Some(Effect::SpecChange(_))), "{decisions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_spec_gets_every_violation_at_once_and_nothing_is_stored() {
    let server = Server::sqlite().await;
    let wrong = spec_json(
        r#"{"groups": [{"name": "a", "base_lr": -1.0}, {"name": "a", "base_lr": "NaN"}], "decision_lag": 0,
            "schedule": {"cosine": {}}, "controllers": [{"reduce_lr_on_plateau": {"factor": 2.0}}]}"#,
    );
    let status = server.try_register("a", wrong).await.unwrap_err();
    let fields = violated(&status);
    for field in ["groups[0].base_lr", "groups[1].name", "groups[1].base_lr", "decision_lag", "factor", "decay_steps"] {
        assert!(fields.iter().any(|found| found.contains(field)), "no violation of {field} in {fields:?}");
    }
    let job = GetJobRequest { name: "namespaces/test/jobs/a".to_owned() };
    assert_eq!(server.jobs().await.get_job(job).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_taken_once_unless_by_the_same_request() {
    let server = Server::sqlite().await;
    let request = |request_id: &str, base_lr: f64| CreateJobRequest {
        parent: "namespaces/test".to_owned(),
        job_id: "größe".to_owned(),
        job: Some(Job { spec: Some(spec(base_lr)), ..Default::default() }),
        request_id: request_id.to_owned(),
        ..CreateJobRequest::default()
    };
    let mut jobs = server.jobs().await;
    let first = jobs.create_job(request("r", 0.1)).await.unwrap().into_inner();
    assert_eq!(jobs.create_job(request("r", 0.1)).await.unwrap().into_inner().uid, first.uid);
    assert_eq!(jobs.create_job(request("other", 0.1)).await.unwrap().into_inner().uid, first.uid);
    assert_eq!(jobs.create_job(request("other", 0.2)).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(jobs.create_job(request("", 0.2)).await.unwrap_err().code(), Code::AlreadyExists);
    assert!(jobs.create_job(request("r", 0.2)).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_harmless_and_conflicts_are_reported() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0, f64::NAN, f64::INFINITY]).await;
    stream.until_durable(2).await;

    stream.losses(0, &[1.0, f64::NAN, 7.0]).await;
    stream.until_messages(3).await;

    let latest = &stream.latest;
    assert_eq!((latest.repeated_samples, latest.conflicting_samples, latest.conflict_step), (2, 1, Some(2)));
    let query = QueryTelemetryRequest { job: job.clone(), ..Default::default() };
    let series = server.jobs().await.query_telemetry(query).await.unwrap().into_inner().series;
    assert_eq!(series[0].name, "loss");
    assert!(series[0].value[1].is_nan());
    assert_eq!(series[0].value[2].to_bits(), f64::INFINITY.to_bits());
}

/// A message that closes `step`, whose acknowledgement may wait for a minute.
fn patient(step: i64) -> StreamTelemetryRequest {
    StreamTelemetryRequest {
        step: vec![step],
        loss: vec![1.0],
        through_step: Some(step),
        acknowledge_within: Some(pbjson_types::Duration { seconds: 60, nanos: 0 }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_may_wait_comes_with_directives() {
    let server = Server::sqlite().await;
    let job = server.register("a", plateau(1.0, "")).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.until_messages(1).await; // the opening one, which waits for nothing

    let mut step = 0;
    while stream.latest.durable_through_step.is_none() {
        stream.send(patient(step)).await;
        step += 1;
        // An answer that acknowledges steps also has directives.
        while !stream.directives.contains_key(&step) {
            assert!(!stream.next().await.unwrap().expect("the stream goes on").directives.is_empty());
        }
    }

    // A message whose acknowledgement may not wait is acknowledged at once, with all messages before it.
    stream.send(patient(step)).await;
    stream.send(StreamTelemetryRequest::default()).await;
    stream.until_messages(step + 3).await;
    assert_eq!(stream.latest.durable_through_step, Some(step));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_to_be_acknowledged_is_before_the_stream_ends() {
    let server = Server::sqlite().await;
    let job = server.register("a", plateau(1.0, "")).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.send(patient(0)).await;
    stream.directive(1).await;
    server.start_attempt(&job, "t2", 1).await;
    assert_eq!(reason(&stream.end().await), "STALE_ATTEMPT");
    assert_eq!(stream.latest.durable_through_step, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_is_not_waited_for_longer_than_was_allowed() {
    let server = Server::sqlite().await;
    let job = server.register("a", plateau(1.0, "")).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    let acknowledge_within = Some(pbjson_types::Duration { seconds: 0, nanos: 20_000_000 });
    stream.send(StreamTelemetryRequest { acknowledge_within, ..patient(0) }).await;
    stream.until_durable(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_for_a_closed_step_that_was_never_reported_is_late() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.send(StreamTelemetryRequest { through_step: Some(9), ..Default::default() }).await;
    stream.losses(4, &[1.0]).await;
    stream.until_messages(3).await;
    assert_eq!(stream.latest.late_samples, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_is_complete_when_all_ranks_have_reported_it() {
    let server = Server::sqlite().await;
    let job = server.register("a", plateau(1.0, r#", "reporting_ranks": 2"#)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut one = server.stream(&job, attempt, 1).await;
    one.losses(0, &[3.0; 5]).await;
    one.until_durable(4).await;
    assert!(!server.ask(&job, attempt, 3, 0, AT_ONCE).await.unwrap().directive.unwrap().is_final);

    let zero = server.stream(&job, attempt, 0).await;
    zero.losses(0, &[1.0; 5]).await;

    assert_eq!(server.final_rate(&job, attempt, 5).await.to_bits(), 0.5f64.to_bits());
    let query = QueryTelemetryRequest { job: job.clone(), metrics: vec!["loss".to_owned()], ..Default::default() };
    let series = server.jobs().await.query_telemetry(query).await.unwrap().into_inner().series;
    assert_eq!(series[0].value, [2.0; 5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_in_the_past_rewinds_the_controller_and_keeps_the_history() {
    let server = Server::sqlite().await;
    let job = server.register("a", plateau(1.0, "")).await.name;
    let first = server.start_attempt(&job, "t1", 0).await;
    let mut stream = server.stream(&job, first, 0).await;
    stream.losses(0, &[1.0; 20]).await;
    stream.until_durable(19).await;
    let mut before = Vec::new();
    for step in 0..20 {
        before.push(server.final_rate(&job, first, step).await);
    }

    let second = server.start_attempt(&job, "t2", 6).await;
    assert_eq!((first, second), (1, 2));
    assert_eq!(stream.end().await.code(), Code::FailedPrecondition);
    let again = server.stream(&job, second, 0).await;
    again.losses(6, &[1.0; 14]).await;
    for (step, rate) in (0..20).zip(&before) {
        assert_eq!(server.final_rate(&job, second, step).await.to_bits(), rate.to_bits(), "step {step}");
    }

    // Better losses this time: the rate takes another course, and the first attempt's record stays.
    let third = server.start_attempt(&job, "t3", 6).await;
    let mut better = server.stream(&job, third, 0).await;
    better.losses(6, &(0..14).map(|i| 0.5 / f64::from(i + 1)).collect::<Vec<_>>()).await;
    assert_eq!(better.directive(20).await.rates[0].learning_rate.to_bits(), 0.5f64.to_bits());
    better.until_durable(19).await;
    let query = |attempt| QueryTelemetryRequest { job: job.clone(), attempt, ..Default::default() };
    let loss = |series: Vec<lrs_proto::TelemetrySeries>| series[0].value.clone();
    let mut jobs = server.jobs().await;
    assert_eq!(loss(jobs.query_telemetry(query(1)).await.unwrap().into_inner().series), [1.0; 20]);
    let newest = loss(jobs.query_telemetry(query(0)).await.unwrap().into_inner().series);
    assert_eq!((newest.len(), newest[5].to_bits(), newest[6].to_bits()), (20, 1.0f64.to_bits(), 0.5f64.to_bits()));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_ranks_that_start_with_one_token_get_one_attempt() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let (a, b, c) = tokio::join!(
        server.start_attempt(&job, "t", 7),
        server.start_attempt(&job, "t", 7),
        server.start_attempt(&job, "t", 7),
    );
    assert_eq!((a, b, c), (1, 1, 1));
    let other =
        StartAttemptRequest { job: job.clone(), attempt_token: "t".to_owned(), resume_step: 8, ..Default::default() };
    let status = server.rates().await.start_attempt(other).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    let attempts = ListAttemptsRequest { job, ..Default::default() };
    assert_eq!(server.jobs().await.list_attempts(attempts).await.unwrap().into_inner().attempts.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_answered_has_its_own_status() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let code = |status: Result<lrs_proto::GetLearningRateResponse, tonic::Status>| {
        let status = status.unwrap_err();
        (status.code(), reason(&status))
    };
    let precondition = |reason: &str| (Code::FailedPrecondition, reason.to_owned());

    assert_eq!(code(server.ask("namespaces/test/jobs/none", 0, 0, 0, AT_ONCE).await).0, Code::NotFound);
    assert_eq!(code(server.ask(&job, 0, 0, 0, AT_ONCE).await), precondition("NO_ATTEMPT"));
    server.start_attempt(&job, "t1", 0).await;
    let mut old = server.stream(&job, 1, 0).await;
    old.losses(0, &[1.0]).await;
    old.until_durable(0).await;
    server.start_attempt(&job, "t2", 0).await;
    assert_eq!(reason(&old.end().await), "STALE_ATTEMPT");
    assert_eq!(code(server.ask(&job, 1, 0, 0, AT_ONCE).await), precondition("STALE_ATTEMPT"));
    assert_eq!(code(server.ask(&job, 9, 0, 0, AT_ONCE).await).0, Code::NotFound);
    assert_eq!(server.ask(&job, 2, -1, 0, AT_ONCE).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(server.ask(&job, 2, 1 << 53, 0, AT_ONCE).await.unwrap_err().code(), Code::InvalidArgument);

    let mut running = server.stream(&job, 2, 0).await;
    let complete = CompleteJobRequest {
        name: job.clone(),
        author: "ana".to_owned(),
        reason: "enough".to_owned(),
        ..Default::default()
    };
    let mut jobs = server.jobs().await;
    let ended = jobs.complete_job(complete.clone()).await.unwrap().into_inner();
    let who_and_why = |job: &Job| (job.state(), job.state_author.clone(), job.state_reason.clone());
    assert_eq!(who_and_why(&ended), (State::Completed, "ana".to_owned(), "enough".to_owned()));
    assert_eq!(reason(&running.end().await), "JOB_ENDED");
    assert_eq!(code(server.ask(&job, 2, 0, 0, AT_ONCE).await), precondition("JOB_ENDED"));
    let repeated = jobs.complete_job(CompleteJobRequest { author: "ben".to_owned(), ..complete }).await.unwrap();
    assert_eq!(who_and_why(repeated.get_ref()), who_and_why(&ended), "nothing changed");
    let late = jobs.override_learning_rate(factor(&job, 0.5)).await.unwrap_err();
    assert_eq!(reason(&late), "JOB_ENDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_message_ends_the_stream_and_what_came_before_stands() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 10).await;
    for wrong in [
        StreamTelemetryRequest { step: vec![12, 11], loss: vec![1.0, 1.0], ..Default::default() },
        StreamTelemetryRequest { step: vec![12], loss: vec![1.0, 2.0], ..Default::default() },
        StreamTelemetryRequest { step: vec![3], loss: vec![1.0], ..Default::default() },
        StreamTelemetryRequest { step: (10..10_100).collect(), ..Default::default() },
        StreamTelemetryRequest {
            metrics: vec![MetricSeries { name: "val\0loss".to_owned(), step: vec![12], value: vec![1.0] }],
            ..Default::default()
        },
        StreamTelemetryRequest {
            metrics: vec![MetricSeries { name: "loss".to_owned(), step: vec![12], value: vec![1.0] }],
            ..Default::default()
        },
    ] {
        let mut stream = server.stream(&job, attempt, 0).await;
        stream.losses(10, &[1.0]).await;
        stream.send(wrong.clone()).await;
        let status = stream.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{wrong:?}: {status:?}");
    }
    let query = QueryTelemetryRequest { job, ..Default::default() };
    let series = server.jobs().await.query_telemetry(query).await.unwrap().into_inner().series;
    assert_eq!((series[0].step.clone(), series[0].value.clone()), (vec![10], vec![1.0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_shares_the_history_and_goes_its_own_way() {
    let server = Server::sqlite().await;
    let job = server.register("a", plateau(1.0, "")).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 10]).await;
    stream.until_durable(9).await;

    let request = ForkJobRequest { name: job.clone(), step: 5, job_id: "b".to_owned(), ..Default::default() };
    let fork = server.jobs().await.fork_job(request).await.unwrap().into_inner();
    assert_eq!(fork.forked_from.unwrap().step, 5);
    let attempt = server.start_attempt(&fork.name, "t", 5).await;
    let mut forked = server.stream(&fork.name, attempt, 0).await;
    assert_eq!(forked.directive(5).await.rates[0].learning_rate.to_bits(), 0.5f64.to_bits());
    forked.losses(5, &[0.5; 3]).await;
    forked.until_durable(7).await;
    let query = QueryTelemetryRequest { job: fork.name, ..Default::default() };
    let series = server.jobs().await.query_telemetry(query).await.unwrap().into_inner().series;
    assert_eq!(series[0].value, [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5, 0.5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_a_fork_that_nobody_trains_yet_leaves_the_history_that_it_shares() {
    let server = Server::sqlite().await;
    let job = server.register("a", plateau(1.0, "")).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 10]).await;
    stream.until_durable(9).await;
    let request = ForkJobRequest { name: job, step: 5, job_id: "b".to_owned(), ..Default::default() };
    let fork = server.jobs().await.fork_job(request).await.unwrap().into_inner();

    let decision = server.jobs().await.override_learning_rate(factor(&fork.name, 0.5)).await.unwrap().into_inner();

    assert_eq!(decision.effective_step, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_sees_what_happens_until_the_job_ends() {
    let server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let request = WatchJobRequest { name: job.clone() };
    let mut events = server.jobs().await.watch_job(request).await.unwrap().into_inner();
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0]).await;
    stream.until_durable(0).await;
    server.jobs().await.override_learning_rate(factor(&job, 0.5)).await.unwrap();
    server.jobs().await.complete_job(CompleteJobRequest { name: job, ..Default::default() }).await.unwrap();

    let (mut states, mut records, mut decisions, mut changes) = (Vec::new(), 0, 0, 0);
    while let Some(event) = events.message().await.unwrap() {
        match event.event.unwrap() {
            Event::Job(job) => states.push(job.state()),
            Event::Record(_) => records += 1,
            Event::Decision(_) => decisions += 1,
            Event::Change(_) => changes += 1,
            Event::MissedEvents(_) => panic!("nothing was missed"),
        }
    }
    assert_eq!(states.first(), Some(&State::Pending));
    assert_eq!(states.last(), Some(&State::Completed));
    assert!(states.contains(&State::Running), "{states:?}");
    assert_eq!((records, decisions, changes), (1, 1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_listed_in_pages_by_filter_and_deleted_when_they_have_ended() {
    let server = Server::sqlite().await;
    for i in 0..7 {
        let experiment = if i % 2 == 0 { "even" } else { "odd" };
        server
            .register(&format!("job-{i}"), lrs_proto::JobSpec { experiment: experiment.to_owned(), ..spec(0.1) })
            .await;
    }
    let mut jobs = server.jobs().await;
    let mut request = ListJobsRequest {
        parent: "namespaces/test".to_owned(),
        page_size: 3,
        filter: r#"experiment = "even" AND state = PENDING"#.to_owned(),
        order_by: "name desc".to_owned(),
        ..Default::default()
    };
    let mut names = Vec::new();
    loop {
        let page = jobs.list_jobs(request.clone()).await.unwrap().into_inner();
        names.extend(page.jobs.into_iter().map(|job| job.name));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(names, [6, 4, 2, 0].map(|i| format!("namespaces/test/jobs/job-{i}")));
    let wrong = ListJobsRequest { filter: "stat = RUNNING".to_owned(), page_token: String::new(), ..request };
    assert_eq!(violated(&jobs.list_jobs(wrong).await.unwrap_err()), ["filter"]);

    let mut delete = DeleteJobRequest { name: names[0].clone(), ..Default::default() };
    assert_eq!(jobs.delete_job(delete.clone()).await.unwrap_err().code(), Code::FailedPrecondition);
    delete.force = true;
    jobs.delete_job(delete).await.unwrap();
    let gone = jobs.get_job(GetJobRequest { name: names[0].clone() }).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    server.register("job-6", spec(0.1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_the_curve_and_its_expansion() {
    let server = Server::sqlite().await;
    let spec = spec_json(
        r#"{"groups": [{"base_lr": 1.0}], "total_steps": 1000,
            "schedule": {"warmup": {"warmup_steps": 100, "schedule": {"multi_step": {"milestones": [401]}}}}}"#,
    );
    let request = PreviewScheduleRequest { spec: Some(spec), every: Some(250), ..Default::default() };
    let curve = server.schedules().await.preview_schedule(request).await.unwrap().into_inner();
    for step in [0, 100, 250, 500, 501, 1000] {
        assert!(curve.step.contains(&step), "step {step} is not in {:?}", curve.step);
    }
    let at = |step: i64| curve.groups[0].learning_rate[curve.step.iter().position(|s| *s == step).unwrap()];
    assert_eq!((at(0), at(100), at(500)), (0.0, 1.0, 1.0));
    assert!((at(501) - 0.1).abs() < 1e-15);
    let expanded = serde_json::to_string(&curve.expanded_spec).unwrap();
    assert!(expanded.contains("\"seq\"") && !expanded.contains("warmup_steps"), "{expanded}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_json_forms_say_what_the_protos_say() {
    let server = Server::sqlite().await;
    let body = r#"{"spec": {"groups": [{"base_lr": 0.1}], "total_steps": "100"}}"#;
    let (status, created) = server.http_request("POST", "/v1/namespaces/test/jobs?job_id=a", body).await;
    assert_eq!(status, 200, "{created}");
    let (status, job) = server.http_get("/v1/namespaces/test/jobs/a").await;
    assert_eq!(status, 200);
    let job: Job = serde_json::from_str(&job).unwrap();
    assert_eq!((job.name.as_str(), job.state()), ("namespaces/test/jobs/a", State::Pending));

    let (status, error) = server.http_get("/v1/namespaces/test/jobs/none").await;
    let error: serde_json::Value = serde_json::from_str(&error).unwrap();
    assert_eq!((status, error["code"].as_u64()), (404, Some(5)));
    let wrong = r#"{"spec": {"groups": [{"base_lr": -1}]}}"#;
    let (status, error) = server.http_request("POST", "/v1/namespaces/test/jobs?job_id=b", wrong).await;
    assert!(status == 400 && error.contains("groups[0].base_lr"), "{status} {error}");
    let (status, error) = server.http_request("POST", "/v1/namespaces/test/jobs/a:pause", "{}").await;
    assert!(status == 400 && error.contains("PENDING"), "{status} {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_find_health_metrics_and_reflection() {
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest,
    };
    let server = Server::sqlite().await;
    assert_eq!(server.http_get("/livez").await.0, 200);
    assert_eq!(server.http_get("/readyz").await.0, 200);
    server.register("a", spec(0.1)).await;
    let (status, metrics) = server.http_get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("lrs_rpc_duration_seconds"), "{metrics}");
    // Registered jobs have been written, so nothing waits.
    server::wait_for("the queue of the commit pipeline to be empty", async || {
        let (_, metrics) = server.http_get("/metrics").await;
        metrics.lines().any(|line| line == "lrs_queue_depth 0").then_some(())
    })
    .await;

    let mut health = HealthClient::new(server.channel().await);
    // Health follows readiness a moment later.
    server::wait_for("the health service to say SERVING", async || {
        let service = "lrs.v1.LearningRateService".to_owned();
        let answer = health.check(HealthCheckRequest { service }).await.unwrap().into_inner();
        (answer.status == 1).then_some(())
    })
    .await;

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(server.channel().await);
    let answers = reflection.server_reflection_info(tokio_stream::once(request)).await;
    let answer = answers.unwrap().into_inner().message().await.unwrap().unwrap();
    assert!(format!("{answer:?}").contains("lrs.v1.JobService"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asked_for_stop_flushes_and_exits_0() {
    let mut server = Server::sqlite().await;
    let job = server.register("a", spec(0.1)).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut stream = server.stream(&job, attempt, 0).await;
    stream.losses(0, &[1.0; 5]).await;
    stream.until_durable(4).await;
    server.final_rate(&job, attempt, 5).await;

    assert_eq!(server.terminate().await, Some(0));
    server.start_again().await;

    // The process before had stored how far it gave out rates, so the override takes effect at the next step.
    let decision = server.jobs().await.override_learning_rate(factor(&job, 0.5)).await.unwrap().into_inner();
    assert!(decision.effective_step <= 70, "{decision:?}");
    let query = QueryTelemetryRequest { job, ..Default::default() };
    let series = server.jobs().await.query_telemetry(query).await.unwrap().into_inner().series;
    assert_eq!(series[0].value, [1.0; 5]);
}

/// Ranks ask for the same steps while an operator turns the rate up and down, and the server is killed in between.
async fn ranks_agree_under_orders(mut server: Server, job_spec: lrs_proto::JobSpec) {
    const STEPS: i64 = 600;
    const RANKS: usize = 4;
    let needs_telemetry = !job_spec.controllers.is_empty();
    let job = server.register("a", job_spec).await.name;
    let attempt = server.start_attempt(&job, "t", 0).await;
    let mut agreed: std::collections::BTreeMap<i64, u64> = std::collections::BTreeMap::new();
    let mut orders = 0;
    for stretch in 0..3 {
        let steps = stretch * STEPS / 3..(stretch + 1) * STEPS / 3;
        let done = std::sync::atomic::AtomicUsize::new(0);
        let rank = |rank: usize| {
            let (server, job, done, steps) = (&server, &job, &done, steps.clone());
            async move {
                let mut stream = server.stream(job, attempt, 0).await;
                let mut rates = Vec::new();
                let last = steps.end - 1;
                for step in steps {
                    rates.push((step, server.final_rate(job, attempt, step).await.to_bits()));
                    if needs_telemetry && rank == 0 {
                        stream.losses(step, &[1.0]).await;
                    }
                }
                if needs_telemetry && rank == 0 {
                    // Without this, the last rates given out would become final again only once they are reported
                    // again.
                    stream.until_durable(last).await;
                }
                done.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                rates
            }
        };
        let operator = async {
            let mut jobs = server.jobs().await;
            let mut given = 0;
            while done.load(std::sync::atomic::Ordering::SeqCst) < RANKS {
                given += 1;
                jobs.override_learning_rate(factor(&job, f64::from(given) / 100.0)).await.unwrap();
            }
            given
        };
        let (ranks, given) = tokio::join!(futures::future::join_all((0..RANKS).map(rank)), operator);
        orders += given;
        for (step, bits) in ranks.into_iter().flatten() {
            let first = *agreed.entry(step).or_insert(bits);
            assert_eq!(first, bits, "two ranks were given different rates for step {step}");
        }
        server.kill();
        server.start_again().await;
    }
    assert!(orders > 10, "only {orders} orders were given");
    for (step, bits) in agreed {
        assert_eq!(server.final_rate(&job, attempt, step).await.to_bits(), bits, "step {step} after the last kill");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranks_agree_on_every_step_while_an_operator_steers_and_the_server_dies() {
    ranks_agree_under_orders(Server::sqlite().await, spec(1.0)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranks_agree_on_every_step_of_a_closed_loop_too() {
    ranks_agree_under_orders(Server::sqlite().await, plateau(1.0, r#", "decision_lag": 3"#)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_in_another_librarys_words_keeps_them_and_the_native_form() {
    let server = Server::sqlite().await;
    let spec = spec_json(
        r#"{"groups": [{"base_lr": 0.1}], "total_steps": 100,
            "schedule": {"library": "torch", "scheduler": "StepLR", "params": {"step_size": 30}},
            "controllers": [{"library": "torch", "scheduler": "ReduceLROnPlateau", "params": {"patience": 2, "factor": 0.5}}]}"#,
    );
    let job = server.register("a", spec).await;
    let words = serde_json::to_string(&job.spec).unwrap();
    let native = serde_json::to_string(&job.initial_spec).unwrap();
    assert!(words.contains("StepLR") && words.contains("ReduceLROnPlateau"), "{words}");
    assert!(!native.contains("torch") && native.contains("geometric") && native.contains("patience"), "{native}");

    let attempt = server.start_attempt(&job.name, "t", 0).await;
    let stream = server.stream(&job.name, attempt, 0).await;
    stream.losses(0, &(0..30).map(|step| 1.0 / f64::from(step + 1)).collect::<Vec<_>>()).await;
    assert_eq!(server.final_rate(&job.name, attempt, 29).await.to_bits(), 0.1f64.to_bits());
    assert!((server.final_rate(&job.name, attempt, 30).await - 0.01).abs() < 1e-15);

    let wrong = spec_json(
        r#"{"groups": [{"base_lr": 0.1}], "schedule": {"library": "torch", "scheduler": "StepLr", "params": {"step_size": 30}}}"#,
    );
    let status = server.try_register("b", wrong).await.unwrap_err();
    assert!(status.message().contains("StepLR"), "the nearest name is offered: {status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_nested_as_deep_as_is_allowed_is_taken_and_a_deeper_one_refused() {
    let server = Server::sqlite().await;
    let nested = |levels: usize| {
        let (open, close) = (r#"{"sum": {"terms": ["#.repeat(levels), "]}}".repeat(levels));
        format!(r#"{{"spec": {{"groups": [{{"base_lr": 1}}], "schedule": {open}{{"base": 1}}{close}}}}}"#)
    };
    let (status, answer) = server.http_request("POST", "/v1/namespaces/test/jobs?job_id=a", &nested(31)).await;
    assert_eq!(status, 200, "{answer}");
    for levels in [32, 33, 60, 1000] {
        let (status, answer) = server.http_request("POST", "/v1/namespaces/test/jobs?job_id=b", &nested(levels)).await;
        assert_eq!(status, 400, "{levels}: {answer}");
    }
    let attempt = server.start_attempt("namespaces/test/jobs/a", "t", 0).await;
    assert_eq!(server.final_rate("namespaces/test/jobs/a", attempt, 5).await.to_bits(), 1.0f64.to_bits());
}
