// What the page says: a service that is lost, work that goes on, what went wrong, what was done.

import { noticeDismissed } from "./actions.js";
import { button, follow, keep, make, setAttribute, setText } from "./elements.js";
import { ICONS } from "./icons.js";
import { currentImage } from "./state.js";

// What is no problem goes by itself; a problem stays until it is read.
const INFO_MS = 8000;
const MOST = 4;
const SAVED = {
  saved: "Saved",
  saving: "Saving…",
  unsaved: "Not saved yet",
  conflict: "Changed elsewhere",
};

/** Fill the place for notices and keep it as the state has it. */
export function startNotices(store, root, commands) {
  const banner = lost(commands);
  const work = working(store);
  const list = make("div", {
    class: "list",
    role: "log",
    "aria-live": "polite",
    "aria-label": "Notices",
  });
  const alarm = make("div", { class: "unseen", role: "alert" });
  setAttribute(root, "role", "region");
  setAttribute(root, "aria-label", "Messages");
  root.append(banner, work, list, alarm);
  follow(
    store,
    (state) => [state.service],
    ({ service }) => {
      banner.hidden = service.phase !== "lost";
      setText(alarm, banner.hidden ? "" : banner.firstElementChild.textContent);
    },
  );
  follow(
    store,
    (state) => [state.notices],
    ({ notices }) => {
      const shown = notices.slice(-MOST);
      const byId = new Map(shown.map((notice) => [notice.id, notice]));
      keep(list, [...byId.keys()], (id) => makeNotice(store, byId.get(id)));
    },
  );
}

/** Fill the line at the foot of the page. */
export function startStatus(store, root) {
  const image = make("span");
  const place = make("span");
  const model = make("span", { class: "push" });
  const saved = make("span", { role: "status" });
  root.append(image, place, model, saved);
  follow(
    store,
    (state) => [state.images, state.current],
    (state) => {
      const shown = currentImage(state);
      const index = state.images.indexOf(shown) + 1;
      const done = state.images.filter((each) => each.done).length;
      const size = shown?.width ? `, ${shown.width} × ${shown.height}` : "";
      setText(image, shown ? `${shown.name}${size}` : "No image");
      setText(place, shown ? `${index} of ${state.images.length}, ${done} done` : "");
    },
  );
  follow(
    store,
    (state) => [state.view.scale],
    ({ view }) => {
      setAttribute(image, "title", `Shown at ${Math.round(view.scale * 100)} %`);
    },
  );
  follow(
    store,
    (state) => [state.service],
    ({ service }) => {
      const states = { unknown: "Looking for the service", lost: "The service does not answer" };
      setText(model, states[service.phase] ?? `Model: ${service.model}`);
      model.classList.toggle("problem", service.phase === "lost");
    },
  );
  follow(
    store,
    (state) => [state.saved],
    (state) => {
      setText(saved, SAVED[state.saved]);
      saved.classList.toggle("well", state.saved === "saved");
      saved.classList.toggle("problem", state.saved === "conflict");
    },
  );
}

function lost(commands) {
  const words =
    "The service does not answer. Your work is kept here, and it is asked again by itself.";
  const again = button("Ask now", commands.retry, { class: "plain" });
  return make("div", { class: "banner", hidden: true }, make("span", {}, words), again);
}

function working(store) {
  const bar = make("progress", { "aria-label": "Progress" });
  const words = make("span");
  const stop = button("Cancel", () => store.get().work?.cancel(), {
    class: "plain",
    hint: "Cancel (Esc)",
  });
  const line = make("div", { class: "work", hidden: true }, words, bar, stop);
  follow(
    store,
    (state) => [state.work],
    ({ work }) => {
      line.hidden = work === null;
      if (work === null) return;
      setText(words, work.total ? `${work.kind}: ${work.done} of ${work.total}` : work.kind);
      if (work.total) {
        bar.max = work.total;
        bar.value = work.done;
      } else bar.removeAttribute("value");
    },
  );
  return line;
}

function makeNotice(store, { id, kind, text }) {
  const dismiss = () => store.dispatch(noticeDismissed(id));
  if (kind === "info") setTimeout(dismiss, INFO_MS);
  return make(
    "div",
    { class: `notice ${kind}` },
    make("span", {}, text),
    button("Dismiss", dismiss, { icon: ICONS.close }),
  );
}
