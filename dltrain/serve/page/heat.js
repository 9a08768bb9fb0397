// A map of values: a row for each layer, a column for each epoch.

import { colour, h } from "./dom.js";

const ROW = 22, GAP = 1;

// A scale says how far along its colours a value is (0 to 1): [share, name of the full colour].
export function heatMap({ title, hint, rows, xs, values, scale, format, legend }) {
  const canvas = h("canvas", { tabIndex: 0, role: "img" });
  canvas.setAttribute("aria-label", `${title}: ${rows.length} layers over ${xs.length} epochs. Arrow keys read cells.`);
  const told = h(".told", { hidden: true, "aria-live": "polite" });
  const body = h(".heat", {}, h(".names", { "aria-hidden": "true" }, rows.map(name => h("span", { title: name }, name))), h(".cells", {}, canvas, h(".axis.muted", {})), told);
  const root = h("figure.chart.map", {}, h("figcaption", {}, h("h3", {}, title), h(".legend", {}, legend())), body, h("p.hint", {}, hint));
  let at = null;

  function draw() {
    const width = canvas.parentElement.clientWidth, height = rows.length * ROW;
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.setProperty("height", `${height}px`);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const cell = width / xs.length;
    const gap = cell > 6 ? GAP : 0;
    const panel = colour("panel");
    rows.forEach((_, r) => xs.forEach((_, c) => {
      const value = values[r][c];
      const left = c * cell, wide = cell - gap;
      context.fillStyle = panel;
      if (value === null || value === undefined) {
        context.globalAlpha = 0.5;
        context.fillRect(left, r * ROW + ROW / 2 - 0.5, wide, 1);
        context.globalAlpha = 1;
        return;
      }
      context.fillRect(left, r * ROW, wide, ROW - GAP);
      const [share, look] = scale(value);
      context.globalAlpha = Math.min(1, Math.max(0, share));
      context.fillStyle = colour(look);
      context.fillRect(left, r * ROW, wide, ROW - GAP);
      context.globalAlpha = 1;
    }));
    if (at) {
      context.strokeStyle = colour("ink");
      context.lineWidth = 1.5;
      context.strokeRect(at[1] * cell + 0.5, at[0] * ROW + 0.5, Math.max(3, cell - 1), ROW - 2);
    }
    const ends = xs.length > 1 ? [xs[0], xs[Math.floor((xs.length - 1) / 2)], xs.at(-1)] : [xs[0]];
    canvas.nextSibling.replaceChildren(...ends.map((x, i) => h("span", {}, i === 0 ? `epoch ${x}` : String(x))));
  }

  function tell(r, c) {
    at = [r, c];
    const value = values[r]?.[c];
    told.replaceChildren(h("b", {}, rows[r]), `, epoch ${xs[c]}: `, value === null || value === undefined ? "no value" : format(value));
    told.hidden = false;
    const left = canvas.offsetLeft + (c + 0.5) * canvas.clientWidth / xs.length;
    told.style.setProperty("left", `${Math.max(0, Math.min(left - told.offsetWidth / 2, body.clientWidth - told.offsetWidth))}px`);
    told.style.setProperty("top", `${(r + 1) * ROW + 4}px`);
    draw();
  }

  const forget = () => { at = null; told.hidden = true; draw(); };
  canvas.addEventListener("pointermove", event => {
    const box = canvas.getBoundingClientRect();
    tell(Math.min(rows.length - 1, Math.floor((event.clientY - box.top) / ROW)), Math.min(xs.length - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * xs.length))));
  });
  canvas.addEventListener("pointerleave", forget);
  canvas.addEventListener("blur", forget);
  canvas.addEventListener("keydown", event => {
    const step = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [r, c] = at ?? [0, xs.length - 1 - step[1]];
    tell(Math.min(rows.length - 1, Math.max(0, r + step[0])), Math.min(xs.length - 1, Math.max(0, c + step[1])));
  });
  const observer = new ResizeObserver(draw);
  observer.observe(canvas.parentElement);
  return { root, draw, end: () => observer.disconnect() };
}

// `low ▭▭▭▭▭ high` in the colours of a scale.
export function ramp(low, high, looks) {
  return [h("span", {}, low), h("span.ramp", {}, looks.map(([look, share]) => h("i", { style: { background: `color-mix(in srgb, var(--${look}) ${share * 100}%, var(--panel))` } }))), h("span", {}, high)];
}
