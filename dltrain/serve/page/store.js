// What the page knows: the list of runs, the curves of those that are ticked, and what it is asked to show.

import { LOOKS } from "./dom.js";

export const state = {
  folder: "", runs: new Map(), version: 0, series: new Map(), system: [], on: new Map(), focus: null, tab: "curves",
  x: "step", smooth: 0.6, log: false, logx: false, bands: false, zoom: null, live: "connecting",
};
const MOST_ON = 64;
const listeners = new Set();
let source = null;

export const listen = listener => { listeners.add(listener); return () => listeners.delete(listener); };
export const tell = (what, detail) => listeners.forEach(listener => listener(what, detail));

export async function ask(place, parameters = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(parameters)) for (const item of [value].flat()) query.append(key, item);
  const said = await fetch(`api/${place}?${query}`);
  if (!said.ok) throw new Error((await said.text()).trim());
  return said.json();
}

export async function start() {
  const found = await ask("runs");
  state.folder = found.folder;
  state.version = found.version;
  for (const run of found.runs) state.runs.set(run.id, run);
  readAddress();
  if (!state.focus) state.focus = newest()?.id ?? null;
  if (!state.on.size && state.focus) tickMany(companions(state.focus), true, false);
  tell("runs");
  await fetchSeries([...state.on.keys()]);
  connect();
}

const newest = () => [...state.runs.values()].reduce((a, b) => (!a || stamp(b) > stamp(a) ? b : a), null);
const stamp = run => `${run.started ? new Date(run.started).toISOString() : ""}${run.name}`;

// A run, or with it the few others of its group.
function companions(id) {
  const group = state.runs.get(id)?.group;
  const all = group ? [...state.runs.values()].filter(run => run.group === group).map(run => run.id) : [];
  return all.length > 1 && all.length <= 12 ? all : [id];
}

// --- live ---

function connect() {
  source?.close();
  const query = new URLSearchParams({ since: state.version });
  for (const id of state.on.keys()) query.append("on", id);
  source = new EventSource(`api/events?${query}`);
  source.onopen = () => { state.live = "live"; tell("live"); };
  source.onerror = () => { state.live = "offline"; tell("live"); };
  source.addEventListener("runs", event => {
    const { runs, gone } = JSON.parse(event.data);
    const first = !state.runs.size;
    for (const run of runs) state.runs.set(run.id, run);
    for (const id of gone) { state.runs.delete(id); state.on.delete(id); state.series.delete(id); }
    if (gone.length) tell("on");
    if (first && runs.length) { state.focus = runs[0].id; tickMany([state.focus], true); }
    tell("runs", new Set(runs.map(run => run.id)));
  });
  source.addEventListener("logs", event => fetchSeries(JSON.parse(event.data).filter(id => state.on.has(id))));
  source.addEventListener("system", event => {
    state.system = [...state.system, ...JSON.parse(event.data)].slice(-600);
    tell("system");
  });
}

const fetching = new Set();
const again = new Set();

export async function fetchSeries(ids) {
  const wanted = ids.filter(id => !fetching.has(id));
  ids.filter(id => fetching.has(id)).forEach(id => again.add(id));
  if (!wanted.length) return;
  wanted.forEach(id => fetching.add(id));
  try {
    const have = wanted.map(id => {
      const s = state.series.get(id);
      return s ? [s.generation, s.steps.stride, s.steps.x.length, s.epochs.stride, s.epochs.x.length].join(".") : "";
    });
    const { series } = await ask("series", { on: wanted, have });
    for (const found of series) merge(found);
    tell("series", new Set(wanted));
  } catch {
    state.live = "offline";
    tell("live");
  } finally {
    wanted.forEach(id => fetching.delete(id));
  }
  const rest = wanted.filter(id => again.delete(id));
  if (rest.length) await fetchSeries(rest);
}

function merge(found) {
  if (!found.steps) return state.series.set(found.id, { ...found, generation: -1, steps: table(), epochs: table() });
  const before = state.series.get(found.id) ?? { steps: table(), epochs: table() };
  state.series.set(found.id, { ...found, steps: grown(before.steps, found.steps), epochs: grown(before.epochs, found.epochs) });
}

const table = () => ({ stride: 1, x: [], figures: {} });

function grown(before, found) {
  if (found.from === 0) return { stride: found.stride, x: found.x, figures: found.figures };
  const join = (a, b) => [...a.slice(0, found.from), ...Array(Math.max(0, found.from - a.length)).fill(null), ...b];
  const figures = {};
  for (const [key, columns] of Object.entries(found.figures)) {
    figures[key] = {};
    for (const [what, values] of Object.entries(columns)) figures[key][what] = join(before.figures[key]?.[what] ?? [], values);
  }
  return { stride: found.stride, x: join(before.x, found.x), figures };
}

// --- what is chosen ---

export function tickMany(ids, ticked, load = true) {
  for (const id of ids) {
    if (!ticked) state.on.delete(id);
    else if (!state.on.has(id) && state.on.size < MOST_ON) {
      const taken = new Map();
      for (const look of state.on.values()) taken.set(look, (taken.get(look) ?? 0) + 1);
      const least = Math.min(...LOOKS.map((_, i) => taken.get(i) ?? 0));
      state.on.set(id, LOOKS.findIndex((_, i) => (taken.get(i) ?? 0) === least));
    }
  }
  if (!load) return;
  writeAddress();
  tell("on");
  if (ticked) fetchSeries(ids.filter(id => state.on.has(id)));
  connect();
}

export function focusOn(id) {
  state.focus = id;
  writeAddress();
  tell("focus");
  if (!state.on.has(id)) tickMany([id], true);
}

export function set(changes) {
  Object.assign(state, changes);
  writeAddress();
  tell("settings", changes);
}

export async function writeNotes(id, tags, note) {
  const said = await fetch(`api/notes?${new URLSearchParams({ id })}`, {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ tags, note }),
  });
  if (!said.ok) throw new Error((await said.text()).trim());
  const kept = await said.json();
  state.runs.set(id, { ...state.runs.get(id), ...kept });
  tell("runs", new Set([id]));
  return kept;
}

// --- the address holds what is shown, so that it can be kept and sent ---

function readAddress() {
  const query = new URLSearchParams(location.hash.slice(1));
  tickMany(query.getAll("on").filter(id => state.runs.has(id)), true, false);
  if (state.runs.has(query.get("run"))) state.focus = query.get("run");
  state.tab = query.get("tab") ?? state.tab;
  state.x = query.get("x") === "epoch" ? "epoch" : "step";
  if (query.has("smooth")) state.smooth = Math.min(0.99, Math.max(0, Number(query.get("smooth")) || 0));
  for (const key of ["log", "logx", "bands"]) state[key] = query.get(key) === "1";
}

export function writeAddress() {
  const query = new URLSearchParams();
  if (state.tab !== "curves") query.set("tab", state.tab);
  if (state.focus) query.set("run", state.focus);
  if (state.x !== "step") query.set("x", state.x);
  if (state.smooth !== 0.6) query.set("smooth", state.smooth);
  for (const key of ["log", "logx", "bands"]) if (state[key]) query.set(key, "1");
  for (const id of state.on.keys()) query.append("on", id);
  history.replaceState(null, "", `#${query}`);
}
