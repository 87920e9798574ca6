//! Cuts the base rates when a statistical test no longer finds a downward trend; for jobs without a horizon.
//!
//! Runs Mann and Kendall's test over the last `window` values, every quarter of a window. It finds a plateau if `S >=
//! 0` or `S^2 < z^2 Var(S) (1 + r1) / (1 - r1)`, where the last factor allows for the correlation of neighbours, with
//! r1 clipped to `[0, 0.9]`. Two plateaus in a row cut the rates. Rank tests ignore the size of spikes, and need no
//! threshold on the loss.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    kind::Kind,
    params::{metric, shrinking},
    wording::brief,
    words::{Advice, Move, Observation, Outcome, Ruling, Setting, Status},
};
use lrs_model::{
    decision::{RateShape, Topic},
    number::exact,
    telemetry::LOSS,
    violation::Violations,
};
use lrs_stats::{
    linear::{mean, neighbour_correlation},
    rank::mann_kendall,
};

/// How many tests there are in a window.
const TESTS_A_WINDOW: usize = 4;
/// How many tests in a row must find a plateau for a cut.
const PLATEAUS: u32 = 2;
/// The correlation of neighbours is clipped to at most this.
const MOST_CORRELATED: f64 = 0.9;
/// The default floor, as a share of the written base rate.
const FLOOR_SHARE: f64 = 1e-3;

/// The parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct Params {
    pub metric: String,
    pub window: usize,
    pub threshold: f64,
    pub factor: f64,
    pub min_lr: Option<f64>,
}

impl Default for Params {
    fn default() -> Self {
        Self { metric: LOSS.to_owned(), window: 256, threshold: 2.0, factor: 0.5, min_lr: None }
    }
}

/// The controller, for one job.
#[derive(Clone, Debug, PartialEq)]
pub struct StatisticalPlateau {
    params: Params,
    min_lrs: Vec<f64>, // one a group
}

/// What the controller remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StatisticalPlateauState {
    /// The last finite values, at most one window of them.
    values: VecDeque<f64>,
    /// Values since the last test.
    untested: usize,
    /// Tests in a row that found a plateau.
    #[serde(rename = "verdicts")]
    plateaus: u32,
    /// Whether the controller has advised to stop since the last cut.
    has_advised: bool,
}

/// The result of a test.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Test {
    s: f64,
    /// S^2 over its variance, corrected for the correlation.
    z2: f64,
    correlation: f64,
}

impl Kind for StatisticalPlateau {
    const NAME: &'static str = "statistical_plateau";

    type Params = Params;
    type State = Box<StatisticalPlateauState>;

    fn try_new(params: Params, setting: &Setting, v: &mut Violations) -> Option<Self> {
        let wrong_before = v.len();
        metric(&params.metric, v);
        shrinking("factor", params.factor, v);
        if !(32..=1024).contains(&params.window) {
            v.refuse("window", params.window, "from 32 to 1024");
        }
        if !(params.threshold > 0.0 && params.threshold <= 10.0) {
            v.refuse("threshold", params.threshold, "greater than 0 and at most 10");
        }
        if let Some(min_lr) = params.min_lr.filter(|min_lr| !(min_lr.is_finite() && *min_lr >= 0.0)) {
            v.refuse("min_lr", min_lr, "finite and at least 0");
        }
        let floor = |base_lr: &f64| params.min_lr.unwrap_or(FLOOR_SHARE * base_lr);
        let min_lrs = setting.base_lrs.iter().map(floor).collect();
        (v.len() == wrong_before).then_some(Self { params, min_lrs })
    }

    fn initial(&self, _start: u64) -> Self::State {
        Box::default()
    }

    fn metrics(&self) -> Vec<&str> {
        vec![&self.params.metric]
    }

    fn without(&self, _state: &Self::State, _metric: &str) -> Option<String> {
        Some("there are no cuts".to_owned())
    }

    fn status(&self, _state: &Self::State) -> Status {
        Status { phase: "watching", ..Status::default() }
    }

    /// Observes the metric, if the sample has a finite value. Steps that did not run as directed count too, because
    /// their values are part of the trend.
    fn observe(&self, state: &mut Self::State, observation: &Observation<'_>) -> Outcome {
        Outcome { ruling: self.judge(state, observation), ..Outcome::default() }
    }
}

impl StatisticalPlateau {
    /// Adds the sample's value, and decides whether the values have reached a plateau.
    pub(crate) fn judge(&self, state: &mut StatisticalPlateauState, observation: &Observation<'_>) -> Option<Ruling> {
        let window = self.params.window;
        let value = observation.sample.metric(&self.params.metric).filter(|value| value.is_finite())?;
        if state.values.len() == window {
            state.values.pop_front();
        }
        state.values.push_back(value);
        state.untested += 1;
        if state.values.len() < window || state.untested < window / TESTS_A_WINDOW {
            return None;
        }
        state.untested = 0;
        let test = test(state.values.make_contiguous())?;
        let is_plateau = test.s >= 0.0 || test.z2 < self.params.threshold * self.params.threshold;
        state.plateaus = if is_plateau { state.plateaus + 1 } else { 0 };
        if state.plateaus < PLATEAUS {
            return None;
        }
        state.plateaus = 0;
        self.rule(state, test, observation.base_lrs)
    }

    /// Cuts the rates; at the floor, advises once to stop.
    fn rule(&self, state: &mut StatisticalPlateauState, test: Test, base_lrs: &[f64]) -> Option<Ruling> {
        let evidence = [
            ("s", test.s),
            ("z2", test.z2),
            ("neighbour_correlation", test.correlation),
            ("threshold", self.params.threshold),
            ("window", exact(self.params.window)),
        ];
        let evidence = evidence.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect();
        let flat = format!(
            "no downward trend of {} over {} values (z² = {})",
            self.params.metric,
            self.params.window,
            brief(test.z2)
        );
        let cut = |(&base_lr, &min_lr): (&f64, &f64)| {
            if base_lr > min_lr { (base_lr * self.params.factor).max(min_lr) } else { base_lr }
        };
        let cuts: Vec<f64> = base_lrs.iter().zip(&self.min_lrs).map(cut).collect();
        if cuts.iter().zip(base_lrs).any(|(cut, base_lr)| cut < base_lr) {
            // Start a fresh window, because the coming values belong to another rate.
            state.values.clear();
            state.has_advised = false;
            return Some(Ruling::Move(Move { base_lrs: cuts, shape: RateShape::default(), reason: flat, evidence }));
        }
        if state.has_advised {
            return None;
        }
        state.has_advised = true;
        let reason = format!("{flat}, and every rate is at its floor");
        Some(Ruling::Advice(Advice { topic: Topic::Stop, is_lasting: false, reason, evidence }))
    }
}

/// Mann and Kendall's test, corrected for the correlation of neighbours.
fn test(values: &[f64]) -> Option<Test> {
    let found = mann_kendall(values)?;
    let correlation = neighbour_correlation(values, mean(values)).clamp(0.0, MOST_CORRELATED);
    let z2 = found.z2() * ((1.0 - correlation) / (1.0 + correlation));
    Some(Test { s: found.signed(), z2, correlation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::telemetry::Sample;

    fn plateau(spec: &Params) -> StatisticalPlateau {
        let mut violations = Violations::new();
        StatisticalPlateau::try_new(spec.clone(), &Setting::of_groups(1), &mut violations)
            .unwrap_or_else(|| panic!("{violations}"))
    }

    /// The steps and base rates of the cuts, and the steps of the advice, with these losses.
    fn run(plateau: &StatisticalPlateau, losses: impl Iterator<Item = f64>) -> (Vec<(u64, f64)>, Vec<u64>) {
        let (mut state, mut base_lr) = (Box::<StatisticalPlateauState>::default(), 1.0);
        let (mut cuts, mut advice) = (Vec::new(), Vec::new());
        for (step, loss) in (0..).zip(losses) {
            let sample = Sample { loss: Some(loss), ..Sample::new(step) };
            let base_lrs = [base_lr];
            let observation = Observation::new(&sample, step + 1, &base_lrs, true);
            let json = serde_json::to_string(&state).unwrap();
            state = serde_json::from_str(&json).unwrap();
            match plateau.observe(&mut state, &observation).ruling {
                Some(Ruling::Move(moved)) => {
                    base_lr = moved.base_lrs[0];
                    cuts.push((step, base_lr));
                }
                Some(Ruling::Advice(_)) => advice.push(step),
                None => {}
            }
        }
        (cuts, advice)
    }

    fn noise(i: u64) -> f64 {
        let bits = i.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (bits ^ (bits >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        f64::from(u32::try_from(mixed >> 32).unwrap()) / 4_294_967_296.0 - 0.5
    }

    fn small() -> Params {
        Params { window: 64, ..Params::default() }
    }

    #[test]
    fn a_falling_loss_is_left_alone() {
        let falling = (0..2000).map(|i| 5.0 - 1e-3 * f64::from(i) + 0.2 * noise(u64::try_from(i).unwrap()));
        assert_eq!(run(&plateau(&Params::default()), falling), (vec![], vec![]));
    }

    #[test]
    fn a_flat_loss_is_cut_after_two_plateaus_and_then_rests() {
        let (cuts, _) = run(&plateau(&small()), (0..400).map(noise));
        // The window is full at the 64th value; the second test comes a quarter of a window later.
        assert_eq!(cuts[0], (79, 0.5));
        assert!(cuts.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 79), "{cuts:?}");
    }

    #[test]
    fn at_the_floor_it_advises_to_stop_once() {
        let (cuts, advice) = run(&plateau(&Params { min_lr: Some(0.4), ..small() }), (0..1000).map(noise));
        assert_eq!(cuts.iter().map(|(_, rate)| *rate).collect::<Vec<_>>(), [0.5, 0.4]);
        assert_eq!(advice.len(), 1, "{advice:?}");
    }

    #[test]
    fn spikes_and_nans_do_not_hide_a_plateau() {
        let spiky = (0..400).map(|i| {
            if i % 50 == 7 {
                1e12
            } else if i % 50 == 9 {
                f64::NAN
            } else {
                noise(i)
            }
        });
        assert!(!run(&plateau(&small()), spiky).0.is_empty());
    }

    #[test]
    fn every_violation_is_told_at_once() {
        let spec = Params { metric: String::new(), window: 31, threshold: 0.0, factor: 1.0, min_lr: Some(-1.0) };
        let mut violations = Violations::new();
        assert_eq!(StatisticalPlateau::try_new(spec, &Setting::of_groups(1), &mut violations), None);
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["metric", "factor", "window", "threshold", "min_lr"]);
    }
}
