// Puts what the server says beside the field that it is about.
import { byId, element } from "./dom.js";
import { label } from "./fields.js";

// What the page calls some fields in the middle of a sentence; the others by their label.
const NAMES = {
  prompt: "The prompt", negative_prompt: "The negative prompt", num_outputs: "The number of pictures", seed: "The seed",
  scheduler: "The scheduler", safety_checker: "The safety filter", init_image: "The image", mask_image: "The mask",
};

/** What the server says of fields as [field, words] pairs in the page's words; empty where none is on the page. */
export function inOurWords(problems) {
  return problems
    .map(([field, words]) => [/^\w+/.exec(field)?.[0], words])
    .filter(([field]) => document.querySelector(`[data-field="${field}"]`))
    .map(([field, words]) => [field, sentence(field, words)]);
}

function sentence(field, message) {
  const words = message
    .replace(/^seed \+ num_outputs - 1/, "seed of the last picture")
    .replace(/^\w+/, (name) => NAMES[name] ?? label(name) ?? name);
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
