// Turns decisions of the API into what the page shows: a kind, and the effect in words.

import { count, rate } from "./format.js";
import { TOPICS } from "./topics.js";

const optional = (value) => (value === undefined || value === null ? null : Number(value));

/** A decision as the log and the chart show it. */
export function decisionOf(decision) {
  const { kind, effect } = effectOf(decision);
  return {
    name: decision.name,
    attempt: Number(decision.attempt ?? 0),
    step: Number(decision.step ?? 0),
    effective: Number(decision.effective_step ?? 0),
    author: decision.person ?? authorOf(decision.controller) ?? "unknown",
    reason: decision.reason ?? "",
    evidence: Object.fromEntries(Object.entries(decision.evidence ?? {}).map(([name, value]) => [name, Number(value)])),
    time_ms: decision.create_time ? Date.parse(decision.create_time) : 0,
    controller: decision.controller ?? "",
    tried: optional(decision.base_rate_change?.groups?.[0]?.previous_base_lr),
    until: optional(decision.rate_override?.end_step),
    kind,
    effect,
  };
}

// `0/auto` is the first controller of the spec; the page shows only its kind.
function authorOf(controller) {
  return controller?.replace(/^\d+\//, "").replaceAll("_", " ");
}

function effectOf(decision) {
  if (decision.base_rate_change) return baseRateChange(decision.base_rate_change);
  if (decision.rate_override) return { kind: "override", effect: override(decision.rate_override) };
  if (decision.override_cleared) return { kind: "cleared", effect: "Override ended" };
  if (decision.schedule_paused) return { kind: "pause", effect: "Schedule paused" };
  if (decision.schedule_resumed) return { kind: "resume", effect: "Schedule resumed" };
  if (decision.spec_change) return { kind: "spec", effect: "Spec changed" };
  return { kind: "advice", effect: advice(decision.advice ?? {}) };
}

function baseRateChange({ groups = [], restore, shape = {} }) {
  const moved = groups.filter((group) => Number(group.previous_base_lr ?? 0) !== Number(group.base_lr ?? 0));
  const [first] = moved.length > 0 ? moved : groups;
  const before = Number(first?.previous_base_lr ?? 0);
  const after = Number(first?.base_lr ?? 0);
  const kind = after > before ? "raise" : "cut";
  const back = restore ? ", back to a copy" : "";
  if (moved.length === 0) return { kind, effect: `${stays(shape, after)}${back}` };
  const others = moved.length > 1 ? `, and ${moved.length - 1} more groups` : "";
  return { kind, effect: `Rate ${rate(before)} → ${rate(after)}${others}${back}` };
}

// Of a decision that moves no base rate: how the rates run from there on.
function stays({ cooldown, cooldown_share }, after) {
  if (cooldown) {
    const start = Number(cooldown.start_step ?? 0);
    const end = start + Number(cooldown.steps);
    return `Rate falls to 0, from step ${count(start)} to ${count(end)}`;
  }
  if (cooldown_share) return `Rate falls to 0 over the last ${Math.round(cooldown_share * 100)}%`;
  return `Rate stays ${rate(after)}`;
}

function override({ factor, fixed, end_step }) {
  const until = end_step === undefined ? "" : ` until step ${count(Number(end_step))}`;
  if (fixed) {
    const rates = Object.entries(fixed.learning_rates ?? {}).map(([group, value]) => `${group} ${rate(Number(value))}`);
    return `Override: ${rates.join(", ")}${until}`;
  }
  return `Override: ${rate(Number(factor ?? 0))} times the schedule${until}`;
}

function advice({ topic, is_withdrawn }) {
  const words = TOPICS[topic] ?? "Advice";
  return is_withdrawn ? `${words} taken back` : words;
}
