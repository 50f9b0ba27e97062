// The outline of a mask as a path: closed lines along the edges of its pixels, so that it is sharp
// however close one looks, and its inside can be filled by the even-odd rule.

import { eachInColumns, fromAfar } from "./runs.js";

/** Returns the outline, in pixels of the image. @returns {Path2D} */
export function outline(runs, level) {
  const seen = fromAfar(runs, level);
  const path = new Path2D();
  for (const loop of loops(edges(seen), seen.height + 1)) draw(path, loop, 2 ** level, runs);
  return path;
}

/**
 * Lists the closed lines round the pixels of a mask, each as its corners x0, y0, x1, y1, ...
 * @param {Map<number, number[]>} leaving from each corner, to which ones an edge leads
 */
function* loops(leaving, stride) {
  for (const [start, ways] of leaving) {
    while (ways.length) {
      const corners = [];
      let [from, before] = [start, 0];
      do {
        const out = leaving.get(from);
        const to = out.pop();
        const direction = Math.sign(to - from) * (Math.abs(to - from) < stride ? 1 : 2);
        if (direction !== before) corners.push(Math.floor(from / stride), from % stride);
        [from, before] = [to, direction];
      } while (from !== start);
      yield corners;
    }
  }
}

/** Notes for each corner to which others edges lead, with the inside always on the same hand. */
function edges(runs) {
  const stride = runs.height + 1;
  const leaving = new Map();
  const lead = (from, to) => {
    const ways = leaving.get(from);
    if (ways) ways.push(to);
    else leaving.set(from, [to]);
  };
  const columns = new Map();
  eachInColumns(runs, (x, top, bottom) => {
    lead(x * stride + top, (x + 1) * stride + top);
    lead((x + 1) * stride + bottom, x * stride + bottom);
    const column = columns.get(x);
    if (column) column.push(top, bottom);
    else columns.set(x, [top, bottom]);
  });
  for (const [x, ends] of columns) {
    const [left, right] = [columns.get(x - 1) ?? [], columns.get(x + 1) ?? []];
    uprights(ends, left, (top, bottom) => lead(x * stride + bottom, x * stride + top));
    uprights(ends, right, (top, bottom) => lead((x + 1) * stride + top, (x + 1) * stride + bottom));
  }
  return leaving;
}

/** Calls `visit(top, bottom)` for each stretch that is in the one column and not in the other. */
function uprights(one, other, visit) {
  let [i, j, since] = [0, 0, null];
  while (i < one.length || j < other.length) {
    const place = Math.min(one[i] ?? Infinity, other[j] ?? Infinity);
    if (since !== null) visit(since, place);
    if (one[i] === place) i += 1;
    if (other[j] === place) j += 1;
    since = i % 2 && !(j % 2) ? place : null;
  }
}

function draw(path, corners, side, { width, height }) {
  for (let index = 0; index < corners.length; index += 2) {
    const x = Math.min(corners[index] * side, width);
    const y = Math.min(corners[index + 1] * side, height);
    if (index) path.lineTo(x, y);
    else path.moveTo(x, y);
  }
  path.closePath();
}
