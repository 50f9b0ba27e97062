// The bar above the image: tools, undo, view, how masks look, and what the page can open and write.

import {
  dialogOpened,
  lookChanged,
  redone,
  tidyChanged,
  toolChosen,
  undone,
  viewFitted,
  viewNatural,
} from "./actions.js";
import { group, hintOf, shortcut, slider } from "./controls.js";
import { button, follow, make, redraw, setAttribute } from "./elements.js";
import { ICONS } from "./icons.js";
import { activeObject, currentDocument, isUsable, newId } from "./state.js";
import { nextTheme } from "./theme.js";
import { makeToolOptions } from "./tool_options.js";

const TOOLS = [
  ["click", "Click"],
  ["box", "Box"],
  ["brush", "Brush"],
  ["eraser", "Eraser"],
  ["polygon", "Polygon"],
  ["select", "Choose objects"],
  ["everything", "Everything"],
  ["find", "Find by name"],
];
// Pixels of holes and specks: each place of the slider is four times the one before.
const AREAS = [0, 4, 16, 64, 256, 1024, 4096, 16384, 65536];

/**
 * Fill the bar and keep it as the state has it.
 * @param {Record<string, () => void>} commands `open`, `runEverything`, `runFind`
 */
export function startToolbar(store, root, commands) {
  root.append(
    tools(store),
    history(store),
    view(store),
    look(store),
    tidying(store),
    files(store, commands),
    makeToolOptions(store, commands),
  );
}

function tools(store) {
  const buttons = TOOLS.map(([tool, name]) =>
    button(name, () => store.dispatch(toolChosen(tool)), { ...shortcut(name), icon: ICONS[tool] }),
  );
  follow(
    store,
    (state) => [state.tool, state.service.verbs],
    (state) => {
      buttons.forEach((each, index) => {
        const [name] = TOOLS[index];
        setAttribute(each, "aria-pressed", name === state.tool ? "true" : "false");
        each.hidden = !isUsable(state, name);
      });
    },
  );
  return group("Tool", ...buttons);
}

function history(store) {
  const back = button("Undo", () => store.dispatch(undone()), {
    ...shortcut("Undo"),
    icon: ICONS.undo,
  });
  const forth = button("Redo", () => store.dispatch(redone()), {
    ...shortcut("Redo"),
    icon: ICONS.redo,
  });
  follow(
    store,
    (state) => [currentDocument(state)],
    (state) => {
      const document = currentDocument(state);
      back.disabled = !document?.past.length;
      forth.disabled = !document?.future.length;
    },
  );
  return group("History", back, forth);
}

function view(store) {
  const fit = "Fit the image";
  const natural = "One pixel of the image is one of the screen";
  return group(
    "View",
    button(fit, () => store.dispatch(viewFitted()), { ...shortcut(fit), icon: ICONS.fit }),
    button(natural, () => store.dispatch(viewNatural()), {
      ...shortcut(natural),
      icon: ICONS.natural,
    }),
  );
}

function look(store) {
  const opacity = slider("Masks", { min: 0, max: 100, step: 5 }, (value) =>
    store.dispatch(lookChanged({ opacity: value / 100 })),
  );
  const only = make("input", {
    type: "checkbox",
    on: { change: () => store.dispatch(lookChanged({ outlines: only.checked })) },
  });
  follow(
    store,
    (state) => [state.look],
    ({ look: { opacity: share, outlines } }) => {
      opacity.show(Math.round(share * 100), `${Math.round(share * 100)} %`);
      opacity.disable(outlines);
      only.checked = outlines;
    },
  );
  const outlines = make("label", { title: hintOf("Outlines only") }, only, "Outlines only");
  return group("Look of masks", opacity.element, outlines);
}

function tidying(store) {
  const sliders = [
    ["fill_holes", "Holes", "Fill holes of so many pixels"],
    ["drop_specks", "Specks", "Drop specks of so many pixels"],
  ].map(([part, words, hint]) => {
    let gesture = newId();
    const made = slider(words, { min: 0, max: AREAS.length - 1, step: 1, hint }, (place) =>
      store.dispatch(tidyChanged({ [part]: AREAS[place] }, gesture)),
    );
    made.field.addEventListener("change", () => {
      gesture = newId();
    });
    return { part, ...made };
  });
  follow(
    store,
    (state) => [activeObject(state), state.tidy],
    (state) => {
      const thing = activeObject(state);
      for (const { part, show, disable } of sliders) {
        const area = (thing?.tidy ?? state.tidy)[part];
        const place = AREAS.findIndex((each) => each >= area);
        show(place < 0 ? AREAS.length - 1 : place, area ? `≤ ${area}` : "off");
        disable(thing?.locked ?? false);
      }
    },
  );
  return group("Tidy", ...sliders.map(({ element }) => element));
}

function files(store, commands) {
  const theme = button(
    "Theme",
    () => store.dispatch(lookChanged({ theme: nextTheme(store.get().look.theme) })),
    {
      icon: ICONS.auto,
    },
  );
  store.watch(
    (state) => state.look.theme,
    (name) => {
      redraw(theme.firstElementChild, ICONS[name]);
      const words = `Theme: ${{ auto: "as the system", light: "light", dark: "dark" }[name]}`;
      setAttribute(theme, "title", words);
      setAttribute(theme, "aria-label", words);
    },
  );
  const opens = (dialog) => () => store.dispatch(dialogOpened(dialog));
  const made = group(
    "Page",
    button("Open images, or masks to correct", commands.open, {
      ...shortcut("Open images, or masks to correct"),
      id: "open",
      icon: ICONS.open,
    }),
    button("Import masks to correct", opens("import"), { icon: ICONS.import }),
    button("Export", opens("export"), { ...shortcut("Export"), icon: ICONS.export }),
    theme,
    button("All keys", opens("help"), { ...shortcut("All keys"), icon: ICONS.help }),
  );
  made.classList.add("push");
  return made;
}
