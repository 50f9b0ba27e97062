// What a click would give, shown while the pointer rests, the newest place winning; and what it
// would choose, shown at once.

import { hovered } from "./actions.js";
import { answer } from "./answers.js";
import { reportError } from "./asking.js";
import { foundAt, isIn, objectAt } from "./picking.js";
import { activeObject, currentImage, currentSession, maskOf, newObject } from "./state.js";
import { isInside, within } from "./view.js";

const REST = 60;

/** Returns what is to be told where the pointer is: a place of the image, or null for nowhere. */
export function makeHover(store) {
  let timer = null;
  let controller = null;

  function stop() {
    clearTimeout(timer);
    controller?.abort();
    controller = null;
  }

  async function preview(point) {
    const state = store.get();
    const session = currentSession(state);
    const thing = wouldBe(state, point);
    if (!session || !thing) return;
    const own = new AbortController();
    controller = own;
    try {
      const [best] = await answer(state.current, session.id, thing, own.signal);
      if (controller === own) store.dispatch(hovered(best ?? null));
    } catch (error) {
      reportError(store, state.current, error);
    }
  }

  // Whatever changes the question makes the answer one to another.
  store.watch((state) => state.documents[state.current]?.objects, stop);
  store.watch((state) => state.active, stop);
  store.watch((state) => state.current, stop);
  store.watch((state) => state.tool, stop);

  return (point) => {
    stop();
    const state = store.get();
    if (state.found || state.tool === "select") {
      const rle = point && chosenAt(state, point);
      if (rle !== (state.hover?.rle ?? null)) store.dispatch(hovered(rle && { rle, score: 1 }));
      return;
    }
    if (state.hover && !(point && isIn(state.hover.rle, point))) store.dispatch(hovered(null));
    if (point) timer = setTimeout(() => preview(point), REST);
  };
}

/** Returns the mask that a click here would choose. */
function chosenAt(state, point) {
  if (state.found) return state.found.masks[foundAt(state, point)]?.rle ?? null;
  const thing = objectAt(state, point);
  return thing && maskOf(state, thing.id);
}

/** Returns the object as it would be if this place was clicked; null where nothing would. */
function wouldBe(state, point) {
  const image = currentImage(state);
  if (!image?.width || state.service.phase !== "ready" || state.tool !== "click") return null;
  if (!isInside(point, image)) return null;
  const thing = activeObject(state) ?? newObject("hover", { tidy: state.tidy });
  if (thing.locked || thing.edits.length) return null;
  const step = { points: [within(point, image)], labels: [1] };
  return { ...thing, steps: [...thing.steps, step], candidate: 0 };
}
