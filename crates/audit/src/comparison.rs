//! The comparison of an experiment's arms: which jobs are compared, which are left out and why, and the figures.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    difference::MeasuredPair,
    job::JobFigures,
    measure::{Measure, MeasureFigures, loss_objective},
};
use lrs_model::{
    controller::Mode,
    job::State,
    number::rounded,
    spec::{Arm, Objective},
};

/// The comparison of an experiment's arms.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The objective of most jobs, or the loss.
    pub objective: Objective,
    /// The jobs that are compared, by rising seed.
    pub pairs: Vec<Pair>,
    /// Each measure that any of the jobs has.
    pub measures: Vec<MeasureFigures>,
    /// The savings on the way to the target.
    pub savings: Savings,
    /// The jobs, seeds and arms that are not compared, and why.
    pub left_out: Vec<LeftOut>,
    /// The verdict on the final value, in words.
    pub verdict: String,
}

/// Two jobs that differ by their arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The seed of both.
    pub seed: i64,
    /// The scheduled job's name.
    pub scheduled: String,
    /// The baseline job's.
    pub baseline: String,
}

/// What the scheduled arm saved, over the pairs that both reached the target: baseline less scheduled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Savings {
    /// How many pairs reached the target on both sides.
    pub pairs: u64,
    /// Steps in all; negative if the scheduled arm needed more. `None` without such pairs.
    pub steps: Option<f64>,
    /// Seconds in all, estimated; `None` if one of the jobs has not ended.
    pub seconds: Option<f64>,
    /// GPU hours in all, estimated; `None` if one of the jobs does not say its GPUs.
    pub gpu_hours: Option<f64>,
    /// The same in words.
    pub sentence: String,
}

/// A job, a seed or an arm that is not compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// A job's name, or `seed 3`, or an arm.
    pub subject: String,
    /// Why.
    pub reason: String,
}

/// Compares the arms of `experiment`.
#[must_use]
pub fn compare(experiment: &str, jobs: &[JobFigures]) -> Comparison {
    let objective = usual_objective(jobs);
    let mut left_out = Vec::new();
    let mut leave = |subject: String, reason: String| left_out.push(LeftOut { subject, reason });
    let mut arms: [BTreeMap<i64, &JobFigures>; 2] = [BTreeMap::new(), BTreeMap::new()];
    for job in jobs {
        let name = job.facts.row.name.to_string();
        match place(job, &objective) {
            Err(reason) => leave(name, reason),
            Ok((arm, seed)) => {
                let known = arms[arm_index(arm)].entry(seed).or_insert(job);
                if std::ptr::eq(*known, job) {
                    continue;
                }
                let (newer, older) = if is_newer(job, known) { (job, *known) } else { (*known, job) };
                *known = newer;
                let reason = format!("{} has the same arm and seed and was registered later", newer.facts.row.name);
                leave(older.facts.row.name.to_string(), reason);
            }
        }
    }
    let [scheduled, baseline] = &arms;
    for (arm, others, word) in [(scheduled, baseline, "baseline"), (baseline, scheduled, "scheduled")] {
        for seed in arm.keys().filter(|seed| !others.contains_key(seed)) {
            leave(format!("seed {seed}"), format!("there is no {word} job of it to compare with"));
        }
    }
    let pairs: Vec<(i64, &JobFigures, &JobFigures)> =
        scheduled.iter().filter_map(|(seed, job)| Some((*seed, *job, *baseline.get(seed)?))).collect();
    for (seed, a, b) in &pairs {
        let lengths = (a.steps.map(|(_, last)| last), b.steps.map(|(_, last)| last));
        if let (Some(a), Some(b)) = lengths
            && a != b
        {
            let reason = format!(
                "is compared although the scheduled job trained up to step {a} and the baseline up to step {b}"
            );
            leave(format!("seed {seed}"), reason);
        }
    }
    let targets: BTreeSet<String> = pairs.iter().flat_map(|(_, a, b)| [target(a), target(b)]).collect();
    if targets.len() > 1 {
        let all = targets.into_iter().collect::<Vec<_>>().join(", ");
        leave(
            "target".to_owned(),
            format!("the jobs have different ones ({all}): only those with the usual one are compared by it"),
        );
    }
    let measures: Vec<MeasureFigures> =
        Measure::ALL.into_iter().filter_map(|measure| measured(measure, &objective, &pairs, experiment)).collect();
    let verdict = match measures.first() {
        Some(first) => format!("{}: {}", first.title, first.sentence),
        None if pairs.is_empty() => "nothing can be compared: no seed has a finished job in both arms".to_owned(),
        None => "nothing can be compared: the jobs reported none of the figures".to_owned(),
    };
    Comparison {
        savings: savings(&objective, &pairs),
        pairs: pairs.iter().map(|(seed, a, b)| Pair { seed: *seed, scheduled: name(a), baseline: name(b) }).collect(),
        objective,
        measures,
        left_out,
        verdict,
    }
}

fn name(job: &JobFigures) -> String {
    job.facts.row.name.to_string()
}

fn arm_index(arm: Arm) -> usize {
    match arm {
        Arm::Scheduled => 0,
        Arm::Baseline => 1,
    }
}

fn is_newer(a: &JobFigures, b: &JobFigures) -> bool {
    let key = |job: &JobFigures| (job.facts.row.create_time, job.facts.row.id.0);
    key(a) > key(b)
}

/// The objective that most jobs of an arm have, and of those with the same metric and direction the target that most
/// have.
fn usual_objective(jobs: &[JobFigures]) -> Objective {
    let jobs: Vec<&JobFigures> = jobs.iter().filter(|job| job.facts.row.spec.arm.is_some()).collect();
    let usual = most_frequent(jobs.iter().map(|job| kind(&objective_of(job))));
    let alike: Vec<&JobFigures> = jobs.into_iter().filter(|job| Some(kind(&objective_of(job))) == usual).collect();
    let usual = most_frequent(alike.iter().map(|job| target(job)));
    alike.iter().find(|job| Some(target(job)) == usual).map_or_else(loss_objective, |job| objective_of(job))
}

/// The most frequent key; the least of several.
fn most_frequent<K: Ord>(keys: impl Iterator<Item = K>) -> Option<K> {
    let mut counts: BTreeMap<K, u64> = BTreeMap::new();
    keys.for_each(|key| *counts.entry(key).or_default() += 1);
    // `max_by` takes the last of equal maxima: reversed, the least.
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(key, _)| key)
}

/// A job's objective, or the loss.
fn objective_of(job: &JobFigures) -> Objective {
    job.facts.row.spec.objective.clone().unwrap_or_else(loss_objective)
}

/// The parts of an objective that must be the same for two jobs to be compared.
fn kind(objective: &Objective) -> (String, bool) {
    (objective.metric.clone(), objective.mode == Mode::Max)
}

fn target(job: &JobFigures) -> String {
    let target = job.facts.row.spec.objective.as_ref().and_then(|objective| objective.target);
    target.map_or_else(|| "none".to_owned(), |target| target.to_string())
}

/// A job's side in the comparison, or why it has none.
fn place(job: &JobFigures, usual: &Objective) -> Result<(Arm, i64), String> {
    let row = &job.facts.row;
    let arm = row.spec.arm.ok_or("it has no arm")?;
    let seed = row.spec.seed.ok_or("it has no seed to pair it by")?;
    let Some((_, last)) = job.steps else {
        return Err(match row.telemetry_removed_time {
            Some(_) => "its telemetry is past its retention and was removed".to_owned(),
            None => format!("it has reported nothing and is {}", row.state),
        });
    };
    if !job.is_whole() {
        let of = row.spec.total_steps.map_or_else(String::new, |total| format!(" of {total}"));
        let so_far = format!("it is {}, with {} steps{of} trained", row.state, last + 1);
        return Err(match row.state {
            State::Failed => format!("{so_far}: leaving it out favours its arm, so mind it beside the verdict"),
            State::Cancelled => so_far,
            State::Pending | State::Running | State::Paused | State::Completed => {
                format!("{so_far}: it is compared once it has completed")
            }
        });
    }
    let objective = objective_of(job);
    if kind(&objective) != kind(usual) {
        let words = |objective: &Objective| {
            let direction = if kind(objective).1 { "higher" } else { "lower" };
            format!("{} ({direction} is better)", objective.metric)
        };
        return Err(format!("its objective is {}, that of most others {}", words(&objective), words(usual)));
    }
    Ok((arm, seed))
}

/// A measure over the pairs; by the target only of jobs with the usual one.
fn measured(
    measure: Measure,
    objective: &Objective,
    pairs: &[(i64, &JobFigures, &JobFigures)],
    experiment: &str,
) -> Option<MeasureFigures> {
    let value = |job: &JobFigures| measure.of(job, objective);
    let wanted = |job: &JobFigures| !measure.needs_target() || has_target(job, objective);
    let pairs = pairs.iter().filter(|(_, a, b)| wanted(a) && wanted(b));
    let pairs = pairs.map(|(seed, a, b)| MeasuredPair { seed: *seed, scheduled: value(a), baseline: value(b) });
    measure.figures(objective, pairs.collect(), experiment)
}

fn has_target(job: &JobFigures, usual: &Objective) -> bool {
    let target = job.facts.row.spec.objective.as_ref().and_then(|objective| objective.target);
    target.is_some() && target == usual.target
}

/// The savings in words.
fn in_words(amounts: impl Iterator<Item = (f64, &'static str)>) -> String {
    let (more, saved): (Vec<_>, Vec<_>) = amounts.partition(|(amount, _)| *amount < 0.0);
    let list = |amounts: &[(f64, &str)]| {
        amounts
            .iter()
            .map(|(amount, unit)| format!("{} {unit}", rounded(amount.abs(), 4)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match (&saved[..], &more[..]) {
        (saved, []) => format!("saved {}", list(saved)),
        ([], more) => format!("needed {} more", list(more)),
        (saved, more) => format!("saved {} and needed {} more", list(saved), list(more)),
    }
}

fn savings(objective: &Objective, pairs: &[(i64, &JobFigures, &JobFigures)]) -> Savings {
    let saved = |measure: Measure| {
        let pairs = pairs.iter().filter(|(_, a, b)| has_target(a, objective) && has_target(b, objective));
        let both =
            pairs.filter(|(_, a, b)| [a, b].iter().all(|job| Measure::StepsToTarget.of(job, objective).is_some()));
        let saved: Vec<Option<f64>> =
            both.map(|(_, a, b)| Some(measure.of(b, objective)? - measure.of(a, objective)?)).collect();
        (saved.len() as u64, if saved.is_empty() { None } else { saved.into_iter().sum::<Option<f64>>() })
    };
    let (count, steps) = saved(Measure::StepsToTarget);
    let (seconds, gpu_hours) = (saved(Measure::SecondsToTarget).1, saved(Measure::GpuHoursToTarget).1);
    let sentence = match (objective.target, steps) {
        (None, _) => "no target is set, so what was saved cannot be said".to_owned(),
        (Some(_), None) => "in no pair did both arms reach the target, so what was saved cannot be said".to_owned(),
        (Some(_), Some(steps)) => {
            let amounts = [(Some(steps), "steps"), (seconds, "s of wall time"), (gpu_hours, "GPU hours")];
            let amounts = amounts.into_iter().filter_map(|(amount, unit)| Some((amount?, unit)));
            let missing = match (seconds, gpu_hours) {
                (None, _) => "; wall time is known only of jobs that have ended",
                (Some(_), None) => "; GPU hours need the label gpus on each job",
                (Some(_), Some(_)) => "",
            };
            let seeds = if count == 1 { "the one seed".to_owned() } else { format!("the {count} seeds") };
            format!(
                "over {seeds} with which both arms reached the target, the scheduled one {}{missing}",
                in_words(amounts)
            )
        }
    };
    Savings { pairs: count, steps, seconds, gpu_hours, sentence }
}
