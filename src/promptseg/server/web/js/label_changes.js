// What actions do to labels.

import { objects } from "./object_changes.js";
import { activeObject } from "./state.js";

export const labels = {
  labelChosen(state, { name }) {
    const chosen = { ...state, label: name };
    const thing = activeObject(chosen);
    if (!thing) return chosen;
    return objects.objectLabelled(chosen, { id: thing.id, label: name });
  },
  labelAdded(state, { name, colour }) {
    if (!name || state.labels.some((each) => each.name === name)) return state;
    return { ...state, labels: [...state.labels, { name, colour }] };
  },
  labelsReplaced: (state, { labels: list }) => ({
    ...state,
    labels: list,
    label: list.some((each) => each.name === state.label) ? state.label : null,
  }),
  labelRenamed(state, { name, to }) {
    const taken = state.labels.some((each) => each.name === to);
    if (!to || taken || !state.labels.some((each) => each.name === name)) return state;
    return {
      ...state,
      labels: state.labels.map((each) => (each.name === name ? named(each, to) : each)),
      label: state.label === name ? to : state.label,
      documents: Object.fromEntries(
        Object.entries(state.documents).map(([key, each]) => [key, relabelled(each, name, to)]),
      ),
    };
  },
  labelColoured: (state, { name, colour }) => ({
    ...state,
    labels: state.labels.map((each) => (each.name === name ? { ...each, colour } : each)),
  }),
  labelRemoved: (state, { name }) => ({
    ...state,
    labels: state.labels.filter((each) => each.name !== name),
    label: state.label === name ? null : state.label,
  }),
};

/** Keeps the names that it had: files that are not open still have them. */
function named(label, to) {
  const formerly = [...(label.formerly ?? []), label.name].filter((name) => name !== to);
  return { ...label, name: to, formerly };
}

/** Renames in what was and what will be too, so that undoing brings no old name back. */
function relabelled(document, name, to) {
  const renamed = (list) =>
    list.some((each) => each.label === name)
      ? list.map((each) => (each.label === name ? { ...each, label: to } : each))
      : list;
  return {
    ...document,
    objects: renamed(document.objects),
    past: document.past.map(renamed),
    future: document.future.map(renamed),
  };
}
