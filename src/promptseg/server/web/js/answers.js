// Candidates that the service has given for what was said, kept so that taking a step back, or
// clicking where the pointer rested, asks for nothing. Who asks the same at once shares a request.

import { answerKey, question } from "./derived.js";
import { masks } from "./service.js";

/** @typedef {{rle: import("./state.js").Rle, score: number}} Candidate */

const MOST_CHARACTERS = 32 * 2 ** 20;

/** @type {Map<string, Candidate[]>} the least lately used first */
const kept = new Map();
/** @typedef {{users: number, controller: AbortController, answer: Promise<Candidate[]>}} Request */
/** @type {Map<string, Request>} */
const asked = new Map();
let characters = 0;

/** Returns the candidates of an object, if they are here. */
export function keptAnswer(image, thing) {
  const name = `${image} ${answerKey(thing)}`;
  const found = kept.get(name);
  if (found) {
    kept.delete(name);
    kept.set(name, found);
  }
  return found ?? null;
}

/** Returns the candidates of an object; the request ends when nobody waits for it any more. */
export async function answer(image, session, thing, signal) {
  const found = keptAnswer(image, thing);
  if (found) return found;
  const name = `${image} ${answerKey(thing)}`;
  const request = asked.get(name) ?? begin(name, session, question(thing));
  request.users += 1;
  try {
    return await unlessAborted(request.answer, signal);
  } finally {
    request.users -= 1;
    if (request.users === 0) {
      if (asked.get(name) === request) asked.delete(name);
      request.controller.abort();
    }
  }
}

function begin(name, session, said) {
  const controller = new AbortController();
  const request = { users: 0, controller, answer: masks(session, said, controller.signal) };
  asked.set(name, request);
  request.answer
    .then((candidates) => keep(name, candidates))
    .catch(() => {})
    .finally(() => {
      if (asked.get(name) === request) asked.delete(name);
    });
  return request;
}

function keep(name, candidates) {
  kept.set(name, candidates);
  characters += weight(candidates);
  for (const [oldest, each] of kept) {
    if (characters <= MOST_CHARACTERS || kept.size === 1) break;
    kept.delete(oldest);
    characters -= weight(each);
  }
}

function weight(candidates) {
  return candidates.reduce((sum, { rle }) => sum + rle.counts.length, 0);
}

function unlessAborted(promise, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) reject(signal.reason);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    promise.then(resolve, reject);
  });
}
