// The buttons of the table's tools, and the keys that do the same.
import { button, element, icon } from "./dom.js";

const SHAPES = [
  ["brush", "Brush", "B"],
  ["rectangle", "Rectangle", "R"],
  ["lasso", "Lasso", "L"],
  ["colour", "Colour", "W"],
  ["extend", "Extend", "F"],
];

/**
 * Fill the toolbar. brush is what painting.js has; act(name) is called for what is done to the mask, changed() when
 * the tool or its settings are others, largest() answers the size of the largest brush. The result has
 * update(canExtend), and shortcut(event), which answers whether a key meant something.
 */
export function showTools(root, { brush, largest, changed, act }) {
  const shapes = SHAPES.map(([name, label, key]) => {
    const node = button("", () => choose(name), { "aria-label": label, title: `${label} (${key})`, "data-tool": name });
    node.append(icon(name));
    return node;
  });
  const eraser = drawn("eraser", "Erase", "E", () => erase(!brush.erase));
  const size = number("Size", "size", 1, 1);
  const softness = slider("Softness", "softness");
  const tolerance = slider("Tolerance", "tolerance");
  const amount = number("Pixels", "amount", 1, 1);
  const refine = element("details", { className: "refine" },
    element("summary", { textContent: "Refine" }),
    element("div", { className: "refine-box" },
      amount.label,
      ...["Grow", "Shrink", "Feather"].map((label) => button(label, () => act(label.toLowerCase()), { className: "quiet" }))),
  );

  root.replaceChildren(
    group(...shapes),
    group(eraser),
    group(size.label, softness.label, tolerance.label),
    group(button("Invert", () => act("invert"), { title: "Invert (I)" }), button("Clear", () => act("clear")), refine),
  );

  function number(label, name, min, step) {
    const input = element("input", { type: "number", min, step });
    input.addEventListener("input", () => {
      if (!(input.valueAsNumber >= min)) return;
      brush[name] = input.valueAsNumber;
      changed();
    });
    return { input, name, label: element("label", {}, label, input) };
  }

  function slider(label, name) {
    const input = element("input", { type: "range", min: 0, max: 1, step: 0.05 });
    input.addEventListener("input", () => {
      brush[name] = Number(input.value);
      changed();
    });
    return { input, name, label: element("label", {}, label, input) };
  }

  function drawn(name, label, key, pressed) {
    const node = button("", pressed, { "aria-label": label, title: `${label} (${key})` });
    node.append(icon(name));
    return node;
  }

  function choose(tool) {
    brush.tool = tool;
    if (tool === "brush") brush.erase = false;
    changed();
  }

  function erase(on) {
    brush.erase = on;
    if (brush.tool === "extend") brush.tool = "brush";
    changed();
  }

  function resize(factor) {
    const grown = Math.round(brush.size * factor);
    const other = grown === brush.size ? brush.size + Math.sign(factor - 1) : grown;
    brush.size = Math.min(largest(), Math.max(1, other));
    changed();
  }

  function update(canExtend) {
    for (const node of shapes) {
      node.setAttribute("aria-pressed", String(node.dataset.tool === brush.tool));
      node.hidden = node.dataset.tool === "extend" && !canExtend;
    }
    eraser.setAttribute("aria-pressed", String(brush.erase));
    size.input.max = largest();
    for (const { input, name } of [size, softness, tolerance, amount]) {
      // What is being typed stays.
      if (input !== document.activeElement || input.type === "range") input.value = brush[name];
    }
    softness.label.hidden = size.label.hidden = brush.tool !== "brush";
    tolerance.label.hidden = brush.tool !== "colour";
  }

  const KEYS = {
    ...Object.fromEntries(SHAPES.map(([name, , key]) => [key.toLowerCase(), () => choose(name)])),
    e: () => erase(!brush.erase), "[": () => resize(1 / 1.25), "]": () => resize(1.25), i: () => act("invert"),
  };

  function shortcut(event) {
    const key = event.key.toLowerCase();
    if (event.ctrlKey || event.metaKey || event.altKey || !(key in KEYS)) return false;
    KEYS[key]();
    return true;
  }

  return { update, shortcut };
}

const group = (...nodes) => element("div", { className: "group" }, ...nodes);
