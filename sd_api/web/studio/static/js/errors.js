// Puts what the server says beside the field that it is about.
import { byId, element } from "./dom.js";

// What the page calls the fields; elsewhere their label is in the page itself.
const NAMES = {
  prompt: "The prompt", negative_prompt: "The negative prompt", model: "The model", width: "Width", height: "Height",
  strength: "Strength", num_inference_steps: "Steps", guidance_scale: "Guidance", num_outputs: "The number of pictures",
  seed: "The seed", scheduler: "The scheduler", eta: "Eta", safety_checker: "The safety filter",
  init_image: "The image", mask_image: "The mask",
};

// One message may name several fields: "seed is 'x'; it must be a whole number; width is missing".
const START = new RegExp(`(?:^|; )(?=(?:${Object.keys(NAMES).join("|")})\\b)`);

/** Split a message of the server into [field, words] pairs; empty where it is about no field of the form. */
export function fieldProblems(message) {
  return message
    .split(START)
    .filter(Boolean)
    .map((part) => [/^\w+/.exec(part)?.[0], part])
    .filter(([field]) => field in NAMES)
    .map(([field, part]) => [field, inOurWords(part)]);
}

function inOurWords(part) {
  const words = part
    .replace(/^seed \+ num_outputs - 1/, "seed of the last picture")
    .replace(/^\w+/, (field) => NAMES[field] ?? field)
    .replaceAll("num_inference_steps", "steps");
  return /[.!?]$/.test(words) ? words : `${words}.`;
}

/** Show each problem beside its field, and go to the first. */
export function showProblems(problems) {
  let first = null;
  for (const [field, words] of problems) {
    const place = document.querySelector(`[data-field="${field}"]`);
    place.querySelector(".error")?.remove();
    const id = `${field}-error`;
    place.append(element("p", { className: "error", id, role: "alert", textContent: words }));
    for (let details = place.closest("details"); details; details = details.parentElement.closest("details")) {
      details.open = true;
    }
    const control = place.matches("section") ? place : (place.querySelector("input, textarea, select") ?? place);
    control.setAttribute("aria-invalid", "true");
    control.setAttribute("aria-describedby", id);
    first ??= place.matches("section") ? byId("open-image") : control;
  }
  first?.focus();
}

export function clearProblems(root = document) {
  root.querySelectorAll(".error").forEach((node) => node.remove());
  const marked = [...root.querySelectorAll("[aria-invalid]")];
  if (root !== document && root.hasAttribute("aria-invalid")) marked.push(root);
  for (const control of marked) {
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-describedby");
  }
}
