// What was said of the active object, and what is being said: points, boxes, strokes, the pointer.

import { paint } from "./painting.js";
import { activeObject } from "./state.js";
import { toScreen } from "./view.js";

const INCLUDE = "#1fa650";
const EXCLUDE = "#e0342b";
const PREVIEW = "#ffffff";
const RADIUS = 6;

/** Draws in pixels of the screen; `pointer` is where the pointer is, or null. */
export function drawPrompts(context, state, ratio, pointer) {
  if (state.hover) {
    paint(context, state.hover.rle, state.view, ratio, {
      colour: PREVIEW,
      opacity: 0.28,
      line: 1.5,
      dash: [5, 4],
    });
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  const seen = (point) => toScreen(state.view, point);
  const thing = activeObject(state);
  const said = thing?.steps ?? [];
  const lastBox = said.map((step) => Boolean(step.box)).lastIndexOf(true);
  said.forEach((step, index) => {
    // A later box replaces the earlier one.
    if (step.box && index === lastBox) drawBox(context, step.box, seen, INCLUDE);
    step.points?.forEach((point, i) => drawPoint(context, seen(point), step.labels[i]));
  });
  drawExamples(context, state, seen);
  if (state.draft) drawDraft(context, state, seen, pointer);
  if (state.crosshair) drawCrosshair(context, seen(state.crosshair), state.viewport);
  if (pointer && (state.tool === "brush" || state.tool === "eraser")) {
    drawRing(context, pointer, state.brush * state.view.scale);
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
}

/** A disc with a plus or a minus, so that colour is not all that tells them apart. */
function drawPoint(context, [x, y], label) {
  context.beginPath();
  context.arc(x, y, RADIUS, 0, 2 * Math.PI);
  context.fillStyle = label ? INCLUDE : EXCLUDE;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "#fff";
  context.stroke();
  context.beginPath();
  context.moveTo(x - 3, y);
  context.lineTo(x + 3, y);
  if (label) {
    context.moveTo(x, y - 3);
    context.lineTo(x, y + 3);
  }
  context.stroke();
}

function drawBox(context, [x0, y0, x1, y1], seen, colour, dash = []) {
  const [left, top] = seen([x0, y0]);
  const [right, bottom] = seen([x1, y1]);
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  outlined(context, colour, dash);
}

function drawExamples(context, { tool, search }, seen) {
  if (tool !== "find") return;
  for (const box of search.include) drawBox(context, box, seen, INCLUDE);
  for (const box of search.exclude) drawBox(context, box, seen, EXCLUDE, [6, 4]);
}

function drawDraft(context, { draft, view, brush }, seen, pointer) {
  const colour = draft.mode === "remove" ? EXCLUDE : INCLUDE;
  const points = draft.points.map(seen);
  if (draft.kind === "box") {
    drawBox(context, [...draft.points[0], ...draft.points[1]], seen, colour, [6, 4]);
    return;
  }
  context.beginPath();
  for (const [x, y] of points) context.lineTo(x, y);
  if (draft.kind === "stroke") {
    if (points.length === 1) context.lineTo(points[0][0] + 0.01, points[0][1]);
    context.globalAlpha = 0.5;
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = 2 * brush * view.scale;
    context.strokeStyle = colour;
    context.stroke();
    context.globalAlpha = 1;
    return;
  }
  if (pointer) context.lineTo(...pointer);
  outlined(context, colour);
  for (const [x, y] of points) {
    context.beginPath();
    context.rect(x - 3, y - 3, 6, 6);
    context.fillStyle = "#fff";
    context.fill();
    outlined(context, colour);
  }
}

function drawCrosshair(context, [x, y], { width, height }) {
  context.beginPath();
  for (const [fromX, fromY, toX, toY] of [
    [0, y, x - 6, y],
    [x + 6, y, width, y],
    [x, 0, x, y - 6],
    [x, y + 6, x, height],
  ]) {
    context.moveTo(fromX, fromY);
    context.lineTo(toX, toY);
  }
  outlined(context, "#fff");
}

function drawRing(context, [x, y], radius) {
  context.beginPath();
  context.arc(x, y, Math.max(radius, 0.5), 0, 2 * Math.PI);
  outlined(context, "#fff");
}

function outlined(context, colour, dash = []) {
  context.setLineDash(dash);
  context.lineWidth = 3;
  context.strokeStyle = "rgb(0 0 0 / 60%)";
  context.stroke();
  context.lineWidth = 1.5;
  context.strokeStyle = colour;
  context.stroke();
  context.setLineDash([]);
}
