// Turns the server's audit report into what its page shows, and reads from the address which report to show.

import { jobUrl } from "./api.js";
import { decisionOf } from "./decision.js";
import { nameParts } from "./format.js";

/** The view that the address asks for: the report of a job or of an experiment, or the list. */
export function readView() {
  const query = new URLSearchParams(location.search);
  const target = query.get("target") ?? "";
  return {
    job: query.get("job") ?? "",
    experiment: query.get("experiment") ?? "",
    target: target !== "" && Number.isFinite(Number(target)) ? target : "",
    measure: query.get("measure") ?? "",
    of: query.get("of") ?? "", // the job whose decisions are shown
    log: query.has("log"),
    search: query.get("search") ?? "",
  };
}

/** Writes the view into the address, so that a link shows the same. */
export function writeView(view) {
  const query = new URLSearchParams();
  for (const key of ["job", "experiment", "target", "measure", "of", "search"]) if (view[key]) query.set(key, view[key]);
  if (view.log) query.set("log", "yes");
  history.replaceState(null, "", query.size > 0 ? `?${query}` : location.pathname);
}

/** The page of a job's report. */
export function jobReportPath(name) {
  return `/reports?${new URLSearchParams({ job: name })}`;
}

/** The page of an experiment's report. */
export function experimentReportPath(namespace, experiment) {
  return `/reports?${new URLSearchParams({ experiment: `namespaces/${namespace}/experiments/${experiment}` })}`;
}

/** The two parts of `namespaces/a/experiments/b/c`; the second may contain any character. */
export function experimentParts(name) {
  const [, namespace = "", experiment = ""] = /^namespaces\/([^/]*)\/experiments\/(.*)$/s.exec(name) ?? [];
  return { namespace, experiment };
}

/** The address of the report, as JSON or in another format. */
export function reportUrl({ job, experiment, target }, format = "") {
  const { namespace, experiment: id } = experimentParts(experiment);
  const subject = job ? jobUrl(job) : `/v1/namespaces/${encodeURIComponent(namespace)}/experiments/${encodeURIComponent(id)}`;
  const query = new URLSearchParams({ ...(format && { format }), ...(target && { target }) });
  return `${subject}:report${query.size > 0 ? `?${query}` : ""}`;
}

const optional = (value) => (value === undefined || value === null ? null : Number(value));
const number = (value) => Number(value ?? 0); // a value of 0 is not sent
const word = (value, prefix) => (!value || value.endsWith("UNSPECIFIED") ? "" : value.replace(prefix, "").toLowerCase());

/** Converts a report of the API. */
export function reportOf(report) {
  return { name: report.name, jobs: (report.jobs ?? []).map(jobOf), comparison: report.comparison ? comparisonOf(report.comparison) : null };
}

function jobOf(job) {
  const { loss, objective, decisions = {} } = job;
  return {
    name: job.job,
    id: nameParts(job.job).job,
    title: job.display_name ?? "",
    state: word(job.state, "STATE_"),
    arm: word(job.arm, "ARM_"),
    seed: optional(job.seed),
    attempt: number(job.attempt),
    total: optional(job.total_steps),
    records: number(job.records),
    trained: job.last_step === undefined ? null : Number(job.last_step) + 1,
    objective: objective ? {
      ...objectiveOf(objective.objective ?? {}),
      best: optional(objective.best_value),
      best_step: optional(objective.best_step),
      final: number(objective.final_value),
      steps: optional(objective.steps_to_target),
      seconds: optional(objective.seconds_to_target),
      gpu_hours: optional(objective.gpu_hours_to_target),
    } : null,
    loss: loss ? {
      mean: optional(loss.mean),
      area: optional(loss.area),
      spikes: number(loss.stability?.spikes),
      divergences: number(loss.stability?.divergences),
      not_finite: number(loss.stability?.not_finite),
      ended_diverged: Boolean(loss.stability?.ended_diverged),
      plateau: loss.plateau ? {
        steps: number(loss.plateau.steps),
        share: number(loss.plateau.share),
        seconds: optional(loss.plateau.seconds),
        gpu_hours: optional(loss.plateau.gpu_hours),
        stretches: (loss.plateau.stretches ?? []).map((range) => [number(range.start_step), number(range.end_step)]),
      } : null,
    } : null,
    metrics: (job.metrics ?? []).map((metric) => ({
      name: metric.name, count: number(metric.count), not_finite: number(metric.not_finite), final: number(metric.final_value),
      min: optional(metric.min_value), min_step: optional(metric.min_step), max: optional(metric.max_value), max_step: optional(metric.max_step),
    })),
    metrics_left_out: number(job.metrics_left_out),
    by_controllers: number(decisions.by_controllers),
    by_people: number(decisions.by_people),
    advice: number(decisions.advice),
    decisions: (decisions.decisions ?? []).map((entry) => ({
      ...decisionOf(entry.decision ?? {}), before: slopeOf(entry.before), after: slopeOf(entry.after), change: word(entry.change, "SLOPE_CHANGE_"),
    })),
    wall: optional(job.wall_seconds),
    gpu_hours: optional(job.gpu_hours),
    curves: new Map((job.curves ?? []).map((curve) => [curve.name, { step: (curve.step ?? []).map(Number), value: (curve.value ?? []).map(Number) }])),
    notes: job.notes ?? [],
  };
}

function objectiveOf(objective) {
  return { metric: objective.metric ?? "", greatest: objective.mode === "MODE_MAX", target: optional(objective.target) };
}

function slopeOf(slope) {
  return slope ? { count: number(slope.count), median: number(slope.median), slope: number(slope.slope), low: number(slope.low), high: number(slope.high) } : null;
}

function comparisonOf(comparison) {
  return {
    objective: objectiveOf(comparison.objective ?? {}),
    pairs: comparison.pairs ?? [],
    measures: (comparison.measures ?? []).map((measure) => ({
      id: word(measure.measure, "MEASURE_"),
      title: measure.title ?? "",
      unit: measure.unit ?? "",
      least: Boolean(measure.lower_is_better),
      pairs: (measure.pairs ?? []).map((pair) => ({ seed: number(pair.seed), scheduled: optional(pair.scheduled), baseline: optional(pair.baseline) })),
      better: number(measure.better),
      worse: number(measure.worse),
      equal: number(measure.equal),
      difference: measure.difference ? differenceOf(measure.difference) : null,
      verdict: word(measure.verdict, "VERDICT_"),
      sentence: measure.sentence ?? "",
    })),
    savings: comparison.savings ? {
      pairs: number(comparison.savings.pairs), steps: optional(comparison.savings.steps), seconds: optional(comparison.savings.seconds),
      gpu_hours: optional(comparison.savings.gpu_hours), sentence: comparison.savings.sentence ?? "",
    } : null,
    left_out: (comparison.left_out ?? []).map((left) => ({ subject: left.subject ?? "", reason: left.reason ?? "" })),
    verdict: comparison.verdict ?? "",
  };
}

function differenceOf(found) {
  return {
    pairs: number(found.pairs), scheduled: number(found.scheduled_mean), baseline: number(found.baseline_mean), mean: number(found.mean),
    relative: optional(found.relative), effect: optional(found.effect_size), low: optional(found.low), high: optional(found.high), p: optional(found.p_value),
  };
}
