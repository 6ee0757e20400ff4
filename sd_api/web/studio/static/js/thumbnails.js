// Small copies of pictures, one after the other: many large ones that are decoded at once would fill the memory.

// Pixels of the longer side, for screens with two pixels for each of the page's.
const SIDE = 320;

const made = new WeakMap();
let last = Promise.resolve();

/** A small copy as a blob, made once; null for what this browser cannot show. A picture that is small is its own. */
export function thumbnail(blob) {
  if (!made.has(blob)) {
    last = last.then(() => make(blob), () => make(blob));
    made.set(blob, last);
  }
  return made.get(blob);
}

async function make(blob) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob);
  } catch {
    return null;
  }
  const scale = SIDE / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1) {
    bitmap.close();
    return blob;
  }
  const [width, height] = [bitmap.width, bitmap.height].map((side) => Math.max(1, Math.round(side * scale)));
  const sheet = new OffscreenCanvas(width, height);
  const context = sheet.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  // Its memory is not waited for.
  bitmap.close();
  return sheet.convertToBlob({ type: "image/webp", quality: 0.85 });
}
