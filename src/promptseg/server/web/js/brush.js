// Which pixels a stroke covers: all whose centre is within its radius of the line through its
// points.

import { gathered } from "./runs.js";

/** @returns {import("./runs.js").Runs} */
export function stroke(points, radius, { height, width }) {
  const pairs = [];
  const ends = points.length > 1 ? points.slice(1) : points;
  ends.forEach((end, index) => cover(pieceOf(points[index], end, radius), height, width, pairs));
  return gathered(height, width, pairs);
}

/** One straight piece, round at both ends. */
function pieceOf([ax, ay], [bx, by], radius) {
  const [dx, dy] = [bx - ax, by - ay];
  return { ax, ay, bx, by, dx, dy, square: dx * dx + dy * dy, radius };
}

/** Adds the runs of a piece. */
function cover(piece, height, width, pairs) {
  const { ax, bx, radius } = piece;
  const left = Math.max(0, Math.floor(Math.min(ax, bx) - radius - 1));
  const right = Math.min(width - 1, Math.ceil(Math.max(ax, bx) + radius));
  for (let x = left; x <= right; x += 1) {
    const [low, high] = span(piece, x + 0.5);
    if (!(low <= high + 1)) continue;
    // What is reckoned may be off by the last digits, and a centre decides.
    let top = Math.max(0, Math.ceil(low - 0.5) - 1);
    let after = Math.min(height, Math.floor(high - 0.5) + 2);
    while (top < after && !isNear(piece, x + 0.5, top + 0.5)) top += 1;
    while (after > top && !isNear(piece, x + 0.5, after - 0.5)) after -= 1;
    if (after > top) pairs.push([x * height + top, x * height + after]);
  }
}

function isNear({ ax, ay, dx, dy, square, radius }, x, y) {
  const along = square ? ((x - ax) * dx + (y - ay) * dy) / square : 0;
  const at = Math.min(Math.max(along, 0), 1);
  const [across, down] = [x - (ax + at * dx), y - (ay + at * dy)];
  return across * across + down * down <= radius * radius;
}

/** Returns from where to where a piece is cut by an upright line; it is one run, being convex. */
function span(piece, x) {
  const { ax, ay, bx, by, radius } = piece;
  const parts = [disc(x - ax, ay, radius), disc(x - bx, by, radius), strip(piece, x)];
  return [Math.min(...parts.map(([low]) => low)), Math.max(...parts.map(([, high]) => high))];
}

const NOWHERE = [Infinity, -Infinity];

function disc(off, y, radius) {
  const rest = radius * radius - off * off;
  return rest < 0 ? NOWHERE : [y - Math.sqrt(rest), y + Math.sqrt(rest)];
}

function strip({ ax, ay, dx, dy, square, radius }, x) {
  if (!square) return NOWHERE;
  const beside = radius * Math.sqrt(square);
  const one = between((x - ax) * dy, -dx, -beside, beside);
  const other = between((x - ax) * dx, dy, 0, square);
  const [low, high] = [Math.max(one[0], other[0]), Math.min(one[1], other[1])];
  return low <= high ? [ay + low, ay + high] : NOWHERE;
}

/** Returns the values v for which `fixed + v * slope` lies between two bounds. */
function between(fixed, slope, least, most) {
  if (slope === 0) return fixed >= least && fixed <= most ? [-Infinity, Infinity] : NOWHERE;
  const ends = [(least - fixed) / slope, (most - fixed) / slope];
  return [Math.min(...ends), Math.max(...ends)];
}
