// Makes elements and keeps lists of them; text goes in as text, never as markup.

/**
 * Make an element. `has` holds attributes; `on` in it holds listeners, `data` its data attributes.
 * An attribute that is null or false is left out, one that is true is there without a value.
 * @param {string} tag
 * @param {Record<string, any>} [has]
 * @param {...(Node|string|null)} children
 * @returns {HTMLElement}
 */
export function make(tag, has = {}, ...children) {
  const element = document.createElement(tag);
  const { on = {}, data = {}, ...attributes } = has;
  for (const [name, value] of Object.entries(attributes)) setAttribute(element, name, value);
  for (const [kind, listen] of Object.entries(on)) element.addEventListener(kind, listen);
  Object.assign(element.dataset, data);
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** Set an attribute, or take it away; nothing is touched that is as it should be. */
export function setAttribute(element, name, value) {
  if (value === null || value === false || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

/** Set the text of an element, unless it is that already: a live region would say it again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set the value of a field, unless the person is in it. */
export function setValue(field, value) {
  if (document.activeElement !== field && field.value !== String(value)) field.value = value;
}

/** Make a button with words; where it has an `icon`, they are read out and hinted at. */
export function button(words, press, { icon = null, hint = words, ...has } = {}) {
  const look = icon === null ? {} : { class: "icon-only", "aria-label": words };
  return make(
    "button",
    { type: "button", title: hint, ...look, ...has, on: { click: press } },
    icon === null ? words : picture(icon),
  );
}

const SVG = "http://www.w3.org/2000/svg";

/** Draw an icon from the path of its lines, in a square of 24. */
export function picture(path) {
  const svg = document.createElementNS(SVG, "svg");
  const line = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

/** Change the path of an icon that `picture` drew. */
export function redraw(svg, path) {
  const line = svg.firstElementChild;
  if (line.getAttribute("d") !== path) line.setAttribute("d", path);
}

/**
 * Make the children of `parent` stand for `keys`, in their order, and reuse those that do already.
 * @param {HTMLElement} parent
 * @param {string[]} keys
 * @param {(key: string) => HTMLElement} create
 */
export function keep(parent, keys, create) {
  const before = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  let place = parent.firstElementChild;
  for (const key of keys) {
    const child = before.get(key) ?? create(key);
    child.dataset.key = key;
    before.delete(key);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of before.values()) child.remove();
  // An element that is put elsewhere loses the focus on its way.
  if (focused?.isConnected && document.activeElement !== focused) focused.focus();
}

/**
 * Call `render` now, and again, once after any number of changes, when one of what `pick` lists is
 * another.
 * @param {{get: Function, subscribe: Function}} store
 * @param {(state: object) => any[]} pick
 * @param {(state: object) => void} render
 */
export function follow(store, pick, render) {
  let seen = pick(store.get());
  let waiting = false;
  render(store.get());
  return store.subscribe((state) => {
    const picked = pick(state);
    if (picked.every((each, index) => Object.is(each, seen[index]))) return;
    seen = picked;
    if (waiting) return;
    waiting = true;
    queueMicrotask(() => {
      waiting = false;
      render(store.get());
    });
  });
}
