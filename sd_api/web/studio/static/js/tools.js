// The buttons of the mask, and the keys that do the same.
import { button, element, icon } from "./dom.js";

const LARGEST = 512;

/**
 * Fill the toolbar. act(name) is called for what is done to the mask or the zoom, changed() when the brush is
 * another. The result has update(mask), and shortcut(event), which answers whether a key meant something.
 */
export function showTools(root, { brush, changed, act }) {
  const kinds = [["Brush", "brush", false], ["Erase", "eraser", true]].map(([label, drawing, erase]) => {
    const node = button("", () => choose(erase), { "aria-label": label, title: `${label} (${label[0]})` });
    node.append(icon(drawing), label);
    return node;
  });
  const size = slider("Size", 2, LARGEST, 1, (value) => (brush.size = value));
  const softness = slider("Softness", 0, 1, 0.05, (value) => (brush.softness = value));
  const undo = drawn("undo", "Undo", "Ctrl Z");
  const redo = drawn("redo", "Redo", "Ctrl Shift Z");

  root.replaceChildren(
    group(...kinds),
    group(undo, redo),
    group(button("Invert", () => act("invert"), { title: "Invert (I)" }), button("Clear", () => act("clear"))),
    size.label,
    softness.label,
    group(
      button("−", () => act("out"), { "aria-label": "Zoom out", title: "Zoom out (−)" }),
      button("Fit", () => act("fit"), { title: "Show the whole image (0)" }),
      button("+", () => act("in"), { "aria-label": "Zoom in", title: "Zoom in (+)" }),
    ),
  );

  function slider(label, min, max, step, set) {
    const input = element("input", { type: "range", min, max, step });
    input.addEventListener("input", () => {
      set(Number(input.value));
      changed();
    });
    return { input, label: element("label", {}, label, input) };
  }

  function drawn(name, label, key) {
    const node = button("", () => act(name), { "aria-label": label, title: `${label} (${key})` });
    node.append(icon(name));
    return node;
  }

  function choose(erase) {
    brush.erase = erase;
    update();
  }

  function resize(factor) {
    brush.size = Math.min(LARGEST, Math.max(2, Math.round(brush.size * factor)));
    update();
    changed();
  }

  function update(mask) {
    kinds.forEach((node, index) => node.setAttribute("aria-pressed", String(brush.erase === Boolean(index))));
    size.input.value = brush.size;
    softness.input.value = brush.softness;
    if (mask === undefined) return;
    undo.disabled = !mask?.canUndo;
    redo.disabled = !mask?.canRedo;
  }

  const KEYS = {
    b: () => choose(false), e: () => choose(true), "[": () => resize(1 / 1.25), "]": () => resize(1.25),
    i: () => act("invert"), "+": () => act("in"), "=": () => act("in"), "-": () => act("out"), 0: () => act("fit"),
  };

  function shortcut(event) {
    const key = event.key.toLowerCase();
    const control = event.ctrlKey || event.metaKey;
    if (control && key === "z") act(event.shiftKey ? "redo" : "undo");
    else if (control && key === "y") act("redo");
    else if (control || event.altKey || !(key in KEYS)) return false;
    else KEYS[key]();
    return true;
  }

  return { update, shortcut };
}

const group = (...nodes) => element("div", { className: "group" }, ...nodes);
