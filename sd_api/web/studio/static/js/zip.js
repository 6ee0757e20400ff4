// Zip files whose entries are stored as they are: pictures are compressed already (APPNOTE.TXT of PKWARE, without zip64).
import { crc32 } from "./crc32.js";

const LOCAL = 0x04034b50;
const CENTRAL = 0x02014b50;
const END = 0x06054b50;
const STORED = 0;
const UTF8 = 0x0800;
// 1 January 1980, because a time is asked for.
const DATE = 0x21;

/** A zip file of [name, blob] pairs, whose names are all different. Entries and offsets have 32 bits. */
export async function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, blob] of files) {
    const path = new TextEncoder().encode(name);
    const sum = crc32(new Uint8Array(await blob.arrayBuffer()));
    // What a local header and the directory have in common.
    const common = [[20, 2], [UTF8, 2], [STORED, 2], [0, 2], [DATE, 2], [sum, 4], [blob.size, 4], [blob.size, 4], [path.length, 2], [0, 2]];
    const local = fields([[LOCAL, 4], ...common]);
    directory.push(fields([[CENTRAL, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [offset, 4]]), path);
    parts.push(local, path, blob);
    offset += local.length + path.length + blob.size;
  }
  if (offset > 0xffffffff) throw new RangeError("A zip file holds at most 4 GB; choose fewer pictures.");
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const end = fields([[END, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [size, 4], [offset, 4], [0, 2]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** The [name, blob] pairs of a zip file, of which only stored and deflated entries are read; null for another file. */
export async function unzip(file) {
  // The end comes last, but for a comment of at most 65535 bytes.
  const tail = new DataView(await file.slice(-65557).arrayBuffer());
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== END) at--;
  if (at < 0) return null;
  const [size, start] = [tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  const directory = new DataView(await file.slice(start, start + size).arrayBuffer());
  const found = [];
  for (let i = 0; i + 46 <= directory.byteLength && directory.getUint32(i, true) === CENTRAL; ) {
    const [method, packed] = [directory.getUint16(i + 10, true), directory.getUint32(i + 20, true)];
    const [nameLength, extra, comment] = [28, 30, 32].map((place) => directory.getUint16(i + place, true));
    const name = new TextDecoder().decode(new Uint8Array(directory.buffer, i + 46, Math.min(nameLength, directory.byteLength - i - 46)));
    found.push([name, await content(file, directory.getUint32(i + 42, true), method, packed)]);
    i += 46 + nameLength + extra + comment;
  }
  return found.filter(([, blob]) => blob !== null);
}

async function content(file, offset, method, packed) {
  const header = new DataView(await file.slice(offset, offset + 30).arrayBuffer());
  if (header.byteLength < 30 || header.getUint32(0, true) !== LOCAL) return null;
  const start = offset + 30 + header.getUint16(26, true) + header.getUint16(28, true);
  const stored = file.slice(start, start + packed);
  if (method === STORED) return stored;
  if (method !== 8) return null;
  return new Response(stored.stream().pipeThrough(new DecompressionStream("deflate-raw"))).blob();
}

/** Numbers of so many bytes, the lowest first. */
function fields(numbers) {
  const bytes = [];
  for (const [value, length] of numbers) {
    for (let i = 0; i < length; i++) bytes.push(Math.floor(value / 2 ** (8 * i)) & 255);
  }
  return Uint8Array.from(bytes);
}
