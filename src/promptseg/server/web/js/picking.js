// Which mask is meant by a place of the image: the smallest there, for it may lie on a larger one,
// and of two that are alike the upper one.

import { runsOfMask } from "./painting.js";
import { area, has } from "./runs.js";
import { currentObjects, maskOf } from "./state.js";

/** Returns the object at a place; null where none is seen. */
export function objectAt(state, place) {
  const things = currentObjects(state).filter(({ id, visible }) => visible && maskOf(state, id));
  return smallest(things, ({ id }) => maskOf(state, id), place);
}

/** Returns which of what was found is at a place; -1 where there is none. */
export function foundAt({ found }, place) {
  return found.masks.indexOf(smallest(found.masks, ({ rle }) => rle, place));
}

/** Tells whether a place is in a mask. */
export function isIn(rle, place) {
  return has(runsOfMask(rle), ...place);
}

function smallest(list, rleOf, place) {
  const size = (each) => area(runsOfMask(rleOf(each)));
  return list
    .filter((each) => isIn(rleOf(each), place))
    .reduce((best, each) => (best && size(best) < size(each) ? best : each), null);
}
