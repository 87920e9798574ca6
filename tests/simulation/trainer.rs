//! Trainers: the ranks of a job ask for each step, report it, and send again every report that was not acknowledged.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    sync::atomic::Ordering::SeqCst,
    time::Duration,
};

use lrs_engine::{Directive, DirectiveAnswer, Error, RateCall};
use lrs_model::{
    decision::Action,
    name::JobName,
    spec::Spec,
    telemetry::{Report, Sample},
};
use tokio::{task::JoinHandle, time::Instant};

use crate::model::{Model, Valley};
use crate::{
    network::{Failure, Network},
    planted::Plant,
    process::Process,
    promises::Violation,
    stream::{Message, Stream},
};

/// More than a timer's resolution.
const GRAIN: Duration = Duration::from_millis(2);
/// The most reports that a rank keeps unacknowledged.
const OUTBOX: usize = 5;

/// The trainers of a job.
pub struct Group {
    pub network: Network,
    pub job: JobName,
    pub spec: Spec,
    pub steps: u64,
    /// The valley of the model, for a job whose losses depend on the rates.
    pub valley: Option<Valley>,
    /// The weight before each step, as in a checkpoint.
    pub checkpoints: RefCell<BTreeMap<u64, f64>>,
}

/// The job accepts nothing more, so training is over.
pub struct Over;

/// The state that the tasks of a rank share.
#[derive(Default)]
pub struct Shared {
    /// Steps below this are acknowledged.
    pub acknowledged: Cell<u64>,
    /// Final directives that have arrived, by step.
    pub directed: RefCell<BTreeMap<u64, Directive>>,
    pub over: Cell<bool>,
}

impl Group {
    /// A caller that asks for a job's rates and does not train.
    pub fn watcher(network: Network, job: JobName, spec: Spec) -> Self {
        Self { network, job, spec, steps: 0, valley: None, checkpoints: RefCell::default() }
    }

    /// Trains all steps from `resume_step` on, with restarts from earlier and later steps.
    pub async fn train(self: Rc<Self>, mut resume_step: u64) {
        let world = &self.network.world;
        for number in 1.. {
            let token = format!("t{number}");
            let Ok(attempt) = self.start(&token, resume_step).await else { return };
            let (furthest, done) = (Rc::new(Cell::new(resume_step)), Rc::new(Cell::new(0)));
            let ranks: Vec<JoinHandle<()>> = (0..self.spec.reporting_ranks)
                .map(|rank| {
                    let (group, token) = (self.clone(), token.clone());
                    let (furthest, done) = (furthest.clone(), done.clone());
                    tokio::task::spawn_local(async move {
                        // Every rank asks, and all get the same attempt.
                        if rank > 0 && group.start(&token, resume_step).await.is_err() {
                            return;
                        }
                        let is_done = Rank::new(group, attempt, rank, resume_step).train(&furthest).await;
                        done.set(done.get() + u32::from(is_done));
                    })
                })
                .collect();
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if ranks.iter().all(JoinHandle::is_finished) {
                    if done.get() < self.spec.reporting_ranks && !world.history().is_ended(&self.job) {
                        let what = format!("{}: attempt {attempt} cannot be trained to its end", self.job);
                        world.fail(Violation { promise: 4, what });
                    }
                    return;
                }
                if number < 6 && world.chance(world.profile.rewinds) {
                    break;
                }
            }
            ranks.iter().for_each(JoinHandle::abort);
            resume_step = match world.below(4) {
                0 => world.below(furthest.get() + 1),
                1 => furthest.get() + world.below(3),
                _ => furthest.get().saturating_sub(world.below(10)),
            }
            .min(self.steps - 1);
            world.log(|| format!("{} goes back to {resume_step}", self.job));
        }
    }

    async fn start(&self, token: &str, resume_step: u64) -> Result<u32, Over> {
        let world = &self.network.world;
        loop {
            let start = async |engine: &lrs_engine::Engine| {
                let info = engine.start_attempt(&self.job, token.to_owned(), resume_step, None).await?;
                world.log(|| format!("{} is told attempt {} for {token}", self.job, info.row.attempt));
                world.check_job(&self.job, |history, stored| history.attempt_started(&self.job, &info.row, stored));
                Ok(info.row.attempt)
            };
            match self.network.call(start).await {
                Ok(attempt) => return Ok(attempt),
                Err(failure) => self.bear(failure)?,
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
    }

    /// Returns so that the caller tries again after a passing error. Any other error ends the training, and somebody
    /// must have asked for that end.
    pub fn bear(&self, failure: Failure) -> Result<(), Over> {
        let is_gone = match failure {
            Failure::Refused(Error::JobNotFound(_)) => true,
            Failure::Refused(Error::JobEnded { .. }) => false,
            Failure::Refused(Error::StaleAttempt { .. }) => return Err(Over),
            Failure::Refused(
                error @ (Error::Invalid(_) | Error::AttemptTokenReused { .. } | Error::UnknownAttempt { .. }),
            ) => {
                self.network.world.fail(Violation { promise: 1, what: format!("{}: {error}", self.job) });
                return Err(Over);
            }
            Failure::Lost | Failure::Refused(_) => return Ok(()),
        };
        self.network.world.check_job(&self.job, |history, _| history.turned_away(&self.job, is_gone));
        Err(Over)
    }

    /// Checks that a process may call anything final now.
    pub fn check_lease(&self, process: &Process, step: u64) {
        let world = &self.network.world;
        if !process.is_within(world.lease) {
            let what = format!("{}: process {} calls step {step} final past its lease", self.job, process.id);
            world.fail(Violation { promise: 1, what });
        }
    }

    /// Notes final directives that arrived.
    pub fn note(&self, attempt: u32, directives: &[Directive]) {
        let world = &self.network.world;
        for directive in directives {
            let rates: Vec<f64> = directive.rates.iter().map(|rate| rate.learning_rate).collect();
            let step = directive.step;
            let told = &directive.told;
            world.log(|| format!("{} given {attempt}/{step}: {rates:?} {told:?}", self.job));
            world.check_job(&self.job, |history, stored| history.given(&self.job, attempt, step, &rates, told, stored));
        }
    }

    /// Asks for a step and the steps after it; the answer must come within `wait`.
    pub async fn ask(&self, attempt: u64, step: u64, plan: usize, wait: Duration) -> Result<DirectiveAnswer, Failure> {
        let world = &self.network.world;
        let ask = async |engine: &lrs_engine::Engine, process: &Process| {
            let asked = Instant::now();
            let call = RateCall { attempt, step, plan_steps: plan, wait };
            let answer = engine.directive(self.job.as_str(), call).await;
            let took = asked.elapsed();
            // A job that is not in memory has to be read, even if the call does not wait for a final rate.
            let allowed = if wait.is_zero() { Duration::from_secs(1) } else { wait };
            if took > allowed + GRAIN && answer.is_ok() {
                let what = format!("{}: step {step} was asked for with {wait:?}, and took {took:?}", self.job);
                world.fail(Violation { promise: 4, what });
            }
            if answer.as_ref().is_ok_and(|answer| answer.is_final) {
                self.check_lease(process, step);
            }
            answer
        };
        let mut answer = self.network.call_process(ask).await?;
        match world.plant {
            Some(Plant::ProvisionalAsFinal) => answer.is_final = true,
            Some(Plant::ForgetActions) => {
                std::iter::once(&mut answer.directive).chain(&mut answer.plan).for_each(|d| d.told.actions.clear());
            }
            Some(Plant::AdviseEarly) => {
                let advice = world.advised.lock().unwrap().clone();
                answer.directive.told.stop_advice = answer.directive.told.stop_advice.or(advice);
            }
            _ => {}
        }
        let end = answer.final_steps;
        if answer.is_final {
            self.note(answer.attempt, std::slice::from_ref(&answer.directive));
            self.note(answer.attempt, &answer.plan[..end]);
        }
        Ok(answer)
    }
}

#[expect(clippy::struct_field_names, reason = "the number of a rank is its rank")]
struct Rank {
    group: Rc<Group>,
    attempt: u32,
    rank: u32,
    next: u64,
    shared: Rc<Shared>,
    stream: Option<Stream>,
    /// Samples that are not in a report yet.
    gathered: Vec<Sample>,
    outbox: VecDeque<Report>,
    /// Reports that are acknowledged, in case the database loses them all the same.
    kept: Vec<Report>,
    /// A sample that is acknowledged.
    known: Option<Sample>,
    model: Option<Model>,
    /// The trainer went on with a directive that was not final, and may have missed actions.
    was_impatient: bool,
}

impl Rank {
    fn new(group: Rc<Group>, attempt: u32, rank: u32, resume_step: u64) -> Self {
        let shared = Rc::new(Shared::default());
        shared.acknowledged.set(resume_step);
        let (stream, gathered, outbox, kept) = (None, Vec::new(), VecDeque::new(), Vec::new());
        let checkpoint = group.checkpoints.borrow().range(..=resume_step).next_back().map(|(_, weight)| *weight);
        let model = group.valley.map(|valley| Model::new(valley, checkpoint.unwrap_or(1.0)));
        let (next, known, was_impatient) = (resume_step, None, false);
        Self { group, attempt, rank, next, shared, stream, gathered, outbox, kept, known, model, was_impatient }
    }

    /// Trains to the end; returns whether the end was reached.
    async fn train(mut self, furthest: &Cell<u64>) -> bool {
        let world = self.group.network.world.clone();
        while self.shared.acknowledged.get() < self.group.steps && !self.shared.over.get() {
            self.forget_acknowledged();
            if world.chance(world.profile.cut) {
                self.stream = None;
            }
            if self.stream.as_ref().is_none_or(Stream::is_broken) && self.connect().await.is_err() {
                tokio::time::sleep(Duration::from_millis(30)).await;
                continue;
            }
            if self.next == self.group.steps || self.outbox.len() >= OUTBOX {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
            let directive = match self.direct().await {
                Ok(Some(directive)) => directive,
                Ok(None) => {
                    // The rate may depend on samples that have not been sent yet.
                    self.report().await;
                    continue;
                }
                Err(Over) => return false,
            };
            let sample = if self.model.is_some() { self.learn(&directive) } else { self.sample() };
            self.gathered.push(sample);
            self.next += 1;
            furthest.set(furthest.get().max(self.next));
            if world.below(3) > 0 || self.next == self.group.steps {
                self.report().await;
            }
            self.tease().await;
            if world.chance(world.profile.slow) {
                tokio::time::sleep(Duration::from_millis(world.below(500))).await;
            }
        }
        let is_done = self.shared.acknowledged.get() >= self.group.steps;
        world.done.fetch_add(1, SeqCst);
        is_done
    }

    /// The directive of the next step, final if possible; `None` if it is better to wait.
    async fn direct(&mut self) -> Result<Option<Directive>, Over> {
        let world = &self.group.network.world;
        if let Some(directive) = self.shared.directed.borrow_mut().remove(&self.next) {
            return Ok(Some(directive));
        }
        let wait = world.pick(&[Duration::ZERO, Duration::from_millis(20), Duration::from_secs(1)]);
        let plan = usize::try_from(world.below(6)).unwrap();
        // 0 stands for the newest attempt.
        let attempt = if world.below(20) == 0 { 0 } else { u64::from(self.attempt) };
        match self.group.ask(attempt, self.next, plan, wait).await {
            Ok(answer) if answer.attempt > self.attempt => return Err(Over),
            // A process that stood still while another one began this attempt knows an older one, and calls nothing final.
            Ok(answer) if answer.attempt < self.attempt && !answer.is_final => {}
            Ok(answer) if answer.is_final => {
                let plan = answer.plan.into_iter().take(answer.final_steps);
                self.shared.directed.borrow_mut().extend(plan.map(|directive| (directive.step, directive)));
                return Ok(Some(answer.directive));
            }
            Ok(answer) if world.chance(world.profile.impatient) => {
                self.was_impatient = true;
                return Ok(Some(answer.directive));
            }
            Ok(_) => {}
            Err(failure) => self.group.bear(failure)?,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(None)
    }

    /// Carries out the directive's actions, and trains the next step.
    fn learn(&mut self, directive: &Directive) -> Sample {
        let (group, world) = (&self.group, &self.group.network.world);
        let Some(model) = &mut self.model else { return Sample::new(self.next) };
        if self.rank == 0 {
            group.checkpoints.borrow_mut().insert(self.next, model.weight());
        }
        if world.plant == Some(Plant::SilentRestart) && world.below(40) == 0 {
            model.lose_copies();
        }
        for action in &directive.told.actions {
            match model.obey(action) {
                Ok(()) if matches!(action, Action::Forget(_)) => {}
                Ok(()) => world.history().obeyed(matches!(action, Action::Restore(_))),
                Err(_) if self.was_impatient => {}
                Err(copy) => {
                    let at = format!("step {} of attempt {}", self.next, self.attempt);
                    let what = format!("{}: before {at} it is to go back to {copy}, which it has not kept", group.job);
                    world.fail(Violation { promise: 1, what });
                }
            }
        }
        let trained = model.train(directive, world.noise());
        let mut sample = Sample {
            loss: Some(trained.loss),
            grad_norm: Some(trained.grad_norm),
            learning_rate: Some(directive.rates[0].learning_rate),
            ..Sample::new(self.next)
        };
        if let Some(evaluation) = trained.evaluation {
            sample.add_metric("val_loss".into(), evaluation);
        }
        sample.canonicalise();
        sample
    }

    /// The sample of the next step.
    fn sample(&self) -> Sample {
        let world = &self.group.network.world;
        let figure = |count: u64| f64::from(u32::try_from(count).unwrap());
        let loss = match world.below(20) {
            0 => Some(f64::NAN),
            1 => Some(f64::INFINITY),
            2 => None,
            3..=7 => Some(1.0 / figure(self.next + 2)),
            _ => Some(1.0 + figure(world.below(7)) / 10.0),
        };
        let mut sample = Sample { loss, ..Sample::new(self.next) };
        if world.below(4) == 0 {
            sample.add_metric("val_loss".into(), figure(world.below(5)));
        }
        sample
    }

    /// Sends the gathered samples and closes their steps. Sometimes sends the pieces of a sample one by one.
    async fn report(&mut self) {
        let world = self.group.network.world.clone();
        if self.gathered.is_empty() {
            return;
        }
        let samples = std::mem::take(&mut self.gathered);
        let through_step = samples.last().map(|sample| sample.step);
        if world.below(6) == 0 {
            let pieces = samples.iter().map(|sample| Sample { loss: sample.loss, ..Sample::new(sample.step) });
            self.send(Report { samples: pieces.collect(), through_step: None }).await;
        }
        self.send(Report { samples, through_step }).await;
    }

    async fn send(&mut self, report: Report) {
        let (job, attempt, rank) = (&self.group.job, self.attempt, self.rank);
        self.group.network.world.history().sending(job, attempt, rank, &report);
        self.outbox.push_back(report.clone());
        if let Some(stream) = &self.stream {
            stream.send(Message::Report(report)).await;
        }
    }

    /// Opens a stream, and sends again every report that was not acknowledged.
    async fn connect(&mut self) -> Result<(), Failure> {
        let stream = Stream::open(&self.group, self.attempt, self.rank, &self.shared).await;
        let (stream, durable_end) = match stream {
            Ok(opened) => opened,
            Err(failure) => {
                if self.group.bear(failure).is_err() {
                    self.shared.over.set(true);
                }
                return Err(Failure::Lost);
            }
        };
        if durable_end < self.shared.acknowledged.get() {
            self.group.network.world.log(|| format!("{} sends again from step {durable_end} on", self.group.job));
            self.shared.acknowledged.set(durable_end);
            self.known = None;
            let is_lost = |report: &Report| report.samples.iter().any(|sample| sample.step >= durable_end);
            let lost = self.kept.iter().position(is_lost);
            for report in self.kept.split_off(lost.unwrap_or(self.kept.len())).into_iter().rev() {
                self.outbox.push_front(report);
            }
        }
        for report in &self.outbox {
            stream.send(Message::Report(report.clone())).await;
        }
        self.stream = Some(stream);
        Ok(())
    }

    fn forget_acknowledged(&mut self) {
        let end = self.shared.acknowledged.get();
        let is_done = |report: &Report| report.samples.iter().all(|sample| sample.step < end);
        while let Some(report) = self.outbox.pop_front_if(|report| is_done(report)) {
            self.known = report.samples.iter().find(|sample| sample.loss.is_some()).cloned().or(self.known.take());
            self.kept.push(report);
        }
    }

    /// Sends a durable sample again, unchanged or with another loss; neither may change anything.
    async fn tease(&self) {
        let world = &self.group.network.world;
        let (Some(known), Some(stream)) = (&self.known, &self.stream) else { return };
        match world.below(12) {
            0 => stream.send(Message::Repeat(known.clone())).await,
            1 => {
                let loss = Some(12345.0);
                stream.send(Message::Conflict(Sample { loss, ..Sample::new(known.step) })).await;
            }
            _ => {}
        }
    }
}
