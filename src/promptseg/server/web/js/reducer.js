// What each action does to the state. Pure: nothing is asked, drawn or kept here.

import { found } from "./found_changes.js";
import { labels } from "./label_changes.js";
import { objects, settled } from "./object_changes.js";
import { currentImage, imageOf, isUsable } from "./state.js";
import { fitted, isInside, natural, panned, toImage, toScreen, zoomed } from "./view.js";

/** @typedef {import("./state.js").State} State */

/** Returns the state after an action; the same one where nothing changes. */
export function reduce(state, action) {
  const change = CHANGES[action.type];
  if (!change) throw new TypeError(`there is no action ${action.type}`);
  return counted(change(state, action), state);
}

const service = {
  serviceSeen(state, { model, verbs }) {
    const seen = { ...state, service: { ...state.service, phase: "ready", model, verbs } };
    if (isUsable(seen, seen.tool)) return seen;
    return tools.toolChosen(seen, { tool: isUsable(seen, "find") ? "find" : "brush" });
  },
  serviceLost: (state) =>
    state.service.phase === "lost"
      ? state
      : { ...state, service: { ...state.service, phase: "lost" }, hover: null },
  folderSeen: (state, { folder }) => ({
    ...state,
    service: { ...state.service, folder: { name: folder.name, writable: folder.writable } },
  }),
};

const images = {
  imagesAdded(state, { images }) {
    const known = new Set(state.images.map((image) => image.key));
    const fresh = images.filter((image) => !known.has(image.key));
    return fresh.length ? { ...state, images: [...state.images, ...fresh] } : state;
  },
  imageRemoved(state, { key }) {
    const index = state.images.findIndex((image) => image.key === key);
    if (index < 0) return state;
    const left = state.images.filter((image) => image.key !== key);
    const next = (left[index] ?? left[index - 1])?.key ?? null;
    const shown = state.current === key ? chosen(state, next) : state;
    return {
      ...shown,
      images: left,
      documents: without(shown.documents, key),
      masks: without(shown.masks, ...(shown.documents[key]?.objects ?? []).map(({ id }) => id)),
    };
  },
  imageChosen: (state, { key }) =>
    key === state.current || !imageOf(state, key) ? state : chosen(state, key),
  imageStepped(state, { by }) {
    const index = state.images.findIndex((image) => image.key === state.current);
    const next = state.images[Math.min(Math.max(index + by, 0), state.images.length - 1)];
    return !next || next.key === state.current ? state : chosen(state, next.key);
  },
  imageMeasured(state, { key, width, height }) {
    const before = imageOf(state, key);
    if (!before || (before.width === width && before.height === height)) return state;
    const measured = patched(state, key, { width, height });
    return key === state.current ? fit(measured) : measured;
  },
  imageFailed: (state, { key, problem }) => patched(state, key, { problem }),
  sessionOpened: (state, { key, session }) => ({
    ...state,
    sessions: { ...state.sessions, [key]: session },
  }),
  sessionLost: (state, { key }) => ({
    ...state,
    sessions: key === null ? {} : without(state.sessions, key),
  }),
};

const tools = {
  toolChosen: (state, { tool }) =>
    tool === state.tool || !isUsable(state, tool)
      ? state
      : { ...state, tool, draft: null, hover: null },
  brushSized: (state, { radius }) => ({
    ...state,
    brush: Math.min(Math.max(Math.round(radius * 2) / 2, 0.5), 1000),
  }),
  drafted: (state, { draft }) => (draft === state.draft ? state : { ...state, draft }),
  hovered: (state, { hover }) => (hover === state.hover ? state : { ...state, hover }),
  searchChanged: (state, { search }) => ({ ...state, search: { ...state.search, ...search } }),
  outcomeChanged: (state, { id, outcome }) => ({
    ...state,
    masks: { ...state.masks, [id]: { ...(state.masks[id] ?? NO_OUTCOME), ...outcome } },
  }),
};

const views = {
  viewChanged: (state, { view }) => moved(state, view),
  viewFitted: (state) => fit(state),
  viewNatural: (state) => moved(state, natural(state.view, state.viewport)),
  viewZoomed(state, { factor, at }) {
    const place = at ?? [state.viewport.width / 2, state.viewport.height / 2];
    return moved(state, zoomed(state.view, factor, place, currentImage(state)));
  },
  viewPanned(state, { dx, dy }) {
    const image = currentImage(state);
    return image ? moved(state, panned(state.view, dx, dy, image, state.viewport)) : state;
  },
  viewportSized(state, { width, height }) {
    const { viewport } = state;
    if (viewport.width === width && viewport.height === height) return state;
    const sized = { ...state, viewport: { width, height } };
    return state.isFitted ? fit(sized) : sized;
  },
  crosshairMoved(state, { dx, dy }) {
    const image = currentImage(state);
    if (!image?.width) return state;
    const { view, viewport } = state;
    const middle = toImage(view, [viewport.width / 2, viewport.height / 2]);
    const [x, y] = state.crosshair ?? (isInside(middle, image) ? middle : [0.5, 0.5]);
    const next = [x + dx / view.scale, y + dy / view.scale];
    return inSight({ ...state, crosshair: held(next, image) });
  },
  crosshairHidden: (state) => (state.crosshair ? { ...state, crosshair: null } : state),
  crosshairSaid: (state, { label, id }) =>
    state.crosshair && isUsable(state, "click")
      ? objects.pointAdded(state, { point: state.crosshair, label, id })
      : state,
  lookChanged: (state, { look }) => ({ ...state, look: { ...state.look, ...look } }),
};

const room = {
  workBegan: (state, { work }) => ({ ...state, work }),
  workWent: (state, { done, total }) =>
    state.work ? { ...state, work: { ...state.work, done, total } } : state,
  workEnded: (state) => (state.work ? { ...state, work: null } : state),
  noticed(state, { kind, text, id }) {
    const others = state.notices.filter((notice) => notice.text !== text);
    return { ...state, notices: [...others, { id, kind, text }] };
  },
  noticeDismissed: (state, { id }) => ({
    ...state,
    notices: state.notices.filter((notice) => notice.id !== id),
  }),
  dialogOpened: (state, { dialog }) => ({ ...state, dialog }),
  dialogClosed: (state) => (state.dialog ? { ...state, dialog: null } : state),
  savedSaid: (state, { saved }) => (saved === state.saved ? state : { ...state, saved }),
};

const CHANGES = {
  ...service,
  ...images,
  ...objects,
  ...found,
  ...labels,
  ...tools,
  ...views,
  ...room,
};

export const NO_OUTCOME = {
  answer: null,
  candidates: [],
  key: null,
  shown: null,
  pending: false,
  problem: null,
};

function chosen(state, key) {
  const left = settled(state);
  const shown = {
    ...left,
    current: key,
    active: null,
    before: null,
    hover: null,
    draft: null,
    found: null,
    crosshair: null,
    search: { ...left.search, include: [], exclude: [] },
  };
  return fit(shown);
}

function fit(state) {
  const image = currentImage(state);
  if (!image?.width) return { ...state, isFitted: true };
  return { ...state, view: fitted(image, state.viewport), isFitted: true };
}

function moved(state, view) {
  return { ...state, view, isFitted: false };
}

function held([x, y], image) {
  const kept = (value, extent) => Math.min(Math.max(value, 0.5), extent - 0.5);
  return [kept(x, image.width), kept(y, image.height)];
}

/** Moves the view so that the crosshair is seen. */
function inSight(state) {
  const [x, y] = toScreen(state.view, state.crosshair);
  const { width, height } = state.viewport;
  const missing = (at, room) => Math.max(0, 24 - at) - Math.max(0, at - (room - 24));
  const [dx, dy] = [missing(x, width), missing(y, height)];
  if (!dx && !dy) return state;
  return moved(state, { ...state.view, x: state.view.x + dx, y: state.view.y + dy });
}

function patched(state, key, more) {
  return {
    ...state,
    images: state.images.map((image) => (image.key === key ? { ...image, ...more } : image)),
  };
}

/** Notes at images whose documents changed how many objects they have, and whether they are done. */
function counted(state, before) {
  if (state.documents === before.documents) return state;
  return Object.keys(state.documents)
    .filter((key) => state.documents[key] !== before.documents[key])
    .reduce(noted, state);
}

function noted(state, key) {
  const { done, objects: list } = state.documents[key];
  const image = imageOf(state, key);
  if (!image || (image.done === done && image.objects === list.length)) return state;
  return patched(state, key, { done, objects: list.length });
}

function without(record, ...keys) {
  const left = { ...record };
  for (const key of keys) delete left[key];
  return left;
}
