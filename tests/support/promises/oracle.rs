//! Rates and decisions worked out once more, step by step from 0, from what was registered, ordered and reported.
//!
//! One loop over the steps: people's decisions that take effect at a step, then the record `d` steps before it, then the rate. Only the
//! schedules' formulas are the program's, which have golden curves of their own. It knows the plateau of PyTorch and the greedy controller.

use std::collections::BTreeMap;

use lrs::{
    model::{
        controller::{ControllerSpec, Greedy, Mode, ReduceLrOnPlateau, ThresholdMode},
        decision::{Decision, DecisionId, Effect, OverrideSetting, RateOverride},
        job::AttemptRow,
        spec::Spec,
        telemetry::Sample,
        violation::Violations,
    },
    schedule::Schedule,
    store::Chunk,
};

/// Steps as one attempt trained them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub attempt: u32,
    pub start: u64,
    pub end: u64,
}

impl Part {
    /// Which attempt trained which steps of the history of `attempt`.
    pub fn lineage(attempts: &[AttemptRow], attempt: u32) -> Vec<Self> {
        let Some(row) = attempts.iter().find(|row| row.attempt == attempt) else { return Vec::new() };
        let mut parts = Self::lineage(attempts, row.parent_attempt);
        parts.retain(|part| part.start < row.resume_step);
        if let Some(last) = parts.last_mut() {
            last.end = last.end.min(row.resume_step);
        }
        parts.push(Self { attempt, start: row.resume_step, end: u64::MAX });
        parts
    }
}

/// What ranks reported in an attempt that is over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Past(BTreeMap<u64, BTreeMap<u32, Sample>>);

impl Past {
    /// Of the chunks that are stored of it.
    pub fn of(chunks: &[Chunk], attempt: u32) -> Self {
        let mut steps: BTreeMap<u64, BTreeMap<u32, Sample>> = BTreeMap::new();
        for chunk in chunks.iter().filter(|chunk| chunk.attempt == attempt) {
            for sample in &chunk.samples {
                let ranks = steps.entry(sample.step).or_default();
                ranks.entry(chunk.rank).and_modify(|known| known.merge(sample)).or_insert_with(|| sample.clone());
            }
        }
        Self(steps)
    }

    /// The highest step that anything was reported of.
    pub fn last_step(&self) -> Option<u64> {
        self.0.last_key_value().map(|(step, _)| *step)
    }

    /// The record of a step, if anything was reported of it.
    pub fn record(&self, step: u64) -> Option<Record> {
        self.0.get(&step).map(record)
    }
}

/// Means over ranks, by the metric's name.
pub type Record = BTreeMap<String, f64>;

/// The record of what ranks reported: the mean of each figure, summed from the lowest rank up.
pub fn record(ranks: &BTreeMap<u32, Sample>) -> Record {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for sample in ranks.values() {
        for (name, bits) in sample.values() {
            let value = f64::from_bits(bits);
            sums.entry(name.to_owned())
                .and_modify(|(sum, n)| (*sum, *n) = (*sum + value, *n + 1.0))
                .or_insert((value, 1.0));
        }
    }
    sums.into_iter().map(|(name, (sum, n))| (name, sum / n)).collect()
}

/// A decision as the oracle makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub id: DecisionId,
    pub effective_step: u64,
    pub base_lrs: Vec<f64>,
}

impl Made {
    /// Whether this is that one.
    pub fn is(&self, decision: &Decision) -> bool {
        let Effect::BaseRates(rates) = &decision.effect else { return false };
        let same =
            rates.groups.iter().map(|group| group.base_lr.to_bits()).eq(self.base_lrs.iter().map(|lr| lr.to_bits()));
        self.id == decision.id && self.effective_step == decision.effective_step && same
    }
}

/// The rates and decisions of an attempt, as far as they have been worked out.
pub struct Oracle {
    attempt: u32,
    lag: u64,
    parts: Vec<Part>,
    /// By step, then in the order in which they were taken.
    events: Vec<(u64, u64, Event)>,
    now: Now,
    /// Whether the events of the next step have been taken.
    entered: bool,
    rates: Vec<Vec<u64>>,
    decisions: BTreeMap<DecisionId, Made>,
    controllers: Vec<(ControllerSpec, Memory)>,
    /// Records that met no controller because there was none.
    idle: Vec<(Part, u64)>,
}

enum Event {
    Spec(Box<Spec>),
    Override(Option<RateOverride>),
    OverrideEnds,
    Paused(bool),
}

/// What is in force at a step.
struct Now {
    spec: Spec,
    schedules: Vec<Schedule>,
    base_lrs: Vec<f64>,
    clock: u64,
    paused: bool,
    rate_override: Option<RateOverride>,
    /// The latest order of each kind.
    seqs: [u64; 3],
}

impl Oracle {
    /// Nothing worked out yet. `people` are the decisions that count.
    pub fn new(spec: &Spec, people: &[&Decision], parts: Vec<Part>, attempt: u32) -> Self {
        let mut events = Vec::new();
        for decision in people {
            let DecisionId::Person { seq } = decision.id else { continue };
            let event = match &decision.effect {
                Effect::Spec(spec) => Event::Spec(spec.clone()),
                Effect::Override(order) => {
                    if let Some(end) = order.end_step {
                        events.push((end, seq, Event::OverrideEnds));
                    }
                    Event::Override(Some(order.clone()))
                }
                Effect::ClearOverride => Event::Override(None),
                Effect::Pause => Event::Paused(true),
                Effect::Resume => Event::Paused(false),
                Effect::BaseRates(_) | Effect::Advice(_) | Effect::WithdrawAdvice(_) => continue,
            };
            events.push((decision.effective_step, seq, event));
        }
        events.sort_by_key(|(step, seq, _)| (*step, *seq));
        events.reverse();
        Self {
            attempt,
            lag: spec.decision_lag,
            parts,
            events,
            now: Now {
                schedules: schedules(spec),
                base_lrs: spec.groups.iter().map(|group| group.base_lr).collect(),
                spec: spec.clone(),
                clock: 0,
                paused: false,
                rate_override: None,
                seqs: [0; 3],
            },
            entered: false,
            rates: Vec::new(),
            decisions: BTreeMap::new(),
            controllers: Vec::new(),
            idle: Vec::new(),
        }
    }

    /// Goes on to `end`, or as far as there are records. `record` says `Err` of a step that is not complete yet.
    pub fn advance(&mut self, end: u64, record: impl Fn(Part, u64) -> Result<Option<Record>, ()>) {
        while (self.rates.len() as u64) < end {
            let step = self.rates.len() as u64;
            if !self.entered {
                self.enter(step, &record);
                self.entered = true;
            }
            let reported = step.checked_sub(self.lag);
            let part = reported.and_then(|at| self.parts.iter().find(|part| (part.start..part.end).contains(&at)));
            if let (Some(at), Some(&part), false) = (reported, part, self.now.paused) {
                if self.now.spec.controllers.is_empty() {
                    self.idle.push((part, at));
                } else {
                    let Ok(found) = record(part, at) else { return };
                    if self.idle.drain(..).any(|(part, at)| matches!(record(part, at), Ok(Some(_)))) {
                        self.controllers.clear();
                    }
                    if let Some(found) = found {
                        self.meet(part, at, &found);
                    }
                }
            }
            self.rates.push(self.now.rates());
            self.entered = false;
            self.now.clock += u64::from(!self.now.paused);
        }
    }

    /// What people decided for `step` is in force from here on, and a trainer may begin here.
    fn enter(&mut self, step: u64, record: &impl Fn(Part, u64) -> Result<Option<Record>, ()>) {
        while let Some((_, seq, event)) = self.events.pop_if(|(at, ..)| *at <= step) {
            self.now.take(seq, event);
        }
        let begins = self.parts.iter().skip(1).any(|part| part.start == step);
        let told = |at: u64| {
            let part = self.parts.iter().find(|part| (part.start..part.end).contains(&at));
            part.is_some_and(|part| matches!(record(*part, at), Ok(Some(_))))
        };
        if begins && !(step.saturating_sub(self.lag)..step).any(told) {
            self.renew();
        }
    }

    /// A controller that the spec has otherwise than before begins afresh.
    fn renew(&mut self) {
        let old = std::mem::take(&mut self.controllers);
        let wanted = self.now.spec.controllers.iter().enumerate();
        let renewed = wanted.map(|(i, spec)| match old.get(i) {
            Some((known, memory)) if known == spec => (spec.clone(), *memory),
            _ => (spec.clone(), Memory::new(spec)),
        });
        self.controllers = renewed.collect();
    }

    fn meet(&mut self, part: Part, step: u64, record: &Record) {
        self.renew();
        for (i, (spec, memory)) in self.controllers.iter_mut().enumerate() {
            let Some(base_lrs) = memory.observe(spec, step, record, &self.now.base_lrs) else { continue };
            self.now.base_lrs.clone_from(&base_lrs);
            let id = DecisionId::Controller { attempt: part.attempt, step, controller: u32::try_from(i).unwrap() };
            self.decisions.insert(id, Made { id, effective_step: step + self.lag, base_lrs });
        }
    }

    /// The bits of the rates of all groups at a step, once they are known.
    pub fn rates(&self, step: u64) -> Option<Vec<u64>> {
        self.rates.get(usize::try_from(step).ok()?).cloned()
    }

    /// The decision of this identity.
    pub fn decision(&self, id: DecisionId) -> Option<&Made> {
        self.decisions.get(&id)
    }

    /// All decisions.
    pub fn decisions(&self) -> impl Iterator<Item = &Made> {
        self.decisions.values()
    }

    /// The attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

fn schedules(spec: &Spec) -> Vec<Schedule> {
    let compile =
        |schedule| Schedule::try_new(schedule, spec, &mut Violations::new()).expect("a spec that was checked");
    spec.groups.iter().map(|group| compile(group.schedule.as_ref().unwrap_or(&spec.schedule))).collect()
}

impl Now {
    /// Of two orders of a kind the later one is in force wherever both would be.
    fn take(&mut self, seq: u64, event: Event) {
        let kind = match event {
            Event::Spec(_) => 0,
            Event::Override(_) | Event::OverrideEnds => 1,
            Event::Paused(_) => 2,
        };
        if seq < self.seqs[kind] {
            return;
        }
        match event {
            Event::Spec(spec) => {
                let names = |spec: &Spec| spec.groups.iter().map(|group| group.name.clone()).collect::<Vec<_>>();
                let same_groups = names(&spec) == names(&self.spec);
                for (i, group) in spec.groups.iter().enumerate() {
                    let keeps = same_groups && self.spec.groups[i].base_lr.to_bits() == group.base_lr.to_bits();
                    if !keeps {
                        self.base_lrs.resize(spec.groups.len(), 0.0);
                        self.base_lrs[i] = group.base_lr;
                    }
                }
                self.schedules = schedules(&spec);
                self.spec = *spec;
            }
            Event::Override(order) => self.rate_override = order,
            Event::OverrideEnds if seq == self.seqs[1] => self.rate_override = None,
            Event::OverrideEnds => return,
            Event::Paused(paused) => self.paused = paused,
        }
        self.seqs[kind] = seq;
    }

    fn rates(&self) -> Vec<u64> {
        let groups = self.spec.groups.iter().zip(&self.schedules).zip(&self.base_lrs);
        let rates = groups.map(|((group, schedule), &base_lr)| {
            let mut rate = schedule.value_at(self.clock, base_lr);
            match self.rate_override.as_ref().map(|order| &order.setting) {
                Some(OverrideSetting::Factor(factor)) => rate = (rate * factor).clamp(f64::MIN, f64::MAX),
                Some(OverrideSetting::Fixed(fixed)) => rate = fixed.get(&group.name).copied().unwrap_or(rate),
                None => {}
            }
            let limits = &self.spec.rate_limits;
            let rate = limits.min_lr.map_or(rate, |min| rate.max(min));
            limits.max_lr.map_or(rate, |max| rate.min(max)).to_bits()
        });
        rates.collect()
    }
}

/// What a controller remembers.
#[derive(Clone, Copy, Debug)]
struct Memory {
    best: f64,
    good: u64,
    bad: u64,
    wait: u64,
}

impl Memory {
    fn new(spec: &ControllerSpec) -> Self {
        let mode = match spec {
            ControllerSpec::ReduceLrOnPlateau(spec) => spec.mode,
            ControllerSpec::Greedy(spec) => spec.mode,
            other => panic!("the oracle does not know {}", other.kind()),
        };
        let best = if mode == Mode::Min { f64::INFINITY } else { f64::NEG_INFINITY };
        Self { best, good: 0, bad: 0, wait: 0 }
    }

    /// The base rates after a record, if they move.
    fn observe(&mut self, spec: &ControllerSpec, step: u64, record: &Record, base_lrs: &[f64]) -> Option<Vec<f64>> {
        match spec {
            ControllerSpec::ReduceLrOnPlateau(spec) => self.plateau(spec, step, record, base_lrs),
            ControllerSpec::Greedy(spec) => self.greedy(spec, record, base_lrs),
            other => panic!("the oracle does not know {}", other.kind()),
        }
    }

    fn plateau(&mut self, spec: &ReduceLrOnPlateau, step: u64, record: &Record, base_lrs: &[f64]) -> Option<Vec<f64>> {
        let value = *record.get(&spec.metric).filter(|_| step >= spec.start_step)?;
        if is_better(spec.mode, spec.threshold_mode, spec.threshold, value, self.best) {
            (self.best, self.bad) = (value, 0);
        } else {
            self.bad += 1;
        }
        if self.wait > 0 {
            (self.wait, self.bad) = (self.wait - 1, 0);
        }
        if self.bad <= spec.patience {
            return None;
        }
        (self.wait, self.bad) = (spec.cooldown, 0);
        let lowered = base_lrs.iter().enumerate().map(|(i, &lr)| {
            let min = spec.min_lr.get(i).or(spec.min_lr.first()).copied().unwrap_or(0.0);
            let new = (lr * spec.factor).max(min);
            if lr - new > spec.eps { new } else { lr }
        });
        Some(lowered.collect::<Vec<_>>()).filter(|lowered| lowered != base_lrs)
    }

    fn greedy(&mut self, spec: &Greedy, record: &Record, base_lrs: &[f64]) -> Option<Vec<f64>> {
        assert!(spec.window == 1 && spec.warmup == 0, "the oracle knows the plain greedy controller");
        let value = *record.get(&spec.metric)?;
        if self.wait > 0 {
            *self = Self { wait: self.wait - 1, good: 0, bad: 0, ..*self };
            return None;
        }
        if is_better(spec.mode, spec.threshold_mode, spec.threshold, value, self.best) {
            *self = Self { best: value, good: self.good + 1, bad: 0, ..*self };
        } else {
            (self.good, self.bad) = (0, self.bad + 1);
        }
        let moved: Vec<f64> = if self.good > spec.patience {
            self.good = 0;
            let max = spec.max_lr.first().copied().unwrap_or(1.0);
            let raise = |&lr: &f64| (lr, (lr / spec.factor).min(max));
            base_lrs.iter().map(raise).map(|(lr, new)| if new - lr > spec.eps { new } else { lr }).collect()
        } else if self.bad > spec.patience {
            (self.bad, self.wait) = (0, spec.cooldown);
            let min = spec.min_lr.first().copied().unwrap_or(1e-3);
            let lower = |&lr: &f64| (lr, (lr * spec.factor).max(min));
            base_lrs.iter().map(lower).map(|(lr, new)| if lr - new > spec.eps { new } else { lr }).collect()
        } else {
            return None;
        };
        Some(moved).filter(|moved| moved != base_lrs)
    }
}

fn is_better(mode: Mode, threshold_mode: ThresholdMode, threshold: f64, value: f64, best: f64) -> bool {
    match (mode, threshold_mode) {
        (Mode::Min, ThresholdMode::Rel) => value < best * (1.0 - threshold),
        (Mode::Min, ThresholdMode::Abs) => value < best - threshold,
        (Mode::Max, ThresholdMode::Rel) => value > best * (threshold + 1.0),
        (Mode::Max, ThresholdMode::Abs) => value > best + threshold,
    }
}
