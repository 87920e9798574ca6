// Several jobs in one chart: which arm is better, and from which step on.

import { Problem, get } from "./api.js";
import { interpolate, UNITS } from "./axis.js";
import { chrome, complain, ready, showLink } from "./chrome.js";
import { byId, el, refill, say, settled, svg, throttled } from "./dom.js";
import { downloadPng } from "./download.js";
import { escaped } from "./figure.js";
import { FLEET_URL, FLEET_EVENTS_URL, rowOf } from "./fleet-data.js";
import { count, figure, jobPath, nameParts } from "./format.js";
import { Live } from "./api.js";
import { readAll, readCurves } from "./job-data.js";
import { axisBase, CONFIG, DASHES, layoutBase, palette } from "./palette.js";
import { experimentReportPath } from "./report-data.js";
import { bestSoFar, middle, smoothed } from "./smoothing.js";

const JOBS_AT_MOST = 12;
const REREAD_MS = 2000;

const view = readView();
const fleet = new Map(); // name → row
const runs = new Map(); // name → { data, curves, problem }
const stale = new Set(); // names of jobs to read again

function readView() {
  const query = new URLSearchParams(location.search);
  const smooth = Number(query.get("smooth") ?? 0.9);
  const from = Number(query.get("from") ?? NaN);
  const to = Number(query.get("to") ?? NaN);
  return {
    jobs: query.getAll("job").slice(0, JOBS_AT_MOST),
    experiment: query.get("experiment") ?? "",
    metric: query.get("metric") ?? "loss",
    axis: Object.hasOwn(UNITS, query.get("axis") ?? "") ? query.get("axis") : "step",
    smooth: smooth >= 0 && smooth <= 0.99 ? smooth : 0.9,
    best: query.has("best"),
    log: query.has("log"),
    range: to > from ? [from, to] : null, // in the units of the axis
  };
}

function writeView() {
  const query = new URLSearchParams();
  if (view.experiment) query.set("experiment", view.experiment);
  for (const job of view.jobs) query.append("job", job);
  if (view.metric !== "loss") query.set("metric", view.metric);
  if (view.axis !== "step") query.set("axis", view.axis);
  if (view.smooth !== 0.9) query.set("smooth", view.smooth);
  if (view.best) query.set("best", "yes");
  if (view.log) query.set("log", "yes");
  if (view.range) {
    query.set("from", view.range[0].toPrecision(6));
    query.set("to", view.range[1].toPrecision(6));
  }
  history.replaceState(null, "", query.size > 0 ? `?${query}` : location.pathname);
}

/** The names of the compared jobs: the experiment's, then those added by hand. */
function chosen() {
  const members = view.experiment ? [...fleet.values()].filter((row) => row.experiment === view.experiment).map((row) => row.name).sort() : [];
  return [...new Set([...members, ...view.jobs])].slice(0, JOBS_AT_MOST);
}

// Each arm has a colour, and each job of an arm a dash. Without arms, each job has a colour.
function looks(names) {
  const colours = palette();
  const arms = [...new Set(names.map((name) => armOf(name)))].filter(Boolean).sort().reverse(); // scheduled before baseline
  const by_arm = arms.length > 1;
  const seen = new Map();
  return names.map((name, index) => {
    const arm = armOf(name);
    const place = by_arm && arm ? arms.indexOf(arm) : by_arm ? arms.length : index;
    const nth = seen.get(place) ?? 0;
    seen.set(place, nth + 1);
    return { colour: colours.cycle[place % colours.cycle.length], dash: DASHES[(by_arm ? nth : index) % DASHES.length] };
  });
}

function armOf(name) {
  return runs.get(name)?.data?.job.arm ?? fleet.get(name)?.arm ?? "";
}

function seriesOf(run) {
  const { curves } = run;
  if (view.metric === "loss") return curves.loss;
  if (view.metric === "grad_norm") return curves.grad_norm;
  if (view.metric === "learning_rate") return curves.used ?? curves.groups[0]?.applied ?? null;
  return curves.metrics.find((metric) => metric.name === view.metric) ?? null;
}

// The place of a step on the axis: steps and epochs count from 0, time from the beginning of the run, in minutes.
function alongOf(run) {
  const { data, curves } = run;
  if (view.axis === "epoch" && data.job.steps_per_epoch) return (step) => step / data.job.steps_per_epoch;
  if (view.axis === "time" && curves.times.length > 0) {
    const [steps, moments] = [curves.times.map(([step]) => step), curves.times.map(([, moment]) => moment)];
    return (step) => (interpolate(steps, moments, step) - moments[0]) / 60_000;
  }
  return view.axis === "step" ? (step) => step : null;
}

function greatestIsBest() {
  const objective = [...runs.values()].map((run) => run.data?.job.spec.objective).find((objective) => objective?.metric === view.metric);
  return objective ? objective.mode === "MODE_MAX" : /acc|auc|f1|bleu|reward|score/i.test(view.metric);
}

function draw() {
  const names = chosen().filter((name) => runs.get(name)?.curves);
  const styles = looks(names);
  const colours = palette();
  const greatest = greatestIsBest();
  const traces = [];
  const lines = names.map((name, index) => {
    const run = runs.get(name);
    const series = seriesOf(run);
    const along = alongOf(run);
    if (series && along) {
      const weight = view.metric === "learning_rate" || series.step.length < 60 ? 0 : view.smooth;
      const points = weight > 0 && !view.best ? middle(series) : series;
      const value = view.best ? bestSoFar(points.value, greatest) : smoothed(points.value, weight);
      traces.push({
        type: "scatter", mode: "lines", name: escaped(nameParts(name).job), x: points.step.map(along), y: value.map((one) => (Number.isFinite(one) ? one : null)),
        line: { color: styles[index].colour, dash: styles[index].dash, width: 1.8, shape: view.best || view.metric === "learning_rate" ? "hv" : "linear" },
        text: value.map((one) => figure(one)), hovertemplate: "%{text}",
      });
    }
    return { name, run, series, style: styles[index] };
  });
  byId("none").hidden = traces.length > 0;
  say(byId("none"), names.length === 0 ? "Choose an experiment or add jobs to compare them." : `None of these jobs has ${view.metric} by ${view.axis}.`);
  byId("chart").hidden = traces.length === 0;
  if (traces.length > 0) drawChart(traces, colours);
  drawTable(lines, greatest);
  drawMetrics(lines);
  byId("whole").hidden = !view.range;
}

const redraw = throttled(300, () => !document.hidden && draw());

function drawChart(traces, colours) {
  const chart = byId("chart");
  const titles = { step: "step", epoch: "epoch", time: "minutes since the beginning" };
  const layout = {
    ...layoutBase(colours), height: 430, margin: { l: 62, r: 16, t: 10, b: 44 },
    xaxis: { ...axisBase(colours), title: { text: titles[view.axis], standoff: 6 }, range: view.range ?? undefined, autorange: view.range ? false : true, tickformat: view.axis === "step" ? "~s" : undefined, hoverformat: view.axis === "step" ? ",d" : ".3f" },
    yaxis: { ...axisBase(colours), type: view.log ? "log" : "linear", fixedrange: true, autorange: true },
  };
  window.Plotly.react(chart, traces, layout, CONFIG);
  if (!chart.dataset.listens) {
    chart.dataset.listens = "true";
    chart.on("plotly_relayout", (change) => {
      const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      if (from !== undefined && to !== undefined) set("range", [from, to]);
    });
    chart.on("plotly_doubleclick", () => set("range", null));
  }
}

function drawTable(lines, greatest) {
  const figures = lines.map(({ series }) => {
    const best = series ? bestSoFar(series.value, greatest).at(-1) : null;
    const finite = series?.value.findLast(Number.isFinite);
    return { latest: finite ?? null, best: best ?? null, at: series && best !== null ? series.step[series.value.indexOf(best)] : null };
  });
  const bests = figures.map((one) => one.best).filter((best) => best !== null);
  const winner = bests.length > 0 ? (greatest ? Math.max(...bests) : Math.min(...bests)) : null;
  refill(byId("rows"), lines.map(({ name, run, style }, index) => {
    const { latest, best, at } = figures[index];
    const { namespace, job } = nameParts(name);
    return el("tr", { "data-name": name, "data-best": best !== null && best === winner },
      el("th", { scope: "row" }, key(style), el("a", { href: jobPath(name) }, job), el("span", { class: "quiet" }, ` ${namespace}`)),
      el("td", {}, run.data.job.arm || "–"),
      el("td", {}, run.data.job.state),
      el("td", { class: "number" }, count(run.data.job.step ?? run.curves.last)),
      el("td", { class: "number" }, figure(latest)),
      el("td", { class: "number best" }, figure(best)),
      el("td", { class: "number" }, count(at)),
      el("td", { class: "number" }, count(run.data.decisions.length)),
      el("td", {}, el("button", { type: "button", class: "plain", "aria-label": `Remove ${job}`, click: () => remove(name) }, "✕")));
  }));
  const problems = chosen().map((name) => runs.get(name)?.problem && `${nameParts(name).namespace}/${nameParts(name).job}: ${runs.get(name).problem}`).filter(Boolean);
  say(byId("problem"), problems.join("\n"));
  byId("problem").hidden = problems.length === 0;
  say(byId("chart-words"), lines.map(({ name }, index) => `${nameParts(name).job}: latest ${view.metric} ${figure(figures[index].latest)}, best ${figure(figures[index].best)}.`).join(" "));
}

function key({ colour, dash }) {
  const dashes = { solid: null, dash: "7 4", dot: "2 3", dashdot: "7 3 2 3", longdash: "11 4", longdashdot: "11 3 2 3" };
  return svg("svg", { viewBox: "0 0 30 12", "aria-hidden": "true" }, svg("line", { x1: 0, x2: 30, y1: 6, y2: 6, stroke: colour, "stroke-width": 2.4, "stroke-dasharray": dashes[dash] }));
}

function drawMetrics(lines) {
  const names = new Set(["loss", "grad_norm", "learning_rate", view.metric]);
  for (const { run } of lines) for (const metric of run.curves.metrics) names.add(metric.name);
  const select = byId("metric");
  const have = [...select.options].map((option) => option.value).join("\n");
  if (have !== [...names].join("\n")) refill(select, [...names].map((name) => el("option", { value: name }, name.replaceAll("_", " "))));
  select.value = view.metric;
}

async function read(name) {
  try {
    const data = await readAll(name);
    const to = Math.max(data.job.total ?? 0, (data.job.step ?? 0) + 1, 1);
    const curves = await readCurves(data, { from: 0, to, attempt: 0 });
    runs.set(name, { data, curves });
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status !== 0) runs.set(name, { problem: problem.status === 404 ? "there is no such job" : problem.message });
  }
}

// Several namespaces may use an experiment's name; each then has a report of its own.
function drawReports() {
  const members = [...fleet.values()].filter((row) => view.experiment && row.experiment === view.experiment);
  const namespaces = [...new Set(members.map((row) => nameParts(row.name).namespace))].sort();
  refill(byId("reports"), namespaces.map((namespace) =>
    el("a", { class: "button", href: experimentReportPath(namespace, view.experiment) }, namespaces.length > 1 ? `Report in ${namespace}` : "Report")));
}

/** Reads the chosen jobs that have not been read yet, or have changed. */
async function fill() {
  const names = chosen().filter((name) => !runs.has(name) || stale.has(name));
  for (const name of names) stale.delete(name);
  drawReports();
  await Promise.all(names.map(read));
  draw();
  ready();
}

const refillSoon = throttled(REREAD_MS, () => !document.hidden && fill());
const refillSettled = settled(50, fill);

async function readFleet() {
  try {
    const answer = await get(FLEET_URL);
    for (const job of answer.jobs ?? []) {
      const row = rowOf(job);
      fleet.set(row.name, row);
    }
    drawChoices();
    for (const name of runs.keys()) stale.add(name);
    await fill();
  } catch (problem) {
    complain(problem);
  }
}

function drawChoices() {
  const experiments = [...new Set([...fleet.values()].map((row) => row.experiment))].filter(Boolean).sort();
  if (view.experiment && !experiments.includes(view.experiment)) experiments.push(view.experiment);
  refill(byId("experiment"), el("option", { value: "" }, "none"), experiments.map((name) => el("option", { value: name }, name)));
  byId("experiment").value = view.experiment;
  refill(byId("jobs"), [...fleet.keys()].sort().map((name) => el("option", { value: `${nameParts(name).namespace}/${nameParts(name).job}` })));
}

function add(text) {
  const parts = text.trim().split("/");
  if (parts.length !== 2 || parts.some((part) => part === "")) return;
  const name = `namespaces/${parts[0]}/jobs/${parts[1]}`;
  if (!view.jobs.includes(name)) view.jobs.push(name);
  writeView();
  refillSettled();
}

function remove(name) {
  // An experiment without one of its jobs is kept as a list of jobs.
  view.jobs = chosen().filter((other) => other !== name);
  view.experiment = "";
  byId("experiment").value = "";
  drawReports();
  writeView();
  draw();
}

function set(what, value) {
  if (what === "axis") view.range = null; // a range in other units means nothing
  view[what] = value;
  writeView();
  showControls();
  draw();
}

function showControls() {
  byId("smoothing").value = String(view.smooth);
  say(byId("smoothing-value"), view.smooth.toFixed(2));
  byId("best").checked = view.best;
  byId("log").checked = view.log;
  for (const button of byId("units").children) button.setAttribute("aria-pressed", String(view.axis === button.dataset.unit));
}

function listen() {
  refill(byId("units"), Object.entries(UNITS).map(([unit, word]) => el("button", { type: "button", "data-unit": unit, click: () => set("axis", unit) }, word)));
  byId("experiment").addEventListener("change", (event) => {
    view.experiment = event.target.value;
    writeView();
    fill();
  });
  byId("add").addEventListener("submit", (event) => {
    event.preventDefault();
    add(byId("job").value);
    byId("job").value = "";
  });
  byId("metric").addEventListener("change", (event) => set("metric", event.target.value));
  byId("smoothing").addEventListener("input", (event) => set("smooth", Number(event.target.value)));
  byId("best").addEventListener("change", (event) => set("best", event.target.checked));
  byId("log").addEventListener("change", (event) => set("log", event.target.checked));
  byId("whole").addEventListener("click", () => set("range", null));
  byId("png").addEventListener("click", () => downloadPng(byId("chart"), "compare", palette()));
  document.addEventListener("theme", () => draw());
}

chrome("/compare");
listen();
showControls();
new Live(() => FLEET_EVENTS_URL, {
  onState: showLink,
  onOpen: readFleet,
  handlers: {
    row: (job) => {
      const row = rowOf(job);
      const known = fleet.has(row.name);
      fleet.set(row.name, row);
      if (!known) drawChoices();
      if (chosen().includes(row.name)) {
        stale.add(row.name);
        refillSoon();
      }
    },
    removed: ({ name }) => {
      fleet.delete(name);
      redraw();
    },
    missed_events: readFleet,
  },
});
