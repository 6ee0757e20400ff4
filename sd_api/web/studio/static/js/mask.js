// A mask: 255 is replaced, 0 is kept. Each change answers what takes it back.
import { blurred, grown } from "./planes.js";
import { greyPng } from "./png_writer.js";
import { EMPTY, FULL, SIDE, Tiles } from "./tiles.js";

export class Mask {
  constructor(width, height) {
    this.tiles = new Tiles(width, height);
  }

  get width() {
    return this.tiles.width;
  }

  get height() {
    return this.tiles.height;
  }

  get empty() {
    return this.tiles.bounds() === null;
  }

  coverage() {
    return this.tiles.coverage();
  }

  /** Begin a stroke; lineTo and end follow. */
  begin() {
    this.tiles.begin();
  }

  /**
   * Go on in a straight line between two places; brush is {size, softness, erase}, in pixels and from 0 to 1.
   * Answers the box that was painted in.
   */
  line([fromX, fromY], [toX, toY], { size, softness, erase }) {
    const radius = Math.max(0.5, size / 2);
    const hard = Math.min(radius * (1 - softness), radius - 0.5);
    const fade = radius - hard;
    const [x, y] = [Math.floor(Math.min(fromX, toX) - radius), Math.floor(Math.min(fromY, toY) - radius)];
    const width = Math.ceil(Math.max(fromX, toX) + radius) - x + 1;
    const height = Math.ceil(Math.max(fromY, toY) + radius) - y + 1;
    const [dx, dy] = [toX - fromX, toY - fromY];
    const length = dx * dx + dy * dy || 1;
    const distance = (px, py) => {
      const along = Math.min(1, Math.max(0, ((px - fromX) * dx + (py - fromY) * dy) / length));
      return Math.hypot(px - fromX - along * dx, py - fromY - along * dy);
    };
    const box = { x, y, width, height };
    this.#each(box, erase, (left, top) => {
      const corners = [[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]];
      // The line with its width is convex: with its corners, the whole tile lies within.
      if (corners.every(([a, b]) => distance(left + a, top + b) <= hard)) return null;
      return (px, py) => (radius - distance(px + 0.5, py + 0.5)) / fade;
    });
    return box;
  }

  end() {
    return this.tiles.end();
  }

  /** Fill a path with smooth borders; the box holds it. */
  fill(path, box, erase) {
    const sheet = new OffscreenCanvas(SIDE, SIDE);
    const context = sheet.getContext("2d", { willReadFrequently: true });
    this.tiles.begin();
    this.#each(around(box), erase, (left, top) => {
      context.setTransform(1, 0, 0, 1, 0, 0);
      context.clearRect(0, 0, SIDE, SIDE);
      context.translate(-left, -top);
      context.fill(path, "evenodd");
      const { data } = context.getImageData(0, 0, SIDE, SIDE);
      return (px, py) => data[((py - top) * SIDE + px - left) * 4 + 3] / 255;
    });
    return this.tiles.end();
  }

  /** Set what chosen(x, y) says, from 0 to 1, tile by tile: prepare(left, top) answers chosen. */
  choose(prepare, erase) {
    this.tiles.begin();
    this.#each({ x: 0, y: 0, width: this.width, height: this.height }, erase, prepare);
    return this.tiles.end();
  }

  grow(pixels) {
    return this.#whole(Math.max(0, pixels) + 1, (plane, width, height) => grown(plane, width, height, pixels));
  }

  feather(pixels) {
    return this.#whole(2 * pixels + 1, (plane, width, height) => blurred(plane, width, height, pixels));
  }

  invert() {
    this.tiles.begin();
    for (const [index] of this.tiles.all()) {
      const tile = this.tiles.at(index);
      const constant = tile === EMPTY ? FULL : tile === FULL ? EMPTY : null;
      this.tiles.replace(index, constant ?? tile.map((value) => 255 - value));
    }
    return this.tiles.end();
  }

  clear() {
    this.tiles.begin();
    for (const [index] of this.tiles.all()) this.tiles.replace(index, EMPTY);
    return this.tiles.end();
  }

  /** Take over a mask that toBlob gave, or any picture that is white where it is to be replaced. */
  async load(blob) {
    const bitmap = await createImageBitmap(blob);
    const { width, height } = this;
    const sheet = new OffscreenCanvas(width, SIDE);
    const context = sheet.getContext("2d", { willReadFrequently: true });
    this.tiles.begin();
    for (let y = 0; y < height; y += SIDE) {
      context.drawImage(bitmap, 0, -y, width, height);
      const rows = Math.min(SIDE, height - y);
      const { data } = context.getImageData(0, 0, width, rows);
      this.tiles.write({ x: 0, y, width, height: rows }, Uint8Array.from({ length: width * rows }, (_, i) => data[4 * i]));
    }
    bitmap.close();
    return this.tiles.end();
  }

  /** The mask as the API reads it, a PNG file: white is replaced, black is kept; every "step"th pixel of it. */
  toBlob(step = 1) {
    const { width, height } = this;
    const row = (y) => this.tiles.read({ x: 0, y, width, height: 1 });
    const [columns, rows] = [Math.ceil(width / step), Math.ceil(height / step)];
    const thinned = (y) => Uint8Array.from({ length: columns }, (_, x) => y[x * step]);
    return greyPng(columns, rows, (y) => (step === 1 ? row(y) : thinned(row(y * step))));
  }

  /** Add or take away in every tile of a box; shape(left, top) answers value(x, y), or null for all of the tile. */
  #each(box, erase, shape) {
    for (const [index, left, top] of this.tiles.within(box)) {
      const value = shape(left, top);
      const now = this.tiles.at(index);
      if (now === (erase ? EMPTY : FULL)) continue;
      if (value === null) {
        this.tiles.replace(index, erase ? EMPTY : FULL);
        continue;
      }
      const tile = this.tiles.writable(index);
      const [fromX, toX] = [Math.max(left, box.x), Math.min(left + SIDE, box.x + box.width)];
      const [fromY, toY] = [Math.max(top, box.y), Math.min(top + SIDE, box.y + box.height)];
      for (let y = fromY; y < toY; y++) {
        for (let x = fromX, at = (y - top) * SIDE + fromX - left; x < toX; x++, at++) {
          const set = value(x, y);
          if (set <= 0) continue;
          const byte = set >= 1 ? 255 : Math.round(255 * set);
          if (erase) tile[at] = Math.min(tile[at], 255 - byte);
          else if (byte > tile[at]) tile[at] = byte;
        }
      }
    }
  }

  /** Change all that is set with so many pixels around it. */
  #whole(border, change) {
    const bounds = this.tiles.bounds();
    this.tiles.begin();
    if (bounds) {
      const x = Math.max(0, bounds.x - border);
      const y = Math.max(0, bounds.y - border);
      const width = Math.min(this.width, bounds.x + bounds.width + border) - x;
      const height = Math.min(this.height, bounds.y + bounds.height + border) - y;
      this.tiles.write({ x, y, width, height }, change(this.tiles.read({ x, y, width, height }), width, height));
    }
    return this.tiles.end();
  }
}

const around = ({ x, y, width, height }) => {
  const [left, top] = [Math.floor(x) - 1, Math.floor(y) - 1];
  return { x: left, y: top, width: Math.ceil(x + width) + 1 - left, height: Math.ceil(y + height) + 1 - top };
};
