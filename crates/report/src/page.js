"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const places = [...document.querySelectorAll(".chart")];
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  // The library reads a little markup in texts; names are none.
  const plain = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

  const axis = (more) => ({
    gridcolor: colour("line"), zerolinecolor: colour("line"), linecolor: colour("line"), tickcolor: colour("line"),
    automargin: true, ...more,
  });
  const layout = (more) => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("ink"), size: 12, family: getComputedStyle(document.body).fontFamily },
    margin: { l: 56, r: 16, t: 12, b: 44 }, modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("mark"), activecolor: colour("ink") }, hoverlabel: { namelength: -1 },
    legend: { orientation: "h", y: 1, yanchor: "bottom", x: 0 }, ...more,
  });

  const draw = {
    lines(chart) {
      const seen = new Set();
      const arms = new Set(chart.series.map((series) => series.group));
      const traces = chart.series.flatMap((series) => {
        const first = !seen.has(series.group);
        seen.add(series.group);
        const line = (points, more) => ({
          type: "scatter", mode: points.x.length > 1 ? "lines" : "markers", x: points.x, y: points.y, name: plain(series.group),
          legendgroup: series.group, showlegend: first && arms.size > 1, opacity: chart.series.length > 1 ? 0.8 : 1,
          line: { color: colour(series.group), width: 1.6 }, marker: { color: colour(series.group) },
          hovertemplate: `step %{x}: %{y:.5g}<extra>${plain(series.name)}</extra>`, ...more,
        });
        if (!series.mean) return [line(series)];
        // Losses of single steps are noisy: they stay as a shadow behind their mean.
        return [line(series, { opacity: 0.18, showlegend: false, hoverinfo: "skip", hovertemplate: null }), line(series.mean, { zorder: 1 })];
      });
      if (chart.marks.length > 0) {
        traces.push({
          type: "scatter", mode: "markers", x: chart.marks.map((mark) => mark.x), y: chart.marks.map(() => 0.02), yaxis: "y2",
          name: "change of rate", legendgroup: "marks", marker: { color: colour("mark"), symbol: "triangle-up", size: 8 },
          text: chart.marks.map((mark) => plain(mark.text)), hovertemplate: "step %{x}: %{text}<extra></extra>", showlegend: true,
        });
      }
      if (chart.bands.length > 0) {
        traces.push({
          type: "scatter", mode: "markers", x: [null], y: [null], name: "on a plateau", legendgroup: "bands", showlegend: true,
          marker: { color: colour("band"), symbol: "square", size: 12 },
        });
      }
      const bands = chart.bands.map(([from, to]) => ({
        type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, fillcolor: colour("band"), line: { width: 0 },
        layer: "below",
      }));
      const lines = chart.marks.map((mark) => ({
        type: "line", xref: "x", yref: "paper", x0: mark.x, x1: mark.x, y0: 0, y1: 1, layer: "below",
        line: { color: colour("mark"), width: 1, dash: "dot" },
      }));
      return [traces, layout({
        height: 340, shapes: [...bands, ...lines], xaxis: axis({ title: { text: "step" } }),
        yaxis: axis({ title: { text: plain(chart.y) }, type: chart.log ? "log" : "linear", exponentformat: "e" }),
        yaxis2: { overlaying: "y", range: [0, 1], visible: false, fixedrange: true },
      })];
    },
    forest(chart) {
      const rows = [...chart.rows].reverse();
      const trace = {
        type: "scatter", mode: "markers", x: rows.map((row) => row.x), y: rows.map((row) => plain(row.name)),
        marker: { size: 9, color: colour("scheduled") },
        error_x: {
          type: "data", symmetric: false, array: rows.map((row) => row.high - row.x), arrayminus: rows.map((row) => row.x - row.low),
          color: colour("scheduled"), thickness: 2, width: 5,
        },
        hovertemplate: "%{y}: %{x:.3g}%<extra></extra>",
      };
      return [[trace], layout({
        height: 90 + 34 * rows.length, showlegend: false,
        xaxis: axis({ title: { text: "← worse · better → (%)" }, zeroline: true, zerolinecolor: colour("ink"), zerolinewidth: 1.5 }),
        yaxis: axis({ type: "category" }),
      })];
    },
    pairs(chart) {
      const traces = chart.rows.map((row) => ({
        type: "scatter", mode: "lines+markers", x: ["baseline", "scheduled"], y: [row.baseline, row.scheduled], name: plain(row.name),
        line: { color: colour("mark"), width: 1.5 }, marker: { size: 9, color: [colour("baseline"), colour("scheduled")] },
        showlegend: false, hovertemplate: `${plain(row.name)}, %{x}: %{y:.5g}<extra></extra>`,
      }));
      return [traces, layout({
        height: 300, xaxis: axis({ type: "category", range: [-0.6, 1.6] }), yaxis: axis({ title: { text: plain(chart.y) } }),
      })];
    },
  };

  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const drawAll = () => charts.forEach((chart, i) => {
    const [traces, shape] = draw[chart.kind](chart);
    Plotly.react(places[i], traces, shape, config);
  });
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  // On paper the page is narrower and always light.
  const fit = () => { drawAll(); places.forEach((place) => Plotly.Plots.resize(place)); };
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
  matchMedia("print").addEventListener("change", fit);
  document.documentElement.dataset.drawn = String(charts.length);
})();
