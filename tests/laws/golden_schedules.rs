//! Every scheduler of nine libraries, by name, against the rates that the libraries returned.
//!
//! `tests/golden/` has the recorded cases, one file for each library. `make golden DIR=folder` compares the cases of
//! another folder; its name comes in `LRS_GOLDEN_DIR`. Each case goes the way of a user's spec: JSON, proto, spec, job.
//! A scheduler that follows a metric gets the metric as telemetry. A rate may differ by 1e-12 of the largest rate in
//! its case, or by 1e-6 if the library computed in single precision. Steps at which the library's own rounding decides
//! between two cycles are left out.

use std::{fs, path::PathBuf};

use lrs::rpc::convert;
use lrs_engine::{job::Job, native::native, timeline::Timeline};
use lrs_model::{
    spec::Spec,
    telemetry::{Report, Sample},
    violation::Violations,
};
use lrs_proto::JobSpec;
use lrs_schedule::Schedule;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

/// One recorded run of a scheduler.
#[derive(Deserialize)]
struct Case {
    id: String,
    library: String,
    scheduler: String,
    params: Value,
    base_lr: f64,
    total_steps: f64,
    float: Precision,
    steps: Vec<f64>,
    lr: Vec<f64>,
    momentum: Option<Vec<f64>>,
    weight_decay: Option<Vec<f64>>,
    metrics: Option<Vec<Metric>>,
    #[serde(default)]
    fragile_steps: Vec<f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Precision {
    F64,
    F32,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(transparent)]
struct Metric(#[serde(with = "lrs_model::number")] f64);

/// The worst difference of a case, as a fraction of the peak, and where it is.
struct Difference {
    worst: f64,
    at: String,
}

impl Case {
    /// The spec that a user would write.
    fn spec(&self) -> Result<Spec, String> {
        let named = json!({"library": self.library, "scheduler": self.scheduler, "params": self.params});
        let mut written = json!({
            "groups": [{"base_lr": self.base_lr}],
            // Counted from 0, the last step recorded is one of the job's.
            "total_steps": whole(self.total_steps) + 1,
        });
        match self.metrics {
            None => written["schedule"] = named,
            Some(_) => written["controllers"] = json!([named]),
        }
        let wire: JobSpec = serde_json::from_value(written).map_err(|error| error.to_string())?;
        let mut violations = Violations::new();
        let spec = convert::spec::from_proto(wire, &mut violations);
        violations.into_result(spec).map_err(|violations| violations.to_string())
    }

    /// The worst difference of all that was recorded.
    fn difference(&self) -> Result<Difference, String> {
        if self.steps.is_empty() {
            return Err("has no steps".to_owned());
        }
        let spec = self.spec()?;
        let timeline = Timeline::try_new(&spec, []).map_err(|violations| violations.to_string())?;
        let mut columns = vec![("lr", &self.lr)];
        columns.extend(self.momentum.as_ref().map(|values| ("momentum", values)));
        columns.extend(self.weight_decay.as_ref().map(|values| ("weight_decay", values)));
        let timeline = match &self.metrics {
            Some(metrics) => after(&timeline, metrics)?,
            None => timeline,
        };
        let mut difference = Difference { worst: 0.0, at: String::new() };
        for (name, wanted) in columns {
            let peak = wanted.iter().fold(f64::MIN_POSITIVE, |peak, value| peak.max(value.abs()));
            if wanted.len() != self.steps.len() {
                return Err(format!("{name} has {} values for {} steps", wanted.len(), self.steps.len()));
            }
            for (&step, want) in self.steps.iter().zip(wanted).filter(|(step, _)| !self.fragile_steps.contains(step)) {
                let got = value(&spec, &timeline, step, name).ok_or_else(|| format!("has no {name}"))?;
                let error = (got - want).abs() / peak;
                let error = if error.is_nan() { f64::INFINITY } else { error };
                if error > difference.worst {
                    let at = format!("{name} at {step} is {got:e}, not {want:e}: {error:.1e} of the peak");
                    difference = Difference { worst: error, at };
                }
            }
        }
        Ok(difference)
    }

    fn tolerance(&self) -> f64 {
        match self.float {
            Precision::F64 => 1e-12,
            Precision::F32 => 1e-6,
        }
    }
}

/// The job's rates once it has seen the metrics, one for each step. The service runs the same [`Job`]; it is stored and
/// restored after each metric.
fn after(timeline: &Timeline, metrics: &[Metric]) -> Result<Timeline, String> {
    let mut job = Job::new(timeline.clone(), 1, 0);
    for (step, metric) in (0..).zip(metrics) {
        let sample = Sample { loss: Some(metric.0), ..Sample::new(step) };
        let report = Report { samples: vec![sample], through_step: Some(step) };
        job.take(0, report, 1).map_err(|refused| format!("refuses the metric of step {step}: {refused:?}"))?;
        let stored = serde_json::to_string(&job.saved().expect("it has a record")).expect("a snapshot is JSON");
        let snapshot = serde_json::from_str(&stored).expect("what was written can be read");
        job = Job::from_saved(timeline, 1, None, snapshot).expect("it is of the same job");
    }
    Ok(job.timeline().clone())
}

/// A value of a step's directive. A few cases were recorded between two steps: there it is the value of the curve
/// itself.
fn value(spec: &Spec, timeline: &Timeline, step: f64, name: &str) -> Option<f64> {
    if step.fract() != 0.0 {
        let schedule = Schedule::try_new(&spec.schedule, spec, &mut Violations::new())?;
        return (name == "lr").then(|| schedule.value_at_time(step, spec.groups[0].base_lr));
    }
    let rate = timeline.directive_at(whole(step)).rates.remove(0);
    match name {
        "lr" => Some(rate.learning_rate),
        "momentum" => rate.momentum,
        _ => rate.weight_decay,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "recorded steps are small and not negative"
)]
fn whole(step: f64) -> u64 {
    step.ceil() as u64
}

/// The folder of the recorded cases.
fn directory() -> PathBuf {
    #[expect(clippy::disallowed_methods, reason = "a test has no config")]
    let other = std::env::var("LRS_GOLDEN_DIR").ok();
    other.map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden"), PathBuf::from)
}

/// All recorded cases, or the file that is none.
fn cases() -> Result<Vec<Case>, String> {
    let directory = directory();
    let at_fault = |path: &PathBuf, problem: &dyn std::fmt::Display| format!("{}: {problem}", path.display());
    let entries = fs::read_dir(&directory).map_err(|problem| at_fault(&directory, &problem))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let mut cases = Vec::new();
    for file in &files {
        let text = fs::read_to_string(file).map_err(|problem| at_fault(file, &problem))?;
        let golden: Golden = serde_json::from_str(&text).map_err(|problem| at_fault(file, &problem))?;
        cases.extend(golden.cases);
    }
    if cases.is_empty() { Err(at_fault(&directory, &"there is no case in its JSON files")) } else { Ok(cases) }
}

/// Prints for `scripts/golden.sh`, which runs this test alone.
#[test]
fn every_recorded_case_of_every_library_is_reproduced() {
    let cases = cases().unwrap_or_else(|problem| panic!("golden: {problem}"));
    let (mut different, mut worst) = (Vec::new(), 0.0_f64);
    for case in &cases {
        let wrong = match case.difference() {
            Ok(difference) => {
                let differs = difference.worst > case.tolerance();
                // A single-precision case has its own scale.
                if differs || matches!(case.float, Precision::F64) {
                    worst = worst.max(difference.worst);
                }
                differs.then_some(difference.at)
            }
            Err(refused) => Some(refused),
        };
        different.extend(wrong.map(|wrong| format!("{}: {wrong}", case.id)));
    }
    for line in &different {
        println!("golden: {line}");
    }
    println!("golden: {} cases, {} differ, worst error {worst:.1e} of peak", cases.len(), different.len());
    assert!(different.is_empty(), "\n{}", different.join("\n"));
}

#[test]
fn the_native_form_that_a_job_is_held_to_gives_the_same_bits() {
    for case in cases().unwrap_or_else(|problem| panic!("{problem}")) {
        let spec = case.spec().unwrap_or_else(|refused| panic!("{}: {refused}", case.id));
        let held = native(&spec);
        assert_eq!(held, native(&held), "{}: the native form is native", case.id);
        let timeline = |spec: &Spec| {
            let timeline = Timeline::try_new(spec, []).unwrap_or_else(|refused| panic!("{}: {refused}", case.id));
            case.metrics.as_ref().map_or_else(|| Ok(timeline.clone()), |metrics| after(&timeline, metrics)).unwrap()
        };
        let (written, held) = (timeline(&spec), timeline(&held));
        for step in case.steps.iter().map(|step| whole(*step)) {
            assert_eq!(written.directive_at(step), held.directive_at(step), "{} at step {step}", case.id);
        }
    }
}
