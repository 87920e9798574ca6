// Makes elements. Text is only ever set as text, so markup in a name stays text.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes and children. `true` sets an attribute, `false` and `null` leave it out, a function
 * listens.
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element, in the same way. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The element with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Sets an element's text if it has changed. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Replaces an element's children. */
export function refill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
}

/** A function that calls `action` once no further call has come for `delay_ms`. */
export function settled(delay_ms, action) {
  let timer = 0;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), delay_ms);
  };
}

/** A function that calls `action` at most once in `pause_ms`, and once more after the last call. */
export function throttled(pause_ms, action) {
  let waiting = false;
  let last = -Infinity;
  return () => {
    if (waiting) return;
    waiting = true;
    const run = () => {
      waiting = false;
      last = performance.now();
      action();
    };
    setTimeout(run, Math.max(0, last + pause_ms - performance.now()));
  };
}
