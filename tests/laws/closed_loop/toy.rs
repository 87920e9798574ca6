//! A small real training: stochastic gradient descent with momentum on a noisy quadratic, as a trainer that obeys its
//! directives.

use std::collections::HashMap;

use lrs_engine::{Directive, job::Job, timeline::Timeline};
use lrs_model::{
    controller::Mode,
    decision::{Action, Decision},
    schedule::ScheduleSpec,
    spec::{Group, Objective, Spec, Tier},
    telemetry::{Report, SKIPPED, Sample},
};
use serde_json::json;

const DIMENSIONS: usize = 16;
const MOMENTUM: f64 = 0.9;
const EVALUATE_EVERY: u64 = 20;

/// A job of `total_steps` under the recommended controller.
pub fn spec(base_lr: f64, tier: Tier, total_steps: u64) -> Spec {
    Spec {
        groups: vec![Group {
            name: "default".to_owned(),
            base_lr,
            base_momentum: None,
            base_weight_decay: None,
            schedule: None,
        }],
        controllers: vec![lrs_control::auto::Params::default().into()],
        objective: Some(Objective::new("val_loss", Mode::Min)),
        total_steps: Some(total_steps),
        tier,
        ..Spec::default()
    }
}

/// The ways in which a trainer differs from a perfect one.
#[derive(Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a habit of its own")]
pub struct Habits {
    pub reports_norm: bool,
    pub evaluates: bool,
    /// Reports evaluations with their sign turned, so that higher is better.
    pub negates: bool,
    /// What the gradient of a step is multiplied by.
    pub fault: fn(u64) -> f64,
    /// A reported training loss stays above this, as one does that has a large part which no training lowers.
    pub floor: f64,
    /// The share of the steps, at random, whose reported loss is NaN, as that of a bad sample is. Their updates are
    /// left out.
    pub bad: f64,
    /// The steps whose update is left out, as a `GradScaler` does, with an infinite norm.
    pub skips: fn(u64) -> bool,
    pub reports_loss: bool,
    /// What reported losses and evaluations are multiplied by.
    pub unit: f64,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            reports_norm: true,
            evaluates: true,
            negates: false,
            fault: |_| 1.0,
            floor: 0.0,
            bad: 0.0,
            skips: |_| false,
            reports_loss: true,
            unit: 1.0,
        }
    }
}

/// A run, over or still going on.
pub struct Run {
    pub job: Job,
    pub records: Vec<Sample>,
    pub directives: Vec<Directive>,
    pub decisions: Vec<Decision>,
    model: Model,
    copies: HashMap<String, Model>,
    missed: Vec<String>,
    habits: Habits,
    random: Random,
}

#[derive(Clone)]
struct Model {
    weights: [f64; DIMENSIONS],
    velocity: [f64; DIMENSIONS],
}

impl Run {
    pub fn new(spec: &Spec, habits: Habits, seed: u64) -> Self {
        let model = Model { weights: [1.0; DIMENSIONS], velocity: [0.0; DIMENSIONS] };
        Self {
            job: Job::new(Timeline::try_new(spec, []).expect("the spec is right"), 1, 0),
            records: Vec::new(),
            directives: Vec::new(),
            decisions: Vec::new(),
            model,
            copies: HashMap::new(),
            missed: Vec::new(),
            habits,
            random: Random(seed),
        }
    }

    /// Trains steps up to `end`, one at a time, each at its final directive.
    pub fn train_until(&mut self, end: u64) -> &mut Self {
        let first = self.records.last().map_or(0, |record| record.step + 1);
        for step in first..end {
            assert!(self.job.determined_end() > step, "the directive of step {step} is not final");
            let directive = self.job.timeline().directive_at(step);
            self.obey(&directive);
            let sample = self.train(step, &directive);
            self.directives.push(directive);
            self.records.push(sample.clone());
            let report = Report { samples: vec![sample], through_step: Some(step) };
            self.decisions.extend(self.job.take(0, report, 100).expect("few steps are open").decisions);
        }
        self
    }

    /// The process dies, its copies with it, and goes on from where it is.
    pub fn restart(&mut self, attempt: u32, step: u64) {
        self.copies.clear();
        self.decisions.extend(self.job.begin_attempt(attempt, step));
    }

    /// The loss without noise.
    pub fn loss(&self) -> f64 {
        loss(&self.model.weights)
    }

    /// How many copies the trainer holds.
    pub fn copies(&self) -> usize {
        self.copies.len()
    }

    /// Copies that it was to go back to and did not have.
    pub fn missed(&self) -> &[String] {
        &self.missed
    }

    fn obey(&mut self, directive: &Directive) {
        for action in &directive.told.actions {
            match action {
                Action::Keep(id) => drop(self.copies.insert(id.clone(), self.model.clone())),
                Action::Restore(id) => match self.copies.get(id) {
                    Some(copy) => self.model = copy.clone(),
                    // A copy that is not kept is passed over.
                    None => self.missed.push(id.clone()),
                },
                Action::Forget(id) => drop(self.copies.remove(id)),
            }
        }
    }

    fn train(&mut self, step: u64, directive: &Directive) -> Sample {
        let rate = directive.rates[0].learning_rate;
        let observed = loss(&self.model.weights).max(self.habits.floor) * (1.0 + 0.02 * self.random.normal());
        let mut gradient = self.model.weights;
        for (i, slope) in gradient.iter_mut().enumerate() {
            *slope = (*slope * curvature(i) + 0.05 * self.random.normal()) * (self.habits.fault)(step);
        }
        let is_bad = self.habits.bad > 0.0 && self.random.uniform() < self.habits.bad;
        let is_left_out = (self.habits.skips)(step);
        let observed = if is_bad { f64::NAN } else { observed };
        let norm = gradient.iter().map(|slope| slope * slope).sum::<f64>().sqrt();
        let norm = if is_left_out { f64::INFINITY } else { norm };
        let sample = Sample {
            loss: self.habits.reports_loss.then_some(self.habits.unit * observed),
            grad_norm: self.habits.reports_norm.then_some(norm),
            learning_rate: Some(rate),
            ..Sample::new(step)
        };
        let clip = directive.told.bound.clip_norm.filter(|bound| norm > *bound).map_or(1.0, |bound| bound / norm);
        let is_skipped = directive.told.bound.skip_above_norm.is_some_and(|bound| norm > bound);
        if observed.is_finite() && norm.is_finite() && !is_skipped {
            for ((weight, velocity), slope) in self.model.weights.iter_mut().zip(&mut self.model.velocity).zip(gradient)
            {
                *velocity = MOMENTUM * *velocity + slope * clip;
                *weight -= rate * *velocity;
            }
        }
        let mut sample = sample;
        if is_left_out {
            sample.add_metric(SKIPPED.into(), 3.0);
        }
        if self.habits.evaluates && (step + 1).is_multiple_of(EVALUATE_EVERY) {
            let sign = if self.habits.negates { -1.0 } else { 1.0 };
            sample.add_metric("val_loss".into(), self.habits.unit * sign * loss(&self.model.weights));
        }
        sample.canonicalise();
        sample
    }
}

fn curvature(i: usize) -> f64 {
    let share = f64::from(u32::try_from(i).expect("few dimensions")) / 15.0;
    1.0 - 0.97 * share
}

fn loss(weights: &[f64; DIMENSIONS]) -> f64 {
    0.01 + weights.iter().enumerate().map(|(i, weight)| 0.5 * curvature(i) * weight * weight).sum::<f64>()
}

/// The final loss of the same training at one rate throughout, cut short where it diverges.
pub fn constant(rate: f64, steps: u64, seed: u64) -> f64 {
    without_controllers(rate, steps, seed, ScheduleSpec::Base(1.0))
}

/// The final loss of the same training under a cosine with a warm-up, from the peak `rate`.
pub fn cosine(rate: f64, steps: u64, seed: u64) -> f64 {
    let schedule = ScheduleSpec::named("cosine", json!({}));
    let warmup = json!({"warmup_steps": steps / 20, "schedule": schedule});
    without_controllers(rate, steps, seed, ScheduleSpec::named("warmup", warmup))
}

fn without_controllers(rate: f64, steps: u64, seed: u64, schedule: ScheduleSpec) -> f64 {
    let plain = Spec { controllers: Vec::new(), objective: None, schedule, ..spec(rate, Tier::Rates, steps) };
    Run::new(&plain, Habits::default(), seed).train_until(steps).loss().min(1e3)
}

struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 32).expect("32 bits")) / 4_294_967_296.0
    }

    /// About normal: the sum of twelve uniform numbers.
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}
