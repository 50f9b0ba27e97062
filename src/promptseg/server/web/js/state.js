// What the page's state is made of, how it begins, and what is read from it by name.

/** A mask as COCO has it. @typedef {{size: [number, number], counts: string}} Rle */
/** @typedef {{points: number[][], labels: number[]} | {box: number[]}} Step */
/**
 * Drawn by hand, in pixels of the image.
 * @typedef {{mode: "add"|"remove", kind: "stroke"|"polygon", points: number[][],
 *   radius: number}} Edit
 */
/** @typedef {{fill_holes: number, drop_specks: number}} Tidy */
/**
 * The truth about one object; its mask follows from `base`, `steps`, `candidate`, `edits`, `tidy`.
 * @typedef {{id: string, label: string|null, visible: boolean, locked: boolean, accepted: boolean,
 *   base: Rle|null, steps: Step[], candidate: number, edits: Edit[], tidy: Tidy}} Thing
 */
/**
 * `blob` is the file of an image that came from the browser; `problem` says why one cannot be used.
 * @typedef {{key: string, name: string, width: number, height: number, from: "folder"|"browser",
 *   done: boolean, objects: number, blob?: Blob, problem?: string}} Picture
 */
/**
 * `gesture` names what made the newest change, so that one drag of a slider is one step back.
 * @typedef {{objects: Thing[], past: Thing[][], future: Thing[][],
 *   done: boolean, gesture: string|null}} Document
 */
/**
 * What an object came to. `answer` names what `candidates` answer and `key` what `shown` follows
 * from (derived.js); `shown` is what is drawn and exported, null where nothing is.
 * @typedef {{answer: string|null, candidates: {rle: Rle, score: number}[], key: string|null,
 *   shown: Rle|null, pending: boolean, problem: string|null}} Outcome
 */
/** @typedef {ReturnType<typeof initial>} State */

export const TOOLS = ["click", "box", "brush", "eraser", "polygon", "everything", "find", "select"];
/** What a model must be able to do, where a tool asks it. */
const ASKS = { click: "segment", box: "segment", everything: "everything", find: "find" };
export const NO_TIDY = { fill_holes: 0, drop_specks: 0 };

/** Begins with nothing: no service yet, no image. */
export function initial() {
  return {
    service: { phase: "unknown", model: null, verbs: ["segment"], folder: null },
    images: [],
    current: null,
    sessions: {},
    documents: {},
    masks: {},
    active: null,
    before: null, // the active object as it was when it was chosen again; null for a new one
    hover: null,
    tool: "click",
    brush: 12, // radius, in pixels of the image
    tidy: NO_TIDY, // of objects to come
    draft: null, // {kind: "box"|"stroke"|"polygon", mode, points} while it is drawn
    search: { text: "", include: [], exclude: [] },
    found: null,
    labels: [],
    label: null,
    view: { scale: 1, x: 0, y: 0 },
    isFitted: true, // the whole image is shown, and will be when there is more or less room
    viewport: { width: 1, height: 1 },
    crosshair: null, // [x, y] in pixels of the image, once it is moved by keys
    look: { opacity: 0.45, outlines: false, theme: "auto" },
    work: null,
    notices: [],
    dialog: null,
    saved: "saved",
  };
}

/** Returns the image that is shown, if there is one. */
export function currentImage(state) {
  return imageOf(state, state.current);
}

export function imageOf(state, key) {
  return state.images.find((image) => image.key === key) ?? null;
}

/** Returns the session of the image that is shown, once it is open. */
export function currentSession(state) {
  return state.sessions[state.current] ?? null;
}

export function currentDocument(state) {
  return state.documents[state.current] ?? null;
}

/** Tells whether the model can do what a tool asks of it. */
export function isUsable({ service }, tool) {
  return !ASKS[tool] || service.verbs.includes(ASKS[tool]);
}

/** Names the place that the page is about: a folder of the service, or the browser. */
export function placeOf({ service }) {
  return service.folder ? `folder:${service.folder.name}` : "browser";
}

const NONE = Object.freeze([]);

/** Lists the objects of the image that is shown, the undermost first. */
export function currentObjects(state) {
  return currentDocument(state)?.objects ?? NONE;
}

export function objectOf(state, id) {
  return currentObjects(state).find((each) => each.id === id) ?? null;
}

export function activeObject(state) {
  return state.active === null ? null : objectOf(state, state.active);
}

/** Returns the mask of an object as it is drawn and exported, if it has one by now. */
export function maskOf(state, id) {
  return state.masks[id]?.shown ?? null;
}

/** Tells whether anything was said of an object. */
export function saysSomething(thing) {
  return thing.base !== null || thing.steps.length > 0 || thing.edits.length > 0;
}

/** Makes an object of which nothing is said yet. @returns {Thing} */
export function newObject(id, more = {}) {
  return {
    id,
    label: null,
    visible: true,
    locked: false,
    accepted: false,
    base: null,
    steps: [],
    candidate: 0,
    edits: [],
    tidy: NO_TIDY,
    ...more,
  };
}

/** Makes a name for something new: 96 random bits. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
