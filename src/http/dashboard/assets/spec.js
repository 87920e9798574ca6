// A short summary of the spec.

import { byId, el, refill } from "./dom.js";
import { count, figure, rate } from "./format.js";

/** Shows the fields of the spec; nested forms appear as their JSON. */
export function drawSpec({ spec }) {
  const rows = [
    ["Groups", (spec.groups ?? []).map((group) => `${group.name || "default"} ${rate(Number(group.base_lr ?? 0))}`).join(", ")],
    ["Schedule", short(spec.schedule)],
    ["Controllers", (spec.controllers ?? []).map(short).join(", ")],
    ["Objective", spec.objective && [spec.objective.metric, spec.objective.target !== undefined && `target ${figure(Number(spec.objective.target))}`].filter(Boolean).join(", ")],
    ["Experiment", spec.experiment],
    ["Seed", spec.seed],
    ["Decision lag", spec.decision_lag && count(Number(spec.decision_lag))],
    ["Ranks", spec.reporting_ranks && count(spec.reporting_ranks)],
    ["Tier", spec.tier],
    ...Object.entries(spec.labels ?? {}),
  ];
  refill(byId("spec"), rows.filter(([, value]) => value !== undefined && value !== "" && value !== null && value !== false)
    .map(([word, value]) => [el("dt", {}, word), el("dd", {}, String(value))]));
}

function short(form) {
  if (!form) return "";
  const text = JSON.stringify(form).replaceAll('"', "").replace(/^\{(.*)\}$/, "$1").replaceAll(":{}", "").replaceAll(",", ", ").replaceAll(":", ": ");
  return text.length > 220 ? `${text.slice(0, 220)}…` : text;
}
