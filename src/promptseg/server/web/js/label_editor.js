// The dialog in which labels get other names, colours and places, or go, and many come at once.

import {
  labelAdded,
  labelColoured,
  labelRemoved,
  labelRenamed,
  labelsReplaced,
} from "./actions.js";
import { nextColour } from "./colours.js";
import { button, make, setText, setValue } from "./elements.js";
import { ICONS } from "./icons.js";
import { movedTo } from "./lists.js";
import { makeRows } from "./rows.js";

/** Make the body of the dialog. */
export function labelsBody(store, { closing }) {
  const rows = makeRows({
    label: "Labels, in the order of their keys",
    keyOf: (label) => label.name,
    create: () => makeRow(store, said),
    update,
  });
  const said = make("p", { class: "problem", role: "status" });
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
    said,
    make("label", { class: "above", for: "new-labels" }, "More labels, each on a line of its own"),
    names,
    make("p", {}, add),
  ];
}

/** Give a label the name that was written, unless it is none, or another's. */
function rename(store, row, field, said) {
  const [from, to] = [row.dataset.key, field.value.trim()];
  const isTaken = to !== from && store.get().labels.some(({ name }) => name === to);
  const others = `There is a label “${to}” already, so “${from}” keeps its name.`;
  setText(said, isTaken ? others : "");
  field.value = from;
  if (to === from || isTaken) return;
  const list = row.parentElement;
  store.dispatch(labelRenamed(from, to));
  // Another row stands for the new name; who was in this one goes on there.
  const place = [...row.children].indexOf(document.activeElement);
  queueMicrotask(() => {
    const now = [...list.children].find((each) => each.dataset.key === to);
    if (!row.isConnected) now?.children[Math.max(place, 1)].focus();
  });
}

function makeRow(store, said) {
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
      change: () => rename(store, row, field, said),
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
