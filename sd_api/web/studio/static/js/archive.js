// Pictures as a zip file, and back: each with its settings, and what it was made of.
import { fileName } from "./images.js";
import { pngSize } from "./png.js";
import { unzip, zip } from "./zip.js";

const INDEX = "pictures.json";

/** A zip file of pictures, which any program opens; "pictures.json" has what this page needs besides. */
export async function pack(pictures) {
  const files = new Map();
  const add = (name, blob) => {
    const [, stem, ending] = /^(.*?)(\.\w+)$/.exec(name);
    let own = name;
    for (let number = 2; files.has(own); number++) own = `${stem}-${number}${ending}`;
    files.set(own, blob);
    return own;
  };
  const index = pictures.map(({ blob, source, mask, thumb: _, further: __, ...rest }) => ({
    ...rest,
    file: add(fileName({ ...rest }), blob),
    ...(source && { source: add(`sources/${rest.id}${endingOf(source)}`, source), sourceType: source.type }),
    ...(mask && { mask: add(`masks/${rest.id}.png`, mask) }),
  }));
  files.set(INDEX, new Blob([JSON.stringify(index)], { type: "application/json" }));
  return zip([...files]);
}

/** The pictures of such a file; null for any other. What is not as it should be is left out. */
export async function unpack(file) {
  const files = new Map((await unzip(file)) ?? []);
  if (!files.has(INDEX)) return null;
  let index;
  try {
    index = JSON.parse(await files.get(INDEX).text());
  } catch {
    return null;
  }
  if (!Array.isArray(index)) return null;
  const pictures = [];
  for (const { file: name, source, sourceType, mask, ...rest } of index) {
    const blob = files.get(name)?.slice(0, undefined, "image/png");
    if (!blob || typeof rest.id !== "string" || typeof rest.created !== "number" || typeof rest.fields?.prompt !== "string") continue;
    const typed = (path, type) => files.get(path)?.slice(0, undefined, type) ?? null;
    pictures.push({ ...rest, ...(await pngSize(blob)), blob, source: typed(source, sourceType), mask: typed(mask, "image/png") });
  }
  return pictures;
}

const endingOf = ({ type }) => `.${/^image\/(\w+)/.exec(type)?.[1] ?? "bin"}`;
