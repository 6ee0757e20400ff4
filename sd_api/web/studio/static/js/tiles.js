// A plane of one byte for each pixel, in tiles: what one colour fills takes no room, and a change keeps what it replaced.

export const SIDE = 256;
export const EMPTY = new Uint8Array(SIDE * SIDE);
export const FULL = new Uint8Array(SIDE * SIDE).fill(255);

export class Tiles {
  #tiles;
  // The tiles as they were before the change that is going on, by their index.
  #before = null;

  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.columns = Math.ceil(width / SIDE);
    this.rows = Math.ceil(height / SIDE);
    this.#tiles = new Array(this.columns * this.rows).fill(EMPTY);
  }

  /** Tiles are only read; another content is another array once a change has ended. */
  at(index) {
    return this.#tiles[index];
  }

  /** The indices of the tiles that a box {x, y, width, height} touches, each with its corner: [index, x, y]. */
  *within({ x, y, width, height }) {
    const last = (start, size, count) => Math.min(count - 1, Math.floor((start + size - 1) / SIDE));
    for (let row = Math.max(0, Math.floor(y / SIDE)); row <= last(y, height, this.rows); row++) {
      for (let column = Math.max(0, Math.floor(x / SIDE)); column <= last(x, width, this.columns); column++) {
        yield [row * this.columns + column, column * SIDE, row * SIDE];
      }
    }
  }

  all() {
    return this.within({ x: 0, y: 0, width: this.width, height: this.height });
  }

  begin() {
    this.#before = new Map();
  }

  /** A tile to write to, during a change. */
  writable(index) {
    if (!this.#before.has(index)) this.#before.set(index, this.#tiles[index]);
    if (this.#tiles[index] === this.#before.get(index) || this.#tiles[index] === FULL || this.#tiles[index] === EMPTY) {
      this.#tiles[index] = this.#tiles[index].slice();
    }
    return this.#tiles[index];
  }

  /** Replace a whole tile, during a change. */
  replace(index, tile) {
    if (!this.#before.has(index)) this.#before.set(index, this.#tiles[index]);
    this.#tiles[index] = tile;
  }

  /** End the change; answers what takes it back, and, called again, repeats it. It costs the same for every change. */
  end() {
    const other = this.#before;
    this.#before = null;
    for (const index of other.keys()) this.#tiles[index] = plain(this.#tiles[index]);
    return () => {
      for (const [index, tile] of other) {
        other.set(index, this.#tiles[index]);
        this.#tiles[index] = tile;
      }
    };
  }

  /** The smallest box of whole tiles that holds all that is not empty; null if there is nothing. */
  bounds() {
    const used = [...this.all()].filter(([index]) => this.#tiles[index] !== EMPTY);
    if (!used.length) return null;
    const [xs, ys] = [1, 2].map((axis) => used.map((tile) => tile[axis]));
    const [x, y] = [Math.min(...xs), Math.min(...ys)];
    return this.#clip({ x, y, width: Math.max(...xs) + SIDE - x, height: Math.max(...ys) + SIDE - y });
  }

  /** The share of the plane that is set, from 0 to 1. */
  coverage() {
    let sum = 0;
    for (const [index, x, y] of this.all()) {
      const tile = this.#tiles[index];
      if (tile === EMPTY) continue;
      const { width, height } = this.#clip({ x, y, width: SIDE, height: SIDE });
      for (let row = 0; row < height; row++) {
        for (let at = row * SIDE; at < row * SIDE + width; at++) sum += tile[at];
      }
    }
    return sum / 255 / (this.width * this.height);
  }

  /** A box as one array, row by row. */
  read({ x, y, width, height }) {
    const plane = new Uint8Array(width * height);
    this.#copy({ x, y, width, height }, (index, own, from, count, to) => {
      plane.set(this.#tiles[index].subarray(own + from, own + from + count), to);
    });
    return plane;
  }

  /** Write such an array, during a change. */
  write({ x, y, width, height }, plane) {
    this.#copy({ x, y, width, height }, (index, own, from, count, to) => {
      this.writable(index).set(plane.subarray(to, to + count), own + from);
    });
  }

  #copy(box, move) {
    for (const [index, left, top] of this.within(box)) {
      const from = Math.max(box.x, left);
      const count = Math.min(box.x + box.width, left + SIDE) - from;
      for (let y = Math.max(box.y, top); y < Math.min(box.y + box.height, top + SIDE); y++) {
        move(index, (y - top) * SIDE, from - left, count, (y - box.y) * box.width + from - box.x);
      }
    }
  }

  #clip({ x, y, width, height }) {
    const [left, top] = [Math.max(0, x), Math.max(0, y)];
    return { x: left, y: top, width: Math.min(this.width, x + width) - left, height: Math.min(this.height, y + height) - top };
  }
}

function plain(tile) {
  if (tile[0] === 0 && tile.every((value) => value === 0)) return EMPTY;
  if (tile[0] === 255 && tile.every((value) => value === 255)) return FULL;
  return tile;
}
