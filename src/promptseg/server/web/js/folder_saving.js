// Keeps documents beside the images of a folder, where others may write too: nobody overwrites what
// they have not seen, and what both have changed is put together.

import {
  doneMarked,
  noticed,
  objectsReplaced,
  savedSaid,
  serviceLost,
} from "./actions.js";
import { currentMask, outcomesOf } from "./derived.js";
import { merged } from "./merging.js";
import { ask, askJson } from "./service.js";
import { imageOf, newId, saysSomething } from "./state.js";

// Changes that come within this time are written together.
const PAUSE_MS = 500;
const AGAIN_MS = 5000;
const CONFLICT = 412;

const EMPTY = { objects: [], done: false, past: [], future: [] };
const NOTHING = { ...EMPTY, masks: {}, base: null, synced: true };
/** The folder before it was asked; nobody can replace anything by this revision. */
const UNREAD = { revision: "none", objects: [], done: false };

/**
 * @param {object} store
 * @param {Map<string, import("./saving.js").Entry>} entries
 * @param {(key: string) => void} note told where what the browser keeps has changed
 */
export function startFolderSaving(store, entries, note) {
  /** @type {Map<string, number>} the timer of each image that is to be sent */
  const waiting = new Map();
  const sending = new Set();

  const later = (key, wait) => {
    clearTimeout(waiting.get(key));
    waiting.set(
      key,
      setTimeout(() => send(key), wait),
    );
  };
  const send = async (key) => {
    waiting.delete(key);
    const entry = entries.get(key);
    if (sending.has(key) || !areSettled(store.get(), key, entry)) return later(key, PAUSE_MS);
    sending.add(key);
    try {
      await put(store, key, entry);
      note(key);
      if (!entry.synced) later(key, PAUSE_MS);
    } catch (error) {
      failed(store, key, entry, error);
      later(key, AGAIN_MS);
    } finally {
      sending.delete(key);
    }
    return undefined;
  };
  const reread = async (key, entry) => {
    entry.unread = false;
    await meet(store, key, entry).catch(() => {
      entry.unread = true;
    });
  };

  store.watch(
    (state) => state.service.phase,
    (phase) => {
      if (phase !== "ready") return;
      for (const key of waiting.keys()) later(key, 0);
      for (const [key, entry] of entries) if (entry.unread) void reread(key, entry);
    },
  );
  return {
    idle: () => waiting.size + sending.size === 0,
    /** Keep an image's document in the folder soon, where it belongs to one. */
    note(key) {
      const state = store.get();
      const { folder } = state.service;
      if (!folder?.writable || imageOf(state, key)?.from !== "folder") return;
      if (entries.get(key)?.base) later(key, PAUSE_MS);
    },
    /** Read what the folder has, and put it together with what the browser has kept of it. */
    together: (image, record) => together(store, image, record),
  };
}

async function together(store, image, record) {
  const kept = { ...NOTHING, ...record };
  const { objects, done, past, future } = kept;
  const own = { document: { objects, done, past, future }, masks: kept.masks };
  let base;
  try {
    base = await read(store.get(), image);
  } catch (error) {
    const base = kept.base ?? UNREAD;
    if (error.isLost) return { ...own, base, synced: kept.synced, unread: true };
    const text = "what the folder has cannot be read, so only this browser keeps your work on it";
    store.dispatch(noticed("problem", `${image.name}: ${text}. ${error.message}`));
    return { ...own, base: null, synced: true };
  }
  const isOurs = kept.base?.revision === base.revision || !store.get().service.folder?.writable;
  if (record && isOurs) {
    return { ...own, masks: { ...base.masks, ...kept.masks }, base, synced: kept.synced };
  }
  if (kept.synced) {
    return {
      document: { objects: base.objects, done: base.done },
      masks: base.masks,
      base,
      synced: true,
    };
  }
  const both = merged(kept.base?.objects ?? [], objects, base.objects, newId);
  tell(store, image.name, both.both);
  return {
    document: { objects: both.objects, done: done || base.done },
    masks: { ...kept.masks, ...base.masks },
    base,
    synced: false,
  };
}

/** Somebody else has written: put theirs and ours together. */
async function meet(store, key, entry) {
  const image = imageOf(store.get(), key);
  const theirs = await read(store.get(), image);
  const ours = store.get().documents[key].objects;
  const { objects, both } = merged(entry.base?.objects ?? [], ours, theirs.objects, newId);
  const own = new Set(ours);
  const fresh = objects.filter((thing) => !own.has(thing));
  const turned = theirs.done !== entry.base?.done && entry.done === entry.base?.done;
  entry.base = theirs;
  if (turned) store.dispatch(doneMarked(key, theirs.done));
  if (objects.length === ours.length && objects.every((thing) => own.has(thing))) return;
  tell(store, image.name, both);
  store.dispatch(savedSaid("conflict"));
  store.dispatch(objectsReplaced(key, objects, outcomesOf(fresh, theirs.masks)));
}

function tell(store, name, both) {
  const more = both
    ? ` ${both} that both had changed are there twice: delete the one you do not want.`
    : "";
  store.dispatch(
    noticed("problem", `${name} was changed elsewhere too. Both versions are put together.${more}`),
  );
}

/** What the folder has of an image: its revision, its objects, and their masks by id. */
async function read(state, image) {
  const { document, revision } = await askJson(addressOf(image), { cache: "no-store" });
  const taken = idsOfOthers(state, image.key);
  const masks = {};
  const objects = (document?.objects ?? []).map(({ rle, ...said }) => {
    // Files that others wrote number their objects alike.
    const thing = taken.has(said.id) ? { ...said, id: newId() } : said;
    if (rle) masks[thing.id] = rle;
    return thing;
  });
  return { revision, objects, done: document?.done ?? false, masks };
}

function idsOfOthers(state, key) {
  const others = Object.entries(state.documents).filter(([each]) => each !== key);
  return new Set(others.flatMap(([, { objects }]) => objects.map(({ id }) => id)));
}

/** Write what is drawn on an image; where others have written meanwhile, what both have made. */
async function put(store, key, entry) {
  const { objects, done } = entry;
  try {
    const revision = await sent(store.get(), key, entry);
    entry.base = { revision, objects, done };
    entry.told = null;
    entry.synced = entry.objects === objects && entry.done === done;
  } catch (error) {
    if (error.status !== CONFLICT) throw error;
    await meet(store, key, entry);
    entry.synced = false;
  }
}

async function sent(state, key, { objects, done, base }) {
  const image = imageOf(state, key);
  const { width, height } = image;
  const said = objects
    .filter(saysSomething)
    .map((thing) => ({ ...thing, rle: currentMask(state, thing) ?? null }));
  const response = await ask(addressOf(image), {
    method: "PUT",
    headers: { "Content-Type": "application/json", "If-Match": `"${base.revision}"` },
    body: JSON.stringify({ width, height, done, objects: said }),
  });
  return (await response.json()).revision;
}

/** Whether every mask is that of its object as it is now, or will not come before it is shown. */
function areSettled(state, key, { objects }) {
  return objects.filter(saysSomething).every((thing) => {
    const { pending = false, problem = null } = state.masks[thing.id] ?? {};
    const isHere = problem !== null || currentMask(state, thing) !== undefined;
    return !pending && (isHere || key !== state.current);
  });
}

function failed(store, key, entry, error) {
  store.dispatch(savedSaid("unsaved"));
  if (error.isLost) return store.dispatch(serviceLost());
  // It is tried again and again, and said once.
  if (entry.told === error.message) return undefined;
  entry.told = error.message;
  const name = imageOf(store.get(), key)?.name ?? "An image";
  const text = `${name} is not saved in the folder, only in this browser`;
  return store.dispatch(noticed("problem", `${text}. ${error.message}`));
}

function addressOf({ name }) {
  return `v1/folder/annotations?${new URLSearchParams({ name })}`;
}
