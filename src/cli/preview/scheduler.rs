//! A library's scheduler, named on the command line in place of a file.

use serde::Deserialize as _;
use serde_json::{Map, Value, json};

use crate::cli::{
    failure::Failure,
    heart,
    values::{number, whole},
    yaml,
};
use lrs_model::{MAX_STEP, typed::refused};
use lrs_proto::{Job, JobSpec};

/// Which scheduler, and the training that it is for.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SchedulerArgs {
    #[arg(long, requires = "scheduler", help = heart::libraries())]
    library: Option<String>,
    /// The library's name for the scheduler, such as `StepLR`
    #[arg(long, value_name = "NAME", requires = "library")]
    scheduler: Option<String>,
    /// The scheduler's keyword arguments, as JSON or YAML; those left out have the library's defaults
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = params, requires = "scheduler")]
    params: Map<String, Value>,
    /// The rate that the optimizer is given
    #[arg(long, value_name = "RATE", default_value_t = 1.0, value_parser = number, requires = "scheduler")]
    base_lr: f64,
    /// Length of the training, which is also where the curve ends
    #[arg(long, value_name = "STEPS", value_parser = whole(1..=MAX_STEP), requires = "scheduler")]
    total_steps: Option<u64>,
    /// Steps of an epoch, for a scheduler that counts epochs
    #[arg(long, value_name = "STEPS", value_parser = whole(1..=MAX_STEP), requires = "scheduler")]
    steps_per_epoch: Option<u64>,
    /// What the scheduler counts
    #[arg(long, value_enum, default_value_t = Unit::Step, requires = "scheduler")]
    unit: Unit,
    /// Samples or tokens of a step, for these units
    #[arg(long, value_name = "N", value_parser = whole(1..=MAX_STEP), requires = "scheduler")]
    units_per_step: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Unit {
    Step,
    Epoch,
    Sample,
    Token,
}

impl Unit {
    /// Its name in the message.
    fn name(self) -> &'static str {
        match self {
            Self::Step => "UNIT_STEP",
            Self::Epoch => "UNIT_EPOCH",
            Self::Sample => "UNIT_SAMPLE",
            Self::Token => "UNIT_TOKEN",
        }
    }
}

impl SchedulerArgs {
    /// The job that a file would have described, if a scheduler is named.
    ///
    /// # Errors
    /// If a number is too large for the message.
    pub(super) fn job(&self) -> Result<Option<Job>, Failure> {
        let (Some(library), Some(scheduler)) = (&self.library, &self.scheduler) else { return Ok(None) };
        let mut spec = json!({
            "display_name": format!("{library} {scheduler}"),
            "groups": [{"base_lr": self.base_lr}],
            "schedule": {
                "library": library,
                "scheduler": scheduler,
                "params": self.params,
                "unit": self.unit.name(),
            },
        });
        for (field, count) in [("total_steps", self.total_steps), ("steps_per_epoch", self.steps_per_epoch)] {
            spec[field] = json!(count);
        }
        if let Some(units) = self.units_per_step {
            spec["schedule"]["units_per_step"] = json!(units);
        }
        let spec = JobSpec::deserialize(spec).map_err(Failure::invalid)?;
        Ok(Some(Job { spec: Some(spec), ..Job::default() }))
    }
}

fn params(text: &str) -> Result<Map<String, Value>, String> {
    match yaml::document(text) {
        Ok(Value::Object(params)) => Ok(params),
        _ => Err(refused(text, "names and values, such as {step_size: 30}")),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SchedulerArgs,
    }

    fn parse(arguments: &[&str]) -> Result<SchedulerArgs, clap::Error> {
        Line::try_parse_from(["preview"].iter().chain(arguments)).map(|line| line.args)
    }

    const NAMED: [&str; 4] = ["--library", "torch", "--scheduler", "MultiStepLR"];

    #[test]
    fn arguments_are_json_or_yaml() {
        let given = |params| parse(&[&NAMED[..], &["--params", params]].concat()).unwrap().params;
        assert_eq!(given(r#"{"milestones": [1, 2]}"#), given("{milestones: [1, 2]}"));
        assert_eq!(given("{}"), parse(&NAMED).unwrap().params);
        let refused = parse(&[&NAMED[..], &["--params", "[1]"]].concat()).unwrap_err().to_string();
        assert!(refused.contains("must be names and values"), "{refused}");
    }

    #[test]
    fn a_scheduler_belongs_to_a_library() {
        for half in [&NAMED[..2], &NAMED[2..], &["--params", "{}"]] {
            assert!(parse(half).is_err(), "{half:?}");
        }
    }

    #[test]
    fn what_is_given_is_in_the_spec_and_nothing_else() {
        let job = |more: &[&str]| parse(&[&NAMED[..], more].concat()).unwrap().job().unwrap().unwrap();
        let spec = job(&["--total-steps", "90", "--steps-per-epoch", "9", "--base-lr", "0.5"]).spec.unwrap();
        assert_eq!((spec.total_steps, spec.steps_per_epoch, spec.groups[0].base_lr), (Some(90), Some(9), 0.5));
        let spec = job(&["--unit", "token", "--units-per-step", "4"]).spec.unwrap();
        assert_eq!((spec.total_steps, spec.schedule.unwrap().units_per_step), (None, Some(4)));
        assert_eq!(parse(&[]).unwrap().job().unwrap(), None);
    }
}
