// A chart of lines over numbers: uPlot draws, all charts share cursor and zoom, and the keyboard does what a mouse does.

import { colour, h, logTicks, short } from "./dom.js";
import { joined } from "./lines.js";
import { state, tell } from "./store.js";

const FONT = '11px ui-sans-serif, system-ui, "Segoe UI", Inter, Roboto, "Noto Sans", Helvetica, Arial, sans-serif';
const MOST_TOLD = 12; // lines in the box beside the cursor
export const charts = new Set();

export function zoomTo(range) {
  state.zoom = range;
  for (const chart of charts) if (chart.zooms) chart.applyZoom();
  tell("zoom");
}

export class Chart {
  // zooms: whether it shares the horizontal axis with others.
  constructor({ title, unit = "", hint = "", height = 240, zooms = true }) {
    this.zooms = zooms;
    this.height = height;
    this.box = h(".plot", { tabIndex: 0, role: "group", "aria-label": `${title}. Arrow keys read values, + and − zoom, Escape shows all.` });
    this.told = h(".told", { hidden: true, "aria-live": "polite" });
    this.large = h("button.quiet.enlarge", { "aria-pressed": "false", title: "Large", onclick: () => this.enlarge() }, "⤢");
    this.large.setAttribute("aria-label", `Enlarge ${title}`);
    this.unit = h("span.unit", {}, unit);
    this.root = h("figure.chart", {}, h("figcaption", {}, h("h3", {}, title, " ", this.unit), this.large), this.box, this.told,
      hint && h("p.hint", {}, hint));
    this.box.addEventListener("keydown", event => this.key(event));
    this.box.addEventListener("blur", () => { this.told.hidden = true; });
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.box);
    this.visible = false; // a chart out of sight is drawn when it comes into it
    this.sight = new IntersectionObserver(entries => { this.visible = entries.at(-1).isIntersecting; if (this.visible) this.draw(); }, { rootMargin: "150px" });
    this.sight.observe(this.root);
    charts.add(this);
  }

  end() {
    charts.delete(this);
    this.observer.disconnect();
    this.sight.disconnect();
    this.plot?.destroy();
  }

  enlarge() {
    const on = this.root.classList.toggle("large");
    this.large.setAttribute("aria-pressed", String(on));
    this.resize();
  }

  resize() {
    const width = this.box.clientWidth;
    if (this.plot && width) this.plot.setSize({ width, height: this.tall() });
  }

  tall() { return this.root.classList.contains("large") ? Math.max(360, Math.min(560, innerHeight - 260)) : this.height; }

  // lines: [{label, look, xs, ys, kind}] where kind is line, dashed, faint, points or edge; bands: [[high, low, look]] by
  // the numbers of lines.
  show(content) {
    this.due = content;
    if (this.visible) this.draw();
  }

  draw() {
    if (!this.due) return;
    const content = this.due;
    this.due = null;
    this.render(content);
  }

  render({ lines, bands = [], xName = "step", xFormat = short, format = short, log = false, logx = false, range = null }) {
    this.lines = lines;
    this.format = format;
    this.xFormat = xFormat;
    this.xName = xName;
    const data = !lines.length ? [[]] : joined(lines.map(({ xs, ys }) => [xs, log ? ys.map(y => (y > 0 ? y : null)) : ys]));
    const shape = JSON.stringify([lines.map(({ label, look, kind }) => [label, look, kind]), bands, xName, log, logx, range]);
    if (this.plot && shape === this.shape) {
      this.plot.setData(data, !(this.zooms && state.zoom));
      if (this.zooms && state.zoom) this.applyZoom();
      return;
    }
    this.shape = shape;
    this.plot?.destroy();
    this.plot = new uPlot(this.options(bands, log, logx, range), data, this.box);
    if (this.zooms && state.zoom) this.applyZoom();
  }

  options(bands, log, logx, range) {
    const muted = colour("muted"), rule = colour("rule");
    const axis = { stroke: muted, font: FONT, ticks: { show: false }, grid: { stroke: rule, width: 1 }, gap: 6 };
    const logAxis = { splits: (u, i, low, high) => logTicks(low, high), filter: (u, splits) => splits };
    const logScale = { distr: 3, range: (u, low, high) => low > 0 ? [low * 0.9, high * 1.1] : [0.1, 1] };
    return {
      width: this.box.clientWidth || 320, height: this.tall(), padding: [10, 20, 0, 0], legend: { show: false },
      scales: {
        x: { time: false, ...(logx ? { distr: 3 } : {}) },
        y: log ? logScale : range ? { range } : { range: (u, low, high) => padded(low, high) },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 28, space: 64, values: (u, ticks) => ticks.map(tick => this.xFormat(tick)), ...(logx ? logAxis : {}) },
        { ...axis, size: 54, space: 36, values: (u, ticks) => ticks.map(tick => this.format(tick).replace(/(\.0)? %/, " %")), ...(log ? logAxis : {}) },
      ],
      series: [{}, ...this.lines.map(({ look, kind }) => style(look, kind))],
      bands: bands.map(([high, low, look]) => ({ series: [high + 1, low + 1], fill: faded(colour(look), 0.16) })),
      cursor: {
        sync: { key: this.zooms ? "runs" : `own${Math.random()}`, scales: ["x", null] }, drag: { x: true, y: false, setScale: false, dist: 6 },
        points: { size: 6, fill: (u, i) => colour(this.lines[i - 1].look), width: 0 },
        dataIdx: (u, series, index) => nearest(u.data[series], index),
        bind: { dblclick: () => () => { zoomTo(null); return null; } },
      },
      hooks: {
        setCursor: [u => this.tell(u)],
        setSelect: [u => {
          if (u.select.width < 6) return;
          const range = [u.posToVal(u.select.left, "x"), u.posToVal(u.select.left + u.select.width, "x")];
          u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
          if (this.zooms) zoomTo(range);
        }],
      },
    };
  }

  applyZoom() {
    if (!this.plot?.data[0]?.length) return;
    const xs = this.plot.data[0];
    const [min, max] = state.zoom ?? [xs[0], xs[xs.length - 1]];
    this.plot.setScale("x", { min, max });
  }

  // The values at the cursor, the largest first, in a box beside it.
  tell(u) {
    const { left, top, idx } = u.cursor;
    const own = this.box.matches(":hover") || this.box === document.activeElement;
    if (!own || left < 0 || idx === null || idx === undefined) { this.told.hidden = true; return; }
    const x = u.posToVal(left, "x");
    const rows = this.lines.map((line, i) => ({ ...line, y: u.data[i + 1][u.cursor.idxs[i + 1] ?? -1] }))
      .filter(({ y, kind }) => y !== null && y !== undefined && kind !== "edge" && kind !== "faint");
    const pointed = u.posToVal(top, "y");
    const near = rows.reduce((a, b) => (!a || Math.abs(b.y - pointed) < Math.abs(a.y - pointed) ? b : a), null);
    const told = rows.sort((a, b) => b.y - a.y).slice(0, MOST_TOLD);
    this.told.replaceChildren(
      h("b", {}, `${this.xName} ${this.xFormat(u.data[0][idx] ?? x)}`),
      h("table", {}, told.map(row => h(`tr${row === near && rows.length > 1 ? ".near" : ""}`, {},
        h("td", {}, h(`span.swatch.${row.kind}`, { style: { "--look": `var(--${row.look})` } })), h("td", {}, row.label), h("td.number", {}, this.format(row.y, 5))))),
      rows.length > told.length ? h("p", {}, `and ${rows.length - told.length} more`) : "");
    this.told.hidden = false;
    const over = u.over.getBoundingClientRect(), root = this.root.getBoundingClientRect();
    const wide = this.told.offsetWidth;
    const at = over.left - root.left + left;
    const place = at + 14 + wide > root.width ? Math.max(0, at - 14 - wide) : at + 14;
    this.told.style.setProperty("left", `${place}px`);
    this.told.style.setProperty("top", `${over.top - root.top + 8}px`);
  }

  key(event) {
    const u = this.plot;
    if (!u?.data[0].length) return;
    const xs = u.data[0], { min, max } = u.scales.x;
    const shown = xs.map((x, i) => i).filter(i => xs[i] >= min && xs[i] <= max);
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      const stride = Math.max(1, Math.floor(shown.length / 100)) * (event.shiftKey ? 10 : 1) * (event.key === "ArrowRight" ? 1 : -1);
      const at = u.cursor.idx === null || u.cursor.idx === undefined || u.cursor.left < 0 ? shown[stride > 0 ? 0 : shown.length - 1] : Math.min(shown.at(-1), Math.max(shown[0], u.cursor.idx + stride));
      u.setCursor({ left: u.valToPos(xs[at], "x"), top: u.over.clientHeight / 2 });
    } else if ((event.key === "+" || event.key === "-" || event.key === "−") && this.zooms) {
      const middle = u.cursor.left >= 0 ? u.posToVal(u.cursor.left, "x") : (min + max) / 2;
      const factor = event.key === "+" ? 0.5 : 2;
      const range = [Math.max(xs[0], middle - (middle - min) * factor), Math.min(xs.at(-1), middle + (max - middle) * factor)];
      zoomTo(range[0] <= xs[0] && range[1] >= xs.at(-1) ? null : range);
    } else if (event.key === "Escape") {
      this.told.hidden = true;
      zoomTo(null);
    } else return;
    event.preventDefault();
  }
}

function padded(low, high) {
  if (low === null || low === undefined) return [0, 1];
  const flat = high - low <= 1e-6 * Math.abs(high);
  const space = flat ? Math.abs(high) * 0.5 || 1 : (high - low) * 0.06;
  return [low >= 0 && low - space < 0 ? 0 : low - space, high + space];
}

function style(look, kind) {
  const stroke = colour(look);
  if (kind === "edge") return { stroke: faded(stroke, 0.35), width: 0.5, points: { show: false }, spanGaps: true };
  if (kind === "faint") return { stroke: faded(stroke, 0.28), width: 1, points: { show: false }, spanGaps: true };
  if (kind === "points") return { stroke, paths: () => null, points: { show: true, size: 5, fill: faded(stroke, 0.6), width: 0 } };
  return { stroke, width: 1.75, dash: kind === "dashed" ? [5, 4] : [], spanGaps: true,
    points: { show: kind === "dashed" ? (u, i) => u.data[i].filter(y => y !== null && y !== undefined).length < 40 : (u, i) => u.data[i].filter(y => y !== null && y !== undefined).length < 2, size: 5, fill: stroke, width: 0 } };
}

export function faded(hex, share) {
  const [r, g, b] = [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
  return `rgb(${r} ${g} ${b} / ${share})`;
}

function nearest(values, index) {
  if (values[index] !== null && values[index] !== undefined) return index;
  for (let d = 1; d < values.length; d++) {
    for (const i of [index - d, index + d]) if (values[i] !== null && values[i] !== undefined) return i;
  }
  return index;
}
