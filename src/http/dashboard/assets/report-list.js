// The list of experiments that have a report, and a field to open the report of any job.

import { get } from "./api.js";
import { byId, el, refill, say } from "./dom.js";
import { FLEET_URL, rowOf } from "./fleet-data.js";
import { nameParts } from "./format.js";
import { experimentReportPath, jobReportPath } from "./report-data.js";

const fleet = new Map(); // name → row

/** Puts the list on the page. */
export function buildList(view, onSearch) {
  refill(byId("content"),
    el("h1", {}, "Reports"),
    el("p", { class: "quiet lead" }, "Does scheduling pay? Jobs whose specs name the same experiment are compared, scheduled against baseline, seed by seed. The report of a job says what became of it and what each decision did."),
    el("div", { class: "tools list-tools" },
      el("label", { class: "unseen", for: "search" }, "Search experiments"),
      el("input", { type: "search", id: "search", placeholder: "Search experiments", autocomplete: "off", spellcheck: "false", value: view.search, input: (event) => onSearch(event.target.value) }),
      el("form", { class: "field", id: "open", submit: openJob },
        el("label", { for: "job" }, "Job"),
        el("input", { type: "text", id: "job", list: "jobs", placeholder: "namespace/job", autocomplete: "off", spellcheck: "false" }),
        el("datalist", { id: "jobs" }),
        el("button", { type: "submit" }, "Open its report"))),
    el("div", { class: "panel scroll", tabindex: "0", role: "region", "aria-label": "Experiments" },
      el("table", {},
        el("thead", {}, el("tr", {}, ["Experiment", "Namespace", "Arms", "Seeds", "Jobs"].map((word) => el("th", { scope: "col" }, word)), el("th", { scope: "col" }, el("span", { class: "unseen" }, "Compare")))),
        el("tbody", { id: "experiments" }))),
    el("p", { class: "none quiet", id: "none", hidden: true }));
}

function openJob(event) {
  event.preventDefault();
  const [namespace, job, ...more] = byId("job").value.trim().split("/");
  if (namespace && job && more.length === 0) location.href = jobReportPath(`namespaces/${namespace}/jobs/${job}`);
}

/** Reads all jobs. */
export async function readFleet() {
  const answer = await get(FLEET_URL);
  fleet.clear();
  for (const job of answer.jobs ?? []) takeRow(job);
}

/** Takes in the present state of a job. */
export function takeRow(job) {
  const row = rowOf(job);
  fleet.set(row.name, row);
}

/** Removes a job that is gone. */
export function dropRow(name) {
  fleet.delete(name);
}

let drawn = "";

/** Draws the experiments that match the search. */
export function drawList(search) {
  const groups = new Map();
  for (const row of fleet.values()) {
    if (!row.experiment) continue;
    const { namespace } = nameParts(row.name);
    const key = JSON.stringify([namespace, row.experiment]);
    const group = groups.get(key) ?? groups.set(key, { namespace, experiment: row.experiment, rows: [] }).get(key);
    group.rows.push(row);
  }
  const words = search.toLowerCase().split(/\s+/);
  const shown = [...groups.values()]
    .filter((group) => words.every((word) => `${group.namespace} ${group.experiment}`.toLowerCase().includes(word)))
    .sort((a, b) => (a.experiment < b.experiment ? -1 : a.experiment > b.experiment ? 1 : a.namespace < b.namespace ? -1 : 1));
  const mark = JSON.stringify(shown.map((group) => [group.namespace, group.experiment, group.rows.map((row) => [row.state, row.arm, row.spec.seed])]));
  if (mark !== drawn) {
    drawn = mark;
    refill(byId("experiments"), shown.map(line));
    refill(byId("jobs"), [...fleet.keys()].sort().map((name) => el("option", { value: `${nameParts(name).namespace}/${nameParts(name).job}` })));
  }
  byId("none").hidden = shown.length > 0;
  say(byId("none"), groups.size > 0 ? "No experiment matches." : "No experiments yet. Jobs form an experiment if their specs name the same experiment, an arm and a seed: lrs experiment run -f FILE registers the jobs of a file, and lrs demo trains a small experiment.");
}

function line({ namespace, experiment, rows }) {
  const tally = (of) => {
    const counts = new Map();
    for (const row of rows) counts.set(of(row), (counts.get(of(row)) ?? 0) + 1);
    return [...counts].sort(([a], [b]) => (a < b ? 1 : -1)).map(([word, number]) => `${number} ${word}`).join(", ");
  };
  const seeds = new Set(rows.map((row) => row.spec.seed).filter((seed) => seed !== undefined));
  return el("tr", {},
    el("th", { scope: "row" }, el("a", { href: experimentReportPath(namespace, experiment) }, experiment)),
    el("td", {}, namespace),
    el("td", {}, tally((row) => row.arm || "no arm")),
    el("td", {}, String(seeds.size)),
    el("td", {}, tally((row) => row.state)),
    el("td", {}, el("a", { href: `/compare?${new URLSearchParams({ experiment })}`, "aria-label": `Compare the jobs of ${experiment}` }, "Compare")));
}
