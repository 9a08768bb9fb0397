// Arithmetic on curves.

export const changed = (changes, names) => names.some(name => changes.has(name));

// What was made of an array the last time, while it is the same array: of many curves few change at once.
function remembering(make) {
  const known = new WeakMap();
  return (values, setting) => {
    if (known.get(values)?.setting !== setting) known.set(values, { setting, made: make(values, setting) });
    return known.get(values).made;
  };
}

export const scaled = remembering((xs, by) => xs.map(x => x / by));

// Exponential moving average that starts where the curve does (bias-corrected, as in Adam: Kingma and Ba, 2015).
export const smoothed = remembering((values, weight) => {
  if (!weight) return values;
  let mean = 0, total = 0;
  return values.map(y => {
    if (y === null || y === undefined) return null;
    mean = weight * mean + (1 - weight) * y;
    total = weight * total + (1 - weight);
    return mean / total;
  });
});

// One column of places for all curves, and for each its values there; most curves share their places.
export function joined(tables) {
  const kinds = [];
  for (const [xs] of tables) if (!kinds.some(other => same(other, xs))) kinds.push(xs);
  if (kinds.length === 1) return [kinds[0], ...tables.map(([, ys]) => ys)];
  const all = [...new Set(kinds.flat())].sort((a, b) => a - b);
  const at = new Map(all.map((x, i) => [x, i]));
  const places = kinds.map(xs => xs.map(x => at.get(x)));
  return [all, ...tables.map(([xs, ys]) => {
    const column = Array(all.length).fill(null);
    places[kinds.findIndex(other => same(other, xs))].forEach((place, i) => { column[place] = ys[i] ?? null; });
    return column;
  })];
}

const same = (a, b) => a === b || (a.length === b.length && a[0] === b[0] && a.at(-1) === b.at(-1) && a.every((x, i) => x === b[i]));

// Mean and mean ± sample standard deviation of several curves, at the places of the one with the most.
export function bandOf(curves) {
  const xs = curves.reduce((a, b) => (b.xs.length > a.xs.length ? b : a)).xs;
  const found = { xs, mean: [], low: [], high: [] };
  const read = curves.map(reader);
  for (const x of xs) {
    const values = read.map(at => at(x)).filter(y => y !== null);
    if (!values.length) { found.mean.push(null); found.low.push(null); found.high.push(null); continue; }
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const sd = values.length > 1 ? Math.sqrt(values.reduce((sum, y) => sum + (y - mean) ** 2, 0) / (values.length - 1)) : null;
    found.mean.push(mean);
    found.low.push(sd === null ? null : mean - sd);
    found.high.push(sd === null ? null : mean + sd);
  }
  return found;
}

// The value of a curve between its points, asked for from left to right; null beyond its ends.
function reader({ xs, ys }) {
  const points = xs.map((x, i) => [x, ys[i]]).filter(([, y]) => y !== null && y !== undefined);
  let i = 0;
  return x => {
    while (i + 1 < points.length && points[i + 1][0] <= x) i++;
    if (!points.length || x < points[0][0] || x > points.at(-1)[0]) return null;
    const [x0, y0] = points[i], [x1, y1] = points[Math.min(i + 1, points.length - 1)];
    return x1 > x0 ? y0 + (y1 - y0) * (x - x0) / (x1 - x0) : y0;
  };
}
