// The page of one report: laid out once, and filled again with each new report.

import { byId, el, refill, say, svg } from "./dom.js";
import { MARKS } from "./figure.js";
import { count, figure, jobPath, nameParts, percent } from "./format.js";
import { markOf } from "./log.js";
import { CONFIG, palette } from "./palette.js";
import { experimentParts, jobReportPath, reportUrl } from "./report-data.js";
import { armColour, curveNames, curves, forest, pairs, plateaus, slopes } from "./report-figures.js";
import { changeOf, chip, decisionTable, experimentTiles, jobTable, jobTiles, measureTable, metricTable, reading, seedTable, sentence, sentences, subjectOf, verdict } from "./report-parts.js";

const FORMATS = { html: "HTML", markdown: "Markdown", json: "JSON" };
const ENDINGS = { html: "html", markdown: "md", json: "json" };
const ENDED = ["completed", "failed", "cancelled"];

/** Whether a job has ended. */
export const hasEnded = (job) => ENDED.includes(job.state);

const drawn = new Map(); // the element of a chart → the function that makes its figure

/** Lays the page out, still empty. */
export function layOut(view, { onTarget, onSet }) {
  const { namespace, experiment } = view.job ? nameParts(view.job) : experimentParts(view.experiment);
  const id = view.job ? nameParts(view.job).job : experiment;
  document.title = `Report of ${id} · lrs`;
  const other = view.job ? el("a", { class: "button", href: jobPath(view.job) }, "Job") : el("a", { class: "button", href: `/compare?${new URLSearchParams({ experiment })}` }, "Compare");
  refill(byId("content"),
    el("div", { class: "heading" },
      el("div", { class: "names" },
        el("p", { class: "quiet", id: "where" }, `${namespace} · ${view.job ? "audit report of a job" : "audit report of an experiment"}`),
        el("h1", { id: "name" }, id), el("p", { class: "quiet", id: "title" })),
      el("div", { class: "tools actions", role: "group", "aria-label": "The report as a file" },
        other, Object.entries(FORMATS).map(([format, words]) => el("a", { class: "button", id: `as-${format}`, "data-format": format, "data-id": id }, words)),
        el("button", { type: "button", id: "print", click: () => window.print() }, "Print"))),
    el("form", { class: "tools aim", id: "aim", hidden: true, submit: (event) => { event.preventDefault(); onTarget(byId("target").value.trim()); } },
      el("label", { class: "field", for: "target" }, "Target of ", el("span", { id: "target-of" })),
      el("input", { type: "number", id: "target", step: "any", value: view.target }),
      el("button", { type: "submit" }, "Apply"),
      el("button", { type: "button", id: "own-target", hidden: true, click: () => { byId("target").value = ""; onTarget(""); } }, "As in the specs"),
      el("span", { class: "quiet", id: "target-words" })),
    el("p", { class: "none quiet", id: "making", role: "status" }, "The report is being made …"),
    el("div", { id: "body" }));
  showLinks(view);
  page.onSet = onSet;
}

const page = { onSet: () => {} };

function showLinks(view) {
  for (const link of document.querySelectorAll(".actions [data-format]")) {
    link.href = reportUrl(view, link.dataset.format);
    link.download = `${link.dataset.id}.${ENDINGS[link.dataset.format]}`;
  }
}

/** Fills the page with a report. */
export function show(report, view) {
  for (const place of drawn.keys()) window.Plotly.purge(place);
  drawn.clear();
  byId("making").hidden = true;
  showLinks(view);
  showTarget(report, view);
  const [first] = report.jobs;
  const alone = report.comparison === null;
  say(byId("title"), alone ? first.title : aboutExperiment(report));
  if (alone) say(byId("where"), [nameParts(first.name).namespace, "audit report of a job", first.state, first.attempt > 0 && `attempt ${first.attempt}`].filter(Boolean).join(" · "));
  refill(byId("body"), alone ? jobBody(first, view) : experimentBody(report, view));
  for (const place of drawn.keys()) draw(place);
}

function aboutExperiment({ jobs, comparison: { objective, pairs } }) {
  const target = objective.target === null ? "no target" : `target ${figure(objective.target)}`;
  const seeds = pairs.length === 1 ? "1 seed" : `${pairs.length} seeds`;
  return `${jobs.length} jobs, ${seeds} compared by ${objective.metric} (${objective.greatest ? "the higher" : "the lower"} the better), ${target}`;
}

function showTarget({ jobs, comparison }, view) {
  const objective = comparison?.objective ?? jobs[0].objective;
  byId("aim").hidden = !jobs.some((job) => job.objective);
  if (!objective) return;
  say(byId("target-of"), objective.metric);
  byId("target").placeholder = objective.target === null ? "none" : String(objective.target);
  byId("own-target").hidden = !view.target;
  say(byId("target-words"), view.target ? "Set here, in place of the target in the specs." : objective.target === null ? "The specs set no target." : "As the specs say.");
}

/** Draws all charts again, in the present colours and width of the page. */
export function redraw() {
  for (const place of drawn.keys()) draw(place);
}

function draw(place) {
  const { traces, layout, height, words } = drawn.get(place)(palette());
  place.style.height = `${height}px`;
  place.setAttribute("aria-label", `${place.dataset.title}. ${words}`);
  window.Plotly.react(place, traces, { ...layout, height }, CONFIG);
}

// A chart with its title; null if there is nothing to draw.
function picture(id, title, make, ...tools) {
  if (make(palette()) === null) return null;
  const place = el("div", { class: "chart", id, role: "img", "aria-label": title, "data-title": title });
  drawn.set(place, make);
  return el("figure", { class: "panel picture" }, el("figcaption", {}, el("h3", {}, title), tools), place);
}

function section(title, ...parts) {
  const inner = parts.flat(Infinity).filter(Boolean);
  return inner.length > 0 ? el("section", { "aria-label": title }, el("h2", {}, title), inner) : null;
}

function key(colour, words, mark = "line") {
  const shape = mark === "line" ? svg("line", { x1: 1, x2: 21, y1: 6, y2: 6, stroke: colour, "stroke-width": 2.4 }) : svg("rect", { x: 1, y: 0, width: 20, height: 12, fill: colour });
  return el("li", {}, svg("svg", { viewBox: "0 0 22 12", "aria-hidden": "true" }, shape), words);
}

function experimentBody(report, view) {
  const { jobs, comparison } = report;
  const { measures, left_out } = comparison;
  const measure = measures.find(({ id }) => id === view.measure) ?? measures[0];
  const choice = measure && el("select", { id: "measure", "aria-label": "Measure", change: (event) => page.onSet("measure", event.target.value) },
    measures.map(({ id, title }) => el("option", { value: id, selected: id === measure.id }, title)));
  return [
    verdict(comparison),
    left_out.length > 0 ? el("section", { class: "panel unlike", id: "unlike", "aria-labelledby": "unlike-title" },
      el("h2", { id: "unlike-title" }, "Not compared, or only in part"),
      el("ul", {}, left_out.map(({ subject, reason }) => el("li", {}, el("strong", {}, subjectOf(subject)), `: ${sentence(reason)}`)))) : null,
    experimentTiles(report),
    section("Scheduled against baseline",
      measures.length > 0 ? [measureTable(measures), sentences(measures)] : el("p", { class: "quiet" }, "There is nothing to compare."),
      el("div", { class: "pair" },
        picture("forest", "How much better the scheduled arm is, with 95% intervals", (colours) => forest(measures, colours)),
        measure ? picture("pairs", "Seed by seed", (colours) => pairs(measure, colours), choice) : null),
      measure && measure.pairs.length > 0 ? seedTable(measure) : null),
    curvesSection(jobs, view),
    section("Jobs", jobTable(jobs, jobReportPath), picture("plateaus", "Steps on a plateau, and what they cost", (colours) => plateaus(jobs, colours))),
    decisionsSection(jobs, view),
    section("About the jobs", notes(jobs)),
    readingSection(comparison),
  ].filter(Boolean);
}

function jobBody(job, view) {
  const objective = job.objective;
  const empty = job.records === 0;
  return [
    el("section", { class: "panel answer", id: "answer", "data-tone": toneOf(job), "aria-labelledby": "answer-words" },
      el("p", { class: "words", id: "answer-words" }, wordsOf(job, objective)),
      job.notes.length > 0 ? el("ul", { class: "quiet", id: "notes" }, job.notes.map((note) => el("li", {}, note))) : null),
    empty ? null : jobTiles(job),
    curvesSection([job], view),
    decisionsSection([job], view),
    job.metrics.length > 0 ? section("Metrics", metricTable(job.metrics), job.metrics_left_out > 0 ? el("p", { class: "quiet" }, `${count(job.metrics_left_out)} further metrics are left out.`) : null) : null,
    readingSection(null),
  ].filter(Boolean);
}

function toneOf(job) {
  if (job.state === "failed" || job.loss?.ended_diverged) return "bad";
  return job.objective?.steps !== null && job.objective?.steps !== undefined ? "good" : "idle";
}

function wordsOf(job, objective) {
  if (job.records === 0) return "Nothing has been reported yet, so there is nothing to say.";
  const steps = job.total === null ? `${count(job.trained)} steps` : `${count(job.trained)} of ${count(job.total)} steps`;
  const words = [`${hasEnded(job) ? "Trained" : "Has trained"} ${steps}${hasEnded(job) ? ` and ${job.state === "completed" ? "completed" : `was ${job.state}`}`.replace("was failed", "failed") : ` and is ${job.state}`}.`];
  if (objective) {
    words.push(`${objective.metric} ${hasEnded(job) ? "ended" : "stands"} at ${figure(objective.final)}.`);
    if (objective.target !== null) words.push(objective.steps === null ? `The target of ${figure(objective.target)} was not reached.` : `The target of ${figure(objective.target)} was reached after ${count(objective.steps)} steps.`);
  }
  if (job.loss?.ended_diverged) words.push("It ended diverged.");
  if (job.loss?.plateau) words.push(`${percent(job.loss.plateau.share)} of the steps were spent on a plateau.`);
  const changes = job.by_controllers + job.by_people;
  if (changes > 0) {
    const faster = job.decisions.filter(({ change }) => change === "faster").length;
    words.push(changes === 1
      ? `The rate was changed once${faster === 1 ? ", and the loss fell faster after it" : ", and it is not clear that the loss fell faster after it"}.`
      : `The rate was changed ${count(changes)} times; after ${count(faster)} of these the loss fell faster.`);
  } else words.push("Nobody changed its rate.");
  return words.join(" ");
}

function curvesSection(jobs, view) {
  const names = curveNames(jobs);
  if (names.length === 0) return null;
  const colours = (name) => `var(--c-${name})`;
  const alone = jobs.length === 1;
  const arms = [...new Set(jobs.map((job) => job.arm))].sort().reverse();
  const kinds = alone ? Object.keys(MARKS).filter((kind) => kind !== "advice" && jobs[0].decisions.some((decision) => decision.kind === kind)) : [];
  const legend = el("ul", { class: "legend", "aria-label": "Legend" },
    arms.length > 1 ? arms.map((arm) => key(armColour({ 1: colours(1), 2: colours(2) }, arm), arm || "no arm")) : null,
    kinds.map((kind) => el("li", {}, markOf(kind), MARKS[kind].word)),
    alone && jobs[0].loss?.plateau?.stretches.length > 0 ? key("var(--band)", "on a plateau", "box") : null);
  const titles = { loss: "Training loss", learning_rate: "Learning rate as used" };
  const log = el("label", { class: "field" }, el("input", { type: "checkbox", id: "log", checked: view.log, change: (event) => page.onSet("log", event.target.checked) }), "Log scale");
  return section("Curves", el("div", { class: "tools above" }, legend, log),
    el("div", { class: "curves" }, names.map((name, index) => picture(`curve-${index}`, titles[name] ?? name, (shades) => curves(name, jobs, view.log, shades)))));
}

function decisionsSection(jobs, view) {
  const deciding = jobs.filter((job) => job.decisions.length > 0);
  if (deciding.length === 0) return null;
  const job = deciding.find(({ name }) => name === view.of) ?? deciding.find((one) => one.by_controllers + one.by_people > 0) ?? deciding[0];
  const changes = ["faster", "slower", "unclear", "too_few"].map((change) => [change, job.decisions.filter((decision) => decision.change === change).length]).filter(([, number]) => number > 0);
  const choice = deciding.length > 1 ? el("label", { class: "field" }, "Job ",
    el("select", { id: "of", change: (event) => page.onSet("of", event.target.value) }, deciding.map(({ name, id }) => el("option", { value: name, selected: name === job.name }, id)))) : null;
  const total = job.by_controllers + job.by_people + job.advice;
  const by = [[job.by_controllers, "by controllers"], [job.by_people, "by people"], [job.advice, "as advice"]].filter(([number]) => number > 0).map(([number, words]) => `${count(number)} ${words}`).join(", ");
  return section("What each decision did",
    el("div", { class: "tools above" }, choice, el("p", { class: "quiet", id: "decision-counts" }, `${sentence(by)}${total > job.decisions.length ? ` The first ${job.decisions.length} are shown.` : ""}`),
      changes.map(([change, number]) => chip([changeOf(change)[0], `${changeOf(change)[1]}: ${number}`]))),
    picture("slopes", "How the loss went before and after each decision, with 95% intervals", (colours) => slopes(job.decisions, colours),
      el("ul", { class: "legend" }, key("var(--c-7)", "before", "box"), key("var(--c-1)", "after", "box"))),
    decisionTable(job.decisions));
}

function notes(jobs) {
  const noted = jobs.filter((job) => job.notes.length > 0);
  return noted.length > 0 ? el("dl", { class: "panel notes", id: "notes" }, noted.map((job) => el("div", {}, el("dt", {}, job.id), job.notes.map((note) => el("dd", {}, note))))) : null;
}

function readingSection(comparison) {
  return el("details", { class: "panel how" }, el("summary", {}, "How to read this"), reading(comparison));
}
