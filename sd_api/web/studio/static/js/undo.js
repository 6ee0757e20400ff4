// What can be taken back and done again, one after the other: strokes of the mask, and other images on the table.

export class Undo {
  #done = [];
  #undone = [];

  /** Add what has been done; "swap" takes it back, and, called again, repeats it. */
  add(swap) {
    this.#done.push(swap);
    this.#undone = [];
  }

  undo() {
    return this.#move(this.#done, this.#undone);
  }

  redo() {
    return this.#move(this.#undone, this.#done);
  }

  get canUndo() {
    return this.#done.length > 0;
  }

  get canRedo() {
    return this.#undone.length > 0;
  }

  #move(from, to) {
    const swap = from.pop();
    if (!swap) return false;
    // First, because the swap's listeners ask what can be undone now.
    to.push(swap);
    swap();
    return true;
  }
}
