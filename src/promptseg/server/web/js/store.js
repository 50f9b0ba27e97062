// The one place that holds the page's state, and the one way to change it.

import { reduce } from "./reducer.js";
import { initial } from "./state.js";

/** @typedef {import("./state.js").State} State */

/**
 * @param {(state: State, action: {type: string}) => State} reducer pure
 * @param {State} state to begin with
 */
export function makeStore(reducer, state) {
  /** @type {Set<(state: State, before: State) => void>} */
  const listeners = new Set();

  /** Returns the state; nobody may change what it holds. */
  const get = () => state;

  /** Takes an action; listeners hear of it when the state has become another. */
  function dispatch(action) {
    const before = state;
    state = reducer(before, action);
    if (state === before) return;
    for (const listener of [...listeners]) listener(state, before);
  }

  /** Calls `listener` after each change; returns what ends that. */
  function subscribe(listener) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  /**
   * Calls `effect` now, and again whenever what `select` picks is another value (Object.is).
   * Returns what ends that.
   */
  function watch(select, effect) {
    let seen = select(state);
    effect(seen, state);
    return subscribe(() => {
      const picked = select(state);
      if (Object.is(picked, seen)) return;
      seen = picked;
      effect(picked, state);
    });
  }

  return { get, dispatch, subscribe, watch };
}

export const store = makeStore(reduce, initial());
