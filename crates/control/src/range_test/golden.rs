//! Compares the suggestions with fastai's, on recorded curves.

use serde::Deserialize;

use super::{Params, RangeTest};
use crate::{
    kind::Kind,
    words::{Observation, Ruling, Setting},
};
use lrs_model::{spec::Suggestion, telemetry::Sample, violation::Violations};

#[derive(Deserialize)]
struct Golden {
    curves: Vec<GoldenCurve>,
}

#[derive(Deserialize)]
struct GoldenCurve {
    name: String,
    start_lr: f64,
    end_lr: f64,
    rates: usize,
    #[serde(with = "lrs_model::number::list")]
    losses: Vec<f64>,
    steepest: Option<f64>,
    valley: Option<f64>,
    slide: Option<f64>,
    minimum: Option<f64>,
}

#[test]
fn the_suggestions_are_fastais() {
    let golden: Golden = serde_json::from_str(include_str!("../../../../tests/fixtures/range_test.json")).unwrap();
    for GoldenCurve { name, start_lr, end_lr, rates, losses, steepest, valley, slide, minimum } in golden.curves {
        let params = Params { start_lr, end_lr, rates, ..Params::default() };
        let test = RangeTest::try_new(params, &Setting::of_groups(1), &mut Violations::new()).unwrap();
        let mut state = test.initial(0);
        let mut found = None;
        for (step, loss) in (0..).zip(losses.into_iter().chain([0.0])) {
            let sample = Sample { loss: Some(loss), ..Sample::new(step) };
            let observation = Observation::new(&sample, step + 1, &[0.1], true);
            if let Some(Ruling::Advice(advice)) = test.observe(&mut state, &observation).ruling {
                found = Some(advice.evidence);
                break;
            }
        }
        let found = found.unwrap_or_else(|| panic!("{name} does not end"));
        let expected = [steepest, valley, slide, minimum];
        for (suggestion, expected) in Suggestion::ALL.into_iter().zip(expected) {
            let (rate, suggestion) = (found.get(suggestion.as_str()).copied(), suggestion.as_str());
            let is_same = match (rate, expected) {
                (Some(rate), Some(expected)) => (rate - expected).abs() <= 1e-12 * expected,
                (rate, expected) => rate.is_none() && expected.is_none(),
            };
            assert!(is_same, "{name}: {suggestion} {rate:?} is not {expected:?}");
        }
    }
}
