//! The content of a report in order, independent of the format.

use super::{
    chart::{self, Chart},
    figures::{
        NONE, arm, author, duration, effect, figure, or_none, percent, short, signed_percent, slope, state, steps,
    },
};
use lrs_proto::{
    Arm, ArmComparison, AuditReport, DecisionReport, JobReport, LossSlope, MeasureReport, MetricReport, Mode,
    decision_report::SlopeChange, measure_report::Verdict,
};

/// A piece of a document.
#[derive(Clone, Debug)]
pub(super) enum Block {
    /// The title, and the line below it.
    Title(String, String),
    /// The answer in a sentence.
    Verdict(Tone, String),
    /// A few figures: name, value, and what it is compared with.
    Tiles(Vec<[String; 3]>),
    /// A heading.
    Section(String),
    /// A heading below it.
    Subsection(String),
    /// A paragraph.
    Text(String),
    /// A list of sentences.
    List(Vec<String>),
    /// A table: the number of text columns (the others are figures), the headings, and the rows.
    Table(usize, Vec<&'static str>, Vec<Vec<String>>),
    /// A chart.
    Chart(Chart),
    /// Blocks that a page shows only when its summary line is opened.
    Details(String, Vec<Block>),
}

/// The colour of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Scheduling pays.
    Good,
    /// Scheduling costs.
    Bad,
    /// Nothing is certain.
    Open,
}

/// The blocks of a report.
pub(super) fn outline(report: &AuditReport) -> Vec<Block> {
    let mut blocks = vec![title(report)];
    if let Some(comparison) = &report.comparison {
        blocks.push(Block::Verdict(tone(comparison), sentence(&comparison.verdict)));
        blocks.push(Block::Tiles(experiment_tiles(report, comparison)));
        blocks.extend(arms(comparison));
    } else if let [job] = &report.jobs[..] {
        blocks.push(Block::Tiles(job_tiles(job)));
    }
    let charts: Vec<Chart> = chart::curves(&report.jobs);
    if !charts.is_empty() {
        blocks.push(Block::Section("Curves".to_owned()));
        blocks.extend(charts.into_iter().map(Block::Chart));
    }
    blocks.push(Block::Section(if report.jobs.len() == 1 { "Job" } else { "Jobs" }.to_owned()));
    blocks.extend(jobs(&report.jobs));
    if let [job] = &report.jobs[..] {
        blocks.extend(metrics(job));
        blocks.extend(decisions(job));
        blocks.extend(notes(job));
    } else {
        blocks.extend(decision_counts(&report.jobs));
        blocks.extend(report.jobs.iter().flat_map(about));
    }
    blocks.push(Block::Section("How to read this".to_owned()));
    blocks.push(Block::List(reading(report).into_iter().map(str::to_owned).collect()));
    blocks
}

fn title(report: &AuditReport) -> Block {
    let (parent, subject) = report.name.split_once("/experiments/").unwrap_or((&report.name, ""));
    let namespace = parent.strip_prefix("namespaces/").unwrap_or(parent);
    if let Some(comparison) = &report.comparison {
        let about = format!(
            "experiment in namespace {namespace} · {} · {} compared",
            counted(report.jobs.len(), "job"),
            counted(comparison.pairs.len(), "seed")
        );
        return Block::Title(subject.to_owned(), about);
    }
    let job = report.jobs.first();
    let about = or_none(job, |job| format!("{} · {} · attempt {}", job.job, state(job), job.attempt));
    let title = job.map_or("", |job| &job.display_name);
    Block::Title(if title.is_empty() { short(&report.name) } else { title }.to_owned(), about)
}

fn counted(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

/// A sentence with a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

fn tone(comparison: &ArmComparison) -> Tone {
    match comparison.measures.first().map(MeasureReport::verdict) {
        Some(Verdict::Better) => Tone::Good,
        Some(Verdict::Worse) => Tone::Bad,
        _ => Tone::Open,
    }
}

fn experiment_tiles(report: &AuditReport, comparison: &ArmComparison) -> Vec<[String; 3]> {
    let mut tiles: Vec<[String; 3]> = comparison
        .measures
        .iter()
        .filter_map(|measure| {
            let difference = measure.difference.as_ref()?;
            let unit = if measure.unit.is_empty() { String::new() } else { format!(" {}", measure.unit) };
            let versus = format!("baseline {}{unit}", figure(difference.baseline_mean));
            Some([measure.title.clone(), format!("{}{unit}", figure(difference.scheduled_mean)), versus])
        })
        .take(4)
        .collect();
    let divergences = |wanted: Arm| -> i64 {
        let jobs = report.jobs.iter().filter(|job| job.arm() == wanted);
        jobs.filter_map(|job| job.loss.as_ref()?.stability.as_ref()).map(|stability| stability.divergences).sum()
    };
    let versus = format!("baseline {}", divergences(Arm::Baseline));
    tiles.push(["divergences".to_owned(), divergences(Arm::Scheduled).to_string(), versus]);
    tiles
}

fn job_tiles(job: &JobReport) -> Vec<[String; 3]> {
    let mut tiles = Vec::new();
    let mut tile = |what: &str, how_much: String, beside: String| tiles.push([what.to_owned(), how_much, beside]);
    tile("steps", steps(job), format!("{} records", job.records));
    if let Some(found) = &job.objective {
        let metric = found.objective.as_ref().map_or("", |objective| &objective.metric);
        let best = or_none(found.best_value.zip(found.best_step), |(value, step)| {
            format!("best {} at step {step}", figure(value))
        });
        tile(&format!("final {metric}"), figure(found.final_value), best);
        if let Some(target) = found.objective.as_ref().and_then(|objective| objective.target) {
            let reached = or_none(found.steps_to_target, |steps| format!("{steps} steps"));
            tile("to target", reached, format!("target {}", figure(target)));
        }
    }
    if let Some(loss) = &job.loss {
        let area = or_none(loss.area, |area| format!("area {}", figure(area)));
        tile("mean loss", or_none(loss.mean, figure), area);
        if let Some(plateau) = &loss.plateau {
            let cost = or_none(plateau.gpu_hours, |hours| format!("{} GPU h", figure(hours)));
            let cost = if cost == NONE { format!("{} steps", plateau.steps) } else { cost };
            tile("on a plateau", percent(plateau.share), cost);
        }
        let stability = loss.stability.unwrap_or_default();
        tile("divergences", stability.divergences.to_string(), counted(whole(stability.spikes), "spike"));
    }
    tile(
        "wall time",
        or_none(job.wall_seconds, duration),
        job.gpu_hours.map_or_else(String::new, |hours| format!("{} GPU h", figure(hours))),
    );
    tiles
}

fn whole(count: i64) -> usize {
    usize::try_from(count).unwrap_or_default()
}

/// The arms, measure by measure.
fn arms(comparison: &ArmComparison) -> Vec<Block> {
    let mut blocks = vec![Block::Section("Scheduled against baseline".to_owned())];
    let row = |measure: &MeasureReport| {
        let unit = if measure.unit.is_empty() { String::new() } else { format!(" ({})", measure.unit) };
        let arrow = if measure.lower_is_better { "↓" } else { "↑" };
        let mut row = vec![format!("{}{unit} {arrow}", measure.title)];
        let difference = measure.difference.as_ref();
        row.push(or_none(difference, |found| figure(found.scheduled_mean)));
        row.push(or_none(difference, |found| figure(found.baseline_mean)));
        row.push(or_none(difference, |found| figure(found.mean)));
        row.push(or_none(difference.and_then(|found| found.low.zip(found.high)), |(low, high)| {
            format!("{} to {}", figure(low), figure(high))
        }));
        row.push(or_none(difference.and_then(|found| found.relative), signed_percent));
        row.push(or_none(difference.and_then(|found| found.effect_size), figure));
        row.push(or_none(difference.and_then(|found| found.p_value), figure));
        row.push(format!("{} / {} / {}", measure.better, measure.worse, measure.equal));
        row
    };
    if comparison.measures.is_empty() {
        blocks.push(Block::Text("There is nothing to compare.".to_owned()));
    } else {
        let head = vec![
            "measure",
            "scheduled",
            "baseline",
            "difference",
            "95% interval",
            "relative",
            "effect size",
            "sign-flip p",
            "seeds better / worse / equal",
        ];
        blocks.push(Block::Table(1, head, comparison.measures.iter().map(row).collect()));
        blocks.extend(chart::forest(comparison).map(Block::Chart));
        let verdicts = comparison.measures.iter().map(|measure| format!("{}: {}.", measure.title, measure.sentence));
        blocks.push(Block::Subsection("In words".to_owned()));
        blocks.push(Block::List(verdicts.collect()));
    }
    if let Some(savings) = &comparison.savings {
        blocks.push(Block::Subsection("What was saved".to_owned()));
        blocks.push(Block::Text(sentence(&savings.sentence)));
    }
    let by_seed = by_seed(comparison);
    if !by_seed.is_empty() {
        blocks.push(Block::Subsection("Seed by seed".to_owned()));
        blocks.extend(chart::pairs(comparison).map(Block::Chart));
        blocks.push(Block::Table(2, vec!["measure", "seed", "scheduled", "baseline", "difference"], by_seed));
    }
    if !comparison.left_out.is_empty() {
        blocks.push(Block::Subsection("What is not compared, and why".to_owned()));
        let reason = |left: &lrs_proto::LeftOut| format!("{}: {}.", left.subject, left.reason);
        blocks.push(Block::List(comparison.left_out.iter().map(reason).collect()));
    }
    blocks
}

fn by_seed(comparison: &ArmComparison) -> Vec<Vec<String>> {
    let rows = comparison.measures.iter().flat_map(|measure| {
        measure.pairs.iter().map(|pair| {
            let difference = pair.scheduled.zip(pair.baseline).map(|(scheduled, baseline)| scheduled - baseline);
            vec![
                measure.title.clone(),
                pair.seed.to_string(),
                or_none(pair.scheduled, figure),
                or_none(pair.baseline, figure),
                or_none(difference, figure),
            ]
        })
    });
    rows.collect()
}

/// The table of all jobs.
fn jobs(jobs: &[JobReport]) -> Vec<Block> {
    let row = |job: &JobReport| {
        let objective = job.objective.as_ref();
        let loss = job.loss.as_ref();
        let stability = loss.and_then(|loss| loss.stability);
        let mut row = vec![short(&job.job).to_owned(), arm(job).to_owned(), or_none(job.seed, |seed| seed.to_string())];
        row.push(state(job).to_owned());
        row.push(steps(job));
        row.push(or_none(objective, |found| figure(found.final_value)));
        row.push(or_none(objective.and_then(|found| found.best_value), figure));
        row.push(or_none(objective.and_then(|found| found.steps_to_target), |steps| steps.to_string()));
        row.push(or_none(loss.and_then(|loss| loss.mean), figure));
        row.push(or_none(stability, |found| {
            format!("{} / {} / {}", found.spikes, found.divergences, found.not_finite)
        }));
        row.push(or_none(loss.and_then(|loss| loss.plateau.as_ref()), |plateau| percent(plateau.share)));
        row.push(or_none(job.wall_seconds, duration));
        row.push(or_none(job.gpu_hours, figure));
        row
    };
    let head = vec![
        "job",
        "arm",
        "seed",
        "state",
        "steps",
        "final",
        "best",
        "steps to target",
        "mean loss",
        "spikes / divergences / not finite",
        "on a plateau",
        "wall time",
        "GPU hours",
    ];
    vec![Block::Table(4, head, jobs.iter().map(row).collect())]
}

/// Each metric of a job.
fn metrics(job: &JobReport) -> Vec<Block> {
    if job.metrics.is_empty() {
        return Vec::new();
    }
    let row = |metric: &MetricReport| {
        let at = |value: Option<f64>, step: Option<i64>| {
            or_none(value.zip(step), |(value, step)| format!("{} at {step}", figure(value)))
        };
        vec![
            metric.name.clone(),
            metric.count.to_string(),
            figure(metric.final_value),
            at(metric.min_value, metric.min_step),
            at(metric.max_value, metric.max_step),
            metric.not_finite.to_string(),
        ]
    };
    let head = vec!["metric", "values", "final", "least, at step", "greatest, at step", "not finite"];
    vec![Block::Subsection("Metrics".to_owned()), Block::Table(1, head, job.metrics.iter().map(row).collect())]
}

/// The table of decisions: how many each job has, and how often the slope of the loss changed.
fn decision_counts(jobs: &[JobReport]) -> Vec<Block> {
    let row = |job: &JobReport| {
        let found = job.decisions.as_ref()?;
        let count = |wanted| found.decisions.iter().filter(|shown| shown.change() == wanted).count().to_string();
        let total = found.by_controllers + found.by_people + found.advice;
        (total > 0).then(|| {
            vec![
                short(&job.job).to_owned(),
                found.by_controllers.to_string(),
                found.by_people.to_string(),
                found.advice.to_string(),
                count(SlopeChange::Faster),
                count(SlopeChange::Slower),
                count(SlopeChange::Unclear),
                count(SlopeChange::TooFew),
            ]
        })
    };
    let rows: Vec<Vec<String>> = jobs.iter().filter_map(row).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    let head = vec![
        "job",
        "by controllers",
        "by people",
        "advice",
        "the loss fell faster",
        "fell more slowly",
        "no clear difference",
        "too few losses",
    ];
    vec![
        Block::Subsection("Decisions, and what the loss did after them".to_owned()),
        Block::Table(1, head, rows),
        Block::Text(
            "Each decision with its slopes stands in the report of its job, and in the page of this one.".to_owned(),
        ),
    ]
}

/// The section about one job of several.
fn about(job: &JobReport) -> Vec<Block> {
    let mut blocks = Vec::new();
    let decisions = decisions(job);
    if !decisions.is_empty() {
        blocks.push(Block::Details(format!("Decisions of {}", short(&job.job)), decisions));
    }
    if !job.notes.is_empty() {
        blocks.push(Block::Subsection(format!("About {}", short(&job.job))));
        blocks.extend(notes(job));
    }
    blocks
}

/// The notes about a job.
fn notes(job: &JobReport) -> Option<Block> {
    (!job.notes.is_empty()).then(|| Block::List(job.notes.clone()))
}

/// The table of a job's decisions.
fn decisions(job: &JobReport) -> Vec<Block> {
    let found = job.decisions.clone().unwrap_or_default();
    if found.decisions.is_empty() {
        return Vec::new();
    }
    let counts =
        [(found.by_controllers, "by controllers"), (found.by_people, "by people"), (found.advice, "as advice")];
    let counts: Vec<String> =
        counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    vec![
        Block::Subsection(format!("Decisions: {}", counts.join(", "))),
        Block::Table(4, DECISION_HEAD.to_vec(), found.decisions.iter().map(decision_row).collect()),
    ]
}

const DECISION_HEAD: [&str; 7] = [
    "from step",
    "what",
    "the loss",
    "by, and why",
    "median loss before → after",
    "slope before (95%)",
    "slope after (95%)",
];

fn decision_row(found: &DecisionReport) -> Vec<String> {
    let decision = found.decision.clone().unwrap_or_default();
    let change = match found.change() {
        SlopeChange::Unspecified => NONE,
        SlopeChange::Faster => "fell faster",
        SlopeChange::Slower => "fell more slowly",
        SlopeChange::Unclear => "no clear difference",
        SlopeChange::TooFew => "too few losses",
    };
    let median = |slope: Option<LossSlope>| or_none(slope, |slope| figure(slope.median));
    let (by, why) = (author(&decision), &decision.reason);
    vec![
        decision.effective_step.to_string(),
        effect(&decision),
        change.to_owned(),
        if why.is_empty() { by } else { format!("{by}: {why}") },
        format!("{} → {}", median(found.before), median(found.after)),
        or_none(found.before.as_ref(), slope),
        or_none(found.after.as_ref(), slope),
    ]
}

/// The explanation of the figures.
fn reading(report: &AuditReport) -> Vec<&'static str> {
    let mut lines = Vec::new();
    if let Some(comparison) = &report.comparison {
        let maximised = comparison.objective.as_ref().is_some_and(|objective| objective.mode() == Mode::Max);
        lines.push("Differences are scheduled less baseline, paired by seed. ↓: lower is better; ↑: higher is better.");
        if maximised {
            lines.push("Higher values of the objective are better: a difference above 0 speaks for the scheduled arm.");
        }
        lines.push(
            "The interval is a percentile bootstrap over the pairs (10,000 resamples); with few seeds it is too narrow, so evidence \
             also needs a sign-flip p of at most 0.05, which takes 6 seeds at least. Effect size: mean difference over its \
             standard deviation. Several measures are compared, and nothing corrects for that: the first one decides.",
        );
        lines
            .push("A job without a value, or with one that is not finite, counts as worse than any other in its pair.");
    }
    lines.push("Final: the median of the last twentieth of a metric's values (at most 256), or the last one if that is not finite.");
    lines.push(
        "Slopes are Theil and Sen's over up to 200 losses on each side of a decision, in losses per 1000 steps, with 95% intervals that \
         take the losses as independent. What came after a decision did not all come because of it.",
    );
    lines.push(
        "On a plateau: windows of an eighth of the run in which Mann and Kendall's test (one-sided, 5%) finds no fall of the loss; \
         a slow fall under much noise counts as one too. \
         Spike: more than 6 standard deviations above the running average. Divergence: not finite, or more than half of what was gained is lost.",
    );
    lines.push(
        "Telemetry has no times. Wall time runs from the start of the first attempt to the end of the job, pauses included; the time to a \
         step shares the time of an attempt evenly over its steps. GPU hours need the label gpus.",
    );
    lines
}
