// Masks as they are drawn: filled in the colour of their label, with an outline that is sharp at
// any size. Paths are kept with the run lengths that they are of, for as long as those are.

import { outline } from "./outline.js";
import { decode } from "./rle.js";

/** @typedef {import("./state.js").Rle} Rle */

const HALO = "rgb(0 0 0 / 55%)";

/** @type {WeakMap<Rle, {runs: import("./runs.js").Runs, paths: Map<number, Path2D>}>} */
let known = new WeakMap();

/** Lets go of all that was made to draw masks, as those of another image come. */
export function forgetPaths() {
  known = new WeakMap();
}

/** Returns the pixels of a mask, decoded once. */
export function runsOfMask(rle) {
  return entry(rle).runs;
}

/**
 * Draws a mask on a canvas that lies as the view says.
 * @param {CanvasRenderingContext2D} context
 * @param {{colour: string, opacity: number, line: number, dash?: number[], plain?: boolean}} look
 */
export function paint(context, rle, view, ratio, look) {
  const scale = view.scale * ratio;
  const path = pathOf(rle, scale);
  context.setTransform(scale, 0, 0, scale, view.x * ratio, view.y * ratio);
  if (look.opacity > 0) {
    context.globalAlpha = look.opacity;
    context.fillStyle = look.colour;
    context.fill(path, "evenodd");
    context.globalAlpha = 1;
  }
  if (look.line > 0) {
    context.lineJoin = "round";
    context.setLineDash((look.dash ?? []).map((each) => each / view.scale));
    // A dark line beneath keeps the light one in sight on any picture.
    if (!look.plain) drawLine(context, path, HALO, (look.line + 1.5) / view.scale);
    drawLine(context, path, look.colour, look.line / view.scale);
    context.setLineDash([]);
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
}

function drawLine(context, path, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke(path);
}

/** Returns the path that is as fine as the screen can show. */
function pathOf(rle, scale) {
  const { runs, paths } = entry(rle);
  const level = Math.max(0, Math.floor(Math.log2(1 / scale)));
  let path = paths.get(level);
  if (!path) {
    path = outline(runs, level);
    paths.set(level, path);
  }
  return path;
}

function entry(rle) {
  let found = known.get(rle);
  if (!found) {
    found = { runs: decode(rle), paths: new Map() };
    known.set(rle, found);
  }
  return found;
}
