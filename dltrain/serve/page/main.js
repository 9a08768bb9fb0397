// The frame: the list on one side, the chosen view on the other.

import { $, empty, h, plural } from "./dom.js";
import { startList } from "./list.js";
import { listen, set, start, state } from "./store.js";
import { compareView } from "./compare.js";
import { curvesView } from "./curves.js";
import { layersView } from "./layers.js";
import { predictionsView } from "./predictions.js";
import { runView } from "./run.js";
import { samplesView } from "./samples.js";
import { systemView } from "./system.js";

// A view gets the element to fill and returns what is called when something it may show has changed, and when it ends.
const VIEWS = {
  curves: ["Curves", curvesView], run: ["Run", runView], layers: ["Layers", layersView],
  predictions: ["Predictions", predictionsView], samples: ["Samples", samplesView], compare: ["Compare", compareView],
  system: ["System", systemView],
};
let current = null;

function showTabs() {
  $("tabs").replaceChildren(...Object.entries(VIEWS).map(([key, [name]]) => h("button", {
    role: "tab", id: `tab-${key}`, "aria-selected": String(state.tab === key), "aria-controls": "view",
    tabIndex: state.tab === key ? 0 : -1, onclick: () => set({ tab: key }),
  }, name)));
  $("view").setAttribute("aria-labelledby", `tab-${state.tab}`);
}

$("tabs").addEventListener("keydown", event => {
  const keys = Object.keys(VIEWS);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  set({ tab: keys[(keys.indexOf(state.tab) + step + keys.length) % keys.length] });
  $(`tab-${state.tab}`).focus();
});

function showView() {
  current?.end?.();
  const view = $("view");
  view.replaceChildren();
  if (!state.runs.size) {
    current = null;
    view.append(empty("No runs yet", `There is no run in ${state.folder}. Start one with: dltrain fit CONFIG. It appears here by itself.`));
    return;
  }
  if (!(state.tab in VIEWS)) state.tab = "curves";
  view.className = `view-${state.tab}`;
  current = VIEWS[state.tab][1](view);
}

function showLive() {
  const running = [...state.runs.values()].filter(run => run.status === "running").length;
  const words = { live: running ? `live, ${running} in training` : "live", connecting: "connecting", offline: "server is gone" };
  $("live").className = `live ${state.live}`;
  $("live").textContent = words[state.live];
  const on = [...state.on.keys()];
  document.title = on.length ? `${state.focus ?? on[0]} · dltrain` : "dltrain";
}

let waiting = new Map();
let scheduled = false;

listen((what, detail) => {
  if (what === "settings" && "tab" in detail) { showTabs(); showView(); return; }
  if (what === "runs" && !current && state.runs.size) showView();
  waiting.set(what, detail);
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => {
    scheduled = false;
    const changes = waiting;
    waiting = new Map();
    current?.changed?.(changes);
    showLive();
  });
});

const narrow = matchMedia("(max-width: 899px)");
const fold = open => { document.body.classList.toggle("folded", !open); $("toggle").setAttribute("aria-expanded", String(open)); };
$("toggle").addEventListener("click", () => fold(document.body.classList.contains("folded")));
narrow.addEventListener("change", () => fold(!narrow.matches));
fold(!narrow.matches);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showView);

showTabs();
startList();
start().then(() => {
  $("folder").textContent = `${state.folder} · ${plural(state.runs.size, "run")}`;
  showTabs();
  showView();
  showLive();
  performance.mark("ready");
}, error => { $("view").replaceChildren(empty("Nothing to show", String(error.message))); });
