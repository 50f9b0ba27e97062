// The dialog that writes masks into files of other tools' formats.

import { noticed } from "./actions.js";
import { masksOf } from "./asking.js";
import { make } from "./elements.js";
import { sessionOf } from "./images.js";
import { openSession, closeSession, post } from "./service.js";
import { currentImage, imageOf } from "./state.js";

const FORMATS = [
  ["coco", "COCO", "one JSON with run lengths"],
  ["yolo", "YOLO", "polygons in text files, with data.yaml"],
  ["labelme", "labelme", "a JSON for each image"],
  ["png", "Masks as PNG", "black and white, one for each object"],
  ["index", "Numbered PNG", "one for each image, a number for each object"],
  ["overlay", "Overlays", "the images with their masks drawn on them"],
];
const SCOPES = [
  ["current", "This image"],
  ["done", "Images that are done"],
  ["all", "All images with objects"],
];

/** Make the body of the dialog. */
export function exportBody(store, { close, keeping, closing }) {
  const state = store.get();
  const said = make("p", { role: "status" });
  const formats = choices(
    "Format",
    "format",
    FORMATS.map(([value, name, what]) => ({ value, name, what })),
    "coco",
  );
  const scopes = choices(
    "What",
    "scope",
    SCOPES.map(([value, name]) => ({ value, name, what: counted(keysOf(state, value)) })),
    "current",
  );
  const write = make("button", { type: "submit", class: "main" }, "Export");
  const form = make(
    "form",
    {
      on: {
        submit: (event) => {
          event.preventDefault();
          run();
        },
      },
    },
    formats,
    scopes,
    said,
    make("p", { class: "ends" }, write),
  );
  const run = async () => {
    const { format, scope } = Object.fromEntries(new FormData(form));
    write.disabled = true;
    try {
      const count = await exported(store, await keeping, {
        format,
        keys: keysOf(store.get(), scope),
        tell: (text) => said.replaceChildren(text),
        signal: closing,
      });
      close();
      store.dispatch(noticed("info", `Exported ${count} ${count === 1 ? "object" : "objects"}.`));
    } catch (error) {
      said.replaceChildren(`Not exported: ${error.message}`);
    } finally {
      write.disabled = false;
    }
  };
  return [form];
}

/** Write the objects of images into a file, and hand it to the browser; returns how many. */
async function exported(store, keeping, { format, keys, tell, signal }) {
  const opened = [];
  const images = [];
  const taken = new Set();
  try {
    for (const [index, key] of keys.entries()) {
      if (keys.length > 1) tell(`Collecting ${index + 1} of ${keys.length}…`);
      await keeping.load(key);
      const objects = await masksOf(store, key, (each) => sessionOf(store, each), signal);
      const { name, width, height } = imageOf(store.get(), key);
      const unique = freeName(name, taken);
      if (objects.length === 0) continue;
      const picture = format === "overlay" ? { image: await pictureOf(store, key, opened) } : {};
      images.push({ name: unique, width, height, ...picture, objects });
    }
    if (images.length === 0) throw new Error("there are no objects with a mask.");
    tell("Writing…");
    const response = await post("v1/export", { format, images }, { signal });
    download(await response.blob(), nameIn(response) ?? `${format}.zip`);
  } finally {
    for (const id of opened) closeSession(id).catch(() => {});
  }
  return images.reduce((count, { objects }) => count + objects.length, 0);
}

/** By what the service knows the picture: its name in the folder, or a session. */
async function pictureOf(store, key, opened) {
  const { from, name, blob } = imageOf(store.get(), key);
  if (from === "folder") return name;
  const open = store.get().sessions[key];
  if (open) return open.id;
  const { id } = await openSession({ blob });
  opened.push(id);
  return id;
}

/** The name, or one made from it where another image has it. */
function freeName(name, taken) {
  const [, start, ending] = /^(.*?)(\.[^.]*)?$/s.exec(name);
  let free = name;
  for (let number = 2; taken.has(free); number += 1) free = `${start}-${number}${ending ?? ""}`;
  taken.add(free);
  return free;
}

function keysOf(state, scope) {
  const shown = currentImage(state);
  const wanted = {
    current: shown ? [shown] : [],
    done: state.images.filter(({ done, problem }) => done && !problem),
    all: state.images.filter(({ objects, problem }) => objects > 0 && !problem),
  }[scope];
  return wanted.map(({ key }) => key);
}

function counted(keys) {
  return `${keys.length} ${keys.length === 1 ? "image" : "images"}`;
}

/** Make a group of which one is chosen. */
function choices(title, name, items, chosen) {
  return make(
    "fieldset",
    {},
    make("legend", {}, title),
    ...items.map(({ value, name: words, what }) =>
      make(
        "label",
        { class: "choice" },
        make("input", { type: "radio", name, value, checked: value === chosen }),
        words,
        make("span", { class: "quiet" }, what),
      ),
    ),
  );
}

function nameIn(response) {
  const said = response.headers.get("Content-Disposition") ?? "";
  const encoded = /filename\*=utf-8''([^;]+)/i.exec(said)?.[1];
  return encoded ? decodeURIComponent(encoded) : /filename="([^"]+)"/.exec(said)?.[1];
}

function download(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = make("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
