// Three layers over each other: the picture, the masks, and what is being said. Each is drawn again
// when something it shows has changed, at most once for a frame of the screen.

import { viewportSized } from "./actions.js";
import { colourOf } from "./colours.js";
import { forgetPaths, paint } from "./painting.js";
import { makePicture } from "./picture.js";
import { drawPrompts } from "./prompts_layer.js";
import { currentObjects, maskOf } from "./state.js";

// Masks that take longer than this are moved as they are while the view moves.
const QUICK = 10;
const REST = 90;
const LAYERS = ["picture", "masks", "prompts"];
const ALL = ["view", "viewport", "current"];
const SAID = ["hover", "draft", "crosshair", "search", "brush"];
/** What of the state each layer shows. */
const SHOWS = {
  picture: [...ALL, "sessions", "images"],
  masks: [...ALL, "masks", "documents", "active", "look", "labels", "found", "tool"],
  prompts: [...ALL, ...SAID, "documents", "active", "tool"],
};

/**
 * Draws into an element, from now on. Returns what is to be told where the pointer is.
 * @param {HTMLElement} host
 */
export function keepDrawing(store, host) {
  const contexts = Object.fromEntries(LAYERS.map((name) => [name, layer(host, name)]));
  const dirty = new Set(LAYERS);
  const masks = makeMasks(contexts.masks, () => request(["masks"]));
  let pointer = null;
  let frame = null;

  function request(names) {
    for (const name of names) dirty.add(name);
    frame ??= requestAnimationFrame(draw);
  }
  const picture = makePicture(store, () => request(["picture"]));

  function draw() {
    frame = null;
    const state = store.get();
    const ratio = devicePixelRatio;
    if (dirty.delete("picture")) {
      clear(contexts.picture);
      picture.draw(contexts.picture, state, ratio);
    }
    if (dirty.delete("masks")) masks.draw(state, ratio);
    if (dirty.delete("prompts")) {
      clear(contexts.prompts);
      drawPrompts(contexts.prompts, state, ratio, pointer);
    }
  }

  store.subscribe((state, before) => {
    const touched = LAYERS.filter((name) => SHOWS[name].some((key) => state[key] !== before[key]));
    if (touched.includes("masks") && !onlyMoved(state, before)) masks.change();
    if (touched.length) request(touched);
  });
  store.watch((state) => state.current, forgetPaths);
  keepSize(store, host, contexts, () => {
    masks.change();
    request(LAYERS);
  });
  request(LAYERS);

  return (place) => {
    if (place === pointer) return;
    pointer = place;
    const { tool, draft } = store.get();
    if (draft || tool === "brush" || tool === "eraser") request(["prompts"]);
  };
}

/** The layer of masks: drawn at once if that is quick, and moved until there is time if not. */
function makeMasks(context, request) {
  let took = 0;
  let drawn = null;
  let timer = null;

  function whole(state, ratio) {
    const begun = performance.now();
    clear(context);
    drawMasks(context, state, ratio);
    context.canvas.style.transform = "";
    took = performance.now() - begun;
    drawn = state.view;
    sayWhenSeen(state);
  }

  return {
    /** What is drawn is not what it was. */
    change() {
      drawn = null;
    },
    draw(state, ratio) {
      clearTimeout(timer);
      if (drawn === null || took < QUICK) {
        whole(state, ratio);
        return;
      }
      const by = state.view.scale / drawn.scale;
      const [x, y] = [state.view.x - drawn.x * by, state.view.y - drawn.y * by];
      context.canvas.style.transform = `matrix(${by}, 0, 0, ${by}, ${x}, ${y})`;
      timer = setTimeout(() => {
        drawn = null;
        request();
      }, REST);
    },
  };
}

function drawMasks(context, state, ratio) {
  const { look, found, view } = state;
  for (const thing of currentObjects(state)) {
    const rle = thing.visible ? maskOf(state, thing.id) : null;
    if (!rle) continue;
    const isActive = thing.id === state.active;
    paint(context, rle, view, ratio, {
      colour: colourOf(thing, state.labels),
      opacity: look.outlines ? 0 : look.opacity * (found ? 0.4 : 1),
      line: isActive ? 2.5 : 1.25,
    });
  }
  found?.masks.forEach(({ rle }, index) => {
    const isChosen = found.chosen.includes(index);
    paint(context, rle, view, ratio, {
      colour: colourOf({ id: String(index * 7), label: null }, []),
      opacity: isChosen && !look.outlines ? Math.max(look.opacity, 0.3) : 0,
      line: isChosen ? 2.5 : 1,
      plain: !isChosen,
    });
  });
}

/** Measures how long it took from the newest prompt until its mask is there. */
function sayWhenSeen(state) {
  const { active } = state;
  if (active === null || state.masks[active]?.pending !== false) return;
  if (!performance.getEntriesByName("prompt said").length) return;
  performance.measure("prompt to mask", "prompt said");
  performance.clearMarks("prompt said");
}

function onlyMoved(state, before) {
  const others = SHOWS.masks.filter((key) => key !== "view");
  return others.every((key) => state[key] === before[key]);
}

function layer(host, name) {
  const canvas = document.createElement("canvas");
  canvas.className = `layer ${name}`;
  canvas.setAttribute("aria-hidden", "true");
  host.append(canvas);
  return canvas.getContext("2d");
}

function clear(context) {
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, context.canvas.width, context.canvas.height);
}

/** Keeps as many pixels in each layer as the screen has there. */
function keepSize(store, host, contexts, resized) {
  const measure = () => {
    const { clientWidth: width, clientHeight: height } = host;
    const ratio = devicePixelRatio;
    for (const { canvas } of Object.values(contexts)) {
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
    }
    store.dispatch(viewportSized(width, height));
    resized();
  };
  new ResizeObserver(measure).observe(host);
  addEventListener("resize", measure);
}
