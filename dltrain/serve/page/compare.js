// Runs by what differs in their configs: parallel coordinates, and the same as a table.

import { HIGHER, empty, formatOf, h, plural, short, undated } from "./dom.js";
import { ask, focusOn, state } from "./store.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 320, TOP = 46, BOTTOM = 22;
const MOST_AXES = 8, MOST_ROWS = 200;
const svg = (tag, attributes, ...children) => {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

export function compareView(root) {
  const which = h("select", { "aria-label": "Which runs" }), figure = h("select", { "aria-label": "Which figure" });
  const reset = h("button", { hidden: true, onclick: () => { brushes.clear(); draw(); } }, "Show all");
  const said = h("span.muted", { role: "status" });
  const chart = h(".parallel.scroll", { tabIndex: 0, role: "region", "aria-label": "Parallel coordinates; the table below has the same values" });
  const table = h(".scroll", { tabIndex: 0, role: "region", "aria-label": "Runs and their settings" });
  root.append(h(".controls", {}, h("label", {}, "Runs ", which), h("label", {}, "by ", figure), reset, said, h("span.muted.help", {}, "Drag along an axis to keep the runs within.")), chart, table);
  const brushes = new Map(); // axis -> [low, high] in pixels
  let rows = [], axes = [], hovered = null, sort = null, asked = 0;
  const observer = new ResizeObserver(() => draw());
  observer.observe(chart);

  function choices() {
    const groups = [...new Set([...state.runs.values()].map(run => run.group).filter(Boolean))];
    const before = which.value;
    which.replaceChildren(h("option", { value: "on" }, `ticked (${state.on.size})`), ...groups.map(group => h("option", { value: `g:${group}` }, undated(group))));
    const own = state.runs.get(state.focus)?.group;
    which.value = [...which.options].some(option => option.value === before) ? before : own ? `g:${own}` : "on";
  }

  async function refresh() {
    choices();
    const number = ++asked;
    const chosen = which.value === "on" ? [...state.on.keys()] : [...state.runs.values()].filter(run => `g:${run.group}` === which.value).map(run => run.id);
    const runs = chosen.map(id => state.runs.get(id)).filter(Boolean);
    let settings = Object.fromEntries(runs.map(run => [run.id, run.settings]));
    if (which.value === "on" && runs.length > 1) {
      try { settings = (await ask("differing", { on: chosen })).settings; } catch { /* the rows have what is known */ }
    }
    if (number !== asked) return;
    const figures = [...new Set(runs.flatMap(run => ["validation", "test", "train"].flatMap(split => Object.keys(run[split] ?? {}).map(key => `${split} ${key}`))))];
    const before = figure.value;
    figure.replaceChildren(...figures.map(name => h("option", { value: name }, name)));
    figure.value = figures.includes(before) ? before : figures.find(name => name === "validation accuracy") ?? figures[0] ?? "";
    rows = runs.map(run => ({ run, settings: settings[run.id] ?? {}, value: valueOf(run, figure.value) }));
    const keys = [...new Set(rows.flatMap(row => Object.keys(row.settings)))].slice(0, MOST_AXES);
    axes = [...keys.map(key => axis(key, rows.map(row => row.settings[key]))), axis(figure.value, rows.map(row => row.value), true)];
    draw();
  }

  const valueOf = (run, name) => { const [split, ...rest] = name.split(" "); return run[split]?.[rest.join(" ")] ?? null; };
  const isKept = row => axes.every((a, i) => { const brush = brushes.get(i); const y = a.place(i === axes.length - 1 ? row.value : row.settings[a.name]); return !brush || (y !== null && y >= brush[0] && y <= brush[1]); });

  function draw() {
    const width = Math.max(chart.clientWidth - 2, axes.length * 110);
    if (rows.length < 2 || width < 40) {
      chart.replaceChildren(empty("Nothing to compare", "Tick several runs, or choose a group."));
      table.replaceChildren();
      return;
    }
    const space = axes.length > 1 ? (width - 160) / (axes.length - 1) : 0;
    const x = i => 80 + i * space;
    const kept = rows.filter(isKept);
    const ranked = rows.filter(row => row.value !== null).sort((a, b) => HIGHER(figure.value) ? b.value - a.value : a.value - b.value);
    const share = row => ranked.length > 1 ? 1 - ranked.indexOf(row) / (ranked.length - 1) : 1;
    const picture = svg("svg", { width, height: HEIGHT, role: "img", "aria-label": `${plural(rows.length, "run")} over ${axes.map(a => a.name).join(", ")}` });
    for (const row of [...rows].sort((a, b) => share(a) - share(b))) {
      const points = axes.map((a, i) => [x(i), a.place(i === axes.length - 1 ? row.value : row.settings[a.name])]).filter(([, y]) => y !== null);
      if (points.length < 2) continue;
      const on = kept.includes(row);
      const path = svg("path", { d: curve(points), class: `strand${on ? "" : " out"}${hovered === row.run.id ? " near" : ""}` });
      path.style.setProperty("stroke", row.value === null ? "var(--muted)" : `color-mix(in oklab, var(--second) ${Math.round(100 * share(row))}%, var(--faint))`);
      path.addEventListener("pointerenter", () => { hover(row.run.id); });
      path.addEventListener("click", () => focusOn(row.run.id));
      path.append(svg("title", {}, `${undated(row.run.name)}: ${figure.value} ${formatOf(figure.value)(row.value)}`));
      picture.append(path);
    }
    axes.forEach((a, i) => {
      const g = svg("g", { transform: `translate(${x(i)},0)` });
      g.append(svg("line", { y1: TOP, y2: HEIGHT - BOTTOM, class: "axis" }));
      const name = svg("text", { y: 18, "text-anchor": i === 0 ? "start" : i === axes.length - 1 ? "end" : "middle", x: i === 0 ? -70 : i === axes.length - 1 ? 78 : 0, class: "name" }, a.name.length > 24 ? `…${a.name.slice(-23)}` : a.name);
      name.append(svg("title", {}, a.name));
      g.append(name);
      for (const [label, y] of a.ticks) g.append(svg("line", { x1: -3, x2: 3, y1: y, y2: y, class: "axis" }), svg("text", { x: i === 0 ? -8 : 8, y: y + 4, "text-anchor": i === 0 ? "end" : "start" }, label.length > 14 ? `${label.slice(0, 13)}…` : label));
      if (brushes.has(i)) { const [low, high] = brushes.get(i); g.append(svg("rect", { x: -9, width: 18, y: low, height: high - low, class: "brush" })); }
      const grip = svg("rect", { x: -14, width: 28, y: TOP - 8, height: HEIGHT - TOP - BOTTOM + 16, class: "grip" });
      grip.addEventListener("pointerdown", event => brush(event, i, grip));
      g.append(grip);
      picture.append(g);
    });
    chart.replaceChildren(picture);
    reset.hidden = !brushes.size;
    said.textContent = brushes.size ? `${kept.length} of ${plural(rows.length, "run")}` : "";
    listing(kept, ranked[0]);
  }

  function hover(id) {
    hovered = id;
    for (const path of chart.querySelectorAll(".strand")) path.classList.remove("near");
    draw();
  }

  function brush(event, i, grip) {
    event.preventDefault();
    const box = chart.querySelector("svg").getBoundingClientRect();
    const start = event.clientY - box.top;
    const move = e => {
      const y = Math.min(HEIGHT - BOTTOM + 6, Math.max(TOP - 6, e.clientY - box.top));
      if (Math.abs(y - start) > 4) brushes.set(i, [Math.min(start, y), Math.max(start, y)]); else brushes.delete(i);
      draw();
    };
    const stop = () => { removeEventListener("pointermove", move); removeEventListener("pointerup", stop); };
    addEventListener("pointermove", move);
    addEventListener("pointerup", stop);
    grip.releasePointerCapture?.(event.pointerId);
  }

  function listing(kept, best) {
    const names = [...axes.map(a => a.name)];
    const of = (row, i) => i < 0 ? undated(row.run.name) : i === axes.length - 1 ? row.value : row.settings[names[i]] ?? "";
    const [column, sign] = sort ?? [axes.length - 1, HIGHER(figure.value) ? -1 : 1];
    const number = v => (v === null || v === "" ? NaN : Number(v));
    const sorted = [...kept].sort((a, b) => {
      const [p, q] = [of(a, column), of(b, column)];
      if (!Number.isNaN(number(p)) && !Number.isNaN(number(q))) return sign * (number(p) - number(q));
      return Number.isNaN(number(p)) && !Number.isNaN(number(q)) ? 1 : sign * String(p ?? "").localeCompare(String(q ?? ""));
    });
    const head = (name, i) => h(`th${i === axes.length - 1 ? ".number" : ""}`, { "aria-sort": column === i ? (sign > 0 ? "ascending" : "descending") : "none" },
      h("button.name", { onclick: () => { sort = [i, column === i ? -sign : 1]; draw(); } }, name, column === i ? (sign > 0 ? " ↑" : " ↓") : ""));
    table.replaceChildren(h("table", {}, h("thead", {}, h("tr", {}, head("run", -1), names.map((name, i) => head(name, i)))),
      h("tbody", {}, sorted.slice(0, MOST_ROWS).map(row => h(`tr${row.run.id === hovered ? ".near" : ""}`, { onpointerenter: () => { if (hovered !== row.run.id) { hovered = row.run.id; for (const path of chart.querySelectorAll(".strand.near")) path.classList.remove("near"); } } },
        h("th", { scope: "row" }, h("button.name", { onclick: () => focusOn(row.run.id) }, undated(row.run.name))),
        names.slice(0, -1).map(name => h("td", {}, row.settings[name] ?? "")),
        h(`td.number${row === best ? ".best" : ""}`, {}, row.value === null ? row.run.status : formatOf(figure.value)(row.value), row === best && rows.length > 1 ? h("span.hidden", {}, " best") : null))))),
    sorted.length > MOST_ROWS ? h("p.muted", {}, `and ${sorted.length - MOST_ROWS} more`) : "");
  }

  which.addEventListener("change", () => { brushes.clear(); refresh(); });
  figure.addEventListener("change", () => { brushes.clear(); refresh(); });
  refresh();
  return { changed: changes => { if (changes.has("on") || changes.has("runs")) refresh(); }, end: () => { asked = -1; observer.disconnect(); } };
}

const curve = points => points.map(([px, py], i) => {
  if (i === 0) return `M${px} ${py}`;
  const [x0, y0] = points[i - 1], middle = (x0 + px) / 2;
  return `C${middle} ${y0} ${middle} ${py} ${px} ${py}`;
}).join("");

// Numbers on a line, from low to high, by their logarithm where they span decades; words one under the other.
function axis(name, values, isFigure = false) {
  const low = TOP, high = HEIGHT - BOTTOM;
  const known = values.filter(v => v !== null && v !== undefined && v !== "");
  const numbers = known.map(Number);
  if (known.length && numbers.every(v => !Number.isNaN(v))) {
    const min = Math.min(...numbers), max = Math.max(...numbers);
    const log = !isFigure && min > 0 && max / min > 20;
    const at = v => (log ? Math.log(v) : v);
    const place = v => v === null || v === undefined || v === "" ? null : max === min ? (low + high) / 2 : high - (at(Number(v)) - at(min)) / (at(max) - at(min)) * (high - low);
    const own = [...new Set(numbers)].sort((a, b) => a - b);
    const shown = own.length <= 6 && !isFigure ? own : [0, 0.25, 0.5, 0.75, 1].map(share => log ? Math.exp(at(min) + share * (at(max) - at(min))) : min + share * (max - min));
    const format = isFigure ? formatOf(name) : v => short(v, own.length <= 6 ? 4 : 2);
    return { name, place, ticks: (max === min ? [min] : shown).map(v => [format(v), place(v)]) };
  }
  const words = [...new Set(known.map(String))].sort();
  const place = v => v === null || v === undefined || v === "" ? null : words.length < 2 ? (low + high) / 2 : low + words.indexOf(String(v)) / (words.length - 1) * (high - low);
  return { name, place, ticks: words.slice(0, 14).map(word => [word, place(word)]) };
}
