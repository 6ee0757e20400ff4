// What is said of the chosen model: whether it is loaded and how large it is, and what the built-in one can draw.
import { button, byId, element, size } from "./dom.js";

// Drawn by the built-in model itself; see docs/pictures/builtin.png.
const BUILTIN_EXAMPLES = ["a fox on a green background", "a cupcake on a pink background", "a whale on a blue background"];
const EXAMPLES = ["a lighthouse on a cliff at dusk, oil painting", "a bowl of ramen, studio photograph", "a paper boat on a pond, watercolour"];
const BUILTIN = "The built-in model draws one of 80 things, from “airplane” to “watermelon”, on a background of one of 12 colours – and nothing else.";

let loaded = [];
let chosen = null;
// Whether what the table says before there is a picture is meant for the built-in model; null before it says anything.
let welcomed = null;

/** What GET /health says of the models that are loaded. */
export function noteHealth({ models }) {
  loaded = models ?? loaded;
  show();
}

/** Which model is chosen, as GET /models has it. */
export function noteModel(model) {
  chosen = model;
  show();
}

/** What GET /health says of a model that GET /models has; undefined where it is not loaded. */
export const loadedModel = ({ label }) => loaded.find(({ model }) => model === label);

/** How far downloads of models are; empty where there are none. */
export function downloadNote(words) {
  byId("download-note").textContent = words;
  byId("download-note").hidden = !words;
}

const isBuiltin = ({ label, url_path }) => label === "builtin" && url_path === null;

function show() {
  if (!chosen) return;
  const found = loadedModel(chosen);
  const place = found?.on_device ? "loaded" : "loaded, in the host’s memory";
  byId("model-note").textContent = found ? `${size(found.bytes)}, ${place}` : "Not loaded yet: its first picture takes longer";
  byId("builtin-note").hidden = !isBuiltin(chosen);
}

/** Fill the table before there is a picture on it; tryPrompt(prompt) is called for an example, openFor(mode) for a photo. */
export function fillWelcome(model, tryPrompt, openFor) {
  const builtin = isBuiltin(model);
  if (builtin === welcomed) return;
  welcomed = builtin;
  const words = ["Describe a picture and press Generate, or begin with one of these:"];
  if (builtin) words.unshift(BUILTIN);
  const photos = [["masking", "Change a part of it…"], ["img2img", "Change all of it…"]];
  byId("welcome").replaceChildren(
    ...words.map((text) => element("p", { textContent: text })),
    element("div", { className: "row" }, ...(builtin ? BUILTIN_EXAMPLES : EXAMPLES).map((prompt) => button(prompt, () => tryPrompt(prompt)))),
    element("p", { textContent: "Or open a photo of yours:" }),
    element("div", { className: "row" }, ...photos.map(([mode, label]) => button(label, () => openFor(mode)))),
  );
}
