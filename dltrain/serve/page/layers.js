// The layers of a run over its epochs.

import { empty, formatOf, h, percent, short } from "./dom.js";
import { following } from "./focus.js";
import { heatMap, ramp } from "./heat.js";

const STEPS = [0, 0.25, 0.5, 0.75, 1];
const rising = look => STEPS.map(share => [look, share]);
const around = [["first", 1], ["first", 0.5], ["first", 0], ["second", 0.5], ["second", 1]];

// An update of a thousandth of the weights is usual (A. Karpathy, CS231n notes); a hundred times less or more is not.
const aroundThousandth = value => {
  if (!(value > 0)) return [1, "first"];
  const decades = Math.log10(value / 1e-3);
  return [Math.min(1, Math.max(0, Math.abs(decades) - 0.3) / 1.7), decades < 0 ? "first" : "second"];
};
const logBetween = (values, look) => {
  const known = values.flat().filter(v => v > 0);
  const low = Math.log10(Math.min(...known)), high = Math.log10(Math.max(...known));
  return value => [value > 0 ? (high > low ? 0.08 + 0.92 * (Math.log10(value) - low) / (high - low) : 0.5) : 0, look];
};
const ends = values => { const known = values.flat().filter(v => v > 0); return [short(Math.min(...known), 2), short(Math.max(...known), 2)]; };

const MAPS = [
  ["dead_share", "Dead units", "Share of a ReLU layer’s units that were zero for every example of the epoch. A dead unit gets no gradient and stays dead.",
    () => value => [value < 0.005 ? 0 : 0.12 + 0.88 * value, "bad"], () => ramp("none", "all", rising("bad"))],
  ["update_ratio", "Update-to-weight ratio", "‖Δw‖ / ‖w‖ of a step. Around 1e−3 is usual; blue layers hardly learn, orange ones are thrown about.",
    () => aroundThousandth, () => ramp("1e−5", "0.1", around)],
  ["gradient_norm", "Gradient norm", "Pale towards the input: gradients vanish on their way back. Dark there: they explode.",
    values => logBetween(values, "d4"), values => ramp(...ends(values), rising("d4"))],
  ["activation_std", "Spread of activations", "Standard deviation of a layer’s outputs. It should neither die out nor blow up from the first layer to the last.",
    values => logBetween(values, "d0"), values => ramp(...ends(values), rising("d0"))],
  ["saturated_share", "Saturated units", "Share of sigmoid or tanh outputs at the ends of their range, where almost no gradient passes.",
    () => value => [value < 0.005 ? 0 : 0.12 + 0.88 * value, "warn"], () => ramp("none", "all", rising("warn"))],
  ["weight_norm", "Weight norm", "Steady growth without an end is a reason for weight decay.",
    values => logBetween(values, "good"), values => ramp(...ends(values), rising("good"))],
];

export function layersView(root) {
  let maps = [];
  const clear = () => { maps.forEach(map => map.end()); maps = []; };

  function show(body, { layers }) {
    clear();
    if (!layers.length) { body.replaceChildren(empty("No layers yet", "They are recorded at the end of every epoch.")); return; }
    const grid = h(".charts.maps");
    body.replaceChildren(grid, table(layers));
    const xs = layers.reduce((a, b) => (b.x.length > a.x.length ? b : a)).x;
    for (const [key, title, hint, scaleOf, legend] of MAPS) {
      const there = layers.filter(layer => layer.figures[key]?.mean.some(v => v !== null));
      if (!there.length) continue;
      const values = there.map(layer => layer.figures[key].mean);
      if (!["dead_share", "saturated_share"].includes(key) && !values.flat().some(v => v > 0)) continue;
      const map = heatMap({ title, hint, xs, values, rows: there.map(layer => layer.name), scale: scaleOf(values), format: formatOf(key), legend: () => legend(values) });
      maps.push(map);
      grid.append(map.root);
    }
  }

  const view = following(root, "layers", show, "logs");
  return { ...view, end: () => { view.end(); clear(); } };
}

function table(layers) {
  const last = (layer, key) => layer.figures[key]?.mean.at(-1) ?? null;
  const columns = [["dead units", "dead_share", percent], ["gradient norm", "gradient_norm", short], ["update ratio", "update_ratio", short],
    ["mean", "activation_mean", short], ["sd", "activation_std", short], ["weight norm", "weight_norm", short]];
  const worrying = (key, value) => (key === "dead_share" && value >= 0.25) || (key === "update_ratio" && value !== null && (value < 3e-5 || value > 3e-2));
  return h("section", {}, h("h3", {}, "In the last epoch"),
    h(".scroll", { tabIndex: 0, role: "region", "aria-label": "Layers in the last epoch" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "layer"), h("th", {}, "type"), h("th.number", {}, "units"), columns.map(([name]) => h("th.number", {}, name)))),
      h("tbody", {}, layers.map(layer => h("tr", {}, h("th", { scope: "row" }, layer.name),
        h("td.muted", {}, [layer.type, layer.activation].filter(Boolean).join(", ")), h("td.number", {}, layer.units ?? ""),
        columns.map(([, key, format]) => h(`td.number${worrying(key, last(layer, key)) ? ".worrying" : ""}`, {}, last(layer, key) === null ? "" : format(last(layer, key), 3)))))))));
}
