// Orders to a job: a dialog that names the job and the first affected step before it sends anything.

import { jobUrl, post } from "./api.js";
import { byId, el, refill, say } from "./dom.js";
import { count, nameParts, rate } from "./format.js";

const AUTHOR_KEY = "lrs-author";

/** For each order: its button, its words, and the method that it calls. */
const ORDERS = {
  override: { word: "Override rate…", title: "Override the learning rate", send: "Override", method: "override" },
  clear: { word: "End override…", title: "End the override", send: "End override", method: "override" },
  pause: { word: "Pause…", title: "Pause the schedule", send: "Pause", method: "pause" },
  resume: { word: "Resume…", title: "Resume the schedule", send: "Resume", method: "resume" },
  complete: { word: "Complete…", title: "End the job", send: "End the job", method: "complete", danger: true },
};

/** Buttons for the orders that are allowed now, in the order of `ORDERS`. */
export function orderButtons(allowed, open) {
  return Object.entries(ORDERS)
    .filter(([order]) => allowed.includes(order))
    .map(([order, { word, danger }]) =>
      el("button", { type: "button", "data-order": order, class: danger ? "danger" : null, click: () => open(order) }, word),
    );
}

/** The dialog of an order to a job. `job()` gives the job as it is now; `onDone` is told the order and its answer. */
export class OrderDialog {
  #dialog = byId("order");
  #job;
  #onDone;
  #order = null;
  #request_id = "";

  constructor(job, onDone) {
    this.#job = job;
    this.#onDone = onDone;
    this.#dialog.addEventListener("close", () => {
      this.#order = null;
      refill(this.#dialog);
    });
  }

  open(order) {
    this.#order = order;
    // The same identifier for every try of this dialog, so that a repeat after a lost answer changes nothing more.
    this.#request_id = `monitor-${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
    const { title, send, danger } = ORDERS[order];
    const form = el("form", { class: "order", method: "dialog", submit: (event) => this.#submit(event) },
      el("h2", { id: "order-title" }, title),
      el("div", { class: "rows" }, this.#fields(order)),
      el("p", { class: "effect", id: "order-effect", role: "status" }),
      el("p", { class: "wrong", id: "order-wrong", role: "alert", hidden: true }),
      el("div", { class: "end" },
        el("button", { type: "button", click: () => this.#dialog.close() }, "Cancel"),
        el("button", { type: "submit", class: danger ? "danger" : "primary", id: "order-send" }, send)));
    form.addEventListener("input", () => this.refresh());
    refill(this.#dialog, form);
    this.refresh();
    this.#dialog.showModal();
  }

  /** Updates the text about the effect, because training goes on while the dialog is open. */
  refresh() {
    if (!this.#order) return;
    say(byId("order-effect"), effect(this.#order, this.#job(), new FormData(this.#dialog.querySelector("form"))));
  }

  #fields(order) {
    const job = this.#job();
    const fields = [];
    if (order === "override") fields.push(overrideFields(job));
    if (order === "complete") {
      fields.push(el("label", { class: "row" }, "Outcome",
        el("select", { name: "outcome" },
          el("option", { value: "STATE_COMPLETED" }, "completed: did what it was meant to do"),
          el("option", { value: "STATE_FAILED" }, "failed: went wrong"),
          el("option", { value: "STATE_CANCELLED" }, "cancelled: no longer wanted"))));
    }
    fields.push(el("label", { class: "row" }, "Reason",
      el("textarea", { name: "reason", required: true, maxlength: "1000", placeholder: "Why? The reason is kept with the decision." })));
    fields.push(el("label", { class: "row" }, "Your name",
      el("input", { type: "text", name: "author", maxlength: "200", value: rememberedAuthor(), autocomplete: "name", placeholder: "anonymous" })));
    return fields;
  }

  async #submit(event) {
    event.preventDefault();
    const order = this.#order;
    const form = new FormData(event.target);
    const send = byId("order-send");
    const wrong = byId("order-wrong");
    send.disabled = true;
    wrong.hidden = true;
    try {
      rememberAuthor(form.get("author"));
      const answer = await post(`${jobUrl(this.#job().name)}:${ORDERS[order].method}`, body(order, form, this.#request_id));
      this.#dialog.close();
      this.#onDone(order, answer);
    } catch (problem) {
      say(wrong, problem.message);
      wrong.hidden = false;
    } finally {
      send.disabled = false;
    }
  }
}

function overrideFields(job) {
  const several = job.groups.length > 1;
  return el("fieldset", { class: "choice" },
    el("legend", {}, "The rate becomes"),
    el("input", { type: "radio", name: "kind", value: "factor", id: "by-factor", checked: true }),
    el("label", { class: "field", for: "by-factor" }, "the schedule's times",
      el("input", { type: "number", name: "factor", value: "0.5", min: "0", step: "any", "aria-label": "Factor" })),
    el("input", { type: "radio", name: "kind", value: "fixed", id: "by-value" }),
    el("label", { for: "by-value" }, several ? "these rates; a group left empty keeps its schedule" : "this rate"),
    job.groups.map((group) => [
      el("span"),
      el("label", { class: "field" }, several ? group.name : "rate",
        el("input", { type: "text", inputmode: "decimal", name: `rate:${group.name}`, placeholder: rate(group.now), "aria-label": `Rate of ${group.name}` })),
    ]),
    el("span"),
    el("label", { class: "field" }, "until step",
      el("input", { type: "number", name: "end_step", min: "0", step: "1", placeholder: "empty: until cleared" })));
}

function body(order, form, request_id) {
  const reason = form.get("reason");
  const author = form.get("author") || undefined;
  if (order === "complete") return { outcome: form.get("outcome"), reason, author };
  if (order === "clear") return { clear: {}, reason, author, request_id };
  if (order !== "override") return { reason, author, request_id };
  const end_step = form.get("end_step") ? { end_step: form.get("end_step") } : {};
  if (form.get("kind") === "factor") return { set: { factor: Number(form.get("factor")), ...end_step }, reason, author, request_id };
  const rates = [...form.entries()].filter(([name, value]) => name.startsWith("rate:") && value.trim() !== "");
  const learning_rates = Object.fromEntries(rates.map(([name, value]) => [name.slice(5), numberOf(value)]));
  return { set: { fixed: { learning_rates }, ...end_step }, reason, author, request_id };
}

// Text that is not a number goes to the server as it is; the server says what is wrong with it.
function numberOf(text) {
  const value = Number(text.replace("−", "-"));
  return Number.isNaN(value) ? text : value;
}

function effect(order, job, form) {
  const { namespace, job: id } = nameParts(job.name);
  const name = `${namespace}/${id}`;
  const step = job.first_affected === null ? "its first step" : `step ${count(job.first_affected)}`;
  const from = `from ${step} on, the first that no trainer has been given yet`;
  if (order === "override") {
    const what = form.get("kind") === "fixed" ? "set by hand" : `${form.get("factor") || "?"} times what the schedule says`;
    const until = form.get("end_step") ? ` and before step ${count(Number(form.get("end_step")))}` : "";
    return `The learning rate of ${name} will be ${what}, ${from}${until}.`;
  }
  if (order === "clear") return `The learning rate of ${name} will be the schedule's again, ${from}.`;
  if (order === "pause") return `The schedule of ${name} will stop, and its rate will be held, ${from}.`;
  if (order === "resume") return `The schedule of ${name} will go on where it stopped, ${from}.`;
  return `${name} will end, and its trainers will be told. Steps before ${step} have been given out; the job cannot be started again, only forked.`;
}

function rememberedAuthor() {
  try {
    return localStorage.getItem(AUTHOR_KEY) ?? "";
  } catch {
    return "";
  }
}

function rememberAuthor(author) {
  try {
    if (author) localStorage.setItem(AUTHOR_KEY, author);
  } catch {
    // The name must then be typed again.
  }
}
