// Run lengths as COCO writes them, both ways: column by column, in a string of 6-bit characters.
// Each count is a signed number in groups of five bits, lowest first; bit 32 of a character says
// that another follows, bit 16 of the last one is the sign, and 48 makes it printable. From the
// fourth count on, the difference to the count two before is written.

import { runsOf } from "./runs.js";

/** @typedef {import("./state.js").Rle} Rle */
/** @typedef {import("./runs.js").Runs} Runs */

/** Reads a mask. @param {Rle} rle @returns {Runs} */
export function decode({ size: [height, width], counts }) {
  const lengths = typeof counts === "string" ? numbers(counts) : counts;
  const ends = [];
  let place = 0;
  lengths.forEach((length, index) => {
    if (length < 0) throw new RangeError("run lengths are not negative");
    // Runs of no length join their neighbours.
    if (index % 2 && length) {
      if (ends.at(-1) === place) ends.pop();
      else ends.push(place);
      ends.push(place + length);
    }
    place += length;
  });
  if (place !== height * width) throw new RangeError("run lengths do not fit their size");
  return runsOf(height, width, ends);
}

/** Writes a mask. @param {Runs} runs @returns {Rle} */
export function encode({ height, width, ends }) {
  const counts = [];
  let place = 0;
  for (const end of ends) {
    counts.push(end - place);
    place = end;
  }
  const rest = height * width - place;
  if (rest || !counts.length) counts.push(rest);
  return { size: [height, width], counts: text(counts) };
}

function numbers(counts) {
  const found = [];
  let [value, shift] = [0, 0];
  for (let index = 0; index < counts.length; index += 1) {
    const code = counts.charCodeAt(index) - 48;
    if (!(code >= 0 && code < 64)) throw new RangeError("not a run-length string of COCO");
    value += (code & 31) * 2 ** shift;
    shift += 5;
    if (code & 32) continue;
    if (code & 16) value -= 2 ** shift;
    found.push(found.length > 2 ? value + found[found.length - 2] : value);
    [value, shift] = [0, 0];
  }
  if (shift) throw new RangeError("a run-length string of COCO ends in the middle of a number");
  return found;
}

function text(counts) {
  const codes = [];
  counts.forEach((count, index) => {
    let value = index > 2 ? count - counts[index - 2] : count;
    for (;;) {
      const group = value & 31;
      value >>= 5;
      const isLast = group & 16 ? value === -1 : value === 0;
      codes.push((isLast ? group : group | 32) + 48);
      if (isLast) break;
    }
  });
  let written = "";
  for (let from = 0; from < codes.length; from += 8192) {
    written += String.fromCharCode(...codes.slice(from, from + 8192));
  }
  return written;
}
