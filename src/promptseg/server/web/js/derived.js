// What follows from an object: what the service is to be asked, and the mask when it has answered.

import { stroke } from "./brush.js";
import { polygon } from "./polygon.js";
import { decode, encode } from "./rle.js";
import { difference, nothing, union } from "./runs.js";
import { NO_TIDY } from "./state.js";

/** @typedef {import("./state.js").Thing} Thing */
/** @typedef {import("./state.js").Rle} Rle */

/** @type {WeakMap<Thing, {answer: string|null, key: string}>} */
const named = new WeakMap();

/** Names what the service is asked for an object; null where it is asked for no mask. */
export function answerKey(thing) {
  return names(thing).answer;
}

/** Names all that the mask of an object follows from. */
export function maskKey(thing) {
  return names(thing).key;
}

/** Returns what the service is told of an object; hand work is tidied after it is done. */
export function question(thing) {
  const tidy = thing.edits.length ? NO_TIDY : thing.tidy;
  return { steps: thing.steps, ...(thing.base ? { base: thing.base } : {}), tidy };
}

/** Returns the candidate that is shown: the one that was chosen, as far as there are so many. */
export function shownCandidate(thing, candidates) {
  return Math.min(thing.candidate, candidates.length - 1);
}

/** Tells whether the service has to tidy the mask once it is made. */
export function tidiesLater(thing) {
  const { fill_holes, drop_specks } = thing.tidy;
  return (thing.edits.length > 0 || !thing.steps.length) && fill_holes + drop_specks > 0;
}

/**
 * Returns the mask of an object before it is tidied: the candidate, and what was drawn on it.
 * @param {{rle: Rle}[]} candidates of its steps
 * @returns {Rle|null}
 */
export function drawn(thing, candidates, size) {
  const chosen = candidates[shownCandidate(thing, candidates)];
  const under = thing.steps.length ? chosen?.rle : thing.base;
  if (!thing.edits.length) return under ?? null;
  let runs = under ? decode(under) : nothing(size.height, size.width);
  for (const edit of thing.edits) {
    const covered =
      edit.kind === "polygon" ? polygon(edit.points, size) : stroke(edit.points, edit.radius, size);
    runs = edit.mode === "add" ? union(runs, covered) : difference(runs, covered);
  }
  return runs.ends.length ? encode(runs) : null;
}

/** Returns the mask of an object as it is now; undefined while that is not known. */
export function currentMask(state, thing) {
  const outcome = state.masks[thing.id];
  return outcome?.key === maskKey(thing) ? outcome.shown : undefined;
}

/** Makes the outcome of an object whose mask was kept; candidates are asked for when needed. */
export function known(thing, rle) {
  return {
    answer: null,
    candidates: [],
    key: maskKey(thing),
    shown: rle,
    pending: false,
    problem: null,
  };
}

/** Makes the outcomes of those objects whose masks are known. */
export function outcomesOf(objects, masks) {
  const drawn = objects.filter(({ id }) => masks[id]);
  return Object.fromEntries(drawn.map((thing) => [thing.id, known(thing, masks[thing.id])]));
}

function names(thing) {
  const seen = named.get(thing);
  if (seen) return seen;
  const { steps, base, tidy } = question(thing);
  const answer = steps.length ? hash(JSON.stringify([base ?? null, steps, tidy])) : null;
  const after = [answer ?? base ?? null, thing.candidate, thing.edits, thing.tidy];
  const made = { answer, key: hash(JSON.stringify(after)) };
  named.set(thing, made);
  return made;
}

/** Names a text by 64 bits (FNV-1a, twice with different beginnings). */
function hash(text) {
  let [one, other] = [0x811c9dc5, 0x01000193];
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    one = Math.imul(one ^ code, 0x01000193);
    other = Math.imul(other ^ (code + index), 0x85ebca6b);
    other ^= other >>> 13;
  }
  return `${(one >>> 0).toString(16)}-${(other >>> 0).toString(16)}-${text.length.toString(16)}`;
}
