// What pointers mean on the table: one draws or moves what is seen; two fingers zoom and move.

/**
 * Listen on a node. begin(event) answers whether a line is drawn from there: then move(event), end() and abandon()
 * follow, the last for one that was the first finger of two. Else the pointer pans(x, y). hover(event) is a pointer
 * that is not down; pinch(factor, from, to) has both fingers' middle, as {x, y}.
 */
export function listenToPointers(node, { begin, move, end, abandon, hover, pan, pinch }) {
  // Those that are down, where each was last.
  const down = new Map();
  let draws = false;

  node.addEventListener("pointerdown", (event) => {
    // The middle button moves what is seen, as the left one does where nothing is drawn.
    if (event.button > 1) return;
    // A hand that rests beside the pen is no finger.
    if ([...down.values()].some(({ pointerType }) => pointerType !== "touch" || event.pointerType !== "touch")) return;
    node.setPointerCapture(event.pointerId);
    down.set(event.pointerId, event);
    if (down.size === 1) {
      draws = event.button === 0 && begin(event);
    } else if (draws) {
      abandon();
      draws = false;
    }
  });
  node.addEventListener("pointermove", (event) => {
    const last = down.get(event.pointerId);
    if (!last) {
      hover(event);
      return;
    }
    const before = down.size > 1 ? both(down) : null;
    down.set(event.pointerId, event);
    if (before) {
      const after = both(down);
      pinch(after.apart / before.apart, before.middle, after.middle);
    } else if (draws) {
      move(event);
    } else {
      pan(event.clientX - last.clientX, event.clientY - last.clientY);
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    node.addEventListener(kind, ({ pointerId }) => {
      if (!down.delete(pointerId) || !draws) return;
      draws = false;
      end();
    });
  }
}

function both(down) {
  const [a, b] = down.values();
  return {
    apart: Math.max(1, Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY)),
    middle: { x: (a.clientX + b.clientX) / 2, y: (a.clientY + b.clientY) / 2 },
  };
}
