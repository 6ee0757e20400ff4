// The studio: form, canvas, jobs and pictures put together.
import * as canvas from "./canvas.js";
import { asCommand } from "./command.js";
import { announce, banner, button, byId } from "./dom.js";
import { clearProblems, showProblems } from "./errors.js";
import { estimate } from "./estimate.js";
import { showFailure } from "./failures.js";
import * as form from "./form.js";
import * as gallery from "./gallery.js";
import { openImage } from "./images.js";
import { listen } from "./incoming.js";
import { follow, forget, remembered, send } from "./jobs.js";
import { inWords, showJob } from "./job_view.js";
import { parseParameters } from "./parameters.js";
import { textChunk } from "./png.js";
import { watchServer } from "./server_state.js";
import * as viewer from "./viewer.js";

// The job whose preview is shown large, until a picture is chosen: the one that was sent last, or is being made.
let followed = null;
// All that have not ended, and whether each is being made.
const going = new Map();
// Changes with whatever an estimate depends on beside the form: images, and what the server has measured.
let edition = 0;

async function generate() {
  clearProblems();
  banner(null);
  const request = form.request();
  const problem = whatIsMissing(request);
  if (problem) return showProblems([problem]);
  return start({ ...request, path: form.path(request), label: form.model().label, ...(await images(request)) });
}

function whatIsMissing({ mode }) {
  if (!form.startsFromImage(mode)) return null;
  if (!canvas.source()) return ["init_image", "Open, drop or paste an image first."];
  if (mode === "masking" && !canvas.hasMask()) return ["mask_image", "Paint over what shall be replaced first."];
  return null;
}

const images = async ({ mode }) => ({
  source: form.startsFromImage(mode) ? canvas.source() : null,
  mask: mode === "masking" ? await canvas.maskBlob() : null,
});

function showEstimate() {
  const request = form.request();
  const canBeSent = form.isValid(request) && !whatIsMissing(request);
  estimate(canBeSent ? { ...request, edition, images: () => images(request) } : null);
}

/** Estimate anew, because something else than the form has changed. */
function estimateAnew() {
  edition += 1;
  showEstimate();
}

async function start(wanted) {
  let record;
  try {
    record = await send(wanted);
  } catch (error) {
    showFailure(error, () => start(wanted));
    return;
  }
  followed = record.id;
  track(record);
  // On a phone that is below the form.
  byId("jobs").scrollIntoView({ block: "nearest" });
}

async function track(record) {
  const card = showJob(record, { again: start });
  going.set(record.id, false);
  const outcome = await follow(record, (status) => {
    card.update(status);
    if (["cancelled", "failed", "lost"].includes(status.state)) ended(record, showLatest);
    else goesOn(record, status);
  });
  estimateAnew();
  if (outcome) await take(record, outcome);
  if (outcome) card.remove();
  // Not before its pictures are kept: until then a reload would ask for them again.
  await forget(record);
}

function goesOn(record, status) {
  going.set(record.id, status.state === "running");
  if (followed !== null && going.get(record.id) && !going.get(followed)) followed = record.id;
  if (followed === record.id) viewer.showPreview(record, status, inWords(status));
}

/** Show what became of a job, unless another is followed; the next that is being made takes its place. */
function ended(record, showOutcome) {
  going.delete(record.id);
  if (followed === null || (followed !== record.id && going.has(followed))) return;
  showOutcome();
  if (going.size) followed = record.id;
}

async function take(record, { pictures, warnings }) {
  form.noteSeed(pictures[0].seed);
  if (!(await gallery.add(pictures))) {
    banner("This browser has no room to keep the picture. Download it, or delete earlier ones.");
  }
  if (warnings.length) banner(warnings.join(" "), { kind: "notice" });
  announce(pictures.some(({ nsfw }) => nsfw) ? "Done. The safety filter flagged a picture." : "Your picture is done.");
  ended(record, () => show(pictures[0]));
}

function show(picture) {
  followed = null;
  gallery.mark(picture);
  viewer.showPicture(picture, form.fields(), { useAsImage, reuse, sameSeed, remove });
}

function showLatest() {
  const picture = gallery.latest();
  if (picture) return show(picture);
  followed = null;
  return viewer.showWelcome((prompt) => {
    form.fill({ fields: { ...form.request().fields, prompt } });
    generate();
  });
}

async function useAsImage(picture) {
  await putOnCanvas(picture.blob);
}

async function putOnCanvas(blob, { name = "this picture", mask = null } = {}) {
  const opened = await openImage(blob, form.limits());
  if (!opened) {
    banner(`This browser cannot open ${name}. Use a PNG, JPEG or WebP file.`);
    return;
  }
  if (!form.startsFromImage(form.request().mode)) form.setMode("img2img");
  clearProblems(byId("canvas"));
  await canvas.setImage(opened, mask);
  estimateAnew();
  byId("canvas").scrollIntoView({ block: "nearest" });
  announce("Image opened");
}

async function reuse({ mode, model, fields, source, mask }, seed = 0) {
  clearProblems();
  form.fill({ mode, model, fields: { ...fields, seed } });
  if (source) await putOnCanvas(source, { mask });
  byId("prompt").focus();
}

const sameSeed = (picture) => reuse(picture, picture.seed);

async function remove(picture) {
  await gallery.remove(picture);
  showLatest();
  const undo = button("Undo", async () => {
    banner(null);
    await gallery.add([picture]);
    show(picture);
  });
  banner("The picture is deleted.", { kind: "notice", actions: [undo] });
}

/** A file that came in: a picture that a server like this made brings its settings, any other is an image. */
async function takeFile(file, onCanvas) {
  const text = onCanvas ? null : await textChunk(file, "parameters");
  const made = text && parseParameters(text, form.fields());
  if (!made) return putOnCanvas(file, { name: file.name });
  const model = form.modelWithLabel(made.label);
  form.fill({ mode: form.modeWith(Object.keys(made.fields)), model, fields: made.fields });
  const missing = model === undefined && made.label ? ` Its model, ${made.label}, is not here.` : "";
  const use = button("Use it as image", () => {
    banner(null);
    putOnCanvas(file, { name: file.name });
  });
  return banner(`The settings of ${file.name} are in the form.${missing}`, { kind: "notice", actions: [use] });
}

function showCommand() {
  if (!byId("command").closest("details").open) return;
  const request = form.request();
  const hasSource = form.startsFromImage(request.mode);
  byId("command").textContent = asCommand({
    path: form.path(request), fields: request.fields, hasSource, hasMask: request.mode === "masking",
  });
}

function updated() {
  canvas.setPainting(form.request().mode === "masking");
  showCommand();
  showEstimate();
}

function wire() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    generate();
  });
  document.addEventListener("keydown", (event) => {
    // Once, however long the keys are held.
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.repeat) generate();
  });
  byId("form").addEventListener("updated", updated);
  byId("command").closest("details").addEventListener("toggle", showCommand);
  byId("copy-command").addEventListener("click", (event) => viewer.copyFrom(byId("command"), event.currentTarget));
  byId("remove-image").addEventListener("click", () => canvas.setImage(null).then(estimateAnew));
  byId("clear-gallery").addEventListener("click", async () => {
    if (!confirm("Delete all pictures that this browser keeps?")) return;
    await gallery.clear();
    showLatest();
  });
  if (navigator.platform.startsWith("Mac")) byId("generate").querySelector("kbd").textContent = "⌘ ↵";
  canvas.setUp(() => {
    clearProblems(byId("canvas"));
    estimateAnew();
  });
  listen(takeFile);
  updated();
}

// The form is inert until it holds what the server offers.
await new Promise((resolve) => watchServer((offered) => resolve(form.describe(offered))));
wire();
await gallery.open(show);
showLatest();
// Before another can be sent, which would be among them.
for (const record of await remembered()) {
  followed = record.id;
  track(record);
}
byId("form").inert = false;
performance.mark("usable");
