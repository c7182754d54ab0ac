"use strict";
const byId = id => document.getElementById(id);
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const charts = [];

function axis(extra) {
  return { stroke: colour("--ink"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line") }, ...extra };
}
const width = id => Math.max(320, byId(id).clientWidth - 24);
const cores = (u, v) => u.cursor.idx == null ? "" : v == null ? "not measured" : v.toFixed(1) + " cores";
const percent = (u, v) => u.cursor.idx == null ? "" : v == null ? "not measured" : (100 * v).toFixed(1) + " %";
const clock = (u, all) => all.map(t => { const text = new Date(t * 1000).toISOString(); return text.slice(11, 16) === "00:00" ? text.slice(5, 10) : text.slice(11, 16); });

const s = data.series, begin = Date.parse(s.start) / 1000;
const times = s.capacity.map((_, i) => begin + i * s.stepSeconds);
const whole = { min: times[0] ?? 0, max: times[times.length - 1] ?? 1 };
let view = { ...whole };

function draw() {
  charts.splice(0).forEach(c => c.destroy());
  const line = (label, name, series, dash) => ({ label, stroke: colour(name), width: 1.5, dash, value: cores, points: { show: times.length < 60 } });
  charts.push(new uPlot({
    width: width("fleet"), height: 340, tzDate: t => uPlot.tzDate(new Date(t * 1000), "Etc/UTC"),
    scales: { y: { range: (u, low, high) => [0, Math.max(high * 1.05, 1)] } },
    axes: [axis({ values: clock }), axis({ size: 70, values: (u, all) => all.map(v => v.toLocaleString("en")) })],
    series: [{ label: "Time (UTC)" }, line("capacity", "--c1", 0, [6, 4]), line("requested", "--c2"), line("used", "--c3"), line("used by batch", "--c4"),
      line("lent", "--c5", 0, [2, 3]), line("lendable", "--c6", 0, [8, 3])],
    hooks: { setScale: [(u, key) => { if (key === "x") { view = { min: u.scales.x.min, max: u.scales.x.max }; tell(); } }] },
  }, [times, s.capacity, s.requested, s.used, s.batch, s.lent, s.lendable], byId("fleet")));
  const spread = (label, name, dash) => ({ label, stroke: colour(name), width: 2, dash, value: percent });
  charts.push(new uPlot({
    width: width("hours"), height: 260, scales: { x: { time: false }, y: { range: (u, low, high) => [0, Math.max(high * 1.05, 0.01)] } },
    axes: [axis({}), axis({ size: 60, values: (u, all) => all.map(v => (100 * v).toFixed(0) + " %") })],
    series: [{ label: "Hour" }, spread("median", "--c3"), spread("p95", "--c4"), spread("p99", "--c2", [6, 4]), spread("most", "--c1", [2, 3]), spread("requested", "--c6", [8, 3])],
  }, [data.hours.map(h => h.hour), ...["usedP50", "usedP95", "usedP99", "usedMax", "requestedMean"].map(k => data.hours.map(h => h.steps ? h[k] : null))], byId("hours")));
  if (view.min !== whole.min || view.max !== whole.max) zoom(view.min, view.max);
}

function zoom(min, max) {
  const length = Math.min(max - min, whole.max - whole.min);
  const first = Math.max(whole.min, Math.min(min, whole.max - length));
  charts[0].setScale("x", { min: first, max: first + length });
}
function tell() {
  const text = t => new Date(t * 1000).toISOString().slice(0, 16).replace("T", " ");
  byId("shown").textContent = text(view.min) + " to " + text(view.max) + " UTC";
}
const move = (scale, shift) => () => {
  const middle = (view.min + view.max) / 2 + shift * (view.max - view.min), half = (view.max - view.min) / 2 * scale;
  zoom(middle - half, middle + half);
};
byId("zoom-in").addEventListener("click", move(0.5, 0));
byId("zoom-out").addEventListener("click", move(2, 0));
byId("earlier").addEventListener("click", move(1, -0.5));
byId("later").addEventListener("click", move(1, 0.5));
byId("zoom-reset").addEventListener("click", () => zoom(whole.min, whole.max));

const theme = byId("theme");
function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  theme.setAttribute("aria-pressed", dark);
  draw();
}
theme.addEventListener("click", () => setTheme(theme.getAttribute("aria-pressed") !== "true"));

document.querySelectorAll("[data-filters]").forEach(input => input.addEventListener("input", () => {
  const rows = [...byId(input.dataset.filters).tBodies[0].rows], wanted = input.value.toLowerCase();
  rows.forEach(r => { r.hidden = !r.cells[0].textContent.toLowerCase().includes(wanted); });
  byId(input.dataset.filters + "-count").textContent = rows.filter(r => !r.hidden).length + " of " + rows.length;
}));
document.querySelectorAll("table.data thead button").forEach(button => button.addEventListener("click", () => {
  const head = button.parentElement, column = head.cellIndex, body = head.closest("table").tBodies[0];
  const up = head.getAttribute("aria-sort") === "descending" || column === 0 && head.getAttribute("aria-sort") !== "ascending";
  [...head.parentElement.cells].forEach(c => c.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  // What is not known goes below what is.
  const number = text => Number.isNaN(parseFloat(text)) ? -1 : parseFloat(text);
  const value = row => column === 0 ? row.cells[0].textContent : number(row.cells[column].textContent);
  const order = (a, b) => { const x = value(a), y = value(b); return x < y ? -1 : x > y ? 1 : 0; };
  [...body.rows].sort((a, b) => up ? order(a, b) : order(b, a)).forEach(r => body.append(r));
}));

setTheme(matchMedia("(prefers-color-scheme: dark)").matches);
tell();
let resizing;
addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(draw, 150); });
addEventListener("beforeprint", () => { document.documentElement.dataset.theme = "light"; draw(); });
