// A job that is being made: its preview, how far it is, and a button that cancels it and no other.
import * as api from "./api.js";
import { about, announce, button, byId, element } from "./dom.js";

const PHASES = { downloading: "Downloading the model", loading: "Loading the model", denoising: "Step", decoding: "Decoding" };

/** Show a job; "again" sends it once more. The result has update(status) and remove(). */
export function showJob(record, { again }) {
  const preview = element("img", { alt: "", hidden: true });
  const bar = element("progress", { max: 1, "aria-label": "Progress" });
  const words = element("p", { className: "words", textContent: "Sending" });
  const actions = element("div", { className: "row" });
  const title = element("p", { className: "title", textContent: record.fields.prompt, title: record.fields.prompt });
  const item = element("li", { className: "job" }, element("div", { className: "thumb" }, preview), title, bar, words, actions);
  item.dataset.job = record.id;
  byId("job-list").append(item);
  byId("jobs").hidden = false;

  const cancel = button("Cancel", () => {
    cancel.disabled = true;
    // Where nobody answers there is nothing to cancel, and where it has ended neither: following it tells.
    api.cancelJob(record.id).catch(() => (cancel.disabled = false));
  }, { className: "quiet", "aria-label": `Cancel: ${record.fields.prompt.slice(0, 80)}` });
  actions.append(cancel);

  function remove() {
    item.remove();
    byId("jobs").hidden = byId("job-list").childElementCount === 0;
  }

  function update(status) {
    item.dataset.state = status.state;
    words.textContent = inWords(status);
    announceProgress(status);
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

function share({ state, progress }) {
  if (state !== "running" || !progress) return null;
  const { phase, step, steps, bytes, total_bytes } = progress;
  const [done, all] = phase === "downloading" ? [bytes, total_bytes] : [step, steps];
  return all ? done / all : null;
}

export function inWords({ state, progress, position, seconds_left, message }) {
  if (state === "queued") return `Waiting, number ${position} in the queue${left(seconds_left)}`;
  if (state === "away") return "The server does not answer. As soon as it does, this goes on.";
  if (state === "signed-out") return "As soon as you have signed in, this goes on.";
  if (state === "failed" || state === "lost") return message;
  if (state === "cancelled") return "Cancelled";
  if (!progress) return "Starting";
  const phase = PHASES[progress.phase];
  if (progress.phase === "downloading" && progress.total_bytes) {
    return `${phase}, ${Math.floor((100 * progress.bytes) / progress.total_bytes)} %`;
  }
  if (progress.phase !== "denoising") return `${phase}${left(seconds_left)}`;
  return `${phase} ${progress.step} of ${progress.steps}${left(seconds_left)}`;
}

function left(seconds) {
  return seconds === null || seconds === undefined ? "" : ` · ${about(seconds)} left`;
}

/** In quarters: whoever listens is not told of every step. */
function announceProgress(status) {
  const done = share(status);
  if (done === null) announce(inWords({ ...status, seconds_left: null }));
  else announce(`${Math.floor(done * 4) * 25} percent`);
}
