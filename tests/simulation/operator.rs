//! Operators: they give orders of every kind and repeat each until it is answered, they fork and end jobs, and they
//! watch.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    time::Duration,
};

use lrs_control::{auto, greedy, plateau, threshold};
use lrs_engine::{Change, Engine, Error, Event, Fork, NewJob, Order, TelemetryAmount, TelemetryQuery};
use lrs_model::{
    controller::{ControllerSpec, Mode, ThresholdAction},
    decision::{OverrideSetting, RateOverride},
    job::State,
    name::JobName,
    schedule::ScheduleSpec,
    spec::{Group as ParameterGroup, Objective, RateLimits, Spec, Tier},
    telemetry::LOSS,
};
use serde_json::json;

use crate::model::Valley;
use crate::{
    network::{Failure, Network},
    planted::Plant,
    promises::History,
    trainer::Group,
    world::World,
};

/// The most jobs of a run, forks included.
const MAX_JOBS: usize = 5;

/// The operators and the jobs that they look after.
pub struct Office {
    pub network: Network,
    jobs: RefCell<Vec<JobName>>,
    trainers: RefCell<Vec<tokio::task::JoinHandle<()>>>,
    requests: Cell<u32>,
}

impl Office {
    pub fn new(network: Network) -> Rc<Self> {
        let (jobs, trainers) = (RefCell::default(), RefCell::default());
        Rc::new(Self { network, jobs, trainers, requests: Cell::new(0) })
    }

    fn world(&self) -> &World {
        &self.network.world
    }

    fn request_id(&self) -> String {
        self.requests.set(self.requests.get() + 1);
        format!("r{}", self.requests.get())
    }

    /// Registers a job and starts its trainers.
    pub async fn register(self: Rc<Self>, number: u32) {
        let world = self.world();
        let job = JobName::new("sim", &format!("job{number}")).unwrap();
        let spec = draw_spec(world);
        world.history().register(&job, &spec, 0);
        let told = Plant::told(world.plant, &spec);
        let request_id = Some(self.request_id());
        let create = async |engine: &Engine| {
            let view =
                engine.create_job(NewJob { name: job.clone(), spec: told.clone(), order: order(request_id.clone()) });
            view.await.map(drop)
        };
        assert!(self.insist(&job, create).await.is_some(), "{job} is refused: {spec:?}");
        world.log(|| format!("{job} is registered: {spec:?}"));
        let resume_step = if world.below(5) == 0 { world.below(5) } else { 0 };
        self.employ(job, spec, resume_step);
    }

    fn employ(self: &Rc<Self>, job: JobName, spec: Spec, resume_step: u64) {
        let world = self.world();
        let valley = (spec.tier == Tier::Restore).then(|| draw_valley(world));
        let steps = if valley.is_some() { spec.total_steps.unwrap_or(150) } else { 15 + world.below(45) };
        let steps = steps.max(resume_step + 5);
        let group = Rc::new(Group { steps, valley, ..Group::watcher(self.network.another(), job.clone(), spec) });
        self.jobs.borrow_mut().push(job.clone());
        let office = self.clone();
        let trainer = tokio::task::spawn_local(async move {
            let job = group.job.clone();
            group.train(resume_step).await;
            office.leave(&job).await;
        });
        self.trainers.borrow_mut().push(trainer);
        if self.world().below(2) == 0 {
            drop(tokio::task::spawn_local(self.clone().watch(job)));
        }
    }

    /// Leaves a trained job. Where telemetry is kept for a limited time, the job may end here, and its retention may
    /// pass while other jobs train and somebody reads.
    async fn leave(&self, job: &JobName) {
        let world = self.world();
        if world.profile.kept_for.is_none() || world.below(3) == 0 {
            return;
        }
        self.complete(job).await;
        for _ in 0..world.below(8) {
            tokio::time::sleep(Duration::from_millis(world.below(1500))).await;
            world.clock.jump(i64::try_from(world.below(300_000_000)).unwrap() - 100_000_000);
            self.read(job).await;
        }
    }

    /// Waits until every trainer has finished.
    pub async fn closing_time(&self) {
        while let Some(trainer) = { self.trainers.borrow_mut().pop() } {
            let _ = trainer.await;
        }
    }

    /// Sends a request until it is answered. `None` if the server refuses.
    async fn insist<T>(&self, job: &JobName, request: impl AsyncFn(&Engine) -> Result<T, Error>) -> Option<T> {
        loop {
            match self.network.call(&request).await {
                Ok(answer) => return Some(answer),
                Err(Failure::Lost) => {}
                Err(Failure::Refused(
                    error @ (Error::StoreUnavailable(_)
                    | Error::StoreBusy(_)
                    | Error::OutcomeUnknown(_)
                    | Error::ShuttingDown
                    | Error::Deposed
                    | Error::Store(_)
                    | Error::JobDamaged { .. }),
                )) => self.world().log(|| format!("{job}: {error}")),
                Err(Failure::Refused(Error::Overloaded { what, .. })) if what.contains("queue") => {}
                Err(Failure::Refused(error)) => {
                    self.world().log(|| format!("{job}: {error}"));
                    let is_gone = matches!(error, Error::JobNotFound(_));
                    if is_gone || matches!(error, Error::JobEnded { .. }) {
                        self.world().check_job(job, |history, _| history.turned_away(job, is_gone));
                    }
                    return None;
                }
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// Gives orders until it is time to stop.
    pub async fn work(self: Rc<Self>) {
        let world = self.world();
        for _ in 0..world.profile.orders {
            tokio::time::sleep(Duration::from_millis(world.below(600))).await;
            if world.is_calm() {
                return;
            }
            world.clock.jump(i64::try_from(world.below(400_000_000)).unwrap() - 100_000_000);
            let jobs = self.jobs.borrow().clone();
            if jobs.is_empty() {
                continue;
            }
            let job = world.pick(&jobs);
            match world.below(29) {
                0..=5 => self.change(&job, Change::Override(draw_override(world))).await,
                6 | 7 => self.change(&job, Change::ClearOverride).await,
                8..=10 => self.change(&job, Change::Pause).await,
                11..=13 => self.change(&job, Change::Resume).await,
                14..=17 => self.rewrite(&job).await,
                18 | 19 => self.read(&job).await,
                20 | 21 => self.clone().fork(&job).await,
                22 => self.complete(&job).await,
                23..=25 => {
                    self.change(&job, Change::AdviseStop { evidence: BTreeMap::from([("gap".into(), 0.5)]) }).await;
                }
                26 | 27 => self.change(&job, Change::WithdrawStop).await,
                _ => self.delete(&job).await,
            }
        }
    }

    async fn change(&self, job: &JobName, change: Change) {
        let world = self.world();
        let request_id = self.request_id();
        // Trainers are told the reason for advice to stop.
        let order = Order {
            author: "ann".into(),
            reason: request_id.clone(),
            request_id: Some(request_id),
            ..Order::default()
        };
        if matches!(change, Change::AdviseStop { .. }) {
            *world.advised.lock().unwrap() = Some(order.reason.as_str().into());
        }
        world.log(|| format!("{job}: {change:?} is ordered"));
        // Calls with this order, and those among them that the server answered with an error that promises that nothing
        // was changed.
        let (begun, unchanged) = (Cell::new(0), Cell::new(0));
        let is_given_up = Cell::new(false);
        let request = async |engine: &Engine| {
            // The network may deliver a copy of a call that was sent before.
            if is_given_up.get() {
                return Ok(());
            }
            let is_tired = world.below(2) == 0 || world.plant == Some(Plant::IgnoreWithdrawal);
            if begun.get() > 0 && begun.get() == unchanged.get() && is_tired {
                world.log(|| format!("{job}: the order {} is given up", order.reason));
                world.give_up(&order.reason);
                is_given_up.set(true);
                return Ok(());
            }
            begun.set(begun.get() + 1);
            let answer = engine.change_job(job, change.clone(), order.clone()).await;
            if matches!(answer, Err(Error::StoreUnavailable(_) | Error::StoreBusy(_))) {
                unchanged.set(unchanged.get() + 1);
            }
            let (_, decision) = answer?;
            if let Some(decision) = &decision {
                world.log(|| format!("{job}: {} from step {} on", decision.id, decision.effective_step));
                world.check_job(job, |history, stored| history.ordered(job, decision, stored));
            }
            Ok(())
        };
        self.insist(job, request).await;
    }

    /// Replaces the spec by a changed one.
    async fn rewrite(&self, job: &JobName) {
        let Some(view) = self.insist(job, async |engine: &Engine| engine.job(job).await).await else { return };
        let world = self.world();
        let mut spec = view.row.spec.clone();
        match world.below(5) {
            0 => spec.labels = BTreeMap::from([("note".to_owned(), world.below(9).to_string())]),
            1 => spec.groups[0].base_lr *= 0.5,
            2 => spec.controllers = draw_controllers(world),
            3 => spec.total_steps = Some(10 + world.below(60)),
            _ => {
                spec.schedule = draw_schedule(world);
                spec.groups[0].base_lr = 0.25;
            }
        }
        self.change(job, Change::Spec { spec: Box::new(spec), version: view.row.version }).await;
    }

    async fn read(&self, job: &JobName) {
        let wanted = self.world().history().readable(job);
        let query = TelemetryQuery {
            attempt: Some(wanted.0).filter(|attempt| *attempt > 0),
            start_step: 0,
            end_step: 1000,
            metrics: Vec::new(),
            amount: TelemetryAmount::Raw { limit: 1000 },
        };
        let read = async |engine: &Engine| {
            engine.decisions(job, None, None, 1000).await?;
            engine.telemetry(job, query.clone()).await
        };
        if let Ok(answer) = self.network.call(read).await {
            self.world().check(History::read(job, &wanted, &answer));
        }
    }

    async fn fork(self: Rc<Self>, job: &JobName) {
        let world = self.world();
        if self.jobs.borrow().len() >= MAX_JOBS {
            return;
        }
        let Some(view) = self.insist(job, async |engine: &Engine| engine.job(job).await).await else { return };
        let Some(progress) = view.progress.clone() else { return };
        let step = match world.below(3) {
            0 => progress.complete_end,
            1 => progress.complete_end.saturating_sub(world.below(4)),
            _ => world.below(progress.complete_end + 1),
        };
        let number = self.jobs.borrow().len();
        let request_id = Some(self.request_id());
        let name = JobName::new("sim", &format!("{}-fork{number}-{}", job.job(), self.requests.get())).unwrap();
        let mut spec = view.row.spec.clone();
        if world.below(2) == 0 {
            spec.controllers = draw_controllers(world);
        }
        let spec = (world.below(3) > 0).then_some(spec);
        let request = async |engine: &Engine| {
            let (source, name, request_id) = (job.clone(), name.clone(), request_id.clone());
            engine.fork_job(Fork { source, step, name, spec: spec.clone(), order: order(request_id) }).await
        };
        world.log(|| format!("{job}: a fork {name} from step {step} is ordered"));
        let Some(view) = self.insist(job, request).await else { return };
        let mut first = view.row.initial_spec.clone();
        if world.plant == Some(Plant::ShorterLag) {
            first.decision_lag += 1;
        }
        let inherited = view.row.forked_from.as_ref().map_or(0, |point| point.attempt);
        world.history().register(&name, &first, inherited);
        world.log(|| format!("{name} is forked at {step} of attempt {inherited}"));
        let resume_step = if world.below(3) == 0 { world.below(step + 1) } else { step };
        self.employ(name, first, resume_step);
    }

    async fn complete(&self, job: &JobName) {
        self.world().history().end(job);
        self.world().log(|| format!("{job} is to end"));
        let order = Order { author: "ann".into(), reason: "enough".into(), ..Order::default() };
        let complete =
            async |engine: &Engine| engine.complete_job(job, State::Completed, order.clone()).await.map(drop);
        self.insist(job, complete).await;
    }

    async fn delete(&self, job: &JobName) {
        self.world().history().forget(job);
        self.world().log(|| format!("{job} is to go"));
        self.insist(job, async |engine: &Engine| engine.delete_job(job, None, true, Order::default()).await).await;
        self.jobs.borrow_mut().retain(|other| other != job);
    }

    /// Watches a job as a slow reader; every decision by a person that the watcher sees must be durable.
    async fn watch(self: Rc<Self>, job: JobName) {
        let world = self.world();
        loop {
            tokio::time::sleep(Duration::from_millis(world.below(300))).await;
            let Ok((engine, process)) = self.network.address.server(&self.network.seat) else { continue };
            let watch = tokio::select! {
                biased;
                () = process.dead() => continue,
                watch = engine.watch_job(&job) => watch,
            };
            let Ok(mut watch) = watch else {
                if world.history().is_ended(&job) {
                    return;
                }
                continue;
            };
            loop {
                let event = tokio::select! {
                    biased;
                    () = process.dead() => break,
                    event = watch.next() => event,
                };
                match event {
                    Ok(Some(Event::Decision(decision))) => {
                        world.check_job(&job, |history, stored| history.ordered(&job, &decision, stored));
                    }
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                }
                if world.chance(world.profile.slow) {
                    tokio::time::sleep(Duration::from_millis(world.below(2000))).await;
                }
            }
        }
    }
}

fn group(name: &str, base_lr: f64) -> ParameterGroup {
    ParameterGroup { name: name.to_owned(), base_lr, base_momentum: None, base_weight_decay: None, schedule: None }
}

/// The spec of a job whose trainer keeps copies, under the controller that uses copies.
fn draw_guided_spec(world: &World) -> Spec {
    Spec {
        groups: vec![group("default", world.pick(&[0.02, 0.5, 8.0]))],
        total_steps: (world.below(4) > 0).then(|| 90 + world.below(90)),
        controllers: vec![draw_auto(world)],
        decision_lag: world.pick(&[1, 1, 2, 8]),
        commit_ahead: world.pick(&[1, 8, 64]),
        reporting_ranks: world.pick(&[1, 1, 2]),
        tier: Tier::Restore,
        ..Spec::default()
    }
}

fn draw_auto(world: &World) -> ControllerSpec {
    // These trainings are too short for a search, unless that is asked for.
    let search = world.pick(&[Some(true), Some(true), Some(false)]);
    auto::Params { search, ..auto::Params::default() }.into()
}

fn draw_valley(world: &World) -> Valley {
    let steeper = (50 + world.below(80), world.pick(&[1.0, 50.0, 5000.0]));
    Valley { steeper, noise: world.pick(&[0.01, 0.3]), evaluates_every: world.pick(&[0, 1, 1, 5]) }
}

fn draw_spec(world: &World) -> Spec {
    if world.below(4) == 0 {
        return draw_guided_spec(world);
    }
    let mut groups = vec![group("default", 0.5)];
    if world.below(3) == 0 {
        groups.push(ParameterGroup { schedule: Some(draw_schedule(world)), ..group("other", 0.125) });
    }
    let limits = RateLimits { min_lr: Some(1e-3), max_lr: Some(0.75) };
    Spec {
        groups,
        total_steps: Some(20 + world.below(40)),
        schedule: draw_schedule(world),
        controllers: draw_controllers(world),
        decision_lag: world.pick(&[1, 1, 2, 8]),
        commit_ahead: world.pick(&[1, 2, 8, 64]),
        reporting_ranks: world.pick(&[1, 1, 2, 3]),
        rate_limits: if world.below(3) == 0 { limits } else { RateLimits::default() },
        objective: (world.below(4) == 0).then(|| draw_objective(world)),
        ..Spec::default()
    }
}

/// Draws an objective whose target may be reached, and that tells the trainer something then: the oracle waits for the
/// telemetry of every job that has a controller.
fn draw_objective(world: &World) -> Objective {
    let (on_target, cooldown_steps) = match world.below(2) {
        0 => (ThresholdAction::Stop, 0),
        _ => (ThresholdAction::Cooldown, 1 + world.below(9)),
    };
    let target = Some(world.pick(&[0.5, 1.0, 2.0]));
    Objective { target, on_target, cooldown_steps, ..Objective::new(world.pick(&[LOSS, "val_loss"]), Mode::Min) }
}

/// Draws a schedule of the algebra that uses the base rate.
fn draw_schedule(world: &World) -> ScheduleSpec {
    let base = || ScheduleSpec::Base(1.0);
    match world.below(4) {
        0 => base(),
        1 => ScheduleSpec::named("linear", json!({})),
        2 => ScheduleSpec::named("cosine", json!({})),
        _ => ScheduleSpec::Product { factors: vec![base(), ScheduleSpec::Constant(0.5)] },
    }
}

fn draw_controllers(world: &World) -> Vec<ControllerSpec> {
    let plateau = |factor| {
        let (patience, cooldown) = (world.below(3), world.below(3));
        plateau::Params { factor, patience, cooldown, ..plateau::Params::default() }.into()
    };
    let greedy = || {
        let (patience, cooldown) = (world.below(2), world.below(3));
        greedy::Params { factor: 0.75, patience, cooldown, ..greedy::Params::default() }.into()
    };
    let threshold = || {
        let (below, patience) = (Some(world.pick(&[0.5, 1.0, 2.0])), 1 + world.below(3));
        let act = match world.below(4) {
            0 => threshold::Params { action: ThresholdAction::Notice, ..threshold::Params::default() },
            1 => threshold::Params { action: ThresholdAction::Stop, ..threshold::Params::default() },
            2 => threshold::Params { action: ThresholdAction::Cut, factor: Some(0.5), ..threshold::Params::default() },
            _ => threshold::Params {
                action: ThresholdAction::Cooldown,
                cooldown_steps: 1 + world.below(9),
                ..threshold::Params::default()
            },
        };
        threshold::Params { metric: LOSS.to_owned(), below, patience, ..act }.into()
    };
    match world.below(10) {
        0 | 9 => Vec::new(),
        7 => vec![threshold(), plateau(0.5)],
        8 => vec![threshold(), threshold(), greedy()],
        1 | 2 => vec![plateau(0.5)],
        3 => vec![greedy()],
        4 => vec![plateau(0.75), greedy()],
        5 => vec![draw_auto(world)],
        _ => vec![plateau(0.9), plateau(0.5)],
    }
}

fn draw_override(world: &World) -> RateOverride {
    let setting = if world.below(2) == 0 {
        OverrideSetting::Factor(world.pick(&[0.0, 0.5, 2.0]))
    } else {
        OverrideSetting::Fixed(BTreeMap::from([("default".to_owned(), world.pick(&[0.01, 0.3]))]))
    };
    RateOverride { setting, end_step: (world.below(3) == 0).then(|| 10 + world.below(50)) }
}

fn order(request_id: Option<String>) -> Order {
    Order { request_id, ..Order::default() }
}
