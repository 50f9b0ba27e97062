// Keeps the mask of every object what its prompts make it: asks the service for what is not known,
// at most once at a time for each object, and the newest wins.

import { noticed, outcomeChanged, serviceLost, sessionLost } from "./actions.js";
import { answer, keptAnswer } from "./answers.js";
import { answerKey, currentMask, drawn, maskKey, tidiesLater } from "./derived.js";
import { isAbort, tidied } from "./service.js";
import { currentObjects, currentSession, imageOf, isUsable, saysSomething } from "./state.js";

/** @typedef {import("./state.js").Thing} Thing */

// Beside the active object, which never waits.
const TOGETHER = 2;

/**
 * What is asked, by object; of an image that is left it is waited for all the same.
 * @type {Map<string, {name: string, key: string, controller: AbortController}>}
 */
const jobs = new Map();
/** @type {Map<string, string>} what could not be answered, by object; it is not asked again */
const failed = new Map();

/** Begins to keep masks up to date. */
export function keepAsking(store) {
  const look = () => lookAfter(store);
  store.watch((state) => state.documents[state.current]?.objects, look);
  store.watch((state) => state.active, look);
  store.watch(currentSession, look);
  store.watch(
    (state) => state.service.phase,
    () => {
      failed.clear();
      look();
    },
  );
}

/**
 * Returns the masks of an image's objects, asking for what is missing, as of images that nobody
 * looks at; what cannot be answered is left out.
 * @param {(key: string) => Promise<object>} sessionOf opens the image, where it must be asked about
 * @returns {Promise<{label: string|null, rle: import("./state.js").Rle}[]>}
 */
export async function masksOf(store, key, sessionOf, signal) {
  const found = [];
  for (const thing of store.get().documents[key].objects.filter(saysSomething)) {
    let rle = currentMask(store.get(), thing);
    try {
      if (rle === undefined) {
        rle = (await outcomeOf(store, key, await sessionOf(key), thing, signal)).shown;
      }
    } catch (error) {
      if (isAbort(error) || error.passes) throw error;
    }
    if (rle) found.push({ label: thing.label, rle });
  }
  return found;
}

/** Returns the session of an image as soon as there is one. */
export function waitForSession(store, key, signal) {
  return new Promise((resolve, reject) => {
    const leave = store.watch(
      (state) => state.sessions[key],
      (session) => {
        if (!session) return;
        resolve(session);
        queueMicrotask(() => leave());
      },
    );
    signal.addEventListener("abort", () => {
      leave();
      reject(signal.reason);
    });
  });
}

/** Tells the rest of the page of an error, where it is not that somebody changed their mind. */
export function reportError(store, key, error) {
  if (isAbort(error)) return;
  if (error.isLost) store.dispatch(serviceLost());
  else if (error.isForgotten) store.dispatch(sessionLost(key));
  else store.dispatch(noticed("problem", error.message));
}

function lookAfter(store) {
  const state = store.get();
  const things = currentObjects(state);
  for (const [id, { key }] of jobs) {
    if (!state.documents[key]?.objects.some((thing) => thing.id === id)) stop(id);
  }
  const active = things.find(({ id }) => id === state.active);
  for (const thing of active ? [active, ...things] : things) {
    if (isSettled(store.get(), thing)) stop(thing.id);
    else consider(store, state, thing);
  }
}

/** Tells whether all that follows from an object is known. */
function isSettled(state, thing) {
  if (!saysSomething(thing)) return true;
  const outcome = state.masks[thing.id];
  if (outcome?.key !== maskKey(thing)) return false;
  // Candidates to choose from are wanted of the active one alone.
  const isEnough = thing.id !== state.active || !isUsable(state, "click");
  return isEnough || outcome.answer === answerKey(thing);
}

function consider(store, state, thing) {
  const name = `${maskKey(thing)} ${answerKey(thing)}`;
  if (jobs.get(thing.id)?.name === name || failed.get(thing.id) === name) return;
  stop(thing.id);
  const quick = !tidiesLater(thing) && (!thing.steps.length || keptAnswer(state.current, thing));
  const canAsk = currentSession(state) && state.service.phase !== "lost";
  if (!quick && (!canAsk || (thing.id !== state.active && jobs.size > TOGETHER))) return;
  if (quick) settle(store, state, thing);
  else begin(store, state.current, currentSession(state), thing, name);
}

/** Works an object out from what is here. */
function settle(store, state, thing) {
  const candidates = thing.steps.length ? keptAnswer(state.current, thing) : [];
  const shown = drawn(thing, candidates, imageOf(state, state.current));
  store.dispatch(outcomeChanged(thing.id, outcome(thing, candidates, shown)));
}

async function begin(store, key, session, thing, name) {
  const job = { name, key, controller: new AbortController() };
  jobs.set(thing.id, job);
  store.dispatch(outcomeChanged(thing.id, { pending: true, problem: null }));
  try {
    const made = await outcomeOf(store, key, session, thing, job.controller.signal);
    if (jobs.get(thing.id) === job) store.dispatch(outcomeChanged(thing.id, made));
  } catch (error) {
    if (jobs.get(thing.id) !== job) return;
    if (!error.isLost && !error.isForgotten) failed.set(thing.id, name);
    store.dispatch(outcomeChanged(thing.id, { pending: false, problem: error.message }));
    reportError(store, key, error);
  } finally {
    if (jobs.get(thing.id) === job) jobs.delete(thing.id);
    lookAfter(store);
  }
}

async function outcomeOf(store, key, session, thing, signal) {
  const candidates = thing.steps.length ? await answer(key, session.id, thing, signal) : [];
  let shown = drawn(thing, candidates, imageOf(store.get(), key));
  if (shown && tidiesLater(thing)) {
    const [clean] = await tidied(shown, thing.tidy, signal);
    shown = clean?.rle ?? null;
  }
  return outcome(thing, candidates, shown);
}

function outcome(thing, candidates, shown) {
  return {
    answer: answerKey(thing),
    candidates,
    key: maskKey(thing),
    shown,
    pending: false,
    problem: null,
  };
}

function stop(id) {
  const job = jobs.get(id);
  if (!job) return;
  jobs.delete(id);
  job.controller.abort();
}
