// The decisions about a job, newest first, with author and reason.

import { el, refill, say, byId, svg } from "./dom.js";
import { count, figure, moment } from "./format.js";
import { MARKS } from "./figure.js";

const SHOWN_AT_MOST = 300;
const PATHS = {
  "triangle-down": "M1 2h12L7 13Z",
  "triangle-up": "M1 12h12L7 1Z",
  "triangle-right": "M2 1v12l11-6Z",
  diamond: "m7 .5 6.500 6.500-6.500 6.500L.5 7Z",
  "diamond-open": "m7 1.500 5.500 5.500-5.500 5.500L1.500 7Z",
  square: "M2 2h10v10H2Z",
  star: "m7 .5 2 4.200 4.600.6-3.400 3.200.9 4.600L7 10.900l-4.100 2.200.9-4.600L.4 5.300 5 4.700Z",
  "circle-open": "M7 2a5 5 0 1 0 0 10A5 5 0 0 0 7 2Z",
};

/** The mark of a kind of decision, the same as in the chart. */
export function markOf(kind) {
  const { symbol, colour } = MARKS[kind];
  const open = symbol.endsWith("open");
  const tint = `var(--c-${colour})`;
  return svg("svg", { viewBox: "0 0 14 14", "aria-hidden": "true" },
    svg("path", { d: PATHS[symbol], fill: open ? "none" : tint, stroke: tint, "stroke-width": 1.5 }));
}

/** Draws the log. */
export function drawLog(decisions) {
  const newest = decisions.slice(-SHOWN_AT_MOST).reverse();
  say(byId("log-count"), newest.length < decisions.length ? `${newest.length} newest of ${count(decisions.length)}` : count(decisions.length));
  refill(byId("log"), newest.length === 0 ? el("li", { class: "none" }, "None so far.") : newest.map(entry));
}

/** Scrolls to a decision in the log and highlights it. */
export function pointOut(name) {
  for (const item of byId("log").children) {
    const current = item.dataset.name === name;
    if (current) item.setAttribute("aria-current", "true");
    else item.removeAttribute("aria-current");
    if (current) item.scrollIntoView({ block: "nearest" });
  }
}

function entry(decision) {
  const figures = Object.entries(decision.evidence);
  return el("li", { "data-name": decision.name, "data-kind": decision.kind },
    markOf(decision.kind),
    el("div", {},
      el("div", { class: "what" }, decision.effect),
      el("div", {}, decision.reason || "no reason given"),
      el("div", { class: "when" }, `step ${count(decision.step)}, from ${count(decision.effective)} on · ${decision.author} · ${moment(decision.time_ms)}`),
      figures.length > 0
        ? el("details", {}, el("summary", {}, "Figures"), el("div", { class: "figures" },
            figures.map(([name, value]) => [el("span", {}, name.replaceAll("_", " ")), el("span", {}, figure(value))])))
        : null));
}
