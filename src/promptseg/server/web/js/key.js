// Asks the person for the key that the service wants, where its callers need one.

import { button, make } from "./elements.js";
import { rememberKey } from "./service.js";

/** Returns whether a key was given; it goes with every request from then on. */
export function askForKey(why) {
  return new Promise((resolve) => {
    const field = make("input", { type: "password", id: "key", autocomplete: "off" });
    const end = (given) => {
      dialog.remove();
      if (given) rememberKey(field.value.trim());
      resolve(given);
    };
    const give = () => field.value.trim() && end(true);
    field.addEventListener("keydown", ({ key }) => key === "Enter" && give());
    const dialog = make(
      "dialog",
      { "aria-labelledby": "key-title", on: { close: () => end(false) } },
      make("header", {}, make("h2", { id: "key-title" }, "This service needs a key")),
      make("div", { class: "body" }, make("p", {}, why), make("label", {}, "Key", field)),
      make("footer", {}, button("Go on", give, { class: "main" })),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
