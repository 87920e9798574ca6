//! The plateau controller against PyTorch: rates that `torch.optim.lr_scheduler.ReduceLROnPlateau` returned, bit for
//! bit.
//!
//! `golden/torch.json` has what PyTorch 2.15 did with sequences of metrics that plateau, fall, tie with the
//! threshold to the last bit, are negative, or are NaN. `lr[k]` is the rate after `k` of them.

use lrs_control::{Controller, Observation, Ruling, Setting, plateau};
use lrs_model::{
    controller::{ControllerSpec, Mode, ThresholdMode},
    spec::{Group, Spec},
    telemetry::Sample,
    violation::Violations,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Case {
    id: String,
    params: Params,
    base_lr: f64,
    steps: Vec<usize>,
    lr: Vec<f64>,
    metrics: Vec<Metric>,
}

/// The keyword arguments, by PyTorch's names.
#[derive(Deserialize)]
struct Params {
    mode: Mode,
    factor: f64,
    patience: u64,
    threshold: f64,
    threshold_mode: ThresholdMode,
    cooldown: u64,
    min_lr: f64,
    eps: f64,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Metric(#[serde(with = "lrs_model::number")] f64);

impl Case {
    fn controller(&self) -> Controller {
        let p = &self.params;
        let spec: ControllerSpec = plateau::Params {
            mode: p.mode,
            factor: p.factor,
            patience: p.patience,
            threshold: p.threshold,
            threshold_mode: p.threshold_mode,
            cooldown: p.cooldown,
            min_lr: vec![p.min_lr],
            eps: p.eps,
            ..plateau::Params::default()
        }
        .into();
        let mut violations = Violations::new();
        let group = Group {
            name: "default".to_owned(),
            base_lr: self.base_lr,
            base_momentum: None,
            base_weight_decay: None,
            schedule: None,
        };
        let setting = Setting::of(&Spec { groups: vec![group], ..Spec::default() });
        Controller::try_new(&spec, &setting, &mut violations).unwrap_or_else(|| panic!("{}: {violations}", self.id))
    }

    /// The rate before any metric and after each. The state goes through JSON each time, as in a store.
    fn rates(&self) -> Vec<f64> {
        let controller = self.controller();
        let mut state = controller.initial(0);
        let mut base_lrs = vec![self.base_lr];
        let mut rates = base_lrs.clone();
        for (step, metric) in (0..).zip(&self.metrics) {
            let sample = Sample { loss: Some(metric.0), ..Sample::new(step) };
            let stored = serde_json::to_string(&state).expect("a state is JSON");
            state = serde_json::from_str(&stored).expect("what was written can be read");
            let effective_step = step + 1;
            let observation = Observation::new(&sample, effective_step, &base_lrs, true);
            if let Some(Ruling::Move(moved)) = controller.observe(&mut state, &observation).ruling {
                base_lrs = moved.base_lrs;
            }
            rates.extend(&base_lrs);
        }
        rates
    }
}

#[test]
fn the_rates_are_those_of_pytorch_to_the_bit() {
    let golden: Golden = serde_json::from_str(include_str!("../golden/torch.json")).expect("the golden file is whole");
    let plateaus = golden.cases.into_iter().filter(|case| case["scheduler"] == "ReduceLROnPlateau");
    let cases: Vec<Case> =
        plateaus.map(|case| serde_json::from_value(case).expect("a case of the plateau scheduler")).collect();
    assert_eq!(cases.len(), 28);
    for case in cases {
        let rates = case.rates();
        for (&step, want) in case.steps.iter().zip(&case.lr) {
            assert_eq!(
                rates[step].to_bits(),
                want.to_bits(),
                "{} after {step}: {} is not {want}",
                case.id,
                rates[step]
            );
        }
        assert_eq!(case.lr.len(), rates.len(), "{}", case.id);
    }
}
