// The image that is worked on, at its full size, with its mask, its new margins, and what can be undone.
import { newId } from "./dom.js";
import { later } from "./later.js";
import * as store from "./store.js";
import { Undo } from "./undo.js";

// Milliseconds after the last change until it is kept.
const REST = 400;
const NAME = "table";
const STATE = "state";
// Estimates need only the shape of a mask: at most so many pixels along a side.
const SHAPE = 2048;

const undo = new Undo();
const nothing = { image: null, mask: null, margins: [0, 0, 0, 0], versions: [] };
// The image {id, blob, width, height, name, label}, its mask, its new margins, and all images that it was before.
let state = nothing;
let Mask = null;
let timer = null;
let whenChanged = () => {};

const masks = later(() => import("./mask.js"));
const files = later(() => import("./png_writer.js"));

/** changed(kind) is called after every change: "image", "mask" or "margins". */
export const listen = (changed) => (whenChanged = changed);

/** Put back what was on the table when the page was left; the margins are the form's, and ready() comes before the image. */
export async function restore(margins, ready) {
  const records = await store.all(NAME);
  const kept = records.find(({ id }) => id === STATE);
  const images = new Map(records.map((record) => [record.id, record]));
  const image = images.get(kept?.image);
  if (!image) return;
  await ready();
  const mask = await maskOf(image, kept.mask);
  const versions = kept.versions.map((id) => images.get(id)).filter(Boolean);
  state = { image, mask, margins, versions };
  tell("image");
}

/** Work on an image that openImage gave, perhaps with a mask that maskBlob gave; null clears the table. Can be undone. */
export async function open(opened, painted = null) {
  const image = opened && named(opened, "Opened");
  const mask = image && (await maskOf(image, painted));
  exchange(image ? { ...nothing, image, mask, versions: [image] } : nothing);
}

/** Go on with what became of the image; the mask stays where the size does. */
export function accept(opened, label) {
  const image = named(opened, label);
  const mask = isOfSize(image) ? state.mask : new Mask(image.width, image.height);
  exchange({ ...nothing, image, mask, versions: [...state.versions, image] });
}

/** Go on with the image as it was. */
export function goBackTo(image) {
  const mask = isOfSize(image) ? state.mask : new Mask(image.width, image.height);
  exchange({ ...state, image, mask, margins: nothing.margins });
}

async function maskOf({ width, height }, painted) {
  ({ Mask } = await masks());
  const mask = new Mask(width, height);
  if (painted) await mask.load(painted);
  return mask;
}

const named = (opened, label) => ({ ...opened, label, id: newId("image"), created: Date.now() });
const isOfSize = ({ width, height }) => width === state.image?.width && height === state.image?.height;

function exchange(next) {
  let other = state;
  state = next;
  undo.add(() => {
    [state, other] = [other, state];
    tell("image");
  });
  tell("image");
}

/** Remember a change of the mask by what takes it back. */
export function masked(swap) {
  undo.add(() => {
    swap();
    tell("mask");
  });
  tell("mask");
}

/** "left,top,right,bottom" as numbers; nothing for what is no such text. */
export function parseMargins(text) {
  const numbers = (text ?? "").split(",").map(Number);
  return numbers.length === 4 && numbers.every((number) => Number.isInteger(number) && number >= 0) ? numbers : nothing.margins;
}

/** Grow the image by so many pixels on the left, top, right and bottom. */
export function extend(sides) {
  if (sides.every((side, index) => side === state.margins[index])) return;
  state = { ...state, margins: sides };
  tell("margins");
}

function tell(kind) {
  clearTimeout(timer);
  timer = setTimeout(keep, REST);
  whenChanged(kind);
}

async function keep() {
  clearTimeout(timer);
  timer = null;
  const { image, mask, versions } = state;
  if (!image) return store.clear(NAME);
  // Images are written once, however often the mask changes.
  const images = new Map([...versions, image].map((one) => [one.id, one]));
  const kept = new Set(await store.keys(NAME));
  for (const [id, one] of images) {
    if (!kept.has(id)) await store.put(NAME, one);
  }
  for (const id of kept) {
    if (id !== STATE && !images.has(id)) await store.remove(NAME, id);
  }
  const painted = mask.empty ? null : await mask.toBlob();
  const ids = versions.map(({ id }) => id);
  return store.put(NAME, { id: STATE, created: 0, image: image.id, versions: ids, mask: painted });
}

// What was painted last is kept as well.
addEventListener("pagehide", () => timer && keep());
document.addEventListener("visibilitychange", () => timer && keep());

export const current = () => state.image;
export const currentMask = () => state.mask;
export const currentMargins = () => state.margins;
export const versions = () => state.versions;
export const source = () => state.image?.blob ?? null;
export const grows = () => state.margins.some((side) => side > 0);
/** Whether anything is to be replaced: a part that is painted, or new margins. */
export const hasHole = () => state.image !== null && (!state.mask.empty || grows());
export const maskBlob = () => state.mask.toBlob();
export const undoLast = () => undo.undo();
export const redoLast = () => undo.redo();
export const canUndo = () => undo.canUndo;
export const canRedo = () => undo.canRedo;

/** A small image and mask of the same sizes and shape, with which a request takes as long as with the real ones. */
export async function standIns(withMask) {
  const { width, height } = state.image;
  const step = Math.max(1, Math.ceil(Math.max(width, height) / SHAPE));
  const { blackPng } = await files();
  return { source: await blackPng(width, height), mask: withMask ? await state.mask.toBlob(step) : null };
}

/** The image's name and size, and whether it is larger than so many pixels. */
export function describeImage(limit) {
  const { name, width, height } = state.image;
  const large = width * height > limit ? ` – more than this server takes, which is ${(limit / 1e6).toFixed(1)} megapixels` : "";
  return `${name ? `${name} · ` : ""}${width} × ${height} pixels${large}`;
}
