// The image to start from, its zoom, and the mask that is painted on it.
import { byId, element } from "./dom.js";
import { Mask } from "./mask.js";
import { listenToPointers } from "./pointers.js";
import { showTools } from "./tools.js";

const MAX_ZOOM = 16;
const SIZE = "The picture will have this size.";
const PAINTING = [
  { textContent: "Paint over what shall be replaced. " },
  { className: "fingers", textContent: "Two fingers zoom and move." },
  {
    className: "keys",
    textContent:
      "Keys: B brush, E eraser, [ and ] size, I invert, + and − zoom, Ctrl Z undo; arrow keys move the brush, Space paints.",
  },
];

const view = byId("view");
const sheet = element("div", { className: "sheet", tabIndex: 0, role: "application" });
const cursor = element("div", { className: "brush", hidden: true });
const brush = { size: 64, softness: 0.4, erase: false };

let image = null;
let mask = null;
let url = null;
let paints = false;
let zoom = 1;
let place = [0, 0];
let tools = null;
let whenPainted = () => {};

sheet.setAttribute("aria-describedby", "canvas-hint");
view.append(sheet);

/** Make the tools; painted() is called when the mask changes. */
export function setUp(painted) {
  whenPainted = painted;
  tools = showTools(byId("mask-tools"), { brush, changed: showCursor, act });
  new ResizeObserver(fit).observe(view);
}

/** Show an image that openImage gave, perhaps with a mask that maskBlob gave; null takes it away. */
export async function setImage(opened, painted = null) {
  image = opened;
  if (url) URL.revokeObjectURL(url);
  url = image && URL.createObjectURL(image.blob);
  mask = image && new Mask(image.width, image.height);
  byId("drop").hidden = Boolean(image);
  byId("remove-image").hidden = view.hidden = !image;
  zoom = 1;
  if (image) {
    brush.size = Math.max(8, Math.round(Math.min(image.width, image.height) / 8));
    place = [image.width / 2, image.height / 2];
    sheet.replaceChildren(element("img", { src: url, alt: "" }), mask.canvas, cursor);
    fit();
    if (painted) await mask.load(painted);
  }
  describe();
}

/** Whether strokes paint a mask; the mask stays when they do not. */
export function setPainting(on) {
  paints = on;
  describe();
}

export const source = () => image?.blob ?? null;
export const hasMask = () => Boolean(mask) && !mask.empty;
export const maskBlob = () => mask.toBlob();

function describe() {
  const here = Boolean(image);
  byId("mask-tools").hidden = !paints || !here;
  if (!paints) cursor.hidden = true;
  sheet.classList.toggle("paints", paints);
  sheet.setAttribute("aria-label", paints ? "Mask on the image" : "Image");
  if (mask) mask.canvas.hidden = !paints;
  const smaller = here && image.scaled ? ", made smaller to what this server takes" : "";
  const size = here ? `${image.width} × ${image.height} pixels${smaller}. ` : "";
  byId("canvas-hint").replaceChildren(size, ...(!here ? [] : paints ? PAINTING.map((words) => element("span", words)) : [SIZE]));
  tools?.update(mask);
}

function fit() {
  if (!image || view.hidden) return;
  const highest = parseFloat(getComputedStyle(view).maxHeight) || 640;
  const scale = Math.min(view.clientWidth / image.width, highest / image.height, 8) * zoom;
  sheet.style.width = `${Math.floor(image.width * scale)}px`;
  sheet.style.height = `${Math.floor(image.height * scale)}px`;
  showCursor();
}

/** Zoom, so that what is at one place of the window comes to the other. */
function zoomBy(factor, from = middleOf(view), to = from) {
  const before = sheet.getBoundingClientRect();
  const [x, y] = [(from.x - before.left) / before.width, (from.y - before.top) / before.height];
  zoom = Math.min(MAX_ZOOM, Math.max(1, zoom * factor));
  fit();
  const after = sheet.getBoundingClientRect();
  view.scrollBy(after.left + x * after.width - to.x, after.top + y * after.height - to.y);
}

function middleOf(node) {
  const { left, top, width, height } = node.getBoundingClientRect();
  return { x: left + width / 2, y: top + height / 2 };
}

function act(name) {
  if (name === "in") zoomBy(1.5);
  else if (name === "out") zoomBy(1 / 1.5);
  else if (name === "fit") zoomBy(1 / zoom);
  else mask?.[name]();
  tools.update(mask);
  whenPainted();
}

function showCursor() {
  if (!image) return;
  const scale = sheet.clientWidth / image.width;
  Object.assign(cursor.style, {
    width: `${brush.size * scale}px`,
    height: `${brush.size * scale}px`,
    left: `${place[0] * scale}px`,
    top: `${place[1] * scale}px`,
  });
}

function moveTo({ clientX, clientY }) {
  const box = sheet.getBoundingClientRect();
  place = [((clientX - box.left) / box.width) * image.width, ((clientY - box.top) / box.height) * image.height];
  cursor.hidden = !paints;
  showCursor();
}

listenToPointers(sheet, {
  ready: () => paints,
  begin: (event) => {
    moveTo(event);
    mask.begin({ ...brush }, ...place);
  },
  move: (event, draws) => {
    // Safari has learned of these late, and pages over plain HTTP from another computer do not get them anywhere.
    for (const step of (draws && event.getCoalescedEvents?.()) || []) {
      moveTo(step);
      mask.lineTo(...place);
    }
    moveTo(event);
    if (draws) mask.lineTo(...place);
  },
  end: () => {
    tools.update(mask);
    whenPainted();
  },
  abandon: () => mask.abandon(),
  pinch: zoomBy,
});
sheet.addEventListener("pointerleave", () => (cursor.hidden = true));
sheet.addEventListener("blur", () => (cursor.hidden = true));
view.addEventListener("wheel", (event) => {
  if (!event.ctrlKey && !event.metaKey) return;
  event.preventDefault();
  zoomBy(event.deltaY < 0 ? 1.2 : 1 / 1.2, { x: event.clientX, y: event.clientY });
}, { passive: false });

// The mask can be painted without a pointer.
const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
sheet.addEventListener("keydown", (event) => {
  if (!paints || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in DIRECTIONS) {
    const [x, y] = DIRECTIONS[event.key];
    const step = brush.size / 4;
    place = [
      Math.min(image.width, Math.max(0, place[0] + x * step)),
      Math.min(image.height, Math.max(0, place[1] + y * step)),
    ];
    cursor.hidden = false;
    showCursor();
    cursor.scrollIntoView({ block: "nearest", inline: "nearest" });
  } else if (event.key === " ") {
    mask.begin({ ...brush }, ...place);
    tools.update(mask);
    whenPainted();
  } else {
    return;
  }
  event.preventDefault();
});
byId("canvas").addEventListener("keydown", (event) => {
  if (paints && image && tools.shortcut(event)) event.preventDefault();
});
