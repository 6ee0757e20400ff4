// What the form would take, below its button; the server is asked while the form changes.
import * as api from "./api.js";
import { about, byId, count, time } from "./dom.js";
import { encoded } from "./jobs.js";

// Milliseconds without a change until the server is asked.
const REST = 300;
// These do not change what is computed.
const WORDS = ["prompt", "negative_prompt", "seed"];

let shown = null;
let timer = null;
let asking = null;

let whenFound = () => {};

/** found(estimate) is called with each answer, and with null where there is none. */
export const listen = (found) => (whenFound = found);

/**
 * Estimate a request, or take the estimate away where it is null.
 * wanted is {mode, model, fields, edition, further, images}: images() answers {source, mask, further}, and edition
 * changes with them.
 */
export function estimate(wanted) {
  const key = wanted && JSON.stringify({ ...wanted, fields: computed(wanted.fields) });
  if (key === shown) return;
  shown = key;
  clearTimeout(timer);
  asking?.abort();
  if (wanted) timer = setTimeout(() => ask(wanted), REST);
  else write(null);
}

const computed = (fields) => Object.entries(fields).filter(([name]) => !WORDS.includes(name));

async function ask({ mode, model, fields, images }) {
  const own = (asking = new AbortController());
  try {
    const sent = await encoded({ fields, ...(await images()) });
    if (own.signal.aborted) return;
    const found = await api.estimate({ ...sent, operation: mode, url_path: model ?? "" }, own.signal);
    if (!own.signal.aborted) write(found);
  } catch (error) {
    if (!(error instanceof api.Refused || error instanceof api.ServerGone)) throw error;
    // Sending the form says what is wrong with it.
    if (!own.signal.aborted) write(null);
  }
}

export function inWords({ seconds, wait_seconds, pictures, summary, loaded, warnings }) {
  const facts = [
    ...(seconds ? [about(seconds.expected)] : []),
    ...(wait_seconds >= 1 ? [`${time(wait_seconds)} in the queue`] : []),
    ...(pictures > 1 ? [count(pictures, "picture")] : []),
    summary.replaceAll("×", " × "),
    ...(loaded ? [] : ["loads the model first"]),
  ];
  // Lines are broken between facts, or at their commas.
  return [...facts.map((words) => words.replaceAll(/(?<!,) /g, "\u00a0")), ...warnings].join(" · ");
}

function write(found) {
  const line = byId("estimate");
  // What has no room there can be read where the pointer rests.
  line.textContent = line.title = found ? inWords(found) : "";
  whenFound(found);
}
