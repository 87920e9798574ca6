//! Measures the gradient noise scale, and advises what it means for the batch size. Changes no rate.
//!
//! `McCandlish` and others, "An Empirical Model of Large-Batch Training", 2018, <https://arxiv.org/abs/1812.06162>.
//! With a batch of B samples and a noise scale of N, training takes about `1 + N/B` times the fewest steps there could
//! be, and `1 + B/N` times the fewest samples.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::{
    kind::Kind,
    wording::brief,
    words::{Advice, Observation, Outcome, Ruling, Setting, Status},
};
use lrs_model::{decision::Topic, telemetry::Sample, violation::Violations};
use lrs_stats::noise::{Norms, noise_scale};

const SMALL: &str = "grad2_small";
const BATCH_SMALL: &str = "batch_small";
const BIG: &str = "grad2_big";
const BATCH_BIG: &str = "batch_big";
/// Advice is given again when the scale has changed by this factor.
const CHANGE: f64 = 2.0;

/// The parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "described in proto/lrs/v1/controller.proto")]
pub struct Params {
    pub window: usize,
}

impl Default for Params {
    fn default() -> Self {
        Self { window: 256 }
    }
}

/// The controller: its parameters, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoiseScale(Params);

/// What the controller remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NoiseScaleState {
    /// Estimates of the squared norm of the true gradient, at most one window of them.
    g2s: VecDeque<f64>,
    /// As many estimates of the trace of the covariance of a sample's gradient.
    ss: VecDeque<f64>,
    /// Estimates since the last look.
    unseen: usize,
    /// The scale in the last advice.
    told: Option<f64>,
}

impl Kind for NoiseScale {
    const NAME: &'static str = "noise_scale";

    type Params = Params;
    type State = Box<NoiseScaleState>;

    fn try_new(params: Params, _setting: &Setting, v: &mut Violations) -> Option<Self> {
        if !(32..=1024).contains(&params.window) {
            v.refuse("window", params.window, "from 32 to 1024");
            return None;
        }
        Some(Self(params))
    }

    fn initial(&self, _start: u64) -> Self::State {
        Box::default()
    }

    fn metrics(&self) -> Vec<&str> {
        vec![SMALL, BATCH_SMALL, BIG, BATCH_BIG]
    }

    fn status(&self, state: &Self::State) -> Status {
        let phase = if state.told.is_some() { "determined" } else { "undetermined" };
        Status { phase, ..Status::default() }
    }

    fn moves_rates(&self) -> bool {
        false
    }

    fn without(&self, _state: &Self::State, _metric: &str) -> Option<String> {
        Some("there is no estimate of the noise scale".to_owned())
    }

    /// Observes the norms of a step, if it has all four figures and they can be compared.
    fn observe(&self, state: &mut Self::State, observation: &Observation<'_>) -> Outcome {
        let norms = norms(observation.sample);
        let estimates = norms.and_then(|norms| norms.estimates());
        let (Some(norms), Some((g2, s))) = (norms, estimates) else { return Outcome::default() };
        if state.g2s.len() == self.0.window {
            state.g2s.pop_front();
            state.ss.pop_front();
        }
        state.g2s.push_back(g2);
        state.ss.push_back(s);
        state.unseen += 1;
        if state.unseen < self.0.window {
            return Outcome::default();
        }
        state.unseen = 0;
        let Some(found) = noise_scale(state.g2s.make_contiguous(), state.ss.make_contiguous()) else {
            return Outcome::default();
        };
        let is_news = |scale: &f64| state.told.is_none_or(|told| *scale >= CHANGE * told || CHANGE * *scale <= told);
        let Some(scale) = found.simple.filter(is_news) else { return Outcome::default() };
        state.told = Some(scale);
        let batch = norms.batch_big;
        let (more_steps, more_samples) = (1.0 + scale / batch, 1.0 + batch / scale);
        let reason = format!(
            "the gradient noise scale is about {} samples: at a batch of {} training takes {} times the fewest steps and \
             {} times the fewest samples there could be",
            brief(scale),
            brief(batch),
            brief(more_steps),
            brief(more_samples)
        );
        let evidence = [
            ("noise_scale", scale),
            ("batch", batch),
            ("g2", found.g2),
            ("g2_variance", found.g2_variance),
            ("s", found.s),
            ("s_variance", found.s_variance),
        ];
        let evidence = evidence.into_iter().map(|(name, figure)| (name.to_owned(), figure)).collect();
        let advice = Advice { topic: Topic::NoiseScale, is_lasting: false, reason, evidence };
        Outcome { ruling: Some(Ruling::Advice(advice)), ..Outcome::default() }
    }
}

fn norms(sample: &Sample) -> Option<Norms> {
    Some(Norms {
        small: sample.metric(SMALL)?,
        batch_small: sample.metric(BATCH_SMALL)?,
        big: sample.metric(BIG)?,
        batch_big: sample.metric(BATCH_BIG)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::spec::Spec;

    /// The steps and the evidence of all advice, for a true gradient at each step and a noise.
    fn run(true_norm2: impl Fn(u64) -> f64, noise: f64, steps: u64) -> Vec<(u64, f64)> {
        let scale = NoiseScale(Params { window: 32 });
        let mut state = Box::<NoiseScaleState>::default();
        let mut told = Vec::new();
        for step in 0..steps {
            let mut sample = Sample::new(step);
            let wobble = if step % 2 == 0 { 1.01 } else { 0.99 };
            let g2 = true_norm2(step) * wobble;
            for (name, value) in
                [(SMALL, g2 + noise / 8.0), (BATCH_SMALL, 8.0), (BIG, g2 + noise / 64.0), (BATCH_BIG, 64.0)]
            {
                sample.add_metric(name.into(), value);
            }
            let observation = Observation::new(&sample, step + 1, &[0.1], true);
            state = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
            if let Some(Ruling::Advice(advice)) = scale.observe(&mut state, &observation).ruling {
                told.push((step, advice.evidence["noise_scale"]));
            }
        }
        told
    }

    #[test]
    fn a_steady_scale_is_told_once() {
        let told = run(|_| 2.0, 256.0, 1000);
        assert_eq!(told.len(), 1);
        assert!(told[0].0 == 31 && (told[0].1 - 128.0).abs() < 1.0, "{told:?}");
    }

    #[test]
    fn a_scale_that_has_doubled_is_told_again() {
        let told = run(|step| if step < 500 { 2.0 } else { 0.5 }, 256.0, 1000);
        assert!(told.len() >= 2 && told.last().unwrap().1 > 200.0, "{told:?}");
    }

    #[test]
    fn without_the_four_figures_there_is_no_estimate_and_the_status_says_so() {
        let scale = crate::Controller::NoiseScale(NoiseScale(Params { window: 32 }));
        let (mut state, mut sightings) = (scale.initial(0), crate::Sightings::default());
        for step in 0..1000 {
            let mut sample = Sample::new(step);
            sample.add_metric(SMALL.into(), 1.0);
            sightings.note(&sample);
            let observation = Observation::new(&sample, step + 1, &[0.1], true);
            assert_eq!(scale.observe(&mut state, &observation), Outcome::default());
        }
        assert_eq!(
            scale.status(&state, &sightings, &Spec::default()).missing,
            ["batch_small, grad2_big, batch_big have not been reported yet: there is no estimate of the noise scale"]
        );
    }

    #[test]
    fn a_window_out_of_range_is_refused() {
        let mut violations = Violations::new();
        assert_eq!(NoiseScale::try_new(Params { window: 8 }, &Setting::of_groups(1), &mut violations), None);
        assert!(violations.to_string().contains("window: 8 is not allowed"), "{violations}");
    }
}
