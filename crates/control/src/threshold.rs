//! Acts once, when a metric reaches a value or the training diverges: with a notice, advice to stop, a cooldown or a
//! cut. The target of a job's objective is such a threshold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    auto::{Diverged, Divergence, DivergenceState},
    epochs::{Counting, EpochState},
    kind::Kind,
    params::{metric, shrinking},
    shape::halted,
    wording::brief,
    words::{Advice, Move, Observation, Outcome, Ruling, Setting, Status},
};
use lrs_model::{
    controller::{ControllerSpec, Mode, ThresholdAction},
    decision::{Cooldown, RateShape, Topic},
    number::exact,
    schedule::Unit,
    spec::Objective,
    telemetry::LOSS,
    violation::Violations,
};

const MAX_PATIENCE: u64 = 1_000_000;
/// So many values in a row that are not finite, and so meet no condition, are worth a word.
const MANY_NOT_FINITE: u64 = 8;

/// The parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct Params {
    pub metric: String,
    pub above: Option<f64>,
    pub below: Option<f64>,
    pub divergence: bool,
    pub patience: u64,
    pub start_step: u64,
    pub unit: Option<Unit>,
    pub action: ThresholdAction,
    pub factor: Option<f64>,
    pub cooldown_steps: u64,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            metric: String::new(),
            above: None,
            below: None,
            divergence: false,
            patience: 1,
            start_step: 0,
            unit: None,
            action: ThresholdAction::default(),
            factor: None,
            cooldown_steps: 0,
        }
    }
}

/// What meets the threshold.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Condition {
    Above(f64),
    Below(f64),
    Divergence(Divergence),
}

/// What happens then.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Act {
    Notice,
    Stop,
    Cooldown(u64),
    Cut(f64),
}

/// The controller, for one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    metric: String,
    condition: Condition,
    patience: u64,
    start_step: u64,
    counting: Counting,
    act: Act,
    total_steps: Option<u64>,
}

/// What the controller remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThresholdState {
    /// The values in a row that met the condition, at most `patience`.
    in_a_row: u64,
    epoch: EpochState,
    /// The values in a row that were not finite, and the step of the first of them.
    not_finite: u64,
    not_finite_since: u64,
    /// Only with `divergence`.
    watch: Option<DivergenceState>,
    /// What was reached and done, in words.
    reached: Option<String>,
    /// The cooldown that is under way.
    cooldown: Option<Cooldown>,
}

impl Kind for Threshold {
    const NAME: &'static str = "threshold";

    type Params = Params;
    type State = Box<ThresholdState>;

    fn try_new(params: Params, setting: &Setting, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        let name = if params.metric.is_empty() && params.divergence { LOSS } else { &params.metric };
        if name.is_empty() {
            v.add("metric", "is required: `loss`, `grad_norm`, or a metric the trainer reports");
        } else {
            metric(name, v);
        }
        let condition = condition(&params, setting, v);
        if !(1..=MAX_PATIENCE).contains(&params.patience) {
            v.refuse("patience", params.patience, format_args!("from 1 to {MAX_PATIENCE}"));
        } else if params.divergence && params.patience > 1 {
            v.refuse("patience", params.patience, "unset with `divergence`, which looks at a median of many values");
        }
        let counting = Counting::try_new(params.unit, setting.steps_per_epoch, v);
        if params.divergence && params.unit == Some(Unit::Epoch) {
            v.refuse("unit", "UNIT_EPOCH", "UNIT_STEP or unset with `divergence`");
        }
        let act = act("action", params.action, params.factor, params.cooldown_steps, setting.total_steps, v);
        let (condition, act) = condition.zip(act).filter(|_| v.len() == wrong_before)?;
        let metric = name.to_owned();
        let Params { patience, start_step, .. } = params;
        let total_steps = setting.total_steps;
        Some(Self { metric, condition, patience, start_step, counting, act, total_steps })
    }

    fn initial(&self, _start: u64) -> Self::State {
        let watch = matches!(self.condition, Condition::Divergence(_)).then(DivergenceState::default);
        Box::new(ThresholdState { watch, ..ThresholdState::default() })
    }

    fn metrics(&self) -> Vec<&str> {
        vec![&self.metric]
    }

    fn moves_rates(&self) -> bool {
        matches!(self.act, Act::Cooldown(_) | Act::Cut(_))
    }

    fn only_cools(&self) -> bool {
        matches!(self.act, Act::Cooldown(_))
    }

    fn steers(&self) -> bool {
        self.act != Act::Notice
    }

    fn without(&self, state: &Self::State, _metric: &str) -> Option<String> {
        state.reached.is_none().then(|| "the threshold cannot be reached".to_owned())
    }

    fn status(&self, state: &Self::State) -> Status {
        let phase = match &state.reached {
            None => "watching",
            Some(_) if state.cooldown.is_some() => "cooling down",
            Some(_) => "reached",
        };
        let notice = match &state.reached {
            Some(reached) => reached.clone(),
            None if state.not_finite >= MANY_NOT_FINITE => format!(
                "no value of {} since step {} is finite: {}",
                self.metric, state.not_finite_since, "such values meet no condition but `divergence`"
            ),
            None => String::new(),
        };
        Status { phase, notice, ..Status::default() }
    }

    fn takes_steps_whole(&self) -> bool {
        self.counting.is_by_epoch()
    }

    fn observe(&self, state: &mut Self::State, observation: &Observation<'_>) -> Outcome {
        let ruling = if state.reached.is_some() {
            self.end_of_cooldown(state, observation)
        } else {
            self.look(state, observation).map(|found| self.rule(state, observation, &found))
        };
        Outcome { ruling, ..Outcome::default() }
    }
}

/// What met the condition.
struct Found {
    words: String,
    figures: Vec<(&'static str, f64)>,
}

impl Threshold {
    /// Judges the value of a step, if it has one. `Some` if the threshold is reached with it.
    fn look(&self, state: &mut ThresholdState, observation: &Observation<'_>) -> Option<Found> {
        let sample = observation.sample;
        let mut values = sample.values_of(&self.metric).filter(|_| sample.step >= self.start_step);
        let (limit, side) = match self.condition {
            Condition::Divergence(divergence) => {
                let watch = state.watch.get_or_insert_default();
                let found = divergence.observe(watch, sample.step, values.next()?, sample.is_skipped())?;
                let (how, figures) = match found {
                    Diverged::NotFinite { since } => {
                        (format!("no value since step {since} is finite"), vec![("since_step", exact(since))])
                    }
                    Diverged::High { median, lowest, deviation } => (
                        format!("its last median is {}, and its lowest was {}", brief(median), brief(lowest)),
                        vec![("median", median), ("lowest", lowest), ("deviation", deviation)],
                    ),
                };
                return Some(Found { words: format!("{} diverged: {how}", self.metric), figures });
            }
            Condition::Above(limit) => (limit, "above"),
            Condition::Below(limit) => (limit, "below"),
        };
        let value = self.counting.next(&mut state.epoch, sample.step, values)?;
        if !value.is_finite() {
            if state.not_finite == 0 {
                state.not_finite_since = sample.step;
            }
            state.not_finite += 1;
            return None;
        }
        state.not_finite = 0;
        let is_met = if side == "above" { value >= limit } else { value <= limit };
        state.in_a_row = if is_met { state.in_a_row + 1 } else { 0 };
        if state.in_a_row < self.patience {
            return None;
        }
        let row = if self.patience > 1 { format!(" for {} values in a row", self.patience) } else { String::new() };
        let words = format!("{} is {value} at step {}, at or {side} {limit}{row}", self.metric, sample.step);
        let patience = exact(self.patience);
        Some(Found { words, figures: vec![("value", value), (side, limit), ("patience", patience)] })
    }

    /// Does what is to be done, once.
    fn rule(&self, state: &mut ThresholdState, observation: &Observation<'_>, found: &Found) -> Ruling {
        let at = observation.effective_step;
        let (halted, come_to) = halted(&observation.shape, observation.shaped_at, at);
        let scaled = |factor: f64| observation.base_lrs.iter().map(|base_lr| base_lr * factor).collect();
        let mut figures = found.figures.clone();
        let (done, move_to) = match self.act {
            Act::Notice => ("a notice, which changes nothing".to_owned(), None),
            Act::Stop => ("training can stop".to_owned(), None),
            Act::Cut(factor) => {
                figures.push(("factor", factor));
                (
                    format!("the rates are multiplied by {factor} from step {at} on"),
                    Some((scaled(factor), observation.shape)),
                )
            }
            Act::Cooldown(_) if observation.shape.cooldown.is_some() => {
                state.cooldown = observation.shape.cooldown;
                ("the rates are falling to 0 already".to_owned(), None)
            }
            Act::Cooldown(steps) => {
                // It ends with the training.
                let left = self.total_steps.map_or(steps, |total| total.saturating_sub(at).max(1));
                let steps = steps.min(left);
                let cooldown = Cooldown { start_step: at, steps };
                state.cooldown = Some(cooldown);
                figures.push(("cooldown_steps", exact(steps)));
                let shape = RateShape { cooldown: Some(cooldown), ..halted };
                (format!("the rates fall to 0 over {steps} steps from step {at} on"), Some((scaled(come_to), shape)))
            }
        };
        let reason = format!("{}: {done}", found.words);
        state.reached = Some(reason.clone());
        let evidence: BTreeMap<_, _> = figures.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if let Some((base_lrs, shape)) = move_to {
            return Ruling::Move(Move { base_lrs, shape, reason, evidence });
        }
        let topic = if self.act == Act::Stop { Topic::Stop } else { Topic::Threshold };
        Ruling::Advice(Advice { topic, is_lasting: true, reason, evidence })
    }

    /// Advises to stop when the rates have come to 0.
    fn end_of_cooldown(&self, state: &mut ThresholdState, observation: &Observation<'_>) -> Option<Ruling> {
        if observation.shape.cooldown != state.cooldown {
            // A person has set other base rates since.
            state.cooldown = None;
        }
        let step = observation.effective_step;
        let end = state.cooldown.filter(|cooldown| step >= cooldown.start_step + cooldown.steps)?;
        state.cooldown = None;
        let end = end.start_step + end.steps;
        let reason = format!("the cooldown on {} is over, and the rates are 0 from step {end} on", self.metric);
        let evidence = BTreeMap::from([("end_step".to_owned(), exact(end))]);
        Some(Ruling::Advice(Advice { topic: Topic::Stop, is_lasting: true, reason, evidence }))
    }
}

/// The one condition that is set.
fn condition(params: &Params, setting: &Setting, v: &mut Violations) -> Option<Condition> {
    let mut set = Vec::new();
    for (field, limit) in [("above", params.above), ("below", params.below)] {
        if let Some(limit) = limit {
            if !limit.is_finite() {
                v.refuse(field, limit, "finite");
            }
            set.push(if field == "above" { Condition::Above(limit) } else { Condition::Below(limit) });
        }
    }
    set.extend(params.divergence.then(|| Condition::Divergence(Divergence::new(setting.total_steps))));
    match set[..] {
        [only] => Some(only),
        [] => {
            v.add("", "needs a condition: set `above`, `below` or `divergence`");
            None
        }
        _ => {
            v.add("", "has more than one condition: set only one of `above`, `below` and `divergence`");
            None
        }
    }
}

/// The action with what belongs to it, and with nothing that belongs to another.
fn act(
    field: &str,
    action: ThresholdAction,
    factor: Option<f64>,
    cooldown_steps: u64,
    total_steps: Option<u64>,
    v: &mut Violations,
) -> Option<Act> {
    let wrong_before = v.len();
    if let Some(factor) = factor {
        if action == ThresholdAction::Cut {
            shrinking("factor", factor, v);
        } else {
            v.refuse("factor", factor, format_args!("unset unless `{field}` is THRESHOLD_ACTION_CUT"));
        }
    }
    if cooldown_steps > 0 && action != ThresholdAction::Cooldown {
        v.refuse("cooldown_steps", cooldown_steps, format_args!("unset unless `{field}` is THRESHOLD_ACTION_COOLDOWN"));
    }
    let act = match action {
        ThresholdAction::Notice => Act::Notice,
        ThresholdAction::Stop => Act::Stop,
        ThresholdAction::Cut => {
            if factor.is_none() {
                v.add("factor", "is required for a cut: greater than 0 and less than 1");
            }
            Act::Cut(factor.unwrap_or(1.0))
        }
        ThresholdAction::Cooldown => {
            if cooldown_steps == 0 {
                v.add("cooldown_steps", "is required for a cooldown: at least 1 step");
            } else if let Some(total) = total_steps.filter(|total| cooldown_steps > *total) {
                v.refuse("cooldown_steps", cooldown_steps, format_args!("at most total_steps, {total}"));
            }
            Act::Cooldown(cooldown_steps)
        }
    };
    (v.len() == wrong_before).then_some(act)
}

/// Checks the target of an objective, and what happens when it is reached.
pub fn check_objective(objective: &Objective, total_steps: Option<u64>, v: &mut Violations) {
    if objective.target.is_none() && objective.on_target != ThresholdAction::Notice {
        v.add("on_target", "needs a `target`, which is the value to reach");
    }
    act("on_target", objective.on_target, objective.factor, objective.cooldown_steps, total_steps, v);
}

/// The target of an objective as a threshold; `None` without a target.
#[must_use]
pub fn of_objective(objective: &Objective) -> Option<ControllerSpec> {
    let target = objective.target?;
    let is_max = objective.mode == Mode::Max;
    Some(ControllerSpec::from(Params {
        metric: objective.metric.clone(),
        above: is_max.then_some(target),
        below: (!is_max).then_some(target),
        unit: Some(Unit::Step),
        action: objective.on_target,
        factor: objective.factor,
        cooldown_steps: objective.cooldown_steps,
        ..Params::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::telemetry::Sample;

    fn setting(total_steps: Option<u64>) -> Setting {
        Setting { total_steps, steps_per_epoch: Some(4), ..Setting::of_groups(2) }
    }

    fn threshold(params: &Params) -> Threshold {
        let mut violations = Violations::new();
        let threshold = Threshold::try_new(params.clone(), &setting(Some(1000)), &mut violations);
        threshold.unwrap_or_else(|| panic!("{violations}"))
    }

    fn below(limit: f64, action: ThresholdAction) -> Params {
        Params { metric: "val_loss".to_owned(), below: Some(limit), action, ..Params::default() }
    }

    fn sample(step: u64, value: f64) -> Sample {
        let mut sample = Sample::new(step);
        sample.add_metric("val_loss".into(), value);
        sample
    }

    /// The rulings, with the steps at which they are made, for a lag of 3 and base rates of 1 and 0.5. Of a move its
    /// shape counts at later steps.
    fn rulings(threshold: &Threshold, values: impl IntoIterator<Item = f64>) -> Vec<(u64, Ruling)> {
        let mut state = threshold.initial(0);
        let (mut found, mut shape) = (Vec::new(), RateShape::default());
        for (step, value) in (0..).zip(values) {
            // A restart in the middle changes nothing.
            state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            let sample = sample(step, value);
            let seen = Observation { shape, ..Observation::new(&sample, step + 3, &[1.0, 0.5], true) };
            let outcome = threshold.observe(&mut state, &seen);
            if let Some(Ruling::Move(moved)) = &outcome.ruling {
                shape = moved.shape;
            }
            found.extend(outcome.ruling.map(|ruling| (step, ruling)));
        }
        found
    }

    fn advice(ruling: &Ruling) -> (Topic, &str) {
        let Ruling::Advice(advice) = ruling else { panic!("{ruling:?}") };
        (advice.topic, &advice.reason)
    }

    #[test]
    fn a_threshold_acts_once_at_the_value_itself() {
        let found = rulings(&threshold(&below(0.5, ThresholdAction::Notice)), [0.7, 0.5, 0.2, 0.9, 0.1]);
        assert_eq!(found.len(), 1);
        let words = "val_loss is 0.5 at step 1, at or below 0.5: a notice, which changes nothing";
        assert_eq!((found[0].0, advice(&found[0].1)), (1, (Topic::Threshold, words)));
    }

    #[test]
    fn patience_asks_for_values_in_a_row_and_what_is_not_finite_breaks_no_row() {
        let params = Params { patience: 3, ..below(0.5, ThresholdAction::Stop) };
        let values = [0.1, 0.1, 0.6, 0.1, f64::NAN, 0.1, f64::NEG_INFINITY, f64::INFINITY, 0.4];
        let found = rulings(&threshold(&params), values);
        assert_eq!(found.len(), 1);
        let words = "val_loss is 0.4 at step 8, at or below 0.5 for 3 values in a row: training can stop";
        assert_eq!((found[0].0, advice(&found[0].1)), (8, (Topic::Stop, words)));
        assert!(matches!(&found[0].1, Ruling::Advice(advice) if advice.is_lasting));
    }

    #[test]
    fn a_cut_multiplies_the_base_rates_in_force() {
        let params = Params { above: Some(9.0), below: None, factor: Some(0.25), ..below(0.0, ThresholdAction::Cut) };
        let found = rulings(&threshold(&params), [8.0, 9.0, 9.0]);
        let [(1, Ruling::Move(moved))] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&moved.base_lrs[..], moved.shape), (&[0.25, 0.125][..], RateShape::default()));
        assert_eq!(moved.evidence["above"].to_bits(), 9.0_f64.to_bits());
    }

    #[test]
    fn a_cooldown_falls_from_the_effective_step_on_and_ends_with_advice_to_stop() {
        let params = Params { cooldown_steps: 5, ..below(0.5, ThresholdAction::Cooldown) };
        let found = rulings(&threshold(&params), [0.9, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1]);
        let [(1, Ruling::Move(moved)), (6, over)] = &found[..] else { panic!("{found:?}") };
        assert_eq!(moved.base_lrs, [1.0, 0.5]);
        assert_eq!(moved.shape.cooldown, Some(Cooldown { start_step: 4, steps: 5 }));
        assert_eq!(advice(over), (Topic::Stop, "the cooldown on val_loss is over, and the rates are 0 from step 9 on"));
    }

    #[test]
    fn a_cooldown_ends_with_the_training_and_starts_from_where_a_ramp_is() {
        let threshold = threshold(&Params { cooldown_steps: 900, ..below(0.5, ThresholdAction::Cooldown) });
        let sample = sample(896, 0.1);
        let shape = RateShape { ramp_steps: 8, cooldown_share: Some(0.2), ..RateShape::default() };
        let seen = Observation { shape, shaped_at: 897, ..Observation::new(&sample, 900, &[1.0, 0.5], true) };
        let Some(Ruling::Move(moved)) = threshold.observe(&mut threshold.initial(0), &seen).ruling else { panic!() };
        assert_eq!(moved.base_lrs, [0.5, 0.25]);
        let cooldown = Some(Cooldown { start_step: 900, steps: 100 });
        assert_eq!(moved.shape, RateShape { ramp_steps: 0, cooldown, ..shape });

        let shape = RateShape { cooldown: Some(Cooldown { start_step: 880, steps: 60 }), ..RateShape::default() };
        let seen = Observation { shape, ..seen };
        let ruling = threshold.observe(&mut threshold.initial(0), &seen).ruling.unwrap();
        assert!(advice(&ruling).1.ends_with("the rates are falling to 0 already"), "{ruling:?}");
    }

    #[test]
    fn an_epoch_counts_once_by_its_mean_and_steps_before_the_start_do_not_count() {
        let params = Params { unit: Some(Unit::Epoch), ..below(0.5, ThresholdAction::Notice) };
        let found = rulings(&threshold(&params), [0.1, 0.9, 0.9, 0.9, 0.4, 0.4, 0.4, 0.8, 0.1]);
        assert_eq!(found.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [7]);
        let params = Params { start_step: 4, ..below(0.5, ThresholdAction::Notice) };
        assert_eq!(rulings(&threshold(&params), [0.1; 8])[0].0, 4);
    }

    #[test]
    fn a_divergence_is_found_once_and_says_what_it_saw() {
        let params = Params { divergence: true, below: None, ..below(0.0, ThresholdAction::Stop) };
        let values = (0..400).map(|step| if step < 200 { 1.0 + 0.01 * f64::from(step % 5) } else { f64::NAN });
        let found = rulings(&threshold(&params), values);
        assert_eq!(found.len(), 1);
        let (topic, reason) = advice(&found[0].1);
        assert_eq!(topic, Topic::Stop);
        assert_eq!(reason, "val_loss diverged: no value since step 200 is finite: training can stop");
        assert_eq!(threshold(&Params { metric: String::new(), ..params }).metrics(), [LOSS]);
    }

    #[test]
    fn the_status_tells_what_was_reached() {
        let threshold = threshold(&below(0.5, ThresholdAction::Notice));
        let mut state = threshold.initial(0);
        assert_eq!((threshold.status(&state).phase, threshold.status(&state).notice.as_str()), ("watching", ""));
        let sample = sample(7, 0.25);
        let _ = threshold.observe(&mut state, &Observation::new(&sample, 8, &[1.0, 0.5], true));
        let status = threshold.status(&state);
        assert_eq!(status.phase, "reached");
        assert!(status.notice.starts_with("val_loss is 0.25 at step 7"), "{}", status.notice);
        assert_eq!(threshold.without(&state, "val_loss"), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_field() {
        let notice = below(0.5, ThresholdAction::Notice);
        let cut = below(0.5, ThresholdAction::Cut);
        let cooldown = below(0.5, ThresholdAction::Cooldown);
        for (params, field, problem) in [
            (Params { metric: String::new(), ..notice.clone() }, "metric", "is required"),
            (Params { metric: "val loss".to_owned(), ..notice.clone() }, "metric", "\"val loss\" is not allowed"),
            (Params { below: None, ..notice.clone() }, "", "needs a condition: set `above`, `below` or `divergence`"),
            (Params { above: Some(1.0), ..notice.clone() }, "", "has more than one condition"),
            (Params { divergence: true, ..notice.clone() }, "", "has more than one condition"),
            (below(f64::NAN, ThresholdAction::Notice), "below", "NaN is not allowed: must be finite"),
            (Params { patience: 0, ..notice.clone() }, "patience", "0 is not allowed: must be from 1 to 1000000"),
            (Params { factor: Some(0.5), ..notice.clone() }, "factor", "0.5 is not allowed: must be unset unless"),
            (Params { cooldown_steps: 9, ..notice }, "cooldown_steps", "9 is not allowed: must be unset unless"),
            (cut.clone(), "factor", "is required for a cut"),
            (
                Params { factor: Some(1.0), ..cut.clone() },
                "factor",
                "1 is not allowed: must be greater than 0 and less",
            ),
            (Params { factor: Some(0.5), cooldown_steps: 9, ..cut }, "cooldown_steps", "9 is not allowed"),
            (cooldown.clone(), "cooldown_steps", "is required for a cooldown"),
            (
                Params { cooldown_steps: 1001, ..cooldown },
                "cooldown_steps",
                "1001 is not allowed: must be at most total_steps, 1000",
            ),
        ] {
            let mut violations = Violations::new();
            assert_eq!(Threshold::try_new(params.clone(), &setting(Some(1000)), &mut violations), None, "{params:?}");
            let found = violations.iter().next().unwrap();
            assert_eq!((found.field.as_str(), violations.len()), (field, 1), "{violations}");
            assert!(violations.to_string().contains(problem), "{violations}");
        }
    }

    #[test]
    fn an_objectives_target_is_a_threshold_and_what_happens_then_is_checked() {
        let objective = |mode, target, on_target| Objective {
            metric: "accuracy".to_owned(),
            mode,
            target,
            on_target,
            factor: None,
            cooldown_steps: 0,
        };
        let params = |objective: &Objective| crate::params::<Threshold>(&of_objective(objective)?);
        let up = params(&objective(Mode::Max, Some(0.9), ThresholdAction::Stop)).unwrap();
        assert_eq!((up.above, up.below, up.action), (Some(0.9), None, ThresholdAction::Stop));
        let down = params(&objective(Mode::Min, Some(0.9), ThresholdAction::Notice)).unwrap();
        assert_eq!((down.above, down.below), (None, Some(0.9)));
        assert_eq!(params(&objective(Mode::Min, None, ThresholdAction::Notice)), None);

        let check = |objective: &Objective| {
            let mut violations = Violations::new();
            check_objective(objective, Some(100), &mut violations);
            violations.iter().map(|violation| violation.field.clone()).collect::<Vec<_>>()
        };
        assert_eq!(check(&objective(Mode::Min, None, ThresholdAction::Notice)), [""; 0]);
        assert_eq!(check(&objective(Mode::Min, None, ThresholdAction::Stop)), ["on_target"]);
        assert_eq!(check(&objective(Mode::Min, Some(1.0), ThresholdAction::Cut)), ["factor"]);
        assert_eq!(check(&objective(Mode::Min, Some(1.0), ThresholdAction::Cooldown)), ["cooldown_steps"]);
    }
}
