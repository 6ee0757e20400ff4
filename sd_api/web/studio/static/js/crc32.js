// The checksum of PNG and zip files (https://www.w3.org/TR/png-3/#D-CRCAppendix).

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** Of bytes; "before" is that of what comes in front of them. */
export function crc32(bytes, before = 0) {
  let value = ~before;
  for (const byte of bytes) value = TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}
