// The table of jobs: only visible rows exist, and only changed rows are drawn again.

import { byId, el, refill } from "./dom.js";
import { ago, count, figure, jobPath, nameParts, percent, rate } from "./format.js";
import { healthChip } from "./health.js";
import { sparkline } from "./sparkline.js";

const OVERSCAN = 6;
const NARROW = matchMedia("(max-width: 900px)");

/** The columns: sort key, title, class. */
export const COLUMNS = [
  ["attention", "Health", "health"],
  ["progress", "Step", "far"],
  ["loss", "Loss", "loss number"],
  [null, "Recent loss", "sparkcell"],
  ["rate", "Rate", "rate number"],
  ["decision", "Last decision", "last"],
];

/** A table over rows in a given order; `picked` is the set of selected names. */
export class Table {
  #body = byId("rows");
  #rows = [];
  #drawn = new Map();
  #picked;
  #onPick;

  constructor(picked, onPick) {
    this.#picked = picked;
    this.#onPick = onPick;
    for (const event of ["scroll", "resize"]) addEventListener(event, () => this.draw(), { passive: true });
    NARROW.addEventListener("change", () => this.#redraw());
    this.#body.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Shows these rows in this order. */
  show(rows) {
    this.#rows = rows;
    byId("table").setAttribute("aria-rowcount", String(rows.length + 1));
    this.draw();
  }

  /** Draws the visible rows that are new or have changed. */
  draw() {
    const height = NARROW.matches ? 96 : 44;
    this.#body.style.height = `${Math.max(1, this.#rows.length) * height}px`;
    const top = this.#body.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(-top / height) - OVERSCAN);
    const last = Math.min(this.#rows.length, Math.ceil((innerHeight - top) / height) + OVERSCAN);
    const wanted = new Map(this.#rows.slice(first, last).map((row, index) => [row.name, [row, first + index]]));
    for (const [name, drawn] of this.#drawn) {
      // The row with the focus stays, so that the keyboard's place is not lost when the row scrolls out of view.
      if (!wanted.has(name) && !drawn.element.contains(document.activeElement)) {
        drawn.element.remove();
        this.#drawn.delete(name);
      }
    }
    for (const [row, index] of wanted.values()) this.#place(row, index, height);
    this.#order();
  }

  /** Sets the focus on the first row. */
  focusFirst() {
    this.#focus(0);
  }

  #redraw() {
    for (const { element } of this.#drawn.values()) element.remove();
    this.#drawn.clear();
    this.draw();
  }

  #place(row, index, height) {
    let drawn = this.#drawn.get(row.name);
    if (!drawn) {
      drawn = { element: el("div", { role: "row", "data-name": row.name }), row: null };
      this.#drawn.set(row.name, drawn);
      this.#body.append(drawn.element);
    }
    if (drawn.row !== row) this.#fill(drawn, row);
    if (drawn.index !== index || drawn.height !== height) {
      drawn.element.style.top = `${index * height}px`;
      drawn.element.setAttribute("aria-rowindex", String(index + 2));
      Object.assign(drawn, { index, height });
    }
    const box = drawn.element.querySelector("input");
    box.checked = this.#picked.has(row.name);
  }

  #fill(drawn, row) {
    const focused = drawn.element.contains(document.activeElement) ? document.activeElement.tagName : null;
    refill(drawn.element, cells(row, (picked) => this.#onPick(row.name, picked)));
    drawn.row = row;
    if (focused) drawn.element.querySelector(focused.toLowerCase())?.focus({ preventScroll: true });
  }

  // The order in the document follows the order on the page, for people who move with Tab.
  #order() {
    let previous = null;
    for (const { element } of [...this.#drawn.values()].sort((a, b) => a.index - b.index)) {
      const expected = previous ? previous.nextSibling : this.#body.firstChild;
      if (expected !== element && !element.contains(document.activeElement)) this.#body.insertBefore(element, expected);
      previous = element;
    }
  }

  #key(event) {
    const row = event.target.closest("[role=row]");
    const drawn = row && this.#drawn.get(row.dataset.name);
    if (!drawn) return;
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: 10, PageUp: -10 }[event.key];
    if (step) this.#focus(drawn.index + step);
    else if (event.key === "Home") this.#focus(0);
    else if (event.key === "End") this.#focus(this.#rows.length - 1);
    else if (event.key === "x") this.#onPick(drawn.row.name, !this.#picked.has(drawn.row.name));
    else return;
    event.preventDefault();
  }

  #focus(index) {
    const row = this.#rows[Math.max(0, Math.min(this.#rows.length - 1, index))];
    if (!row) return;
    const height = NARROW.matches ? 96 : 44;
    const top = this.#body.getBoundingClientRect().top + this.#rows.indexOf(row) * height;
    if (top < 100) scrollBy(0, top - 140);
    else if (top + height > innerHeight) scrollBy(0, top + height - innerHeight + 20);
    this.draw();
    this.#drawn.get(row.name).element.querySelector("a").focus({ preventScroll: true });
  }
}

function cells(row, pick) {
  const { namespace, job } = nameParts(row.name);
  const cell = (kind, ...children) => el("div", { role: "cell", class: kind }, children);
  const share = row.total ? (row.step ?? 0) / row.total : 0;
  const rates = row.rates.map((group) => `${group.name} ${rate(group.value)}`).join("\n");
  return [
    cell("pick", el("input", { type: "checkbox", "aria-label": `Compare ${job}`, change: (event) => pick(event.target.checked) })),
    cell(
      "who",
      el("div", {}, el("a", { href: jobPath(row.name), title: row.title || job }, job)),
      el("div", { class: "quiet" }, [namespace, row.state, row.arm].filter(Boolean).join(" · ")),
    ),
    cell("health", healthChip(row.health, row.reason)),
    cell(
      "far",
      row.total ? `${count(row.step)} of ${count(row.total)}` : `step ${count(row.step)}`,
      row.total ? el("span", { class: "bar", title: percent(share) }, el("span", { style: `width:${percent(share)}` })) : null,
    ),
    cell("loss number", figure(row.loss)),
    cell("sparkcell", row.spark.length > 1 ? sparkline(row.spark) : null),
    cell("rate number", el("span", { title: rates }, row.rates.length ? rate(row.rates[0].value) : "–"),
      row.rates.length > 1 ? el("span", { class: "quiet" }, ` +${row.rates.length - 1}`) : null),
    cell("last", decision(row.decision)),
  ];
}

function decision(last) {
  if (!last) return el("div", { class: "quiet" }, "none");
  return [
    el("div", { title: `${last.effect}\n${last.reason}` }, last.effect),
    el("div", { class: "quiet" }, `step ${count(last.step)} · ${last.author} · ${ago(last.time_ms)}`),
  ];
}
