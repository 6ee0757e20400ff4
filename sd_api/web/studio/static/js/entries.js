// A field that holds a list, such as reference images: its entries with the fields that GET /models says each one has.
import { button, element } from "./dom.js";
import { thumbnail } from "./thumbnails.js";

/**
 * Draw a list at a place. list is changed as the entries are, each an object of texts, numbers and files; make(field)
 * makes a control, changed() is called after every change.
 */
export function show(place, field, list, { make, changed }) {
  const redraw = () => {
    changed();
    show(place, field, list, { make, changed });
  };
  const [image] = Object.entries(field.entries).find(([, { control }]) => control === "image") ?? [];
  const items = list.map((entry, index) => item(field, entry, index, { image, make, changed, remove: () => {
    list.splice(index, 1);
    redraw();
  } }));
  let box = place.querySelector(".entries");
  if (!box) place.append((box = element("div", { className: "entries" })));
  box.replaceChildren(
    element("p", { className: "label", textContent: field.label }),
    ...(list.length ? [element("div", { className: "picks" }, ...items)] : []),
    ...(list.length < (field.maximum ?? Infinity) ? [element("div", { className: "row" }, ...adders(field, image, list, redraw))] : []),
  );
}

function adders(field, image, list, redraw) {
  const file = element("input", { type: "file", accept: "image/*", multiple: true, hidden: true });
  file.addEventListener("input", (event) => event.stopPropagation());
  file.addEventListener("change", () => {
    list.push(...[...file.files].slice(0, (field.maximum ?? Infinity) - list.length).map((one) => ({ [image]: one })));
    redraw();
  });
  const add = button("Add an image…", () => file.click(), { className: "quiet", "aria-label": `${field.label}: add an image` });
  // Where an entry needs no image of its own, it has that on the table.
  const without = field.entries[image]?.default === null
    ? [button("Add the image on the table", () => (list.push({}), redraw()), { className: "quiet" })]
    : [];
  return [file, add, ...without];
}

function item(field, entry, index, { image, make, changed, remove }) {
  const name = `${field.label} ${index + 1}`;
  const picture = entry[image]
    ? pictureOf(entry[image])
    : element("p", { className: "hint", textContent: "The image on the table" });
  const fields = Object.entries(field.entries).filter(([key]) => key !== image).map(([key, described]) => {
    const input = make(described);
    // The server chooses nothing in its place, and what was named once may be gone.
    if (described.needed && !described.choices.includes(entry[key])) entry[key] = described.default;
    const set = entry[key] ?? described.default ?? "";
    if (input.type === "checkbox") input.checked = Boolean(set);
    else input.value = String(set);
    input.addEventListener("input", (event) => {
      event.stopPropagation();
      entry[key] = read(input);
      if (entry[key] === "" || Number.isNaN(entry[key])) delete entry[key];
      changed();
    });
    if (input.type === "number") Object.assign(input, { min: described.minimum ?? "", max: described.maximum ?? "" });
    return element("label", { title: described.description ?? "" }, described.label ?? key, input);
  });
  const gone = button("✕", remove, { className: "quiet square", title: "Remove", "aria-label": `Remove ${name}` });
  return element("div", { className: "entry", role: "group", "aria-label": name }, element("div", { className: "holds" }, picture), gone, ...fields);
}

function read(input) {
  if (input.type === "checkbox") return input.checked;
  return input.type === "number" ? input.valueAsNumber : input.value;
}

function pictureOf(blob) {
  const node = element("img", { alt: blob.name ?? "" });
  thumbnail(blob).then((small) => {
    node.addEventListener("load", () => URL.revokeObjectURL(node.src));
    node.src = URL.createObjectURL(small ?? blob);
  });
  return node;
}
