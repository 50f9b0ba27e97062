// What the page needs of a browser, in words for whoever has one that lacks it.

const NEEDS = [
  ["dialogs", () => "showModal" in HTMLDialogElement.prototype],
  ["a store for your work (IndexedDB)", () => "indexedDB" in globalThis],
  [
    "pictures drawn off screen",
    () => "OffscreenCanvas" in globalThis && "createImageBitmap" in globalThis,
  ],
  ["pointer events", () => "PointerEvent" in globalThis],
  ["colours for light and dark", () => CSS.supports("color", "light-dark(red, blue)")],
  ["newer lists", () => "findLast" in Array.prototype && "at" in Array.prototype],
  ["signals that end work", () => "throwIfAborted" in AbortSignal.prototype],
  ["streams of text", () => "TextDecoderStream" in globalThis],
];

/** List what this browser lacks, in words. */
export function missing() {
  return NEEDS.filter(([, has]) => !tried(has)).map(([words]) => words);
}

function tried(has) {
  try {
    return Boolean(has());
  } catch {
    return false;
  }
}
