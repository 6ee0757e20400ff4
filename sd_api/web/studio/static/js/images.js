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

// What the server reads as well; of others that a browser can show, such as SVG, it gets a PNG.
const READ_BY_SERVER = ["png", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "heic"].map((kind) => `image/${kind}`);

/**
 * Open an image: {blob, width, height, name}, the blob being the file as it is, with its colours and its depth.
 * Null for what this browser cannot show.
 */
export async function openImage(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  try {
    // This reads the file's head and decodes nothing, however large it is.
    await new Promise((resolve, reject) => Object.assign(image, { onload: resolve, onerror: reject }));
    const { naturalWidth: width, naturalHeight: height } = image;
    if (!width || !height) return null;
    const name = file.name ?? "";
    if (READ_BY_SERVER.includes(file.type)) return { blob: file, width, height, name };
    const canvas = new OffscreenCanvas(width, height);
    canvas.getContext("2d").drawImage(image, 0, 0);
    return { blob: await canvas.convertToBlob(), width, height, name };
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

/** The name under which a picture is saved. */
export function fileName({ seed, fields, canvas }) {
  const words = (fields.prompt ?? "").toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? ["picture"];
  const kind = canvas ? `-${fields.output}` : "";
  return `${words.join("-").slice(0, 48)}-${seed}${kind}.png`;
}

/** Let a picture be dragged by this node to the desktop or into Photoshop, as a file with a name where the browser can. */
export function dragOut(node, picture) {
  node.draggable = true;
  let url = null;
  node.addEventListener("dragstart", (event) => {
    event.stopPropagation();
    url = URL.createObjectURL(picture.blob);
    // Safari gives an image away as a file by itself, but only where nothing is added.
    if (navigator.vendor.startsWith("Apple") && node.matches("img")) return;
    const name = fileName(picture);
    const { dataTransfer } = event;
    dataTransfer.effectAllowed = "copy";
    dataTransfer.setData("DownloadURL", `image/png:${name}:${url}`);
    dataTransfer.items.add(new File([picture.blob], name, { type: "image/png" }));
  });
  // The program that it was dropped into reads it for a while yet.
  node.addEventListener("dragend", () => setTimeout(URL.revokeObjectURL, 60_000, url));
}
