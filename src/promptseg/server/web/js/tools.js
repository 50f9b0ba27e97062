// What a press, a drag and a click say, by the tool that is chosen. A gesture hears places of the
// image: `begin`, `drag` with those since the last time, `end`, or `cancel`.

import {
  boxAdded,
  drafted,
  editAdded,
  foundMerged,
  foundToggled,
  noticed,
  objectAccepted,
  objectActivated,
  pointAdded,
  searchChanged,
} from "./actions.js";
import { runsOfMask } from "./painting.js";
import { foundAt, objectAt } from "./picking.js";
import { encode } from "./rle.js";
import { union } from "./runs.js";
import { activeObject, currentImage } from "./state.js";
import { boxOf, isInside, toScreen } from "./view.js";

// So near to its first corner, in pixels of the screen, a polygon is closed.
const NEAR = 9;
const LOCKED = "This object is locked; unlock it in the list to change it";

/** @param {{excludes?: boolean, shift?: boolean, erases?: boolean}} said by buttons and keys */
export function gestureOf(store, said) {
  const state = store.get();
  if (state.found) return choosing(store, said);
  const changes = !["select", "everything", "find"].includes(state.tool);
  if (changes && activeObject(state)?.locked) {
    return { end: () => store.dispatch(noticed("info", LOCKED)) };
  }
  return GESTURES[said.erases ? "eraser" : state.tool](store, said);
}

const GESTURES = {
  click: (store, said) => clicking(store, said, false),
  box: (store, said) => clicking(store, said, true),
  brush: (store, { excludes }) => stroking(store, excludes ? "remove" : "add"),
  eraser: (store) => stroking(store, "remove"),
  polygon: cornering,
  everything: () => ({}),
  find: exampling,
  select: selecting,
};

/** A click is a point, a drag a box. */
function clicking(store, { excludes }, fresh) {
  return {
    ...dragsBox(store, "add", (box) => store.dispatch(boxAdded(box, { fresh }))),
    click(place) {
      if (!isInside(place, currentImage(store.get()))) return;
      const label = excludes ? 0 : 1;
      if (!label && !activeObject(store.get())) {
        const words = "Click on an object first; then exclude what is not part of it";
        store.dispatch(noticed("info", words));
      } else store.dispatch(pointAdded(place, label));
    },
  };
}

/** A drag is a box, from the corner where it began; what is no drag is left to `click`. */
function dragsBox(store, mode, take) {
  let start = null;
  return {
    begin(place) {
      start = place;
    },
    drag(places, moved) {
      const draft = { kind: "box", mode, points: [start, places.at(-1)] };
      if (moved) store.dispatch(drafted(draft));
    },
    end(place, moved) {
      store.dispatch(drafted(null));
      if (!moved) this.click?.(place);
      else if (boxOf(start, place, currentImage(store.get()))) take([...start, ...place]);
    },
    cancel: () => store.dispatch(drafted(null)),
  };
}

function stroking(store, mode) {
  if (mode === "remove" && !activeObject(store.get())) {
    const words = "Choose an object to erase from";
    return { end: () => store.dispatch(noticed("info", words)) };
  }
  const radius = store.get().brush;
  let points = [];
  const draw = (places) => {
    points = [...points, ...places.map(hundredths)];
    store.dispatch(drafted({ kind: "stroke", mode, points }));
  };
  return {
    begin: (place) => draw([place]),
    drag: draw,
    end() {
      store.dispatch(drafted(null));
      store.dispatch(editAdded({ mode, kind: "stroke", points, radius }));
    },
    cancel: () => store.dispatch(drafted(null)),
  };
}

/** Each click is a corner; one at the first corner, or two at a time, end it. */
function cornering(store, { excludes }) {
  return {
    end(place) {
      const { draft, view } = store.get();
      const mode = draft?.mode ?? (excludes ? "remove" : "add");
      const points = draft?.points ?? [];
      if (points.length > 2 && isNear(points[0], place, view)) store.dispatch(objectAccepted());
      else if (points.length && isNear(points.at(-1), place, view, 2)) return;
      else if (mode === "remove" && !activeObject(store.get())) {
        store.dispatch(noticed("info", "Choose an object to cut from"));
      } else {
        const corners = [...points, hundredths(place)];
        store.dispatch(drafted({ kind: "polygon", mode, points: corners }));
      }
    },
    twice: () => store.get().draft?.points.length > 2 && store.dispatch(objectAccepted()),
  };
}

/** Boxes of what is looked for, and of what is not. */
function exampling(store, { excludes }) {
  const side = excludes ? "exclude" : "include";
  return dragsBox(store, excludes ? "remove" : "add", ([ax, ay, bx, by]) => {
    const { search, ...state } = store.get();
    const box = boxOf([ax, ay], [bx, by], currentImage(state));
    store.dispatch(searchChanged({ [side]: [...search[side], box] }));
  });
}

/** A click chooses the smallest object there; beside all of them it ends the choice. */
function selecting(store) {
  return {
    end(place) {
      const thing = objectAt(store.get(), place);
      store.dispatch(thing ? objectActivated(thing.id) : objectAccepted());
    },
  };
}

/** Of what was found a click chooses the smallest there, and with Shift joins it to the last. */
function choosing(store, { shift }) {
  return {
    end(place) {
      const { masks, chosen } = store.get().found;
      const index = foundAt(store.get(), place);
      if (index < 0) return;
      const last = chosen.at(-1);
      if (!shift || last === undefined || last === index) store.dispatch(foundToggled(index));
      else {
        const both = union(runsOfMask(masks[last].rle), runsOfMask(masks[index].rle));
        store.dispatch(foundMerged(last, index, encode(both)));
      }
    },
  };
}

function isNear(one, other, view, near = NEAR) {
  const [a, b] = [toScreen(view, one), toScreen(view, other)];
  return Math.hypot(a[0] - b[0], a[1] - b[1]) <= near;
}

function hundredths(place) {
  return place.map((value) => Math.round(value * 100) / 100);
}
