// Painting the mask: what each tool does with the pointer and with keys.
import * as canvas from "./canvas.js";
import { byId, element } from "./dom.js";
import { forget } from "./overlay.js";
import { listenToPointers } from "./pointers.js";
import * as scene from "./scene.js";

const view = byId("view");
const ring = element("div", { className: "brush", hidden: true });
// The tool and its settings; sizes are in the image's pixels, the rest from 0 to 1.
export const brush = { tool: "brush", size: 64, softness: 0.4, erase: false, tolerance: 0.15, amount: 8 };

let paints = () => false;
let whenChanged = () => {};
let place = [0, 0];
let outline = null;
let panning = false;
let stroking = false;
// The size of the image that the brush was fitted to.
let fitted = null;

view.append(ring);
scene.whenMoved(showRing);

/** may() answers whether the mask may be painted now; changed() is called when a key has changed the brush. */
export function setUp({ may, changed }) {
  paints = may;
  whenChanged = changed;
}

/** A brush that fits the image, where the last one had another size. */
export function fitBrush() {
  const image = canvas.current();
  const size = image && `${image.width} × ${image.height}`;
  if (!image || size === fitted) return;
  fitted = size;
  brush.size = Math.max(8, Math.round(Math.min(image.width, image.height) / 8));
  place = [image.width / 2, image.height / 2];
}

export const largestBrush = () => Math.max(canvas.current()?.width ?? 512, canvas.current()?.height ?? 512);

/** Change the whole mask: "invert", "clear", "grow", "shrink" or "feather". */
export function change(name) {
  const mask = canvas.currentMask();
  if (!mask) return;
  const changes = {
    invert: () => mask.invert(),
    clear: () => mask.clear(),
    grow: () => mask.grow(brush.amount),
    shrink: () => mask.grow(-brush.amount),
    feather: () => mask.feather(brush.amount),
  };
  canvas.masked(changes[name]());
}

export function showRing() {
  const { x, y, scale } = scene.viewport;
  const side = brush.tool === "brush" ? brush.size * scale : 9;
  Object.assign(ring.style, {
    width: `${side}px`, height: `${side}px`,
    transform: `translate(${x + place[0] * scale - side / 2}px, ${y + place[1] * scale - side / 2}px)`,
  });
  view.classList.toggle("paints", paints());
  if (!paints()) ring.hidden = true;
}

const drawing = () => ["brush", "rectangle", "lasso", "colour"].includes(brush.tool);

function paintTo(next) {
  const mask = canvas.currentMask();
  const box = mask.line(place, next, brush);
  for (const [index] of mask.tiles.within(box)) forget(mask.tiles.at(index));
  scene.draw();
}

function begin(event) {
  view.focus({ preventScroll: true });
  if (panning || !paints() || !drawing()) return false;
  moveTo(event);
  if (brush.tool === "colour") {
    chooseColour(place);
    return false;
  }
  if (brush.tool === "brush") {
    stroking = true;
    canvas.currentMask().begin();
    paintTo(place);
  } else {
    outline = [place];
  }
  return true;
}

function move(event) {
  // Safari has learned of these late, and pages over plain HTTP from another computer do not get them anywhere.
  for (const step of event.getCoalescedEvents?.() ?? []) strokeTo(step);
  strokeTo(event);
}

function strokeTo(event) {
  const next = scene.viewport.toDocument(event.clientX, event.clientY);
  if (brush.tool === "brush") paintTo(next);
  else outline = brush.tool === "lasso" ? [...outline, next] : rectangle(outline[0], next);
  place = next;
  scene.draw({ outline });
  showRing();
}

function end() {
  const mask = canvas.currentMask();
  if (stroking) {
    stroking = false;
    canvas.masked(mask.end());
    return;
  }
  const drawn = outline;
  outline = null;
  scene.draw({ outline });
  if (drawn.length > 2) canvas.masked(fill(mask, drawn));
}

function fill(mask, places) {
  const path = new Path2D();
  places.forEach(([x, y]) => path.lineTo(x, y));
  const [xs, ys] = [0, 1].map((axis) => places.map((one) => one[axis]));
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  return mask.fill(path, { x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y }, brush.erase);
}

function rectangle([x, y], [toX, toY]) {
  const [left, top, right, bottom] = [x, y, toX, toY].map(Math.round);
  return [[left, top], [right, top], [right, bottom], [left, bottom], [left, top]];
}

function abandon() {
  if (stroking) canvas.currentMask().end()();
  stroking = false;
  outline = null;
  scene.draw({ outline });
}

/** Every pixel of about the colour at a place; near the tolerance it fades. */
async function chooseColour([x, y]) {
  const { blob, width, height } = canvas.current();
  if (x < 0 || y < 0 || x >= width || y >= height) return;
  const mask = canvas.currentMask();
  const bitmap = await createImageBitmap(blob);
  const sheet = new OffscreenCanvas(256, 256);
  const context = sheet.getContext("2d", { willReadFrequently: true });
  const read = (left, top) => {
    context.clearRect(0, 0, 256, 256);
    context.drawImage(bitmap, -left, -top);
    return context.getImageData(0, 0, 256, 256).data;
  };
  const wanted = read(Math.floor(x), Math.floor(y)).slice(0, 3);
  const limit = 255 * brush.tolerance;
  const swap = mask.choose((left, top) => {
    const data = read(left, top);
    return (px, py) => {
      const at = ((py - top) * 256 + px - left) * 4;
      const off = Math.max(...[0, 1, 2].map((channel) => Math.abs(data[at + channel] - wanted[channel])));
      return Math.min(1, (limit - off) / 8 + 1);
    };
  }, brush.erase);
  bitmap.close();
  canvas.masked(swap);
}

function moveTo({ clientX, clientY }) {
  place = scene.viewport.toDocument(clientX, clientY);
  ring.hidden = !paints() || !drawing();
  showRing();
}

listenToPointers(view, {
  begin, move, end, abandon,
  hover: moveTo,
  pan: (x, y) => scene.viewport.panBy(x, y),
  pinch: (factor, from, to) => scene.viewport.zoomBy(factor, from, to),
});
for (const kind of ["pointerleave", "blur"]) view.addEventListener(kind, () => (ring.hidden = true));

// While the space bar is held, the pointer moves what is seen. Over the table it does so wherever the focus is, but for texts.
addEventListener("keydown", (event) => {
  if (event.key !== " " || event.target.closest?.("input:not([type=range]), textarea, select, dialog")) return;
  if (!view.matches(":hover") && event.target.closest?.("button, a, summary, input")) return;
  event.preventDefault();
  panning = true;
  view.classList.add("pans");
});
for (const kind of ["keyup", "blur"]) {
  addEventListener(kind, (event) => {
    if (kind === "keyup" && event.key !== " ") return;
    panning = false;
    view.classList.remove("pans");
  });
}

// The mask can be painted without a pointer.
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
view.addEventListener("keydown", (event) => {
  if (event.target !== view || event.ctrlKey || event.metaKey || event.altKey) return;
  const direction = DIRECTIONS[event.key];
  if (direction && !paints()) {
    scene.viewport.panBy(...direction.map((sign) => -40 * sign));
  } else if (direction) {
    const { width, height } = canvas.current();
    const within = (at, size) => Math.min(size, Math.max(0, at));
    const [x, y] = direction.map((sign, axis) => place[axis] + (sign * brush.size) / 4);
    place = [within(x, width), within(y, height)];
    ring.hidden = false;
    scene.viewport.reveal(...place);
    showRing();
  } else if (event.key === "Enter" && paints()) {
    const mask = canvas.currentMask();
    mask.begin();
    paintTo(place);
    canvas.masked(mask.end());
  } else {
    return;
  }
  event.preventDefault();
  whenChanged();
});
