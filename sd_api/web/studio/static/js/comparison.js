// A result beside the image that it was made from: a handle between the two, and the result to drag out everywhere else.
import { element } from "./dom.js";

/** "before" is a URL, "after" an image. */
export function comparison(before, after) {
  // Over the result and cut off at the handle, but letting the pointer through to it.
  const over = element("img", { className: "before", src: before, alt: "Before", draggable: false });
  const slider = element("input", { type: "range", min: 0, max: 100, step: "any", value: 50, "aria-label": "Before and after" });
  const handle = element("div", { className: "divider" });
  const node = element(
    "div",
    { className: "compare" },
    after, over, slider, handle,
    element("span", { className: "before-label", textContent: "Before" }),
    element("span", { className: "after-label", textContent: "After" }),
  );

  const split = (percent) => {
    slider.value = percent;
    node.style.setProperty("--split", `${slider.value}%`);
  };
  slider.addEventListener("input", () => split(slider.value));
  handle.addEventListener("pointerdown", (event) => {
    handle.setPointerCapture(event.pointerId);
    // No text is selected on the way, and the arrow keys go on from here.
    event.preventDefault();
    slider.focus({ preventScroll: true });
  });
  handle.addEventListener("pointermove", ({ pointerId, clientX }) => {
    if (!handle.hasPointerCapture(pointerId)) return;
    const { left, width } = node.getBoundingClientRect();
    split((100 * (clientX - left)) / width);
  });
  return node;
}
