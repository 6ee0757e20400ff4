// The LoRAs that act beside those of the prompt: chosen among the server's, each with its weight.
import { button, element } from "./dom.js";

// What the slider reaches; the number beside it may be any that the server takes.
const LEAST = -1;
const MOST = 2;
const STEP = 0.05;

let root = null;
let can = {};
let offered = [];
let shown = null;

/**
 * Once. can has read() and write(text), for the field as JSON, addWords(words), which puts them into the prompt,
 * inWords(field, value), and follow(fields), which sets fields.
 */
export function setUp(place, calls) {
  can = calls;
  root = element("details", { className: "more" });
  place.append(root);
}

/** Draw what the field says; loras is what GET /models has. */
export function show(loras) {
  if (shown === can.read() && loras === offered) return;
  [shown, offered] = [can.read(), loras];
  draw();
}

function chosen() {
  try {
    return new Map(Object.entries(JSON.parse(shown || "{}")));
  } catch {
    return new Map();
  }
}

function change(edit) {
  const weights = chosen();
  edit(weights);
  shown = weights.size ? JSON.stringify(Object.fromEntries(weights)) : "";
  can.write(shown);
}

function draw() {
  const weights = chosen();
  if (weights.size) root.open = true;
  root.replaceChildren(
    element("summary", { textContent: weights.size ? `LoRAs · ${weights.size}` : "LoRAs" }),
    element("ul", { className: "picks" }, ...[...weights].map(([name, weight]) => item(name, weight))),
    adder(weights),
  );
}

function item(name, weight) {
  const { words = [], hint = {}, architecture, problem } = offered.find((lora) => lora.name === name) ?? { problem: "It is not on this server." };
  // Of two weights, the second is that in the text encoders, which stays.
  const [first, ...rest] = [weight].flat();
  const number = element("input", { type: "number", step: STEP, value: first, "aria-label": `Weight of ${name}` });
  const slider = element("input", { type: "range", min: LEAST, max: MOST, step: STEP, value: first, "aria-label": `Weight of ${name}` });
  const set = ({ target }) => {
    if (Number.isNaN(target.valueAsNumber)) return;
    number.value = slider.value = target.value;
    change((weights) => weights.set(name, rest.length ? [target.valueAsNumber, ...rest] : target.valueAsNumber));
  };
  for (const input of [number, slider]) input.addEventListener("input", set);
  const remove = button("✕", () => {
    change((weights) => weights.delete(name));
    draw();
    root.querySelector("input[list]").focus();
  }, { className: "quiet square", title: "Remove", "aria-label": `Remove ${name}` });
  const advised = Object.entries(hint).map(([field, value]) => can.inWords(field, value)).join(", ");
  return element("li", {},
    element("p", { className: "name", textContent: name, title: architecture ?? "" }), number, remove, slider,
    ...(problem ? [element("p", { className: "error", textContent: problem })] : []),
    element("div", { className: "row words" },
      ...words.slice(0, 6).map((word) => button(`+ ${word}`, () => can.addWords(word), { className: "quiet", title: "Add it to the prompt" })),
      ...(advised ? [button(`Use ${advised}`, () => can.follow(hint), { className: "quiet", title: "It was made for these settings" })] : [])),
  );
}

/** A field that completes names, because some people have hundreds. */
function adder(weights) {
  const options = offered.filter(({ name }) => !weights.has(name)).map(({ name, architecture, problem }) =>
    element("option", { value: name, label: problem ? "cannot be used" : architecture ?? "" }));
  const input = element("input", { type: "text", placeholder: "Add a LoRA by its name", "aria-label": "Add a LoRA", autocomplete: "off" });
  input.setAttribute("list", "lora-names");
  const add = () => {
    if (!offered.some(({ name }) => name === input.value)) return;
    change((now) => now.set(input.value, 1));
    draw();
    root.querySelector("input[list]").focus();
  };
  for (const kind of ["input", "change"]) input.addEventListener(kind, add);
  // It is no field of the form, and Enter in it does not send the form.
  input.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
  input.addEventListener("input", (event) => event.stopPropagation());
  return element("div", {}, input, element("datalist", { id: "lora-names" }, ...options));
}
