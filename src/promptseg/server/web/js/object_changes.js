// What actions do to documents: the objects of an image, what can be undone, which one is active.

import { movedTo, removedAt, replacedAt } from "./lists.js";
import {
  activeObject,
  currentDocument,
  currentImage,
  imageOf,
  newObject,
  objectOf,
  saysSomething,
} from "./state.js";
import { boxOf, within } from "./view.js";

/** @typedef {import("./state.js").State} State */
/** @typedef {import("./state.js").Document} Document */

/** @type {Document} */
export const EMPTY = Object.freeze({
  objects: [],
  past: [],
  future: [],
  done: false,
  gesture: null,
});

export const objects = {
  documentLoaded: (state, { key, document, outcomes }) => ({
    ...put(state, key, { ...EMPTY, ...document }),
    masks: { ...state.masks, ...outcomes },
  }),
  objectsReplaced: (state, { key, objects: list, outcomes }) =>
    stillActive({ ...changed(state, key, list), masks: { ...state.masks, ...outcomes } }),
  objectsAdded: (state, { key, objects: list, outcomes }) => ({
    ...changed(state, key, [...(state.documents[key]?.objects ?? []), ...list]),
    masks: { ...state.masks, ...outcomes },
  }),
  doneMarked: (state, { key, done }) =>
    put(state, key, { ...documentOf(state, key), done }),
  undone: (state) =>
    state.draft?.kind === "polygon" ? shortened(state) : travelled(state, "past", "future"),
  redone: (state) => travelled(state, "future", "past"),

  pointAdded(state, { point, label, id }) {
    const image = currentImage(state);
    if (!image?.width) return state;
    const step = { points: [within(point, image)], labels: [label] };
    return said(state, id, (thing) => ({ ...thing, steps: [...thing.steps, step], candidate: 0 }));
  },
  boxAdded(state, { box, fresh, id }) {
    const image = currentImage(state);
    const inside = image?.width ? boxOf(box.slice(0, 2), box.slice(2), image) : null;
    if (!inside) return state;
    const begun = fresh ? settled(state) : state;
    const step = { box: inside };
    return said(begun, id, (thing) => ({ ...thing, steps: [...thing.steps, step], candidate: 0 }));
  },
  editAdded: (state, { edit, id }) =>
    said(state, id, (thing) => ({ ...thing, edits: [...thing.edits, edit] })),
  candidateCycled(state, { by, count }) {
    const thing = activeObject(state);
    if (!thing || thing.locked || count < 2) return state;
    const candidate = (((thing.candidate + by) % count) + count) % count;
    return altered(state, thing.id, { candidate }, `candidate ${thing.id}`);
  },
  tidyChanged(state, { tidy, gesture }) {
    const thing = activeObject(state);
    const next = { ...state, tidy: { ...state.tidy, ...tidy } };
    if (!thing || thing.locked) return next;
    return altered(next, thing.id, { tidy: { ...thing.tidy, ...tidy } }, gesture);
  },

  objectActivated(state, { id }) {
    if (id === state.active) return state;
    const left = settled(state);
    const thing = objectOf(left, id);
    if (!thing) return left;
    return { ...left, active: id, before: thing, hover: null, tidy: thing.tidy };
  },
  objectAccepted: (state, { id }) =>
    state.draft?.kind === "polygon" ? closed(state, id) : settled(state),
  objectCancelled(state) {
    if (state.draft) return { ...state, draft: null };
    const thing = activeObject(state);
    if (!thing) return { ...state, active: null, before: null, draft: null, hover: null };
    const { objects: list } = currentDocument(state);
    const index = list.indexOf(thing);
    const before = state.before?.id === thing.id ? state.before : null;
    const next = before ? replacedAt(list, index, before) : removedAt(list, index);
    const kept = before === thing ? state : changed(state, state.current, next);
    return { ...kept, active: null, before: null, draft: null, hover: null };
  },

  objectLabelled: (state, { id, label }) => altered(state, id, { label }),
  objectShown: (state, { id, visible }) => altered(state, id, { visible }, null, true),
  objectLocked: (state, { id, locked }) => altered(state, id, { locked }, null, true),
  objectMoved(state, { id, to }) {
    const list = currentDocument(state)?.objects ?? [];
    const index = list.findIndex((each) => each.id === id);
    const place = Math.min(Math.max(to, 0), list.length - 1);
    if (index < 0 || index === place) return state;
    return changed(state, state.current, movedTo(list, index, place));
  },
  objectDeleted(state, { id }) {
    const thing = objectOf(state, id);
    if (!thing || thing.locked) return state;
    const left = currentDocument(state).objects.filter((each) => each.id !== id);
    return stillActive(changed(state, state.current, left));
  },
};

/** Accepts the active object, or lets go of it where nothing was said of it. */
export function settled(state) {
  const thing = activeObject(state);
  const idle = { ...state, active: null, before: null, draft: null, hover: null };
  if (!thing || thing.accepted) return idle;
  if (!saysSomething(thing)) {
    const list = currentDocument(state).objects.filter((each) => each !== thing);
    return rewritten(idle, list);
  }
  const accepted = { ...thing, accepted: true };
  return rewritten(idle, exchanged(currentDocument(state).objects, thing, accepted));
}

/** Makes an edit of the polygon that is being drawn; one of two corners has no inside. */
function closed(state, id) {
  const { mode, points } = state.draft;
  const left = { ...state, draft: null };
  if (points.length < 3) return left;
  const edit = { mode, kind: "polygon", points, radius: 0 };
  return objects.editAdded(left, { edit, id });
}

/** Takes the last corner of the polygon back. */
function shortened(state) {
  const points = state.draft.points.slice(0, -1);
  return { ...state, draft: points.length ? { ...state.draft, points } : null };
}

/** Says more about the active object, or about a new one where none is. */
function said(state, id, more) {
  const thing = activeObject(state);
  if (!state.current || thing?.locked) return state;
  if (thing) {
    const list = currentDocument(state).objects;
    const next = changed(state, state.current, exchanged(list, thing, more(thing)));
    return { ...next, hover: null };
  }
  const begun = more(newObject(id, { label: state.label, tidy: state.tidy }));
  const list = currentDocument(state)?.objects ?? [];
  const next = changed(state, state.current, [...list, begun]);
  return { ...next, active: id, before: null, hover: null };
}

function exchanged(list, thing, other) {
  return replacedAt(list, list.indexOf(thing), other);
}

function altered(state, id, more, gesture = null, evenLocked = false) {
  const thing = objectOf(state, id);
  if (!thing || (thing.locked && !evenLocked)) return state;
  const list = currentDocument(state).objects;
  return changed(state, state.current, exchanged(list, thing, { ...thing, ...more }), gesture);
}

/** Makes `list` the objects of an image; one gesture is one step back. */
function changed(state, key, list, gesture = null) {
  const document = documentOf(state, key);
  const goesOn = gesture !== null && gesture === document.gesture;
  const past = goesOn ? document.past : [...document.past, document.objects];
  return put(state, key, { ...document, objects: list, past, future: [], gesture });
}

/** Makes `list` the objects of the image that is shown, within the step that was taken last. */
function rewritten(state, list) {
  const document = currentDocument(state);
  return put(state, state.current, { ...document, objects: list, gesture: null });
}

function travelled(state, from, to) {
  const document = currentDocument(state);
  if (!document?.[from].length) return state;
  const moved = {
    ...document,
    objects: document[from].at(-1),
    [from]: document[from].slice(0, -1),
    [to]: [...document[to], document.objects],
    gesture: null,
  };
  const next = put({ ...state, hover: null, draft: null }, state.current, moved);
  const unfinished = moved.objects.find((each) => !each.accepted);
  if (unfinished) return { ...next, active: unfinished.id };
  return stillActive(next);
}

/** Lets go of an active object that is no more. */
function stillActive(state) {
  if (state.active === null || objectOf(state, state.active)) return state;
  return { ...state, active: null, before: null, draft: null, hover: null };
}

/** What is drawn on an image; one that was not read yet is begun, as done as it is listed. */
function documentOf(state, key) {
  return state.documents[key] ?? { ...EMPTY, done: imageOf(state, key)?.done ?? false };
}

function put(state, key, document) {
  return { ...state, documents: { ...state.documents, [key]: document } };
}
