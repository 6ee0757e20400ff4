// What a picture can start from, drawn from what GET /models says: each operation that the server has, and what it needs.
import { byId, element } from "./dom.js";

// Those that nearly every model can do, and what they are called here; others have the name that the server gives them.
const LABELS = { txt2img: "Text", img2img: "Image", masking: "Part of an image", edit: "Instruction" };
const PLACEHOLDERS = {
  txt2img: "What would you like to see?", masking: "What should be there?", edit: "What to change, such as: make it winter",
};
const COMMON = ["txt2img", "img2img", "masking"];

/** Whether nearly every model has an operation. */
export const isCommon = (mode) => COMMON.includes(mode);

/** What an operation is called. */
export const modeLabel = (mode) => LABELS[mode] ?? mode.charAt(0).toUpperCase() + mode.slice(1).replaceAll("_", " ");

/** Draw a button for each operation that is not there yet. */
export function drawModes(modes) {
  for (const mode of modes) {
    if (byId(`mode-${mode}`)) continue;
    const input = element("input", { type: "radio", name: "mode", value: mode, id: `mode-${mode}`, checked: mode === "txt2img" });
    byId("modes").append(element("label", {}, input, element("span", { textContent: modeLabel(mode) })));
  }
}

/** Offer what a model can do, which is null until it is loaded; answers the mode that is chosen then. */
export function offerModes(modes) {
  const radios = [...byId("modes").querySelectorAll("input")];
  for (const radio of radios) {
    radio.disabled = modes !== null && !modes.includes(radio.value);
    // What hardly any model can do is shown where one can.
    radio.parentElement.hidden = !isCommon(radio.value) && (modes === null || radio.disabled);
  }
  const usable = radios.filter((radio) => !radio.disabled && !radio.parentElement.hidden);
  const chosen = usable.find(({ checked }) => checked) ?? usable[0];
  if (chosen) chosen.checked = true;
  return chosen?.value ?? "txt2img";
}

/** Show what belongs to an operation: parts of the page that need an image, a mask, or a size. */
export function showParts(mode, fields) {
  const has = { image: "init_image", mask: "mask_image", size: "width" };
  byId("prompt").placeholder = PLACEHOLDERS[mode] ?? PLACEHOLDERS.txt2img;
  for (const part of document.querySelectorAll("[data-needs]")) {
    part.hidden = !fields[has[part.dataset.needs]]?.modes.includes(mode);
  }
}
