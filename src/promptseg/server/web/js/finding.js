// Looking for all regions of the image, or for all things of a kind: long work, told of while it
// goes on, which can be called off.

import {
  foundMasks,
  noticed,
  sessionLost,
  workBegan,
  workEnded,
  workWent,
} from "./actions.js";
import { reportError, waitForSession } from "./asking.js";
import { everything, find } from "./service.js";
import { currentImage } from "./state.js";

/** Looks for all regions of the image that is shown. */
export function runEverything(store) {
  return run(store, "everything", "Looking for regions", (session, tell, signal) =>
    everything(session.id, {}, tell, signal),
  );
}

/** Looks for what the text and the examples say. */
export function runFind(store) {
  const { text, include, exclude } = store.get().search;
  if (!text.trim() && !include.length) {
    store.dispatch(noticed("info", "Say what to find, or draw a box round an example"));
    return Promise.resolve();
  }
  const concept = { ...(text.trim() ? { text: text.trim() } : {}), include, exclude };
  return run(store, "find", "Finding", (session, _, signal) => find(session.id, concept, signal));
}

async function run(store, kind, words, asked) {
  const { current, work } = store.get();
  if (work || !currentImage(store.get()) || currentImage(store.get()).problem) return;
  const controller = new AbortController();
  const { signal } = controller;
  store.dispatch(workBegan({ kind: words, done: 0, total: 0, cancel: () => controller.abort() }));
  const leave = store.watch(
    (state) => state.current,
    (key) => key !== current && controller.abort(),
  );
  const tell = (done, total) => store.dispatch(workWent(done, total));
  try {
    const look = async () => asked(await waitForSession(store, current, signal), tell, signal);
    const masks = await look().catch((error) => {
      // A service that was begun anew has forgotten the session; it is opened again.
      if (!error.isForgotten) throw error;
      store.dispatch(sessionLost(current));
      return look();
    });
    signal.throwIfAborted();
    if (masks.length) store.dispatch(foundMasks(kind, masks));
    else store.dispatch(noticed("info", "Nothing was found"));
  } catch (error) {
    reportError(store, current, error);
  } finally {
    leave();
    store.dispatch(workEnded());
  }
}
