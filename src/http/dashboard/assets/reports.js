// The audit reports: of a job, of an experiment, or the list of experiments; updated live while jobs train.

import { Live, get } from "./api.js";
import { chrome, complain, nothing, ready, showLink } from "./chrome.js";
import { byId, el, refill, say, throttled } from "./dom.js";
import { FLEET_EVENTS_URL, rowOf } from "./fleet-data.js";
import { count, nameParts } from "./format.js";
import { experimentParts, readView, reportOf, reportUrl, writeView } from "./report-data.js";
import { buildList, drawList, dropRow, readFleet, takeRow } from "./report-list.js";
import { hasEnded, layOut, redraw, show } from "./report-page.js";

const REMAKE_MS = 2000;
const BUSY_MS = 3000;
const NAMED = 4;

const view = readView();
const is_list = !view.job && !view.experiment;
const heard = new Map(); // name → the newest row of a job
let report = null;
let made = null;
let making = false;
let make_again = false;

async function load() {
  if (making) {
    make_again = true;
    return;
  }
  making = true;
  showRunning();
  try {
    report = reportOf(await get(reportUrl(view)));
    made = new Date();
    byId("problem").hidden = true;
    show(report, view);
    ready();
  } catch (problem) {
    fail(problem);
  } finally {
    making = false;
    showRunning();
    if (make_again) remake();
    make_again = false;
  }
}

const remake = throttled(REMAKE_MS, () => !document.hidden && load());

function fail(problem) {
  if (problem.status === 404) {
    live.end();
    byId("link").hidden = true;
    const { namespace, experiment } = experimentParts(view.experiment);
    const { namespace: home, job } = nameParts(view.job);
    if (view.job) nothing("There is no such job", `${home}/${job}`, problem.message);
    else nothing("There is no such experiment", `${namespace}/${experiment}`, problem.message);
    return;
  }
  // The server makes only a few reports at once, so try again later.
  const busy = problem.status === 429 || problem.status === 503;
  if (busy) setTimeout(remake, BUSY_MS);
  if (!report && problem.status !== 0) byId("making").hidden = !busy;
  complain(problem, busy ? `${problem.message}\nThis page tries again by itself.` : problem.message);
}

// Says which jobs still train, when the report was made, and how many steps have come since.
function showRunning() {
  const notice = byId("running");
  if (!notice) return;
  const open = report?.jobs.filter((job) => !hasEnded(job)) ?? [];
  notice.hidden = open.length === 0;
  if (open.length === 0) return;
  const since = open.reduce((sum, job) => sum + Math.max(0, (heard.get(job.name)?.step ?? -1) + 1 - (job.trained ?? 0)), 0);
  const names = open.slice(0, NAMED).map(({ id }) => id).join(", ") + (open.length > NAMED ? ` and ${open.length - NAMED} more` : "");
  const who = report.comparison ? `${open.length} of ${report.jobs.length} jobs ${open.length === 1 ? "has" : "have"} not ended: ${names}.` : `This job has not ended: it is ${heard.get(open[0].name)?.state ?? open[0].state}.`;
  const words = `${who} The report covers everything recorded until ${made.toLocaleTimeString()}${since > 0 ? `; ${count(since)} more steps have come since` : ""}. It is made again when a job ends.`;
  if (!byId("remake")) refill(notice, el("span", { id: "running-words" }), " ", el("button", { type: "button", id: "remake", click: () => load() }));
  say(byId("running-words"), words);
  say(byId("remake"), making ? "Being made …" : "Make it again");
  byId("remake").disabled = making;
}

function isMine(row) {
  if (view.job) return row.name === view.job;
  const { namespace, experiment } = experimentParts(view.experiment);
  return row.experiment === experiment && nameParts(row.name).namespace === namespace;
}

function takeReportRow(entry) {
  const row = rowOf(entry);
  if (!isMine(row)) return;
  heard.set(row.name, row);
  const known = report?.jobs.find((job) => job.name === row.name);
  if (report && (!known || (hasEnded(row) && known.state !== row.state))) remake();
  else showRunning();
}

function set(what, value) {
  view[what] = value;
  writeView(view);
  show(report, view);
  byId(what)?.focus();
}

function aim(target) {
  view.target = target;
  writeView(view);
  load();
}

async function loadList() {
  try {
    await readFleet();
    byId("problem").hidden = true;
    drawList(view.search);
    ready();
  } catch (problem) {
    complain(problem);
  }
}

const redrawList = throttled(300, () => !document.hidden && drawList(view.search));

// On paper, everything is unfolded and light.
function listenToPrinter() {
  let theme = null;
  const paper = matchMedia("print");
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details")) part.open = true;
    theme ??= document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    redraw();
  });
  addEventListener("afterprint", () => {
    document.documentElement.dataset.theme = theme ?? document.documentElement.dataset.theme;
    theme = null;
    redraw();
  });
  paper.addEventListener("change", redraw);
}

chrome("/reports");
if (is_list) {
  buildList(view, (search) => {
    view.search = search;
    writeView(view);
    drawList(search);
  });
} else {
  layOut(view, { onTarget: aim, onSet: set });
  document.addEventListener("theme", redraw);
  listenToPrinter();
}
const live = new Live(() => FLEET_EVENTS_URL, {
  onState: showLink,
  onOpen: is_list ? loadList : load,
  onLost: () => is_list || report || load(),
  handlers: is_list
    ? {
        row: (job) => {
          takeRow(job);
          redrawList();
        },
        removed: ({ name }) => {
          dropRow(name);
          redrawList();
        },
        missed_events: loadList,
      }
    : { row: takeReportRow, removed: ({ name }) => report?.jobs.some((job) => job.name === name) && remake(), missed_events: load },
});
