// Every key and what it does: the one table that the page obeys, and that help and guide show.

import * as act from "./actions.js";
import { activeObject, currentImage, currentObjects, newId } from "./state.js";

const BRUSH_STEP = 1.25;
const ZOOM_STEP = 1.25;
const OPACITY_STEP = 0.1;
// Pixels of the screen that an arrow moves the crosshair by, without Shift and with it.
const NEAR = 8;
const FAR = 64;

/**
 * Keys as they are written on them, what they do, and what makes the action from the state. Ctrl is
 * Cmd on a Mac too. `pointer.js` sees to what has no `does`; what is `near` counts only while the
 * focus is in the image, or nowhere. A test makes the guide's table from the lines of this one.
 */
export const KEYS = [
  { group: "Objects", keys: "Enter", what: "Accept the object; take what is chosen of what was found", does: accepted },
  { group: "Objects", keys: "N", what: "Accept, and begin the next object", does: accepted },
  { group: "Objects", keys: "Esc", what: "Cancel what was said of the object; drop what was found", does: cancelled },
  { group: "Objects", keys: "C", what: "Show the next candidate of the object", does: cycled(1) },
  { group: "Objects", keys: "Shift+C", what: "Show the candidate before", does: cycled(-1) },
  { group: "Objects", keys: "Ctrl+Z", what: "Undo", does: act.undone },
  { group: "Objects", keys: "Ctrl+Shift+Z, Ctrl+Y", what: "Redo", does: act.redone },
  { group: "Objects", keys: "Delete, Backspace", what: "Delete the object", does: ofActive(({ id }) => act.objectDeleted(id)) },
  { group: "Objects", keys: "V", what: "Hide or show the object", does: ofActive(({ id, visible }) => act.objectShown(id, !visible)) },
  { group: "Objects", keys: "Shift+L", what: "Lock or unlock the object", does: ofActive(({ id, locked }) => act.objectLocked(id, !locked)) },
  { group: "Objects", keys: "F2", what: "Write the object's label", does: rename },
  { group: "Objects", keys: "Alt+Up", what: "Move the object up in the list", does: raised(1) },
  { group: "Objects", keys: "Alt+Down", what: "Move the object down in the list", does: raised(-1) },

  { group: "Labels", keys: "1-9", what: "Give the object, and those to come, a label of the list", does: labelOfKey },
  { group: "Labels", keys: "L", what: "Find a label by its name, or add one", does: focuses("#label-search") },

  { group: "Tools", keys: "S", what: "Click", does: () => act.toolChosen("click") },
  { group: "Tools", keys: "R", what: "Box", does: () => act.toolChosen("box") },
  { group: "Tools", keys: "B", what: "Brush", does: () => act.toolChosen("brush") },
  { group: "Tools", keys: "E", what: "Eraser", does: () => act.toolChosen("eraser") },
  { group: "Tools", keys: "P", what: "Polygon", does: () => act.toolChosen("polygon") },
  { group: "Tools", keys: "M", what: "Choose objects", does: () => act.toolChosen("select") },
  { group: "Tools", keys: "A", what: "Everything", does: () => act.toolChosen("everything") },
  { group: "Tools", keys: "F", what: "Find by name", does: () => act.toolChosen("find") },
  { group: "Tools", keys: "[", what: "Smaller brush", does: sized(1 / BRUSH_STEP) },
  { group: "Tools", keys: "]", what: "Larger brush", does: sized(BRUSH_STEP) },

  { group: "View", keys: "0", what: "Fit the image", does: act.viewFitted },
  { group: "View", keys: "Shift+1", what: "One pixel of the image is one of the screen", does: act.viewNatural },
  { group: "View", keys: "+, =", what: "Zoom in", does: () => act.viewZoomed(ZOOM_STEP) },
  { group: "View", keys: "-", what: "Zoom out", does: () => act.viewZoomed(1 / ZOOM_STEP) },
  { group: "View", keys: "O", what: "Outlines only", does: looked(({ outlines }) => ({ outlines: !outlines })) },
  { group: "View", keys: ",", what: "Fainter masks", does: fainter(-OPACITY_STEP) },
  { group: "View", keys: ".", what: "Stronger masks", does: fainter(OPACITY_STEP) },

  { group: "Images", keys: "PageDown, J", what: "Next image", does: () => act.imageStepped(1) },
  { group: "Images", keys: "PageUp, K", what: "Image before", does: () => act.imageStepped(-1) },
  { group: "Images", keys: "D", what: "The image is done, or is not", does: doneTurned },
  { group: "Images", keys: "U", what: "Next image that is not done", does: nextUndone },
  { group: "Images", keys: "Delete", what: "In the strip: take out an image of the browser that has no objects" },
  { group: "Images", keys: "Ctrl+O", what: "Open images, or masks to correct", does: presses("#open") },
  { group: "Images", keys: "Ctrl+S", what: "Export", does: () => act.dialogOpened("export") },

  { group: "In the image, by keys alone", keys: "Tab", what: "Show the next candidate, while an object is made", near: true, does: cycled(1) },
  { group: "In the image, by keys alone", keys: "Shift+Tab", what: "Show the candidate before", near: true, does: cycled(-1) },
  { group: "In the image, by keys alone", keys: "Left, Right, Up, Down", what: "Move the crosshair", near: true, does: moved(NEAR) },
  { group: "In the image, by keys alone", keys: "Shift+Left, Shift+Right, Shift+Up, Shift+Down", what: "Move it farther", near: true, does: moved(FAR) },
  { group: "In the image, by keys alone", keys: "Space", what: "Include what is at the crosshair; held it pans with the mouse" },
  { group: "In the image, by keys alone", keys: "X", what: "Exclude what is at the crosshair", near: true, does: () => act.crosshairSaid(0) },

  { group: "Page", keys: "?", what: "All keys", does: () => act.dialogOpened("help") },
];

/** What the mouse does; told beside the keys. */
export const GESTURES = [
  { group: "Mouse", keys: "Left click", what: "This belongs to the object, or begins one" },
  { group: "Mouse", keys: "Right click, Alt+click", what: "This does not belong to it" },
  { group: "Mouse", keys: "Drag", what: "A box round it" },
  { group: "Mouse", keys: "Shift+click", what: "Of what was found: this is one with the last" },
  { group: "Mouse", keys: "Wheel", what: "Zoom at the cursor" },
  { group: "Mouse", keys: "Space+drag, Middle drag", what: "Pan" },
];

const NAMES = {
  ArrowUp: "Up",
  ArrowDown: "Down",
  ArrowLeft: "Left",
  ArrowRight: "Right",
  Escape: "Esc",
};
const TYPED =
  "input:not([type=checkbox], [type=radio], [type=range], [type=color]), textarea, select";
const PRESSED = "button, a, summary, input[type=checkbox], input[type=radio]";

/** Obey keys, from now on. */
export function startKeyboard(store) {
  const table = tableOf(KEYS);
  document.addEventListener("keydown", (event) => {
    const entry = entryFor(event, table, store.get());
    if (entry === null) return;
    const action = entry.does(store.get(), event);
    if (!action) return;
    event.preventDefault();
    if (action !== true) store.dispatch(action);
  });
  document.addEventListener("mousedown", keepFocus);
}

/** What to do for a key that was pressed, if anything. */
function entryFor(event, table, state) {
  if (event.defaultPrevented || event.isComposing || state.dialog !== null) return null;
  if (isOthers(event)) return null;
  const chords = chordsOf(event);
  if (state.look.letters === false && /^(Shift\+)?.$/.test(chords[0])) return null;
  const entry = chords.map((chord) => table.get(chord)).find((found) => found !== undefined);
  return entry && (!entry.near || isNear(event.target)) ? entry : null;
}

/** Whether the element that has the focus needs the key itself. */
function isOthers({ target, key }) {
  if (target.closest("dialog") || target.matches(TYPED) || target.isContentEditable) return true;
  if (target.matches(PRESSED)) return key === "Enter" || key === " ";
  return target.matches("input") && /^(Arrow|Page|Home|End)/.test(key);
}

function isNear(target) {
  return target === document.body || target.id === "canvas";
}

/** All that a press of a key can be called, as layouts of keyboards differ. */
function chordsOf(event) {
  const { key, code } = event;
  const altered = event.getModifierState("AltGraph");
  const held = altered
    ? ""
    : `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${event.altKey ? "Alt+" : ""}`;
  const shifted = held + (event.shiftKey ? "Shift+" : "");
  const byPlace = /^(?:Key|Digit)(.)$/.exec(code)?.[1];
  if (key.length > 1) return [shifted + (NAMES[key] ?? key)];
  if (/^[a-z]$/i.test(key)) return [shifted + key.toUpperCase()];
  return byPlace === undefined ? [held + key] : [held + key, shifted + byPlace];
}

/** Each chord's line of the table. */
function tableOf(lines) {
  const chords = (keys) => (keys === "1-9" ? [..."123456789"] : keys.split(", "));
  return new Map(
    lines
      .filter((line) => line.does)
      .flatMap((line) => chords(line.keys).map((chord) => [chord, line])),
  );
}

/** Leave the focus where it is when a button is pressed by the mouse: Enter is the image's. */
function keepFocus(event) {
  if (!event.target.closest?.("button") || event.target.closest("dialog")) return;
  event.preventDefault();
  if (document.activeElement?.matches(TYPED)) document.activeElement.blur();
}

function accepted({ found }) {
  return found ? act.foundTaken(found.chosen.map(() => newId())) : act.objectAccepted();
}

function cancelled({ draft, work, found }) {
  if (draft) return act.drafted(null);
  if (work) {
    work.cancel();
    return true;
  }
  return found ? act.foundDropped() : act.objectCancelled();
}

function doneTurned(state) {
  return state.current && act.doneMarked(state.current, !currentImage(state).done);
}

function rename(state) {
  const row = document.querySelector("#objects .row.chosen");
  if (state.active !== null) row?.querySelector(".pen").click();
  return true;
}

function labelOfKey({ labels }, { key, code }) {
  const digit = /^Digit([1-9])$/.exec(code)?.[1] ?? key;
  const label = labels[Number(digit) - 1];
  return label && act.labelChosen(label.name);
}

function moved(step) {
  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  return (state, { key }) => act.crosshairMoved(ways[key][0] * step, ways[key][1] * step);
}

/** An action that changes the look by what it is now. */
function looked(change) {
  return ({ look }) => act.lookChanged(change(look));
}

function fainter(by) {
  return looked(({ opacity }) => ({ opacity: Math.min(1, Math.max(0, opacity + by)) }));
}

function sized(factor) {
  return ({ brush }) => act.brushSized(brush * factor + Math.sign(factor - 1) / 2);
}

/** An action about the active object, where there is one. */
function ofActive(change) {
  return (state) => {
    const thing = activeObject(state);
    return thing && change(thing, state);
  };
}

/** An action that puts the active object so many places nearer to the top. */
function raised(by) {
  return ofActive((thing, state) =>
    act.objectMoved(thing.id, Math.max(0, currentObjects(state).indexOf(thing) + by)),
  );
}

function cycled(by) {
  return (state) => {
    const count = state.masks[state.active]?.candidates.length ?? 0;
    return count > 1 && act.candidateCycled(by, count);
  };
}

function focuses(selector) {
  return () => {
    document.querySelector(selector)?.focus();
    return true;
  };
}

function presses(selector) {
  return () => {
    document.querySelector(selector)?.click();
    return true;
  };
}

/** The next image that is not done, from the one that is shown on, round the end. */
function nextUndone({ images, current }) {
  const index = images.findIndex(({ key }) => key === current);
  const order = [...images.slice(index + 1), ...images.slice(0, index)];
  const next = order.find(({ done, problem }) => !done && !problem);
  return next && act.imageChosen(next.key);
}
