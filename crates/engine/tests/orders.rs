//! When a person's order is felt: soon where steps are slow, and from the first step of an attempt that begins after it.

use std::{sync::Arc, time::Duration};

use lrs_control::plateau;
use lrs_engine::{Change, DirectiveAnswer, Engine, JobView, NewJob, Order, RateCall, Settings};
use lrs_model::{
    controller::ControllerSpec,
    decision::{Decision, OverrideSetting, RateOverride},
    job::Timestamp,
    name::JobName,
    schedule::ScheduleSpec,
    spec::{Group, Spec},
    telemetry::{Report, Sample},
};
use lrs_runtime::clock::{Clock as _, ManualClock};

struct Service {
    engine: Engine,
    clock: Arc<ManualClock>,
    name: JobName,
    _directory: tempfile::TempDir,
}

/// One group that falls from 1 to 0 over 100 steps, in a straight line.
fn falling(controllers: Vec<ControllerSpec>) -> Spec {
    let group =
        Group { name: "default".into(), base_lr: 1.0, base_momentum: None, base_weight_decay: None, schedule: None };
    Spec {
        groups: vec![group],
        total_steps: Some(100),
        schedule: ScheduleSpec::named("linear", serde_json::json!({})),
        controllers,
        ..Spec::default()
    }
}

impl Service {
    async fn with(spec: Spec) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp(1_000_000_000_000)));
        let name = JobName::new("a", "b").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("lrs.db").display());
        let store = url.parse::<lrs_store::DatabaseUrl>().unwrap().open().await.unwrap();
        let engine = Engine::start(Settings::default(), store, clock.clone());
        engine.recovered().await.unwrap();
        engine.create_job(NewJob { name: name.clone(), spec, order: Order::default() }).await.unwrap();
        Self { engine, clock, name, _directory: directory }
    }

    async fn start(&self, token: &str, resume_step: u64) -> u64 {
        self.engine.start_attempt(&self.name, token.to_owned(), resume_step, None).await.unwrap().row.attempt.into()
    }

    async fn call(&self, attempt: u64, step: u64) -> DirectiveAnswer {
        let call = RateCall { attempt, step, plan_steps: 64, wait: Duration::from_secs(20) };
        let answer = self.engine.directive(self.name.as_str(), call).await.unwrap();
        assert!(answer.is_final, "step {step}");
        answer
    }

    async fn order(&self, change: Change) -> (JobView, Decision) {
        let (view, decision) = self.engine.change_job(&self.name, change, Order::default()).await.unwrap();
        (view, decision.unwrap())
    }

    async fn extend(&self) -> (JobView, Decision) {
        let row = self.engine.job(&self.name).await.unwrap().row;
        let spec = Box::new(Spec { total_steps: Some(200), ..row.spec.clone() });
        self.order(Change::Spec { spec, version: row.version }).await
    }

    /// Reports the steps up to `end`, of which every one has the same loss.
    async fn report(&self, steps: std::ops::Range<u64>) {
        let reporter = self.engine.reporter(&self.name, 0, 0).await.unwrap();
        let through_step = steps.end.checked_sub(1);
        let samples = steps.map(|step| Sample { loss: Some(1.0), ..Sample::new(step) }).collect();
        reporter.report(Report { samples, through_step }).await.unwrap().receipt().await.unwrap();
    }
}

fn halved() -> Change {
    Change::Override(RateOverride { setting: OverrideSetting::Factor(0.5), end_step: None })
}

fn rate(answer: &DirectiveAnswer) -> f64 {
    answer.directive.rates[0].learning_rate
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_to_a_trainer_whose_steps_take_a_minute_is_felt_within_two_steps() {
    const MINUTE: Duration = Duration::from_mins(1);
    let service = Service::with(falling(vec![])).await;
    let attempt = service.start("a", 0).await;

    assert_eq!(service.call(attempt, 0).await.final_steps, 1, "before its pace is known");
    for step in 1..5 {
        service.clock.advance(MINUTE);
        assert_eq!(service.call(attempt, step).await.final_steps, 1, "at step {step}");
    }
    let (view, decision) = service.order(halved()).await;

    assert_eq!(decision.effective_step, 6);
    let progress = view.progress.unwrap();
    let (pace, now) = (progress.pace.unwrap(), service.clock.now());
    assert_eq!((pace.step, pace.step_time, progress.order_step), (4, MINUTE, Some(6)));
    assert_eq!(pace.expected_time(6), Some(Timestamp(now.0 + 120_000_000)));
    service.clock.advance(2 * MINUTE);
    assert!((rate(&service.call(attempt, 6).await) - 0.47).abs() < 1e-12);
    assert_eq!(service.engine.job(&service.name).await.unwrap().progress.unwrap().order_step, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fast_trainer_is_given_more_steps_as_it_goes_on_until_its_job_allows_no_more() {
    let service = Service::with(falling(vec![])).await;
    let attempt = service.start("a", 0).await;
    service.call(attempt, 0).await;
    // A longer block is reserved meanwhile.
    let mut final_steps = Vec::new();
    for step in 1..150 {
        service.clock.advance(Duration::from_millis(10));
        let given = service.call(attempt, step).await.final_steps;
        assert!(given <= usize::try_from(step / 2).unwrap().max(1), "{given} after {step} steps");
        final_steps.push(given);
    }
    assert!(final_steps[0] == 1 && final_steps.ends_with(&[64; 10]), "{final_steps:?}");
    // One slow step is enough to be careful.
    service.clock.advance(Duration::from_secs(3));
    assert_eq!(service.call(attempt, 150).await.final_steps, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_attempt_trains_by_the_orders_as_they_stand_from_its_first_step_on() {
    for controllers in [vec![], vec![plateau::Params { patience: 1000, ..plateau::Params::default() }.into()]] {
        let service = Service::with(falling(controllers)).await;
        let first = service.start("a", 0).await;
        service.report(0..90).await;
        service.clock.advance(Duration::from_millis(1));
        let before = service.call(first, 90).await;
        assert!((rate(&before) - 0.1).abs() < 1e-12);
        let (_, decision) = service.extend().await;
        assert!(decision.effective_step > 90);
        service.order(halved()).await;

        let second = service.start("b", 90).await;

        let answer = service.call(second, 90).await;
        assert!((rate(&answer) - 0.5 * 0.55).abs() < 1e-12, "{}", rate(&answer));
        let told = service.engine.rates(&service.name, &[89, 90, 150]).await.unwrap();
        let told: Vec<f64> = told.iter().map(|directive| directive.rates[0].learning_rate).collect();
        assert!((told[0] - 0.11).abs() < 1e-12 && (told[2] - 0.125).abs() < 1e-12, "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_controller_decided_under_an_old_order_is_decided_again_under_the_new_one() {
    let plateau = plateau::Params { patience: 0, factor: 0.5, ..plateau::Params::default() };
    let spec = Spec { decision_lag: 8, ..falling(vec![plateau.into()]) };
    let service = Service::with(spec).await;
    let first = service.start("a", 0).await;
    service.report(0..20).await;
    service.call(first, 20).await;
    let row = service.engine.job(&service.name).await.unwrap().row;
    let group = Group { base_lr: 64.0, ..row.spec.groups[0].clone() };
    let spec = Box::new(Spec { groups: vec![group], controllers: vec![], ..row.spec.clone() });
    service.order(Change::Spec { spec, version: row.version }).await;

    let second = service.start("b", 15).await;

    // Without controllers from step 15 on, also none of the cuts on the records before it.
    let answer = service.call(second, 15).await;
    assert!((rate(&answer) - 64.0 * 0.85).abs() < 1e-9, "{}", rate(&answer));
    assert!((answer.plan[6].rates[0].learning_rate - 64.0 * 0.78).abs() < 1e-9);
}
