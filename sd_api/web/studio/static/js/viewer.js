// What is seen on the table: the image that is worked on, a picture that was made, how one is being made, or what to do.
import * as canvas from "./canvas.js";
import { parseMargins } from "./canvas.js";
import { byId, element } from "./dom.js";
import { fromBase64 } from "./images.js";
import { textChunk } from "./png.js";
import * as scene from "./scene.js";

// The preview that came last, by its job.
let preview = null;

/** Show one of "welcome", "drop" and "scene". */
function only(name) {
  for (const part of ["welcome", "drop"]) byId(part).hidden = part !== name;
  if (name !== "scene") scene.show(null);
  byId("flagged").hidden = true;
  byId("view").classList.toggle("made", false);
}

export function showWelcome() {
  only("welcome");
  note("");
}

export function showDrop() {
  only("drop");
  note("");
}

/** The image that is worked on; withMargins is whether its new margins are computed, too. */
export function showImage(withMargins) {
  only("scene");
  const { blob, width, height } = canvas.current();
  const margins = withMargins ? canvas.currentMargins() : [0, 0, 0, 0];
  scene.show(boxOf({ width, height }, margins), { blob, alt: "The image", className: "whole", x: 0, y: 0, width, height });
}

/** A picture that was made, over what it was made of. */
export function showPicture(picture) {
  only("scene");
  byId("view").classList.add("made");
  byId("flagged").hidden = !picture.nsfw;
  const { box, base } = baseOf(picture, picture.canvas ?? picture);
  const { x, y } = picture.offset ?? { x: 0, y: 0 };
  const { blob, width, height } = picture;
  scene.show(box, base, { blob, alt: picture.fields.prompt || "The picture", className: "picture", x: box.x + x, y: box.y + y, width, height });
  scene.draw({ tiles: null, regions: [] });
  note(`${width} × ${height} · ${new Date(picture.created).toLocaleString()}`);
}

/** How a job looks now; until there is something to see of it, what is on the table stays. */
export async function showPreview(record, status, words) {
  note(words);
  if (!status.preview || preview === status.preview) return;
  preview = status.preview;
  const blob = fromBase64(status.preview, "image/png");
  const region = await textChunk(blob, "Region");
  // Another one, or the picture itself, has come in the meantime.
  if (preview !== status.preview) return;
  const size = await sizeOf(record);
  const { box, base } = baseOf(record, size);
  const [x, y, width, height] = region?.split(",").map(Number) ?? [0, 0, size.width, size.height];
  only("scene");
  const over = { blob, alt: `Preview of ${record.fields.prompt || "the picture"}`, className: "preview", x: box.x + x, y: box.y + y, width, height };
  scene.show(box, base, over);
  scene.draw({ tiles: null, regions: [] });
}

/** Previews that are on their way come too late. */
export const endPreview = () => (preview = null);

export const note = (words) => (byId("result-note").textContent = words);

/** The box of a picture in its image's pixels, and that image; "size" is the picture's. */
function baseOf({ source, fields }, size) {
  if (!source) return { box: { x: 0, y: 0, ...size }, base: null };
  const margins = parseMargins(fields.extend);
  const [left, top, right, bottom] = margins;
  const inner = { width: size.width - left - right, height: size.height - top - bottom };
  return { box: boxOf(inner, margins), base: { blob: source, alt: "Before", className: "whole", x: 0, y: 0, ...inner } };
}

const boxOf = ({ width, height }, [left, top, right, bottom]) =>
  ({ x: -left, y: -top, width: left + width + right, height: top + height + bottom });

async function sizeOf({ source, fields }) {
  if (!source) return { width: Number(fields.width), height: Number(fields.height) };
  const bitmap = element("img", { src: URL.createObjectURL(source) });
  await new Promise((done) => Object.assign(bitmap, { onload: done, onerror: done }));
  URL.revokeObjectURL(bitmap.src);
  const [left, top, right, bottom] = parseMargins(fields.extend);
  return { width: left + bitmap.naturalWidth + right, height: top + bitmap.naturalHeight + bottom };
}
