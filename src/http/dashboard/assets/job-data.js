// Turns the server's data about a job into what its page shows.

import { get, jobUrl } from "./api.js";
import { decisionOf } from "./decision.js";

const POINTS = 1600; // of a series
const RATE_POINTS = 500;
const PAGE = 1000;
const DECISIONS_AT_MOST = 5000;

/** The orders that a job accepts in each state. */
const ALLOWED = {
  pending: ["override", "complete"],
  running: ["override", "pause", "complete"],
  stale: ["override", "pause", "complete"],
  paused: ["override", "resume", "complete"],
};

export const eventsUrl = (name) => `${jobUrl(name)}:watch`;

const optional = (value) => (value === undefined || value === null ? null : Number(value));

/** `STATE_RUNNING` as `running`. */
function word(value, prefix) {
  return !value || value.endsWith("UNSPECIFIED") ? "" : value.replace(prefix, "").toLowerCase();
}

/** Reads the job, its decisions and its attempts. */
export async function readAll(name) {
  const [job, decisions, attempts] = await Promise.all([
    get(jobUrl(name)),
    pages(`${jobUrl(name)}/decisions`, "decisions"),
    pages(`${jobUrl(name)}/attempts`, "attempts"),
  ]);
  const data = {
    name,
    etag: job.etag,
    job: jobOf(job),
    decisions: decisions.map(decisionOf),
    attempts: attempts.map((attempt) => ({
      attempt: Number(attempt.attempt),
      resume_step: Number(attempt.resume_step ?? 0),
      parent_attempt: Number(attempt.parent_attempt ?? 0),
      time_ms: Date.parse(attempt.create_time) || 0,
    })),
  };
  data.job.allowed = allowed(data);
  return data;
}

async function pages(path, field) {
  const all = [];
  let token = "";
  do {
    const query = new URLSearchParams({ page_size: PAGE, ...(token && { page_token: token }) });
    const page = await get(`${path}?${query}`);
    all.push(...(page[field] ?? []));
    token = page.next_page_token ?? "";
  } while (token && all.length < DECISIONS_AT_MOST);
  return all;
}

/** Converts a job of the API. */
export function jobOf(job) {
  const spec = job.spec ?? {};
  const progress = job.progress ?? {};
  const rates = new Map((progress.rates ?? []).map((rate) => [rate.group, Number(rate.learning_rate ?? 0)]));
  const final_step = optional(progress.final_step);
  return {
    name: job.name,
    spec,
    title: spec.display_name ?? "",
    state: word(job.state, "STATE_"),
    state_reason: job.state_reason ?? "",
    state_author: job.state_author ?? "",
    experiment: spec.experiment ?? "",
    arm: word(spec.arm, "ARM_"),
    attempt: Number(job.attempt ?? 0),
    step: optional(progress.watermark_step),
    total: optional(spec.total_steps),
    steps_per_epoch: optional(spec.steps_per_epoch),
    loss: optional(progress.loss),
    groups: (spec.groups ?? []).map((group) => ({ name: group.name || "default", now: rates.get(group.name || "default") ?? null })),
    controllers: (progress.controllers ?? []).map((controller) => ({
      kind: controller.controller.replace(/^\d+\//, "").replaceAll("_", " "),
      phase: controller.phase ?? "",
      missing: controller.missing ?? [],
      notice: controller.notice ?? "",
    })),
    warnings: job.warnings ?? [],
    late: progress.order_warning ?? "",
    begun_ms: Date.parse(job.create_time) || 0,
    ended_ms: Date.parse(job.end_time) || 0,
    seen_ms: Date.parse(progress.report_time) || 0,
    first_affected: final_step === null ? null : final_step + 1,
  };
}

/** The orders that the job accepts now. */
export function allowed({ job, decisions }) {
  const orders = ALLOWED[job.state] ?? [];
  const last = decisions.findLast((decision) => decision.kind === "override" || decision.kind === "cleared");
  return orders.length > 0 && last?.kind === "override" && !(last.until !== null && last.until <= (job.step ?? 0)) ? [...orders, "clear"] : orders;
}

/** Reads the series of the steps from `from` to `to`, or to the newest step. */
export async function readCurves(data, { from, to, attempt }, signal) {
  const end = to ?? Math.max(data.job.total ?? 0, Math.ceil((data.job.step ?? 0) * 1.05) + 1);
  const [curves, outlook] = await Promise.all([
    readTelemetry(data, { from, to, attempt }, signal),
    get(`${jobUrl(data.name)}/outlook?${new URLSearchParams({ attempt, start_step: from, end_step: end + 1, points: attempt ? 0 : RATE_POINTS })}`, signal),
  ]);
  return {
    ...curves,
    groups: groupsOf(data, curves, outlook),
    undrawn: Math.max(0, data.job.groups.length - CURVES),
    ...outlookOf(outlook),
    times: timesOf(data, curves.last),
  };
}

/** Reads the reported series alone. */
export async function readTelemetry(data, { from, to, attempt }, signal) {
  const query = new URLSearchParams({ attempt, start_step: from, max_points: POINTS });
  if (to !== null) query.set("end_step", to + 1);
  if (data.job.attempt === 0) return { loss: null, grad_norm: null, used: null, metrics: [], last: from - 1 };
  const answer = await get(`${jobUrl(data.name)}/telemetry?${query}`, signal);
  const all = (answer.series ?? []).map((one) => ({ name: one.name, step: one.step.map(Number), value: one.value.map(Number) }));
  const series = (name) => all.find((one) => one.name === name) ?? null;
  return {
    loss: series("loss"),
    grad_norm: series("grad_norm"),
    used: series("learning_rate"),
    metrics: all.filter((one) => !["loss", "grad_norm", "learning_rate"].includes(one.name)),
    last: all.reduce((last, one) => Math.max(last, one.step.at(-1) ?? -1), from - 1),
  };
}

/** The job's health, its plateaus, and the steps that ran on the plan. */
function outlookOf(outlook) {
  const range = (stretch) => ({ from: Number(stretch.from), to: Number(stretch.to), reason: stretch.reason ?? "" });
  return {
    health: outlook.health,
    reason: outlook.health_reason ?? "",
    plateaus: (outlook.plateaus ?? []).map(range),
    on_plan: (outlook.on_plan ?? []).map(range),
  };
}

const CURVES = 64; // of groups; the server sends no more

// Rates up to the newest report are applied; later rates are planned. Where the server computes no rates (the job has
// ended, or the attempt is over), only the first group's reported rate is known.
function groupsOf(data, { used, last }, outlook) {
  const steps = (outlook.step ?? []).map(Number);
  const none = { step: [], value: [] };
  return data.job.groups.slice(0, CURVES).map((group, index) => {
    const rates = outlook.groups?.[index]?.learning_rate ?? [];
    if (steps.length === 0) return { name: group.name, applied: (index === 0 && used) || none, planned: none };
    const reported = steps.findLastIndex((step) => step <= last);
    const part = (begin, end) => ({ step: steps.slice(begin, end), value: rates.slice(begin, end) });
    return { name: group.name, applied: part(0, reported + 1), planned: part(Math.max(0, reported), undefined) };
  });
}

// The known times of steps: those of attempts, of decisions and of the newest report.
function timesOf({ job, attempts, decisions }, last) {
  const known = [
    ...attempts.map((attempt) => [attempt.resume_step, attempt.time_ms]),
    ...decisions.map((decision) => [decision.step, decision.time_ms]),
    [last, job.ended_ms || job.seen_ms],
  ].filter(([step, time]) => step >= 0 && time > 0);
  const times = [];
  for (const [step, time] of known.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    const [before, then] = times.at(-1) ?? [-1, 0];
    if (step > before && time > then) times.push([step, time]);
  }
  return times.length > 1 ? times : [];
}

/** Adds newer data to `curves`; rates planned for these steps become applied rates. */
export function append(curves, tail) {
  const add = (into, more) => {
    if (!into || !more) return into ?? more;
    into.step.push(...more.step);
    into.value.push(...more.value);
    return into;
  };
  for (const name of ["loss", "grad_norm", "used"]) curves[name] = add(curves[name], tail[name]);
  for (const metric of tail.metrics) {
    const known = curves.metrics.find((one) => one.name === metric.name);
    if (known) add(known, metric);
    else curves.metrics.push(metric);
  }
  curves.last = Math.max(curves.last, tail.last);
  for (const { applied, planned } of curves.groups) {
    const reported = planned.step.findLastIndex((step) => step <= curves.last);
    if (reported < 0) continue;
    const first = applied.step.at(-1) === planned.step[0] ? 1 : 0;
    applied.step.push(...planned.step.slice(first, reported + 1));
    applied.value.push(...planned.value.slice(first, reported + 1));
    planned.step.splice(0, reported);
    planned.value.splice(0, reported);
  }
  curves.points = Math.max(...[curves.loss, curves.grad_norm, curves.used, ...curves.metrics].map((one) => one?.step.length ?? 0));
}
