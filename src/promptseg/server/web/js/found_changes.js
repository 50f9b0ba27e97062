// What actions do to masks that were found and are to be chosen from.

import { nextColour } from "./colours.js";
import { labels } from "./label_changes.js";
import { removedAt, replacedAt } from "./lists.js";
import { objects, settled } from "./object_changes.js";
import { newObject } from "./state.js";

export const found = {
  foundMasks: (state, { kind, masks }) => ({
    ...settled(state),
    // What was looked for by name is wanted; of all there is, some are.
    found: { kind, masks, chosen: kind === "find" ? masks.map((_, index) => index) : [] },
  }),
  foundToggled(state, { index }) {
    if (!state.found?.masks[index]) return state;
    const { chosen } = state.found;
    const next = chosen.includes(index)
      ? chosen.filter((each) => each !== index)
      : [...chosen, index];
    return { ...state, found: { ...state.found, chosen: next } };
  },
  foundAllToggled(state) {
    if (!state.found) return state;
    const { masks, chosen } = state.found;
    const all = chosen.length === masks.length ? [] : masks.map((_, index) => index);
    return { ...state, found: { ...state.found, chosen: all } };
  },
  foundMerged(state, { into, from, rle }) {
    const { found: before } = state;
    if (!before?.masks[into] || !before.masks[from] || into === from) return state;
    const merged = { ...before.masks[into], rle };
    const masks = removedAt(replacedAt(before.masks, into, merged), from);
    const moved = (index) => (index > from ? index - 1 : index);
    const kept = before.chosen.filter((index) => index !== from && index !== into).map(moved);
    return { ...state, found: { ...before, masks, chosen: [...kept, moved(into)] } };
  },
  foundTaken(state, { ids }) {
    if (!state.found) return state;
    const taken = state.found.chosen.map((index, place) => {
      const { rle, label } = state.found.masks[index];
      const more = { label: state.label ?? label ?? null, base: rle, accepted: true };
      return newObject(ids[place], more);
    });
    const left = { ...withLabels(state, taken), found: null };
    if (!taken.length) return left;
    return objects.objectsAdded(left, { key: state.current, objects: taken, outcomes: {} });
  },
  foundDropped: (state) => (state.found ? { ...state, found: null } : state),
};

/** Puts the names by which things were found into the list of labels. */
function withLabels(state, things) {
  return things
    .filter(({ label }) => label)
    .reduce((before, { label: name }) => {
      const colour = nextColour(before.labels);
      return labels.labelAdded(before, { name, colour });
    }, state);
}
