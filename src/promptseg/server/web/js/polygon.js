// Which pixels a polygon holds: those whose centre is inside by the even-odd rule, as the library
// has it (a centre on an edge belongs to the pixels below it, or right of it).

import { runsOf } from "./runs.js";

/** @returns {import("./runs.js").Runs} */
export function polygon(points, { height, width }) {
  const places = [];
  points.forEach((from, index) => {
    crossings(from, points[(index + 1) % points.length], height, width, places);
  });
  return runsOf(height, width, odd(Int32Array.from(places).sort()));
}

/** Adds the places from which on an edge turns the pixels of a column over. */
function crossings(one, other, height, width, places) {
  const [start, end] = other[0] < one[0] ? [other, one] : [one, other];
  const [first, last] = [start, end].map(([x]) =>
    Math.min(Math.max(Math.ceil(x - 0.5), 0), width),
  );
  if (last <= first) return;
  const slope = (end[1] - start[1]) / (end[0] - start[0]);
  for (let column = first; column < last; column += 1) {
    const row = Math.ceil(start[1] + (column + 0.5 - start[0]) * slope - 0.5);
    places.push(column * height + Math.min(Math.max(row, 0), height));
  }
}

/** Keeps one of each place that is there an odd number of times; the places are in order. */
function odd(places) {
  const kept = [];
  for (const place of places) {
    if (kept.at(-1) === place) kept.pop();
    else kept.push(place);
  }
  return kept;
}
