// The large picture: a preview while it is made, or a result, beside or over what it was made from.
import { comparison } from "./comparison.js";
import { announce, button, byId, copyText, element } from "./dom.js";
import { dragOut, fileName } from "./images.js";

const EXAMPLES = ["a fox on a green background", "a cupcake on a pink background", "a whale on a blue background"];

const view = byId("result-view");
const urls = [];

/** Before the first picture. */
export function showWelcome(tryPrompt) {
  clear();
  const words = "Your picture will appear here. Describe it, then press Generate – or start with one of these:";
  const examples = EXAMPLES.map((prompt) => button(prompt, () => tryPrompt(prompt)));
  show(element("div", { className: "empty" }, element("p", { textContent: words }), element("div", { className: "row" }, ...examples)));
}

/** How a job looks now; it is small, and grows with the picture. */
export function showPreview(record, status, words) {
  let image = view.querySelector(".preview");
  if (image?.dataset.job !== record.id) {
    image = element("img", { className: "preview", alt: `Preview of ${record.fields.prompt}`, "data-job": record.id });
    image.hidden = true;
    clear();
    show(image, element("p", { className: "waiting", textContent: "It appears here as soon as there is something to see." }));
  }
  byId("result-note").textContent = words;
  if (status.preview) {
    image.src = `data:image/png;base64,${status.preview}`;
    image.hidden = false;
    image.nextElementSibling?.remove();
  }
}

/** A result; described is what GET /models says of its fields, and the last what its buttons call. */
export function showPicture(picture, described, { useAsImage, reuse, sameSeed, remove }) {
  clear();
  const image = draggable(picture, picture.source ? `After: ${picture.fields.prompt}` : picture.fields.prompt);
  show(picture.source ? comparison(urlOf(picture.source), image) : image);
  byId("result-note").textContent = new Date(picture.created).toLocaleString();
  if (picture.nsfw) {
    view.append(element("p", {
      className: "flagged",
      textContent: "The safety filter flagged this picture, so it is black. Change the prompt or the seed and try again.",
    }));
  }
  byId("result-actions").replaceChildren(
    download(picture),
    button("Copy", (event) => copy(picture, event.currentTarget)),
    button("Edit this", () => useAsImage(picture)),
    button("Use its settings", () => reuse(picture)),
    button("Same seed", () => sameSeed(picture), { title: "All its settings with its seed: then change one thing" }),
    button("Delete", () => remove(picture), { className: "danger" }),
  );
  // What makes the picture: the fields that its file tells of.
  const rows = Object.entries(described)
    .filter(([name, { png_key }]) => (png_key || name === "prompt") && ![undefined, "", null].includes(picture.fields[name]))
    .map(([name, { label }]) => [label, String(name === "seed" ? picture.seed : picture.fields[name])]);
  byId("result-parameters").replaceChildren(
    ...[...rows, ["Model", picture.label]].flatMap(([label, value]) => [
      element("dt", { textContent: label }), element("dd", { textContent: value }),
    ]),
  );
}

function show(...content) {
  view.replaceChildren(element("div", { className: "frame" }, ...content));
}

function clear() {
  urls.splice(0).forEach((url) => URL.revokeObjectURL(url));
  byId("result-note").textContent = "";
  byId("result-actions").replaceChildren();
  byId("result-parameters").replaceChildren();
}

function urlOf(blob) {
  urls.push(URL.createObjectURL(blob));
  return urls.at(-1);
}

function draggable(picture, alt) {
  const url = urlOf(picture.blob);
  const image = element("img", { src: url, alt });
  dragOut(image, picture, url);
  return image;
}

function download(picture) {
  return button("Download", () => {
    const link = element("a", { href: urlOf(picture.blob), download: fileName(picture) });
    link.click();
  });
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
