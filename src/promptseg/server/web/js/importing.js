// How images and masks come in: dropped, pasted, or opened; files that are neither are named.

import {
  dialogClosed,
  imageChosen,
  imagesAdded,
  labelAdded,
  noticed,
  objectsAdded,
} from "./actions.js";
import { nextColour } from "./colours.js";
import { known } from "./derived.js";
import { droppedFiles } from "./dropping.js";
import { measureAll } from "./measuring.js";
import { button, make } from "./elements.js";
import { ask } from "./service.js";
import { startStage } from "./stage.js";
import { newId, newObject } from "./state.js";

const PICTURES = /\.(jpe?g|png|webp|bmp|gif|tiff?)$/i;
const MASKS = /\.(json|geojson|txt|ya?ml)$/i;
const ACCEPTED = ".jpg,.jpeg,.png,.webp,.bmp,.gif,.tif,.tiff,.json,.geojson,.txt,.yaml,.yml";
// So many names are written out in a notice.
const MOST_NAMES = 3;

/**
 * Take files that are dropped on the page, pasted, or opened.
 * @param {HTMLElement} stage where it is said that they may be dropped
 * @param {Promise<object>} keeping what `startSaving` gives
 * @returns {{open: () => void}}
 */
export function startImporting(store, stage, keeping) {
  const take = (files) => takeFiles(store, keeping, files);
  const field = make("input", {
    type: "file",
    multiple: true,
    accept: ACCEPTED,
    hidden: true,
    "aria-label": "Files",
  });
  const open = () => field.click();
  field.addEventListener("change", () => {
    take([...field.files]);
    field.value = "";
  });
  document.body.append(field);
  startStage(store, stage, open);
  listenToDrops(take);
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    take(files);
  });
  return { open };
}

/** Make the body of the dialog that brings masks. */
export function importBody(store, { close, keeping }) {
  const field = make("input", {
    type: "file",
    multiple: true,
    accept: ACCEPTED,
    id: "import-files",
  });
  const said = make("p", { role: "status" });
  const take = button("Import", () => run(), { class: "main" });
  const run = async () => {
    take.disabled = true;
    said.replaceChildren("Reading…");
    try {
      await importMasks(store, await keeping, [...field.files]);
      close();
    } catch (error) {
      said.replaceChildren(`Not imported: ${error.message}`);
    } finally {
      take.disabled = false;
    }
  };
  return [
    make(
      "p",
      {},
      "Files of COCO, YOLO (labels and data.yaml) or labelme. " +
        "Their masks come on top of what is drawn, on the images of the same name.",
    ),
    make("p", { class: "field" }, make("label", { for: "import-files" }, "Files"), field),
    said,
    make("p", { class: "ends" }, take),
  ];
}

async function takeFiles(store, keeping, files) {
  const pictures = files.filter(isPicture);
  const masks = files.filter((file) => !isPicture(file) && MASKS.test(file.name));
  const others = files.filter((file) => !pictures.includes(file) && !masks.includes(file));
  if (pictures.length) addPictures(store, pictures);
  if (others.length) {
    const words =
      others.length === 1
        ? "is neither an image nor a file of masks"
        : "are neither images nor files of masks";
    store.dispatch(noticed("problem", `${listed(others.map(({ name }) => name))} ${words}.`));
  }
  if (masks.length === 0) return;
  try {
    await importMasks(store, await keeping, masks);
  } catch (error) {
    store.dispatch(noticed("problem", `Not imported: ${error.message}`));
  }
}

/** They are only looked into when they are shown, so a thousand come as quickly as one. */
function addPictures(store, files) {
  const images = files.map((file) => ({
    key: `browser:${newId()}`,
    name: file.name || "pasted.png",
    width: 0,
    height: 0,
    from: "browser",
    done: false,
    objects: 0,
    blob: file,
    ...(file.size === 0 ? { problem: "the file is empty" } : {}),
  }));
  store.dispatch(imagesAdded(images));
  const first = images.find(({ problem }) => !problem);
  if (first) store.dispatch(imageChosen(first.key));
  if (images.length > 1) store.dispatch(noticed("info", `${images.length} images were added.`));
}

/** Read files of masks and put them on the images of their names; throws where none can be. */
async function importMasks(store, keeping, files) {
  if (files.length === 0) throw new Error("choose some files first.");
  const form = new FormData();
  for (const file of files) form.append(file.name, file, file.name);
  // Labels of YOLO do not say how large their images are.
  await measureAll(store);
  const sized = store.get().images.filter(({ width }) => width > 0);
  const open = sized.map(({ name, width, height }) => ({ name, width, height }));
  if (open.length) form.append("images", JSON.stringify(open));
  const { images, problems } = await (
    await ask("v1/import", { method: "POST", body: form })
  ).json();
  const places = images.map((image) => ({ image, key: keyFor(store.get().images, image) }));
  let count = 0;
  for (const { image, key } of places.filter((place) => place.key !== null)) {
    count += await put(store, keeping, key, image);
  }
  report(store, places, problems, count);
  store.dispatch(dialogClosed());
}

/** The image that masks are for: the one of this name, or of this name but for its ending. */
function keyFor(images, { name, width, height }) {
  const own = baseName(name);
  const exact = images.filter((image) => image.name === own);
  const alike = exact.length ? exact : images.filter((image) => stem(image.name) === stem(own));
  const fits = alike.filter(
    (image) => !image.width || (image.width === width && image.height === height),
  );
  return fits.length === 1 ? fits[0].key : null;
}

async function put(store, keeping, key, { objects }) {
  await keeping.load(key);
  for (const name of new Set(objects.map(({ label }) => label))) {
    if (name) store.dispatch(labelAdded(name, nextColour(store.get().labels)));
  }
  const things = objects.map(({ label, rle }) =>
    newObject(newId(), { label: label || null, base: rle, accepted: true }),
  );
  const outcomes = Object.fromEntries(things.map((thing) => [thing.id, known(thing, thing.base)]));
  store.dispatch(objectsAdded(key, things, outcomes));
  return things.length;
}

function report(store, places, problems, count) {
  const strange = places.filter(({ key }) => key === null).map(({ image }) => image.name);
  const several = strange.length > 1;
  if (strange.length) {
    store.dispatch(
      noticed(
        "problem",
        `The files have masks for ${listed(strange)}, but no image here has ` +
          `${several ? "these names" : "this name"} and size.`,
      ),
    );
  }
  for (const problem of problems) {
    store.dispatch(noticed("problem", `${problem.file}: ${problem.message}`));
  }
  if (count) {
    const images = places.filter(({ key }) => key !== null).length;
    store.dispatch(
      noticed(
        "info",
        `Imported ${count} objects of ${images} ${images === 1 ? "image" : "images"}.`,
      ),
    );
  }
}

function listenToDrops(take) {
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const over = (is) => document.body.classList.toggle("dropping", is);
  document.addEventListener("dragover", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    over(true);
  });
  document.addEventListener("dragleave", (event) => event.relatedTarget === null && over(false));
  document.addEventListener("drop", async (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    over(false);
    take(await droppedFiles(event.dataTransfer));
  });
}

function isPicture(file) {
  return file.type.startsWith("image/") ? file.type !== "image/svg+xml" : PICTURES.test(file.name);
}

function listed(names) {
  const shown = names.slice(0, MOST_NAMES).join(", ");
  const left = names.length - MOST_NAMES;
  return left > 0 ? `${shown} and ${left} more` : shown;
}

function baseName(path) {
  return path.replaceAll("\\", "/").split("/").at(-1);
}

function stem(name) {
  return name.replace(/\.[^.]+$/, "");
}
