// The form: what the server offers goes in, what is to be made comes out.
import { byId, element } from "./dom.js";
import { clearProblems } from "./errors.js";
import { read, write } from "./kept.js";
import { showShapes } from "./shapes.js";

// The API's own default is for who knows; these show a newcomer a picture soon.
const STARTING = { num_inference_steps: 25 };
const STORED = "form";
const MAX_CHOSEN_SEED = 2 ** 32;

const form = byId("form");
const control = (name) => form.elements.namedItem(name);

let offer = null;

/** Take in what GET /models says; everything that is chosen already stays, where it still can. */
export function describe(offered) {
  const chosen = offer === null ? stored() : request();
  offer = offered;
  control("model").replaceChildren(
    ...offer.models.map((model) => element("option", { value: model.url_path ?? "", textContent: model.label })),
  );
  control("scheduler").replaceChildren(
    element("option", { value: "", textContent: "The model's own" }),
    ...offer.schedulers.map((name) => element("option", { value: name, textContent: name })),
  );
  for (const [name, field] of Object.entries(offer.fields)) limit(name, field);
  fill(chosen ?? { mode: "txt2img", model: null, fields: {} });
}

function limit(name, field) {
  const input = control(name);
  if (input?.type !== "number") return;
  input.min = field.minimum;
  input.max = field.maximum;
  const range = form.querySelector(`[data-for="${name}"]`);
  if (range) {
    range.min = field.minimum;
    // A slider over everything that is allowed could not be set finely; the number beside it reaches further.
    range.max = Math.min(field.maximum, range.getAttribute("max") ?? field.maximum);
  }
}

/** Everything that the form says: {mode, model, fields}; images are not its business. */
export function request() {
  const mode = control("mode").value;
  const fields = {};
  for (const [name, field] of Object.entries(offer.fields)) {
    const input = control(name);
    if (!input || !field.modes.includes(mode)) continue;
    if (input.type === "checkbox") {
      if (!requiresFilter()) fields[name] = input.checked;
    } else if (name === "scheduler") {
      if (input.value) fields[name] = input.value;
    } else if (name !== "eta" || control("scheduler").value === "ddim") {
      fields[name] = input.value;
    }
  }
  if (!seedIsKept()) fields.seed = 0;
  return { mode, model: control("model").value || null, fields };
}

/** Put such values in; fields that are not named get the values that a new form has. */
export function fill({ mode, model, fields }) {
  if (mode) control("mode").value = mode;
  if (model !== undefined && offer.models.some((offered) => offered.url_path === model)) {
    control("model").value = model ?? "";
  }
  for (const [name, field] of Object.entries(offer.fields)) {
    const input = control(name);
    if (!input || name === "seed") continue;
    const value = fields[name] ?? STARTING[name] ?? field.default ?? "";
    if (input.type === "checkbox") input.checked = fields[name] ?? true;
    else setValue(input, name === "scheduler" && !offer.schedulers.includes(value) ? "" : String(value));
  }
  if (fields.seed) keepSeed(fields.seed);
  else keepSeed(null);
  update();
}

function setValue(input, value) {
  // Whoever is writing there keeps their place.
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

export const model = () => offer.models.find((offered) => (offered.url_path ?? "") === control("model").value);
export const path = (request) => offer.models.find((one) => one.url_path === request.model).paths[request.mode];
export const modelWithLabel = (label) => offer.models.find((offered) => offered.label === label)?.url_path;
export const limits = () => offer.limits;

const seedIsKept = () => byId("lock").getAttribute("aria-pressed") === "true";
const requiresFilter = () => model().requires_safety_checker;

function keepSeed(seed) {
  byId("lock").setAttribute("aria-pressed", String(seed !== null));
  control("seed").value = seed ?? "";
}

/** Show what belongs to the mode, the model and the scheduler, and nothing else. */
function update() {
  const { modes, size_multiple, native_size } = model();
  for (const radio of control("mode")) {
    radio.disabled = modes !== null && !modes.includes(radio.value);
  }
  if ([...control("mode")].some((radio) => radio.checked && radio.disabled)) control("mode").value = modes[0];
  const mode = control("mode").value;
  for (const part of document.querySelectorAll("[data-only]")) {
    part.hidden = !part.dataset.only.split(" ").includes(mode);
  }
  form.querySelector("[data-scheduler]").hidden = control("scheduler").value !== "ddim";
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
  // Whoever writes a seed means it.
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
