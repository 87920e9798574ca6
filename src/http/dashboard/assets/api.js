// Calls of the server's JSON interface and its live events.

/** A failed call: the server's error, or no answer at all (`status` 0). */
export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The JSON at a path. */
export function get(path, signal) {
  return call(path, { signal });
}

/** Calls a custom method of a job, and returns the answer. */
export function post(path, body) {
  return call(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
}

async function call(path, options) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: { accept: "application/json", ...options.headers } });
  } catch (problem) {
    if (problem.name === "AbortError") throw problem;
    throw new Problem(0, "The server does not answer.");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Problem(response.status, words(answer) ?? `The server answered ${response.status}.`);
  if (answer === null) throw new Problem(0, "The server went away in the middle of its answer.");
  return answer;
}

// The text of an error, with the complaint about each field: problem details of RFC 9457.
function words(problem) {
  if (!problem) return null;
  const fields = (problem.details ?? [])
    .flatMap((detail) => detail.field_violations ?? [])
    .map((violation) => `${violation.field}: ${violation.description}`);
  return [problem.detail ?? problem.title, ...fields].filter(Boolean).join("\n") || null;
}

/** The path of a job under `/v1/`. */
export function jobUrl(name) {
  return `/v1/${name.split("/").map(encodeURIComponent).join("/")}`;
}

const FIRST_RETRY_MS = 400;
const LAST_RETRY_MS = 5000;

/**
 * Receives live events while the page is visible.
 *
 * `onOpen` is called on each connection, also after a pause; the page must then read again what it may have missed.
 * `onLost` is called when a connection fails; an ordinary call may then give the reason. `onState` is told
 * `connecting`, `live`, `away` (the server does not answer), `paused` (the page is hidden) or `ended`.
 */
export class Live {
  #url;
  #handlers;
  #onOpen;
  #onLost;
  #onState;
  #source = null;
  #timer = 0;
  #retry_ms = FIRST_RETRY_MS;
  #ended = false;

  constructor(url, { handlers, onOpen, onLost = () => {}, onState }) {
    this.#url = url;
    this.#handlers = handlers;
    this.#onOpen = onOpen;
    this.#onLost = onLost;
    this.#onState = onState;
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.#connect()));
    addEventListener("pagehide", () => this.#drop());
    addEventListener("pageshow", (event) => event.persisted && this.#connect());
    this.#connect();
  }

  /** Stops for good. */
  end() {
    this.#ended = true;
    this.#drop();
    this.#onState("ended");
  }

  #connect() {
    if (this.#ended || this.#source || document.hidden) return;
    clearTimeout(this.#timer);
    this.#onState("connecting");
    const source = new EventSource(this.#url());
    this.#source = source;
    source.onopen = () => {
      this.#retry_ms = FIRST_RETRY_MS;
      this.#onState("live");
      this.#onOpen();
    };
    source.onerror = () => this.#lost();
    for (const [name, handle] of Object.entries(this.#handlers)) {
      // An event named `error` with data is the server's last message; one without data is the end of the connection.
      source.addEventListener(name, (event) => event.data !== undefined && handle(JSON.parse(event.data)));
    }
  }

  #lost() {
    this.#drop();
    if (this.#ended) return;
    this.#onState("away");
    this.#onLost();
    this.#timer = setTimeout(() => this.#connect(), this.#retry_ms);
    this.#retry_ms = Math.min(LAST_RETRY_MS, this.#retry_ms * 2);
  }

  #pause() {
    this.#drop();
    if (!this.#ended) this.#onState("paused");
  }

  #drop() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }
}
