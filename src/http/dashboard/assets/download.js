// Downloads the view as files: raw telemetry as CSV, charts as PNG.

import { get, jobUrl } from "./api.js";

const PAGE_STEPS = 10_000;
const FIRST = ["loss", "grad_norm", "learning_rate"];
const ROWS_AT_MOST = 500_000;

/** Downloads the raw telemetry of the steps in view, page by page. Returns a message if not all of it fits. */
export async function downloadCsv(name, { attempt, from, to }) {
  const columns = new Map(); // metric → Map(step → value)
  const steps = new Set();
  let page_token = "";
  do {
    const query = new URLSearchParams({ attempt, start_step: Math.floor(from), end_step: Math.ceil(to) + 1, page_size: PAGE_STEPS });
    if (page_token) query.set("page_token", page_token);
    const page = await get(`${jobUrl(name)}/telemetry?${query}`);
    for (const series of page.series ?? []) {
      const column = columns.get(series.name) ?? columns.set(series.name, new Map()).get(series.name);
      series.step.forEach((step, index) => {
        steps.add(Number(step));
        column.set(Number(step), series.value[index]);
      });
    }
    page_token = page.next_page_token ?? page.nextPageToken ?? "";
  } while (page_token && steps.size < ROWS_AT_MOST);
  const names = [...FIRST.filter((metric) => columns.has(metric)), ...[...columns.keys()].filter((metric) => !FIRST.includes(metric))];
  const lines = [["step", ...names].map(cell).join(",")];
  for (const step of [...steps].sort((a, b) => a - b)) {
    lines.push([step, ...names.map((metric) => columns.get(metric).get(step) ?? "")].map(cell).join(","));
  }
  const last = name.split("/").at(-1);
  save(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }), `${last}.csv`);
  return page_token ? `The file has the first ${steps.size} steps; lrs export has them all.` : "";
}

// A cell of RFC 4180, with a guard before text that a spreadsheet would run as a formula.
function cell(value) {
  const text = typeof value === "string" && /^[=+@\t]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Downloads a chart as shown, at twice the resolution. */
export async function downloadPng(chart, name, colours) {
  const { width, height } = chart.getBoundingClientRect();
  const url = await window.Plotly.toImage(chart, { format: "png", width: Math.round(width), height: Math.round(height), scale: 2, setBackground: colours.surface });
  const bytes = Uint8Array.from(atob(url.split(",")[1]), (letter) => letter.charCodeAt(0));
  save(new Blob([bytes], { type: "image/png" }), `${name}.png`);
}

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
