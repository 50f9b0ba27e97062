// Two versions of an image's objects put together, so that neither person's work is lost.

/** @typedef {import("./state.js").Thing} Thing */

/**
 * Put together what both made of `base`. Where only one changed an object, that counts; where both
 * did, theirs stays and ours comes on top of it as another. What one changed and the other deleted
 * stays.
 * @param {Thing[]} base @param {Thing[]} ours @param {Thing[]} theirs
 * @param {() => string} newId
 * @returns {{objects: Thing[], both: number}} `both` counts what both had changed
 */
export function merged(base, ours, theirs, newId) {
  const [before, mine] = [byId(base), byId(ours)];
  const known = new Set(theirs.map(({ id }) => id));
  const objects = [];
  let both = 0;
  for (const thing of theirs) {
    const [was, own] = [before.get(thing.id), mine.get(thing.id)];
    const untouched = was !== undefined && same(was, thing);
    if (own === undefined) {
      if (!untouched) objects.push(thing);
    } else if (untouched) {
      objects.push(own);
    } else {
      objects.push(thing);
      if (!same(own, thing) && !(was !== undefined && same(was, own))) {
        objects.push({ ...own, id: newId() });
        both += 1;
      }
    }
  }
  for (const thing of ours) {
    const was = before.get(thing.id);
    const gone = known.has(thing.id) || (was !== undefined && same(was, thing));
    if (!gone) objects.push(thing);
  }
  return { objects, both };
}

/** Whether two objects say the same, in whatever order their parts stand. */
export function same(one, other) {
  return one === other || written(one) === written(other);
}

function byId(list) {
  return new Map(list.map((thing) => [thing.id, thing]));
}

function written(thing) {
  return JSON.stringify(thing, (_, value) =>
    value !== null && typeof value === "object" && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}
