// Common shapes of pictures, of about the area that the model was made for.
import { byId, element } from "./dom.js";

const SHAPES = [
  ["1:1", "Square", 1, 1],
  ["3:4", "Portrait", 3, 4],
  ["4:3", "Landscape", 4, 3],
  ["9:16", "Tall", 9, 16],
  ["16:9", "Wide", 16, 9],
];

// Models keep their composition best at sizes that are multiples of this.
const STEP = 64;

/** Show a button for each shape; the one that the size is of is marked. */
export function showShapes(root, { side, multiple, width, height, choose }) {
  const focused = root.contains(document.activeElement) ? document.activeElement.dataset.shape : null;
  root.replaceChildren(
    ...SHAPES.map(([ratio, name, x, y]) => {
      const [w, h] = sizeOf(side, Math.max(STEP, multiple), x / y);
      return element(
        "button",
        {
          type: "button",
          title: `${name}, ${w} × ${h}`,
          "aria-pressed": String(w === width && h === height),
          "aria-label": `${name}, ${ratio}`,
          "data-shape": ratio,
          onclick: () => choose(w, h),
        },
        outline(x, y),
        ratio,
      );
    }),
  );
  // They were made anew; who is at one of them stays there.
  if (focused) byId("shapes").querySelector(`[data-shape="${focused}"]`).focus();
}

function sizeOf(side, step, ratio) {
  const rounded = (length) => Math.max(step, Math.round(length / step) * step);
  return [rounded(side * Math.sqrt(ratio)), rounded(side / Math.sqrt(ratio))];
}

function outline(x, y) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const scale = 18 / Math.max(x, y);
  const [w, h] = [x * scale, y * scale];
  for (const [name, value] of Object.entries({ x: 12 - w / 2, y: 12 - h / 2, width: w, height: h, rx: 2 })) {
    rect.setAttribute(name, value);
  }
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.append(rect);
  return svg;
}
