//! Tries rising rates, and reports the loss at each.
//!
//! Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, <https://arxiv.org/abs/1506.01186>;
//! smoothing, stopping rule and suggestions follow fastai's `lr_find` (2.8.12). The rates are `start
//! (end/start)^(i/(n-1))` for `i` from 0 to `n-1`, so their ratio is constant. A rate is judged by the mean loss of its
//! steps. Steps that still ran at the rate before, because of the decision lag, do not count.

use serde::{Deserialize, Serialize};

use crate::{
    kind::Kind,
    proportion::in_proportion,
    wording::brief,
    words::{Advice, Move, Observation, Opening, Outcome, Ruling, Setting, Status},
};
use lrs_model::{
    decision::{Action, RateShape, Topic},
    number::exact,
    spec::Tier,
    telemetry::LOSS,
    violation::Violations,
};
use lrs_stats::linear::mean;

mod curve;
mod suggestion;

use curve::Curve;
pub use curve::Point;

const START: &str = "start";

/// The parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct Params {
    pub start_lr: f64,
    pub end_lr: f64,
    pub rates: usize,
    pub steps_per_rate: usize,
    pub divergence_factor: f64,
}

impl Default for Params {
    /// The defaults of fastai's `lr_find`.
    fn default() -> Self {
        Self { start_lr: 1e-7, end_lr: 10.0, rates: 100, steps_per_rate: 1, divergence_factor: 4.0 }
    }
}

/// The controller, for one job.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeTest {
    params: Params,
    written: Vec<f64>,
    /// The groups' rates for a tested rate of 1.
    shares: Vec<f64>,
    can_restore: bool,
}

/// What the controller remembers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RangeTestState {
    curve: Curve,
    /// Losses at the rate on trial.
    #[serde(with = "lrs_model::number::list")]
    losses: Vec<f64>,
    /// Steps before this one ran at the rate before.
    from: u64,
    progress: Progress,
}

/// The progress of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Progress {
    Testing,
    /// The rates are back at those in the spec; the result has not been reported.
    Over,
    Told,
}

impl Kind for RangeTest {
    const NAME: &'static str = "range_test";

    type Params = Params;
    type State = Box<RangeTestState>;

    fn try_new(params: Params, setting: &Setting, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        if !(params.start_lr.is_finite() && params.start_lr > 0.0) {
            v.refuse("start_lr", params.start_lr, "finite and greater than 0");
        }
        if !(params.end_lr.is_finite() && params.end_lr > params.start_lr) {
            v.refuse("end_lr", params.end_lr, format_args!("finite and greater than start_lr, {}", params.start_lr));
        }
        if !(8..=512).contains(&params.rates) {
            v.refuse("rates", params.rates, "from 8 to 512");
        }
        if !(1..=1024).contains(&params.steps_per_rate) {
            v.refuse("steps_per_rate", params.steps_per_rate, "from 1 to 1024");
        }
        if !(params.divergence_factor.is_finite() && params.divergence_factor > 1.0) {
            v.refuse("divergence_factor", params.divergence_factor, "finite and greater than 1");
        }
        let shares = in_proportion(1.0, &setting.base_lrs);
        if shares.is_none() {
            v.add("", "tests the first group's rate, and the others in proportion: give that group a base_lr above 0");
        }
        let shares = shares.filter(|_| v.len() == wrong_before)?;
        let can_restore = setting.tier == Tier::Restore;
        Some(Self { params, written: setting.base_lrs.clone(), shares, can_restore })
    }

    fn initial(&self, start: u64) -> Self::State {
        Box::new(RangeTestState { curve: Curve::new(), losses: Vec::new(), from: start, progress: Progress::Testing })
    }

    fn opening(&self) -> Option<Opening> {
        Some(Opening { base_lrs: self.base_lrs(0), shape: flat() })
    }

    fn metrics(&self) -> Vec<&str> {
        vec![LOSS]
    }

    fn status(&self, state: &Self::State) -> Status {
        let phase = if state.progress == Progress::Testing { "testing" } else { "reported" };
        Status { phase, ..Status::default() }
    }

    fn without(&self, state: &Self::State, _metric: &str) -> Option<String> {
        (state.progress == Progress::Testing).then(|| "the range test cannot go on".to_owned())
    }

    /// Tries the present rate again.
    fn begin_attempt(&self, state: &mut Self::State, step: u64) -> Vec<Action> {
        state.from = state.from.max(step);
        state.losses.clear();
        let keeps = self.can_restore && state.progress == Progress::Testing;
        keeps.then(|| Action::Keep(START.to_owned())).into_iter().collect()
    }

    fn observe(&self, state: &mut Self::State, observation: &Observation<'_>) -> Outcome {
        let sample = observation.sample;
        match state.progress {
            Progress::Testing => {}
            Progress::Over => {
                state.progress = Progress::Told;
                return Outcome { ruling: Some(self.report(state)), ..Outcome::default() };
            }
            Progress::Told => return Outcome::default(),
        }
        let Some(loss) = sample.metric(LOSS).filter(|_| sample.step >= state.from && observation.is_as_directed) else {
            return Outcome::default();
        };
        state.losses.push(loss);
        if state.losses.len() < self.params.steps_per_rate && loss.is_finite() {
            return Outcome::default();
        }
        let losses = std::mem::take(&mut state.losses);
        // One loss that is not finite decides about its rate, whatever the other losses were.
        let loss = if loss.is_finite() { mean(&losses) } else { loss };
        state.curve.push(Point { learning_rate: self.rate(state.curve.points().len()), loss });
        state.from = observation.effective_step;
        self.go_on(state)
    }
}

impl RangeTest {
    /// The loss at every rate tried so far.
    #[must_use]
    pub fn points(state: &RangeTestState) -> &[Point] {
        state.curve.points()
    }

    /// Moves to the next rate, or ends the test.
    fn go_on(&self, state: &mut RangeTestState) -> Outcome {
        let tried = state.curve.points().len();
        let (smoothed, least) = (state.curve.smoothed, state.curve.least);
        let why = if !smoothed.is_finite() {
            "the loss is not finite"
        } else if smoothed > self.params.divergence_factor * least {
            "the smoothed loss is far above its least"
        } else if tried >= self.params.rates {
            "every rate has been tried"
        } else {
            let next = Move {
                base_lrs: self.base_lrs(tried),
                shape: flat(),
                reason: format!("the next rate of the range test, {} of {}", tried + 1, self.params.rates),
                evidence: [("smoothed_loss".to_owned(), smoothed)].into(),
            };
            return Outcome { ruling: Some(Ruling::Move(next)), ..Outcome::default() };
        };
        state.progress = Progress::Over;
        let ruling = Ruling::Move(Move {
            base_lrs: self.written.clone(),
            shape: RateShape::default(),
            reason: format!("the range test is over: {why}"),
            evidence: self.evidence(state),
        });
        let back = self.can_restore.then(|| [Action::Restore(START.to_owned()), Action::Forget(START.to_owned())]);
        Outcome { ruling: Some(ruling), actions: back.into_iter().flatten().collect(), ..Outcome::default() }
    }

    /// The result, as advice.
    fn report(&self, state: &RangeTestState) -> Ruling {
        let suggestions = state.curve.suggestions(self.params.rates);
        let told: Vec<String> =
            suggestions.iter().map(|(suggestion, rate)| format!("{} {}", suggestion.as_str(), brief(*rate))).collect();
        let tried = state.curve.points().len();
        let reason = if told.is_empty() {
            format!("{tried} rates are too few to suggest one")
        } else {
            format!("of {tried} rates: {}", told.join(", "))
        };
        Ruling::Advice(Advice { topic: Topic::RangeTest, is_lasting: false, reason, evidence: self.evidence(state) })
    }

    fn evidence(&self, state: &RangeTestState) -> std::collections::BTreeMap<String, f64> {
        let suggestions = state.curve.suggestions(self.params.rates);
        let suggestions = suggestions.into_iter().map(|(suggestion, rate)| (suggestion.as_str(), rate));
        let rest = [
            ("rates_tried", exact(state.curve.points().len())),
            ("smoothed_loss", state.curve.smoothed),
            ("least_smoothed_loss", state.curve.least),
        ];
        suggestions.chain(rest).map(|(name, figure)| (name.to_owned(), figure)).collect()
    }

    /// The `i`-th rate of the first group.
    fn rate(&self, i: usize) -> f64 {
        if i + 1 >= self.params.rates {
            return self.params.end_lr;
        }
        let share = exact(i) / exact(self.params.rates - 1);
        self.params.start_lr * libm::pow(self.params.end_lr / self.params.start_lr, share)
    }

    fn base_lrs(&self, i: usize) -> Vec<f64> {
        let rate = self.rate(i);
        self.shares.iter().map(|share| rate * share).collect()
    }
}

/// The shape of rates that are tried as they are.
fn flat() -> RateShape {
    RateShape { is_flat: true, ..RateShape::default() }
}

#[cfg(test)]
mod golden;

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::telemetry::Sample;

    fn setting(tier: Tier) -> Setting {
        Setting {
            base_lrs: vec![0.1, 0.2],
            total_steps: Some(1000),
            steps_per_epoch: None,
            decision_lag: 1,
            tier,
            has_schedule: false,
            objective: None,
        }
    }

    fn range_test(spec: &Params, tier: Tier) -> RangeTest {
        let mut violations = Violations::new();
        RangeTest::try_new(*spec, &setting(tier), &mut violations).unwrap_or_else(|| panic!("{violations}"))
    }

    /// Runs the test with a loss that depends on the rate of the first group. Returns the outcomes with their steps.
    fn run(test: &RangeTest, lag: u64, loss: impl Fn(f64) -> f64) -> (Box<RangeTestState>, Vec<(u64, Outcome)>) {
        let mut state = test.initial(0);
        let mut rates = vec![test.base_lrs(0)[0]; usize::try_from(lag).unwrap()];
        let mut outcomes = Vec::new();
        for step in 0..600_u64 {
            let rate = rates[usize::try_from(step).unwrap()];
            let sample = Sample { loss: Some(loss(rate)), ..Sample::new(step) };
            let base_lrs = [rate];
            let observation = Observation::new(&sample, step + lag, &base_lrs, true);
            let json = serde_json::to_string(&state).unwrap();
            state = serde_json::from_str(&json).unwrap();
            let outcome = test.observe(&mut state, &observation);
            let next = match &outcome.ruling {
                Some(Ruling::Move(moved)) => moved.base_lrs[0],
                _ => rates[rates.len() - 1],
            };
            rates.push(next);
            if outcome != Outcome::default() {
                outcomes.push((step, outcome));
            }
        }
        (state, outcomes)
    }

    fn valley(rate: f64) -> f64 {
        1.0 + (libm::log10(rate) + 2.0) * (libm::log10(rate) + 2.0)
    }

    #[test]
    fn rates_rise_in_even_ratios_from_the_first_to_the_last_and_groups_keep_their_proportion() {
        let test = range_test(&Params { start_lr: 1e-4, end_lr: 1.0, rates: 9, ..Params::default() }, Tier::Rates);
        for (i, expected) in [1e-4, 3.162_277_660_168_379e-4, 1e-3].into_iter().enumerate() {
            let found = test.base_lrs(i);
            assert!((found[0] - expected).abs() < 1e-12 * expected, "{found:?} at {i}");
            assert!((found[1] - 2.0 * found[0]).abs() < 1e-15);
        }
        assert_eq!(test.base_lrs(8)[0].to_bits(), 1.0_f64.to_bits());
    }

    #[test]
    fn it_goes_back_to_the_beginning_and_tells_what_it_found() {
        let test =
            range_test(&Params { steps_per_rate: 2, divergence_factor: 1e9, ..Params::default() }, Tier::Restore);
        let (state, outcomes) = run(&test, 1, valley);

        let ends: Vec<_> = outcomes.iter().filter(|(_, outcome)| !outcome.actions.is_empty()).collect();
        assert_eq!(ends.len(), 1);
        let Some(Ruling::Move(back)) = &ends[0].1.ruling else { panic!("{ends:?}") };
        assert_eq!((back.base_lrs.as_slice(), back.shape), (&[0.1, 0.2][..], RateShape::default()));
        assert_eq!(ends[0].1.actions[0], Action::Restore("start".to_owned()));
        let Some((_, Outcome { ruling: Some(Ruling::Advice(advice)), .. })) = outcomes.last() else { panic!() };
        assert_eq!(advice.topic, Topic::RangeTest);
        let minimum = advice.evidence["minimum"];
        assert!((1e-3 / 3.0..3e-1).contains(&minimum), "{minimum}: {}", advice.reason);
        assert_eq!(RangeTest::points(&state).len(), 100);
        assert_eq!(test.status(&state).phase, "reported");
    }

    #[test]
    fn a_lag_makes_the_test_longer_and_changes_nothing_else() {
        let test = range_test(&Params { rates: 20, divergence_factor: 1e9, ..Params::default() }, Tier::Restore);
        let (prompt, _) = run(&test, 1, valley);
        let (late, outcomes) = run(&test, 8, valley);
        assert_eq!(RangeTest::points(&late), RangeTest::points(&prompt));
        assert!(outcomes.last().unwrap().0 > 19 * 8);
    }

    #[test]
    fn a_loss_that_explodes_ends_the_test() {
        let test = range_test(&Params::default(), Tier::Rates);
        for explosion in [f64::NAN, f64::INFINITY, 1e12] {
            let (state, outcomes) = run(&test, 1, |rate| if rate > 0.5 { explosion } else { 1.0 });
            let tried = RangeTest::points(&state).len();
            assert!((80..95).contains(&tried), "{tried} rates");
            assert!(matches!(outcomes.last(), Some((_, Outcome { ruling: Some(Ruling::Advice(_)), .. }))));
        }
    }

    #[test]
    fn steps_at_another_rate_do_not_count() {
        let test = range_test(&Params::default(), Tier::Rates);
        let mut state = test.initial(5);
        for (step, is_as_directed) in [(4, true), (5, false)] {
            let sample = Sample { loss: Some(1.0), ..Sample::new(step) };
            let observation = Observation::new(&sample, step + 1, &[0.1], is_as_directed);
            assert_eq!(test.observe(&mut state, &observation), Outcome::default());
        }
        assert_eq!(RangeTest::points(&state), []);
    }

    #[test]
    fn every_violation_is_told_at_once() {
        let spec = Params { start_lr: 0.0, end_lr: -1.0, rates: 7, steps_per_rate: 0, divergence_factor: f64::NAN };
        let mut violations = Violations::new();
        assert_eq!(RangeTest::try_new(spec, &setting(Tier::Rates), &mut violations), None);
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["start_lr", "end_lr", "rates", "steps_per_rate", "divergence_factor"]);
    }
}
