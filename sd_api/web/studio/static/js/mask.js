// A mask as a list of what was done to it, so that everything can be undone without keeping copies.

// Seen over the image; what is sent is white on black.
const COLOUR = "#f0386b";

export class Mask {
  #done = [];
  #undone = [];
  #context;

  constructor(width, height) {
    this.canvas = Object.assign(document.createElement("canvas"), { width, height, className: "mask" });
    // Before each job it is read, to see whether anything is painted.
    this.#context = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  /** Begin a stroke at a place; brush is {size, softness, erase}, in pixels and from 0 to 1. */
  begin(brush, x, y) {
    this.#do({ kind: "stroke", brush, stamp: stampOf(brush), places: [[x, y]] });
  }

  /** Go on with the stroke in a straight line. */
  lineTo(x, y) {
    const stroke = this.#done.at(-1);
    const [fromX, fromY] = stroke.places.at(-1);
    const distance = Math.hypot(x - fromX, y - fromY);
    const stamps = Math.floor(distance / Math.max(1, stroke.brush.size / 8));
    for (let i = 1; i <= stamps; i++) {
      const place = [fromX + ((x - fromX) * i) / stamps, fromY + ((y - fromY) * i) / stamps];
      stroke.places.push(place);
      this.#stamp(stroke, place);
    }
  }

  /** Take back what was begun, as if it had never been. */
  abandon() {
    this.#done.pop();
    this.#redraw();
  }

  /** Begin with a mask that toBlob gave. */
  async load(blob) {
    const { width, height } = this.canvas;
    const sheet = new OffscreenCanvas(width, height);
    const context = sheet.getContext("2d");
    context.drawImage(await createImageBitmap(blob), 0, 0, width, height);
    const pixels = context.getImageData(0, 0, width, height);
    // How white it is becomes how opaque the colour is.
    for (let i = 0; i < pixels.data.length; i += 4) pixels.data[i + 3] = pixels.data[i];
    context.putImageData(pixels, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = COLOUR;
    context.fillRect(0, 0, width, height);
    this.#do({ kind: "load", sheet });
  }

  invert() {
    this.#do({ kind: "invert" });
  }

  clear() {
    this.#do({ kind: "clear" });
  }

  undo() {
    if (!this.canUndo) return;
    this.#undone.push(this.#done.pop());
    this.#redraw();
  }

  redo() {
    if (!this.canRedo) return;
    this.#done.push(this.#undone.pop());
    this.#apply(this.#done.at(-1));
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  get empty() {
    const { data } = this.#context.getImageData(0, 0, this.canvas.width, this.canvas.height);
    return !data.some((value, index) => index % 4 === 3 && value > 0);
  }

  /** The mask as the API reads it: white is replaced, black is kept. */
  toBlob() {
    const { width, height } = this.canvas;
    const sheet = new OffscreenCanvas(width, height);
    const context = sheet.getContext("2d");
    context.drawImage(this.canvas, 0, 0);
    context.globalCompositeOperation = "source-in";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    return sheet.convertToBlob();
  }

  #do(deed) {
    this.#undone = [];
    this.#done.push(deed);
    this.#apply(deed);
  }

  #redraw() {
    this.#wipe();
    this.#done.forEach((deed) => this.#apply(deed));
  }

  #apply(deed) {
    if (deed.kind === "clear") this.#wipe();
    else if (deed.kind === "load") this.#draw(deed.sheet);
    else if (deed.kind === "invert") this.#fill("xor");
    else deed.places.forEach((place) => this.#stamp(deed, place));
  }

  #stamp({ brush, stamp }, [x, y]) {
    this.#context.globalCompositeOperation = brush.erase ? "destination-out" : "source-over";
    this.#context.drawImage(stamp, x - stamp.width / 2, y - stamp.height / 2);
  }

  #draw(sheet) {
    this.#context.globalCompositeOperation = "copy";
    this.#context.drawImage(sheet, 0, 0);
  }

  #wipe() {
    this.#context.clearRect(0, 0, this.canvas.width, this.canvas.height);
  }

  #fill(operation) {
    this.#context.globalCompositeOperation = operation;
    this.#context.fillStyle = COLOUR;
    this.#context.fillRect(0, 0, this.canvas.width, this.canvas.height);
  }
}

/** One touch of the brush: opaque in the middle, and fading to its border as far as it is soft. */
function stampOf({ size, softness }) {
  const side = Math.max(2, Math.ceil(size));
  const stamp = new OffscreenCanvas(side, side);
  const context = stamp.getContext("2d");
  const gradient = context.createRadialGradient(side / 2, side / 2, 0, side / 2, side / 2, side / 2);
  gradient.addColorStop(0, COLOUR);
  gradient.addColorStop(Math.min(0.98, 1 - softness), COLOUR);
  gradient.addColorStop(1, `${COLOUR}00`);
  context.fillStyle = gradient;
  context.fillRect(0, 0, side, side);
  return stamp;
}
