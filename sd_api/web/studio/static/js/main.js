// The studio: form, table, jobs and pictures put together.
import * as api from "./api.js";
import * as canvas from "./canvas.js";
import { announce, banner, button, byId, count } from "./dom.js";
import { clearProblems } from "./errors.js";
import { listen as listenToEstimates } from "./estimate.js";
import * as form from "./form.js";
import * as gallery from "./gallery.js";
import { openImage } from "./images.js";
import { listen } from "./incoming.js";
import { later, loadTheRest } from "./later.js";
import * as making from "./making.js";
import { closeMenus } from "./menus.js";
import { fillWelcome, noteHealth, noteModel } from "./model_note.js";
import { copyFrom } from "./picture_actions.js";
import { textChunk } from "./png.js";
import * as scene from "./scene.js";
import { watchServer } from "./server_state.js";
import * as stage from "./stage.js";

const archive = later(() => import("./archive.js"));
const command = later(() => import("./command.js"));
const help = later(() => import("./help.js"));
const lightbox = later(() => import("./lightbox.js"));
const loras = later(async () => {
  const loaded = await import("./loras.js");
  loaded.setUp(byId("form").querySelector('[data-field="loras"]'), {
    read: () => form.request().fields.loras ?? "",
    write: (text) => form.setField("loras", text),
    inWords: (name, value) => {
      const { label, choice_labels } = form.fields()[name] ?? {};
      return `${label ?? name} ${choice_labels?.[value] ?? value}`;
    },
    addWords: (words) => form.setField("prompt", [form.request().fields.prompt, words].filter(Boolean).join(", ")),
    follow: (fields) => Object.entries(fields).forEach(([name, value]) => form.setField(name, String(value))),
  });
  return loaded;
});
const models = later(async () => {
  const loaded = await import("./models.js");
  loaded.setUp({
    offered: form.models, chosen: () => form.request().model,
    choose: (url_path) => form.setField("model", url_path ?? ""), describe: async () => form.describe(await api.models()),
  });
  return loaded;
});
const parameters = later(() => import("./parameters.js"));
const prompts = later(async () => {
  const loaded = await import("./prompts.js");
  loaded.setUp({ put: (text) => form.setField("prompt", text), read: () => form.request().fields.prompt });
  return loaded;
});
const settings = later(async () => {
  const loaded = await import("./settings.js");
  loaded.setUp({ clearPictures, clearTable: () => canvas.open(null) });
  return loaded;
});

const actions = { edit: useAsImage, asLayer, reuse: (picture) => reuse(picture), reuseAll, favour, remove: (picture) => remove([picture]) };

async function putOnTable(blob, { name = "this picture", mask = null } = {}) {
  const opened = await openImage(blob);
  if (!opened) {
    banner(`This browser cannot open ${name}. Use a PNG, JPEG or WebP file.`);
    return;
  }
  if (!form.startsFromImage(form.request().mode)) form.setMode("img2img");
  clearProblems(byId("table"));
  await stage.loadTools();
  await canvas.open(opened, mask);
  byId("table").scrollIntoView({ block: "nearest" });
  announce("Image opened");
}

async function useAsImage(picture) {
  await putOnTable(picture.blob);
}

async function reuse({ mode: its, model, fields, source, mask, further }, seed = 0) {
  clearProblems();
  form.fill({ mode: its, model, fields: { ...fields, seed } });
  form.setFurtherImages(further);
  if (source) await putOnTable(source, { mask });
  if (source) form.setField("extend", fields.extend ?? "");
  byId("prompt").focus();
}

function reuseAll(picture) {
  return reuse(picture, picture.seed);
}

/** The same picture once more, as what was drawn alone. */
function asLayer({ mode: its, model, label, fields, seed, source, mask, further = {} }) {
  const request = { mode: its, model, label, fields: { ...fields, seed, output: "layer" }, source, mask, further };
  return making.start({ ...request, path: form.path(request) });
}

async function favour(picture) {
  const changed = { ...picture, favourite: !picture.favourite };
  await gallery.add([changed]);
  if (stage.shown()?.id === picture.id) stage.show(changed);
  return changed;
}

async function remove(pictures) {
  await gallery.remove(pictures);
  making.stopFollowing();
  stage.showDefault();
  const undo = button("Undo", async () => {
    banner(null);
    await gallery.add(pictures);
    stage.show(pictures[0]);
  });
  const words = pictures.length === 1 ? "The picture is deleted." : `${count(pictures.length, "picture")} are deleted.`;
  banner(words, { kind: "notice", actions: [undo] });
}

async function clearPictures() {
  await gallery.clear();
  stage.showDefault();
}

async function look(picture) {
  const only = { accept: null, discard: null, compare: null };
  const actionsFor = (one) => ({ ...stage.actionsFor(one), ...only, edit: one.canvas ? null : useAsImage });
  const { open } = await lightbox();
  open(picture, gallery.found(), form.fields(), actionsFor);
}

/** A file that came in: a picture that a server like this made brings its settings, any other is an image. */
async function takeFile(file, onTable) {
  if (file.name.endsWith(".zip")) return importPictures(file);
  const text = onTable ? null : await textChunk(file, "parameters");
  const made = text && (await parameters()).parseParameters(text, form.fields());
  if (!made) return putOnTable(file, { name: file.name });
  const model = form.modelWithLabel(made.label);
  form.fill({ mode: form.modeWith(Object.keys(made.fields)), model, fields: made.fields });
  const missing = model === undefined && made.label ? ` Its model, ${made.label}, is not here.` : "";
  const use = button("Use it as image", () => {
    banner(null);
    putOnTable(file, { name: file.name });
  });
  return banner(`The settings of ${file.name} are in the form.${missing}`, { kind: "notice", actions: [use] });
}

async function importPictures(file) {
  const pictures = await (await archive()).unpack(file);
  if (!pictures) return banner(`${file.name} has no pictures that were exported here.`);
  const kept = await gallery.add(pictures);
  return banner(kept ? `${count(pictures.length, "picture")} imported.` : "This browser has no room to keep all of them.", { kind: kept ? "notice" : "problem" });
}

async function exportPictures() {
  const chosen = gallery.picked();
  if (!chosen.length) return banner("Select the pictures to export first.", { kind: "notice" });
  try {
    const { pack } = await archive();
    const url = URL.createObjectURL(await pack(chosen));
    Object.assign(document.createElement("a"), { href: url, download: "studio-pictures.zip" }).click();
    // Not before the browser has begun to read it.
    return setTimeout(URL.revokeObjectURL, 60_000, url);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return banner(error.message);
  }
}

function pick(on) {
  gallery.pick(on);
  byId("pick").setAttribute("aria-pressed", String(on));
  byId("picking-bar").hidden = !on;
}

async function showCommand() {
  if (!byId("command").closest("details").open) return;
  const { asCommand } = await command();
  const request = form.request();
  byId("command").textContent = asCommand({
    path: form.path(request), fields: request.fields,
    hasSource: form.startsFromImage(request.mode), hasMask: form.hasMask(request.mode),
  });
}

function updated() {
  stage.formChanged();
  noteModel(form.model());
  fillWelcome(form.model(), tryPrompt, openFor);
  if (form.loras().length) loras().then(({ show }) => show(form.loras()));
  showCommand();
  making.showEstimate();
}

function tryPrompt(prompt) {
  form.fill({ fields: { ...form.request().fields, prompt } });
  making.generate();
}

function openFor(mode) {
  form.setMode(mode);
  stage.showDefault();
  byId("file").click();
}

const openHelp = async () => (await help()).open();

const KEYS = {
  "?": openHelp,
  "+": scene.ZOOMS.in, "=": scene.ZOOMS.in, "-": scene.ZOOMS.out, 0: scene.ZOOMS.fit, 1: scene.ZOOMS.actual,
  ",": () => stage.step(-1), ".": () => stage.step(1), a: () => stage.accept(), escape: stage.discard, c: () => scene.compare(true),
};

/** Keys that act wherever nothing is being typed. */
function pressed(event) {
  const control = event.ctrlKey || event.metaKey;
  const key = event.key.toLowerCase();
  // Once, however long the keys are held.
  if (key === "enter" && control && !event.repeat) return making.generate();
  if (document.querySelector("dialog[open]") || event.altKey) return null;
  if (key === "escape" && closeMenus()) return null;
  if (event.target.closest("input:not([type=range], [type=checkbox], [type=radio]), textarea, select")) return null;
  if (control && key === "z") {
    event.preventDefault();
    return event.shiftKey ? canvas.redoLast() : canvas.undoLast();
  }
  if (control && key === "y") return canvas.redoLast();
  if (control) return null;
  if (!stage.shortcut(event)) {
    if (!(key in KEYS)) return null;
    KEYS[key]();
  }
  return event.preventDefault();
}

function wire() {
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    making.generate();
  });
  document.addEventListener("keydown", pressed);
  document.addEventListener("keyup", ({ key }) => key.toLowerCase() === "c" && scene.compare(false));
  byId("form").addEventListener("updated", updated);
  byId("modes").addEventListener("change", stage.showDefault);
  byId("command").closest("details").addEventListener("toggle", showCommand);
  byId("copy-command").addEventListener("click", (event) => copyFrom(byId("command"), event.currentTarget));
  byId("pick").addEventListener("click", () => pick(byId("picking-bar").hidden));
  byId("pick-all").addEventListener("click", gallery.pickAll);
  byId("export").addEventListener("click", exportPictures);
  byId("delete-picked").addEventListener("click", async () => {
    const chosen = gallery.picked();
    if (chosen.length) await remove(chosen);
    pick(false);
  });
  byId("import").addEventListener("click", () => byId("archive").click());
  byId("archive").addEventListener("change", () => byId("archive").files[0] && importPictures(byId("archive").files[0]));
  if (navigator.platform.startsWith("Mac")) byId("generate").querySelector("kbd").textContent = "⌘ ↵";
  byId("open-help").addEventListener("click", openHelp);
  byId("open-models").addEventListener("click", async () => (await models()).open());
  byId("open-settings").addEventListener("click", async () => (await settings()).open());
  byId("used-prompts").addEventListener("toggle", async () => (await prompts()).showUsed());
  byId("styles").addEventListener("toggle", async () => (await prompts()).showStyles());
  listenToEstimates(stage.showEstimate);
  listen(takeFile);
}

// The form is inert until it holds what the server offers.
const pictures = gallery.open(look);
await new Promise((resolve) => watchServer((offered) => {
  form.describe(offered);
  resolve();
}, noteHealth));
wire();
stage.setUp(actions, { changed: making.estimateAnew, lookElsewhere: making.stopFollowing });
await Promise.all([pictures, canvas.restore(canvas.parseMargins(form.request().fields.extend), stage.loadTools)]);
updated();
stage.showDefault();
// Before another can be sent, which would be among them.
await making.resume();
byId("form").inert = false;
performance.mark("usable");
loadTheRest();
