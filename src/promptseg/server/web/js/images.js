// Sessions of the service for the image that is shown and the next ones, which are looked at ahead
// of time; and whether there is a service at all.

import {
  folderSeen,
  imageFailed,
  imageMeasured,
  imagesAdded,
  labelAdded,
  noticed,
  serviceLost,
  serviceSeen,
  sessionLost,
  sessionOpened,
} from "./actions.js";
import { reportError } from "./asking.js";
import { nextColour } from "./colours.js";
import { askForKey } from "./key.js";
import * as service from "./service.js";
import { imageOf } from "./state.js";

const AHEAD = 2;
const KEPT_BEHIND = 1;
const FULL = 429;
const KNOCK = 1500;
const LATER = 3000;

/** @type {Map<string, Promise<object>>} sessions that are being opened, by image */
const opening = new Map();

/** Begins to keep sessions open, and to look whether the service is there. */
export function keepSessions(store) {
  const look = () => void openNext(store);
  store.watch((state) => state.current, look);
  store.watch((state) => state.images.length, look);
  store.watch((state) => state.sessions, look);
  store.watch((state) => state.service.phase, look);
  store.watch(
    (state) => state.service.phase === "lost",
    (isLost) => isLost && setTimeout(() => knock(store), KNOCK),
  );
  addEventListener("pagehide", () => leave(store));
  addEventListener("pageshow", ({ persisted }) => persisted && store.dispatch(sessionLost()));
}

/** Asks the service what it is and what its folder has. */
export async function greet(store) {
  try {
    const { model, verbs } = await service.models();
    store.dispatch(serviceSeen(model, verbs));
    await listFolder(store);
  } catch (error) {
    if (error.isLost) store.dispatch(serviceLost());
    else if (error.status === 401 && (await askForKey(error.message))) await greet(store);
    else store.dispatch(noticed("problem", error.message));
  }
}

/** Lists the images of the folder; those that are new are added to the strip. */
export async function listFolder(store) {
  const folder = await service.folder();
  if (!folder) return;
  store.dispatch(folderSeen(folder));
  store.dispatch(imagesAdded(folder.images.map(entry)));
  for (const name of folder.labels ?? []) {
    const { labels } = store.get();
    const isKnown = labels.some((each) => each.name === name || each.formerly?.includes(name));
    if (!isKnown) store.dispatch(labelAdded(name, nextColour(labels)));
  }
}

/** Returns a session of an image, which is opened if it is not. */
export function sessionOf(store, key) {
  const open = store.get().sessions[key];
  return open ? Promise.resolve(open) : (opening.get(key) ?? begin(store, key));
}

function entry({ name, width, height, done, objects, problem }) {
  const image = { key: `folder:${name}`, name, width, height, from: "folder", done, objects };
  return problem ? { ...image, problem } : image;
}

/** Opens what is wanted next, one at a time, and closes what is far away. */
async function openNext(store) {
  if (store.get().service.phase !== "ready" || opening.size) return;
  closeFar(store);
  const { images, current, sessions } = store.get();
  const index = images.findIndex(({ key }) => key === current);
  // Whoever heard of what was closed may have begun to open the next.
  if (index < 0 || opening.size) return;
  const wanted = images
    .slice(index, index + AHEAD + 1)
    .find(({ key, problem }) => !problem && !sessions[key]);
  if (!wanted) return;
  try {
    await begin(store, wanted.key);
    void openNext(store);
  } catch (error) {
    // It has been said; an image that cannot be used is marked, and the next one may do.
    setTimeout(() => openNext(store), error.passes ? LATER : 0);
  }
}

function begin(store, key) {
  const opened = open(store, key).finally(() => opening.delete(key));
  opening.set(key, opened);
  return opened;
}

async function open(store, key) {
  const image = imageOf(store.get(), key);
  const source = image.from === "folder" ? { name: image.name } : { blob: image.blob };
  try {
    const session = await openWithRoom(store, key, source);
    store.dispatch(imageMeasured(key, session.width, session.height));
    store.dispatch(sessionOpened(key, session));
    return session;
  } catch (error) {
    // That the next one must wait is nobody's trouble yet.
    const matters = !error.passes || key === store.get().current;
    if (error.isLost) store.dispatch(serviceLost());
    else if (matters) store.dispatch(noticed("problem", `${image.name}: ${error.message}`));
    if (!error.passes) store.dispatch(imageFailed(key, error.message));
    throw error;
  }
}

/** Where there is room for no more, sessions of other images make way for the one that is shown. */
async function openWithRoom(store, key, source) {
  try {
    return await service.openSession(source);
  } catch (error) {
    const others = Object.entries(store.get().sessions);
    if (error.status !== FULL || key !== store.get().current || !others.length) throw error;
    for (const [each] of others) store.dispatch(sessionLost(each));
    await Promise.allSettled(others.map(([, { id }]) => service.closeSession(id)));
    return service.openSession(source);
  }
}

/** Closes all sessions as the page goes, for the service has room for so many. */
function leave(store) {
  for (const { id } of Object.values(store.get().sessions)) {
    service.closeSession(id).catch(() => {});
  }
}

function closeFar(store) {
  const { images, current, sessions } = store.get();
  const index = images.findIndex(({ key }) => key === current);
  const some =
    index < 0 ? [] : images.slice(Math.max(0, index - KEPT_BEHIND), index + AHEAD + 1);
  const near = new Set(some.map(({ key }) => key));
  for (const [key, { id }] of Object.entries(sessions)) {
    // Whoever hears of one that is closed may have closed the next by now.
    if (near.has(key) || store.get().sessions[key]?.id !== id) continue;
    store.dispatch(sessionLost(key));
    service.closeSession(id).catch((error) => error.isLost && reportError(store, key, error));
  }
}

async function knock(store) {
  if (store.get().service.phase !== "lost") return;
  if (await service.isReady()) await greet(store);
  if (store.get().service.phase === "lost") setTimeout(() => knock(store), KNOCK);
}
