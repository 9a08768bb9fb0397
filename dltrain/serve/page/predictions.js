// What the network answered on examples it was not trained on: who is taken for whom, how sure, and where it fails.

import { Chart } from "./chart.js";
import { empty, h, percent } from "./dom.js";
import { following } from "./focus.js";

export function predictionsView(root) {
  let charts = [];
  const clear = () => { charts.forEach(chart => chart.end()); charts = []; };

  function show(body, run) {
    clear();
    const parts = [confusion(run), classes(run), scatter(run), mistakes(run), calibration(run)].filter(Boolean);
    body.replaceChildren(...(parts.length ? [h("p.muted", {}, `On the ${run.split} examples, at the end of the training or by the last \`dltrain eval\`.`), h(".two.wide", {}, parts)]
      : [empty("No predictions yet", run.problem ?? "They are examined at the end of a training, and by `dltrain eval`.")]));
    charts.forEach(chart => chart.resize());
  }

  function scatter({ answers }) {
    if (!answers) return null;
    const xs = answers.targets.flat(9), ys = answers.outputs.flat(9);
    const order = xs.map((_, i) => i).sort((a, b) => xs[a] - xs[b]);
    const low = Math.min(...xs, ...ys), high = Math.max(...xs, ...ys);
    return plot({ title: "Outputs over targets", hint: "On the dashed line an output is exact." }, {
      lines: [{ label: "exact", look: "third", xs: [low, high], ys: [low, high], kind: "dashed" }, { label: "output", look: "first", xs: order.map(i => xs[i]), ys: order.map(i => ys[i]), kind: "points" }],
      xName: "target" });
  }

  function calibration({ calibration }) {
    if (!calibration?.length) return null;
    return plot({ title: "Calibration", unit: "accuracy over confidence", hint: "Below the dashed line the network is surer than it is right." }, {
      lines: [{ label: "perfect", look: "third", xs: [0, 1], ys: [0, 1], kind: "dashed" },
        { label: "network", look: "first", xs: calibration.map(row => row.confidence), ys: calibration.map(row => row.accuracy), kind: "line" }],
      xName: "confidence", xFormat: percent, format: percent, range: [0, 1] });
  }

  function plot(about, content) {
    const chart = new Chart({ ...about, zooms: false, height: 260 });
    charts.push(chart);
    chart.show(content);
    return chart.root;
  }

  const view = following(root, "run", show, "status");
  return { ...view, end: () => { view.end(); clear(); } };
}

function confusion({ confusion, split }) {
  if (!confusion) return null;
  const { names, rows, pairs } = confusion;
  const worst = h("ol.pairs", {}, pairs.map(([count, of, as, share]) => h("li", {}, h("b", {}, of), " taken for ", h("b", {}, as), h("span.muted", {}, ` ${count}×, ${percent(share)} of its class`))));
  const matrix = rows && h(".scroll", { tabIndex: 0, role: "region", "aria-label": "Confusion matrix" }, h("table.confusion", {},
    h("caption.hidden", {}, `Confusion on ${split}: rows are classes, columns predictions`),
    h("thead", {}, h("tr", {}, h("td", {}), names.map(name => h("th", { scope: "col" }, h("span", {}, name))))),
    h("tbody", {}, rows.map(([name, cells]) => h("tr", {}, h("th", { scope: "row" }, name), cells.map(([look, text, title]) => h(`td.${look}`, { title }, text)))))));
  return h("section", {}, h("h3", {}, "Confusion ", h("span.unit", {}, "rows: class, columns: predicted class")), matrix, pairs.length ? [h("h3.sub", {}, "Most frequent mistakes"), worst] : null);
}

function classes({ classes }) {
  if (!classes?.length) return null;
  return h("section", {}, h("h3", {}, "Classes ", h("span.unit", {}, "the worst first")), h(".scroll", { tabIndex: 0, role: "region", "aria-label": "Classes" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", {}, "class"), h("th.number", {}, "examples"), h("th.number", {}, "recall"), h("th", {}, h("span.hidden", {}, "recall as a bar")), h("th.number", {}, "precision"))),
    h("tbody", {}, classes.slice(0, 50).map(row => h("tr", {}, h("th", { scope: "row" }, row.class), h("td.number", {}, row.examples.toLocaleString("en")), h("td.number", {}, percent(row.recall)),
      h("td.share", {}, h("span.bar2", {}, h("i", { style: { width: `${100 * (row.recall ?? 0)}%` } }))), h("td.number", {}, percent(row.precision))))))));
}

function mistakes({ mistakes }) {
  if (!mistakes?.length) return null;
  return h("section.all", {}, h("h3", {}, "Most confident mistakes"), h(".mistakes", {}, mistakes.map(row => h("figure", {},
    h("img", { src: row.picture, alt: `${row.class}, predicted ${row.taken_for}`, loading: "lazy" }),
    h("figcaption", {}, h("b", {}, row.class), " → ", h("b", {}, row.taken_for), h("span.muted", {}, `${percent(row.confidence)} sure`))))));
}

