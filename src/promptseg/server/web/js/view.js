// How an image lies on the screen: screen = image * scale + (x, y), in CSS pixels.

/** @typedef {{scale: number, x: number, y: number}} View */
/** @typedef {{width: number, height: number}} Extent */

const MARGIN = 16;
const CLOSEST = 64;
// However small it is made, so many pixels of the longer side stay.
const SMALLEST = 32;

/** Shows all of an image, in the middle. @returns {View} */
export function fitted(image, viewport) {
  const across = Math.max(1, viewport.width - 2 * MARGIN) / image.width;
  const down = Math.max(1, viewport.height - 2 * MARGIN) / image.height;
  return centred(image, viewport, Math.min(across, down, CLOSEST));
}

/** Shows a pixel of the image as one of the screen, round the middle of what is seen now. */
export function natural(view, viewport) {
  const scale = 1 / (globalThis.devicePixelRatio || 1);
  const middle = [viewport.width / 2, viewport.height / 2];
  const { x, y } = zoomed(view, scale / view.scale, middle);
  // On whole pixels of the screen, or each would be a blend of two.
  return { scale, x: Math.round(x / scale) * scale, y: Math.round(y / scale) * scale };
}

/** Zooms by a factor; what is at a place of the screen stays there. */
export function zoomed(view, factor, [x, y], image = null) {
  const least = image ? SMALLEST / Math.max(image.width, image.height) : 0;
  const scale = Math.min(CLOSEST, Math.max(Math.min(least, view.scale), view.scale * factor));
  const by = scale / view.scale;
  return { scale, x: x - (x - view.x) * by, y: y - (y - view.y) * by };
}

/** Moves by pixels of the screen; a part of the image stays in sight. */
export function panned(view, dx, dy, image, viewport) {
  const keep = 48;
  const held = (at, extent, room) => Math.min(Math.max(at, keep - extent), room - keep);
  return {
    scale: view.scale,
    x: held(view.x + dx, image.width * view.scale, viewport.width),
    y: held(view.y + dy, image.height * view.scale, viewport.height),
  };
}

export function toImage(view, [x, y]) {
  return [(x - view.x) / view.scale, (y - view.y) / view.scale];
}

export function toScreen(view, [x, y]) {
  return [x * view.scale + view.x, y * view.scale + view.y];
}

/** Tells whether a place of the image lies in it. */
export function isInside([x, y], image) {
  return x >= 0 && y >= 0 && x < image.width && y < image.height;
}

/** Returns the place of the image that is nearest, in tenths of a pixel, as prompts have them. */
export function within([x, y], image) {
  const held = (value, most) => Math.min(Math.max(Math.round(value * 10) / 10, 0), most - 0.1);
  return [tenths(held(x, image.width)), tenths(held(y, image.height))];
}

/** Returns the box of two corners, within the image; null where it has no inside. */
export function boxOf([ax, ay], [bx, by], image) {
  const across = [ax, bx].map((x) => tenths(Math.min(Math.max(x, 0), image.width)));
  const down = [ay, by].map((y) => tenths(Math.min(Math.max(y, 0), image.height)));
  const box = [Math.min(...across), Math.min(...down), Math.max(...across), Math.max(...down)];
  return box[2] - box[0] >= 1 && box[3] - box[1] >= 1 ? box : null;
}

function tenths(value) {
  return Math.round(value * 10) / 10;
}

function centred(image, viewport, scale) {
  return {
    scale,
    x: (viewport.width - image.width * scale) / 2,
    y: (viewport.height - image.height * scale) / 2,
  };
}
