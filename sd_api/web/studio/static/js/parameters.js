// How a picture was made, as the "parameters" text of its PNG file tells it; see docs/api.md.

// One after the other from the start: searching for the next in what is no list of pairs could take for ever.
const PAIR = /\s*([^\s:,][^:,]*):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)/gy;

// No prompt is nearly as long; in characters.
const LONGEST = 100_000;

/**
 * The fields of the API that a text names, and the model's label; null for a text of another kind.
 * described is what GET /models says of the fields, with the text's name for each.
 */
export function parseParameters(text, described) {
  if (text.length > LONGEST) return null;
  const lines = text.split("\n");
  const last = lines.pop();
  if (!last.startsWith("Steps: ")) return null;
  const pairs = new Map([...last.matchAll(PAIR)].map(([, key, value]) => [key.trim(), unquoted(value.trim())]));

  const fields = { negative_prompt: "" };
  const negative = lines.findLastIndex((line) => line.startsWith("Negative prompt: "));
  if (negative > 0) {
    fields.negative_prompt = lines.splice(negative).join("\n").slice("Negative prompt: ".length);
  }
  fields.prompt = lines.join("\n");
  const schedule = pairs.get("Schedule type") ?? "Automatic";
  if (schedule !== "Automatic") pairs.set("Sampler", `${pairs.get("Sampler")} ${schedule}`);
  for (const [name, field] of Object.entries(described)) {
    if (!pairs.has(field.png_key)) continue;
    const value = READ[field.control]?.(pairs.get(field.png_key), field) ?? pairs.get(field.png_key);
    if (!Number.isNaN(value)) fields[name] = value;
  }
  const size = /^(\d+)x(\d+)$/.exec(pairs.get("Size") ?? "");
  if (size) [fields.width, fields.height] = [Number(size[1]), Number(size[2])];
  return { fields, label: pairs.get("Model") ?? null };
}

const READ = {
  number: Number,
  slider: Number,
  // A number would round what is beyond 2 ** 53.
  seed: (text) => (/^\d+$/.test(text) && !Number.isSafeInteger(Number(text)) ? text : Number(text)),
  choice: (text, { choice_labels }) =>
    Object.entries(choice_labels ?? {}).find(([, label]) => label.toLowerCase() === text.toLowerCase())?.[0],
};

function unquoted(value) {
  return value.startsWith('"') ? value.slice(1, -1).replace(/\\(.)/g, "$1") : value;
}
