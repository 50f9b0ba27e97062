// The pixels of the image that is shown: a small copy of all of it at once, and from the service's
// pyramid the squares in sight, as sharp as the screen is.

import { imageMeasured } from "./actions.js";
import { folderImage, isAbort, tile } from "./service.js";
import { currentImage, currentSession, imageOf } from "./state.js";

/** @typedef {{preview: ImageBitmap|null, tiles: Map<string, ImageBitmap>}} Shown */

const PREVIEW_SIDE = 2048;
const MOST_TILES = 120;
const AT_ONCE = 6;

/** @param {() => void} changed called when there is more to draw */
export function makePicture(store, changed) {
  /** @type {Shown} */
  let shown = { preview: null, tiles: new Map() };
  let controller = new AbortController();
  const coming = new Set();

  async function begin(key) {
    controller.abort();
    controller = new AbortController();
    const own = controller;
    shown.preview?.close();
    for (const square of shown.tiles.values()) square.close();
    shown = { preview: null, tiles: new Map() };
    coming.clear();
    changed();
    if (key === null) return;
    const preview = await previewOf(store, key, own.signal);
    if (own.signal.aborted) preview?.close();
    else shown.preview = preview;
    changed();
  }

  async function fetchTile(session, { name, level, x, y }) {
    const { signal } = controller;
    const { tiles } = shown;
    coming.add(name);
    try {
      const square = await createImageBitmap(await tile(session.id, level, x, y, signal));
      if (signal.aborted) {
        square.close();
        return;
      }
      tiles.set(name, square);
      forget(tiles);
    } catch (error) {
      if (isAbort(error)) return;
      // Asked again when the view moves, not at once.
      setTimeout(() => coming.delete(name), 2000);
      return;
    }
    coming.delete(name);
    changed();
  }

  /** Draws what is here of what is in sight, and asks for the rest. */
  function draw(context, state, ratio) {
    const image = currentImage(state);
    if (!image?.width) return;
    const { view } = state;
    const preview = fits(shown.preview, image) ? shown.preview : null;
    context.imageSmoothingEnabled = view.scale * ratio < 2;
    context.imageSmoothingQuality = "medium";
    if (preview) {
      place(context, preview, view, ratio, [0, 0, image.width, image.height]);
    }
    const session = currentSession(state);
    if (!session || isSharp(preview, image, view, ratio)) return;
    const finest = levelFor(view.scale * ratio, session);
    for (let level = session.pyramid.levels - 1; level >= finest; level -= 1) {
      for (const square of squares(image, state, level, session.pyramid.tile)) {
        const bitmap = shown.tiles.get(square.name);
        if (bitmap) {
          shown.tiles.delete(square.name);
          shown.tiles.set(square.name, bitmap);
          place(context, bitmap, view, ratio, square.box);
        } else if (level === finest && !coming.has(square.name) && coming.size < AT_ONCE) {
          void fetchTile(session, square);
        }
      }
    }
  }

  store.watch((state) => state.current, begin);
  store.watch(currentSession, changed);
  return { draw };
}

async function previewOf(store, key, signal) {
  const image = imageOf(store.get(), key);
  try {
    const blob = image.blob ?? (await folderImage(image.name, signal));
    const whole = await createImageBitmap(blob, { imageOrientation: "from-image" });
    const { width, height } = whole;
    if (!signal.aborted && !image.width) store.dispatch(imageMeasured(key, width, height));
    if (Math.max(width, height) <= PREVIEW_SIDE) return whole;
    const by = PREVIEW_SIDE / Math.max(width, height);
    const small = await createImageBitmap(whole, {
      resizeWidth: Math.round(width * by),
      resizeHeight: Math.round(height * by),
      resizeQuality: "medium",
    });
    whole.close();
    return small;
  } catch {
    // What a browser cannot read comes from the service, in squares.
    return null;
  }
}

/** Tells whether a copy is of an image as the service sees it: the same way up. */
function fits(preview, image) {
  if (!preview) return false;
  const across = preview.width / image.width;
  return Math.abs(preview.height - image.height * across) <= 1.5;
}

function isSharp(preview, image, view, ratio) {
  if (!preview) return false;
  return preview.width >= image.width || preview.width >= image.width * view.scale * ratio;
}

/** Returns the coarsest level that is as sharp as the screen. */
function levelFor(scale, { pyramid }) {
  const level = Math.floor(Math.log2(1 / scale) + 0.1);
  return Math.min(Math.max(level, 0), pyramid.levels - 1);
}

/** Lists the squares of a level that are in sight, each with its box of the image. */
function* squares(image, { view, viewport }, level, tileSide) {
  const side = tileSide * 2 ** level;
  const range = (offset, room, extent) => {
    const first = Math.max(0, Math.floor(-offset / view.scale / side));
    const last = Math.min(Math.ceil(extent / side), Math.ceil((room - offset) / view.scale / side));
    return [first, last];
  };
  const [left, right] = range(view.x, viewport.width, image.width);
  const [top, bottom] = range(view.y, viewport.height, image.height);
  for (let y = top; y < bottom; y += 1) {
    for (let x = left; x < right; x += 1) {
      const box = [x, y, x + 1, y + 1].map((each) => each * side);
      box[2] = Math.min(box[2], image.width);
      box[3] = Math.min(box[3], image.height);
      yield { name: `${level}/${x}/${y}`, level, x, y, box };
    }
  }
}

/** Draws to whole pixels of the screen, so that neighbours leave no gap. */
function place(context, bitmap, view, ratio, [x0, y0, x1, y1]) {
  const [left, right] = [x0, x1].map((x) => Math.round((x * view.scale + view.x) * ratio));
  const [top, bottom] = [y0, y1].map((y) => Math.round((y * view.scale + view.y) * ratio));
  context.drawImage(bitmap, left, top, right - left, bottom - top);
}

function forget(tiles) {
  for (const [name, square] of tiles) {
    if (tiles.size <= MOST_TILES) return;
    tiles.delete(name);
    square.close();
  }
}
