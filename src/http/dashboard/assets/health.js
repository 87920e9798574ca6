// The health of a job: its word, its shape, and its urgency.

import { el, svg } from "./dom.js";

const SHAPES = {
  disc: "M6 1.5a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9Z",
  flat: "M1 4.5h10v3H1Z",
  up: "M6 1 11.5 11H.5Z",
  ring: "M6 1a5 5 0 1 0 0 10A5 5 0 0 0 6 1Zm0 2.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6Z",
  diamond: "M6 .5 11.5 6 6 11.5.5 6Z",
  pause: "M2 1.5h3v9H2Zm5 0h3v9H7Z",
  square: "M2 2h8v8H2Z",
  cross: "m2.2.8 3.8 3.8L9.8.8l1.4 1.4L7.4 6l3.8 3.8-1.4 1.4L6 7.4l-3.8 3.8L.8 9.8 4.6 6 .8 2.2Z",
};

/** The kinds of health, most urgent first. */
export const HEALTH = {
  DIVERGING: { word: "diverging", tone: "bad", shape: "up", attention: true },
  STALE: { word: "stale", tone: "bad", shape: "ring", attention: true },
  PLATEAU: { word: "plateau", tone: "warn", shape: "flat", attention: true },
  ON_PLAN: { word: "on plan", tone: "note", shape: "diamond", attention: true },
  BLIND: { word: "blind", tone: "note", shape: "diamond", attention: true },
  FINE: { word: "fine", tone: "good", shape: "disc", attention: false },
  PAUSED: { word: "paused", tone: "idle", shape: "pause", attention: false },
  WAITING: { word: "waiting", tone: "idle", shape: "ring", attention: false },
  ABANDONED: { word: "abandoned", tone: "idle", shape: "ring", attention: false },
  FAILED: { word: "failed", tone: "idle", shape: "cross", attention: false },
  ENDED: { word: "ended", tone: "idle", shape: "square", attention: false },
};

const UNKNOWN = { word: "unknown", tone: "idle", shape: "ring", attention: false };

/** The entry of a kind of health. */
export function healthOf(kind) {
  return HEALTH[kind] ?? UNKNOWN;
}

/** The rank of a kind of health; 0 is the most urgent. */
export function urgency(kind) {
  const place = Object.keys(HEALTH).indexOf(kind);
  return place < 0 ? Object.keys(HEALTH).length : place;
}

/** The shape alone, for use beside the word that says the same. */
export function shape(kind) {
  return svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("path", { d: SHAPES[healthOf(kind).shape] }));
}

/** Shape and word together. */
export function healthChip(kind, reason = "") {
  const { word, tone } = healthOf(kind);
  return el("span", { class: "chip", "data-tone": tone, title: reason || null }, shape(kind), el("span", {}, word));
}
