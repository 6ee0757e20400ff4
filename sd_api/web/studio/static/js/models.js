// The models: which are there and how large they are, which one draws, and downloads from the hub.
import * as api from "./api.js";
import { about, announce, arrived, banner, button, byId, element, pause, size } from "./dom.js";
import { GONE } from "./failures.js";
import { downloadNote, loadedModel } from "./model_note.js";

// Milliseconds between two questions while something is downloaded.
const INTERVAL = 1000;
const ACTIVE = ["waiting", "downloading"];

const box = byId("models");

let page = null;
let downloads = [];
let watched = false;
// Whether a download may have begun since the last question.
let begun = false;
// The words of each model that is not loaded, by its url_path.
const onDisk = new Map();

/**
 * Once. offered() answers the models as GET /models has them; chosen() is the url_path of the form's model,
 * choose(url_path) changes it, and describe() has the form follow what the server offers now.
 */
export function setUp(studio) {
  page = studio;
  byId("models-close").addEventListener("click", () => box.close());
  byId("download-form").addEventListener("submit", (event) => {
    event.preventDefault();
    start(byId("download-id").value.trim().replace(/^https?:\/\/[^/]+\//, ""));
  });
  byId("download-id").addEventListener("input", () => refuse(""));
  // What was begun before the page was loaded goes on.
  watch();
}

export async function open() {
  refuse("");
  show();
  box.showModal();
  watch();
  await weigh();
}

function show() {
  // The focus stays on the button of the model that it was on.
  const focused = document.activeElement?.closest("#model-list [data-model]")?.dataset.model;
  byId("model-list").replaceChildren(...page.offered().map((model) => {
    const { label, url_path } = model;
    const found = loadedModel(model);
    const isChosen = page.chosen() === url_path;
    const choose = button(isChosen ? "In use" : "Use", () => use(url_path), {
      className: "quiet", disabled: isChosen, ariaLabel: `${isChosen ? "In use" : "Use"}: ${label}`,
    });
    const node = element("li", {},
      element("p", { className: "name", textContent: label }),
      element("p", { className: "hint", textContent: found ? inWords(found) : (onDisk.get(url_path) ?? "Not loaded") }),
      choose);
    node.dataset.model = url_path ?? "";
    return node;
  }));
  if (focused !== undefined) byId("model-list").querySelector(`[data-model="${CSS.escape(focused)}"] button:enabled`)?.focus();
}

const inWords = ({ bytes, on_device, plan }) => `${on_device ? "Loaded" : "Loaded, in the host’s memory"}, ${size(bytes)} · ${plan}`;

/** Say how much of the disk each model takes now that is not loaded, one after the other. */
async function weigh() {
  for (const model of page.offered()) {
    const { url_path } = model;
    if (!box.open) return;
    if (loadedModel(model)) continue;
    try {
      const { memory } = await api.estimate({ prompt: "", operation: "txt2img", url_path: url_path ?? "" });
      onDisk.set(url_path, memory.disk === null ? "Not downloaded" : `Not loaded, ${size(memory.disk)} on the disk`);
      show();
    } catch (error) {
      if (error instanceof api.ServerGone) return;
      if (!(error instanceof api.Refused)) throw error;
      onDisk.set(url_path, error.message);
      show();
    }
  }
}

function use(url_path) {
  page.choose(url_path);
  show();
  announce("The form uses this model now.");
}

async function start(id) {
  if (!id) return refuse("Enter the id of a model, such as stable-diffusion-v1-5/stable-diffusion-v1-5.");
  const failure = await attempt(() => api.download(id));
  refuse(failure);
  if (failure) return byId("download-id").focus();
  byId("download-id").value = "";
  return watch();
}

async function remove({ model_id, state }) {
  refuse(await attempt(() => api.removeDownload(model_id)));
  if (ACTIVE.includes(state)) announce(`The download of ${model_id} is cancelled.`);
  await look();
  byId("download-id").focus();
}

/** Why something could not be done, in words; empty if it was. */
async function attempt(act) {
  try {
    await act();
    return "";
  } catch (error) {
    if (error instanceof api.ServerGone) return GONE;
    if (error instanceof api.Refused) return error.message || error.problems.map(([, words]) => words).join(" ");
    throw error;
  }
}

function refuse(words) {
  byId("download-problem").textContent = words;
  byId("download-problem").hidden = !words;
  byId("download-id").setAttribute("aria-invalid", String(Boolean(words)));
}

/** Follow the downloads until all have ended. */
async function watch() {
  begun = true;
  if (watched) return;
  watched = true;
  try {
    while (begun) {
      begun = false;
      if (!(await look())) continue;
      begun = true;
      await pause(INTERVAL);
    }
  } finally {
    watched = false;
  }
}

/** Ask how far they are; whether to ask again. */
async function look() {
  let found;
  try {
    found = await api.downloads();
  } catch (error) {
    if (error instanceof api.ServerGone) return downloads.some(({ state }) => ACTIVE.includes(state));
    if (error instanceof api.Refused) return false;
    throw error;
  }
  const went = new Map(downloads.map(({ model_id, state }) => [model_id, state]));
  downloads = found;
  showDownloads();
  const complete = downloads.filter(({ model_id, state }) => state === "complete" && ACTIVE.includes(went.get(model_id)));
  if (complete.length) {
    await page.describe();
    show();
    complete.forEach(noteComplete);
    await weigh();
  }
  return downloads.some(({ state }) => ACTIVE.includes(state));
}

function noteComplete({ model_id, url_path }) {
  announce(`${model_id} is downloaded.`);
  if (box.open) return;
  banner(`${model_id} is downloaded.`, { kind: "notice", actions: [button("Use it", () => {
    banner(null);
    page.choose(url_path);
  })] });
}

function showDownloads() {
  byId("downloads").hidden = !downloads.length;
  const list = byId("download-list");
  for (const row of [...list.children]) {
    if (!downloads.some(({ model_id }) => model_id === row.dataset.model)) row.remove();
  }
  for (const download of downloads) {
    const known = [...list.children].find(({ dataset }) => dataset.model === download.model_id);
    const row = known ?? list.appendChild(element("li", {},
      element("p", { className: "name", textContent: download.model_id }),
      element("p", { className: "hint" }), element("progress", { max: 1, ariaLabel: `Download of ${download.model_id}` })));
    row.dataset.model = download.model_id;
    row.querySelector(".hint").textContent = state(download);
    const bar = row.querySelector("progress");
    bar.hidden = !ACTIVE.includes(download.state);
    if (download.total_bytes) bar.value = download.bytes / download.total_bytes;
    const label = { complete: "Remove from this list", failed: "Remove from this list" }[download.state] ?? "Cancel";
    if (row.querySelector("button")?.textContent === label) continue;
    const buttons = [button(label, () => remove(download), { className: "quiet", ariaLabel: `${label}: ${download.model_id}` })];
    if (download.state === "failed") buttons.unshift(button("Try again", () => start(download.model_id), { className: "quiet" }));
    row.querySelector(".row")?.remove();
    row.append(element("div", { className: "row" }, ...buttons));
  }
  const active = downloads.filter(({ state: one }) => ACTIVE.includes(one));
  downloadNote(active.map((one) => `${one.model_id}: ${state(one)}`).join(" · "));
}

function state({ state: now, bytes, total_bytes, seconds_left, message }) {
  if (now === "waiting") return "Waits for other downloads";
  if (now === "failed") return message;
  if (now === "complete") return `Complete, ${size(bytes)}`;
  if (!total_bytes) return "Asks the hub for its files";
  return `${arrived({ bytes, total_bytes })}${seconds_left === null ? "" : `, ${about(seconds_left)} left`}`;
}
