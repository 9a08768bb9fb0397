// Curves of the ticked runs over each other.

import { LOOKS, empty, formatOf, h, undated } from "./dom.js";
import { Chart, zoomTo } from "./chart.js";
import { bandOf, changed as moved, scaled, smoothed } from "./lines.js";
import { focusOn, set, state } from "./store.js";

const NAMES = {
  loss: ["Loss", "Training (solid) falling while validation (dashed) rises means overfitting; both high means underfitting."],
  accuracy: ["Accuracy", "Share of examples that are right. A gap between solid and dashed is what the network knows by heart."],
  perplexity: ["Perplexity", "Among how many equally likely characters or words it still hesitates."],
  gradient_norm: ["Gradient norm", "Steady or slowly falling is healthy; spikes that grow announce divergence, a fall to nothing a dead network."],
  lr: ["Learning rate", "What the schedule made of optimizer.lr."],
  data_loss: ["Loss without penalty", ""],
  penalty: ["Penalty", "What weight decay and other penalties add to the loss."],
  examples_per_second: ["Speed", "Examples per second."],
};
const ORDER = ["loss", "accuracy", "perplexity", "mae", "r2", "gradient_norm", "lr", "data_loss", "penalty", "examples_per_second"];
const MOST_KEYS = 12; // entries of the key to the colours
const MOST_RAW = 6; // runs of which the unsmoothed curve is drawn, too

export function nameOf(key) {
  const [first, update] = key.split("/");
  const name = NAMES[first]?.[0] ?? first.replaceAll("_", " ");
  return [update ? `${name} of ${update}` : name[0].toUpperCase() + name.slice(1), NAMES[first]?.[1] ?? ""];
}

// The figures that any ticked run has, in the order in which they are looked at.
function keysOf(ids) {
  const keys = new Set();
  for (const id of ids) {
    const series = state.series.get(id);
    if (!series) continue;
    for (const [key, { mean }] of Object.entries(series.steps.figures)) if (!isDull(series, key, mean)) keys.add(key);
    for (const key of Object.keys(series.epochs.figures)) {
      const [split, ...rest] = key.split(" ");
      const name = rest.join(" ");
      if (rest.length && !(name in NAMES && isDull(series, name, series.epochs.figures[key].mean)) && (split === "validation" || !(name in series.steps.figures))) keys.add(name);
    }
  }
  const place = key => { const i = ORDER.indexOf(key.split("/")[0]); return i < 0 ? 4.5 : i; };
  return [...keys].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
}

// A penalty that is nothing, and a loss without it, say nothing.
function isDull(series, key, values) {
  const none = name => (series.steps.figures[name]?.mean ?? series.epochs.figures[`train ${name}`]?.mean ?? []).every(y => !y);
  if (key === "penalty") return values.every(y => !y);
  return key === "data_loss" && none("penalty");
}

// What a line of a run is called: its name, or that of the runs it is a mean of.
function nameIn(run) {
  if (!state.bands || !run.group) return undated(run.name);
  const settings = Object.entries(run.settings).map(([k, v]) => `${k.split(".").pop()} ${v}`).join(", ");
  const alone = new Set([...state.on.keys()].map(id => state.runs.get(id)?.group).filter(Boolean)).size === 1;
  return settings && alone ? settings : `${undated(run.group)}${settings ? `, ${settings}` : ""}`;
}

// The key to the colours; a click looks at the run.
function entries(ids) {
  const names = new Map();
  for (const id of ids) if (state.runs.has(id) && !names.has(nameIn(state.runs.get(id)))) names.set(nameIn(state.runs.get(id)), id);
  const shown = [...names].slice(0, MOST_KEYS).map(([name, id]) => h("button.name", { onclick: () => focusOn(id) },
    h("span.swatch", { style: { "--look": `var(--${LOOKS[state.on.get(id)]})` } }), ` ${name}`));
  if (names.size > MOST_KEYS) shown.push(h("span.muted", {}, `and ${names.size - MOST_KEYS} more`));
  return names.size ? [...shown, h("span.muted.kinds", {}, h("span.swatch", { style: { "--look": "var(--muted)" } }), " training ", h("span.swatch.dashed", { style: { "--look": "var(--muted)" } }), " validation")] : [];
}

export function linesOf(key) {
  const ids = [...state.on.keys()].filter(id => state.series.has(id));
  const lines = [], bands = [];
  const smooth = /^(lr|penalty)\b/.test(key) ? 0 : state.smooth; // a schedule is no noise
  const raw = ids.length <= MOST_RAW && smooth > 0 && !state.bands;
  const sets = new Map(); // of a group and setting, or of one run
  for (const id of ids) {
    const run = state.runs.get(id), series = state.series.get(id);
    if (!run) continue;
    const label = nameIn(run), name = state.bands && run.group ? label : id; // two runs may be called the same
    if (!sets.has(name)) sets.set(name, { label, look: LOOKS[state.on.get(id)], train: [], validation: [] });
    const at = place(series);
    const steps = series.steps.figures[key];
    const train = steps ? [series.steps.x, steps] : series.epochs.figures[`train ${key}`] ? [series.epochs.x, series.epochs.figures[`train ${key}`]] : null;
    const validation = series.epochs.figures[`validation ${key}`];
    if (train) sets.get(name).train.push({ xs: at(train[0]), ...train[1] });
    if (validation) sets.get(name).validation.push({ xs: at(series.epochs.x), ...validation });
  }
  for (const { label, look, train, validation } of sets.values()) {
    for (const [part, kind] of [[train, "line"], [validation, "dashed"]]) {
      if (!part.length) continue;
      const weight = kind === "line" ? smooth : 0;
      const said = sets.size * (train.length && validation.length ? 2 : 1) === 1 ? label : `${label}${kind === "dashed" ? ", validation" : ""}`;
      if (state.bands && part.length > 1) {
        const { xs, mean, low, high } = bandOf(part.map(({ xs, mean }) => ({ xs, ys: smoothed(mean, weight) })));
        bands.push([lines.length + 1, lines.length, look]);
        lines.push({ label: said, look, xs, ys: low, kind: "edge" }, { label: said, look, xs, ys: high, kind: "edge" },
          { label: said, look, xs, ys: mean, kind });
        continue;
      }
      for (const { xs, mean, low, high } of part) {
        if (kind === "line" && raw && high) {
          bands.push([lines.length + 1, lines.length, look]);
          lines.push({ label: said, look, xs, ys: low, kind: "edge" }, { label: said, look, xs, ys: high, kind: "edge" });
        } else if (kind === "line" && raw) lines.push({ label: said, look, xs, ys: mean, kind: "faint" });
        lines.push({ label: said, look, xs, ys: smoothed(mean, weight), kind });
      }
    }
  }
  return { lines, bands };
}

function place(series) {
  return state.x === "epoch" && series.per_epoch ? xs => scaled(xs, series.per_epoch) : xs => xs;
}

export function curvesView(root) {
  const known = new Map();
  const grid = h(".charts");
  const notes = h(".notes"), legend = h(".keys");
  root.append(h("h2.hidden", {}, "Curves"), controls(), notes, legend, grid);

  function show() {
    const ids = [...state.on.keys()];
    const keys = keysOf(ids);
    for (const [key, chart] of known) if (!keys.includes(key)) { chart.end(); chart.root.remove(); known.delete(key); }
    legend.replaceChildren(...entries(ids));
    const waiting = ids.some(id => !state.series.has(id));
    notes.replaceChildren(...(ids.length ? problems(ids) : [empty("No run is ticked", "Tick runs in the list to lay their curves over each other.")]),
      ...(ids.length && !keys.length ? [empty(waiting ? "Loading" : "No curves yet", waiting ? "The logs are being read." : "The runs that are ticked have logged no step yet.")] : []));
    keys.forEach((key, i) => {
      if (!known.has(key)) {
        const [title, hint] = nameOf(key);
        known.set(key, new Chart({ title, hint, height: 250 }));
      }
      const chart = known.get(key);
      if (grid.children[i] !== chart.root) grid.insertBefore(chart.root, grid.children[i] ?? null);
      const { lines, bands } = linesOf(key);
      chart.unit.textContent = state.log ? "log scale" : "";
      chart.show({ lines, bands, xName: state.x, format: formatOf(key), log: state.log && canBeLog(lines), logx: state.logx });
    });
  }

  show();
  return {
    changed: changes => { if (moved(changes, ["series", "on", "settings"])) show(); if (changes.has("zoom")) toggleReset(root); },
    end: () => known.forEach(chart => chart.end()),
  };
}

const canBeLog = lines => lines.some(({ ys }) => ys.some(y => y > 0));

function problems(ids) {
  return ids.map(id => state.series.get(id)?.problem && h("p.problem", {}, `${id}: ${state.series.get(id).problem}`)).filter(Boolean);
}

function toggleReset(root) { root.querySelector(".reset").hidden = !state.zoom; }

function controls() {
  const value = h("output", {}, state.smooth.toFixed(2));
  const choice = (name, key, title) => h("label.check", { title }, h("input", { type: "checkbox", checked: state[key], onchange: event => set({ [key]: event.target.checked }) }), name);
  return h(".controls", {},
    h("fieldset.choice", {}, h("legend.hidden", {}, "Horizontal axis"), ["step", "epoch"].map(x => h("label", {},
      h("input", { type: "radio", name: "x", value: x, checked: state.x === x, onchange: () => { zoomTo(null); set({ x }); } }), h("span", {}, x)))),
    h("label.range", { title: "Exponential moving average of the training curves; validation is never smoothed" }, "Smoothing ",
      h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: state.smooth, oninput: event => { value.textContent = Number(event.target.value).toFixed(2); set({ smooth: Number(event.target.value) }); } }), value),
    choice("log y", "log", "Logarithmic vertical axes"), choice("log x", "logx", "Logarithmic horizontal axes"),
    choice("mean ± sd", "bands", "Runs of a group that differ in their seed alone become one line with its spread"),
    h("button.reset", { hidden: !state.zoom, onclick: () => zoomTo(null) }, "Show all"),
    h("span.muted.help", {}, "Drag to zoom, double-click to show all."));
}

