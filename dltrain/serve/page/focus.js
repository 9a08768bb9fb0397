// The run that is looked at: what the server knows of it, asked for again when it has changed.

import { ask, state } from "./store.js";
import { empty, h, undated } from "./dom.js";

// Asks for `place` of the run, shows it, and asks again after a change, at most once a second.
export function following(root, place, show, matters) {
  let asking = false, due = false, ended = false, shownFor = null;
  const head = h(".focushead"), body = h("div");
  root.append(head, body);

  async function refresh() {
    if (ended) return;
    const id = state.focus;
    const run = state.runs.get(id);
    head.replaceChildren(...[h("h2", {}, run ? undated(run.name) : "No run"),
      run && h(`span.status.${run.status}`, {}, run.status), run?.group && h("span.muted", {}, `of ${undated(run.group)}`)].filter(Boolean));
    if (!run) { body.replaceChildren(empty("No run is chosen", "Choose one in the list.")); return; }
    if (asking) { due = true; return; }
    asking = true;
    try {
      const found = await ask(place, { id });
      if (!ended && id === state.focus) { show(body, found, shownFor !== id); shownFor = id; }
    } catch (error) {
      if (!ended) body.replaceChildren(empty("This run cannot be shown", error.message));
    }
    asking = false;
    if (due) { due = false; setTimeout(refresh, 1000); }
  }

  refresh();
  return {
    changed: changes => {
      const runs = changes.get("runs");
      if (changes.has("focus") || (runs && (!runs.has || runs.has(state.focus))) || (matters === "logs" && changes.get("series")?.has?.(state.focus))) refresh();
    },
    end: () => { ended = true; },
  };
}
