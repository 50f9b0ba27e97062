// What is said in place of an image: how images come in, or why one cannot be shown.

import { button, make, setText } from "./elements.js";
import { currentImage } from "./state.js";

/** @param {() => void} open opens files */
export function startStage(store, stage, open) {
  const welcome = make(
    "div",
    { class: "welcome" },
    make("h2", {}, "Drop images here"),
    make(
      "p",
      { class: "quiet" },
      "or paste them, or masks to correct. They stay in this browser and go to this service alone.",
    ),
    button("Open images", open, { class: "main" }),
  );
  const name = make("h2");
  const reason = make("p", { class: "quiet" });
  const refused = make("div", { class: "welcome", role: "status" }, name, reason);
  stage.append(welcome, refused);
  store.watch(
    (state) => state.images.length === 0,
    (empty) => {
      welcome.hidden = !empty;
    },
  );
  store.watch(currentImage, (image) => {
    refused.hidden = !image?.problem;
    if (!image?.problem) return;
    setText(name, `${image.name} cannot be shown`);
    setText(reason, image.problem);
  });
}
