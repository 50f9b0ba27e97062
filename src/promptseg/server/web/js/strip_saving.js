// Keeps the images that the browser was given, each by itself, so that tabs do not undo each other.

import { noticed } from "./actions.js";
import { placeOf } from "./state.js";

// So many are written at a time, so that a thousand do not hold up the first.
const AT_ONCE = 20;

/** The images that were kept, in the order in which they came. */
export async function keptImages(store, database) {
  const place = placeOf(store.get());
  const rows = (await database.all("strip")).filter((row) => row.place === place);
  if (rows.length === 0) return [];
  const [keys, files] = await Promise.all([database.keys("files"), database.all("files")]);
  const byKey = new Map(keys.map((key, index) => [key, files[index]]));
  rows.sort((one, other) => one.came - other.came);
  return rows.map(({ image }) =>
    byKey.has(image.key)
      ? { ...image, blob: byKey.get(image.key) }
      : { ...image, problem: "the browser did not keep this image; open it again" },
  );
}

/**
 * Keep the browser's images as they come, change and go.
 * @param {object[]} kept those that are kept already; another may have come while they were read
 */
export function startStripSaving(store, database, kept) {
  const place = placeOf(store.get());
  const noted = new Map(kept.map((image) => [image.key, image]));
  const came = new Map([...noted.keys()].map((key, index) => [key, index - noted.size]));
  let busy = Promise.resolve();
  const later = (work) => {
    busy = busy.then(work).catch(() => {});
  };
  store.watch(
    (state) => state.images,
    () => {
      const images = ofBrowser(store.get());
      const here = new Set(images.map(({ key }) => key));
      const gone = [...noted.keys()].filter((key) => !here.has(key));
      const fresh = images.filter(({ key, blob }) => blob && !noted.has(key));
      const changed = images.filter((image) => noted.get(image.key) !== image);
      const now = Date.now();
      fresh.forEach(({ key }, index) => came.set(key, now + index));
      for (const image of changed) noted.set(image.key, image);
      for (const key of gone) noted.delete(key);
      if (fresh.length) later(() => writeFiles(store, database, fresh));
      if (changed.length) later(() => writeRows(database, place, changed, came));
      if (gone.length) later(() => forget(database, gone));
    },
  );
}

function ofBrowser({ images }) {
  return images.filter(({ from }) => from === "browser");
}

function writeRows(database, place, images, came) {
  const rows = images.map(({ blob, problem, ...image }) => [
    image.key,
    { image, place, came: came.get(image.key) ?? 0 },
  ]);
  return database.write("strip", rows);
}

async function writeFiles(store, database, images) {
  navigator.storage?.persist?.().catch(() => {});
  for (let start = 0; start < images.length; start += AT_ONCE) {
    const some = images.slice(start, start + AT_ONCE);
    try {
      await database.write(
        "files",
        some.map(({ key, blob }) => [key, blob]),
      );
    } catch {
      const left = images.length - start;
      const text =
        `The browser has no room for ${left} images: they are gone after a reload, ` +
        "but what is drawn on them is kept.";
      store.dispatch(noticed("problem", text));
      return;
    }
  }
}

async function forget(database, keys) {
  for (const kind of ["strip", "files", "documents"]) await database.forget(kind, keys);
}
