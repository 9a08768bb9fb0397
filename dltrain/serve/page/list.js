// The list of runs: filter, sort, group, tick.

import { $, HIGHER, formatOf, h, plural, short, undated, when } from "./dom.js";
import { focusOn, listen, state, tickMany } from "./store.js";

const PAGE = 150; // rows that are made at once
const SORTS = {
  newest: ["newest", run => run.started ?? run.name, -1], name: ["name", run => undated(run.name).toLowerCase(), 1],
  status: ["status", run => run.status ?? "", 1], epochs: ["epochs", run => run.epochs ?? -1, -1],
};
let shown = PAGE;
const closed = new Set();

export function startList() {
  $("filter").addEventListener("input", () => { shown = PAGE; show(); });
  $("sort").addEventListener("change", show);
  $("group").addEventListener("change", show);
  listen((what, changed) => {
    if (what === "runs") schedule(changed);
    if (what === "on" || what === "focus") mark();
  });
}

let due = null;
function schedule(changed) {
  const known = changed && [...changed].every(id => document.getElementById(rowId(id)));
  if (known) { for (const id of changed) document.getElementById(rowId(id)).replaceWith(row(state.runs.get(id))); return; }
  due ??= requestAnimationFrame(() => { due = null; show(); });
}

const rowId = id => `run:${id}`;

function figureKeys() {
  const keys = new Set();
  for (const run of state.runs.values()) for (const key of Object.keys(run.validation ?? {})) keys.add(key);
  return [...keys].slice(0, 12);
}

// What a run is known by in the list: its accuracy where it has one, or else its loss.
export function keyFigure(run) {
  for (const split of ["validation", "test", "train"])
    for (const key of ["accuracy", "r2", "loss"]) if (run[split]?.[key] !== undefined) return [`${split} ${key}`, run[split][key]];
  return run.loss === undefined ? null : ["loss", run.loss];
}

function matches(run, words) {
  const settings = Object.entries(run.settings ?? {}).map(([key, value]) => `${key}=${value}`);
  const text = [run.id, run.status, run.note, ...run.tags, ...settings].join("\n").toLowerCase();
  return words.every(word => (word.startsWith("-") && word.length > 1 ? !text.includes(word.slice(1)) : text.includes(word)));
}

function sortOptions() {
  const keys = [...Object.entries(SORTS).map(([key, [name]]) => [key, name]), ...figureKeys().map(key => [`validation ${key}`, `validation ${key}`])];
  if ($("sort").options.length === keys.length) return;
  const before = $("sort").value || "newest";
  $("sort").replaceChildren(...keys.map(([value, name]) => h("option", { value }, name)));
  $("sort").value = before;
}

function ordered(runs) {
  const wanted = $("sort").value;
  if (wanted in SORTS) {
    const [, of, sign] = SORTS[wanted];
    return runs.sort((a, b) => sign * (of(a) < of(b) ? -1 : of(a) > of(b) ? 1 : a.id < b.id ? -1 : 1));
  }
  const key = wanted.replace("validation ", "");
  const worst = HIGHER(key) ? -Infinity : Infinity;
  const of = run => run.validation?.[key] ?? worst;
  return runs.sort((a, b) => (HIGHER(key) ? of(b) - of(a) : of(a) - of(b)) || 0);
}

const GROUPS = {
  group: run => run.group, status: run => run.status, tag: run => run.tags[0] ?? "no tag", none: () => null,
};

function show() {
  sortOptions();
  const words = $("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = ordered([...state.runs.values()].filter(run => matches(run, words)));
  const groups = new Map();
  for (const run of found) {
    const name = GROUPS[$("group").value](run);
    const key = name ?? `\0${run.id}`; // a run that is in no group stands for itself
    if (!groups.has(key)) groups.set(key, { name, runs: [] });
    groups.get(key).runs.push(run);
  }
  const ids = new Set(found.map(run => run.id));
  const hidden = [...state.on.keys()].filter(id => !ids.has(id)).length;
  $("count").textContent = `${found.length === state.runs.size ? plural(found.length, "run") : `${found.length} of ${plural(state.runs.size, "run")}`}` +
    (hidden ? `; ${hidden} shown in the charts do not match` : "");
  const parts = [];
  let made = 0;
  for (const { name, runs } of groups.values()) {
    if (made >= shown) break;
    if (name !== null) parts.push(groupHead(name, runs));
    if (name !== null && closed.has(name)) continue;
    const rows = runs.slice(0, shown - made);
    made += rows.length;
    parts.push(h(`ul${name === null ? "" : ".inside"}`, {}, rows.map(row)));
  }
  if (made >= shown && found.length > made)
    parts.push(h("button.more", { onclick: () => { shown += 5 * PAGE; show(); } }, `Show more of ${plural(found.length, "run")}`));
  $("list").replaceChildren(...parts);
  if (!performance.getEntriesByName("listed").length) $("list").querySelector(".focus")?.scrollIntoView({ block: "center" });
  performance.mark("listed");
}

function groupHead(name, runs) {
  const ids = runs.map(run => run.id);
  const on = ids.filter(id => state.on.has(id)).length;
  const box = h("input", { type: "checkbox", checked: on === ids.length, "aria-label": `Show all of ${name}`,
    onchange: event => tickMany(ids, event.target.checked) });
  box.indeterminate = on > 0 && on < ids.length;
  const figures = runs.map(keyFigure).filter(Boolean);
  const same = figures.length > 1 && figures.every(([key]) => key === figures[0][0]);
  const mean = same ? figures.reduce((sum, [, v]) => sum + v, 0) / figures.length : 0;
  const sd = same ? Math.sqrt(figures.reduce((sum, [, v]) => sum + (v - mean) ** 2, 0) / (figures.length - 1)) : 0;
  const format = same ? formatOf(figures[0][0]) : short;
  return h(".grouphead", { "data-group": name },
    h("label.tick", {}, box),
    h("button.name", { "aria-expanded": String(!closed.has(name)), onclick: () => { closed.has(name) ? closed.delete(name) : closed.add(name); show(); } },
      undated(name), h("span.muted", {}, ` ${runs.length}`)),
    same && h("span.figure", { title: `mean ± sd of ${figures.length} runs: ${figures[0][0]}` }, `${format(mean).replace(" %", "")} ± ${format(sd)}`));
}

function row(run) {
  const figure = keyFigure(run);
  const settings = Object.entries(run.settings ?? {}).map(([key, value]) => `${key.split(".").pop()} ${value}`);
  const about = [...settings, run.smoke && "smoke", run.epochs !== undefined && plural(run.epochs, "epoch"), when(run.started)].filter(Boolean);
  const item = h("li.run", { id: rowId(run.id), "data-id": run.id },
    h("label.tick", {}, h("input", { type: "checkbox", "aria-label": `Show ${run.id} in the charts`,
      onchange: event => tickMany([run.id], event.target.checked) })),
    h("button.name", { title: run.problem ?? run.id, onclick: () => focusOn(run.id) },
      h("span.title", {}, undated(run.name)),
      h("span.about", {}, about.join(" · ")),
      run.tags.length ? h("span.tags", {}, run.tags.map(tag => h("span.tag", {}, tag))) : null),
    h("span.result", {},
      figure && h("span.figure", { title: figure[0] }, formatOf(figure[0])(figure[1])),
      h(`span.status.${run.status}`, {}, run.problem ? "damaged" : run.status)),
  );
  paint(item);
  return item;
}

// Ticks, colours and which run is looked at, without making rows anew.
function mark() {
  for (const item of document.querySelectorAll("#list .run")) paint(item);
  for (const head of document.querySelectorAll("#list .grouphead")) {
    const ids = [...head.nextElementSibling?.matches?.("ul") ? head.nextElementSibling.children : []].map(item => item.dataset.id);
    const on = ids.filter(id => state.on.has(id)).length;
    const box = head.querySelector("input");
    box.checked = ids.length > 0 && on === ids.length;
    box.indeterminate = on > 0 && on < ids.length;
  }
}

function paint(item) {
  const look = state.on.get(item.dataset.id);
  item.querySelector("input").checked = look !== undefined;
  item.classList.toggle("focus", state.focus === item.dataset.id);
  item.querySelector("button").setAttribute("aria-current", String(state.focus === item.dataset.id));
  item.dataset.look = look ?? "";
}
