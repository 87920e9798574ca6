// The charts of a report as plotly figures: arms with their intervals, seeds, curves, and the effects of decisions.

import { escaped, MARKS } from "./figure.js";
import { count, figure, percent } from "./format.js";
import { titleOf } from "./report-parts.js";
import { axisBase, DASHES, layoutBase, MARKERS } from "./palette.js";

const SLOPES_AT_MOST = 25;
const MARKS_AT_MOST = 40;
const SHADOW = 0.22;
const LABEL_LETTERS = 34;
const TEXT_ENDS = 150; // percent; the room beyond 100 is for the text beside a bar

const finite = (value) => (Number.isFinite(value) ? value : null);

/** The colour of an arm. */
export function armColour(colours, arm) {
  return arm === "baseline" ? colours["2"] : colours["1"];
}

function base(colours, more) {
  return { ...layoutBase(colours), hovermode: "closest", dragmode: false, ...more };
}

function fixed(colours, more) {
  return { ...axisBase(colours), automargin: true, fixedrange: true, ...more };
}

/**
 * How much better the scheduled arm is by each measure, in percent of the baseline, with intervals; `null` if unknown.
 */
export function forest(measures, colours) {
  const rows = measures.filter(({ difference }) => difference?.relative !== null && difference?.relative !== undefined).map((measure) => {
    const { relative, low, high, mean, baseline } = measure.difference;
    const sign = measure.least ? -1 : 1;
    const ends = [low ?? mean, high ?? mean].map((end) => (sign * 100 * end) / Math.abs(baseline));
    return { title: measure.title, x: sign * 100 * relative, low: Math.min(...ends), high: Math.max(...ends), sure: ["better", "worse"].includes(measure.verdict) };
  }).reverse();
  if (rows.length === 0) return null;
  const trace = {
    type: "scatter", mode: "markers", x: rows.map((row) => row.x), y: rows.map((row) => wrapped(row.title)), cliponaxis: false,
    marker: { size: 10, color: colours["1"], symbol: rows.map((row) => (row.sure ? "circle" : "circle-open")), line: { width: 2, color: colours["1"] } },
    error_x: { type: "data", symmetric: false, array: rows.map((row) => row.high - row.x), arrayminus: rows.map((row) => row.x - row.low), color: colours["1"], thickness: 2, width: 6 },
    text: rows.map((row) => `${figure(row.x, 3)}% (${figure(row.low, 3)} to ${figure(row.high, 3)})`), hovertemplate: "%{text}<extra></extra>",
  };
  return {
    traces: [trace], height: 70 + 46 * rows.length,
    layout: base(colours, {
      margin: { l: 10, r: 20, t: 8, b: 42 },
      xaxis: fixed(colours, { title: { text: "← worse · better → (% of the baseline)", standoff: 8 }, zeroline: true, zerolinecolor: colours.text, zerolinewidth: 1.5 }),
      yaxis: fixed(colours, { type: "category", range: [-0.6, rows.length - 0.4] }),
    }),
    words: rows.toReversed().map((row) => `${row.title}: ${figure(row.x, 3)} percent, interval ${figure(row.low, 3)} to ${figure(row.high, 3)}.`).join(" "),
  };
}

/** Both values of each seed, by one measure. */
export function pairs(measure, colours) {
  const rows = measure.pairs.filter((pair) => finite(pair.scheduled) !== null && finite(pair.baseline) !== null);
  if (rows.length === 0) return null;
  const traces = rows.map((row) => ({
    type: "scatter", mode: "lines+markers", x: ["baseline", "scheduled"], y: [row.baseline, row.scheduled], name: `seed ${row.seed}`,
    line: { color: colours.strong, width: 1.5 }, marker: { size: 10, color: [armColour(colours, "baseline"), armColour(colours, "scheduled")], symbol: ["square", "circle"] },
    text: [row.baseline, row.scheduled].map((value) => figure(value)), hovertemplate: `seed ${row.seed}, %{x}: %{text}<extra></extra>`,
  }));
  return {
    traces, height: 300,
    layout: base(colours, {
      margin: { l: 10, r: 16, t: 8, b: 30 },
      xaxis: fixed(colours, { type: "category", range: [-0.4, 1.4] }),
      yaxis: fixed(colours, { title: { text: escaped(titleOf(measure)), standoff: 6 } }),
    }),
    words: rows.map((row) => `Seed ${row.seed}: baseline ${figure(row.baseline)}, scheduled ${figure(row.scheduled)}.`).join(" "),
  };
}

/** The metrics of which any job has a curve: the loss first and the rate last. */
export function curveNames(jobs) {
  const names = new Set(jobs.flatMap((job) => [...job.curves.keys()]));
  names.delete("loss_mean");
  const place = (name) => (name === "loss" ? 0 : name === "learning_rate" ? 2 : 1);
  return [...names].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
}

/**
 * A metric of all jobs over the steps: a colour for each arm and a dash for each job. A single job also shows its
 * decisions and its plateaus.
 */
export function curves(metric, jobs, log, colours) {
  const alone = jobs.length === 1;
  const seen = new Map();
  const traces = jobs.flatMap((job) => {
    const curve = job.curves.get(metric);
    if (!curve || curve.step.length === 0) return [];
    const nth = seen.get(job.arm) ?? 0;
    seen.set(job.arm, nth + 1);
    const mean = metric === "loss" ? job.curves.get("loss_mean") : null;
    const line = (points, more) => ({
      type: "scatter", mode: points.step.length > 1 ? "lines" : "markers", x: points.step, y: points.value.map(finite), name: escaped(job.id),
      line: { color: armColour(colours, job.arm), width: 1.7, dash: DASHES[nth % DASHES.length], shape: metric === "learning_rate" ? "hv" : "linear" },
      text: points.value.map((value) => figure(value)), hovertemplate: `${escaped(job.id)}, step %{x}: %{text}<extra></extra>`, ...more,
    });
    // Losses of single steps are noisy, so they are only a shadow behind their mean.
    return mean ? [line(curve, { opacity: SHADOW, hoverinfo: "skip", hovertemplate: null }), line(mean)] : [line(curve)];
  });
  const marks = alone ? jobs[0].decisions.filter(({ kind }) => kind !== "advice").slice(0, MARKS_AT_MOST) : [];
  const bands = alone && metric === "loss" ? (jobs[0].loss?.plateau?.stretches ?? []) : [];
  if (marks.length > 0) {
    traces.push({
      type: "scatter", mode: "markers", yaxis: "y2", x: marks.map((mark) => mark.effective), y: marks.map(() => 0.04), cliponaxis: false,
      marker: { size: 9, symbol: marks.map((mark) => MARKS[mark.kind]?.symbol ?? "circle"), color: marks.map((mark) => colours[MARKS[mark.kind]?.colour ?? "7"]) },
      text: marks.map((mark) => escaped(mark.effect)), hovertemplate: "step %{x}: %{text}<extra></extra>",
    });
  }
  const shapes = [
    ...bands.map(([from, to]) => ({ type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, fillcolor: colours.band, line: { width: 0 }, layer: "below" })),
    ...marks.map((mark) => ({ type: "line", xref: "x", yref: "paper", x0: mark.effective, x1: mark.effective, y0: 0, y1: 1, layer: "below", line: { color: colours.strong, width: 1, dash: "dot" } })),
  ];
  return {
    traces, height: 300,
    layout: base(colours, {
      margin: { l: 62, r: 16, t: 8, b: 42 }, shapes,
      xaxis: { ...axisBase(colours), fixedrange: true, title: { text: "step", standoff: 6 }, tickformat: "~s", hoverformat: ",d" },
      yaxis: { ...axisBase(colours), fixedrange: true, type: log ? "log" : "linear" },
      yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
    }),
    words: jobs.map((job) => `${job.id}: last ${figure(job.curves.get(metric)?.value.at(-1))}.`).join(" "),
  };
}

/** The slopes of the loss before and after each decision, with intervals. */
export function slopes(decisions, colours) {
  const rows = decisions.filter((decision) => decision.before || decision.after).slice(0, SLOPES_AT_MOST).reverse();
  if (rows.length === 0) return null;
  const label = (row) => wrapped(`${count(row.effective)}: ${row.effect}`);
  const side = (name, shift, colour, symbol) => {
    const there = rows.map((row, index) => ({ slope: row[name], y: index + shift })).filter(({ slope }) => slope);
    return {
      type: "scatter", mode: "markers", x: there.map(({ slope }) => 1000 * slope.slope), y: there.map(({ y }) => y), cliponaxis: false,
      marker: { size: 9, color: colour, symbol },
      error_x: { type: "data", symmetric: false, array: there.map(({ slope }) => 1000 * (slope.high - slope.slope)), arrayminus: there.map(({ slope }) => 1000 * (slope.slope - slope.low)), color: colour, thickness: 2, width: 5 },
      text: there.map(({ slope }) => `${name}: ${figure(1000 * slope.slope, 3)} (${figure(1000 * slope.low, 3)} to ${figure(1000 * slope.high, 3)})`), hovertemplate: "%{text}<extra></extra>",
    };
  };
  return {
    traces: [side("before", 0.16, colours["7"], MARKERS[1]), side("after", -0.16, colours["1"], MARKERS[0])], height: 72 + 46 * rows.length,
    layout: base(colours, {
      margin: { l: 10, r: 20, t: 8, b: 42 },
      xaxis: fixed(colours, { title: { text: "← falls · rises → per 1000 steps", standoff: 8 }, rangemode: "tozero", zeroline: true, zerolinecolor: colours.text, zerolinewidth: 1.5 }),
      yaxis: fixed(colours, { range: [-0.6, rows.length - 0.4], tickvals: rows.map((_, index) => index), ticktext: rows.map(label) }),
    }),
    words: "The slopes stand in the table below.",
  };
}

/** The part of each job's training that made no progress. */
export function plateaus(jobs, colours) {
  const rows = jobs.filter((job) => job.loss?.plateau).reverse();
  if (rows.length < 2) return null;
  const cost = ({ plateau }) => (plateau.gpu_hours === null ? `${count(plateau.steps)} steps` : `${count(plateau.steps)} steps, ${figure(plateau.gpu_hours, 3)} GPU h`);
  const trace = {
    type: "bar", orientation: "h", x: rows.map((job) => 100 * job.loss.plateau.share), y: rows.map((_, index) => index),
    marker: { color: rows.map((job) => armColour(colours, job.arm)), pattern: { shape: rows.map((job) => (job.arm === "baseline" ? "/" : "")), fgopacity: 0.6 } },
    text: rows.map(({ loss: { plateau } }) => `${percent(plateau.share)} · ${plateau.gpu_hours === null ? `${count(plateau.steps)} steps` : `${figure(plateau.gpu_hours, 3)} GPU h`}`),
    textposition: "outside", textfont: { color: colours.text }, hovertext: rows.map((job) => cost(job.loss)), hovertemplate: "%{hovertext}<extra></extra>", cliponaxis: false,
  };
  return {
    traces: [trace], height: 64 + 30 * rows.length,
    layout: base(colours, {
      margin: { l: 10, r: 20, t: 8, b: 42 }, bargap: 0.3,
      xaxis: fixed(colours, { title: { text: "% of the steps trained", standoff: 8 }, range: [0, TEXT_ENDS], tickvals: [0, 25, 50, 75, 100] }),
      yaxis: fixed(colours, { range: [-0.6, rows.length - 0.4], tickvals: rows.map((_, index) => index), ticktext: rows.map((job) => wrapped(job.id)) }),
    }),
    words: rows.toReversed().map((job) => `${job.id}: ${percent(job.loss.plateau.share)}, ${cost(job.loss)}.`).join(" "),
  };
}

// Shortens long names, which would leave no room for the chart.
function wrapped(text) {
  return escaped(text.length > LABEL_LETTERS ? `${text.slice(0, LABEL_LETTERS - 1)}…` : text);
}
