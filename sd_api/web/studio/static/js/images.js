// Between files, pictures and base64.

/** A file as base64 text, with the prefix that the API takes as well. */
export function toBase64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

export function fromBase64(text, type) {
  return new Blob([Uint8Array.from(atob(text), (character) => character.charCodeAt(0))], { type });
}

// What the server reads as well; of others that a browser can show, such as AVIF or HEIC, it gets a PNG.
const READ_BY_SERVER = ["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/tiff"];

// A mask is painted on a canvas of the image's size, and browsers have no larger ones on every device.
const MAX_CANVAS_PIXELS = 64e6;

/**
 * Open an image within limits: {blob, width, height, scaled}. One that is too large is made smaller;
 * any other is sent as the file that it is, with its colours. Null for what this browser cannot show.
 */
export async function openImage(file, { max_image_pixels }) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return null;
  }
  const { width, height } = bitmap;
  const scale = Math.min(1, Math.sqrt(Math.min(max_image_pixels, MAX_CANVAS_PIXELS) / (width * height)));
  if (scale === 1 && READ_BY_SERVER.includes(file.type)) return { blob: file, width, height, scaled: false };
  const canvas = new OffscreenCanvas(Math.max(1, Math.floor(width * scale)), Math.max(1, Math.floor(height * scale)));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  // Its memory is not waited for: that of a large photograph is hundreds of megabytes.
  bitmap.close();
  return { blob: await canvas.convertToBlob(), width: canvas.width, height: canvas.height, scaled: scale < 1 };
}

/** The name under which a picture is saved. */
export function fileName({ seed, fields }) {
  const words = fields.prompt.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["picture"];
  return `${words.join("-").slice(0, 48)}-${seed}.png`;
}

/** Let a picture be dragged by this node to the desktop or into Photoshop, as a file with a name where the browser can. */
export function dragOut(node, picture, url) {
  node.draggable = true;
  node.addEventListener("dragstart", ({ dataTransfer }) => {
    // Safari gives an image away as a file by itself, but only where nothing is added.
    if (navigator.vendor.startsWith("Apple")) return;
    const name = fileName(picture);
    dataTransfer.effectAllowed = "copy";
    dataTransfer.setData("DownloadURL", `image/png:${name}:${url}`);
    dataTransfer.items.add(new File([picture.blob], name, { type: "image/png" }));
  });
}
