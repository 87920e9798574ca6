// Numbers and times as text for people.

/** A step or a count with thin spaces between thousands. */
export function count(value) {
  if (value === null || value === undefined) return "–";
  return Math.round(value).toString().replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

/** A measured value with about `digits` significant digits. */
export function figure(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return power(value, Math.max(2, digits - 1));
  return minus(Number(value.toPrecision(digits)).toString());
}

/** A learning rate: 3e-4 rather than 0.0003. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  return Math.abs(value) >= 0.01 && Math.abs(value) < 100 ? figure(value, 4) : power(value, 3);
}

function power(value, digits) {
  const [head, exponent] = value.toExponential(digits - 1).split("e");
  return minus(`${Number(head)}e${Number(exponent)}`);
}

function minus(text) {
  return text.replaceAll("-", "−");
}

/** A fraction in percent. */
export function percent(share) {
  return `${Math.floor(Math.min(1, Math.max(0, share)) * 100)}%`;
}

/** A change as a fraction, in percent, with its sign and one more digit. */
export function signedPercent(share) {
  if (share === null || share === undefined || !Number.isFinite(share)) return "–";
  return minus(`${share > 0 ? "+" : ""}${(100 * share).toFixed(1)}%`);
}

/** A duration: `12.3 s`, `4 min 05 s`, `7 h 12 min`. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const size = Math.round(Math.abs(seconds));
  const sign = seconds < 0 ? "−" : "";
  const two = (value) => String(value).padStart(2, "0");
  if (size < 60) return `${figure(seconds, 3)} s`;
  if (size < 3600) return `${sign}${Math.floor(size / 60)} min ${two(size % 60)} s`;
  return `${sign}${count(Math.floor(size / 3600))} h ${two(Math.floor((size % 3600) / 60))} min`;
}

/** The time since a moment: `12 s ago`, `3 h ago`. */
export function ago(then_ms, now_ms = Date.now()) {
  if (!then_ms) return "never";
  const seconds = Math.max(0, Math.round((now_ms - then_ms) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} days ago`;
}

/** Day and time, to the second. */
export function moment(then_ms) {
  if (!then_ms) return "–";
  return new Date(then_ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** The two parts of `namespaces/a/jobs/b`. */
export function nameParts(name) {
  const [, namespace = "", , job = ""] = name.split("/");
  return { namespace, job };
}

/** The page of a job. */
export function jobPath(name) {
  const { namespace, job } = nameParts(name);
  return `/jobs/${encodeURIComponent(namespace)}/${encodeURIComponent(job)}`;
}
