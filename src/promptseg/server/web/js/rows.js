// A list as long as one likes: only the rows near what is seen are in the page.

import { keep, make, setAttribute } from "./elements.js";

// So many rows beyond the edges are there too, so that a quick turn of the wheel shows no gap.
const SPARE = 6;
const CONTROLS = "button, input, [tabindex]";

/**
 * Arrows go from row to row, and Tab stops at one row alone.
 * @param {{label: string, across?: boolean, keyOf: (item: any) => string,
 *   create: () => HTMLLIElement, update: (row: HTMLElement, item: any, index: number) => void}} how
 */
export function makeRows({ label, across = false, create, update, keyOf }) {
  const list = make("ul", { role: "list", "aria-label": label });
  const element = make("div", { class: across ? "rows across" : "rows down" }, list);
  const state = { items: [], size: 0, stop: 0 };

  const draw = () => {
    const shown = indicesShown(element, list, state, across);
    const byKey = new Map(shown.map((index) => [keyOf(state.items[index]), index]));
    keep(list, [...byKey.keys()], create);
    for (const row of list.children) {
      const index = byKey.get(row.dataset.key);
      row.dataset.index = index;
      row.style[across ? "left" : "top"] = `${index * state.size}px`;
      setAttribute(row, "aria-setsize", state.items.length);
      setAttribute(row, "aria-posinset", index + 1);
      update(row, state.items[index], index);
      for (const control of row.querySelectorAll(CONTROLS)) {
        control.tabIndex = index === state.stop ? 0 : -1;
      }
    }
  };
  const measure = () => {
    state.size = sizeOf(element, list, create, across);
    list.style[across ? "width" : "height"] = `${state.items.length * state.size}px`;
  };
  const reveal = (index) => {
    state.stop = index;
    scrollTo(element, index, state.size, across);
    draw();
  };

  element.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  list.addEventListener("keydown", (event) => goByArrow(event, list, state, reveal, across));
  list.addEventListener("focusin", (event) => {
    const index = Number(event.target.closest("li").dataset.index);
    if (index === state.stop) return;
    state.stop = index;
    draw();
  });
  new ResizeObserver(() => {
    measure();
    draw();
  }).observe(element);

  return {
    element,
    reveal,
    /** Show these items; `stop` is where Tab stops. */
    show(items, stop = state.stop) {
      const grown = items.length !== state.items.length;
      state.items = items;
      state.stop = Math.max(0, Math.min(stop, items.length - 1));
      if (grown || state.size === 0) measure();
      draw();
    },
    /** The index of the row below a place of the screen, one past the last at most. */
    indexAt(position) {
      const frame = list.getBoundingClientRect();
      const along = position - (across ? frame.left : frame.top);
      return Math.max(0, Math.min(state.items.length, Math.round(along / state.size)));
    },
  };
}

/** Those that are seen, some beyond, and the one that has the focus. */
function indicesShown(element, list, { items, size }, across) {
  if (size === 0) return [];
  const [from, length] = across
    ? [element.scrollLeft, element.clientWidth]
    : [element.scrollTop, element.clientHeight];
  const first = Math.max(0, Math.floor(from / size) - SPARE);
  const last = Math.min(items.length, Math.ceil((from + length) / size) + SPARE);
  const shown = Array.from({ length: Math.max(0, last - first) }, (_, index) => first + index);
  const focused = list.contains(document.activeElement)
    ? Number(document.activeElement.closest("li").dataset.index)
    : -1;
  if (focused >= 0 && focused < items.length && (focused < first || focused >= last)) {
    focused < first ? shown.unshift(focused) : shown.push(focused);
  }
  return shown;
}

/** How much room a row takes, which the style sheet decides. */
function sizeOf(element, list, create, across) {
  if (list.firstElementChild === null) list.append(create());
  const { width, height } = list.firstElementChild.getBoundingClientRect();
  return across ? width : height;
}

function scrollTo(element, index, size, across) {
  const [place, length] = across ? ["scrollLeft", "clientWidth"] : ["scrollTop", "clientHeight"];
  const start = index * size;
  const last = start + size - element[length];
  if (element[place] > start) element[place] = start;
  else if (element[place] < last) element[place] = last;
}

function goByArrow(event, list, { items }, reveal, across) {
  const by = { [across ? "ArrowRight" : "ArrowDown"]: 1, [across ? "ArrowLeft" : "ArrowUp"]: -1 };
  const row = event.target.closest("li");
  const plain = !(event.altKey || event.ctrlKey || event.metaKey || event.shiftKey);
  if (!(event.key in by) || !plain || event.target.matches("input, select")) return;
  const index = Number(row.dataset.index) + by[event.key];
  event.preventDefault();
  event.stopPropagation();
  if (index < 0 || index >= items.length) return;
  const column = [...row.querySelectorAll(CONTROLS)].indexOf(event.target);
  reveal(index);
  const next = list.querySelector(`li[data-index="${index}"]`);
  const controls = next.querySelectorAll(CONTROLS);
  controls[Math.min(column, controls.length - 1)]?.focus();
}
