// The pictures of one request in a row below the table, beside the image that they were made of.
import { byId, element } from "./dom.js";
import { later } from "./later.js";

const thumbnails = later(() => import("./thumbnails.js"));

let urls = [];

/** Show pictures; choose(picture) is called with one, or with null for the image, which "before" is a blob of. */
export async function show(pictures, before, choose) {
  const strip = byId("strip");
  const nodes = pictures.map((picture, index) => item(`Picture ${index + 1} of ${pictures.length}`, picture, () => choose(picture)));
  if (before) nodes.unshift(item("The image", null, () => choose(null)));
  // One picture by itself is seen large already.
  strip.replaceChildren(...(nodes.length > 1 ? nodes : []));
  urls.forEach((url) => URL.revokeObjectURL(url));
  urls = [];
  const blobs = [...(before ? [before] : []), ...pictures.map(({ thumb, blob }) => thumb ?? blob)];
  const { thumbnail } = await thumbnails();
  for (const [index, blob] of blobs.entries()) {
    const small = (await thumbnail(blob)) ?? blob;
    urls.push(URL.createObjectURL(small));
    nodes[index].querySelector("img").src = urls.at(-1);
  }
}

/** Mark the one that is seen; null is the image. */
export function mark(picture) {
  for (const node of byId("strip").children) {
    node.setAttribute("aria-pressed", String(node.dataset.shows === (picture?.id ?? "image")));
  }
}

function item(label, picture, onclick) {
  const node = element("button", { type: "button", title: label, "aria-label": label, onclick }, element("img", { alt: "" }));
  node.dataset.shows = picture?.id ?? "image";
  return node;
}
