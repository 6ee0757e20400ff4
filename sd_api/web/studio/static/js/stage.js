// Which of it all is on the table: the image that is worked on, or one of the pictures that were made; and what goes with it.
import * as canvas from "./canvas.js";
import { announce, button, byId, element } from "./dom.js";
import { clearProblems } from "./errors.js";
import { inWords } from "./estimate.js";
import * as form from "./form.js";
import * as gallery from "./gallery.js";
import { fileName } from "./images.js";
import { later } from "./later.js";
import { parameterRows, pictureActions } from "./picture_actions.js";
import * as scene from "./scene.js";
import * as strip from "./strip.js";
import * as viewer from "./viewer.js";

// "image", "picture", "preview", "drop" or "welcome".
let seen = "welcome";
let picture = null;
// The pictures of the request that is looked at.
let group = [];
// Nothing until it is loaded, which is before there is an image.
let tooling = null;
let can = {};
let leaveJob = () => {};
// Whether the image is seen with its new margins.
let withMargins = false;
// The regions of the image that the estimate has.
let regions = [];

/**
 * actions are what the buttons of a picture call, see picture_actions.js. changed() is called when the image or its mask
 * has, and lookElsewhere() when something else is wanted on the table than the job in progress.
 */
export function setUp(actions, { changed, lookElsewhere }) {
  can = actions;
  leaveJob = lookElsewhere;
  canvas.listen((kind) => {
    clearProblems(byId("table"));
    leaveJob();
    if (kind === "image") {
      tooling?.fitBrush();
      // They are of another image.
      clearGroup();
    }
    if (kind !== "mask") form.setField("extend", canvas.grows() ? canvas.currentMargins().join(",") : "");
    if (kind === "mask" && seen === "image") draw();
    else if (form.startsFromImage(mode())) showImage();
    refresh();
    changed();
  });
  byId("undo").addEventListener("click", canvas.undoLast);
  byId("redo").addEventListener("click", canvas.redoLast);
  byId("remove-image").addEventListener("click", () => canvas.open(null));
  byId("drop-latest").addEventListener("click", () => can.edit(gallery.latest()));
  byId("versions").addEventListener("toggle", showVersions);
}

/** Load the tools, which an image needs; panning and zooming by touch come with them. */
export const loadTools = later(async () => {
  const loaded = await import("./tooling.js");
  loaded.setUp({ may: mayPaint, chosen: toolChanged, changed: refresh });
  tooling = loaded;
  refresh();
});

const mode = () => form.request().mode;
const mayPaint = () => seen === "image" && form.hasMask(mode());
export const shown = () => picture;

/** The form is another: what does not belong to it goes; a picture stays. */
export function formChanged() {
  if (form.offers("extend") && canvas.current()) canvas.extend(canvas.parseMargins(form.request().fields.extend));
  const begins = seen === "drop" || seen === "image";
  if (seen === "welcome" ? form.startsFromImage(mode()) : begins && !form.startsFromImage(mode())) showDefault();
  else if (seen === "image" && withMargins !== form.offers("extend")) showImage();
  refresh();
}

/** What is seen where nothing else is asked for. */
export function showDefault() {
  if (form.startsFromImage(mode())) return showImage();
  const latest = gallery.latest();
  return latest ? show(latest) : showWelcome();
}

export function showWelcome() {
  leave("welcome");
  viewer.showWelcome();
}

/** The image that is worked on, or where one goes. */
export function showImage() {
  const there = canvas.current() !== null;
  leave(there ? "image" : "drop");
  if (there) {
    withMargins = form.offers("extend");
    viewer.showImage(withMargins);
    draw();
  } else {
    byId("drop-latest").hidden = gallery.latest() === null;
    viewer.showDrop();
  }
  strip.mark(null);
}

/** All pictures of a request, the first of them large. */
export function showGroup(pictures) {
  group = pictures;
  show(pictures[0]);
  return offerGroup(pictures);
}

/** All pictures of a request below the table, whatever is on it. */
export async function offerGroup(pictures) {
  group = pictures;
  await strip.show(pictures, pictures[0].source, (one) => {
    leaveJob();
    if (one) show(one);
    else showImage();
  });
  strip.mark(picture);
}

/** One picture that was made. */
export function show(one) {
  if (!group.some(({ id }) => id === one.id)) clearGroup();
  leave("picture");
  picture = one;
  viewer.showPicture(one);
  gallery.mark(one);
  strip.mark(one);
  byId("result-actions").replaceChildren(...pictureActions(one, actionsFor(one)));
  byId("result-facts").hidden = false;
  byId("result-parameters").replaceChildren(...parameterRows(one, form.fields()));
  refresh();
}

/** How a job looks now. */
export function showPreview(record, status, words) {
  if (status.preview && seen !== "preview") leave("preview");
  viewer.showPreview(record, status, words);
}

/** The picture before or after the one that is seen, of the same request. */
export function step(by) {
  const index = group.findIndex(({ id }) => id === picture?.id);
  const next = group[index + by];
  if (next) show(next);
  else if (by < 0 && index === 0 && canvas.current()) showImage();
}

/** What the picture's buttons do; an image that was changed can be gone on with, any other picture become one. */
export function actionsFor(one) {
  const ofImage = one.source && canvas.current() && form.startsFromImage(mode());
  const layers = form.fields().output?.choices.includes("layer") && one.mode === "masking" && !one.canvas && form.canMake(one);
  return {
    ...can,
    accept: ofImage && !one.canvas && accept,
    discard: ofImage && discard,
    compare: one.source && scene.compare,
    edit: !ofImage && !one.canvas && can.edit,
    asLayer: layers && can.asLayer,
  };
}

/** Go on with a picture as the image. */
export function accept(one = picture) {
  if (!one || !actionsFor(one).accept) return;
  canvas.accept({ blob: one.blob, width: one.width, height: one.height, name: fileName(one) }, one.fields.prompt || "Without a prompt");
  announce("Accepted");
}

/** Back to the image; the pictures stay among the others. */
export function discard() {
  if (seen !== "picture" || !canvas.current() || !form.startsFromImage(mode())) return;
  clearGroup();
  showImage();
}

/** Show what will be computed of the image, and what that takes; null for nothing. */
export function showEstimate(found) {
  const [left, top] = canvas.currentMargins();
  const boxOf = (box) => ({ x: box.left - left, y: box.top - top, width: box.width, height: box.height });
  regions = found && form.hasMask(mode()) ? found.regions.map((one) => ({ box: boxOf(one.edit), sees: boxOf(one.passes[0].box) })) : [];
  byId("region-note").textContent = found && seen === "image" ? inWords(found) : "";
  byId("region-note").hidden = byId("region-note").textContent === "";
  if (seen === "image") draw();
}

/** Do what a key means on the table; false for a key that means nothing. */
export function shortcut(event) {
  return mayHaveTools() && tooling.shortcut(event);
}

function draw() {
  const masks = form.hasMask(mode());
  const hint = masks && !canvas.hasHole() ? " · Paint over the part to replace" : "";
  viewer.note(canvas.describeImage(form.limits().max_image_pixels) + hint);
  scene.draw({ tiles: masks ? canvas.currentMask().tiles : null, regions: masks ? regions : [] });
}

function leave(next) {
  seen = next;
  picture = null;
  viewer.endPreview();
  byId("result-actions").replaceChildren();
  byId("result-facts").hidden = true;
  byId("region-note").hidden = next !== "image" || !byId("region-note").textContent;
  gallery.mark(null);
  refresh();
}

function clearGroup() {
  group = [];
  strip.show([], null, () => {});
}

const mayHaveTools = () => form.hasMask(mode()) && canvas.current() !== null;

function toolChanged() {
  // A tool is taken to go on with the image.
  if (seen !== "image" && mayHaveTools()) {
    leaveJob();
    showImage();
  }
  refresh();
}

function refresh() {
  byId("mask-tools").hidden = !mayHaveTools();
  byId("remove-image").hidden = canvas.current() === null;
  byId("undo").disabled = !canvas.canUndo();
  byId("redo").disabled = !canvas.canRedo();
  byId("versions").hidden = canvas.current() === null;
  byId("view").setAttribute("aria-label", mayPaint() ? "Mask on the image" : "Table");
  tooling?.update({ canExtend: form.offers("extend"), onTable: seen === "image" });
}

function showVersions() {
  if (!byId("versions").open) return;
  byId("version-list").replaceChildren(...canvas.versions().map((image, index) => {
    const node = button(`${index + 1}. ${image.label}`, () => {
      byId("versions").open = false;
      canvas.goBackTo(image);
    }, { className: "plain", "aria-current": String(image === canvas.current()) });
    return element("li", {}, node);
  }));
}
