// The hand on the image: mouse, pen and fingers, and the space bar, which pans while it is held.

import {
  brushSized,
  crosshairHidden,
  crosshairSaid,
  viewPanned,
  viewZoomed,
} from "./actions.js";
import { makeHover } from "./hovering.js";
import { currentImage } from "./state.js";
import { gestureOf } from "./tools.js";
import { toImage } from "./view.js";

const LONG_WHEEL = 0.0016;
const PINCH_WHEEL = 0.01;
const LINE = 16;
const SLACK = { mouse: 4, pen: 6, touch: 10 };
const MIDDLE = 1;
const RIGHT = 2;

/**
 * Listens to the pointer on an element, from now on.
 * @param {HTMLElement} host
 * @param {(place: number[]|null) => void} tell hears where the pointer is, in pixels of the screen
 */
export function keepPointing(store, host, tell) {
  const hover = makeHover(store);
  /** @type {Map<number, number[]>} fingers and others that are down */
  const down = new Map();
  let press = null;
  const space = keepSpace(store, host);
  const callOff = () => {
    if (press) press = { kind: "off", gesture: {} };
  };
  store.watch((state) => state.current, callOff);
  store.watch(
    (state) => state.draft,
    (draft) => draft === null && press?.draws && callOff(),
  );

  const placeOf = (event) => {
    const { left, top } = host.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  };

  function begin(event) {
    const place = placeOf(event);
    down.set(event.pointerId, place);
    host.setPointerCapture(event.pointerId);
    hover(null);
    if (down.size === 2) {
      press?.gesture.cancel?.();
      press = { kind: "pinch", gesture: {} };
      return;
    }
    if (down.size > 2 || !currentImage(store.get())?.width) return;
    store.dispatch(crosshairHidden());
    press = pressOf(event, place);
    press.gesture.begin?.(toImage(store.get().view, place));
    noteDraft();
  }

  /** What is being drawn can be called off, as by Esc; corners stay from click to click. */
  function noteDraft() {
    press.draws = press.gesture.drag !== undefined && store.get().draft !== null;
  }

  function pressOf(event, place) {
    const pans = event.button === MIDDLE || space.isHeld();
    const kind = pans ? "pan" : "draw";
    const said = {
      excludes: event.button === RIGHT || event.altKey || (event.ctrlKey && event.button === 0),
      shift: event.shiftKey,
      erases: (event.buttons & 32) !== 0,
    };
    const gesture = pans ? {} : gestureOf(store, said);
    const slack = SLACK[event.pointerType] ?? SLACK.mouse;
    return { kind, start: place, last: place, moved: false, gesture, slack };
  }

  function move(event) {
    const place = placeOf(event);
    tell(place);
    if (press?.kind === "pinch") pinch(event, place);
    else if (press && down.has(event.pointerId)) press.kind !== "off" && drag(event, place);
    else if (!press && event.pointerType !== "touch") hover(toImage(store.get().view, place));
    if (down.has(event.pointerId)) down.set(event.pointerId, place);
  }

  function drag(event, place) {
    press.moved ||= Math.hypot(place[0] - press.start[0], place[1] - press.start[1]) > press.slack;
    if (press.kind === "pan") {
      space.use();
      store.dispatch(viewPanned(place[0] - press.last[0], place[1] - press.last[1]));
    } else {
      const { view } = store.get();
      const each = event.getCoalescedEvents?.() ?? [];
      const places = each.length ? each.map(placeOf) : [place];
      press.gesture.drag?.(places.map((one) => toImage(view, one)), press.moved);
      noteDraft();
    }
    press.last = place;
  }

  function pinch(event, place) {
    const other = [...down].find(([id]) => id !== event.pointerId)?.[1];
    const before = down.get(event.pointerId);
    if (!other || !before) return;
    const apart = (one) => Math.hypot(one[0] - other[0], one[1] - other[1]);
    const middle = (one) => [(one[0] + other[0]) / 2, (one[1] + other[1]) / 2];
    const [from, to] = [middle(before), middle(place)];
    store.dispatch(viewPanned(to[0] - from[0], to[1] - from[1]));
    if (apart(before) > 0) store.dispatch(viewZoomed(apart(place) / apart(before), to));
  }

  function end(event) {
    const ended = down.delete(event.pointerId) && press;
    if (!ended || (press.kind === "pinch" && down.size)) return;
    press = null;
    if (ended.kind !== "draw") return;
    const before = store.get().documents;
    performance.clearMarks("prompt said");
    performance.mark("prompt said", { startTime: event.timeStamp });
    ended.gesture.end?.(toImage(store.get().view, placeOf(event)), ended.moved);
    if (store.get().documents === before) performance.clearMarks("prompt said");
  }

  function cancel(event) {
    down.delete(event.pointerId);
    press?.gesture.cancel?.();
    if (!down.size) press = null;
  }

  function menu(event) {
    event.preventDefault();
    // A long press of a finger; a right click has ended as one.
    if (press?.kind !== "draw" || event.pointerType !== "touch" || press.moved) return;
    // A brush that rests paints on.
    if (store.get().draft?.kind === "stroke") return;
    const { start } = press;
    press.gesture.cancel?.();
    press = null;
    gestureOf(store, { excludes: true }).end?.(toImage(store.get().view, start), false);
  }

  function leave() {
    tell(null);
    hover(null);
  }

  function wheel(event) {
    event.preventDefault();
    if (!currentImage(store.get())?.width) return;
    const turned = event.deltaY * (event.deltaMode === 1 ? LINE : 1);
    const factor = Math.exp(-turned * (event.ctrlKey ? PINCH_WHEEL : LONG_WHEEL));
    if (event.altKey && press === null) {
      store.dispatch(brushSized(store.get().brush * factor));
      return;
    }
    store.dispatch(viewZoomed(factor, placeOf(event)));
  }

  host.addEventListener("pointerdown", begin);
  host.addEventListener("pointermove", move);
  host.addEventListener("pointerup", end);
  host.addEventListener("pointercancel", cancel);
  host.addEventListener("pointerleave", leave);
  host.addEventListener("contextmenu", menu);
  host.addEventListener("dblclick", () => gestureOf(store, {}).twice?.());
  host.addEventListener("wheel", wheel, { passive: false });
}

/** The space bar: held it pans, and pressed and let go it includes what is at the crosshair. */
function keepSpace(store, host) {
  let [held, used] = [false, false];
  const isOurs = ({ key, target }) =>
    key === " " && (host.contains(target) || target === document.body);

  addEventListener("keydown", (event) => {
    if (!isOurs(event)) return;
    event.preventDefault();
    if (event.repeat) return;
    [held, used] = [true, false];
    host.classList.add("panning");
  });
  addEventListener("keyup", (event) => {
    if (event.key !== " " || !held) return;
    letGo();
    if (!used) store.dispatch(crosshairSaid(1));
  });
  addEventListener("blur", letGo);

  function letGo() {
    held = false;
    host.classList.remove("panning");
  }

  return { isHeld: () => held, use: () => (used = true) };
}
