// The controls of the form, drawn from what GET /models says of each field.
import { byId, element } from "./dom.js";
import { later } from "./later.js";
import { isCommon } from "./modes.js";

const form = byId("form");
const drawn = new Map();
// The entries of the fields that hold lists, each an object of texts, numbers and files.
const lists = new Map();
const entries = later(() => import("./entries.js"));
// What the model on show can do.
let able = [];

/** The control of a field. */
export const control = (name) => form.elements.namedItem(name);

/** Draw what is not there yet, and bring every range and every list of names up to date; "offer" is what GET /models says. */
export function draw(offer) {
  for (const [name, plain] of Object.entries(offer.fields)) {
    const field = withNames(plain, offer);
    const place = document.querySelector(`[data-field="${name}"]`);
    // The table has the first image and its mask.
    if (!(field.control in CONTROLS || field.entries) || place?.matches("[data-own]")) continue;
    if (!drawn.has(name)) put(name, field, place ?? newPlace(name, field));
    drawn.set(name, field);
    if (field.entries) drawList(name);
    limit(name, field);
  }
}

/** A field, and those of its entries, with the names of what is there to choose from; "none" is what is said of no choice. */
function withNames(field, offer, none = "Model default") {
  if (field.entries) {
    const named = Object.entries(field.entries).map(([key, one]) => [key, withNames(one, offer, "Automatic")]);
    return { ...field, entries: Object.fromEntries(named) };
  }
  if (!field.names) return { ...field, none };
  const usable = offer[field.names].map((one) => (one.name ? one : { name: one })).filter(({ problem }) => !problem);
  const choices = usable.map(({ name }) => name);
  const labels = usable.map(({ name, architecture }) => [name, architecture ? `${name} (${architecture})` : name]);
  const needed = field.default === undefined;
  const own = needed ? choices[0] : null;
  return { ...field, control: "choice", choices, choice_labels: Object.fromEntries(labels), needed, default: own, none };
}

/** The fields that have a control, as [name, description] pairs. */
export const controlled = () => [...drawn];

/** Whether a field holds images, which are no texts. */
export const holdsImages = (field) => field.control === "image" || Boolean(field.entries);

/** What such a field holds: a file, or entries; nothing where it is empty. */
export function images(name) {
  const list = lists.get(name);
  return list ? list.length && list.map((entry) => ({ ...entry })) : control(name).files[0];
}

/** Put a file or entries into such a field, or empty it. */
export function setImages(name, value) {
  const list = lists.get(name);
  if (list) {
    list.splice(0, list.length, ...(value ?? []).map((entry) => ({ ...entry })));
    drawList(name);
    return;
  }
  const data = new DataTransfer();
  if (value) data.items.add(new File([value], value.name ?? name, { type: value.type }));
  control(name).files = data.files;
}

async function drawList(name) {
  const { show: showEntries } = await entries();
  const field = drawn.get(name);
  const shown = Object.entries(field.entries).filter(([, { requires }]) => !requires || able.includes(requires));
  const changed = () => control(name).dispatchEvent(new Event("input", { bubbles: true }));
  const calls = { make: (each) => CONTROLS[each.control](each), changed };
  showEntries(form.querySelector(`[data-field="${name}"]`), { ...field, entries: Object.fromEntries(shown) }, lists.get(name), calls);
}

/** Show the fields that act on this form for this model, and hide the others. */
export function show(mode, model) {
  const before = String(able);
  able = model.capabilities ?? [];
  for (const [name, field] of drawn) {
    form.querySelector(`[data-field="${name}"]`).hidden = !acts(field, mode, model);
    if (field.entries && String(able) !== before) drawList(name);
  }
}

function acts(field, mode, { capabilities }) {
  const { modes, requires, acts_with, entries: holds } = field;
  if (!modes.includes(mode)) return false;
  // Before a model is loaded, nothing is known of it. Most can do most; lists are of the few that see further images.
  if (requires && !(capabilities ?? (holds ? [] : [requires])).includes(requires)) return false;
  // Where there is nothing that it has to name.
  const naming = holds ? Object.values(holds).filter((one) => one.needed || able.includes(one.requires)) : [field];
  if (naming.some(({ names, choices }) => names && !choices.length)) return false;
  return Object.entries(acts_with ?? {}).every(([other, values]) => values.includes(control(other).value));
}

/** What a field holds in a new form; what is chosen by the server is empty. */
export const emptyValue = (field) => (field.control === "seed" ? "" : String(field.default ?? ""));

/** What a field is called, in front of what is said of it. */
export const label = (name) => drawn.get(name)?.label;

const CONTROLS = {
  text: () => element("textarea", { rows: 1 }),
  line: () => element("input", { type: "text" }),
  number: numeric,
  seed: (field) => element("input", { type: "number", inputMode: "numeric", step: field.step ?? 1, placeholder: "random" }),
  slider: numeric,
  choice: (field) => element("select", {}, ...options(field)),
  switch: () => element("input", { type: "checkbox", checked: true }),
  image: () => element("input", { type: "file", accept: "image/*" }),
};

function numeric({ step }) {
  const inputMode = step === undefined || Number.isInteger(step) ? "numeric" : "decimal";
  return element("input", { type: "number", inputMode, step: step ?? "any" });
}

function options({ choices, choice_labels, default: chosen, none = "Model default" }) {
  const own = chosen ? [] : [element("option", { value: "", textContent: none })];
  return [...own, ...choices.map((name) => element("option", { value: name, textContent: choice_labels?.[name] ?? name }))];
}

/** Where a field goes that the page keeps no place for: what a model need not have goes below. */
function newPlace(name, { control: kind, entries: holds, requires, modes }) {
  // What every operation has, and not every model, is seldom wanted.
  const seldom = requires && kind !== "text" && modes.length > 1;
  // What makes an operation what it is stays in view.
  const own = !modes.some(isCommon);
  const others = seldom || !(own || kind === "slider") ? "other-fields" : "sliders";
  const parent = byId(holds ? "lists" : kind === "text" ? "texts" : others);
  const place = element("div", { className: "field" });
  place.dataset.field = name;
  parent.append(place);
  return place;
}

function put(name, field, place) {
  // Lists and pickers draw their own controls.
  const hidden = field.entries || place.matches("[data-picker]");
  const input = hidden ? element("input", { type: "hidden" }) : CONTROLS[field.control](field);
  input.id = input.name = name;
  place.title = field.description;
  if (hidden) {
    place.append(input);
    if (field.entries) lists.set(name, []);
    return;
  }
  if (field.control === "switch") {
    place.classList.add("check");
    place.prepend(element("label", {}, input, ` ${field.label}`));
    return;
  }
  const words = element("label", { htmlFor: name, textContent: field.label });
  if (!place.classList.contains("field")) words.className = "muted";
  (place.querySelector(".joined") ?? place).prepend(input);
  place.prepend(words);
  if (field.control === "text") {
    input.rows = place.dataset.rows ?? 1;
    input.placeholder = place.dataset.placeholder ?? field.description.split(". ")[0];
  }
  if (field.control === "slider") {
    place.classList.add("slider");
    const range = element("input", { type: "range", step: field.step ?? "any", "aria-label": field.label });
    range.dataset.for = name;
    input.after(range);
  }
}

function limit(name, field) {
  const input = control(name);
  if (field.names && input.matches("select")) input.replaceChildren(...options(field));
  if (input.type !== "number") return;
  input.min = field.minimum;
  input.max = field.maximum;
  const range = form.querySelector(`[data-for="${name}"]`);
  if (!range) return;
  range.min = field.minimum;
  // A slider over everything that is allowed could not be set finely; the number beside it reaches further.
  range.max = Math.min(field.maximum, field.slider_maximum ?? field.maximum);
}
