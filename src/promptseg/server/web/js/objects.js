// The list of the image's objects, the uppermost first: its label, its order, whether it is seen.

import {
  labelAdded,
  objectActivated,
  objectDeleted,
  objectLabelled,
  objectLocked,
  objectMoved,
  objectShown,
} from "./actions.js";
import { colourOf, nextColour } from "./colours.js";
import { button, follow, make, redraw, setAttribute, setText } from "./elements.js";
import { ICONS } from "./icons.js";
import { makeRows } from "./rows.js";
import { currentObjects, isUsable } from "./state.js";

const CLICK = "Click on something in the image to make an object.";
const FIND = "Find things by name, or draw them, to make objects; this model answers no clicks.";

/** Fill the panel of objects and keep it as the state has it. */
export function startObjects(store, root) {
  const count = make("span", { class: "quiet" });
  const empty = make("p", { class: "empty" });
  const rows = makeRows({
    label: "Objects, the uppermost first",
    keyOf: (object) => object.id,
    create: () => makeRow(store, rows),
    update: (row, object) => update(row, object, store.get()),
  });
  root.append(
    make("div", { class: "panel-head" }, make("h2", {}, "Objects"), count),
    empty,
    rows.element,
    make("datalist", { id: "label-names" }),
  );

  let active = null;
  const picked = (state) => [
    currentObjects(state),
    state.active,
    state.labels,
    state.masks,
    state.service.verbs,
  ];
  follow(store, picked, (state) => {
    const objects = [...currentObjects(state)].reverse();
    const index = objects.findIndex((object) => object.id === state.active);
    setText(count, objects.length ? String(objects.length) : "");
    setText(empty, isUsable(state, "click") ? CLICK : FIND);
    empty.hidden = objects.length > 0;
    rows.element.hidden = objects.length === 0;
    rows.show(objects, index >= 0 ? index : undefined);
    if (index >= 0 && state.active !== active) rows.reveal(index);
    active = state.active;
  });
}

/** Let the person say what an object is, in its row. */
function beginRename(row, store) {
  const name = row.querySelector(".name");
  const { key: id } = row.dataset;
  const { label, locked } = thing(store, id);
  if (locked) return;
  const before = label ?? "";
  const field = make("input", {
    class: "rename",
    type: "text",
    value: before,
    "aria-label": "Label of the object",
    list: "label-names",
    autocomplete: "off",
  });
  listNames(store.get().labels);
  const returnTo = row.contains(document.activeElement) ? name : document.activeElement;
  let open = true;
  const close = (take) => {
    if (!open) return;
    open = false;
    const said = field.value.trim();
    const held = document.activeElement === field;
    field.replaceWith(name);
    if (held) returnTo.focus();
    if (take && said !== before) labelObject(store, id, said || null);
  };
  field.addEventListener("blur", () => close(true));
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") close(true);
    if (event.key === "Escape") close(false);
    if (event.key === "Enter" || event.key === "Escape") event.preventDefault();
    event.stopPropagation();
  });
  name.replaceWith(field);
  field.select();
}

/** Give an object a label, which becomes one of the list. */
function labelObject(store, id, label) {
  const { labels } = store.get();
  if (label !== null && !labels.some(({ name }) => name === label)) {
    store.dispatch(labelAdded(label, nextColour(labels)));
  }
  store.dispatch(objectLabelled(id, label));
}

function makeRow(store, rows) {
  const row = make("li", { class: "row" });
  const idOf = () => row.dataset.key;
  const of = (act) => () => store.dispatch(act(thing(store, idOf())));
  const grip = make("span", { class: "grip", title: "Drag to another place" });
  const eye = button(
    "Hide",
    of((each) => objectShown(each.id, !each.visible)),
    { icon: ICONS.seen },
  );
  const lock = button(
    "Lock",
    of((each) => objectLocked(each.id, !each.locked)),
    {
      icon: ICONS.unlocked,
    },
  );
  const bin = button(
    "Delete",
    of((each) => objectDeleted(each.id)),
    { icon: ICONS.delete },
  );
  const name = make(
    "button",
    {
      type: "button",
      class: "name",
      on: {
        click: () => store.dispatch(objectActivated(idOf())),
        dblclick: () => beginRename(row, store),
      },
    },
    make("span"),
  );
  const pen = button("Label", () => beginRename(row, store), { icon: ICONS.edit });
  for (const [kind, part] of Object.entries({ eye, lock, bin, pen })) {
    part.classList.add(kind);
  }
  grip.append("⠿");
  grip.addEventListener("pointerdown", (event) => drag(event, row, rows, store));
  row.append(grip, make("span", { class: "swatch" }), name, pen, eye, lock, bin);
  return row;
}

function update(row, object, state) {
  const objects = currentObjects(state);
  const number = objects.indexOf(object) + 1;
  const words = `${object.label ?? "no label"} ${number}`;
  const outcome = state.masks[object.id];
  row.classList.toggle("chosen", object.id === state.active);
  row.classList.toggle("faint", !object.visible);
  row.querySelector(".swatch").style.backgroundColor = colourOf(object, state.labels);
  const name = row.querySelector(".name");
  if (name !== null) {
    setText(name.firstElementChild, outcome?.problem ? `${words}: no mask` : words);
    setAttribute(name, "aria-current", object.id === state.active ? "true" : null);
    setAttribute(
      name,
      "title",
      outcome?.problem ?? "Choose it, to say more about it (Enter when done)",
    );
  }
  say(row.querySelector(".pen"), `Label of ${words}`, ICONS.edit, object.locked);
  say(
    row.querySelector(".eye"),
    `${object.visible ? "Hide" : "Show"} ${words}`,
    object.visible ? ICONS.seen : ICONS.hidden,
  );
  say(
    row.querySelector(".lock"),
    `${object.locked ? "Unlock" : "Lock"} ${words}`,
    object.locked ? ICONS.locked : ICONS.unlocked,
  );
  say(row.querySelector(".bin"), `Delete ${words}`, ICONS.delete, object.locked);
}

function say(control, words, icon, disabled = false) {
  setAttribute(control, "aria-label", words);
  setAttribute(control, "title", words);
  redraw(control.firstElementChild, icon);
  control.disabled = disabled;
}

/** Take a row along with the pointer; where it is let go is its place. */
function drag(event, row, rows, store) {
  const { key: id } = row.dataset;
  const grip = event.currentTarget;
  const list = row.parentElement;
  let place = null;
  event.preventDefault();
  grip.setPointerCapture(event.pointerId);
  const unmark = () => list.querySelector(".over")?.classList.remove("over");
  const move = (moved) => {
    place = rows.indexAt(moved.clientY);
    unmark();
    list.querySelector(`li[data-index="${place}"]`)?.classList.add("over");
  };
  const ending = new AbortController();
  const end = (ended) => {
    ending.abort();
    unmark();
    if (place === null || ended.type === "pointercancel") return;
    const objects = currentObjects(store.get());
    const from = objects.findIndex((object) => object.id === id);
    // The list is shown from above, and `place` counts the row that is taken out.
    const to = objects.length - place;
    store.dispatch(objectMoved(id, Math.max(0, to > from ? to - 1 : to)));
  };
  const { signal } = ending;
  grip.addEventListener("pointermove", move, { signal });
  grip.addEventListener("pointerup", end, { signal });
  grip.addEventListener("pointercancel", end, { signal });
}

function thing(store, id) {
  return currentObjects(store.get()).find((object) => object.id === id);
}

/** Offer the labels to a field that is being filled. */
function listNames(labels) {
  document
    .getElementById("label-names")
    .replaceChildren(...labels.map(({ name }) => make("option", { value: name })));
}
