// What the machine and the trainings on it use, sampled each second while a page is open; and how fast the runs are.

import { Chart } from "./chart.js";
import { linesOf } from "./curves.js";
import { LOOKS, empty, h, percent, short, size, undated } from "./dom.js";
import { state } from "./store.js";

export function systemView(root) {
  const now = h("dl.headline.small"), note = h("div");
  const own = { zooms: false, height: 200 };
  const charts = {
    cpu: new Chart({ title: "Processors", unit: "cores in use", ...own, hint: "A training that leaves most cores idle may have too small a batch, or wait for its data." }),
    memory: new Chart({ title: "Memory", unit: "of the trainings", ...own, hint: "Memory that grows without an end is a leak." }),
    gpu: new Chart({ title: "GPU", unit: "in use", ...own }),
    speed: new Chart({ title: "Speed", unit: "examples per second, as logged", height: 200 }),
  };
  const grid = h(".charts", {}, Object.values(charts).map(chart => chart.root));
  root.append(h("h2.hidden", {}, "System"), now, note, grid);

  function show() {
    const samples = state.system, last = samples.at(-1);
    const speed = linesOf("examples_per_second");
    charts.speed.root.hidden = !speed.lines.length;
    if (speed.lines.length) charts.speed.show({ ...speed, xName: state.x });
    if (!last || (last.cpu === null && !last.memory && samples.length > 2)) {
      note.replaceChildren(empty(last ? "Not known here" : "Measuring", last ? "Only Linux tells what its processes use." : "The machine is looked at once a second while this page is open."));
      for (const key of ["cpu", "memory", "gpu"]) charts[key].root.hidden = true;
      return;
    }
    note.replaceChildren();
    const runs = [...new Set(samples.flatMap(sample => Object.keys(sample.runs)))].slice(-8);
    const xs = samples.map(sample => Math.round(sample.time - last.time));
    const look = (id, i) => LOOKS[state.on.get(id) ?? (i + 1) % LOOKS.length];
    const lines = (what, whole) => [...(whole ? [whole] : []), ...runs.map((id, i) => ({ label: undated(id), look: look(id, i), xs, ys: samples.map(sample => sample.runs[id]?.[what] ?? null), kind: "line" }))];
    const seconds = { xName: "second", xFormat: x => short(x) };
    now.replaceChildren(...[
      ["processors", last.cpu === null ? "–" : `${last.cpu.toFixed(1)} of ${last.cores}`, "cores"],
      ["memory", last.memory ? size(last.memory[0]) : "–", last.memory ? `of ${size(last.memory[1])}` : ""],
      ...last.gpus.map(gpu => [gpu.name, percent(gpu.use), `${size(gpu.memory[0])} of ${size(gpu.memory[1])}`]),
      ["in training", String(Object.keys(last.runs).length), "on this machine"],
    ].map(([name, value, of]) => h("div", {}, h("dd", {}, value), h("dt", {}, name, h("span", {}, of)))));
    charts.cpu.show({ lines: lines("cpu", { label: "whole machine", look: "third", xs, ys: samples.map(sample => sample.cpu), kind: "line" }), range: [0, last.cores ?? 1], ...seconds, format: v => short(v, 3) });
    const memory = lines("memory", runs.length ? null : { label: "whole machine", look: "third", xs, ys: samples.map(sample => sample.memory?.[0] ?? null), kind: "line" });
    charts.memory.unit.textContent = runs.length ? "of the trainings" : "of the machine";
    charts.memory.show({ lines: memory, ...seconds, format: size });
    const gpus = last.gpus.map((gpu, i) => ({ label: `${gpu.name} ${i}`, look: LOOKS[i % LOOKS.length], xs, ys: samples.map(sample => sample.gpus[i]?.use ?? null), kind: "line" }));
    charts.gpu.root.hidden = !gpus.length;
    if (gpus.length) charts.gpu.show({ lines: gpus, range: [0, 1], ...seconds, format: percent });
    for (const key of ["cpu", "memory"]) charts[key].root.hidden = false;
  }

  show();
  return { changed: changes => { if (["system", "series", "on"].some(what => changes.has(what))) show(); }, end: () => Object.values(charts).forEach(chart => chart.end()) };
}
