// Reads the text that a PNG file carries (https://www.w3.org/TR/png-3/#11textinfo).

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const latin1 = new TextDecoder("latin1");
const utf8 = new TextDecoder();

/** The text chunk with this keyword; null for a file that has none, or is no PNG. */
export async function textChunk(blob, keyword) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  if (SIGNATURE.some((byte, index) => bytes[index] !== byte)) return null;
  const view = new DataView(bytes.buffer);
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = latin1.decode(bytes.subarray(at + 4, at + 8));
    const data = bytes.subarray(at + 8, at + 8 + length);
    const text = type === "tEXt" ? plain(data, keyword) : type === "iTXt" ? international(data, keyword) : null;
    if (text !== null) return text;
    at += 12 + length;
  }
  return null;
}

/** The size of a PNG file's picture, {width, height}, which its first chunk has. */
export async function pngSize(blob) {
  const view = new DataView(await blob.slice(16, 24).arrayBuffer());
  return { width: view.getUint32(0), height: view.getUint32(4) };
}

function plain(data, keyword) {
  const end = data.indexOf(0);
  return latin1.decode(data.subarray(0, end)) === keyword ? latin1.decode(data.subarray(end + 1)) : null;
}

function international(data, keyword) {
  const end = data.indexOf(0);
  const compressed = data[end + 1];
  if (latin1.decode(data.subarray(0, end)) !== keyword || compressed) return null;
  // Two more texts, each ended by a zero: the language, and the keyword in that language.
  const language = data.indexOf(0, end + 3);
  const translated = data.indexOf(0, language + 1);
  return utf8.decode(data.subarray(translated + 1));
}
