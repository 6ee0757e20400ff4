// What this browser keeps: pictures, the jobs that it still waits for, and what lies on the table. Nothing of it leaves
// the browser.
// Some browsers keep nothing, or have no room: then each call does without, and "put" says so.

const NAME = "studio";
const VERSION = 2;
const STORES = ["pictures", "jobs", "table"];

let opened;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, VERSION);
    request.onupgradeneeded = () => {
      const found = request.result.objectStoreNames;
      for (const store of STORES) {
        if (!found.contains(store)) request.result.createObjectStore(store, { keyPath: "id" });
      }
    };
    request.onsuccess = () => {
      // Another tab has a later version of this page.
      request.result.onversionchange = () => request.result.close();
      resolve(request.result);
    };
    request.onerror = () => reject(request.error);
  });
  return opened;
}

async function run(store, mode, operation) {
  const database = await open();
  return new Promise((resolve, reject) => {
    const transaction = database.transaction(store, mode);
    const request = operation(transaction.objectStore(store));
    transaction.oncomplete = () => resolve(request.result);
    transaction.onabort = () => reject(transaction.error);
  });
}

async function change(store, operation) {
  try {
    await run(store, "readwrite", operation);
    return true;
  } catch {
    return false;
  }
}

export const put = (store, record) => change(store, (records) => records.put(record));
export const remove = (store, id) => change(store, (records) => records.delete(id));
export const clear = (store) => change(store, (records) => records.clear());

/** All records, oldest first. */
export async function all(store) {
  const records = await run(store, "readonly", (found) => found.getAll()).catch(() => []);
  return records.sort((a, b) => a.created - b.created);
}

/** Ask the browser, once there is something to lose, not to take it away when its disk is full. */
export async function askToKeep() {
  if (await navigator.storage?.persisted?.()) return;
  await navigator.storage?.persist?.();
}

/** The ids of all records. */
export const keys = (store) => run(store, "readonly", (found) => found.getAllKeys()).catch(() => []);
