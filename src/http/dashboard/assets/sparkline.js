// A small SVG line of the newest losses.

import { svg } from "./dom.js";

const WIDTH = 100;
const HEIGHT = 22;
const MARGIN = 2.5;

/** Draws the line. Values that are not finite leave a gap; the last value has a dot. */
export function sparkline(values) {
  const finite = values.filter(Number.isFinite);
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const x = (index) => (values.length < 2 ? WIDTH / 2 : MARGIN + (index * (WIDTH - 2 * MARGIN)) / (values.length - 1));
  const y = (value) => (high > low ? MARGIN + ((high - value) / (high - low)) * (HEIGHT - 2 * MARGIN) : HEIGHT / 2);
  let path = "";
  let drawing = false;
  values.forEach((value, index) => {
    if (Number.isFinite(value)) path += `${drawing ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
    drawing = Number.isFinite(value);
  });
  return svg(
    "svg",
    { class: "spark", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { d: path, "vector-effect": "non-scaling-stroke" }),
  );
}
