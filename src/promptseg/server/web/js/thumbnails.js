// Small pictures of images: the folder's from the service, the browser's own made here when seen.

import { folderThumbnail } from "./service.js";

const SIDE = 160;
// So many are kept; they are a few kilobytes each.
const MOST = 400;
// So many are made at a time, so that masks need not wait for them.
const AT_ONCE = 2;

/** Where small pictures come from; the same image gets the same address as long as it is kept. */
export function makeThumbnails() {
  /** @type {Map<string, Promise<string|null>>} */
  const made = new Map();
  const turn = makeTurns();

  /** The address of an image's small picture, null where there is none. */
  return function thumbnail(image) {
    const { key } = image;
    const kept = made.get(key) ?? turn(() => addressOf(image));
    // The one that was asked for last is dropped last.
    made.delete(key);
    made.set(key, kept);
    if (made.size > MOST) drop(made);
    return kept.catch(() => {
      // What the service could not give may be there when it is asked for again.
      if (made.get(key) === kept) made.delete(key);
      return null;
    });
  };
}

/** Let few work at a time; who came last is the first, being what is looked at. */
function makeTurns() {
  const waiting = [];
  let busy = 0;
  const next = () => {
    if (busy === AT_ONCE || waiting.length === 0) return;
    busy += 1;
    const { work, resolve } = waiting.pop();
    const done = work();
    resolve(done);
    done.catch(() => {}).finally(() => {
      busy -= 1;
      next();
    });
  };
  return (work) =>
    new Promise((resolve) => {
      waiting.push({ work, resolve });
      next();
    });
}

async function addressOf({ from, name, blob }) {
  const small = from === "folder" ? await folderThumbnail(name) : blob && (await shrunk(blob));
  return small ? URL.createObjectURL(small) : null;
}

/** A small copy of a picture, null where the browser cannot read it. */
async function shrunk(blob) {
  try {
    const bitmap = await createImageBitmap(blob, { resizeHeight: SIDE, resizeQuality: "medium" });
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    return await canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 });
  } catch {
    return null;
  }
}

async function drop(made) {
  const [oldest] = made.keys();
  const coming = made.get(oldest);
  made.delete(oldest);
  const address = await coming.catch(() => null);
  if (address !== null) URL.revokeObjectURL(address);
}
