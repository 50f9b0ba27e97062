// The files in what is dropped, those in folders too.

// Deeper folders are not looked into.
const DEPTH = 4;

/**
 * List the files of a drop. Entries must be taken at once: they are gone when the event has ended.
 * @param {DataTransfer} transfer
 * @returns {Promise<File[]>}
 */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items]
    .filter(({ kind }) => kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const lists = await Promise.all(entries.map((entry) => filesOf(entry, DEPTH)));
  return lists.flat();
}

async function filesOf(entry, depth) {
  if (entry === null) return [];
  if (entry instanceof File) return [entry];
  if (entry.isFile) return fileOf(entry);
  if (depth === 0) return [];
  const inside = [];
  const reader = entry.createReader();
  for (;;) {
    // A reader gives its entries in portions, and none at the end.
    const some = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (some.length === 0) break;
    inside.push(...some);
  }
  inside.sort((one, other) => one.name.localeCompare(other.name, undefined, { numeric: true }));
  const lists = await Promise.all(inside.map((each) => filesOf(each, depth - 1)));
  return lists.flat().filter(({ name }) => !name.startsWith("."));
}

function fileOf(entry) {
  return new Promise((resolve) =>
    entry.file(
      (file) => resolve([file]),
      () => resolve([]),
    ),
  );
}
