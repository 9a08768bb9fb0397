// The pictures that networks made, step after step; several runs beside each other.

import { LOOKS, empty, h, plural, undated } from "./dom.js";
import { ask, state } from "./store.js";

const MOST = 6; // runs beside each other

export function samplesView(root) {
  const known = new Map(); // run -> steps
  const slider = h("input", { type: "range", min: 0, max: 0, value: 0, "aria-label": "Step" });
  const value = h("output", {});
  const play = h("button", { "aria-pressed": "false", onclick: () => toggle() }, "Play");
  const bar = h(".controls.slider", {}, play, slider, value);
  const grid = h(".samples");
  root.append(bar, grid);
  let steps = [], timer = null, ended = false;

  async function refresh() {
    const wanted = [...new Set([state.focus, ...state.on.keys()])].filter(id => state.runs.has(id)).slice(0, 4 * MOST);
    const atEnd = Number(slider.value) === Number(slider.max);
    await Promise.all(wanted.map(async id => {
      try { known.set(id, (await ask("samples", { id })).steps); } catch { known.set(id, []); }
    }));
    if (ended) return;
    for (const id of known.keys()) if (!wanted.includes(id)) known.delete(id);
    steps = [...new Set([...known.values()].flat())].sort((a, b) => a - b);
    slider.max = Math.max(0, steps.length - 1);
    if (atEnd) slider.value = slider.max;
    bar.hidden = steps.length < 2;
    show();
  }

  function show() {
    if (!steps.length) {
      grid.replaceChildren(empty("No samples", "A config with `show: {pictures: […], every: 100}` keeps pictures while it trains. Tick such a run."));
      return;
    }
    const step = steps[slider.value] ?? steps.at(-1);
    value.textContent = `after ${plural(step, "step")}`;
    slider.setAttribute("aria-valuetext", value.textContent);
    const runs = [...known].filter(([, own]) => own.length).slice(0, MOST);
    if (grid.children.length !== runs.length || [...grid.children].some((item, i) => item.dataset.id !== runs[i][0]))
      grid.replaceChildren(...runs.map(([id]) => h("figure", { "data-id": id }, h("figcaption", {}, h("span.swatch", { style: { "--look": `var(--${LOOKS[state.on.get(id)] ?? "muted"})` } }), " ", h("b", {}, undated(id)), " ", h("span.muted", {})), h("img", { alt: "" }))));
    runs.forEach(([id, own], i) => {
      const nearest = own.filter(s => s <= step).at(-1) ?? own[0];
      const figure = grid.children[i], image = figure.querySelector("img");
      const source = `api/sample?${new URLSearchParams({ id, step: nearest })}`;
      if (image.getAttribute("src") !== source) image.src = source;
      image.alt = `Pictures of ${id} after ${nearest} steps`;
      figure.querySelector(".muted").textContent = nearest === step ? "" : `after ${plural(nearest, "step")}`;
      const ahead = own[own.indexOf(nearest) + 1];
      if (ahead !== undefined) new Image().src = `api/sample?${new URLSearchParams({ id, step: ahead })}`;
    });
  }

  function toggle() {
    if (timer) { clearInterval(timer); timer = null; } else {
      if (slider.value === slider.max) slider.value = 0;
      timer = setInterval(() => { slider.value = Number(slider.value) + 1; show(); if (slider.value === slider.max) toggle(); }, 350);
    }
    play.textContent = timer ? "Pause" : "Play";
    play.setAttribute("aria-pressed", String(Boolean(timer)));
  }

  slider.addEventListener("input", show);
  refresh();
  return {
    changed: changes => { if (changes.has("on") || changes.has("focus") || changes.has("series")) refresh(); },
    end: () => { ended = true; clearInterval(timer); },
  };
}
