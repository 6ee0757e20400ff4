// From the form to pictures: sends a request, follows its job, and shows what becomes of it.
import * as canvas from "./canvas.js";
import { announce, banner, byId, count } from "./dom.js";
import { clearProblems, showProblems } from "./errors.js";
import { estimate } from "./estimate.js";
import { showFailure } from "./failures.js";
import * as form from "./form.js";
import * as gallery from "./gallery.js";
import { follow, forget, remembered, send } from "./jobs.js";
import { inWords, share, showJob } from "./job_view.js";
import { later } from "./later.js";
import * as stage from "./stage.js";
import { askToKeep } from "./store.js";
import * as title from "./title.js";

const prompts = later(() => import("./prompts.js"));

// The job whose preview is shown large, until something else is looked at: the one that was sent last, or is in progress.
let followed = null;
// All that have not ended, and whether each is in progress.
const going = new Map();
// Changes with whatever an estimate depends on beside the form: images, and what the server has measured.
let edition = 0;

/** Send what the form says. */
export async function generate() {
  clearProblems();
  banner(null);
  const request = form.request();
  const missing = whatIsMissing(request);
  if (missing) {
    showProblems([missing, ...form.faults(request)]);
    return;
  }
  prompts().then(({ note }) => note(request.fields.prompt ?? ""));
  await start({ ...request, path: form.path(request), label: form.model().label, ...(await images(request)) });
}

function whatIsMissing({ mode }) {
  if (!form.startsFromImage(mode)) return null;
  if (!canvas.current()) return ["init_image", "Open, drop or paste an image first."];
  if (form.hasMask(mode) && !canvas.hasHole()) {
    return ["mask_image", "Paint over the part to replace first, or drag the frame to extend the image."];
  }
  return null;
}

const images = async ({ mode }) => ({
  source: form.startsFromImage(mode) ? canvas.source() : null,
  mask: form.hasMask(mode) ? await canvas.maskBlob() : null,
  further: form.furtherImages(),
});

export function showEstimate() {
  const request = form.request();
  const canBeSent = form.isValid(request) && !whatIsMissing(request);
  const standIns = async () => (form.startsFromImage(request.mode) ? canvas.standIns(form.hasMask(request.mode)) : {});
  const further = form.furtherImages();
  estimate(canBeSent ? { ...request, edition, further, images: async () => ({ ...(await standIns()), further }) } : null);
}

/** Estimate anew, because something else than the form has changed. */
export function estimateAnew() {
  edition += 1;
  showEstimate();
}

/** Send a request as jobs.js has it. */
export async function start(wanted) {
  let record;
  try {
    record = await send(wanted);
  } catch (error) {
    showFailure(error, () => start(wanted));
    return;
  }
  followed = record.id;
  track(record);
  // On a phone the form may have scrolled it away.
  if (innerWidth <= 860) byId("table").scrollIntoView({ block: "start", behavior: "smooth" });
}

/** Something else is looked at than the job in progress. */
export const stopFollowing = () => (followed = null);

/** Follow the jobs that were sent before a reload. */
export async function resume() {
  for (const record of await remembered()) {
    followed = record.id;
    track(record);
  }
}

async function track(record) {
  const words = (status) =>
    inWords(status, { loading: byId("server-state").dataset.state === "loading", loaded: form.isLoaded(record.model) });
  const card = showJob(record, { again: start, words });
  going.set(record.id, false);
  title.showProgress(null, going.size);
  const outcome = await follow(record, (status) => {
    card.update(status);
    if (["cancelled", "failed", "lost"].includes(status.state)) ended(record, stage.showDefault);
    else goesOn(record, status, words(status));
  });
  estimateAnew();
  if (outcome) await take(record, outcome);
  if (outcome) card.remove();
  // Not before its pictures are kept: until then a reload would ask for them again.
  await forget(record);
}

function goesOn(record, status, words) {
  going.set(record.id, status.state === "running");
  if (followed !== null && going.get(record.id) && !going.get(followed)) followed = record.id;
  if (followed === record.id) stage.showPreview(record, status, words);
  if (status.state === "running" || going.size === 1) title.showProgress(share(status), going.size);
}

/** Show what became of a job, unless another is followed or none; the next that is in progress takes its place. */
function ended(record, showOutcome) {
  going.delete(record.id);
  title.showProgress(null, going.size);
  if (followed === null || (followed !== record.id && going.has(followed))) return false;
  showOutcome();
  followed = going.size ? record.id : null;
  return true;
}

async function take(record, { pictures, warnings }) {
  form.noteSeed(pictures[0].seed);
  if (!(await gallery.add(pictures))) {
    banner("This browser has no room to keep the picture. Download it, or delete earlier ones.");
  }
  if (warnings.length) banner(warnings.join(" "), { kind: "notice" });
  const flagged = pictures.some(({ nsfw }) => nsfw) ? " The safety filter flagged one." : "";
  announce(`${pictures.length === 1 ? "Your picture is" : `${count(pictures.length, "picture")} are`} done.${flagged}`);
  title.noteDone();
  // Work on the table is not interrupted.
  if (!ended(record, () => stage.showGroup(pictures)) && followed === null) stage.offerGroup(pictures);
  askToKeep();
}
