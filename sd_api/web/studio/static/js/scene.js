// What lies on the table: an image, a picture over it, and what is drawn above both, all moved and zoomed together.
import { byId, element } from "./dom.js";
import { Viewport } from "./viewport.js";

const view = byId("view");
const sheet = element("div", { className: "sheet" });
const overlay = element("canvas", { className: "overlay" });
// URLs of blobs end with what they are shown for.
const urls = new Map();
const listeners = [];

let shown = { base: null, over: null };
let drawn = { tiles: null, regions: [], outline: null };
let due = false;
// The tools bring what draws the overlay; without them there is nothing to draw.
let drawOverlay = () => {};

view.prepend(sheet, overlay);
overlay.setAttribute("aria-hidden", "true");

export const viewport = new Viewport(view, moved);

/** changed() is called whenever what is shown moves. */
export const whenMoved = (changed) => listeners.push(changed);

/**
 * Show layers {blob or url, alt, className, x, y, width, height} in a box of the document's pixels: "base" below, "over"
 * above it; null for none. Without a box there is nothing to see.
 */
export function show(box, base = null, over = null) {
  sheet.hidden = overlay.hidden = box === null;
  byId("zoom").inert = box === null;
  shown = { base: layer("base", base), over: layer("over", over) };
  sheet.replaceChildren(...[shown.base, shown.over].filter(Boolean));
  for (const [blob, url] of urls) {
    if (blob === base?.blob || blob === over?.blob) continue;
    URL.revokeObjectURL(url);
    urls.delete(blob);
  }
  if (box) viewport.setBox(box);
  moved();
}

/** Hide the upper layer, or show it again. */
export function compare(on) {
  if (shown.over) shown.over.hidden = on && shown.base !== null;
}

/** What is drawn above: any of {tiles, regions, outline}; see overlay.js. */
export function draw(changes = {}) {
  Object.assign(drawn, changes);
  redraw();
}

export const drawWith = (draws) => (drawOverlay = draws);

function layer(name, described) {
  if (!described) return null;
  const { blob, alt = "", className = "", x, y, width, height } = described;
  if (blob && !urls.has(blob)) urls.set(blob, URL.createObjectURL(blob));
  const source = blob ? urls.get(blob) : described.url;
  // The same picture stays as it is, so that it does not flicker.
  const node = shown[name]?.src === source ? shown[name] : element("img", { src: source, draggable: false });
  Object.assign(node, { alt, className: `${name} ${className}`.trim(), place: { x, y, width, height }, hidden: false });
  return node;
}

function moved() {
  const { scale, box: { x, y, width, height } } = viewport;
  place(sheet, viewport.x + x * scale, viewport.y + y * scale, width * scale, height * scale);
  sheet.classList.toggle("near", scale * devicePixelRatio > 2);
  for (const node of sheet.children) {
    const own = node.place;
    place(node, (own.x - x) * scale, (own.y - y) * scale, own.width * scale, own.height * scale);
  }
  byId("zoom-percent").textContent = `${viewport.percent} %`;
  listeners.forEach((listener) => listener());
  redraw();
}

function place({ style }, left, top, width, height) {
  style.transform = `translate(${left}px, ${top}px)`;
  style.width = `${width}px`;
  style.height = `${height}px`;
}

function redraw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    if (!overlay.hidden) drawOverlay(overlay, viewport, drawn);
  });
}

view.addEventListener("wheel", (event) => {
  if (sheet.hidden) return;
  event.preventDefault();
  // A wheel zooms; the two directions of a touchpad move, and its pinch comes as a wheel with Ctrl.
  const pad = event.deltaX !== 0 || (Math.abs(event.deltaY) < 40 && !event.ctrlKey && event.deltaMode === 0);
  if (pad) viewport.panBy(-event.deltaX, -event.deltaY);
  else viewport.zoomBy(Math.exp(-event.deltaY / (event.ctrlKey ? 200 : 400)), { x: event.clientX, y: event.clientY });
}, { passive: false });

export const ZOOMS = {
  in: () => viewport.zoomBy(1.5),
  out: () => viewport.zoomBy(1 / 1.5),
  fit: () => viewport.fit(),
  actual: () => viewport.actual(),
};
for (const [name, zoom] of Object.entries(ZOOMS)) byId(`zoom-${name}`).addEventListener("click", zoom);
