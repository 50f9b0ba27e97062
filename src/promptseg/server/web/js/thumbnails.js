// Small pictures of images: the folder's from the service, the browser's own made here when seen.

const SIDE = 160;
// So many are kept; they are a few kilobytes each.
const MOST = 400;

/** Where small pictures come from; the same image gets the same address as long as it is kept. */
export function makeThumbnails() {
  /** @type {Map<string, Promise<string|null>>} */
  const made = new Map();

  /** The address of an image's small picture, null where it cannot be drawn. */
  return function thumbnail(image) {
    if (image.from === "folder") {
      return Promise.resolve(`v1/folder/thumbnail?name=${encodeURIComponent(image.name)}`);
    }
    const { key } = image;
    const kept = made.get(key) ?? shrunk(image.blob);
    // The one that was asked for last is dropped last.
    made.delete(key);
    made.set(key, kept);
    if (made.size > MOST) drop(made);
    return kept;
  };
}

async function shrunk(blob) {
  if (!blob) return null;
  try {
    const bitmap = await createImageBitmap(blob, { resizeHeight: SIDE, resizeQuality: "medium" });
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    canvas.getContext("2d").drawImage(bitmap, 0, 0);
    bitmap.close();
    return URL.createObjectURL(await canvas.convertToBlob({ type: "image/jpeg", quality: 0.8 }));
  } catch {
    return null;
  }
}

async function drop(made) {
  const [oldest] = made.keys();
  const address = await made.get(oldest);
  made.delete(oldest);
  if (address !== null) URL.revokeObjectURL(address);
}
