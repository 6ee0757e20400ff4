// Puts what the server says beside the field that it is about.
import { byId, element } from "./dom.js";
import { label } from "./fields.js";

// What the page calls some fields in the middle of a sentence; the others by their label.
const NAMES = {
  prompt: "The prompt", negative_prompt: "The negative prompt", num_outputs: "The number of pictures", seed: "The seed",
  scheduler: "The scheduler", safety_checker: "The safety filter", init_image: "The image", mask_image: "The mask",
};

// What is shown here; panels and pickers have errors of their own.
const SHOWN = "[data-field] > .error";

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

/** Show each problem beside its field and all of them above the button, and go to the uppermost. */
export function showProblems(problems) {
  const marked = problems.map(([field, words]) => mark(field, words)).sort((one, other) => top(one) - top(other));
  const summary = byId("problems");
  if (summary && marked.length > 1) {
    summary.textContent = `Please correct ${marked.length} fields: ${marked.map(({ field }) => shortName(field)).join(", ")}.`;
    summary.hidden = false;
  }
  marked[0].control?.focus({ preventScroll: true });
  marked[0].place.scrollIntoView({ block: "center" });
}

const top = ({ place }) => place.getBoundingClientRect().top;

function mark(field, words) {
  const place = document.querySelector(`[data-field="${field}"]`);
  place.querySelector(".error")?.remove();
  const id = `${field}-error`;
  place.append(element("p", { className: "error", id, role: "alert", textContent: words }));
  for (let details = place.closest("details"); details; details = details.parentElement.closest("details")) {
    details.open = true;
  }
  const control = place.querySelector("input, textarea, select");
  control?.setAttribute("aria-invalid", "true");
  control?.setAttribute("aria-describedby", id);
  return { field, place, control: control ?? byId(place.dataset.focus) };
}

const shortName = (field) => (NAMES[field] ?? label(field) ?? field).replace(/^The /, "").toLowerCase();

export function clearProblems(root = document) {
  root.querySelectorAll(SHOWN).forEach((node) => node.remove());
  if (byId("problems") && !document.querySelector(SHOWN)) byId("problems").hidden = true;
  const marked = [...root.querySelectorAll("[aria-invalid]")];
  if (root !== document && root.hasAttribute("aria-invalid")) marked.push(root);
  for (const control of marked) {
    control.removeAttribute("aria-invalid");
    control.removeAttribute("aria-describedby");
  }
}
