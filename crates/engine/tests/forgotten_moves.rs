//! A real engine over a database, with a controller that moves the rates at every step: moves that have left the memory
//! are read back, and a recovery, a rewind and a fork give the same bits.

use std::{sync::Arc, time::Duration};

use lrs_control::greedy;
use lrs_engine::{
    Engine, Fork, GroupRate, NewJob, Order, RateCall, Settings,
    replay::{Replayer, recorded, replay, same_decision},
};
use lrs_model::{
    decision::Decision,
    job::AttemptRow,
    name::JobName,
    spec::{Group, Spec},
    telemetry::{Report, Sample},
};
use lrs_runtime::clock::SystemClock;

/// More moves than the engine keeps in memory.
const STEPS: u64 = 2600;
const LAG: u64 = 3;

fn spec() -> Spec {
    let group =
        Group { name: "default".into(), base_lr: 0.1, base_momentum: None, base_weight_decay: None, schedule: None };
    let (min_lr, max_lr) = (vec![1e-6], vec![1e6]);
    let greedy = greedy::Params { patience: 0, factor: 0.97, min_lr, max_lr, eps: 0.0, ..greedy::Params::default() };
    Spec { groups: vec![group], controllers: vec![greedy.into()], decision_lag: LAG, ..Spec::default() }
}

/// An irregular loss that differs in each attempt.
fn loss(attempt: u32, step: u64) -> f64 {
    let bits = (step + 1000 * u64::from(attempt)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let noise = f64::from(u32::try_from(bits).unwrap()) / f64::from(1 << 24);
    if noise < 0.5 { 1e6 - f64::from(u32::try_from(step).unwrap()) } else { 2e6 }
}

async fn open(url: &str) -> Engine {
    let store = url.parse::<lrs_store::DatabaseUrl>().unwrap().open().await.unwrap();
    let settings = Settings { snapshot_after_records: 700, reserve_steps: 100_000, ..Settings::default() };
    let engine = Engine::start(settings, store, Arc::new(SystemClock));
    engine.recovered().await.unwrap();
    engine
}

/// A job and what is known of it without the engine: its records, and the rates of each step that follow from them.
struct Known {
    name: JobName,
    attempts: Vec<AttemptRow>,
    records: Vec<Sample>,
    rates: Vec<Vec<GroupRate>>,
    replayer: Replayer,
}

impl Known {
    fn new(name: JobName, records: Vec<Sample>) -> Self {
        let replayer = Replayer::try_new(&spec(), &[], &[], 0).unwrap();
        Self { name, attempts: Vec::new(), records, rates: Vec::new(), replayer }
    }

    /// Starts a trainer at `resume_step`, for the first time or again.
    async fn start(&mut self, engine: &Engine, resume_step: u64) {
        let token = format!("{resume_step} {}", self.attempts.len());
        let info = engine.start_attempt(&self.name, token, resume_step, None).await.unwrap();
        self.attempts = engine.attempts(&self.name).await.unwrap();
        self.replayer = Replayer::try_new(&spec(), &self.attempts, &[], info.row.attempt).unwrap();
        self.rates = (0..LAG).map(|step| self.replayer.timeline().directive_at(step).rates).collect();
        for record in std::mem::take(&mut self.records) {
            if record.step < resume_step {
                self.take(record);
            }
        }
    }

    /// Takes a further record, and the rates that follow from it.
    fn take(&mut self, record: Sample) {
        self.replayer.take(&record);
        self.rates.push(self.replayer.timeline().directive_at(record.step + LAG).rates);
        self.records.push(record);
    }

    /// Trains and reports up to `end`; at the steps in `strays` the trainer uses other rates than it is told.
    async fn train(&mut self, engine: &Engine, end: u64, strays: &[u64]) {
        let attempt = self.attempts.last().unwrap().attempt;
        let reporter = engine.reporter(&self.name, 0, 0).await.unwrap();
        let mut next = self.records.last().map_or(0, |record| record.step + 1);
        while next < end {
            let piece = next..end.min(next + 90);
            next = piece.end;
            for step in piece.clone() {
                let told = self.rates[usize::try_from(step).unwrap()][0].learning_rate;
                let used = if strays.contains(&step) { 2.0 * told } else { told };
                self.take(Sample { loss: Some(loss(attempt, step)), learning_rate: Some(used), ..Sample::new(step) });
            }
            let samples = self.records.iter().filter(|record| piece.contains(&record.step)).cloned().collect();
            let report = Report { samples, through_step: Some(piece.end - 1) };
            reporter.report(report).await.unwrap().receipt().await.unwrap();
        }
    }

    /// Asserts that every step is answered with the rates that it was trained at.
    async fn assert_told(&self, engine: &Engine) {
        let last = self.rates.len() as u64 - 1;
        for (step, plan_steps) in [(0, 5), (1, 0), (2, 1), (700, 30), (1199, 3), (1500, 900), (last - 9, 9), (last, 0)]
        {
            let name = self.name.as_str();
            let call = RateCall { attempt: 0, step, plan_steps, wait: Duration::ZERO };
            let answer = engine.directive(name, call).await.unwrap();
            for directive in [answer.directive].iter().chain(&answer.plan) {
                let expected = &self.rates[usize::try_from(directive.step).unwrap()];
                assert_eq!(directive.rates, *expected, "at step {} of {name}", directive.step);
            }
        }
        let steps: Vec<u64> = (0..last).step_by(7).collect();
        let told = engine.rates(&self.name, &steps).await.unwrap();
        assert!(told.iter().all(|told| told.rates == self.rates[usize::try_from(told.step).unwrap()]));
    }

    /// Asserts that every decision is on record exactly once.
    async fn assert_recorded(&self, engine: &Engine) {
        let mut decisions: Vec<Decision> = Vec::new();
        let mut after = None;
        loop {
            let page = engine.decisions(&self.name, None, after, 1000).await.unwrap();
            decisions.extend(page.decisions);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let attempt = self.attempts.last().unwrap().attempt;
        let replay = replay(&spec(), &self.attempts, &[], self.records.clone(), attempt).unwrap();
        let recorded = recorded(&decisions, &self.attempts, attempt);
        assert_eq!(recorded.len(), replay.decisions.len());
        assert!(recorded.iter().zip(&replay.decisions).all(|(a, b)| same_decision(a, b)));
        for (step, rates) in self.rates.iter().enumerate() {
            assert_eq!(replay.directive_at(step as u64).rates, *rates, "of a replay, at step {step}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rates_of_forgotten_moves_are_the_same_after_a_recovery_a_rewind_and_a_fork() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", directory.path().join("lrs.db").display());
    let engine = open(&url).await;
    let name = JobName::new("test", "busy").unwrap();
    engine.create_job(NewJob { name: name.clone(), spec: spec(), order: Order::default() }).await.unwrap();
    let mut known = Known::new(name.clone(), Vec::new());
    known.start(&engine, 0).await;
    known.train(&engine, STEPS, &[7, 8, 2000]).await;
    known.assert_told(&engine).await;
    known.assert_recorded(&engine).await;
    let off_told = engine.outlook(&name, None).await.unwrap().off_told;
    assert_eq!(off_told, [7..=8, 2000..=2000], "steps that ran at another rate");
    engine.shutdown().await;

    // The job is restored from its saved state and the telemetry after that.
    let engine = open(&url).await;
    known.assert_told(&engine).await;
    known.train(&engine, STEPS + 100, &[]).await;
    known.assert_told(&engine).await;

    // Rewind to a step whose moves were forgotten, and go on from there with other losses.
    known.start(&engine, 1200).await;
    known.train(&engine, 2500, &[]).await;
    known.assert_told(&engine).await;
    known.assert_recorded(&engine).await;

    let fork = JobName::new("test", "fork").unwrap();
    let order = Fork { source: name.clone(), step: 2400, name: fork.clone(), spec: None, order: Order::default() };
    engine.fork_job(order).await.unwrap();
    let mut forked = Known::new(fork, known.records.clone());
    forked.start(&engine, 2400).await;
    forked.train(&engine, 2450, &[]).await;
    forked.assert_told(&engine).await;
    engine.shutdown().await;

    let engine = open(&url).await;
    known.assert_told(&engine).await;
    forked.assert_told(&engine).await;
    engine.shutdown().await;
}
