// The horizontal axis in steps, epochs or time. Views are kept in steps, because every job has steps.

/** The units of the axis. */
export const UNITS = { step: "Step", epoch: "Epoch", time: "Time" };

/** Maps steps to values on the axis, and back. `times` are pairs of step and milliseconds, in rising order. */
export function axisOf(unit, { steps_per_epoch = null, times = [] } = {}) {
  if (unit === "epoch" && steps_per_epoch) {
    return { unit, title: "epoch", type: "linear", of: (step) => step / steps_per_epoch, step: (x) => x * steps_per_epoch };
  }
  if (unit === "time" && times.length > 0) {
    const steps = times.map(([step]) => step);
    const moments = times.map(([, moment]) => moment);
    return {
      unit,
      title: "time",
      type: "date",
      of: (step) => new Date(interpolate(steps, moments, step)),
      step: (x) => interpolate(moments, steps, typeof x === "number" ? x : new Date(localDate(x)).getTime()),
    };
  }
  return { unit: "step", title: "step", type: "linear", of: (step) => step, step: (x) => x };
}

// Plotly writes a date as `2026-11-26 12:30:00.5`, in the time zone in which it was given.
function localDate(text) {
  return String(text).replace(" ", "T");
}

/** Linear interpolation; beyond the points, the line through the nearest two points goes on. */
export function interpolate(xs, ys, x) {
  if (xs.length === 1) return ys[0];
  let low = 0;
  let high = xs.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle;
    else high = middle;
  }
  const width = xs[high] - xs[low];
  return width === 0 ? ys[low] : ys[low] + ((x - xs[low]) / width) * (ys[high] - ys[low]);
}
