// Keeps what the page looks like and is set to, and its labels, of each folder by itself.

import {
  brushSized,
  drafted,
  imageChosen,
  imagesAdded,
  labelChosen,
  labelsReplaced,
  lookChanged,
  tidyChanged,
  toolChosen,
  viewChanged,
} from "./actions.js";
import { keptImages } from "./strip_saving.js";
import { currentImage, placeOf } from "./state.js";

const PAUSE_MS = 300;

/**
 * Bring back what `startPageSaving` kept when the page had the same folder, or none.
 * @returns {Promise<object[]>} the images that the browser has kept
 */
export async function restorePage(store, database) {
  const kept = (await database.read("page", placeOf(store.get())).catch(() => null)) ?? {};
  const images = await keptImages(store, database).catch(() => []);
  if (kept.labels?.length)
    store.dispatch(labelsReplaced(withFresh(kept.labels, store.get().labels)));
  if (kept.label) store.dispatch(labelChosen(kept.label));
  if (kept.look) store.dispatch(lookChanged(kept.look));
  if (kept.brush) store.dispatch(brushSized(kept.brush));
  if (kept.tidy) store.dispatch(tidyChanged(kept.tidy));
  if (kept.tool) store.dispatch(toolChosen(kept.tool));
  if (images.length) store.dispatch(imagesAdded(images));
  // Whoever has opened an image meanwhile stays with it.
  if (kept.current && store.get().current === null) returnTo(store, kept);
  return images;
}

/** Keep what changes, some time after it does. */
export function startPageSaving(store, database) {
  const place = placeOf(store.get());
  let timer = null;
  const write = () => {
    clearTimeout(timer);
    timer = null;
    database.write("page", [[place, pageOf(store.get())]]).catch(() => {});
  };
  store.subscribe((state, before) => {
    if (PARTS.every((part) => state[part] === before[part])) return;
    timer ??= setTimeout(write, PAUSE_MS);
  });
  const leave = () => timer !== null && write();
  window.addEventListener("pagehide", leave);
  document.addEventListener("visibilitychange", () => document.hidden && leave());
}

const PARTS = ["current", "labels", "label", "look", "brush", "tidy", "tool", "view", "draft"];

function pageOf(state) {
  const page = Object.fromEntries(PARTS.map((part) => [part, state[part]]));
  // What is shown whole will be, however large the window is then.
  const view = state.isFitted ? null : state.view;
  // A polygon of corners yet to come; which object one belongs to is not known again.
  const isOwn = state.draft?.kind === "polygon" && state.active === null;
  return { ...page, view, draft: isOwn ? state.draft : null };
}

/** Labels as they were kept, and those that the folder has since got. */
function withFresh(kept, labels) {
  const names = new Set(kept.flatMap(({ name, formerly = [] }) => [name, ...formerly]));
  return [...kept, ...labels.filter(({ name }) => !names.has(name))];
}

/** Show the image that was shown, where it was, once both are there. */
function returnTo(store, { current, view, draft }) {
  let end = () => {};
  const go = () => {
    const state = store.get();
    if (!state.images.some(({ key }) => key === current)) return;
    if (state.current !== current) store.dispatch(imageChosen(current));
    const ready = store.get().viewport.width > 1 && currentImage(store.get())?.width;
    if (!ready) return;
    end();
    if (view) store.dispatch(viewChanged(view));
    if (draft) store.dispatch(drafted(draft));
  };
  const parts = (state) => [state.images.length, state.viewport.width, currentImage(state)?.width];
  end = store.watch((state) => parts(state).join(), go);
}
