// What pointers mean on the canvas: one draws; two fingers zoom, and move what is seen.

/**
 * Listen while ready() says so. begin(event), move(event), end() and abandon() are a line that is drawn, the last for
 * one that was the first finger of two; pinch(factor, from, to) is told of both fingers' middle, as {x, y}.
 */
export function listenToPointers(node, { ready, begin, move, end, abandon, pinch }) {
  // Those that are down, where each was last.
  const down = new Map();
  let draws = false;

  node.addEventListener("pointerdown", (event) => {
    if (!ready() || event.button !== 0) return;
    // A hand that rests beside the pen is no finger.
    if ([...down.values()].some(({ pointerType }) => pointerType !== "touch" || event.pointerType !== "touch")) return;
    node.setPointerCapture(event.pointerId);
    down.set(event.pointerId, event);
    if (down.size === 1) begin(event);
    else if (draws) abandon();
    draws = down.size === 1;
  });
  node.addEventListener("pointermove", (event) => {
    if (!ready()) return;
    const before = down.size > 1 ? both(down) : null;
    if (down.has(event.pointerId)) down.set(event.pointerId, event);
    if (before) {
      const after = both(down);
      pinch(after.apart / before.apart, before.middle, after.middle);
    } else {
      move(event, draws);
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
