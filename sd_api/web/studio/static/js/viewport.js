// Pan and zoom: where a box of a document's pixels lies in the frame that shows it.

const LARGEST = 32;
// Pixels around the box where all of it is seen.
const MARGIN = 12;

export class Viewport {
  #frame;
  #changed;
  #box = { x: 0, y: 0, width: 1, height: 1 };
  #fitted = true;
  // Where the document's origin is in the frame, and how many of the page's pixels one of the document's is.
  scale = 1;
  x = 0;
  y = 0;

  /** changed() is called whenever something moves; the frame is measured when it gets another size. */
  constructor(frame, changed) {
    this.#frame = frame;
    this.#changed = changed;
    new ResizeObserver(() => {
      if (this.#fitted) this.fit();
      else this.#settle();
    }).observe(frame);
  }

  /** What is shown, in the document's pixels; its origin may lie within. Another size is shown whole. */
  setBox(box) {
    const same = box.width === this.#box.width && box.height === this.#box.height;
    this.#box = box;
    if (this.#fitted || !same) this.fit();
    else this.#settle();
  }

  get box() {
    return this.#box;
  }

  /** Of the screen's own pixels: at 100 each of the document's pixels is one of them. */
  get percent() {
    return Math.round(100 * this.scale * devicePixelRatio);
  }

  fit() {
    this.#fitted = true;
    this.scale = this.#fitting();
    const { clientWidth, clientHeight } = this.#frame;
    const { x, y, width, height } = this.#box;
    this.x = (clientWidth - width * this.scale) / 2 - x * this.scale;
    this.y = (clientHeight - height * this.scale) / 2 - y * this.scale;
    this.#changed();
  }

  actual() {
    this.zoomBy(1 / devicePixelRatio / this.scale);
  }

  /** Zoom, so that what is at one place of the window, {x, y}, comes to the other. */
  zoomBy(factor, from = this.#middle(), to = from) {
    const [x, y] = this.toDocument(from.x, from.y);
    const least = Math.min(this.#fitting(), 1 / devicePixelRatio) / 2;
    this.scale = Math.min(LARGEST, Math.max(least, this.scale * factor));
    const { left, top } = this.#frame.getBoundingClientRect();
    this.x = to.x - left - x * this.scale;
    this.y = to.y - top - y * this.scale;
    this.#fitted = false;
    this.#settle();
  }

  panBy(x, y) {
    this.x += x;
    this.y += y;
    this.#fitted = false;
    this.#settle();
  }

  /** Bring a place of the document into view. */
  reveal(x, y) {
    const { clientWidth, clientHeight } = this.#frame;
    const [left, top] = [this.x + x * this.scale, this.y + y * this.scale];
    const into = (at, size) => Math.min(size - MARGIN, Math.max(MARGIN, at)) - at;
    const [across, down] = [into(left, clientWidth), into(top, clientHeight)];
    if (across || down) this.panBy(across, down);
  }

  /** The document's pixel at a place of the window. */
  toDocument(clientX, clientY) {
    const { left, top } = this.#frame.getBoundingClientRect();
    return [(clientX - left - this.x) / this.scale, (clientY - top - this.y) / this.scale];
  }

  #fitting() {
    const { clientWidth, clientHeight } = this.#frame;
    const room = (size) => Math.max(16, size - 2 * MARGIN);
    return Math.min(room(clientWidth) / this.#box.width, room(clientHeight) / this.#box.height, 8);
  }

  #middle() {
    const { left, top, width, height } = this.#frame.getBoundingClientRect();
    return { x: left + width / 2, y: top + height / 2 };
  }

  /** The middle of the frame never leaves the box, so nothing gets lost. */
  #settle() {
    const { clientWidth, clientHeight } = this.#frame;
    const { x, y, width, height } = this.#box;
    const clamp = (at, start, size, room) =>
      Math.min(room / 2 - start * this.scale, Math.max(room / 2 - (start + size) * this.scale, at));
    this.x = clamp(this.x, x, width, clientWidth);
    this.y = clamp(this.y, y, height, clientHeight);
    this.#changed();
  }
}
