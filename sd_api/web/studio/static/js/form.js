// The form: what the server offers goes in, and the request comes out.
import { byId, element } from "./dom.js";
import { clearProblems } from "./errors.js";
import { control, controlled, draw, emptyValue, holdsImages, images, label, setImages, show } from "./fields.js";
import { read, write } from "./kept.js";
import { drawModes, offerModes, showParts } from "./modes.js";
import { showShapes } from "./shapes.js";

// The API's own default is for who knows; these show a newcomer a picture soon.
const STARTING = { num_inference_steps: 25 };
const STORED = "form";
const MAX_CHOSEN_SEED = 2 ** 32;

const form = byId("form");

let offer = null;

/** Take in what GET /models says; everything that is chosen already stays, where it still can. */
export function describe(offered) {
  const chosen = offer === null ? stored() : request();
  offer = offered;
  drawModes(Object.keys(offer.models[0].paths));
  control("model").replaceChildren(
    ...offer.models.map((model) => element("option", { value: model.url_path ?? "", textContent: model.label })),
  );
  draw(offer);
  fill(chosen ?? { mode: "txt2img", model: null, fields: {} });
}

/** Everything that the form says but for images: {mode, model, fields}. */
export function request() {
  const mode = control("mode").value;
  const fields = {};
  for (const [name, field] of controlled()) {
    const input = control(name);
    if (input.closest("[data-field]").hidden || input.disabled) continue;
    if (holdsImages(field)) continue;
    if (field.control === "switch") fields[name] = input.checked;
    else if (input.value || !(field.default === null || ["choice", "seed"].includes(field.control))) fields[name] = input.value;
  }
  if (!seedIsKept()) fields.seed = offer.fields.seed.default;
  return { mode, model: control("model").value || null, fields };
}

/** The images that the form has besides the one on the table, by their fields: files, or lists of entries with files. */
export function furtherImages() {
  const chosen = controlled().filter(([name, field]) => holdsImages(field) && !control(name).closest("[data-field]").hidden);
  return Object.fromEntries(chosen.map(([name]) => [name, images(name)]).filter(([, held]) => held));
}

/** Put such images in, and take others away. */
export function setFurtherImages(held = {}) {
  for (const [name, field] of controlled()) {
    if (holdsImages(field)) setImages(name, held[name]);
  }
}

/** Put such values in; fields that are not named get the values that a new form has. */
export function fill({ mode, model, fields }) {
  if (mode) control("mode").value = mode;
  if (model !== undefined && offer.models.some((offered) => offered.url_path === model)) {
    control("model").value = model ?? "";
  }
  for (const [name, field] of controlled()) {
    const input = control(name);
    if (name === "seed" || holdsImages(field)) continue;
    const value = String(fields[name] ?? advised()[name] ?? STARTING[name] ?? emptyValue(field));
    if (field.control === "switch") input.checked = fields[name] ?? field.default ?? true;
    else setValue(input, field.control === "choice" && !field.choices.includes(value) ? emptyValue(field) : value);
  }
  keepSeed(fields.seed || null);
  update();
}

/** What requests to the chosen model get that name no value, as far as that is known. */
const advised = () => model()?.defaults ?? {};

function setValue(input, value) {
  // The caret stays where it is.
  if (input.value !== value) input.value = value;
}

/** Show the seed that was used, as the one to keep if the lock is pressed; a seed that is kept stays. */
export function noteSeed(seed) {
  if (!seedIsKept()) control("seed").value = seed;
}

export function setMode(mode) {
  control("mode").value = mode;
  update();
}

/** Set one field, as if it was typed. */
export function setField(name, value) {
  if (!control(name) || control(name).value === value) return;
  control(name).value = value;
  changed(control(name));
}

/** Whether a field is there for this mode and model. */
export const offers = (name) => Boolean(control(name)) && !control(name).closest("[data-field]").hidden;

const isFaulty = ({ badInput, rangeUnderflow, rangeOverflow }) => badInput || rangeUnderflow || rangeOverflow;

/** Whether a request's numbers are in their ranges. */
export const isValid = ({ fields }) => Object.keys(fields).every((name) => !isFaulty(control(name).validity));

/** The numbers that are not in their ranges, as [field, words] pairs. */
export const faults = ({ fields }) =>
  Object.keys(fields).filter((name) => isFaulty(control(name).validity)).map((name) => {
    const { value, min, max } = control(name);
    return [name, `${label(name)} is ${value || "empty"}; it must be from ${min} to ${max}.`];
  });

export const model = () => offer.models.find((offered) => (offered.url_path ?? "") === control("model").value);
/** All models, as GET /models has them. */
export const models = () => offer.models;
export const path = (request) => offer.models.find((one) => one.url_path === request.model).paths[request.mode];
/** Whether a picture's model is there still, and has its operation. */
export const canMake = ({ model: name, mode }) => Boolean(offer.models.find(({ url_path }) => url_path === name)?.paths[mode]);
export const modelWithLabel = (label) => offer.models.find((offered) => offered.label === label)?.url_path;
export const limits = () => offer.limits;
export const loras = () => offer.loras;
export const fields = () => offer.fields;
/** Whether the mode's form begins with an image, and whether it has a mask. */
export const startsFromImage = (mode) => offer.fields.init_image.modes.includes(mode);
export const hasMask = (mode) => offer.fields.mask_image.modes.includes(mode);
/** Whether a model, by its url_path, has been loaded since the server was started. */
export const isLoaded = (url_path) => (offer.models.find((one) => one.url_path === url_path)?.modes ?? null) !== null;
/** The first kind of form that has all of these fields, but for the size, which an image has by itself. */
export const modeWith = (names) =>
  Object.keys(offer.models[0].paths).find((mode) =>
    names.every((name) => ["width", "height"].includes(name) || offer.fields[name].modes.includes(mode)));

const seedIsKept = () => byId("lock").getAttribute("aria-pressed") === "true";
const requiresFilter = () => model().requires_safety_checker;

function keepSeed(seed) {
  byId("lock").setAttribute("aria-pressed", String(seed !== null));
  control("seed").value = seed ?? "";
}

// What the model on show wants by default, by the names of fields.
let followed = {};

/** Let fields that still have their default take that of the model. */
function followDefaults() {
  const defaults = advised();
  for (const [name, field] of controlled()) {
    const usual = STARTING[name] ?? emptyValue(field);
    const [before, after] = [followed, defaults].map((values) => String(values[name] ?? usual));
    if (before !== after && control(name).value === before) control(name).value = after;
  }
  followed = defaults;
}

/** Show what belongs to the mode, the model and the scheduler, and nothing else. */
function update() {
  followDefaults();
  const { modes, schedulers, size_multiple, native_size } = model();
  const mode = offerModes(modes);
  showParts(mode, offer.fields);
  for (const option of control("scheduler").options) {
    option.disabled = option.value !== "" && schedulers !== null && !schedulers.includes(option.value);
  }
  if (control("scheduler").selectedOptions[0]?.disabled) control("scheduler").value = "";
  show(mode, model());
  // Where there is none to choose.
  if (!offer.loras.length) control("loras").closest("[data-field]").hidden = true;
  // Where none may be named.
  if (schedulers?.length === 0) control("scheduler").closest("[data-field]").hidden = true;
  control("safety_checker").disabled = requiresFilter();
  if (requiresFilter()) control("safety_checker").checked = true;
  byId("safety-hint").textContent = requiresFilter()
    ? "This model requires it: a flagged picture comes back black."
    : "A flagged picture comes back black.";
  for (const range of form.querySelectorAll("[data-for]")) range.value = control(range.dataset.for).value;
  for (const name of ["width", "height"]) control(name).step = size_multiple ?? 8;
  showShapes(byId("shapes"), {
    side: native_size ?? 512,
    multiple: size_multiple ?? 8,
    width: Number(control("width").value),
    height: Number(control("height").value),
    choose: (width, height) => {
      control("width").value = width;
      control("height").value = height;
      changed(control("width"));
    },
  });
  write("localStorage", STORED, JSON.stringify(request()));
  form.dispatchEvent(new Event("updated"));
}

function changed(input) {
  const place = input.closest("[data-field]");
  if (place) clearProblems(place);
  update();
}

function stored() {
  try {
    const found = JSON.parse(read("localStorage", STORED));
    return typeof found?.fields === "object" && found.fields !== null ? found : null;
  } catch {
    return null;
  }
}

form.addEventListener("input", ({ target }) => {
  if (target.dataset.for) control(target.dataset.for).value = target.value;
  // A seed that is typed is meant to stay.
  if (target.name === "seed") byId("lock").setAttribute("aria-pressed", String(target.value !== ""));
  changed(target);
});
byId("lock").addEventListener("click", () => {
  keepSeed(seedIsKept() ? null : control("seed").value || newSeed());
  changed(control("seed"));
});
byId("dice").addEventListener("click", () => {
  keepSeed(newSeed());
  changed(control("seed"));
});

const newSeed = () => 1 + Math.floor(Math.random() * (MAX_CHOSEN_SEED - 1));
