// The keys, on "?".
import { byId, element } from "./dom.js";

const KEYS = [
  ["Everywhere", [["Ctrl Enter", "Generate"], ["Ctrl Z, Ctrl Shift Z", "Undo and redo on the table"], ["?", "Show these keys"]]],
  ["The table", [
    ["Space and drag", "Pan"], ["Wheel, + and −", "Zoom"], ["0", "Fit"], ["1", "100 %"],
    ["C", "Hold to see the image as it was"], [", and .", "The previous and the next picture"], ["A", "Accept"], ["Esc", "Discard"],
  ]],
  ["Jobs that wait", [["↑ and ↓", "On a job’s handle: start it sooner or later"]]],
  ["The mask", [
    ["B", "Brush"], ["E", "Erase"], ["R", "Rectangle"], ["L", "Lasso"], ["W", "By colour"], ["F", "Extend the image"],
    ["[ and ]", "Smaller and larger brush"], ["I", "Invert"], ["Arrow keys, Enter", "Move the brush, and paint, without a pointer"],
  ]],
  ["The large view", [["← and →", "The previous and the next picture"], ["1", "100 %"], ["Esc", "Close"]]],
];

const box = byId("help");

byId("help-keys").append(...KEYS.map(([title, keys]) => element("section", {},
  element("h3", { textContent: title }),
  element("dl", { className: "keys-list" }, ...keys.flatMap(([key, words]) => [
    element("dt", {}, element("kbd", { textContent: key })), element("dd", { textContent: words }),
  ])))));

export const open = () => box.showModal();

byId("help-close").addEventListener("click", () => box.close());
