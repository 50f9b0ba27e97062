// Everything that can happen to the state. Each function makes the action of its own name, which
// `reducer.js` knows what to do with; whatever is random or from outside comes in as an argument.
// Space is the one key that `pointer.js` sees to by itself: held it pans, pressed it includes.

import { newId } from "./state.js";

const act = (type, said = {}) => ({ type, ...said });

// The service and its folder.

/** It answers: its model's name, and what can be asked of it. */
export const serviceSeen = (model, verbs) => act("serviceSeen", { model, verbs });
/** It does not answer; all that is here stays. */
export const serviceLost = () => act("serviceLost");
/** @param {{name: string, writable: boolean, labels: string[], images: object[]}} folder */
export const folderSeen = (folder) => act("folderSeen", { folder });

// Images.

/**
 * Those of known keys are left out.
 * @param {import("./state.js").Picture[]} images at the end of the strip
 */
export const imagesAdded = (images) => act("imagesAdded", { images });
export const imageRemoved = (key) => act("imageRemoved", { key });
/** Show this one; the unfinished object of the one before is accepted. */
export const imageChosen = (key) => act("imageChosen", { key });
/** Show the one so many places on (or back, when negative). */
export const imageStepped = (by) => act("imageStepped", { by });
/** Upright width and height. */
export const imageMeasured = (key, width, height) => act("imageMeasured", { key, width, height });
/** It cannot be used, and this is why. */
export const imageFailed = (key, problem) => act("imageFailed", { key, problem });
/** @param {{id: string, width: number, height: number, pyramid: object|null}} session */
export const sessionOpened = (key, session) => act("sessionOpened", { key, session });
/** The service knows it no more; without a key, none of them. */
export const sessionLost = (key = null) => act("sessionLost", { key });

// Documents: the objects of an image.

/**
 * What was kept of an image. `outcomes` has, by object id, masks that are known already
 * (`derived.known`), so that nothing need be asked.
 * @param {{objects?: object[], done?: boolean, past?: object[][],
 *   future?: object[][]}} document
 */
export const documentLoaded = (key, document, outcomes = {}) =>
  act("documentLoaded", { key, document, outcomes });
/** All objects are these from now on; it can be undone. */
export const objectsReplaced = (key, objects, outcomes = {}) =>
  act("objectsReplaced", { key, objects, outcomes });
/** These come on top of the others, of any image; it can be undone. */
export const objectsAdded = (key, objects, outcomes = {}) =>
  act("objectsAdded", { key, objects, outcomes });
export const doneMarked = (key, done) => act("doneMarked", { key, done });
export const undone = () => act("undone");
export const redone = () => act("redone");

// Objects of the image that is shown. `id` is that of an object; locked ones change no more.

/** A point on the active object (label 1) or not on it (0); a new object where none is active. */
export const pointAdded = (point, label, id = newId()) => act("pointAdded", { point, label, id });
/** A box round the active object; round a new one where none is active, or where `fresh`. */
export const boxAdded = (box, { fresh = false, id = newId() } = {}) =>
  act("boxAdded", { box, fresh, id });
/** Something drawn by hand. @param {import("./state.js").Edit} edit */
export const editAdded = (edit, id = newId()) => act("editAdded", { edit, id });
/** Show another candidate of the active object: so many places on. */
export const candidateCycled = (by, count) => act("candidateCycled", { by, count });
/** Choose an object, to say more about it; the active one is accepted. */
export const objectActivated = (id) => act("objectActivated", { id });
/** The active object is done; while a polygon is drawn, that is. */
export const objectAccepted = (id = newId()) => act("objectAccepted", { id });
/** Take back all that was said of the active object since it became active, or what is drawn. */
export const objectCancelled = () => act("objectCancelled");
export const objectLabelled = (id, label) => act("objectLabelled", { id, label });
/** Put it at a place of the list, 0 the undermost. */
export const objectMoved = (id, to) => act("objectMoved", { id, to });
export const objectShown = (id, visible) => act("objectShown", { id, visible });
export const objectLocked = (id, locked) => act("objectLocked", { id, locked });
export const objectDeleted = (id) => act("objectDeleted", { id });
/** Holes and specks of so many pixels, of the active object, or of those to come; one `gesture` is
 * one step back. */
export const tidyChanged = (tidy, gesture = null) => act("tidyChanged", { tidy, gesture });

// What follows from objects, and is only kept so as not to be asked again.

/** @param {Partial<import("./state.js").Outcome>} outcome */
export const outcomeChanged = (id, outcome) => act("outcomeChanged", { id, outcome });
/** @param {{rle: object, score: number}|null} hover what a point here would give */
export const hovered = (hover) => act("hovered", { hover });

// Tools, and what is being drawn or looked for.

export const toolChosen = (tool) => act("toolChosen", { tool });
/** Radius of brush and eraser, in pixels of the image. */
export const brushSized = (radius) => act("brushSized", { radius });
/** @param {object|null} draft what is being drawn, not yet said */
export const drafted = (draft) => act("drafted", { draft });
/** @param {{text?: string, include?: number[][], exclude?: number[][]}} search */
export const searchChanged = (search) => act("searchChanged", { search });
/** Masks to choose from. @param {"everything"|"find"} kind */
export const foundMasks = (kind, masks) => act("foundMasks", { kind, masks });
export const foundToggled = (index) => act("foundToggled", { index });
/** Choose all, or none where all are. */
export const foundAllToggled = () => act("foundAllToggled");
/** Two of them are one, with this mask. */
export const foundMerged = (into, from, rle) => act("foundMerged", { into, from, rle });
/** Make objects of the chosen ones. */
export const foundTaken = (ids) => act("foundTaken", { ids });
export const foundDropped = () => act("foundDropped");

// Labels.

/** The label of objects to come, and of the active one. */
export const labelChosen = (name) => act("labelChosen", { name });
export const labelAdded = (name, colour) => act("labelAdded", { name, colour });
/** @param {{name: string, colour: string}[]} labels */
export const labelsReplaced = (labels) => act("labelsReplaced", { labels });
/** Under another name, with its objects of all images. */
export const labelRenamed = (name, to) => act("labelRenamed", { name, to });
export const labelColoured = (name, colour) => act("labelColoured", { name, colour });
/** Objects keep its name. */
export const labelRemoved = (name) => act("labelRemoved", { name });

// What is seen.

/** @param {{scale: number, x: number, y: number}} view screen = image * scale + (x, y) */
export const viewChanged = (view) => act("viewChanged", { view });
export const viewFitted = () => act("viewFitted");
/** A pixel of the image is one of the screen. */
export const viewNatural = () => act("viewNatural");
/** By a factor, round a place of the screen; the middle where none is said. */
export const viewZoomed = (factor, at = null) => act("viewZoomed", { factor, at });
export const viewPanned = (dx, dy) => act("viewPanned", { dx, dy });
export const viewportSized = (width, height) => act("viewportSized", { width, height });
/** By pixels of the screen; it appears in the middle. */
export const crosshairMoved = (dx, dy) => act("crosshairMoved", { dx, dy });
export const crosshairHidden = () => act("crosshairHidden");
/** Say at the crosshair what a click says: 1 includes, 0 excludes. */
export const crosshairSaid = (label, id = newId()) => act("crosshairSaid", { label, id });
/** @param {{opacity?: number, outlines?: boolean, theme?: string}} look */
export const lookChanged = (look) => act("lookChanged", { look });

// Work, notices, dialogs, keeping.

/** @param {{kind: string, done: number, total: number, cancel: () => void}} work */
export const workBegan = (work) => act("workBegan", { work });
export const workWent = (done, total) => act("workWent", { done, total });
export const workEnded = () => act("workEnded");
/** @param {"info"|"problem"} kind */
export const noticed = (kind, text, id = newId()) => act("noticed", { kind, text, id });
export const noticeDismissed = (id) => act("noticeDismissed", { id });
/** @param {"help"|"export"|"import"|"labels"} dialog */
export const dialogOpened = (dialog) => act("dialogOpened", { dialog });
export const dialogClosed = () => act("dialogClosed");
/** @param {"saved"|"saving"|"unsaved"|"conflict"} saved */
export const savedSaid = (saved) => act("savedSaid", { saved });
