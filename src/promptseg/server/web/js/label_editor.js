// The dialog in which labels get other names, colours and places, or go, and many come at once.

import {
  labelAdded,
  labelColoured,
  labelRemoved,
  labelRenamed,
  labelsReplaced,
} from "./actions.js";
import { nextColour } from "./colours.js";
import { button, make, setValue } from "./elements.js";
import { ICONS } from "./icons.js";
import { movedTo } from "./lists.js";
import { makeRows } from "./rows.js";

/** Make the body of the dialog. */
export function labelsBody(store, { closing }) {
  const rows = makeRows({
    label: "Labels, in the order of their keys",
    keyOf: (label) => label.name,
    create: () => makeRow(store),
    update,
  });
  rows.element.classList.add("bounded");
  const end = store.watch(
    (state) => state.labels,
    (labels) => queueMicrotask(() => rows.show(labels)),
  );
  closing.addEventListener("abort", end);
  const names = make("textarea", { id: "new-labels", spellcheck: "false" });
  const add = button("Add these", () => addAll(store, names), { class: "plain" });
  return [
    rows.element,
    make("label", { class: "above", for: "new-labels" }, "More labels, each on a line of its own"),
    names,
    make("p", {}, add),
  ];
}

function makeRow(store) {
  const row = make("li", { class: "row" });
  const name = () => row.dataset.key;
  const colour = make("input", {
    type: "color",
    on: { change: () => store.dispatch(labelColoured(name(), colour.value)) },
  });
  const field = make("input", {
    type: "text",
    class: "rename",
    maxlength: 200,
    on: {
      change: () => {
        store.dispatch(labelRenamed(name(), field.value.trim()));
        // A name that another label has is not taken.
        field.value = row.dataset.key;
      },
    },
  });
  const shift = (by) => () => {
    const { labels } = store.get();
    const index = labels.findIndex((label) => label.name === name());
    const to = Math.min(Math.max(index + by, 0), labels.length - 1);
    store.dispatch(labelsReplaced(movedTo(labels, index, to)));
  };
  row.append(
    colour,
    field,
    button("Up", shift(-1), { icon: ICONS.up }),
    button("Down", shift(1), { icon: ICONS.down }),
    button("Remove", () => store.dispatch(labelRemoved(name())), {
      hint: "Remove from the list; objects keep it",
      icon: ICONS.delete,
    }),
  );
  return row;
}

function update(row, label) {
  const [colour, field, up, down, bin] = row.children;
  colour.setAttribute("aria-label", `Colour of ${label.name}`);
  field.setAttribute("aria-label", `Name of ${label.name}`);
  up.setAttribute("aria-label", `Move ${label.name} up`);
  down.setAttribute("aria-label", `Move ${label.name} down`);
  bin.setAttribute("aria-label", `Remove ${label.name}`);
  setValue(colour, label.colour);
  setValue(field, label.name);
}

function addAll(store, names) {
  for (const line of names.value.split("\n")) {
    const name = line.trim();
    if (name !== "") store.dispatch(labelAdded(name, nextColour(store.get().labels)));
  }
  names.value = "";
}
