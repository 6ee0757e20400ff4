// What can be done with a picture, as buttons: below the table, and where pictures are looked at large.
import { announce, button, copyText, element } from "./dom.js";
import { dragOut, fileName } from "./images.js";

/**
 * The buttons for a picture. "can" has what is called: edit, accept, discard, compare(on), reuse, reuseAll, asLayer,
 * favour and remove, each with the picture; what it lacks is not offered.
 */
export function pictureActions(picture, can) {
  const offered = [
    can.accept && button("Accept", () => can.accept(picture), { className: "chosen", title: "Go on with this picture (A)" }),
    can.discard && button("Discard", () => can.discard(picture), { title: "Back to the image; the picture stays among your pictures (Esc)" }),
    can.compare && held("Compare", can.compare),
    can.edit && button("Edit this", () => can.edit(picture), { title: "Use it as the image to start from" }),
    download(picture),
    button("Copy", (event) => copy(picture, event.currentTarget)),
    can.asLayer && button("Make a layer", () => can.asLayer(picture), { title: "Make it again as a transparent layer, to drag into Photoshop" }),
    button("Reuse settings", () => can.reuse(picture)),
    button("Reuse settings and seed", () => can.reuseAll(picture), { title: "Load its settings and its seed, to change one thing" }),
    can.favour && button(picture.favourite ? "★ Favourite" : "☆ Favourite", () => can.favour(picture), { "aria-pressed": String(Boolean(picture.favourite)) }),
    button("Delete", () => can.remove(picture), { className: "danger" }),
  ];
  return offered.filter(Boolean);
}

/** A button that acts while it is held, by the pointer or by a key. */
function held(label, act) {
  const node = button(label, () => {}, { title: "Hold to see the image as it was (C)", "aria-pressed": "false" });
  const set = (on) => {
    node.setAttribute("aria-pressed", String(on));
    act(on);
  };
  node.addEventListener("pointerdown", () => set(true));
  node.addEventListener("keydown", ({ key }) => (key === " " || key === "Enter") && set(true));
  for (const kind of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) node.addEventListener(kind, () => set(false));
  return node;
}

function download(picture) {
  const node = button("Download", () => {
    const url = URL.createObjectURL(picture.blob);
    element("a", { href: url, download: fileName(picture) }).click();
    // Not before the browser has begun to read it.
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }, { title: "Save it, or drag this button to Photoshop or the desktop" });
  dragOut(node, picture);
  return node;
}

async function copy(picture, pressed) {
  let words = "Copied";
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": picture.blob })]);
  } catch {
    // Browsers lend the clipboard only to pages of this computer, or over HTTPS.
    words = "Not allowed here";
  }
  flash(pressed, words);
}

/** Say something on a button for a moment. */
export function flash(pressed, words) {
  // Or it was pressed again before that was over.
  const label = (pressed.dataset.label ??= pressed.textContent);
  pressed.textContent = words;
  announce(words);
  setTimeout(() => (pressed.textContent = label), 1500);
}

export async function copyFrom(node, pressed) {
  flash(pressed, (await copyText(node.textContent)) ? "Copied" : "Not allowed here");
}

/** The fields of a picture that matter to how it was made, as rows of a list; "described" is what GET /models says of them. */
export function parameterRows(picture, described) {
  const rows = Object.entries(described)
    .filter(([name, field]) => (field.png_key || name === "prompt") && matters(field, picture.fields[name]))
    .map(([name, { label }]) => [label, String(name === "seed" ? picture.seed : picture.fields[name])]);
  return [...rows, ["Model", picture.label]].flatMap(([label, value]) => [
    element("dt", { textContent: label }), element("dd", { textContent: value }),
  ]);
}

/** Whether a value is said; of most fields the default changes nothing, but for those that every picture has. */
function matters({ control, requires, default: usual }, value) {
  if ([undefined, "", null].includes(value)) return false;
  return ["slider", "seed"].includes(control) && !requires ? true : String(value) !== String(usual);
}
