//! The file of an experiment: the shared spec, the fields of each arm, and the seeds.

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::command::{Template, quoted};
use crate::cli::{
    failure::Failure,
    jobfile,
    overlay::{overlay, spec_of},
    yaml,
};
use lrs_model::{
    name::{JobName, check_part},
    typed::{self, snake_case},
};
use lrs_proto::{
    Arm, JobSpec,
    lengths::{self, Scale},
    reflect,
    written::{self, Problem, choose},
};

/// The most seeds of an experiment.
const MAX_SEEDS: usize = 1000;
const JOB_ID: &str = "{experiment}-{arm}-{seed}";
const JOB_ID_NAMES: [&str; 3] = ["experiment", "arm", "seed"];
const COMMAND_NAMES: [&str; 7] = ["job", "job_id", "namespace", "experiment", "arm", "seed", "server"];
/// The fields of a spec that each run sets itself.
const SET_BY_RUN: [&str; 3] = ["experiment", "arm", "seed"];

/// The file as written, but for its specs.
#[derive(Debug)]
struct Written {
    name: String,
    namespace: Option<String>,
    seeds: Vec<i64>,
    job_id: Option<String>,
    command: Option<String>,
    scheduled: Option<WrittenArm>,
    baseline: Option<WrittenArm>,
}

/// An arm as written, but for its spec.
#[derive(Debug)]
struct WrittenArm {
    command: Option<String>,
}

impl Written {
    fn read(document: &Value) -> Result<Self, Problem> {
        let top = fields(Some(document), "", &["name", "namespace", "seeds", "job_id", "command", "spec", "arms"])?;
        let required = |name: &str, such_as: &str| Problem::at(name, format!("is required, such as {such_as}"));
        let seeds = top.get("seeds").filter(|seeds| !seeds.is_null());
        let seeds = seeds.ok_or_else(|| required("seeds", "[1, 2, 3]"))?;
        let arms = top.get("arms").filter(|arms| !arms.is_null());
        let arms = arms.ok_or_else(|| required("arms", "{scheduled: {spec: {schedule: cosine}}, baseline: {}}"))?;
        let arms = fields(Some(arms), "arms", &["scheduled", "baseline"])?;
        let arm = |word: &str| {
            let place = format!("arms.{word}");
            let Some(arm) = arms.get(word).filter(|arm| !arm.is_null()) else { return Ok(None) };
            let arm = fields(Some(arm), &place, &["spec", "command"])?;
            Ok(Some(WrittenArm { command: text(&arm, &place, "command")? }))
        };
        Ok(Self {
            name: text(&top, "", "name")?.ok_or_else(|| required("name", "warmup"))?,
            namespace: text(&top, "", "namespace")?,
            seeds: self::seeds(seeds).map_err(|problem| Problem::at("seeds", problem))?,
            job_id: text(&top, "", "job_id")?,
            command: text(&top, "", "command")?,
            scheduled: arm("scheduled")?,
            baseline: arm("baseline")?,
        })
    }
}

/// The fields of the value at a place, of which there are `known`.
fn fields(value: Option<&Value>, place: &str, known: &[&str]) -> Result<Map<String, Value>, Problem> {
    let Some(Value::Object(fields)) = value else {
        return Err(Problem::at(place, format!("must have names and values: there are {}", known.join(", "))));
    };
    if let Some(unknown) = fields.keys().find(|name| !known.contains(&name.as_str())) {
        let names: Vec<String> = known.iter().map(|&name| name.to_owned()).collect();
        let said = format!("the field {unknown:?} is not allowed here: {}", choose(unknown, &names));
        return Err(Problem { is_name: true, ..Problem::at(&below(place, unknown), said) });
    }
    Ok(fields.clone())
}

/// The text in a field; a number is one too.
fn text(fields: &Map<String, Value>, place: &str, name: &str) -> Result<Option<String>, Problem> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(plain @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(plain.to_string())),
        Some(_) => Err(Problem::at(&below(place, name), "must be a text".to_owned())),
    }
}

fn below(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// An experiment, checked as far as possible without a server.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Experiment {
    /// Its name.
    pub(super) name: String,
    /// The namespace of its jobs.
    pub(super) namespace: String,
    /// A job for each arm and seed, the scheduled arm first.
    pub(super) runs: Vec<Run>,
}

/// One job of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    /// Its name.
    pub(super) job: JobName,
    /// Its side.
    pub(super) arm: Arm,
    /// Its seed.
    pub(super) seed: i64,
    /// Its spec.
    pub(super) spec: JobSpec,
    /// The command that trains it, if the file has one.
    pub(super) command: Option<String>,
}

/// Where jobs go that the file does not say a place for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// The namespace, unless the file names one.
    pub(super) namespace: &'a str,
    /// The server's address, for commands.
    pub(super) server: &'a str,
}

/// The experiment of the file at `path`; `-` is standard input.
///
/// # Errors
/// If it cannot be read or describes none: with the line, the field, and what is allowed.
pub(super) fn read(path: &Path, surroundings: Surroundings<'_>) -> Result<Experiment, Failure> {
    parse(&jobfile::display(path), &jobfile::read_text(path)?, surroundings)
}

/// Turns the specs into canonical JSON. The lengths in words of an arm are measured by what the arm says, or else by the
/// shared spec.
fn read_specs(document: &mut Value) -> Result<(), Problem> {
    let message = reflect::descriptor::<JobSpec>();
    let mut scale = Scale::default();
    for place in [&["spec"][..], &["arms", "scheduled", "spec"], &["arms", "baseline", "spec"]] {
        let Some(spec) = document.pointer_mut(&format!("/{}", place.join("/"))).filter(|spec| !spec.is_null()) else {
            continue;
        };
        let within = |problem: Problem| problem.within(place);
        lengths::resolve(&message, spec, scale).map_err(within)?;
        // What is null in an arm takes the shared field away.
        let taken_away = |(name, value): (&String, &Value)| {
            let field = reflect::field(&message, &snake_case(name)).filter(|_| value.is_null())?;
            Some((field.name().to_owned(), Value::Null))
        };
        let none: Vec<_> = spec.as_object().into_iter().flatten().filter_map(taken_away).collect();
        *spec = written::read(&message, spec).map_err(within)?;
        if let Value::Object(fields) = spec {
            fields.extend(none.into_iter().filter(|_| place.len() > 1));
        }
        if place.len() == 1 {
            scale = JobSpec::deserialize(&*spec).map(|spec| Scale::of(&spec)).unwrap_or_default();
        }
    }
    Ok(())
}

/// The seeds of a list, or a single one.
fn seeds(written: &Value) -> Result<Vec<i64>, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let seed = |value: &Value| typed::whole(&text(value), i64::MIN..=i64::MAX);
    match written {
        Value::Array(seeds) => seeds.iter().map(seed).collect(),
        one => Ok(vec![seed(one)?]),
    }
}

fn parse(name: &str, text: &str, surroundings: Surroundings<'_>) -> Result<Experiment, Failure> {
    let mut document = yaml::document(text).map_err(|error| jobfile::explain(name, &error))?;
    let wrong = |problem: String| Failure::invalid(format!("{name}: {problem}"));
    if !document.is_object() {
        return Err(wrong("this is no experiment: it has names and values".to_owned())
            .with_hint("an experiment has `name`, `seeds`, `arms` and mostly `spec` at its top: see examples/"));
    }
    let misread = |problem: Problem| jobfile::misread(name, text, 0, &problem);
    let written = Written::read(&document).map_err(misread)?;
    read_specs(&mut document).map_err(misread)?;
    let all_seeds = written.seeds.clone();
    if written.name.is_empty() || written.name.chars().count() > 200 || written.name.chars().any(char::is_control) {
        return Err(wrong(format!(
            "name {:?} is not allowed: must be 1 to 200 characters, none of them a control character",
            written.name
        )));
    }
    let different: BTreeSet<i64> = all_seeds.iter().copied().collect();
    if different.is_empty() || all_seeds.len() > MAX_SEEDS || different.len() < all_seeds.len() {
        return Err(wrong(format!(
            "seeds {all_seeds:?} are not allowed: must be 1 to {MAX_SEEDS} different whole numbers"
        )));
    }
    let namespace = written.namespace.as_deref().unwrap_or(surroundings.namespace);
    check_part(namespace).map_err(|error| wrong(format!("namespace: {error}")))?;
    let (Some(scheduled), Some(baseline)) = (&written.scheduled, &written.baseline) else {
        return Err(wrong("arms: both `scheduled` and `baseline` are needed, to compare them".to_owned())
            .with_hint("an arm that changes nothing is written `baseline: {}`"));
    };
    let job_id = Template::parse("job_id", written.job_id.as_deref().unwrap_or(JOB_ID), &JOB_ID_NAMES)?;
    let shared = document.get("spec").unwrap_or(&Value::Null);
    let mut runs = Vec::new();
    for (arm, word, written_arm) in [(Arm::Scheduled, "scheduled", scheduled), (Arm::Baseline, "baseline", baseline)] {
        let over = document.pointer(&format!("/arms/{word}/spec")).unwrap_or(&Value::Null);
        check_free(name, &[("spec", shared), (&format!("arms.{word}.spec"), over)])?;
        let in_arm =
            |failure: Failure| Failure { message: format!("{name}: arms.{word}.spec: {}", failure.message), ..failure };
        let spec = spec_of(&overlay(shared, over).map_err(in_arm)?).map_err(in_arm)?;
        let command = written_arm.command.as_ref().or(written.command.as_ref());
        let command = command.map(|text| Template::parse("command", text, &COMMAND_NAMES)).transpose()?;
        for &seed in &all_seeds {
            let value = |name: &str| match name {
                "experiment" => written.name.clone(),
                "arm" => word.to_owned(),
                _ => seed.to_string(),
            };
            let id = job_id.fill(value);
            let job = JobName::new(namespace, &id).map_err(|error| {
                wrong(format!("job_id: {error}"))
                    .with_hint("`job_id: some-name-{arm}-{seed}` names the jobs in letters that are allowed")
            })?;
            let command = command.as_ref().map(|command| {
                command.fill(|name| {
                    quoted(&match name {
                        "job" => job.to_string(),
                        "job_id" => id.clone(),
                        "namespace" => namespace.to_owned(),
                        "server" => surroundings.server.to_owned(),
                        other => value(other),
                    })
                })
            });
            let spec = JobSpec { experiment: written.name.clone(), arm: arm.into(), seed: Some(seed), ..spec.clone() };
            runs.push(Run { job, arm, seed, spec, command });
        }
    }
    let names: BTreeSet<&str> = runs.iter().map(|run| run.job.as_str()).collect();
    if names.len() < runs.len() {
        return Err(wrong("job_id gives two jobs the same name: it needs both {arm} and {seed}".to_owned()));
    }
    Ok(Experiment { name: written.name, namespace: namespace.to_owned(), runs })
}

/// Whether the specs leave to the run what it sets.
fn check_free(name: &str, specs: &[(&str, &Value)]) -> Result<(), Failure> {
    for (field, spec) in specs {
        if let Some(taken) = SET_BY_RUN.into_iter().find(|taken| spec.get(taken).is_some()) {
            let problem = format!("{name}: {field}.{taken} must not be there: it follows from the experiment");
            return Err(Failure::invalid(problem).with_hint("`name`, `arms` and `seeds` at the top say it"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::schedule::Form;

    const FILE: &str = "
name: warm up
namespace: vision
seeds: [0, 7]
job_id: warmup-{arm}-{seed}
command: python train.py --job {job} --seed {seed} --tag {experiment}
spec:
  total_steps: 1000
  groups: [{base_lr: 0.1}]
  controllers: [{reduce_lr_on_plateau: {}}]
arms:
  scheduled:
    spec: {schedule: {warmup: {warmup_steps: 100}}}
  baseline:
    spec: {controllers: []}
    command: python plain.py --job {job_id}
";

    const SURROUNDINGS: Surroundings<'static> = Surroundings { namespace: "default", server: "http://s:1" };

    fn read(text: &str) -> Result<Experiment, Failure> {
        parse("exp.yaml", text, SURROUNDINGS)
    }

    #[test]
    fn every_seed_is_in_both_arms() {
        let found = read(FILE).unwrap();
        let names: Vec<&str> = found.runs.iter().map(|run| run.job.job()).collect();
        assert_eq!(names, ["warmup-scheduled-0", "warmup-scheduled-7", "warmup-baseline-0", "warmup-baseline-7"]);
        assert_eq!((found.name.as_str(), found.runs[0].job.namespace()), ("warm up", "vision"));
        let (scheduled, baseline) = (&found.runs[1].spec, &found.runs[3].spec);
        assert_eq!(
            (scheduled.experiment.as_str(), scheduled.arm(), scheduled.seed),
            ("warm up", Arm::Scheduled, Some(7))
        );
        assert!(matches!(scheduled.schedule.as_ref().unwrap().form, Some(Form::Warmup(_))));
        assert_eq!((scheduled.controllers.len(), baseline.controllers.len()), (1, 0));
        assert_eq!((scheduled.total_steps, baseline.total_steps), (Some(1000), Some(1000)));
        let commands: Vec<&str> = found.runs.iter().filter_map(|run| run.command.as_deref()).collect();
        assert_eq!(
            commands[1],
            "python train.py --job namespaces/vision/jobs/warmup-scheduled-7 --seed 7 --tag 'warm up'"
        );
        assert_eq!(commands[3], "python plain.py --job warmup-baseline-7");
    }

    #[test]
    fn lengths_may_be_in_words_and_an_arm_is_measured_by_the_shared_spec() {
        let text = FILE.replace("total_steps: 1000", "total_steps: 50ep\n  steps_per_epoch: 30");
        let found = read(&text.replace("warmup_steps: 100", "warmup_steps: 10%")).unwrap();
        let scheduled = &found.runs[0].spec;
        let Some(Form::Warmup(warmup)) = &scheduled.schedule.as_ref().unwrap().form else { panic!("{scheduled:?}") };
        assert_eq!((scheduled.total_steps, warmup.warmup_steps), (Some(1500), 150));
        let failure = read(&text.replace("warmup_steps: 100", "warmup_steps: 3e9tok")).unwrap_err();
        assert!(
            failure.message.starts_with("exp.yaml:14:46: arms.scheduled.spec.schedule.warmup.warmup_steps: "),
            "{failure}"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (from, to, problem) in [
            ("total_steps", "total_step", "exp.yaml:8:"),
            ("seeds:", "seed:", "exp.yaml:4:"),
            ("seeds: [0, 7]", "seeds: [7, 7]", "1 to 1000 different whole numbers"),
            ("seeds: [0, 7]", "seeds: []", "1 to 1000 different whole numbers"),
            ("seeds: [0, 7]", "seeds: seven", "seeds: \"seven\" is not allowed: must be a whole number"),
            ("{base_lr: 0.1}", "{base_rl: 0.1}", "exp.yaml:9:13: spec.groups[0].base_rl: the field"),
            ("{reduce_lr_on_plateau: {}}", "greedie", "exp.yaml:10:17: spec.controllers[0]: \"greedie\""),
            ("{warmup: {warmup_steps: 100}}", "cosin", "did you mean \"cosine\"?"),
            ("namespace: vision", "namespace: a b", "namespace:"),
            ("name: warm up", "name: ''", "1 to 200 characters"),
            ("job_id: warmup-{arm}-{seed}", "job_id: warmup-{seed}", "two jobs the same name"),
            ("job_id: warmup-{arm}-{seed}", "job_id: '{experiment}-{arm}-{seed}'", "job_id:"),
            ("--seed {seed}", "--seed {sed}", "{sed} is not known"),
            (
                "  baseline:\n    spec: {controllers: []}\n    command: python plain.py --job {job_id}\n",
                "",
                "both `scheduled` and `baseline`",
            ),
            ("  total_steps: 1000", "  total_steps: 1000\n  seed: 3", "spec.seed must not be there"),
            ("spec: {controllers: []}", "spec: {arm: ARM_BASELINE}", "arms.baseline.spec.arm must not be there"),
            ("name: warm up", "name: [a]", "exp.yaml:2:7: name: must be a text"),
            (
                "command: python plain.py --job {job_id}",
                "colour: red",
                "exp.yaml:16:5: arms.baseline.colour: the field",
            ),
            ("seeds: [0, 7]", "seeds:", "seeds: is required, such as [1, 2, 3]"),
            ("seeds: [0, 7]", "seeds: !many [0, 7]", "the tag !many is not allowed here"),
            ("spec: {controllers: []}", "spec: [1]", "exp.yaml:15:11: arms.baseline.spec: [1] is not allowed here"),
        ] {
            assert!(FILE.contains(from), "{from}");
            let failure = read(&FILE.replace(from, to)).unwrap_err();
            assert!(failure.message.contains(problem), "{to}: {failure}");
        }
    }

    #[test]
    fn what_is_no_experiment_is_told_what_one_has() {
        for text in ["", "[]", "a text", "- name: a"] {
            let failure = read(text).unwrap_err();
            assert!(failure.message.contains("this is no experiment"), "{failure}");
            assert!(failure.hint.as_deref().is_some_and(|hint| hint.contains("`seeds`, `arms`")), "{text}");
        }
        let failure = read("name: a\nseeds: [1]\narms: [scheduled, baseline]\n").unwrap_err();
        assert_eq!(failure.message, "exp.yaml:3:7: arms: must have names and values: there are scheduled, baseline");
    }

    #[test]
    fn what_is_empty_in_an_arm_takes_the_shared_field_away() {
        let found = read(&FILE.replace("spec: {controllers: []}", "spec: {controllers: , total_steps: null}")).unwrap();
        let baseline = &found.runs[3].spec;
        assert_eq!((baseline.controllers.len(), baseline.total_steps, baseline.groups.len()), (0, None, 1));
    }

    #[test]
    fn a_baseline_may_change_nothing_and_a_namespace_come_from_outside() {
        let found = read(
            "name: a\nseeds: [1]\nspec: {groups: [{base_lr: 1}]}\narms: {scheduled: {spec: {controller: auto}}, baseline: {}}",
        );
        let runs = found.unwrap().runs;
        assert_eq!(
            (runs[0].job.as_str(), runs[0].spec.controller.as_str()),
            ("namespaces/default/jobs/a-scheduled-1", "auto")
        );
        assert_eq!((runs[1].spec.controller.as_str(), runs[1].command.as_deref()), ("", None));
    }
}
