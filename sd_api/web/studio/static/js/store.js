// What this browser keeps: pictures, and the jobs that it still waits for. Nothing of it leaves the browser.
// Some browsers keep nothing, or have no room: then each call does without, and "put" says so.

const NAME = "studio";
const STORES = ["pictures", "jobs"];

let opened;

function open() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => {
      for (const store of STORES) request.result.createObjectStore(store, { keyPath: "id" });
    };
    request.onsuccess = () => resolve(request.result);
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
