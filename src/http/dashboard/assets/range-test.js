// The chart of a search for the rate: the loss at each rate that was tried, and the outcome.

import { byId, say } from "./dom.js";
import { figure, rate } from "./format.js";
import { axisBase, CONFIG, layoutBase, MARKERS, palette } from "./palette.js";
import { escaped } from "./figure.js";

const SUGGESTIONS = ["steepest", "valley", "slide", "minimum"];

/**
 * The rates tried and the loss at each, from the decisions of a range test or of `auto`'s search; null without either.
 */
export function testOf(decisions) {
  const points = [];
  const marks = [];
  let is_search = false;
  for (const { tried, evidence, controller } of decisions) {
    const is_stage = "stage_loss" in evidence;
    const loss = is_stage ? evidence.stage_loss : controller.endsWith("/range_test") ? evidence.smoothed_loss : undefined;
    if (loss !== undefined && tried > 0) points.push({ rate: tried, loss });
    is_search ||= is_stage;
    for (const name of SUGGESTIONS) if (name in evidence) marks.push({ word: name, rate: evidence[name] });
  }
  if (points.length < 2) return null;
  points.sort((a, b) => a.rate - b.rate);
  const found = marks.map((mark) => `${mark.word} ${rate(mark.rate)}`).join(", ");
  return {
    title: is_search ? "Search for the rate" : "Range test",
    words: `${points.length} rates from ${rate(points[0].rate)} to ${rate(points.at(-1).rate)}${found ? `: ${found}` : ""}`,
    points,
    marks,
  };
}

/** Draws the chart, if the job has had a range test or a search. */
export function drawRangeTest({ decisions }) {
  const test = testOf(decisions);
  byId("test").hidden = !test;
  if (!test) return;
  const colours = palette();
  say(byId("test-title"), test.title);
  say(byId("test-words"), test.words);
  const finite = test.points.filter((point) => Number.isFinite(point.loss) && point.rate > 0);
  const base = layoutBase(colours);
  const traces = [
    {
      type: "scatter", mode: finite.length > 60 ? "lines" : "lines+markers", name: "loss", x: finite.map((point) => point.rate), y: finite.map((point) => point.loss),
      line: { color: colours["1"], width: 1.6 }, marker: { size: 5, color: colours["1"] },
      text: finite.map((point) => `loss ${figure(point.loss)} at ${rate(point.rate)}`), hovertemplate: "%{text}<extra></extra>",
    },
    {
      type: "scatter", mode: "markers", name: "suggestions", x: test.marks.map((mark) => mark.rate), y: test.marks.map((mark) => nearest(finite, mark.rate)),
      marker: { size: 10, color: colours["2"], symbol: test.marks.map((_, index) => MARKERS[(index + 2) % MARKERS.length]) },
      text: test.marks.map((mark) => `${escaped(mark.word)} ${rate(mark.rate)}`), hovertemplate: "%{text}<extra></extra>",
    },
  ];
  const layout = {
    ...base, hovermode: "closest", height: 210, margin: { l: 52, r: 14, t: 12, b: 40 },
    xaxis: { ...axisBase(colours), type: "log", title: { text: "learning rate", standoff: 6 }, nticks: 5, fixedrange: true },
    yaxis: { ...axisBase(colours), fixedrange: true, nticks: 5 },
  };
  window.Plotly.react(byId("test-chart"), traces, layout, CONFIG);
}

function nearest(points, wanted) {
  let best = null;
  for (const point of points) {
    if (best === null || Math.abs(Math.log(point.rate / wanted)) < Math.abs(Math.log(best.rate / wanted))) best = point;
  }
  return best?.loss ?? null;
}
