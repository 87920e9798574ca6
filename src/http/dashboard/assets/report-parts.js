// The parts of a report's page: the answer in words, figures, tables.

import { el } from "./dom.js";
import { count, duration, figure, jobPath, percent, signedPercent } from "./format.js";

const TONES = {
  better: ["good", "Evidence for the scheduled arm"],
  worse: ["bad", "Evidence against the scheduled arm"],
  hint: ["note", "A hint, no evidence"],
  no_evidence: ["idle", "No evidence of a difference"],
  one_pair: ["idle", "One seed is an example"],
  nothing_to_compare: ["idle", "Nothing to compare"],
};

const SHORT = {
  better: ["good", "better"],
  worse: ["bad", "worse"],
  hint: ["note", "a hint"],
  no_evidence: ["idle", "no evidence"],
  one_pair: ["idle", "an example"],
  nothing_to_compare: ["idle", "nothing"],
};

const CHANGES = {
  faster: ["good", "fell faster"],
  slower: ["bad", "fell more slowly"],
  unclear: ["idle", "no clear difference"],
  too_few: ["idle", "too few losses"],
};

/** Completes a sentence with a capital and a full stop. */
export function sentence(text) {
  return text ? `${text[0].toUpperCase()}${text.slice(1)}${text.endsWith(".") ? "" : "."}` : "";
}

/** A word on a coloured ground. */
export function chip([tone, words]) {
  return el("span", { class: "chip", "data-tone": tone }, words);
}

export const changeOf = (change) => CHANGES[change] ?? ["idle", "–"];

/** The answer in words, at the top of the page. */
export function verdict({ measures, verdict: words, savings }) {
  const [tone, short] = TONES[measures[0]?.verdict] ?? TONES.nothing_to_compare;
  return el("section", { class: "panel answer", id: "answer", "data-tone": tone, "aria-labelledby": "answer-words" },
    chip([tone, short]),
    el("p", { class: "words", id: "answer-words" }, sentence(words)),
    savings?.sentence ? el("p", { class: "quiet", id: "savings" }, sentence(savings.sentence)) : null);
}

/** Tiles of figures: label, value, and a note beside the value. */
export function tiles(entries) {
  return el("dl", { class: "figures" }, entries.map(([what, how_much, beside]) =>
    el("div", { class: "panel" }, el("dt", {}, what), el("dd", {}, how_much, beside ? el("small", {}, beside) : null))));
}

/** The figures of an experiment. */
export function experimentTiles({ jobs, comparison: { measures, savings } }) {
  const unit = (measure) => (measure.unit ? ` ${measure.unit}` : "");
  const of = (arm, what) => jobs.filter((job) => job.arm === arm).reduce((sum, job) => sum + what(job), 0);
  const cost = (arm) => {
    const spent = jobs.filter((job) => job.arm === arm && job.gpu_hours !== null);
    return spent.length > 0 ? `${figure(of(arm, (job) => job.gpu_hours ?? 0), 3)} GPU h` : null;
  };
  const saved = [savings?.seconds !== null && savings?.seconds !== undefined && duration(savings.seconds), savings?.gpu_hours !== null && savings?.gpu_hours !== undefined && `${figure(savings.gpu_hours, 3)} GPU h`];
  return tiles([
    ...measures.filter(({ difference }) => difference).slice(0, 3).map((measure) =>
      [measure.title, `${figure(measure.difference.scheduled)}${unit(measure)}`, `baseline ${figure(measure.difference.baseline)}${unit(measure)}`]),
    savings?.steps !== null && savings?.steps !== undefined ? ["steps saved to the target", count(savings.steps), saved.filter(Boolean).join(", ")] : null,
    ["divergences", count(of("scheduled", (job) => job.loss?.divergences ?? 0)), `baseline ${count(of("baseline", (job) => job.loss?.divergences ?? 0))}`],
    cost("scheduled") || cost("baseline") ? ["spent", cost("scheduled") ?? "–", `baseline ${cost("baseline") ?? "–"}`] : null,
  ].filter(Boolean));
}

/** The figures of one job. */
export function jobTiles(job) {
  const { objective, loss } = job;
  const plateau = loss?.plateau;
  return tiles([
    ["steps trained", count(job.trained), job.total !== null && job.trained !== job.total ? `of ${count(job.total)}` : `${count(job.records)} records`],
    objective ? [`final ${objective.metric}`, figure(objective.final), objective.best === null ? null : `best ${figure(objective.best)} at step ${count(objective.best_step)}`] : null,
    objective && objective.target !== null ? ["steps to the target", objective.steps === null ? "not reached" : count(objective.steps),
      [`target ${figure(objective.target)}`, objective.seconds !== null && duration(objective.seconds), objective.gpu_hours !== null && `${figure(objective.gpu_hours, 3)} GPU h`].filter(Boolean).join(", ")] : null,
    loss ? ["mean loss", figure(loss.mean), `area ${figure(loss.area)}`] : null,
    plateau ? ["on a plateau", percent(plateau.share), [`${count(plateau.steps)} steps`, plateau.gpu_hours !== null && `${figure(plateau.gpu_hours, 3)} GPU h`].filter(Boolean).join(", ")] : null,
    loss ? ["divergences", count(loss.divergences), `${count(loss.spikes)} spikes, ${count(loss.not_finite)} not finite`] : null,
    ["wall time", duration(job.wall), job.gpu_hours === null ? (job.wall === null ? "known when it has ended" : null) : `${figure(job.gpu_hours, 3)} GPU h`],
  ].filter(Boolean));
}

/** A table in a panel. The first `texts` columns are text; cells are text or elements. */
export function table(label, texts, head, rows) {
  const kind = (index) => (index < texts ? null : "number");
  return el("div", { class: "panel scroll", tabindex: "0", role: "region", "aria-label": label },
    el("table", {},
      el("thead", {}, el("tr", {}, head.map((word, index) => el("th", { scope: "col", class: kind(index) }, word)))),
      el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((cell, index) =>
        (index === 0 ? el("th", { scope: "row" }, cell) : el("td", { class: kind(index) }, cell))))))));
}

/** A measure's title with its unit, unless the title already names the unit. */
export function titleOf({ title, unit }) {
  return unit && !title.startsWith(unit) ? `${title} (${unit})` : title;
}

/** A sentence about each measure. */
export function sentences(measures) {
  return el("ul", { class: "panel sentences" }, measures.map((measure) => el("li", {}, el("strong", {}, `${measure.title}: `), `${measure.sentence}.`)));
}

/** The arms, one row a measure. */
export function measureTable(measures) {
  return table("The arms, measure by measure", 2,
    ["measure", "verdict", "scheduled", "baseline", "difference", "95% interval", "relative", "effect size", "sign-flip p", "seeds better / worse / equal"],
    measures.map((measure) => {
      const found = measure.difference;
      return [
        `${titleOf(measure)} ${measure.least ? "↓" : "↑"}`, chip(SHORT[measure.verdict] ?? SHORT.nothing_to_compare),
        figure(found?.scheduled), figure(found?.baseline), figure(found?.mean),
        found?.low === null || !found ? "–" : `${figure(found.low)} to ${figure(found.high)}`,
        signedPercent(found?.relative), figure(found?.effect), figure(found?.p), `${measure.better} / ${measure.worse} / ${measure.equal}`,
      ];
    }));
}

/** A measure, one row a seed. */
export function seedTable(measure) {
  return table(`${measure.title}, seed by seed`, 1, ["seed", "scheduled", "baseline", "difference"], measure.pairs.map((pair) =>
    [String(pair.seed), figure(pair.scheduled), figure(pair.baseline), pair.scheduled === null || pair.baseline === null ? "–" : figure(pair.scheduled - pair.baseline)]));
}

/** All jobs, one a row. */
export function jobTable(jobs, reportPath) {
  return table("The jobs", 4,
    ["job", "arm", "seed", "state", "steps", "final", "best", "steps to target", "mean loss", "spikes / divergences / not finite", "on a plateau", "decisions", "wall time", "GPU hours"],
    jobs.map((job) => [
      el("a", { href: reportPath(job.name), title: `Report of ${job.id}` }, job.id), job.arm || "–", job.seed === null ? "–" : String(job.seed), job.state,
      job.total !== null && job.trained !== job.total ? `${count(job.trained)} of ${count(job.total)}` : count(job.trained),
      figure(job.objective?.final), figure(job.objective?.best), count(job.objective?.steps), figure(job.loss?.mean),
      job.loss ? `${job.loss.spikes} / ${job.loss.divergences} / ${job.loss.not_finite}` : "–",
      job.loss?.plateau ? percent(job.loss.plateau.share) : "–", count(job.by_controllers + job.by_people), duration(job.wall), figure(job.gpu_hours, 3),
    ]));
}

/** All metrics of a job. */
export function metricTable(metrics) {
  const at = (value, step) => (value === null ? "–" : `${figure(value)} at ${count(step)}`);
  return table("Metrics", 1, ["metric", "values", "final", "least, at step", "greatest, at step", "not finite"], metrics.map((metric) =>
    [metric.name, count(metric.count), figure(metric.final), at(metric.min, metric.min_step), at(metric.max, metric.max_step), count(metric.not_finite)]));
}

/** The effect of each decision of a job. */
export function decisionTable(decisions) {
  const slope = (found) => (found ? `${figure(1000 * found.slope, 3)} (${figure(1000 * found.low, 3)} to ${figure(1000 * found.high, 3)})` : "–");
  return table("Decisions, and what the loss did", 4,
    ["from step", "what", "the loss after it", "by, and why", "median loss before → after", "slope before (95%)", "slope after (95%)"],
    decisions.map((decision) => [
      count(decision.effective), decision.effect, decision.kind === "advice" ? "–" : chip(changeOf(decision.change)),
      el("span", { class: "wrap" }, decision.reason ? `${decision.author}: ${decision.reason}` : decision.author),
      `${figure(decision.before?.median)} → ${figure(decision.after?.median)}`, slope(decision.before), slope(decision.after),
    ]));
}

/** A link in place of the resource name of a job; other text stays as it is. */
export function subjectOf(subject) {
  return /^namespaces\/[^/]+\/jobs\/[^/]+$/.test(subject) ? el("a", { href: jobPath(subject) }, subject.split("/").at(-1)) : subject;
}

/** How to read the figures. */
export function reading(comparison) {
  const lines = [
    comparison && `Differences are scheduled less baseline, paired by seed. ↓: lower is better; ↑: higher is better.${comparison.objective.greatest ? " A difference above 0 speaks for the scheduled arm where higher is better." : ""}`,
    comparison && "The interval is a percentile bootstrap over the pairs (10,000 resamples); with few seeds it is too narrow, so evidence also needs a sign-flip p of at most 0.05, which takes 6 seeds at least. Several measures are compared and nothing corrects for that: the first one decides.",
    comparison && "A filled mark is evidence, an open one is not. A job without a value, or with one that is not finite, counts as worse than any other in its pair.",
    "Final: the median of the last twentieth of a metric's values (at most 256), or the last one if that is not finite.",
    "Slopes are Theil and Sen's over up to 200 losses on each side of a decision, in losses per 1000 steps, with 95% intervals that take the losses as independent. What came after a decision did not all come because of it.",
    "On a plateau: windows of an eighth of the run in which Mann and Kendall's test (one-sided, 5%) finds no fall of the loss. Spike: more than 6 standard deviations above the running average. Divergence: not finite, or more than half of what was gained is lost.",
    "Telemetry has no times: the time to a step shares the time of an attempt evenly over its steps. GPU hours need the label gpus.",
  ];
  return el("ul", { class: "reading quiet" }, lines.filter(Boolean).map((line) => el("li", {}, line)));
}
