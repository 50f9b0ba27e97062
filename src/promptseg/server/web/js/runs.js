// A mask as the places where it begins and ends, column by column: a pixel (x, y) is at place
// x * height + y. Whole photos are joined and cut in the time that their outlines take.

/** @typedef {{height: number, width: number, ends: Int32Array}} Runs */

/** @param {number[]} ends place after place: inside from the first to the second, and so on */
export function runsOf(height, width, ends) {
  return { height, width, ends: Int32Array.from(ends) };
}

/** A mask of no pixels. @returns {Runs} */
export function nothing(height, width) {
  return runsOf(height, width, []);
}

/** @returns {Runs} what is in either */
export function union(one, other) {
  return combined(one, other, (inOne, inOther) => inOne || inOther);
}

/** @returns {Runs} what is in the first and not in the second */
export function difference(one, other) {
  return combined(one, other, (inOne, inOther) => inOne && !inOther);
}

export function area({ ends }) {
  let pixels = 0;
  for (let index = 0; index < ends.length; index += 2) pixels += ends[index + 1] - ends[index];
  return pixels;
}

/** Tells whether a pixel is in a mask. */
export function has({ height, width, ends }, x, y) {
  const [column, row] = [Math.floor(x), Math.floor(y)];
  if (column < 0 || row < 0 || column >= width || row >= height) return false;
  const place = column * height + row;
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ends[middle] <= place) low = middle + 1;
    else high = middle;
  }
  return low % 2 === 1;
}

/**
 * Calls `visit(x, top, bottom)` for each run of each column, from left to right and downward;
 * `bottom` is the first row below.
 */
export function eachInColumns({ height, ends }, visit) {
  for (let index = 0; index < ends.length; index += 2) {
    const stop = ends[index + 1];
    for (let start = ends[index]; start < stop; ) {
      const x = Math.floor(start / height);
      const end = Math.min(stop, (x + 1) * height);
      visit(x, start - x * height, end - x * height);
      start = end;
    }
  }
}

/**
 * Looks at a mask from afar: one pixel of it for each square of `2 ** level`, the middle one.
 * @returns {Runs}
 */
export function fromAfar(runs, level) {
  if (level === 0) return runs;
  const side = 2 ** level;
  const half = side >> 1;
  const [height, width] = [runs.height, runs.width].map((each) => Math.ceil(each / side));
  const ends = [];
  eachInColumns(runs, (x, top, bottom) => {
    if ((x - half) % side) return;
    const column = ((x - half) / side) * height;
    const [first, after] = [top, bottom].map((y) => column + Math.ceil((y - half) / side));
    if (after > first) add(ends, first, after);
  });
  return runsOf(height, width, ends);
}

/** Adds a run to a list of ends in order; one that touches the last is part of it. */
export function add(ends, first, after) {
  const last = ends.length - 1;
  if (last > 0 && ends[last] >= first) ends[last] = Math.max(ends[last], after);
  else ends.push(first, after);
}

/** Sorts runs that may overlap, given as pairs, into a mask. @returns {Runs} */
export function gathered(height, width, pairs) {
  const ends = [];
  for (const [first, after] of pairs.sort((one, other) => one[0] - other[0])) {
    add(ends, first, after);
  }
  return runsOf(height, width, ends);
}

function combined(one, other, isIn) {
  if (one.height !== other.height || one.width !== other.width) {
    throw new RangeError("masks of two sizes cannot be put together");
  }
  const ends = [];
  let [i, j, was] = [0, 0, false];
  while (i < one.ends.length || j < other.ends.length) {
    const place = Math.min(one.ends[i] ?? Infinity, other.ends[j] ?? Infinity);
    if (one.ends[i] === place) i += 1;
    if (other.ends[j] === place) j += 1;
    const is = isIn(i % 2 === 1, j % 2 === 1);
    if (is !== was) ends.push(place);
    was = is;
  }
  return runsOf(one.height, one.width, ends);
}
