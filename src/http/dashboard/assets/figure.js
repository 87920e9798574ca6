// The charts of a job as one plotly figure: panels above each other on one axis, so that they share zoom and hover.

import { axisBase, layoutBase, MARKERS } from "./palette.js";
import { count, figure, rate } from "./format.js";
import { middle, runningMedian, smoothed } from "./smoothing.js";

const GAP_PX = 30; // between panels; a panel's title stands in it
const AXIS_PX = 40;
/** The dashes of the rates of parameter groups: long dashes, because short dashes mark plans. */
export const GROUP_DASHES = ["solid", "12px,3px", "12px,3px,3px,3px", "6px,2px"];
const LINES_AT_MOST = 150; // of decisions; beyond that only their marks are drawn

/** How decisions of each kind are marked. */
export const MARKS = {
  cut: { symbol: "triangle-down", colour: "2", word: "rate lowered" },
  raise: { symbol: "triangle-up", colour: "3", word: "rate raised" },
  override: { symbol: "diamond", colour: "4", word: "override" },
  cleared: { symbol: "diamond-open", colour: "4", word: "override ended" },
  pause: { symbol: "square", colour: "7", word: "paused" },
  resume: { symbol: "triangle-right", colour: "3", word: "resumed" },
  spec: { symbol: "star", colour: "5", word: "spec changed" },
  advice: { symbol: "circle-open", colour: "6", word: "advice" },
};

/** The panels for which there are data, from the top down. */
export function panelsOf(model) {
  const panels = [
    { id: "marks", title: "", px: 26 },
    { id: "loss", title: "Loss", px: 250, log: model.log_loss },
    { id: "rate", title: "Learning rate", px: 150, log: model.log_rate },
  ];
  if (model.grad_norm) panels.push({ id: "grad_norm", title: "Gradient norm", px: 110, log: model.log_loss });
  for (const metric of model.metrics) panels.push({ id: `metric:${metric.name}`, title: metric.name, px: 110, metric });
  return panels;
}

/** Traces, layout and height in pixels. */
export function figureOf(model) {
  const { colours, axis } = model;
  const panels = panelsOf(model);
  const height = panels.reduce((sum, panel) => sum + panel.px + GAP_PX, 0) + AXIS_PX;
  const inner = height - AXIS_PX;
  const layout = { ...layoutBase(colours), height, margin: { l: 62, r: 16, t: 0, b: AXIS_PX }, annotations: [], shapes: [] };
  const traces = [];
  let top = 0;
  panels.forEach((panel, index) => {
    top += GAP_PX;
    const domain = [1 - (top + panel.px) / inner, 1 - top / inner].map((share) => Math.min(1, Math.max(0, share)));
    top += panel.px;
    const y = index === 0 ? "y" : `y${index + 1}`;
    layout[index === 0 ? "yaxis" : `yaxis${index + 1}`] = verticalAxis(panel, domain, colours);
    if (panel.title) layout.annotations.push(titleOf(panel, domain, colours));
    traces.push(...tracesOf(panel, model).map((trace) => ({ ...trace, xaxis: "x", yaxis: y, meta: panel.id })));
  });
  layout.xaxis = {
    ...axisBase(colours),
    type: axis.type,
    title: { text: axis.title, standoff: 6 },
    anchor: panels.length === 1 ? "y" : `y${panels.length}`,
    range: [axis.of(model.from), axis.of(model.to)],
    showspikes: true,
    spikemode: "across",
    spikethickness: 1,
    spikedash: "solid",
    spikecolor: colours.strong,
    tickformat: axis.type === "linear" ? "~s" : undefined,
    hoverformat: axis.unit === "step" ? ",d" : undefined,
  };
  layout.shapes = shapesOf(model);
  return { traces, layout, height };
}

function verticalAxis(panel, domain, colours) {
  if (panel.id === "marks") {
    return { ...axisBase(colours), domain, range: [-1, 1], visible: false, fixedrange: true };
  }
  return {
    ...axisBase(colours),
    domain,
    type: panel.log ? "log" : "linear",
    // At most two ticks in a decade, because more would run into each other.
    dtick: undefined,
    nticks: Math.max(3, Math.round(panel.px / 34)),
    fixedrange: true,
    autorange: true,
    rangemode: panel.id === "rate" && !panel.log ? "tozero" : "normal",
  };
}

function titleOf(panel, domain, colours) {
  return {
    text: `<b>${escaped(panel.title)}</b>`,
    xref: "paper",
    yref: "paper",
    x: 0,
    y: domain[1],
    xanchor: "left",
    yanchor: "bottom",
    yshift: 3,
    showarrow: false,
    font: { size: 12, color: colours.text },
  };
}

/** Escapes text for plotly, which interprets some markup; a name from outside must not be markup. */
export function escaped(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function tracesOf(panel, model) {
  if (panel.id === "marks") return markTraces(model);
  if (panel.id === "loss") return lossTraces(model);
  if (panel.id === "rate") return rateTraces(model);
  if (panel.id === "grad_norm") return [line(model, "gradient norm", model.grad_norm, model.colours["3"], { width: 1.2 })];
  const index = model.metrics.indexOf(panel.metric);
  const colour = model.colours.cycle[(index + 3) % model.colours.cycle.length];
  return [
    line(model, panel.metric.name, panel.metric, colour, {
      mode: panel.metric.step.length > 300 ? "lines" : "lines+markers",
      symbol: MARKERS[(index + 1) % MARKERS.length],
    }),
  ];
}

function line(model, name, series, colour, { width = 1.6, dash = "solid", mode = "lines", shape = "linear", symbol = "circle", hover = figure } = {}) {
  return {
    type: "scatter",
    mode,
    name: escaped(name),
    x: series.step.map(model.axis.of),
    y: series.value.map((value) => (Number.isFinite(value) ? value : null)),
    line: { color: colour, width, dash, shape },
    marker: { color: colour, size: 5, symbol },
    text: series.value.map((value) => hover(value)),
    hovertemplate: "%{text}",
    connectgaps: false,
  };
}

function lossTraces(model) {
  const { loss, colours } = model;
  if (!loss) return [];
  const traces = [line(model, "loss", loss, colours.raw, { width: 1 })];
  const average = middle(loss);
  if (model.smoothing > 0) {
    traces.push(line(model, "smoothed", { step: average.step, value: smoothed(average.value, model.smoothing) }, colours["1"], { width: 2 }));
  }
  if (model.trend) {
    const width = Math.max(5, Math.round(average.step.length / 20));
    const trend = runningMedian(average.value, width);
    traces.push(line(model, "robust trend", { step: average.step, value: trend }, colours["2"], { width: 1.8, dash: "dash" }));
  }
  const broken = loss.step.filter((_, index) => !Number.isFinite(loss.value[index]));
  if (broken.length > 0) {
    const finite = loss.value.filter(Number.isFinite);
    const top = finite.length > 0 ? finite.reduce((a, b) => Math.max(a, b)) : 1;
    traces.push({
      type: "scatter",
      mode: "markers",
      name: "not finite",
      x: broken.map(model.axis.of),
      y: broken.map(() => top),
      marker: { symbol: "x", size: 8, color: colours["2"] },
      text: loss.value.filter((value) => !Number.isFinite(value)).map((value) => figure(value)),
      hovertemplate: "%{text}",
    });
  }
  return traces;
}

function rateTraces(model) {
  const { colours } = model;
  return model.groups.flatMap((group, index) => {
    const colour = colours.cycle[index % colours.cycle.length];
    const several = model.groups.length > 1;
    const name = several ? group.name : "rate";
    const traces = [line(model, name, group.applied, colour, { width: 1.8, shape: "hv", hover: rate, dash: GROUP_DASHES[index % GROUP_DASHES.length] })];
    if (group.planned.step.length > 0) {
      traces.push(line(model, `${name}, planned`, group.planned, colour, { width: 1.4, shape: "hv", hover: rate, dash: "3px,4px" }));
    }
    return traces;
  });
}

function markTraces(model) {
  return Object.entries(MARKS).flatMap(([kind, mark]) => {
    const these = model.decisions.filter((decision) => decision.kind === kind);
    if (these.length === 0) return [];
    return [
      {
        type: "scatter",
        mode: "markers",
        name: mark.word,
        x: these.map((decision) => model.axis.of(decision.effective)),
        y: these.map(() => 0),
        customdata: these.map((decision) => decision.name),
        marker: { symbol: mark.symbol, size: 10, color: model.colours[mark.colour], line: { width: 1.5, color: model.colours[mark.colour] } },
        text: these.map((decision) => wrapped(`${decision.author}: ${decision.effect}. ${decision.reason}`)),
        hovertemplate: "%{text}",
      },
    ];
  });
}

/** Breaks text into lines that fit on the narrowest screen, for plotly's labels. */
export function wrapped(text, width = 46) {
  const lines = [""];
  for (const word of String(text).slice(0, 400).split(/\s+/)) {
    if (lines.at(-1).length + word.length > width && lines.at(-1)) lines.push("");
    lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
  }
  return lines.map(escaped).join("<br>");
}

function shapesOf(model) {
  const { axis, colours } = model;
  const seen = (from, to) => to >= model.from && from <= model.to;
  const band = (range, fill) => ({
    type: "rect",
    layer: "below",
    xref: "x",
    yref: "paper",
    x0: axis.of(range.from),
    x1: axis.of(range.to),
    y0: 0,
    y1: 1,
    fillcolor: fill,
    line: { width: 0 },
  });
  const upright = (step, line) => ({ type: "line", layer: "below", xref: "x", yref: "paper", x0: axis.of(step), x1: axis.of(step), y0: 0, y1: 1, line });
  const decisions = model.decisions.filter((decision) => seen(decision.effective, decision.effective));
  return [
    ...model.plateaus.filter((range) => seen(range.from, range.to)).map((range) => band(range, colours.band)),
    ...model.on_plan.filter((range) => seen(range.from, range.to)).map((range) => band(range, colours.band_plan)),
    ...model.attempts.slice(1).filter((attempt) => seen(attempt.resume_step, attempt.resume_step))
      .map((attempt) => upright(attempt.resume_step, { color: colours.text, width: 1.2, dash: "longdash" })),
    ...(decisions.length > LINES_AT_MOST ? [] : decisions).map((decision) =>
      upright(decision.effective, { color: colours[MARKS[decision.kind].colour], width: 1, dash: "dot" })),
  ];
}

/** Describes the chart in words, for people who cannot see it. */
export function described(model) {
  const parts = [`Steps ${count(model.from)} to ${count(model.to)}.`];
  const last = model.loss?.value.findLast(Number.isFinite);
  if (last !== undefined) parts.push(`The loss ends at ${figure(last)}.`);
  for (const group of model.groups) {
    const value = group.applied.value.at(-1);
    if (value !== undefined) parts.push(`The rate of ${group.name} ends at ${rate(value)}.`);
  }
  parts.push(`${model.decisions.length} decisions, ${model.plateaus.length} plateau stretches, ${model.attempts.length} attempts.`);
  return parts.join(" ");
}
