// Elements and numbers. Text from runs only ever becomes text: nothing here, and nothing in the policy, makes markup of it.

export function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, v] of Object.entries(value)) element.style.setProperty(name, v);
    else if (key in element && !key.startsWith("aria") && key !== "list" && key !== "role") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(3).filter(child => child !== null && child !== undefined && child !== false));
  return element;
}

export const $ = id => document.getElementById(id);

export const colour = name => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// Colours of runs, far from each other; the palette's, so that all of them are readable on paper.
export const LOOKS = ["first", "second", "good", "d4", "d6", "d0", "warn", "d2"];

const minus = text => text.replace("-", "−");

export function short(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e3 && size < 1e6) return minus(Math.round(value).toLocaleString("en"));
  if (size >= 1e-3 && size < 1e3) return minus(String(Number(value.toPrecision(digits))));
  const [mantissa, exponent] = value.toExponential(digits > 3 ? 2 : 1).split("e");
  return `${minus(String(Number(mantissa)))}e${minus(String(Number(exponent)))}`;
}

export const percent = value => value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`;

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  const place = Math.min(units.length - 1, Math.floor(Math.log(Math.max(1, bytes)) / Math.log(1024)));
  return `${(bytes / 1024 ** place).toFixed(place > 2 ? 1 : 0)} ${units[place]}`;
}

const SHARES = /accuracy|precision|recall|f1|top_k|exact_match|calibration_error|share/;
export const formatOf = key => SHARES.test(key) ? percent : short;

export const HIGHER = key => /accuracy|precision|recall|f1|top_k|exact_match|auc|r2/.test(key);

export function when(text) {
  const date = new Date(text);
  if (!text || Number.isNaN(date.getTime())) return "";
  const seconds = (Date.now() - date) / 1000;
  if (seconds < 60) return "just now";
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return date.toLocaleDateString("en-CA");
}

export const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;

export const undated = name => name.replace(/^\d{8}-\d{6}-/, "");

// Powers of ten, with 2 and 5 times them where there would be fewer than three.
export function logTicks(low, high) {
  const ticks = [];
  const wide = Math.log10(high / low) >= 2.5;
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e++)
    for (const m of wide ? [1] : [1, 2, 5]) {
      const tick = Number(`${m}e${e}`);
      if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
    }
  const every = Math.ceil(ticks.length / 6);
  return ticks.filter((_, i) => i % every === 0);
}

export function empty(title, text) {
  return h(".empty", {}, h("h2", {}, title), h("p", {}, text));
}
