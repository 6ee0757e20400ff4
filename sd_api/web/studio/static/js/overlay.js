// What is drawn over the image: the mask, the regions that the model will compute, and an outline that is being drawn.
import { EMPTY, FULL, SIDE } from "./tiles.js";

// As red, green and blue; seen over the image.
const COLOUR = [240, 56, 107];
const SEEN = 0.55;

const drawings = new WeakMap();
const colours = Uint32Array.from({ length: 256 }, (_, alpha) => {
  const [red, green, blue] = COLOUR;
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
});

/**
 * Draw on a canvas that covers the frame of a viewport. tiles are the mask's, or null; regions are boxes with what the
 * model sees around them, in the document's pixels; outline is a list of places, or null.
 */
export function drawOverlay(canvas, viewport, { tiles, regions, outline }) {
  const ratio = devicePixelRatio;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight].map((side) => Math.round(side * ratio));
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  const across = (x) => Math.round((viewport.x + x * viewport.scale) * ratio);
  const down = (y) => Math.round((viewport.y + y * viewport.scale) * ratio);
  if (tiles) drawMask(context, tiles, across, down);
  for (const { box, sees } of regions) {
    frame(context, sees, across, down, [6 * ratio, 4 * ratio], ratio);
    frame(context, box, across, down, [], ratio);
  }
  if (outline) {
    context.beginPath();
    outline.forEach(([x, y]) => context.lineTo(across(x), down(y)));
    twice(context, [], ratio);
  }
}

/** The tile has been written to, so it is drawn anew. */
export const forget = (tile) => drawings.delete(tile);

function drawMask(context, tiles, across, down) {
  context.save();
  context.beginPath();
  context.rect(across(0), down(0), across(tiles.width) - across(0), down(tiles.height) - down(0));
  context.clip();
  context.globalAlpha = SEEN;
  context.fillStyle = `rgb(${COLOUR})`;
  for (const [index, x, y] of tiles.all()) {
    const tile = tiles.at(index);
    const [left, top, right, bottom] = [across(x), down(y), across(x + SIDE), down(y + SIDE)];
    const seen = right > 0 && bottom > 0 && left < context.canvas.width && top < context.canvas.height;
    if (tile === EMPTY || !seen) continue;
    // On whole pixels of the screen, so there are no lines between them.
    if (tile === FULL) context.fillRect(left, top, right - left, bottom - top);
    else context.drawImage(drawingOf(tile), left, top, right - left, bottom - top);
  }
  context.restore();
}

function drawingOf(tile) {
  let sheet = drawings.get(tile);
  if (!sheet) {
    sheet = new OffscreenCanvas(SIDE, SIDE);
    const pixels = new ImageData(SIDE, SIDE);
    const words = new Uint32Array(pixels.data.buffer);
    for (let i = 0; i < words.length; i++) words[i] = colours[tile[i]];
    sheet.getContext("2d").putImageData(pixels, 0, 0);
    drawings.set(tile, sheet);
  }
  return sheet;
}

function frame(context, { x, y, width, height }, across, down, dash, ratio) {
  context.beginPath();
  context.rect(across(x), down(y), across(x + width) - across(x), down(y + height) - down(y));
  twice(context, dash, ratio);
}

/** In white on black, so that it is seen on every image. */
function twice(context, dash, ratio) {
  context.setLineDash([]);
  context.lineWidth = 3 * ratio;
  context.strokeStyle = "#0009";
  context.stroke();
  context.setLineDash(dash);
  context.lineWidth = 1.25 * ratio;
  context.strokeStyle = "#fff";
  context.stroke();
}
