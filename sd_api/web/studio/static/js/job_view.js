// A job in progress: its preview, how far it is, and a button that cancels it and no other.
import * as api from "./api.js";
import { about, announce, arrived, button, byId, element } from "./dom.js";
import { later } from "./later.js";

const PHASES = { downloading: "Downloading", loading: "Loading the model", denoising: "Step", decoding: "Decoding" };

const order = later(() => import("./job_order.js"));

/** Show a job. "again" sends it once more, words(status) is what is said of it. The result has update(status) and remove(). */
export function showJob(record, { again, words: inWordsOf }) {
  const preview = element("img", { alt: "", hidden: true });
  const bar = element("progress", { max: 1, "aria-label": "Progress" });
  const words = element("p", { className: "words", textContent: "Sending" });
  const actions = element("div", { className: "row" });
  const name = record.fields.prompt || "Without a prompt";
  const title = element("p", { className: "title", textContent: name, title: name });
  const item = element("li", { className: "job" }, element("div", { className: "thumb" }, preview), title, bar, words, actions);
  item.dataset.job = record.id;
  byId("job-list").append(item);
  count();

  const cancel = button("Cancel", () => {
    cancel.disabled = true;
    // Where the server does not answer there is nothing to cancel, and where it has ended neither: following it tells.
    api.cancelJob(record.id).catch(() => (cancel.disabled = false));
  }, { className: "quiet cancel", "aria-label": `Cancel: ${name.slice(0, 80)}` });
  actions.append(cancel);
  order().then(({ addHandle }) => addHandle(item, name.slice(0, 80)));

  function remove() {
    item.remove();
    count();
  }

  function update(status) {
    item.dataset.state = status.state;
    if (status.position) item.dataset.position = status.position;
    order().then(({ arrange }) => arrange());
    words.textContent = inWordsOf(status);
    words.title = words.textContent;
    announceProgress(status, words.textContent);
    const done = share(status);
    if (done === null) bar.removeAttribute("value");
    else bar.value = done;
    if (status.preview) {
      preview.src = `data:image/png;base64,${status.preview}`;
      preview.hidden = false;
    }
    if (status.state === "cancelled") remove();
    if (status.state === "failed" || status.state === "lost") {
      bar.hidden = true;
      words.setAttribute("role", "alert");
      actions.replaceChildren(
        button("Try again", () => { remove(); again(record); }, { className: "quiet" }),
        button("Dismiss", remove, { className: "quiet" }),
      );
    }
  }

  return { update, remove };
}

function count() {
  const number = byId("job-list").childElementCount;
  byId("no-jobs").hidden = number > 0;
  byId("cancel-all").hidden = number < 2;
  byId("jobs-title").textContent = number > 1 ? `In progress · ${number}` : "In progress";
}

byId("cancel-all")?.addEventListener("click", () => {
  byId("job-list").querySelectorAll(".cancel:enabled").forEach((cancel) => cancel.click());
});

/** How far a job is, from 0 to 1; null while that is unknown. */
export function share({ state, progress }) {
  if (state !== "running" || !progress) return null;
  const { phase, step, steps, bytes, total_bytes } = progress;
  const [done, all] = phase === "downloading" ? [bytes, total_bytes] : [step, steps];
  return all ? done / all : null;
}

/** What is said of a job; "loading" is whether the server has no model yet, "loaded" whether it has the job's. */
export function inWords({ state, progress, position, seconds_left, message }, { loading = false, loaded = true } = {}) {
  if (state === "queued" && loading) return "Waiting for the model";
  if (state === "queued") return `Number ${position} in the queue${left(seconds_left)}`;
  if (state === "away") return "The server does not answer. If it was not restarted, this goes on once it does.";
  if (state === "signed-out") return "This goes on once you have signed in.";
  if (state === "failed" || state === "lost") return message;
  if (state === "cancelled") return "Cancelled";
  if (!progress) return "Starting";
  // Every job begins with this phase, which is over at once where the model is there.
  if (progress.phase === "loading" && loaded) return "Preparing";
  const phase = PHASES[progress.phase];
  if (progress.phase === "downloading" && progress.total_bytes) {
    return `${phase}, ${arrived(progress)}`;
  }
  if (progress.phase !== "denoising") return `${phase}${left(seconds_left)}`;
  return `${phase} ${progress.step} of ${progress.steps}${left(seconds_left)}`;
}

function left(seconds) {
  return seconds === null || seconds === undefined ? "" : ` · ${about(seconds)} left`;
}

/** In quarters: a screen reader does not read every step. */
function announceProgress(status, words) {
  const done = share(status);
  if (done === null) announce(words);
  else announce(`${Math.floor(done * 4) * 25} percent`);
}
