// The list of labels: what the next object is called, by a click, a key from 1 to 9, or by name.

import { dialogOpened, labelAdded, labelChosen } from "./actions.js";
import { nextColour } from "./colours.js";
import { button, follow, make, setAttribute, setText } from "./elements.js";
import { ICONS } from "./icons.js";
import { makeRows } from "./rows.js";

const KEYS = 9;

/** Fill the panel of labels and keep it as the state has it. */
export function startLabels(store, root) {
  const field = make("input", {
    type: "search",
    id: "label-search",
    placeholder: "Find or add (L)",
    "aria-label": "Find a label, or add one",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 200,
  });
  const empty = make("p", { class: "empty" });
  const rows = makeRows({
    label: "Labels",
    keyOf: ({ label }) => label.name,
    create: () => makeRow(store),
    update: (row, item) => update(row, item, store.get()),
  });
  const edit = button("Edit labels", () => store.dispatch(dialogOpened("labels")), {
    icon: ICONS.edit,
  });
  root.append(
    make("div", { class: "panel-head" }, make("h2", {}, "Labels"), edit),
    make("div", { class: "panel-field" }, field),
    empty,
    rows.element,
  );

  const render = () => {
    const state = store.get();
    const shown = matching(state.labels, field.value);
    setText(empty, hintFor(state.labels, field.value));
    empty.hidden = shown.length > 0;
    rows.element.hidden = shown.length === 0;
    const index = shown.findIndex(({ label }) => label.name === state.label);
    rows.show(shown, index >= 0 ? index : 0);
  };
  field.addEventListener("input", render);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault();
    event.stopPropagation();
    if (event.key === "Enter") takeFirst(store, field.value);
    field.value = "";
    render();
    document.getElementById("canvas")?.focus();
  });
  follow(store, (state) => [state.labels, state.label], render);
}

/** Labels with a word in their name, those that begin with it first; each with its key. */
export function matching(labels, said) {
  const word = said.trim().toLowerCase();
  const items = labels.map((label, index) => ({
    label,
    key: index < KEYS ? String(index + 1) : "",
  }));
  if (word === "") return items;
  const place = ({ label }) => label.name.toLowerCase().indexOf(word);
  const found = items.filter((item) => place(item) >= 0);
  return [...found.filter((item) => place(item) === 0), ...found.filter((item) => place(item) > 0)];
}

/** Choose the first that fits; one of no known name becomes a label. */
function takeFirst(store, said) {
  const name = said.trim();
  if (name === "") return;
  const { labels } = store.get();
  const exact = labels.find((label) => label.name === name);
  const first = exact ?? matching(labels, name)[0]?.label;
  if (first === undefined) store.dispatch(labelAdded(name, nextColour(labels)));
  store.dispatch(labelChosen(first?.name ?? name));
}

function hintFor(labels, said) {
  if (said.trim() !== "") return `Enter adds “${said.trim()}”.`;
  return labels.length === 0 ? "Type a name and press Enter." : "";
}

function makeRow(store) {
  const row = make("li", { class: "row" });
  const choose = () => {
    const { key: name } = row.dataset;
    store.dispatch(labelChosen(store.get().label === name ? null : name));
  };
  const name = make(
    "button",
    { type: "button", class: "name", on: { click: choose } },
    make("span"),
  );
  row.append(make("span", { class: "swatch" }), name, make("span", { class: "key" }));
  return row;
}

function update(row, { label, key }, state) {
  const chosen = label.name === state.label;
  const [swatch, name, shortcut] = row.children;
  row.classList.toggle("chosen", chosen);
  swatch.style.backgroundColor = label.colour;
  setText(name.firstElementChild, label.name);
  setAttribute(name, "aria-pressed", chosen ? "true" : "false");
  setAttribute(name, "aria-keyshortcuts", key || null);
  setAttribute(name, "title", label.name);
  setText(shortcut, key);
}
