// The colours of the charts, read from the style sheet so that they follow the theme.

const NAMES = ["raw", "1", "2", "3", "4", "5", "6", "7"];

/** The colours of the present theme. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const lines = Object.fromEntries(NAMES.map((name) => [name, colour(`--c-${name}`)]));
  return {
    ...lines,
    cycle: NAMES.slice(1).map((name) => lines[name]),
    text: colour("--text"),
    quiet: colour("--quiet"),
    surface: colour("--surface"),
    raised: colour("--raised"),
    line: colour("--line"),
    strong: colour("--line-strong"),
    grid: colour("--grid"),
    band: colour("--band"),
    band_plan: colour("--band-plan"),
  };
}

/** Dashes to go with the colours, so that colour is never the only difference between two lines. */
export const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid"];

/** Markers to go with the colours. */
export const MARKERS = ["circle", "square", "diamond", "cross", "triangle-up", "x", "star"];

/** The layout that all charts share. */
export function layoutBase(colours) {
  return {
    paper_bgcolor: colours.surface,
    plot_bgcolor: colours.surface,
    font: { family: "system-ui, -apple-system, Segoe UI, Roboto, Liberation Sans, sans-serif", size: 11.5, color: colours.quiet },
    margin: { l: 62, r: 16, t: 8, b: 40 },
    hoverlabel: { bgcolor: colours.surface, bordercolor: colours.strong, font: { color: colours.text, size: 12 }, align: "left", namelength: -1 },
    hovermode: "x unified",
    hoversubplots: "axis",
    dragmode: "zoom",
    showlegend: false,
    uirevision: "keep",
  };
}

/** The settings that all axes share. */
export function axisBase(colours) {
  return {
    gridcolor: colours.grid,
    linecolor: colours.line,
    zerolinecolor: colours.grid,
    tickcolor: colours.line,
    automargin: false,
    exponentformat: "e",
    minexponent: 4,
  };
}

/** Plotly's configuration for all charts. */
export const CONFIG = { displaylogo: false, responsive: true, displayModeBar: false, doubleClick: false, scrollZoom: false };
