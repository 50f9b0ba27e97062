// The strip of images below: which is shown, which are done, and how many objects each has.

import { doneMarked, imageChosen, imageRemoved, imageStepped } from "./actions.js";
import { button, follow, make, setAttribute, setText } from "./elements.js";
import { ICONS } from "./icons.js";
import { makeRows } from "./rows.js";
import { currentImage } from "./state.js";
import { makeThumbnails } from "./thumbnails.js";

/** Fill the strip and keep it as the state has it. */
export function startStrip(store, root) {
  const thumbnail = makeThumbnails();
  const rows = makeRows({
    label: "Images",
    across: true,
    keyOf: (image) => image.key,
    create: () => makeRow(store),
    update: (row, image) => update(row, image, store.get().current, thumbnail),
  });
  const before = button("Image before", () => store.dispatch(imageStepped(-1)), {
    hint: "Image before (PageUp)",
    icon: ICONS.previous,
  });
  const after = button("Next image", () => store.dispatch(imageStepped(1)), {
    hint: "Next image (PageDown)",
    icon: ICONS.next,
  });
  const turn = () => {
    const { current } = store.get();
    store.dispatch(doneMarked(current, !currentImage(store.get()).done));
  };
  const done = button("Done", turn, { hint: "The image is done, or is not (D)", class: "plain" });
  root.append(before, rows.element, after, done);

  let shown = null;
  follow(
    store,
    (state) => [state.images, state.current],
    ({ images, current }) => {
      const index = images.findIndex((image) => image.key === current);
      root.hidden = images.length === 0;
      before.disabled = index <= 0;
      after.disabled = index === images.length - 1;
      done.disabled = index < 0 || Boolean(images[index].problem);
      setAttribute(done, "aria-pressed", images[index]?.done ? "true" : "false");
      rows.show(images, index >= 0 ? index : 0);
      if (index >= 0 && current !== shown) rows.reveal(index);
      shown = current;
    },
  );
}

function makeRow(store) {
  const row = make("li");
  const { dataset } = row;
  const press = () => store.dispatch(imageChosen(dataset.key));
  const keys = (event) => {
    const image = store.get().images.find(({ key }) => key === dataset.key);
    if (event.key !== "Delete" || image?.from !== "browser" || image.objects > 0) return;
    event.preventDefault();
    store.dispatch(imageRemoved(dataset.key));
  };
  row.append(
    make(
      "button",
      { type: "button", class: "thumbnail", on: { click: press, keydown: keys } },
      make("img", { alt: "", decoding: "async", draggable: "false" }),
      make("span", { class: "nothing" }),
      make("span", { class: "caption" }),
      make("span", { class: "mark", "aria-hidden": "true" }),
      make("span", { class: "unseen" }),
    ),
  );
  return row;
}

function update(row, image, current, thumbnail) {
  const [control] = row.children;
  const [picture, nothing, caption, mark, more] = control.children;
  const count = `${image.objects} ${image.objects === 1 ? "object" : "objects"}`;
  const standing = image.problem ?? (image.done ? `${count}, done` : count);
  setAttribute(control, "aria-current", image.key === current ? "true" : "false");
  setAttribute(control, "title", `${image.name}: ${standing}`);
  control.classList.toggle("done", image.done);
  control.classList.toggle("broken", Boolean(image.problem));
  setText(caption, image.name);
  setText(mark, image.done ? "✓" : String(image.objects || ""));
  mark.hidden = !image.done && !image.objects;
  setText(more, `, ${standing}`);
  show(row, image, picture, nothing, thumbnail);
}

/** Show the small picture, once it is there and if the row still stands for the image. */
async function show(row, image, picture, nothing, thumbnail) {
  if (row.dataset.pictured === image.key) return;
  row.dataset.pictured = image.key;
  const wanted = image.problem ? null : await thumbnail(image);
  if (row.dataset.key !== image.key) return;
  const fail = () => {
    picture.hidden = true;
    nothing.hidden = false;
    setText(nothing, "no preview");
  };
  picture.hidden = wanted === null;
  nothing.hidden = wanted !== null;
  setText(nothing, image.problem ? "unusable" : "no preview");
  picture.onerror = fail;
  if (wanted !== null) picture.src = wanted;
}
