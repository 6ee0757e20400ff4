// Writes grey PNG files row by row (https://www.w3.org/TR/png-3/): no canvas is as large as some pictures are.
import { crc32 } from "./crc32.js";

const SIGNATURE = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
const GREY = 0;
// Bytes that are compressed at once: each piece costs some time by itself.
const PIECE = 1 << 20;

/** A picture with a byte for each pixel; row(y) answers the bytes of one row. */
export const greyPng = (width, height, row) => png(width, height, 8, row);

/** A black picture of any size, in a few kilobytes. */
export function blackPng(width, height) {
  const row = new Uint8Array(Math.ceil(width / 8));
  return png(width, height, 1, () => row);
}

async function png(width, height, depth, row) {
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, depth);
  header.setUint8(9, GREY);
  const data = await compressed(height, row);
  const chunks = [chunk("IHDR", new Uint8Array(header.buffer)), chunk("IDAT", data), chunk("IEND", new Uint8Array())];
  return new Blob([SIGNATURE, ...chunks.flat()], { type: "image/png" });
}

async function compressed(height, row) {
  let y = 0;
  const rows = new ReadableStream({
    pull(stream) {
      if (y === height) {
        stream.close();
        return;
      }
      // In front of each row, which filter it went through: none.
      const first = row(y);
      const side = first.length + 1;
      const count = Math.min(height - y, Math.max(1, Math.floor(PIECE / side)));
      const piece = new Uint8Array(count * side);
      for (let i = 0; i < count; i++) piece.set(i ? row(y + i) : first, i * side + 1);
      y += count;
      stream.enqueue(piece);
    },
  });
  return new Uint8Array(await new Response(rows.pipeThrough(new CompressionStream("deflate"))).arrayBuffer());
}

function chunk(type, data) {
  const name = new TextEncoder().encode(type);
  const [length, sum] = [data.length, crc32(data, crc32(name))].map((number) => {
    const bytes = new DataView(new ArrayBuffer(4));
    bytes.setUint32(0, number);
    return bytes.buffer;
  });
  return [length, name, data, sum];
}
