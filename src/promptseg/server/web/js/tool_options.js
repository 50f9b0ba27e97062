// The second line of the bar: what the chosen tool, or what was found, can be told.

import {
  brushSized,
  candidateCycled,
  foundAllToggled,
  foundDropped,
  foundTaken,
  objectAccepted,
  objectCancelled,
  searchChanged,
} from "./actions.js";
import { group, hintOf, slider } from "./controls.js";
import { button, follow, make, setText, setValue } from "./elements.js";
import { activeObject, currentImage, newId } from "./state.js";

const MOST_BRUSH = 200;
const HINTS = {
  click: "Click on an object; right click on what is not part of it; or drag a box. Enter accepts.",
  box: "Drag a box round an object. Clicks say more about it. Enter accepts.",
  brush: "Paint what belongs to the object; with Alt, take away.",
  eraser: "Paint over what does not belong to the object.",
  polygon: "Click corner by corner, and on the first one or Enter to close. With Alt, cut away.",
  select: "Click on an object to say more about it.",
  everything: "Finds regions to choose from.",
  find: "Drag a box round an example; with Alt, round what is not one.",
};
const FOUND_HINT = "A click keeps one, Shift+click merges it with the last.";

/** Make the line and keep it as the state has it. */
export function makeToolOptions(store, commands) {
  const hint = make("span", { class: "quiet" });
  follow(
    store,
    (state) => [state.tool, state.found],
    ({ tool, found }) => setText(hint, found === null ? HINTS[tool] : FOUND_HINT),
  );
  return make(
    "div",
    { class: "options", role: "group", "aria-label": "Options of the tool" },
    painting(store),
    everything(store, commands),
    finding(store, commands),
    choosing(store),
    making(store),
    hint,
  );
}

function painting(store) {
  const size = slider("Size", { min: 1, max: MOST_BRUSH, step: 1 }, (radius) =>
    store.dispatch(brushSized(radius)),
  );
  follow(
    store,
    (state) => [state.tool, state.brush],
    ({ tool, brush }) => {
      size.element.hidden = tool !== "brush" && tool !== "eraser";
      size.show(Math.min(brush, MOST_BRUSH), `${brush} px`);
    },
  );
  return size.element;
}

function everything(store, commands) {
  const run = button("Find all regions", () => commands.runEverything(), { class: "plain" });
  follow(store, searching, (state) => {
    run.hidden = state.tool !== "everything" || state.found !== null;
    run.disabled = isBusy(state);
  });
  return run;
}

function finding(store, commands) {
  const text = make("input", {
    type: "text",
    id: "find-text",
    "aria-label": "What to find",
    placeholder: "What to find, such as “cup”",
    on: {
      input: () => store.dispatch(searchChanged({ text: text.value })),
      keydown: (event) => {
        if (event.key === "Enter") commands.runFind();
        if (event.key === "Escape") document.getElementById("canvas").focus();
      },
    },
  });
  const run = button("Find", () => commands.runFind(), { class: "plain" });
  const examples = make("span");
  const forget = button(
    "Forget examples",
    () => store.dispatch(searchChanged({ include: [], exclude: [] })),
    { class: "plain" },
  );
  const line = group("Find", text, run, examples, forget);
  follow(store, searching, (state) => {
    const { include, exclude, text: said } = state.search;
    line.hidden = state.tool !== "find" || state.found !== null;
    run.disabled = isBusy(state);
    setValue(text, said);
    const count = include.length + exclude.length;
    examples.hidden = forget.hidden = count === 0;
    setText(examples, `${include.length} like it, ${exclude.length} unlike it`);
  });
  return line;
}

/** What ends the work on an object, for hands without keys. */
function making(store) {
  const next = button(
    "Candidate",
    () => {
      const { masks, active } = store.get();
      store.dispatch(candidateCycled(1, masks[active].candidates.length));
    },
    { class: "plain", hint: hintOf("Show the next candidate of the object") },
  );
  const line = group(
    "The object",
    button("Accept", () => store.dispatch(objectAccepted()), {
      class: "main",
      hint: "Accept the object (Enter)",
    }),
    button("Cancel", () => store.dispatch(objectCancelled()), {
      class: "plain",
      hint: "Cancel what was said of the object (Esc)",
    }),
    next,
  );
  follow(
    store,
    (state) => [state.active, state.found, state.masks[state.active], activeObject(state)],
    (state) => {
      const { active, found, masks } = state;
      const count = masks[active]?.candidates.length ?? 0;
      const place = Math.min(activeObject(state)?.candidate ?? 0, Math.max(count - 1, 0)) + 1;
      line.hidden = active === null || found !== null;
      next.hidden = count < 2;
      setText(next, `Candidate ${place} of ${count}`);
    },
  );
  return line;
}

/** What to do with masks that were found. */
function choosing(store) {
  const said = make("span", { role: "status" });
  const takeChosen = () => {
    const { chosen } = store.get().found;
    store.dispatch(foundTaken(chosen.map(() => newId())));
  };
  const take = button("Take the chosen", takeChosen, { class: "main" });
  const all = button("All or none", () => store.dispatch(foundAllToggled()), { class: "plain" });
  const drop = button("Drop", () => store.dispatch(foundDropped()), { class: "plain" });
  const line = group("What was found", said, take, all, drop);
  follow(
    store,
    (state) => [state.found],
    ({ found }) => {
      line.hidden = found === null;
      take.disabled = !found?.chosen.length;
      if (found !== null) setText(said, `${found.chosen.length} of ${found.masks.length} chosen`);
    },
  );
  return line;
}

const searching = (state) => [
  state.tool,
  state.found,
  state.search,
  state.work,
  currentImage(state),
];

function isBusy(state) {
  return state.work !== null || !currentImage(state) || Boolean(currentImage(state).problem);
}
