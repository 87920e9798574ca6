// Ways to see the line behind noisy points.

/**
 * Exponential smoothing without bias at the beginning. `weight` 0 gives the values themselves; values towards 1 smooth
 * more. A value that is not finite is skipped and leaves a gap.
 */
export function smoothed(values, weight) {
  if (weight <= 0) return values;
  let sum = 0;
  let norm = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return null;
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}

/** The running median over `width` values around each value; outliers do not move it. */
export function runningMedian(values, width) {
  const half = Math.max(1, Math.floor(width / 2));
  return values.map((_, index) => {
    const near = values.slice(Math.max(0, index - half), index + half + 1).filter(Number.isFinite).sort((a, b) => a - b);
    if (near.length === 0) return null;
    const middle = near.length >> 1;
    return near.length % 2 ? near[middle] : (near[middle - 1] + near[middle]) / 2;
  });
}

/** The best value so far: the least, or the greatest. */
export function bestSoFar(values, greatest = false) {
  let best = null;
  return values.map((value) => {
    if (Number.isFinite(value) && (best === null || (greatest ? value > best : value < best))) best = value;
    return best;
  });
}

/**
 * The middle of a series whose points are the least and the greatest value of each stretch. Neighbours meet halfway, so
 * that the line through them does not swing between the extremes. Values that are not finite are left out.
 */
export function middle({ step, value }) {
  const finite = step.map((_, index) => index).filter((index) => Number.isFinite(value[index]));
  const pairs = finite.slice(1).map((index, place) => [finite[place], index]);
  return {
    step: pairs.map(([a, b]) => (step[a] + step[b]) / 2),
    value: pairs.map(([a, b]) => (value[a] + value[b]) / 2),
  };
}
