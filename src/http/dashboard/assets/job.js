// A job's live page: its curves, the decisions about it, and the orders that it accepts.

import { Live, get, jobUrl } from "./api.js";
import { axisOf, UNITS } from "./axis.js";
import { chrome, complain, nothing, ready, showLink } from "./chrome.js";
import { byId, el, refill, say, settled, svg, throttled } from "./dom.js";
import { downloadCsv, downloadPng } from "./download.js";
import { described, figureOf, GROUP_DASHES, MARKS } from "./figure.js";
import { ago, count, figure, nameParts, percent, rate } from "./format.js";
import { healthChip } from "./health.js";
import { allowed, append, eventsUrl, jobOf, readAll, readCurves, readTelemetry } from "./job-data.js";
import { decisionOf } from "./decision.js";
import { drawLog, markOf, pointOut } from "./log.js";
import { OrderDialog, orderButtons } from "./orders.js";
import { CONFIG, palette } from "./palette.js";
import { drawRangeTest } from "./range-test.js";
import { jobReportPath } from "./report-data.js";
import { drawSpec } from "./spec.js";
import { readView, writeView } from "./view.js";

const POINTS_AT_MOST = 2400; // of a series on the page; when there are more, the server is asked for fewer
const REDRAW_MS = 400;
const NEWEST_MS = 600;
const OUTLOOK_MS = 8000;
const REREAD_MS = 1500;
const ENDED = ["completed", "failed", "cancelled"];

const [, , namespace, id] = location.pathname.split("/").map(decodeURIComponent);
const name = `namespaces/${namespace}/jobs/${id}`;
const view = readView();
let data = null; // { job, decisions, attempts, ... } of job-data.js
let curves = null; // the series of the view
let model = null; // what is drawn
let newest = null; // the newest record received
let reading = null;
let asking = false; // for the newest points
let ask_again = false;

/** The steps in view. */
function span() {
  if (view.to !== null) return [view.from, view.to];
  const last = Math.max(curves?.last ?? 0, data.job.step ?? 0, 1);
  return [0, data.job.total ? Math.max(data.job.total, last) : Math.ceil(last * 1.05)];
}

function drawChart() {
  if (!data || !curves) return;
  const [from, to] = span();
  const axis = axisOf(view.axis, { steps_per_epoch: data.job.steps_per_epoch, times: curves.times });
  model = {
    ...curves, axis, from, to, colours: palette(), decisions: data.decisions, attempts: data.attempts,
    smoothing: view.smooth, trend: view.trend, log_loss: view.log_loss, log_rate: view.log_rate,
  };
  const chart = byId("chart");
  const { traces, layout, height } = figureOf(model);
  chart.style.height = `${height}px`;
  const drawn = window.Plotly.react(chart, traces, layout, CONFIG);
  if (!chart.dataset.listens) {
    chart.dataset.listens = "true";
    chart.on("plotly_relayout", zoomed);
    chart.on("plotly_click", (event) => event.points.forEach((point) => point.customdata && pointOut(point.customdata)));
    chart.on("plotly_doubleclick", () => look(null, null));
  }
  say(byId("chart-words"), described(model));
  byId("whole").hidden = view.to === null;
  drawLegend(model);
  return drawn;
}


// A drag on the chart reads the selected steps again, so that every zoom has as many points as the chart can show.
function zoomed(change) {
  const [from, to] = change["xaxis.range"] ?? [change["xaxis.range[0]"], change["xaxis.range[1]"]];
  if (from === undefined || to === undefined) return;
  look(model.axis.step(from), model.axis.step(to));
}

function look(from, to) {
  if (from === null) {
    view.from = view.to = null;
  } else {
    view.from = Math.max(0, Math.floor(from));
    view.to = Math.max(view.from + 2, Math.ceil(to));
  }
  writeView(view);
  drawChart();
  rereadCurves();
}

const rereadCurves = settled(120, loadCurves);
const rereadSoon = throttled(REREAD_MS, loadCurves);
const rereadOutlook = throttled(OUTLOOK_MS, () => view.to === null && loadCurves());
const rereadAll = throttled(REREAD_MS, loadAll);

async function loadCurves() {
  if (!data || document.hidden) return;
  reading?.abort();
  const mine = (reading = new AbortController());
  const [from, to] = view.to === null ? [0, null] : span();
  try {
    const answer = await readCurves(data, { from, to, attempt: view.attempt }, mine.signal);
    // The last stretch has only its extremes, but the page also needs the newest point.
    if (to === null && answer.last < (data.job.step ?? -1)) {
      append(answer, await readTelemetry(data, { from: answer.last + 1, to, attempt: view.attempt }, mine.signal));
    }
    if (mine.signal.aborted) return;
    curves = answer;
    drawJob();
    await drawChart();
    ready();
  } catch (problem) {
    if (problem.name !== "AbortError") fail(problem);
  }
}

async function loadAll() {
  try {
    data = await readAll(name);
    catchUp(data.job);
    byId("problem").hidden = true;
    drawJob();
    drawLog(data.decisions);
    drawAttempts();
    drawSpec(data.job);
    drawUnits();
    await loadCurves();
    drawRangeTest(data);
    if (ENDED.includes(data.job.state)) live.end();
  } catch (problem) {
    fail(problem);
  }
}

function fail(problem) {
  if (problem.status !== 404) return complain(problem);
  live.end();
  nothing("There is no such job", `${namespace}/${id}`, problem.message);
}

function drawJob() {
  const { job } = data;
  document.title = `${id} · lrs`;
  say(byId("where"), [namespace, job.experiment && `experiment ${job.experiment}`, job.arm].filter(Boolean).join(" · "));
  say(byId("name"), id);
  say(byId("title"), job.title);
  refill(byId("verdict"), curves ? [healthChip(curves.health), el("span", {}, curves.reason)] : "\u00a0");
  const share = job.total ? Math.min(1, (job.step ?? 0) / job.total) : null;
  const bar = el("span");
  bar.style.width = percent(share ?? 0);
  const fact = (word, value, small) => el("div", {}, el("dt", {}, word), el("dd", {}, value, small ? el("small", {}, small) : null));
  refill(
    byId("facts"),
    fact("State", job.state, [job.state_author && `by ${job.state_author}`, job.state_reason].filter(Boolean).join(": ")),
    el("div", {}, el("dt", {}, "Step"), el("dd", {}, count(job.step), job.total ? el("small", {}, `of ${count(job.total)}, ${percent(share)}`) : null,
      job.total ? el("span", { class: "bar" }, bar) : null)),
    fact("Loss", figure(job.loss)),
    fact("Rate", job.groups.map((group) => rate(group.now))[0], job.groups.length > 1 ? ratesOf(job.groups) : null),
    ...job.controllers.map((controller) => fact("Controller", controller.kind, [controller.phase, ...controller.missing, controller.notice].filter(Boolean).join(". "))),
    ...job.warnings.map((warning) => fact("Warning", "in the spec", warning)),
    ...(job.late ? [fact("Warning", "late order", job.late)] : []),
    fact("Last report", ago(job.seen_ms)),
  );
  drawOrders();
}

const drawFacts = throttled(REDRAW_MS, () => !document.hidden && drawJob());

function drawOrders() {
  const group = byId("orders");
  const wanted = data.job.allowed.join();
  if (group.dataset.orders !== wanted) {
    group.dataset.orders = wanted;
    const compare = el("a", { class: "button", href: `/compare?${new URLSearchParams([["job", name]])}` }, "Compare");
    const report = el("a", { class: "button", href: jobReportPath(name) }, "Report");
    refill(group, orderButtons(data.job.allowed, openOrder), compare, report);
  }
  dialog.refresh();
}

// The first affected step moves while the job trains, so read the job again.
async function openOrder(order) {
  await readJob();
  dialog.open(order);
}

async function readJob() {
  try {
    takeJob({ job: await get(jobUrl(name)) });
  } catch (problem) {
    fail(problem);
  }
}

const rereadJob = throttled(1000, readJob);

function drawAttempts() {
  const { attempts } = data;
  const several = attempts.length > 1;
  byId("attempts-panel").hidden = !several;
  byId("attempt-field").hidden = !several;
  refill(byId("attempts"), attempts.map((attempt) =>
    el("li", {}, el("strong", {}, `Attempt ${attempt.attempt}`), attempt.parent_attempt
      ? ` went on from step ${count(attempt.resume_step)} of attempt ${attempt.parent_attempt}` : ` from step ${count(attempt.resume_step)}`)));
  refill(byId("attempt"), el("option", { value: "0" }, "newest"), attempts.slice().reverse().map((attempt) => el("option", { value: attempt.attempt }, attempt.attempt)));
  byId("attempt").value = String(view.attempt);
}

function drawUnits() {
  const can = { step: true, epoch: Boolean(data.job.steps_per_epoch), time: true };
  refill(byId("units"), Object.entries(UNITS).map(([unit, word]) =>
    el("button", { type: "button", "data-unit": unit, disabled: !can[unit], "aria-pressed": String(view.axis === unit),
      title: can[unit] ? null : "The spec does not say how many steps an epoch has", click: () => set("axis", unit) }, word)));
}

function ratesOf(groups) {
  const shown = groups.slice(0, 16).map((group) => `${group.name} ${rate(group.now)}`).join(", ");
  return groups.length > 16 ? `${shown}, and ${groups.length - 16} more` : shown;
}

function drawLegend({ colours, groups, undrawn, loss, smoothing, trend, decisions, plateaus, on_plan, attempts }) {
  const stroke = (colour, dash = null, width = 2) =>
    svg("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" }, svg("line", { x1: 1, x2: 21, y1: 6, y2: 6, stroke: colour, "stroke-width": width, "stroke-dasharray": dash }));
  const box = (fill) => svg("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" }, svg("rect", { x: 1, y: 0, width: 20, height: 12, fill }));
  const several = groups.length > 1;
  const items = [
    loss && [stroke(colours.raw, null, 1.5), "loss"],
    loss && smoothing > 0 && [stroke(colours["1"]), "smoothed"],
    loss && trend && [stroke(colours["2"], "6 3"), "robust trend"],
    ...groups.map((group, index) => [stroke(colours.cycle[index % colours.cycle.length], legendDash(index)), several ? `rate of ${group.name}` : "rate"]),
    undrawn > 0 && [box("none"), `${undrawn} more groups`],
    groups.some((group) => group.planned.step.length > 0) && [stroke(colours["1"], "3 3"), "planned"],
    plateaus.length > 0 && [box(colours.band), "plateau"],
    on_plan.length > 0 && [box(colours.band_plan), "ran on the plan"],
    attempts.length > 1 && [stroke(colours.text, "8 3", 1.5), "new attempt"],
    ...Object.entries(MARKS).filter(([kind]) => decisions.some((decision) => decision.kind === kind)).map(([kind, mark]) => [markOf(kind), mark.word]),
  ].filter(Boolean);
  const words = JSON.stringify([items.map(([, word]) => word), document.documentElement.dataset.theme]);
  if (byId("legend").dataset.words === words) return;
  byId("legend").dataset.words = words;
  refill(byId("legend"), items.map(([mark, word]) => el("li", {}, mark, word)));
}

function legendDash(index) {
  const dash = GROUP_DASHES[index % GROUP_DASHES.length];
  return dash === "solid" ? null : dash.replaceAll("px", "").replaceAll(",", " ");
}

function set(key, value) {
  view[key] = value;
  writeView(view);
  showControls();
  if (key === "attempt") loadCurves();
  else drawChart();
}

function showControls() {
  byId("smoothing").value = String(view.smooth);
  say(byId("smoothing-value"), view.smooth.toFixed(2));
  byId("trend").checked = view.trend;
  byId("log-loss").checked = view.log_loss;
  byId("log-rate").checked = view.log_rate;
  for (const button of byId("units").children) button.setAttribute("aria-pressed", String(view.axis === button.dataset.unit));
}

function listen() {
  byId("smoothing").addEventListener("input", (event) => set("smooth", Number(event.target.value)));
  byId("trend").addEventListener("change", (event) => set("trend", event.target.checked));
  byId("log-loss").addEventListener("change", (event) => set("log_loss", event.target.checked));
  byId("log-rate").addEventListener("change", (event) => set("log_rate", event.target.checked));
  byId("attempt").addEventListener("change", (event) => set("attempt", Number(event.target.value)));
  byId("whole").addEventListener("click", () => look(null, null));
  byId("csv").addEventListener("click", async () => {
    const [from, to] = span();
    const words = await downloadCsv(name, { attempt: view.attempt, from, to }).catch((problem) => fail(problem));
    if (words) tell(words);
  });
  byId("png").addEventListener("click", () => downloadPng(byId("chart"), id, palette()));
  byId("chart").addEventListener("keydown", (event) => {
    const [from, to] = span();
    const width = to - from;
    const middle = (from + to) / 2;
    const moves = {
      ArrowLeft: [from - width / 4, to - width / 4],
      ArrowRight: [from + width / 4, to + width / 4],
      "+": [middle - width / 4, middle + width / 4],
      "=": [middle - width / 4, middle + width / 4],
      "-": [middle - width, middle + width],
      0: [null, null],
    };
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const shift = move[0] !== null && move[0] < 0 ? -move[0] : 0;
    look(move[0] === null ? null : move[0] + shift, move[0] === null ? null : move[1] + shift);
  });
  document.addEventListener("theme", () => {
    drawChart();
    if (data) drawRangeTest(data);
  });
}

function tell(words) {
  say(byId("done"), words);
  byId("done").hidden = false;
}

// Reads the points after the newest one drawn; reads the whole view again only when the page has too many points.
const loadNewest = throttled(NEWEST_MS, async () => {
  if (!data || !curves || document.hidden || view.to !== null || view.attempt) return;
  if (asking) {
    ask_again = true;
    return;
  }
  asking = true;
  try {
    const from = curves.last + 1;
    const tail = await readTelemetry(data, { from, to: null, attempt: 0 });
    // The whole view may have been read in the meantime.
    if (curves.last + 1 === from) append(curves, tail);
    if (curves.points > POINTS_AT_MOST) await loadCurves();
    else drawChart();
  } catch (problem) {
    fail(problem);
  } finally {
    asking = false;
    if (ask_again) loadNewest();
    ask_again = false;
  }
});

// A job that was read while a record arrived is older than the record.
function catchUp(job) {
  if (newest?.attempt === job.attempt && newest.step >= (job.step ?? 0)) Object.assign(job, { step: newest.step, loss: newest.loss });
}

function takeRecord({ record }) {
  if (!data || !record) return;
  newest = { attempt: data.job.attempt, step: Number(record.step), loss: record.loss === undefined ? data.job.loss : Number(record.loss) };
  data.job.seen_ms = Date.now();
  catchUp(data.job);
  drawFacts();
  loadNewest();
  rereadOutlook();
  if (byId("order").open) rereadJob();
}

function takeDecision({ decision }) {
  if (!data || !decision || data.decisions.some((known) => known.name === decision.name)) return;
  data.decisions.push(decisionOf(decision));
  data.job.allowed = allowed(data);
  drawLog(data.decisions);
  drawJob();
  rereadSoon();
}

function takeJob({ job }) {
  if (!data || !job) return;
  // A new attempt or another spec also changes past and planned rates.
  const before = [data.job.attempt, data.etag];
  data.job = jobOf(job);
  catchUp(data.job);
  data.job.allowed = allowed(data);
  data.etag = job.etag;
  drawJob();
  if (before[0] !== data.job.attempt || before[1] !== data.etag) rereadAll();
}

chrome("/jobs");
const dialog = new OrderDialog(() => data.job, (order, answer) => {
  const step = answer.effective_step ?? answer.effectiveStep;
  const expected = answer.expected_time ?? answer.expectedTime;
  const when = expected ? `, expected at ${new Date(expected).toLocaleTimeString()}` : "";
  tell(step === undefined ? "Done." : `Done: it takes effect at step ${count(Number(step))}${when}.`);
  loadAll();
});
listen();
showControls();
const live = new Live(() => eventsUrl(name), {
  onState: showLink,
  onOpen: loadAll,
  onLost: () => data ?? loadAll(),
  handlers: { record: takeRecord, decision: takeDecision, job: takeJob, missed_events: loadAll },
});
