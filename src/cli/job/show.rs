//! Jobs, attempts, decisions and records as text for people.

use crate::cli::{
    failure::Failure,
    output::{card, json_line, number, optional, table, time},
    rate_move, telemetry,
};
use lrs_model::{
    decision::{Cooldown, RateShape, advice_words},
    name::JobName,
    spec::DEFAULT_GROUP,
    telemetry::Sample,
};
use lrs_proto::{
    Attempt, BaseRateChange, Change, ControllerStatus, Decision, GroupRate, Job, JobSpec, Progress, TelemetryRecord,
    decision::{Author, Effect},
    job::State,
    rate_override::Setting,
    watch_job_response::Event,
};

/// A job, a line a field.
pub(super) fn job(job: &Job) -> String {
    let default_progress = Progress::default();
    let progress = job.progress.as_ref().unwrap_or(&default_progress);
    let mut rows = vec![("name", job.name.clone()), ("state", state_and_reason(job))];
    if let Some(fork) = &job.forked_from {
        rows.push(("forked from", format!("{}, attempt {}, step {}", fork.job, fork.attempt, fork.step)));
    }
    if let Some(spec) = &job.spec {
        rows.extend(spec_rows(spec));
    }
    rows.extend([
        ("attempt", optional((job.attempt > 0).then_some(job.attempt), |n| n.to_string())),
        ("complete through step", optional(progress.watermark_step, |step| step.to_string())),
        ("final through step", optional(progress.final_step, |step| step.to_string())),
        ("loss", optional(progress.loss, number)),
        ("learning rate", rates(&progress.rates)),
        ("orders count", ordered(progress)),
        ("a step takes", optional(progress.step_seconds, seconds)),
        ("closed loop", controllers(&progress.controllers)),
        ("last heard of", time(progress.report_time.as_ref())),
        ("registered", time(job.create_time.as_ref())),
        ("changed", time(job.update_time.as_ref())),
    ]);
    if !progress.missing_ranks.is_empty() {
        rows.push(("missing", progress.missing_ranks.clone()));
    }
    if job.end_time.is_some() {
        rows.push(("ended", time(job.end_time.as_ref())));
    }
    let refused = progress.conflicting_samples + progress.late_samples;
    if refused > 0 {
        let (conflicts, late) = (progress.conflicting_samples, progress.late_samples);
        rows.push(("telemetry refused", format!("{refused} samples ({conflicts} in conflict, {late} late)")));
    }
    rows.extend(job.warnings.iter().map(|warning| ("warning", warning.clone())));
    if !progress.order_warning.is_empty() {
        rows.push(("warning", progress.order_warning.clone()));
    }
    card(rows)
}

/// What is probably wrong with one of several jobs, a line each.
pub(super) fn warnings_of_one(job: &Job) -> String {
    let late = job.progress.iter().map(|progress| &progress.order_warning).filter(|late| !late.is_empty());
    let lines = job.warnings.iter().chain(late).map(|warning| format!("Warning: {}: {warning}.\n", job.name));
    lines.collect::<Vec<_>>().concat()
}

/// What is probably wrong with a job that was registered, a line each.
pub(super) fn warnings(job: &Job) -> String {
    sentences(&job.warnings)
}

/// Jobs, a line each; with their namespace where it is not the same for all.
pub(super) fn jobs(jobs: &[Job], with_namespace: bool) -> String {
    if jobs.is_empty() {
        return "No jobs.\n".to_owned();
    }
    let rows = jobs.iter().map(|job| {
        let progress = job.progress.as_ref();
        vec![
            short_name(&job.name, with_namespace),
            state(job).to_owned(),
            optional(progress.and_then(|p| p.watermark_step), |step| step.to_string()),
            optional(job.spec.as_ref().and_then(|spec| spec.total_steps), |steps| steps.to_string()),
            optional(progress.and_then(|p| p.loss), number),
            progress.map_or_else(|| "-".to_owned(), |p| rates(&p.rates)),
            optional(job.spec.as_ref().filter(|spec| !spec.experiment.is_empty()), |spec| spec.experiment.clone()),
            time(job.update_time.as_ref()),
        ]
    });
    table(&["NAME", "STATE", "STEP", "OF", "LOSS", "RATE", "EXPERIMENT", "CHANGED"], rows.collect())
}

/// A job's state after a command, in a line, and from which step on it counts.
pub(super) fn outcome(job: &Job) -> String {
    let from = from_order(job).map(|from| format!(" {from}")).unwrap_or_default();
    format!("{} is {}{from}.\n{}", job.name, state_and_reason(job), late_order(job))
}

/// From which step on the latest orders count, if the trainer has not come there yet.
pub(super) fn from_order(job: &Job) -> Option<String> {
    job.progress.as_ref().filter(|progress| progress.order_step.is_some()).map(ordered)
}

/// That the latest orders come after the job's last step, if they do.
pub(super) fn late_order(job: &Job) -> String {
    let late = job.progress.as_ref().map(|progress| &progress.order_warning).filter(|late| !late.is_empty());
    late.map(|late| sentences([late])).unwrap_or_default()
}

/// Warnings, a line each.
pub(super) fn sentences<'a>(warnings: impl IntoIterator<Item = &'a String>) -> String {
    warnings.into_iter().map(|warning| format!("Warning: {warning}.\n")).collect::<Vec<_>>().concat()
}

/// From which step on people's orders count, and when that is expected.
pub(super) fn ordered(progress: &Progress) -> String {
    match progress.order_step {
        Some(step) => from_step(step, progress.order_time.as_ref()),
        None => "-".to_owned(),
    }
}

/// From which step on an order counts, and when that is expected.
pub(super) fn from_step(step: i64, expected: Option<&pbjson_types::Timestamp>) -> String {
    let when = expected.map(|expected| format!(", expected at {}", time(Some(expected)))).unwrap_or_default();
    format!("from step {step} on{when}")
}

/// A length of time that is short.
fn seconds(length: f64) -> String {
    if length < 1.0 { format!("{} ms", number(length * 1000.0)) } else { format!("{} s", number(length)) }
}

/// Decisions, a line each.
pub(super) fn decisions(decisions: &[Decision]) -> String {
    if decisions.is_empty() {
        return "No decisions.\n".to_owned();
    }
    let rows = decisions.iter().map(|decision| {
        vec![
            decision.name.rsplit('/').next().unwrap_or_default().to_owned(),
            decision.attempt.to_string(),
            decision.step.to_string(),
            decision.effective_step.to_string(),
            author(decision).to_owned(),
            effect(decision),
            decision.reason.clone(),
            evidence(decision),
        ]
    });
    table(&["ID", "ATTEMPT", "TAKEN AT", "EFFECTIVE", "BY", "EFFECT", "REASON", "EVIDENCE"], rows.collect())
}

/// Who changed a job, and what its controllers decided, in the order of time.
pub(super) fn history(changes: &[Change], by_controllers: &[&Decision]) -> String {
    if changes.is_empty() && by_controllers.is_empty() {
        return "No changes.\n".to_owned();
    }
    let moment = |time: Option<pbjson_types::Timestamp>| time.map_or((0, 0), |time| (time.seconds, time.nanos));
    let row = |time: Option<pbjson_types::Timestamp>, way: &str, words: String| {
        (moment(time), vec![self::time(time.as_ref()), way.to_owned(), words])
    };
    let people = changes.iter().map(|change| {
        let way = change.origin().as_str_name().trim_start_matches("ORIGIN_").to_lowercase();
        row(change.create_time, &way, change.summary.clone())
    });
    let controllers = by_controllers.iter().map(|decision| {
        let (author, effect, from) = (author(decision), effect(decision), decision.effective_step);
        let words = format!("{author}: {effect}, from step {from} on{}", in_parentheses(&decision.reason));
        row(decision.create_time, "controller", words)
    });
    let mut rows: Vec<_> = people.chain(controllers).collect();
    // Stable: what was recorded at one moment stays in the order of the record.
    rows.sort_by_key(|(moment, _)| *moment);
    table(&["TIME", "FROM", "WHAT"], rows.into_iter().map(|(_, row)| row).collect())
}

/// The figures behind a decision.
fn evidence(decision: &Decision) -> String {
    let mut figures: Vec<_> = decision.evidence.iter().collect();
    figures.sort_by_key(|(name, _)| *name);
    let figures = figures.into_iter().map(|(name, value)| format!("{name} {}", number(*value)));
    figures.collect::<Vec<_>>().join(", ")
}

/// The status of each controller, and the metrics that it lacks.
fn controllers(statuses: &[ControllerStatus]) -> String {
    let status = |status: &ControllerStatus| {
        let phase = Some(status.phase.clone()).filter(|phase| !phase.is_empty());
        let notice = Some(&status.notice).filter(|notice| !notice.is_empty());
        let said = phase.into_iter().chain(status.missing.iter().chain(notice).cloned()).collect::<Vec<_>>().join("; ");
        if said.is_empty() { status.controller.clone() } else { format!("{} {said}", status.controller) }
    };
    if statuses.is_empty() { "-".to_owned() } else { statuses.iter().map(status).collect::<Vec<_>>().join(", ") }
}

/// Attempts, a line each.
pub(super) fn attempts(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "No attempts yet.\n".to_owned();
    }
    let rows = attempts.iter().map(|attempt| {
        vec![
            attempt.attempt.to_string(),
            attempt.resume_step.to_string(),
            optional((attempt.parent_attempt > 0).then_some(attempt.parent_attempt), |n| n.to_string()),
            optional(attempt.reporting_ranks, |n| n.to_string()),
            attempt.attempt_token.clone(),
            time(attempt.create_time.as_ref()),
        ]
    });
    table(&["ATTEMPT", "FROM STEP", "CONTINUES", "RANKS", "TOKEN", "STARTED"], rows.collect())
}

/// Records, a line each and a column a metric; more lines for a record that has several values of a metric.
pub(super) fn samples(samples: &[Sample]) -> String {
    if samples.is_empty() {
        return "No telemetry.\n".to_owned();
    }
    let metrics = telemetry::metric_names(samples);
    let header: Vec<&str> = std::iter::once("step").chain(metrics.iter().copied()).collect();
    let rows = samples.iter().flat_map(Sample::observations).map(|sample| {
        let values = metrics.iter().map(|name| optional(sample.metric(name), number));
        std::iter::once(sample.step.to_string()).chain(values).collect()
    });
    table(&header, rows.collect())
}

/// An event, without a line break.
pub(super) fn event(event: &Event) -> String {
    match event {
        Event::Job(job) => format!("job       {}, attempt {}", state_and_reason(job), job.attempt),
        Event::Decision(decision) => {
            let (author, effect, from) = (author(decision), effect(decision), decision.effective_step);
            format!("decision  {effect}, from step {from} on, by {author}{}", in_parentheses(&decision.reason))
        }
        Event::Change(change) => format!("change    {}", change.summary),
        Event::Record(record) => format!("record    {}", record_line(record)),
        Event::MissedEvents(count) => format!("missed    {count} events"),
    }
}

/// What a decision does, in a few words.
pub(super) fn effect(decision: &Decision) -> String {
    match &decision.effect {
        Some(Effect::BaseRateChange(change)) => base_rate_change(change),
        Some(Effect::RateOverride(order)) => {
            let setting = match &order.setting {
                Some(Setting::Fixed(fixed)) => {
                    let rates = fixed.learning_rates.iter().map(|(group, rate)| format!("{group} {}", number(*rate)));
                    format!("override {}", rates.collect::<Vec<_>>().join(", "))
                }
                Some(Setting::Factor(factor)) => format!("override × {}", number(*factor)),
                None => "override".to_owned(),
            };
            order.end_step.map_or(setting.clone(), |end| format!("{setting} until step {end}"))
        }
        Some(Effect::OverrideCleared(_)) => "override cleared".to_owned(),
        Some(Effect::SchedulePaused(_)) => "paused".to_owned(),
        Some(Effect::ScheduleResumed(_)) => "resumed".to_owned(),
        Some(Effect::SpecChange(_)) => "spec changed".to_owned(),
        Some(Effect::Advice(advice)) => advice_words(advice.topic().as_str_name(), advice.is_withdrawn),
        None => "unknown to this release".to_owned(),
    }
}

fn base_rate_change(change: &BaseRateChange) -> String {
    let groups = change.groups.iter().map(|group| (&*group.group, group.previous_base_lr, group.base_lr));
    let shape = change.shape.unwrap_or_default();
    let whole = |number: i64| u64::try_from(number).unwrap_or_default();
    let cooldown = shape
        .cooldown
        .map(|cooldown| Cooldown { start_step: whole(cooldown.start_step), steps: whole(cooldown.steps) });
    let (ramp_steps, cooldown_share) = (whole(shape.ramp_steps), shape.cooldown_share);
    let shape = RateShape { is_flat: shape.is_flat, ramp_steps, cooldown_share, cooldown };
    rate_move::words(groups, shape, Some(&*change.restore).filter(|copy| !copy.is_empty()))
}

/// Whether a job will never train again.
pub(super) fn has_ended(job: &Job) -> bool {
    matches!(job.state(), State::Completed | State::Failed | State::Cancelled)
}

pub(super) fn state(job: &Job) -> &'static str {
    let name = job.state().as_str_name();
    name.strip_prefix("STATE_").unwrap_or(name)
}

fn state_and_reason(job: &Job) -> String {
    let by = if job.state_author.is_empty() { String::new() } else { format!(" by {}", job.state_author) };
    format!("{}{by}{}", state(job), in_parentheses(&job.state_reason))
}

fn in_parentheses(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(" ({reason})") }
}

fn author(decision: &Decision) -> &str {
    match &decision.author {
        Some(Author::Person(name) | Author::Controller(name)) => name,
        None => "-",
    }
}

fn spec_rows(spec: &JobSpec) -> Vec<(&'static str, String)> {
    // A message of numbers and text can always be written; if not, a dash is better than an error.
    let one_line =
        |text: Result<String, Failure>| text.map_or_else(|_| "-".to_owned(), |text| text.trim_end().to_owned());
    let groups = spec.groups.iter().map(|group| {
        let name = if group.name.is_empty() { DEFAULT_GROUP } else { &group.name };
        format!("{name} {}", number(group.base_lr))
    });
    let mut rows = Vec::new();
    if !spec.display_name.is_empty() {
        rows.push(("title", spec.display_name.clone()));
    }
    rows.push(("base rates", groups.collect::<Vec<_>>().join(", ")));
    rows.push(("total steps", optional(spec.total_steps, |steps| steps.to_string())));
    rows.push(("schedule", optional(spec.schedule.as_ref(), |schedule| one_line(json_line(schedule)))));
    if !spec.controllers.is_empty() {
        rows.push(("controllers", one_line(json_line(&spec.controllers))));
    }
    if !spec.experiment.is_empty() {
        rows.push(("experiment", spec.experiment.clone()));
    }
    rows
}

/// The rates of all groups; without names where there is only one.
fn rates(rates: &[GroupRate]) -> String {
    match rates {
        [] => "-".to_owned(),
        [only] => number(only.learning_rate),
        several => {
            let each = several.iter().map(|rate| format!("{} {}", rate.group, number(rate.learning_rate)));
            each.collect::<Vec<_>>().join(", ")
        }
    }
}

fn record_line(record: &TelemetryRecord) -> String {
    let usual = [("loss", record.loss), ("grad_norm", record.grad_norm), ("learning_rate", record.learning_rate)];
    let usual = usual.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let others = record.metrics.iter().map(|(name, value)| (name.as_str(), *value));
    let values = usual.chain(others).map(|(name, value)| format!("  {name} {}", number(value)));
    format!("step {}{}", record.step, values.collect::<String>())
}

fn short_name(name: &str, with_namespace: bool) -> String {
    match name.parse::<JobName>() {
        Ok(name) if with_namespace => format!("{}/{}", name.namespace(), name.job()),
        Ok(name) => name.job().to_owned(),
        Err(_) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::{FixedRates, GroupBaseRate, OverrideCleared, ParameterGroup, RateCooldown, RateOverride};

    fn some_job() -> Job {
        Job {
            name: "namespaces/vision/jobs/cifar".to_owned(),
            state: State::Running.into(),
            attempt: 2,
            spec: Some(JobSpec {
                total_steps: Some(1000),
                groups: vec![ParameterGroup { base_lr: 0.1, ..Default::default() }],
                ..Default::default()
            }),
            progress: Some(Progress {
                watermark_step: Some(41),
                loss: Some(f64::NAN),
                rates: vec![GroupRate { group: "default".to_owned(), learning_rate: 1.0 / 3.0, ..Default::default() }],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn decision(effect: Effect) -> Decision {
        Decision { effect: Some(effect), ..Default::default() }
    }

    #[test]
    fn a_list_has_a_line_a_job() {
        let text = jobs(&[some_job(), Job::default()], false);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["NAME", "STATE", "STEP", "OF", "LOSS", "RATE", "EXPERIMENT", "CHANGED"]);
        assert_eq!(lines[1], ["cifar", "RUNNING", "41", "1000", "NaN", "0.333333", "-", "-"]);
        assert_eq!(lines.len(), 3);
        assert!(jobs(&[some_job()], true).contains(" vision/cifar "));
        assert_eq!(jobs(&[], true), "No jobs.\n");
    }

    #[test]
    fn a_card_shows_what_was_asked_for_and_how_far_it_has_come() {
        let text = job(&some_job());
        for line in ["state  RUNNING", "base rates  default 0.1", "complete through step  41", "final through step  -"]
        {
            assert!(text.lines().any(|l| l.split_whitespace().eq(line.split_whitespace())), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_decision_shows_the_figures_behind_it() {
        let evidence = [("best".to_owned(), 0.5), ("bad_eval_count".to_owned(), 3.0)].into();
        let shown = decisions(&[Decision { evidence, ..decision(Effect::Advice(lrs_proto::Advice::default())) }]);
        assert!(shown.contains("bad_eval_count 3, best 0.5"), "{shown}");
    }

    #[test]
    fn a_job_says_what_its_controllers_are_at_and_what_they_miss() {
        let mut job = some_job();
        let missing = vec!["grad_norm is not reported".to_owned()];
        job.progress.as_mut().unwrap().controllers = vec![ControllerStatus {
            controller: "0/auto".to_owned(),
            phase: "searching".to_owned(),
            missing,
            ..Default::default()
        }];
        let shown = super::job(&job);
        assert!(shown.contains("0/auto searching; grad_norm is not reported"), "{shown}");
    }

    #[test]
    fn effects_are_said_in_a_few_words() {
        let group = GroupBaseRate { group: "head".to_owned(), previous_base_lr: 0.1, base_lr: 0.01 };
        let change = Effect::BaseRateChange(BaseRateChange { groups: vec![group], ..Default::default() });
        assert_eq!(effect(&decision(change)), "head base rate 0.1 → 0.01");
        let group = GroupBaseRate { group: "head".to_owned(), previous_base_lr: 0.1, base_lr: 0.1 };
        let stays =
            |shape| Effect::BaseRateChange(BaseRateChange { groups: vec![group.clone()], shape, ..Default::default() });
        let cooldown = Some(RateCooldown { start_step: 100, steps: 20 });
        let falls = stays(Some(lrs_proto::RateShape { cooldown, ..Default::default() }));
        assert_eq!(effect(&decision(falls)), "rate falls to 0 over 20 steps, from step 100 to 120");
        assert_eq!(effect(&decision(stays(None))), "base rates stay");
        let halved = RateOverride { setting: Some(Setting::Factor(0.5)), end_step: Some(7) };
        assert_eq!(effect(&decision(Effect::RateOverride(halved))), "override × 0.5 until step 7");
        let rates = FixedRates { learning_rates: [("a".to_owned(), 1.0), ("b".to_owned(), 2.0)].into() };
        let fixed = RateOverride { setting: Some(Setting::Fixed(rates)), end_step: None };
        assert_eq!(effect(&decision(Effect::RateOverride(fixed))), "override a 1, b 2");
        assert_eq!(effect(&decision(Effect::OverrideCleared(OverrideCleared {}))), "override cleared");
    }

    #[test]
    fn an_event_says_what_happened() {
        let record = TelemetryRecord {
            step: 5,
            loss: Some(0.25),
            metrics: [("acc".to_owned(), 1.0)].into(),
            ..Default::default()
        };
        assert_eq!(event(&Event::Record(record)), "record    step 5  loss 0.25  acc 1");
        assert_eq!(event(&Event::Job(some_job())), "job       RUNNING, attempt 2");
    }

    #[test]
    fn records_have_a_column_a_metric() {
        let mut evaluated = Sample { loss: Some(1.0), ..Sample::new(0) };
        evaluated.add_metric("val_loss".into(), 2.0);
        let text = samples(&[evaluated, Sample { loss: Some(0.5), ..Sample::new(1) }]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [["step", "loss", "val_loss"], ["0", "1", "2"], ["1", "0.5", "-"]]);
        let mut twice = Sample { loss: Some(1.0), ..Sample::new(9) };
        twice.add_metric("val_loss".into(), 2.0);
        twice.add_metric("val_loss".into(), 3.0);
        let text = samples(&[twice]);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [["step", "loss", "val_loss"], ["9", "1", "2"], ["9", "-", "3"]]);
    }
}
