// The frame of the image, whose sides can be dragged outwards: what is new there is drawn (the field "extend").
import * as canvas from "./canvas.js";
import { byId, element } from "./dom.js";
import * as scene from "./scene.js";

// Models work on multiples of this.
const STEP = 8;
const LARGEST = 8192;
const SIDES = [
  { name: "left", axis: "x", sign: -1, keys: { ArrowLeft: 1, ArrowRight: -1 } },
  { name: "top", axis: "y", sign: -1, keys: { ArrowUp: 1, ArrowDown: -1 } },
  { name: "right", axis: "x", sign: 1, keys: { ArrowRight: 1, ArrowLeft: -1 } },
  { name: "bottom", axis: "y", sign: 1, keys: { ArrowDown: 1, ArrowUp: -1 } },
];

let handles = [];

/** Make the handles. */
export function setUp() {
  handles = SIDES.map((side, index) => {
    const node = element("div", {
      className: `handle ${side.name}`, tabIndex: 0, role: "slider", hidden: true, "aria-label": `New pixels, ${side.name}`,
      "aria-valuemin": 0, "aria-valuemax": LARGEST, "aria-orientation": side.axis === "x" ? "horizontal" : "vertical",
    });
    drag(node, side, index);
    node.addEventListener("keydown", (event) => {
      const sign = side.keys[event.key];
      if (!sign) return;
      event.preventDefault();
      event.stopPropagation();
      set(index, canvas.currentMargins()[index] + sign * STEP * (event.shiftKey ? 8 : 1));
    });
    return node;
  });
  byId("view").append(...handles);
  scene.whenMoved(place);
}

/** Show the handles where the image may grow. */
export function show(on) {
  handles.forEach((handle) => (handle.hidden = !on));
  place();
}

function set(index, pixels) {
  const sides = [...canvas.currentMargins()];
  sides[index] = Math.min(LARGEST, Math.max(0, Math.round(pixels / STEP) * STEP));
  canvas.extend(sides);
}

function drag(node, { axis, sign }, index) {
  let from = null;
  node.addEventListener("pointerdown", (event) => {
    event.stopPropagation();
    node.setPointerCapture(event.pointerId);
    from = { at: axis === "x" ? event.clientX : event.clientY, pixels: canvas.currentMargins()[index], scale: scene.viewport.scale };
  });
  node.addEventListener("pointermove", (event) => {
    if (!from || !node.hasPointerCapture(event.pointerId)) return;
    const moved = (axis === "x" ? event.clientX : event.clientY) - from.at;
    set(index, from.pixels + (sign * moved) / from.scale);
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    node.addEventListener(kind, () => {
      from = null;
      scene.viewport.fit();
    });
  }
}

function place() {
  const { x, y, scale, box } = scene.viewport;
  const [left, top] = [x + box.x * scale, y + box.y * scale];
  const [width, height] = [box.width * scale, box.height * scale];
  const places = [[left, top + height / 2], [left + width / 2, top], [left + width, top + height / 2], [left + width / 2, top + height]];
  const margins = canvas.currentMargins();
  handles.forEach((handle, index) => {
    const [across, down] = places[index];
    handle.style.transform = `translate(${across}px, ${down}px) translate(-50%, -50%)`;
    handle.setAttribute("aria-valuenow", margins[index]);
    handle.setAttribute("aria-valuetext", `${margins[index]} pixels`);
    handle.dataset.pixels = margins[index] ? `+${margins[index]}` : "";
  });
}
