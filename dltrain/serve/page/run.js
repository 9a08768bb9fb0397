// One run: what came out, what its numbers say, notes, network and config.

import { h } from "./dom.js";
import { following } from "./focus.js";
import { state, writeNotes } from "./store.js";

export function runView(root) {
  let notes = null;
  return following(root, "run", (body, run, isOther) => {
    if (isOther || !notes) notes = notesOf(run.id);
    if (run.problem && !run.headline) { body.replaceChildren(h("p.problem", {}, run.problem), notes); return; }
    body.replaceChildren(
      run.problem ? h("p.problem", {}, run.problem) : "",
      h("dl.headline", {}, run.headline.map(([value, name, note]) => h("div", {}, h("dd", {}, value), h("dt", {}, name, h("span", {}, note))))),
      h(".two", {}, h("section", {}, h("h3", {}, "What the numbers say"), advice(run.advice), run.written?.texts ? written(run.written) : "", h("h3", {}, "Tags and note"), notes,
        run.report ? h("p", {}, h("a", { href: `api/report?id=${encodeURIComponent(run.id)}`, target: "_blank", rel: "noopener" }, "Open the report")) : ""),
      h("section", {}, h("h3", {}, "Network"), network(run.network), h("details", {}, h("summary", {}, "Config"), h("pre", { tabIndex: 0 }, run.config)),
        h("details", {}, h("summary", {}, "Environment"), h("dl.facts", {}, run.environment.flatMap(([key, value]) => [h("dt", {}, key), h("dd", {}, value)]))))));
  }, "status");
}

function advice(list) {
  if (list === null) return h("p.muted", {}, "The log of the layers is too long for a live page; `dltrain report` has the advice.");
  if (!list.length) return h("ul.advice", {}, h("li.fine", {}, h("b", {}, "No problems found.")));
  return h("ul.advice", {}, list.map(({ text, remedy, serious }) => h(`li${serious ? ".serious" : ""}`, {}, h("b", {}, text), "; ", h("span", {}, remedy))));
}

function written({ prompt, texts }) {
  return [h("h3", {}, "Written by the network"), texts.map(text => h("pre", { tabIndex: 0 }, h("b", {}, prompt), text))];
}

function network(layers) {
  if (!layers.length) return h("p.muted", {}, "Not described yet.");
  return h(".scroll", { tabIndex: 0, role: "region", "aria-label": "Layers of the network" }, h("table", {}, h("thead", {}, h("tr", {}, ["layer", "type", "output"].map(name => h("th", {}, name)), h("th.number", {}, "parameters"), h("th", {}, h("span.hidden", {}, "share")))),
    h("tbody", {}, layers.map(layer => h("tr", {}, h("th", { scope: "row" }, layer.name), h("td.muted", {}, layer.type), h("td", {}, layer.output),
      h("td.number", {}, layer.parameters.toLocaleString("en")), h("td.share", {}, h("span.bar2", {}, h("i", { style: { width: `${100 * (layer.share ?? 0)}%` } })))))))) ;
}

function notesOf(id) {
  const run = state.runs.get(id);
  const tags = h("input", { type: "text", value: run.tags.join(", "), placeholder: "Tags, separated by commas", "aria-label": "Tags", maxLength: 900 });
  const note = h("textarea", { rows: 3, value: run.note, placeholder: "Note", "aria-label": "Note", maxLength: 10000 });
  const said = h("span.muted", { role: "status" });
  const save = h("button", { onclick: async () => {
    try {
      const kept = await writeNotes(id, tags.value.split(","), note.value);
      tags.value = kept.tags.join(", ");
      said.textContent = "Saved in notes.json";
    } catch (error) { said.textContent = error.message; }
  } }, "Save");
  for (const field of [tags, note]) field.addEventListener("input", () => { said.textContent = ""; });
  return h(".noteform", {}, tags, note, h("p", {}, save, " ", said));
}

