// The view of a job's page, kept in the address so that a link shows the same.

const DEFAULTS = { axis: "step", from: null, to: null, smooth: 0.9, trend: true, log_loss: false, log_rate: false, attempt: 0 };

/** The view that the address asks for. */
export function readView() {
  const query = new URLSearchParams(location.search);
  const number = (name) => {
    const value = Number(query.get(name) ?? NaN);
    return Number.isFinite(value) && value >= 0 ? value : null;
  };
  const log = (query.get("log") ?? "").split(",");
  const view = {
    ...DEFAULTS,
    axis: ["step", "epoch", "time"].includes(query.get("axis")) ? query.get("axis") : DEFAULTS.axis,
    from: number("from"),
    to: number("to"),
    smooth: Math.min(0.99, number("smooth") ?? DEFAULTS.smooth),
    trend: query.get("trend") !== "no",
    log_loss: log.includes("loss"),
    log_rate: log.includes("rate"),
    attempt: number("attempt") ?? 0,
  };
  if (view.from === null || view.to === null || view.to <= view.from) view.from = view.to = null;
  return view;
}

/** Writes the view into the address, without the defaults. */
export function writeView(view) {
  const query = new URLSearchParams();
  if (view.axis !== DEFAULTS.axis) query.set("axis", view.axis);
  if (view.to !== null) {
    query.set("from", Math.round(view.from));
    query.set("to", Math.round(view.to));
  }
  if (view.smooth !== DEFAULTS.smooth) query.set("smooth", view.smooth);
  if (!view.trend) query.set("trend", "no");
  const log = [view.log_loss && "loss", view.log_rate && "rate"].filter(Boolean);
  if (log.length > 0) query.set("log", log.join(","));
  if (view.attempt) query.set("attempt", view.attempt);
  history.replaceState(null, "", query.size > 0 ? `?${query}` : location.pathname);
}
