//! `lrs preview`: the curves of specs, computed here.

use std::{fs, path::PathBuf};

use super::{
    assignment::Assignment,
    failure::{Exit, Failure},
    heart, jobfile, output,
    steps::StepList,
    values::{Length, length},
};
use lrs_engine::{Curve, CurveSteps, Error};
use lrs_model::{name::JobName, spec::Spec, violation::Violations};
use lrs_proto::{Job, JobSpec};

mod chart;
mod columns;
mod page;
mod scheduler;

use scheduler::SchedulerArgs;

/// About how many lines a table has by default.
const TABLE_LINES: u64 = 20;

/// Draw the curve of one or several specs, no server needed
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A preview shows the schedule alone, without controllers. Unless --steps is given, the steps around every boundary, jump
and restart are shown too.

Examples:
  lrs preview -f examples/cifar.yaml
  lrs preview -f examples/cifar.yaml --steps 0,10,20..100
  lrs preview -f examples/cifar.yaml -f examples/one-cycle.yaml --format html -o curves.html
  lrs preview -f examples/transformer.yaml --every 100 --format csv > curve.csv
  lrs preview -f examples/transformer.yaml --expand        the spec in the words of the algebra
  lrs preview -f examples/cifar.yaml --expand --in-words-of torch
  lrs preview --library torch --scheduler StepLR --params '{step_size: 30}' --base-lr 0.1 --total-steps 100 --format chart")]
pub struct Args {
    /// Job file or bare spec, YAML or JSON; `-` is standard input. Several are shown side by side
    #[arg(short, long = "file", value_name = "FILE", required_unless_present = "scheduler")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    scheduler: SchedulerArgs,
    /// Set a field of every spec, such as `spec.groups[0].base_lr=0.1`; may be given several times
    #[arg(long = "set", value_name = "PATH=VALUE")]
    changes: Vec<Assignment>,
    /// Only these steps, such as 0,10,20..100, 0..1000:50 or 1ep,5ep; ranges include both ends
    #[arg(long, value_name = "STEPS", conflicts_with = "every")]
    steps: Option<StepList>,
    /// Every so many steps, or 1ep [default: for about 20 lines in a table, 1000 points otherwise]
    #[arg(long, value_name = "N", value_parser = length(1))]
    every: Option<Length>,
    /// The last step if a spec has no `total_steps`
    #[arg(long, value_name = "STEP", default_value = "1000", value_parser = length(1))]
    end: Length,
    /// How to show the curves; html is a page that needs nothing else
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Short for --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Print each spec with its defaults written out and its named forms expanded, as YAML, in place of its curve
    #[arg(long, conflicts_with_all = ["format", "json", "steps", "every"])]
    expand: bool,
    /// With --expand: print the schedules in the words of this library, where it has a scheduler that does the same
    #[arg(long, value_name = "LIBRARY", requires = "expand")]
    in_words_of: Option<String>,
    /// Write to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people
    Table,
    /// The canonical JSON of a `PreviewScheduleResponse`; of several specs, a list of them
    Json,
    /// A line a step; values in full
    Csv,
    /// A page with a chart
    Html,
    /// A chart in the terminal, as wide as it is; 80 columns otherwise
    Chart,
}

/// A spec's curve and its label.
#[derive(Clone, Debug)]
struct Preview {
    label: String,
    curve: Curve,
}

/// Prints the curves.
///
/// # Errors
/// If a file or a spec is invalid, or the answer cannot be written.
#[expect(clippy::unused_async, reason = "all commands run alike")]
pub async fn run(args: Args) -> Result<(), Failure> {
    let text = text(&args)?;
    match &args.output {
        None => output::print(&text),
        Some(path) => fs::write(path, text)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))),
    }
}

fn text(args: &Args) -> Result<String, Failure> {
    let specs = specs(args)?;
    if let Some(library) = &args.in_words_of {
        return in_words_of(library, &specs);
    }
    let format = if args.json { Format::Json } else { args.format };
    let previews = previews(&specs, args, format)?;
    let messages = || previews.iter().map(|preview| heart::curve_message(&preview.curve));
    if args.expand {
        let expanded = messages().map(|message| output::yaml(&message.expanded_spec.unwrap_or_default()));
        return Ok(expanded.collect::<Result<Vec<_>, _>>()?.join("---\n"));
    }
    match (format, &previews[..]) {
        (Format::Table, _) => Ok(columns::table(&previews)),
        (Format::Csv, _) => columns::csv(&previews),
        (Format::Html, _) => Ok(page::html(&previews)),
        (Format::Chart, _) => Ok(chart::text(&previews, width(args))),
        (Format::Json, [only]) => output::json(&heart::curve_message(&only.curve)),
        (Format::Json, _) => output::json(&messages().collect::<Vec<_>>()),
    }
}

/// The specs of all files and of the scheduler named, each with a label of its own.
fn specs(args: &Args) -> Result<Vec<(String, Spec)>, Failure> {
    let mut specs: Vec<(String, Spec)> = Vec::new();
    for path in &args.files {
        let stem = path.file_stem().map_or_else(|| "spec".to_owned(), |stem| stem.to_string_lossy().into_owned());
        for job in jobfile::read(path, &args.changes)? {
            let label = unique(label(&job, &stem), &specs);
            let spec = checked(&label, job.spec.unwrap_or_default())?;
            specs.push((label, spec));
        }
    }
    if let Some(job) = args.scheduler.job()? {
        let job = jobfile::change(&job, &args.changes)?;
        let label = unique(label(&job, "spec"), &specs);
        let spec = checked(&label, job.spec.unwrap_or_default())?;
        specs.push((label, spec));
    }
    Ok(specs)
}

fn checked(label: &str, spec: JobSpec) -> Result<Spec, Failure> {
    heart::spec(spec).map_err(|violations| refused(label, &violations))
}

fn refused(label: &str, violations: &Violations) -> Failure {
    Failure::violated(format!("the spec of {label} is refused:"), violations)
}

/// The specs as YAML, with the schedules as schedulers of `library`.
fn in_words_of(library: &str, specs: &[(String, Spec)]) -> Result<String, Failure> {
    let said = |(label, spec): &(String, Spec)| {
        let spec = heart::in_words_of(spec, library).map_err(|violations| {
            Failure::violated(format!("{label} cannot be said in the words of {library}:"), &violations)
        })?;
        output::yaml(&spec)
    };
    Ok(specs.iter().map(said).collect::<Result<Vec<_>, _>>()?.join("---\n"))
}

/// The width of a chart: that of the terminal, or the usual one for a file.
fn width(args: &Args) -> usize {
    const USUAL_WIDTH: usize = 80;
    if args.output.is_some() { USUAL_WIDTH } else { output::terminal_width().unwrap_or(USUAL_WIDTH) }
}

/// The curves, all at the same steps.
fn previews(specs: &[(String, Spec)], args: &Args, format: Format) -> Result<Vec<Preview>, Failure> {
    let curve = |(label, spec): &(String, Spec), steps| match heart::curve(spec, steps) {
        Ok(curve) => Ok(Preview { label: label.clone(), curve }),
        Err(Error::Invalid(violations)) => Err(refused(label, &violations)),
        Err(error) => Err(Failure::new(Exit::Failed, error)),
    };
    let own_steps = |named: &(String, Spec)| {
        let (label, spec) = named;
        let wrong = |flag: &str, problem: String| Failure::invalid(format!("{flag}: {problem} ({label})"));
        let in_steps =
            |flag: &str, length: &Length| length.in_steps(spec.into()).map_err(|problem| wrong(flag, problem));
        if let Some(steps) = &args.steps {
            return steps.in_steps(spec.into()).map_err(|problem| wrong("--steps", problem.to_string()));
        }
        let end = in_steps("--end", &args.end)?;
        let every = match (&args.every, format) {
            (Some(every), _) => Some(in_steps("--every", every)?),
            (None, Format::Table) => Some(spec.total_steps.unwrap_or(end).div_ceil(TABLE_LINES).max(1)),
            (None, _) => None,
        };
        curve(named, CurveSteps::Every { every, end }).map(|own| own.curve.steps)
    };
    let mut steps = specs.iter().map(own_steps).collect::<Result<Vec<_>, _>>()?.concat();
    steps.sort_unstable();
    steps.dedup();
    specs.iter().map(|named| curve(named, CurveSteps::At(steps.clone()))).collect()
}

/// What a job is called: by its name, its title, or its file.
fn label(job: &Job, stem: &str) -> String {
    let title = job.spec.as_ref().map(|spec| spec.display_name.as_str()).filter(|title| !title.is_empty());
    match job.name.parse::<JobName>() {
        Ok(name) => name.job().to_owned(),
        Err(_) => title.unwrap_or(stem).to_owned(),
    }
}

/// `label`, with a number if one of `specs` has it.
fn unique(label: String, specs: &[(String, Spec)]) -> String {
    let numbered = (2..).map(|n| format!("{label} ({n})"));
    let is_free = |candidate: &String| specs.iter().all(|(taken, _)| taken != candidate);
    std::iter::once(label.clone()).chain(numbered).find(is_free).unwrap_or(label)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn text_of(spec: &str, arguments: &[&str]) -> Result<String, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spec.yaml");
        fs::write(&path, spec).unwrap();
        let line = ["preview", "-f", path.to_str().unwrap()].into_iter().chain(arguments.iter().copied());
        text(&Line::parse_from(line).args)
    }

    #[test]
    fn steps_may_be_in_words_that_the_spec_measures() {
        let spec = "{total_steps: 100, steps_per_epoch: 10, groups: [{base_lr: 1}], schedule: {linear: {}}}";
        let csv = |arguments: &[&str]| text_of(spec, &[arguments, &["--format", "csv"]].concat());
        assert_eq!(csv(&["--steps", "0,5ep"]).unwrap(), "step,spec default learning_rate\n0,1\n50,0.5\n");
        assert_eq!(csv(&["--every", "1ep"]).unwrap(), csv(&["--every", "10"]).unwrap());
        let problem = text_of(LINEAR, &["--every", "1ep"]).unwrap_err().message;
        assert!(problem.contains("--every") && problem.contains("steps_per_epoch"), "{problem}");
    }

    const LINEAR: &str = "{total_steps: 100, groups: [{base_lr: 1}], schedule: {linear: {}}}";

    #[test]
    fn the_steps_asked_for_are_the_lines() {
        let csv = text_of(LINEAR, &["--steps", "0,50..51,200", "--format", "csv"]).unwrap();
        assert_eq!(csv, "step,spec default learning_rate\n0,1\n50,0.5\n51,0.49\n200,0\n");
    }

    #[test]
    fn a_table_has_about_twenty_lines_unless_told_otherwise() {
        let lines = |arguments| text_of(LINEAR, arguments).unwrap().lines().count();
        assert!((20..30).contains(&lines(&[])), "{}", lines(&[]));
        assert!(lines(&["--every", "1"]) >= 100);
    }

    #[test]
    fn several_specs_stand_side_by_side_at_the_same_steps() {
        let two = format!("{LINEAR}\n---\n{{total_steps: 10, groups: [{{base_lr: 2}}]}}\n");
        let csv = text_of(&two, &["--steps", "0,10", "--format", "csv"]).unwrap();
        assert_eq!(csv, "step,spec default learning_rate,spec (2) default learning_rate\n0,1,2\n10,0.9,2\n");
        let json: serde_json::Value = serde_json::from_str(&text_of(&two, &["--json"]).unwrap()).unwrap();
        assert_eq!(json.as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn an_expanded_spec_is_a_spec_with_the_same_curve() {
        let expanded = text_of(LINEAR, &["--expand"]).unwrap();
        assert!(expanded.contains("ease:") && !expanded.contains("linear: {}\n\n"), "{expanded}");
        let csv = |spec: &str| text_of(spec, &["--every", "7", "--format", "csv"]).unwrap();
        assert_eq!(csv(&expanded), csv(LINEAR));
    }

    #[test]
    fn a_wrong_spec_is_told_field_by_field() {
        let failure = text_of("{groups: [{base_lr: -1}], decision_lag: 0}", &[]).unwrap_err();
        assert_eq!(failure.exit, Exit::Invalid);
        assert!(!failure.violations.is_empty(), "{failure}");
    }

    fn text_without_file(arguments: &[&str]) -> Result<String, Failure> {
        text(&Line::parse_from(["preview"].iter().chain(arguments)).args)
    }

    #[test]
    fn a_scheduler_may_be_named_beside_files_or_alone() {
        let named = ["--library", "torch", "--scheduler", "StepLR", "--params", "{step_size: 50}", "--steps", "0,50"];
        let csv = text_without_file(&[&named[..], &["--base-lr", "2", "--format", "csv"]].concat()).unwrap();
        assert_eq!(csv, "step,torch StepLR default learning_rate\n0,2\n50,0.2\n");
        let csv = text_of(LINEAR, &[&named[..], &["--format", "csv"]].concat()).unwrap();
        let header = "step,spec default learning_rate,torch StepLR default learning_rate";
        assert_eq!(csv, format!("{header}\n0,1,1\n50,0.5,0.1\n"));
    }

    #[test]
    fn a_scheduler_that_needs_telemetry_is_sent_to_the_controllers() {
        let failure = text_without_file(&["--library", "torch", "--scheduler", "ReduceLROnPlateau"]).unwrap_err();
        assert_eq!(failure.exit, Exit::Invalid);
        assert!(failure.to_string().contains("controllers"), "{failure}");
    }

    #[test]
    fn a_schedule_is_said_in_the_words_of_a_library_with_the_same_curve() {
        let native = "{total_steps: 100, groups: [{base_lr: 1}], schedule: {step: {step_size: 7, gamma: 0.5}}}";
        let said = text_of(native, &["--expand", "--in-words-of", "torch"]).unwrap();
        assert!(said.contains("scheduler: StepLR"), "{said}");
        let csv = |spec: &str| text_of(spec, &["--every", "1", "--format", "csv"]).unwrap();
        assert_eq!(csv(&said), csv(native));
    }

    #[test]
    fn a_schedule_without_words_in_a_library_is_refused_with_the_reason() {
        let failure = text_of(LINEAR, &["--expand", "--in-words-of", "torch"]).unwrap_err();
        assert_eq!(failure.exit, Exit::Invalid);
        assert!(failure.to_string().contains("schedule: ") && failure.to_string().contains("length"), "{failure}");
        let failure = text_of(LINEAR, &["--expand", "--in-words-of", "tosh"]).unwrap_err();
        assert!(failure.to_string().contains("did you mean torch?"), "{failure}");
    }

    #[test]
    fn a_chart_names_every_curve() {
        let two = format!("{LINEAR}\n---\n{{total_steps: 10, groups: [{{base_lr: 2}}]}}\n");
        let chart = text_of(&two, &["--format", "chart"]).unwrap();
        assert!(chart.contains("spec default") && chart.contains("spec (2) default"), "{chart}");
    }

    #[test]
    fn a_page_needs_nothing_else() {
        let html = text_of(LINEAR, &["--format", "html"]).unwrap();
        assert!(html.starts_with("<!DOCTYPE html>") && html.contains("Plotly.newPlot"));
        assert!(!html.contains("<script src="), "a page must not load scripts from elsewhere");
    }

    #[test]
    fn every_example_can_be_previewed() {
        let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let mut count = 0;
        for entry in fs::read_dir(examples).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                let line = ["preview", "-f", path.to_str().unwrap()];
                text(&Line::parse_from(line).args).unwrap_or_else(|failure| panic!("{}: {failure}", path.display()));
                count += 1;
            }
        }
        assert!(count >= 4, "only {count} examples were found");
    }
}
