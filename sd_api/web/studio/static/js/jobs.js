// Sends jobs, and follows each until its pictures are here: through reloads, and while the server is away.
import * as api from "./api.js";
import { newId, pause } from "./dom.js";
import { fromBase64, toBase64 } from "./images.js";
import { pngSize } from "./png.js";
import * as store from "./store.js";

// Milliseconds between two questions about a job: a few times a second for one that is looked at.
const WATCHED = 350;
const UNWATCHED = 1500;

/**
 * Send a job. It is remembered before it is sent, so that a reload finds it again.
 * wanted is {path, mode, model, label, fields, source, mask, further}: two blobs or null, and by their fields
 * further blobs, or lists of entries with blobs.
 */
export async function send(wanted) {
  const record = { ...wanted, id: newId("studio"), created: Date.now() };
  await store.put("jobs", record);
  try {
    await api.submit(record.path, { ...(await encoded(record)), job_id: record.id });
  } catch (error) {
    await forget(record);
    throw error;
  }
  return record;
}

/** The fields of a form with its images as text. */
export async function encoded({ fields, source, mask, further = {} }) {
  const images = { ...(source && { init_image: source }), ...(mask && { mask_image: mask }), ...further };
  return { ...fields, ...(await mapped(images, async (held) => (Array.isArray(held) ? listAsText(held) : toBase64(held)))) };
}

/** Entries with files as JSON. */
async function listAsText(entries) {
  const asText = (value) => (value instanceof Blob ? toBase64(value) : value);
  return JSON.stringify(await Promise.all(entries.map((entry) => mapped(entry, asText))));
}

/** An object with what change(value) answers in the place of each value. */
async function mapped(object, change) {
  return Object.fromEntries(await Promise.all(Object.entries(object).map(async ([name, value]) => [name, await change(value)])));
}

/** The jobs that were sent before a reload and whose end has not been seen. */
export const remembered = () => store.all("jobs");
export const forget = (record) => store.remove("jobs", record.id);

/**
 * Follow a job to its end, calling tell({state, ...}) at every change: what the API says of it, and
 * "away" while the server does not answer, "signed-out" while it does not take the token, "lost" where it knows
 * nothing of the job any more.
 * Answers the pictures, or null where there are none.
 */
export async function follow(record, tell) {
  try {
    const status = await untilEnded(record, tell);
    if (status.state !== "finished") {
      tell(status);
      return null;
    }
    const result = await patiently(() => api.jobResult(record.id), tell);
    const pictures = await Promise.all(result.images.map((image, index) => picture(record, image, index)));
    return { pictures, warnings: result.warnings ?? [] };
  } catch (error) {
    if (!(error instanceof api.Refused)) throw error;
    tell(
      error.status === 404
        ? { state: "lost", message: "The server was restarted before this was done." }
        : { state: "failed", message: error.message },
    );
    return null;
  }
}

async function untilEnded(record, tell) {
  for (;;) {
    const watched = document.visibilityState === "visible";
    const status = await patiently(() => api.jobStatus(record.id, watched), tell);
    if (["finished", "failed", "cancelled"].includes(status.state)) return status;
    tell(status);
    await pause(watched ? WATCHED : UNWATCHED);
  }
}

/** Ask until there is an answer. */
async function patiently(question, tell) {
  for (;;) {
    try {
      return await question();
    } catch (error) {
      if (error instanceof api.ServerGone) tell({ state: "away" });
      else if (error instanceof api.SignedOut) tell({ state: "signed-out" });
      else throw error;
      await pause(1000);
    }
  }
}

async function picture(record, image, index) {
  const { mode, model, label, source, mask, further } = record;
  const blob = fromBase64(image.base64, image.mimetype);
  // With variations, the picture has a second seed.
  const seeds = { seed: image.seed, ...(image.variation_seed && { variation_seed: image.variation_seed }) };
  return {
    id: `${record.id}-${index}`,
    created: Date.now() + index,
    blob,
    ...(await pngSize(blob)),
    // Of a layer or a patch: where it lies on its image.
    ...(image.canvas && { offset: image.offset, canvas: image.canvas }),
    seed: image.seed,
    nsfw: image.nsfw,
    mode,
    model,
    label,
    source,
    mask,
    further,
    fields: { ...record.fields, ...seeds, num_outputs: 1 },
  };
}
