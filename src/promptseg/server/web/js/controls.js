// Controls that the bar is made of: groups, sliders, and hints that tell the key.

import { make, setAttribute, setText } from "./elements.js";
import { KEYS } from "./keyboard.js";

/** Make parts that belong together. */
export function group(name, ...parts) {
  return make("div", { class: "group", role: "group", "aria-label": name }, ...parts);
}

/** Make a slider with its name before it and its value behind. */
export function slider(words, { hint = words, ...range }, change) {
  const field = make("input", { type: "range", title: hint, "aria-label": hint, ...range });
  const shown = make("output");
  field.addEventListener("input", () => change(Number(field.value)));
  return {
    field,
    element: make(
      "label",
      { title: hint },
      make("span", { "aria-hidden": "true" }, words),
      field,
      shown,
    ),
    show(value, text) {
      if (Number(field.value) !== value) field.value = value;
      setAttribute(field, "aria-valuetext", text);
      setText(shown, text);
    },
    disable(disabled) {
      field.disabled = disabled;
    },
  };
}

/** The hint of a button, with the key that does the same. */
export function shortcut(what) {
  return { hint: hintOf(what) };
}

/** What a control does, and the key that does the same. */
export function hintOf(what) {
  const line = KEYS.find((each) => each.what === what);
  return line ? `${what} (${line.keys.split(", ")[0]})` : what;
}
