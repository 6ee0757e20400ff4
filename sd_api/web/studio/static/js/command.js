// What the form would send, as a command for a terminal: so that every endpoint is there to be learned.

export function asCommand({ path, fields, hasSource, hasMask }) {
  const lines = [`curl --fail --silent ${location.origin}${path}`];
  for (const [name, value] of Object.entries(fields)) {
    if (value !== "") lines.push(`--data-urlencode ${quoted(`${name}=${value}`)}`);
  }
  // A file with the picture as base64 text, as the README makes one.
  if (hasSource) lines.push("--data-urlencode init_image@picture.txt");
  if (hasMask) lines.push("--data-urlencode mask_image@mask.txt");
  lines.push("--output answer.json");
  return lines.join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
