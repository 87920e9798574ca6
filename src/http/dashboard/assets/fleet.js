// The fleet: a live list of all jobs, with those that need attention first.

import { Live, get } from "./api.js";
import { chrome, complain, nothing, ready, showLink } from "./chrome.js";
import { byId, el, refill, say, throttled } from "./dom.js";
import { FLEET_URL, FLEET_EVENTS_URL, rowOf } from "./fleet-data.js";
import { count, jobPath, nameParts } from "./format.js";
import { HEALTH, healthChip, healthOf, shape, urgency } from "./health.js";
import { COLUMNS, Table } from "./table.js";

const ATTENTION_SHOWN = 6;
const COMPARED_AT_MOST = 12;

const rows = new Map();
const picked = new Set();
const view = readView();
const table = new Table(picked, pick);
let truncated = false; // there are more jobs than the server shows

// The address keeps the view, so that a link shows the same.
function readView() {
  const query = new URLSearchParams(location.search);
  const [order = "attention", direction] = (query.get("order") ?? "").split(" ").filter(Boolean);
  return {
    search: query.get("search") ?? "",
    namespace: query.get("namespace") ?? "",
    state: query.get("state") ?? "",
    health: query.get("health") ?? "",
    order,
    falling: direction === "desc",
  };
}

function writeView() {
  const query = new URLSearchParams();
  for (const key of ["search", "namespace", "state", "health"]) if (view[key]) query.set(key, view[key]);
  if (view.order !== "attention" || view.falling) query.set("order", view.order + (view.falling ? " desc" : ""));
  history.replaceState(null, "", query.size ? `?${query}` : location.pathname);
}

const KEYS = {
  attention: (row) => urgency(row.health),
  name: (row) => row.name,
  progress: (row) => (row.total ? (row.step ?? 0) / row.total : -1),
  loss: (row) => row.loss ?? NaN,
  rate: (row) => row.rates[0]?.value ?? NaN,
  decision: (row) => -(row.decision?.time_ms ?? 0),
};

function compare(a, b) {
  const key = KEYS[view.order] ?? KEYS.attention;
  const [left, right] = [key(a), key(b)];
  const turn = view.falling ? -1 : 1;
  // A job without a value comes last in both directions.
  if (Number.isNaN(left) !== Number.isNaN(right)) return Number.isNaN(left) ? 1 : -1;
  if (left < right) return -turn;
  if (left > right) return turn;
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function wanted(row) {
  return (
    (!view.namespace || nameParts(row.name).namespace === view.namespace) &&
    (!view.state || row.state === view.state) &&
    (!view.health || row.health === view.health) &&
    view.search.toLowerCase().split(/\s+/).every((word) => row.text.includes(word))
  );
}

function draw() {
  const all = [...rows.values()];
  const shown = all.filter(wanted).sort(compare);
  drawTiles(all);
  drawAttention(all);
  options(byId("namespace"), [...new Set(all.map((row) => nameParts(row.name).namespace))].sort(), view.namespace);
  options(byId("state"), [...new Set(all.map((row) => row.state))].sort(), view.state);
  const more = truncated ? "; there are more than this page shows" : "";
  say(byId("shown"), (shown.length === all.length ? `${count(all.length)} jobs` : `${count(shown.length)} of ${count(all.length)} jobs`) + more);
  table.show(shown);
  drawNone(all.length, shown.length);
}

const redraw = throttled(200, draw);

function drawNone(all, shown) {
  const body = byId("rows");
  let none = body.querySelector(".none");
  if (shown > 0) return none?.remove();
  none ??= body.appendChild(el("div", { class: "none", role: "row" }, el("span", { role: "cell" })));
  body.style.height = "auto";
  const words = all ? "No job matches." : "No jobs yet. Register one with `lrs job register -f job.yaml`, or start `lrs demo`.";
  say(none.firstChild, words);
}

function drawTiles(all) {
  const tiles = byId("tiles");
  for (const kind of Object.keys(HEALTH)) {
    const number = all.filter((row) => row.health === kind).length;
    let tile = tiles.querySelector(`[data-health="${kind}"]`);
    if (!tile) {
      const toggle = () => change("health", view.health === kind ? "" : kind);
      tile = el("button", { type: "button", "data-health": kind, "data-tone": healthOf(kind).tone, click: toggle },
        el("strong", {}), el("span", { class: "word" }, shape(kind), healthOf(kind).word));
      tiles.append(tile);
    }
    say(tile.firstChild, count(number));
    tile.toggleAttribute("data-none", number === 0);
    tile.setAttribute("aria-pressed", String(view.health === kind));
  }
}

let attention_drawn = "";

function drawAttention(all) {
  const urgent = all
    .filter((row) => healthOf(row.health).attention)
    .sort((a, b) => urgency(a.health) - urgency(b.health) || (a.name < b.name ? -1 : 1));
  const list = urgent.slice(0, ATTENTION_SHOWN);
  const mark = JSON.stringify(list.map((row) => [row.name, row.health, row.reason]));
  byId("attention").hidden = urgent.length === 0;
  if (mark === attention_drawn) return;
  attention_drawn = mark;
  refill(
    byId("attention-list"),
    list.map((row) =>
      el("li", {}, healthChip(row.health), el("div", { title: row.reason },
        el("a", { href: jobPath(row.name) }, nameParts(row.name).job), el("p", { class: "quiet" }, row.reason))),
    ),
  );
}

function options(select, values, chosen) {
  const wanted_values = ["", ...values, ...(chosen && !values.includes(chosen) ? [chosen] : [])];
  const have = [...select.options].map((option) => option.value);
  if (have.join("\n") !== wanted_values.join("\n")) {
    refill(select, wanted_values.map((value) => el("option", { value }, value || "all")));
  }
  select.value = chosen;
}

function drawHead() {
  const sort = (key) => () => {
    view.falling = view.order === key && !view.falling;
    change("order", key);
  };
  const head = (key, word, kind) =>
    el("div", { role: "columnheader", class: kind, "data-order": key },
      key ? el("button", { type: "button", click: sort(key) }, word) : el("span", { class: "quiet", style: "font-size:12px;font-weight:600" }, word));
  refill(
    byId("head"),
    el("div", { role: "row", "aria-rowindex": "1" },
      el("div", { role: "columnheader", class: "pick" }, el("span", { class: "unseen" }, "Compare")),
      head("name", "Job", "who"),
      COLUMNS.map(([key, word, kind]) => head(key, word, kind))),
  );
}

function showOrder() {
  for (const head of byId("head").querySelectorAll("[data-order]")) {
    if (head.dataset.order === view.order) head.setAttribute("aria-sort", view.falling ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
  byId("order").value = view.order;
}

function change(key, value) {
  view[key] = value;
  writeView();
  showOrder();
  draw();
}

function pick(name, on) {
  if (on) picked.add(name);
  else picked.delete(name);
  const button = byId("compare");
  button.hidden = picked.size === 0;
  say(button, picked.size > COMPARED_AT_MOST ? `At most ${COMPARED_AT_MOST} can be compared` : `Compare ${picked.size}`);
  const query = new URLSearchParams([...picked].slice(0, COMPARED_AT_MOST).map((job) => ["job", job]));
  button.href = `/compare?${query}`;
  table.draw();
}

function listen() {
  byId("search").value = view.search;
  byId("search").addEventListener("input", (event) => change("search", event.target.value));
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "Enter") table.focusFirst();
    else return;
    event.preventDefault();
  });
  for (const key of ["namespace", "state"]) byId(key).addEventListener("change", (event) => change(key, event.target.value));
  byId("order").addEventListener("change", (event) => {
    view.falling = false;
    change("order", event.target.value);
  });
  addEventListener("keydown", (event) => {
    const typing = event.target.closest("input:not([type=checkbox]), select, textarea");
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "/" && !typing) byId("search").focus();
    else if (event.key === "ArrowDown" && event.target === document.body) table.focusFirst();
    else return;
    event.preventDefault();
  });
}

async function readAll() {
  try {
    const answer = await get(FLEET_URL);
    rows.clear();
    for (const job of answer.jobs ?? []) take(job);
    truncated = answer.truncated ?? false;
    byId("problem").hidden = true;
    draw();
    ready();
  } catch (problem) {
    complain(problem);
  }
}

function take(job) {
  const row = rowOf(job);
  rows.set(row.name, row);
}

chrome("/");
drawHead();
showOrder();
listen();
new Live(() => FLEET_EVENTS_URL, {
  onState: showLink,
  onOpen: readAll,
  // The stream may have been refused; the fleet can still be read.
  onLost: () => rows.size || readAll(),
  handlers: {
    row: (event) => {
      take(event);
      redraw();
    },
    removed: (event) => {
      rows.delete(event.name);
      redraw();
    },
    missed_events: readAll,
  },
});
