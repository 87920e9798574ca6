// The bar at the top of every page: the present page, the state of the connection, light or dark.

import { Problem } from "./api.js";
import { byId, el, refill, say, svg } from "./dom.js";

const PAGES = [
  ["/", "Fleet"],
  ["/compare", "Compare"],
  ["/reports", "Reports"],
];

const STATES = {
  connecting: "connecting",
  live: "live",
  away: "server away",
  paused: "paused",
  ended: "job has ended",
};

/** Fills `<header class="top">`. */
export function chrome(current) {
  const links = PAGES.map(([href, word]) =>
    el("a", { href, "aria-current": href === current ? "page" : null }, word),
  );
  const toggle = el("button", { type: "button", class: "plain", id: "theme", click: () => window.toggleTheme() });
  const name = () => {
    const other = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    toggle.setAttribute("aria-label", `Switch to ${other}`);
    toggle.title = `Switch to ${other}`;
  };
  toggle.append(
    svg(
      "svg",
      { viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": "true", fill: "currentColor" },
      svg("path", { d: "M8 1a7 7 0 1 0 0 14A7 7 0 0 0 8 1Zm0 1.5v11a5.5 5.5 0 0 1 0-11Z" }),
    ),
  );
  document.addEventListener("theme", name);
  name();
  refill(
    document.querySelector("header.top"),
    el("a", { class: "brand", href: "/", "aria-label": "lrs" }, mark(), el("span", { "aria-hidden": "true" }, "lrs")),
    el("nav", { "aria-label": "Pages" }, links),
    el("span", { class: "push" }),
    el("span", { class: "link-state", id: "link", role: "status" }),
    toggle,
  );
}

function mark() {
  return svg(
    "svg",
    { viewBox: "0 0 22 22", "aria-hidden": "true", fill: "none", "stroke-width": "2.2", "stroke-linecap": "round" },
    svg("path", { d: "M2 3c2 9 5 12 8 12s4-1 10-1", stroke: "var(--c-1)" }),
    svg("path", { d: "M2 18h6v-0h0l0-0M8 18h0M12 19.500h8", stroke: "var(--c-2)" }),
  );
}

let away_since = null;

/** Shows the state of the connection, and a notice while the server is away. */
export function showLink(state) {
  const link = byId("link");
  // While the server is away, a new try is no news.
  if (state === "connecting" && away_since) return;
  link.dataset.link = state;
  say(link, STATES[state]);
  away_since = state === "away" ? (away_since ?? new Date()) : null;
  const notice = byId("away");
  notice.hidden = !away_since;
  if (away_since) {
    say(
      notice,
      `The server has not answered since ${away_since.toLocaleTimeString()}. What you see is from before; ` +
        "training goes on with the rates it has. This page tries again by itself.",
    );
  }
}

/** Marks the page as complete; tests wait for this. */
export function ready() {
  document.body.dataset.ready = "true";
}

/** Shows the server's error, or `words` in its place. The bar shows that the server is away. */
export function complain(problem, words = problem.message) {
  if (!(problem instanceof Problem)) throw problem;
  if (problem.status === 0) return;
  say(byId("problem"), words);
  byId("problem").hidden = false;
  ready();
}

/** Replaces the page by a message that there is nothing to show, and why. */
export function nothing(title, ...words) {
  refill(
    byId("main"),
    el("div", { class: "missing" }, el("h1", {}, title), words.map((text) => el("p", {}, text)), el("a", { class: "button", href: "/" }, "All jobs")),
  );
  ready();
}
