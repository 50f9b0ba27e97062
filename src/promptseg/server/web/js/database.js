// What the browser keeps: images it was given, what is drawn on them, and how the page looks.

const NAME = "promptseg";
const VERSION = 1;
/**
 * Of images, by key: their files (`files`); names, sizes and order (`strip`); what is drawn on them
 * (`documents`). Of each place: the page's look (`page`).
 */
const STORES = ["files", "strip", "documents", "page"];

/**
 * Open the browser's own store; where it has none, or lends none, a stand-in that forgets.
 * @returns {Promise<{lasting: boolean, read: Function, all: Function, keys: Function,
 *   write: Function, forget: Function}>}
 */
export async function openDatabase() {
  try {
    return lasting(await opened());
  } catch {
    return forgetful();
  }
}

function opened() {
  return new Promise((resolve, reject) => {
    const asking = indexedDB.open(NAME, VERSION);
    asking.onupgradeneeded = () => {
      for (const store of STORES) asking.result.createObjectStore(store);
    };
    asking.onsuccess = () => resolve(asking.result);
    asking.onerror = () => reject(asking.error);
    asking.onblocked = () => reject(new Error("another tab holds the store"));
  });
}

function lasting(database) {
  // Another tab may bring a newer version; it must not wait for this one.
  database.onversionchange = () => database.close();
  const ask = (store, mode, what) =>
    new Promise((resolve, reject) => {
      const transaction = database.transaction(store, mode);
      const asking = what(transaction.objectStore(store));
      transaction.oncomplete = () => resolve(asking?.result);
      transaction.onabort = () => reject(transaction.error);
    });
  return {
    lasting: true,
    read: (store, key) => ask(store, "readonly", (rows) => rows.get(key)),
    all: (store) => ask(store, "readonly", (rows) => rows.getAll()),
    keys: (store) => ask(store, "readonly", (rows) => rows.getAllKeys()),
    /** Write many at once, all or none: pairs of key and value. */
    write: (store, pairs) =>
      ask(store, "readwrite", (rows) => {
        for (const [key, value] of pairs) rows.put(value, key);
        // A page that is being left answers no event any more, which would end it otherwise.
        rows.transaction.commit();
      }),
    forget: (store, keys) =>
      ask(store, "readwrite", (rows) => {
        for (const key of keys) rows.delete(key);
      }),
  };
}

function forgetful() {
  const stores = Object.fromEntries(STORES.map((store) => [store, new Map()]));
  return {
    lasting: false,
    read: async (store, key) => stores[store].get(key),
    all: async (store) => [...stores[store].values()],
    keys: async (store) => [...stores[store].keys()],
    write: async (store, pairs) => pairs.forEach(([key, value]) => stores[store].set(key, value)),
    forget: async (store, keys) => keys.forEach((key) => stores[store].delete(key)),
  };
}
