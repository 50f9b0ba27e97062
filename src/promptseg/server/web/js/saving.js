// Keeps all that is done as it happens: in the browser at once, and beside the images of a folder.

import { documentLoaded, noticed, objectsReplaced, savedSaid } from "./actions.js";
import { openDatabase } from "./database.js";
import { currentMask, outcomesOf } from "./derived.js";
import { startFolderSaving } from "./folder_saving.js";
import { merged } from "./merging.js";
import { restorePage, startPageSaving } from "./page_saving.js";
import { imageOf, newId, placeOf } from "./state.js";
import { startStripSaving } from "./strip_saving.js";

// How long after a change it is written, so that one stroke is written once.
const PAUSE_MS = 300;
// So many steps can be taken back after a reload.
const MOST_STEPS = 100;

/**
 * What is kept of an image: objects and masks (`shown`) as they were last noted, what the folder had
 * when it was last read or written (`base`, null where there is no folder), what the browser has
 * (`written`), and whether folder and browser are alike (`synced`) or the folder could not be asked.
 * @typedef {{objects: object[], done: boolean, shown: any[]|null, synced: boolean,
 *   unread?: boolean, written?: object,
 *   base: {revision: string, objects: object[], done: boolean}|null}} Entry
 */

/**
 * Bring back what was kept, and keep what comes; to be begun when the service's folder is known.
 * Resolves when the images of the browser are back.
 * @returns {Promise<{load: (key: string) => Promise<void>, flush: () => Promise<void>}>}
 */
export async function startSaving(store) {
  const database = await openDatabase();
  /** @type {Map<string, Entry>} */
  const entries = new Map();
  const waiting = new Set();
  const writing = new Set();
  let timer = null;
  if (!database.lasting) store.dispatch(noticed("problem", FORGETFUL));
  if (store.get().service.folder?.writable === false) store.dispatch(noticed("info", READ_ONLY));

  const flush = async () => {
    clearTimeout(timer);
    timer = null;
    if (waiting.size === 0) return;
    const keys = [...waiting].filter((key) => store.get().documents[key]);
    waiting.clear();
    keys.forEach((key) => writing.add(key));
    try {
      await alone(() => writeDocuments(store, database, entries, keys));
      if (folder.idle()) store.dispatch(savedSaid("saved"));
    } catch (error) {
      keys.forEach((key) => waiting.add(key));
      store.dispatch(savedSaid("unsaved"));
      const text = `The browser does not keep your work (${error?.name}): export it.`;
      store.dispatch(noticed("problem", text));
    } finally {
      keys.forEach((key) => writing.delete(key));
    }
  };
  const note = (key) => {
    waiting.add(key);
    store.dispatch(savedSaid("saving"));
    timer ??= setTimeout(flush, PAUSE_MS);
  };
  const folder = startFolderSaving(store, entries, note);
  const noteBoth = (key) => {
    note(key);
    folder.note(key);
  };
  const load = loader((key) => loadDocument(store, database, entries, folder, key), noteBoth);

  store.subscribe((state, before) => {
    if (state.documents === before.documents && state.masks === before.masks) return;
    changedKeys(store.get(), entries).forEach(noteBoth);
  });
  store.watch(
    (state) => state.current,
    (key) => key !== null && load(key),
  );
  // There is no time to look what another tab has done.
  window.addEventListener("pagehide", () => {
    const keys = [...new Set([...waiting, ...writing])].filter(
      (key) => store.get().documents[key],
    );
    const pairs = keys.map((key) => [
      addressOf(store, key),
      recordOf(store, key, entries.get(key)),
    ]);
    if (pairs.length > 0) database.write("documents", pairs).catch(() => {});
  });
  window.addEventListener("beforeunload", (event) => {
    if (!database.lasting && entries.size > 0) event.preventDefault();
  });
  document.addEventListener("visibilitychange", () => document.hidden && flush());

  const kept = await restorePage(store, database);
  startPageSaving(store, database);
  startStripSaving(store, database, kept);
  return { load, flush };
}

const READ_ONLY = "The folder cannot be written to, so this browser alone keeps your work.";
const FORGETFUL =
  "This browser keeps nothing for this page, as in a private window. Export before you close it.";

/** Let no other tab write meanwhile. */
function alone(work) {
  return navigator.locks ? navigator.locks.request("promptseg documents", work) : work();
}

async function writeDocuments(store, database, entries, keys) {
  for (const key of keys) {
    const address = addressOf(store, key);
    const entry = entries.get(key);
    const shared = entry.base && store.get().service.folder?.writable;
    if (!shared) meetTab(store, key, entry, await database.read("documents", address));
    const record = recordOf(store, key, entry);
    await database.write("documents", [[address, record]]);
    entry.written = record;
  }
}

/** Another tab has written since: what it made comes in too. */
function meetTab(store, key, entry, record) {
  if (!record || record.stamp === entry.written?.stamp) return;
  const ours = store.get().documents[key].objects;
  const { objects } = merged(entry.written?.objects ?? [], ours, record.objects, newId);
  const own = new Set(ours);
  const fresh = objects.filter((thing) => !own.has(thing));
  store.dispatch(objectsReplaced(key, objects, outcomesOf(fresh, record.masks)));
}

/** Load each image's document once, however often it is asked for. */
function loader(loadOne, note) {
  /** @type {Map<string, Promise<void>>} */
  const loading = new Map();
  const begin = async (key) => {
    if (await loadOne(key)) note(key);
  };
  return function load(key) {
    if (!loading.has(key)) loading.set(key, begin(key));
    return loading.get(key);
  };
}

/** Tells whether what was loaded differs from what is kept. */
async function loadDocument(store, database, entries, folder, key) {
  const image = imageOf(store.get(), key);
  const kept = await database.read("documents", addressOf(store, key)).catch(() => undefined);
  // Another folder of this name may have another image of this name.
  const record = kept && kept.size === sizeOf(image) ? kept : undefined;
  const read = image?.from === "folder" ? await folder.together(image, record) : ofBrowser(record);
  const { document: found, masks, ...standing } = read;
  const document = { ...found, objects: found.objects.map(renamedIn(store.get().labels)) };
  // What was drawn before this was read stays, on top.
  const early = store.get().documents[key];
  const ids = new Set(document.objects.map(({ id }) => id));
  const objects = [...document.objects, ...(early?.objects ?? []).filter(({ id }) => !ids.has(id))];
  const isSame = !early && objects.every((thing) => found.objects.includes(thing));
  const changed = !standing.synced || !isSame;
  const past = [...(document.past ?? []), ...(early?.past.length ? [document.objects] : [])];
  const future = early?.past.length ? [] : (document.future ?? []);
  const done = early?.done ?? document.done;
  entries.set(key, { ...standing, objects, done, shown: null, synced: !changed, written: record });
  const outcomes = outcomesOf(document.objects, masks);
  store.dispatch(documentLoaded(key, { objects, done, past, future }, outcomes));
  return changed;
}

function ofBrowser(record) {
  const { objects = [], done = false, past = [], future = [], masks = {} } = record ?? {};
  return { document: { objects, done, past, future }, masks, base: null, synced: true };
}

/** Give an object the name that its label has got since it was written. */
function renamedIn(labels) {
  const names = new Map(
    labels.flatMap(({ name, formerly = [] }) => formerly.map((old) => [old, name])),
  );
  for (const { name } of labels) names.delete(name);
  return (thing) => (names.has(thing.label) ? { ...thing, label: names.get(thing.label) } : thing);
}

/** Where the browser keeps the document of an image. */
function addressOf(store, key) {
  const state = store.get();
  return imageOf(state, key)?.from === "folder" ? `${placeOf(state)} ${key}` : key;
}

/** The size of an image of a folder; one of the browser is known by its key alone. */
function sizeOf(image) {
  return image?.from === "folder" ? `${image.width} ${image.height}` : "";
}

/** The documents whose objects, or whose masks, are not those that were written. */
function changedKeys(state, entries) {
  return Object.keys(state.documents).filter((key) => {
    const entry = entries.get(key);
    if (entry === undefined) return false;
    const { objects, done } = state.documents[key];
    const shown = objects.map(({ id }) => state.masks[id]?.shown ?? null);
    const first = entry.shown === null;
    const same = objects === entry.objects && done === entry.done;
    const drawn = first || alike(shown, entry.shown);
    entry.shown = shown;
    if (same && drawn) return false;
    Object.assign(entry, { objects, done, synced: false });
    return true;
  });
}

function alike(one, other) {
  return one.length === other.length && one.every((each, index) => each === other[index]);
}

function recordOf(store, key, { base, synced }) {
  const state = store.get();
  const { objects, done, past, future } = state.documents[key];
  // One that is of fewer prompts than the object has by now is none of its masks.
  const masks = Object.fromEntries(
    objects.map((thing) => [thing.id, currentMask(state, thing)]).filter(([, rle]) => rle),
  );
  return {
    size: sizeOf(imageOf(state, key)),
    objects,
    done,
    past: past.slice(-MOST_STEPS),
    future: future.slice(-MOST_STEPS),
    masks,
    base,
    synced,
    stamp: newId(),
  };
}
