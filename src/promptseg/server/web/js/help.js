// All keys, as `keyboard.js` has them.

import { lookChanged } from "./actions.js";
import { make } from "./elements.js";
import { GESTURES, KEYS } from "./keyboard.js";

const SIGNS = { Left: "←", Right: "→", Up: "↑", Down: "↓" };

/** Make the body of the dialog that shows every key. */
export function helpBody(store) {
  const lines = [...GESTURES, ...KEYS];
  const groups = [...new Set(lines.map(({ group }) => group))];
  const sections = groups.map((group) =>
    section(
      group,
      lines.filter((line) => line.group === group),
    ),
  );
  const letters = make("input", {
    type: "checkbox",
    checked: store.get().look.letters !== false,
    on: { change: () => store.dispatch(lookChanged({ letters: letters.checked })) },
  });
  return [
    make("div", { class: "keys" }, ...sections),
    make("label", {}, letters, "Keys of one letter, without Ctrl or Alt"),
  ];
}

function section(group, lines) {
  return make(
    "section",
    {},
    make("h3", {}, group),
    make(
      "table",
      {},
      make(
        "tbody",
        {},
        ...lines.map(({ keys, what }) =>
          make("tr", {}, make("th", { scope: "row" }, ...written(keys)), make("td", {}, what)),
        ),
      ),
    ),
  );
}

/** Write keys as they stand on a keyboard. */
function written(keys) {
  return keys
    .split(", ")
    .flatMap((chord, index) => [
      ...(index ? [" or "] : []),
      ...chord.split(/\+(?=.)/).map((key) => make("kbd", {}, SIGNS[key] ?? key)),
    ]);
}
