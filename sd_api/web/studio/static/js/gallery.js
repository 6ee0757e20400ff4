// All pictures that this browser keeps, by the day on which they were made.
import { button, byId, count, element } from "./dom.js";
import { dragOut } from "./images.js";
import * as store from "./store.js";

// More than this are shown when asked for, so that the page stays quick with thousands.
const AT_ONCE = 60;

// Other tabs show the same pictures.
const tabs = new BroadcastChannel("studio-pictures");

let pictures = [];
// Those of them for which there was no room, and which end with the page.
let loose = [];
let shown = AT_ONCE;
let current = null;
let select = () => {};
const urls = new Map();

/** Read what is kept; choose(picture) is called when one is chosen. */
export async function open(choose) {
  select = choose;
  tabs.addEventListener("message", read);
  await read();
}

async function read() {
  pictures = latestFirst([...loose, ...(await store.all("pictures"))]);
  render();
}

/** Add pictures; false where the browser has no room for them, so that they will be gone with the page. */
export async function add(added) {
  // A job that two tabs wait for brings its pictures twice.
  const ids = new Set(added.map(({ id }) => id));
  pictures = latestFirst([...added, ...pictures.filter(({ id }) => !ids.has(id))]);
  render();
  const kept = await Promise.all(added.map((picture) => store.put("pictures", picture)));
  loose.push(...added.filter((_, index) => !kept[index]));
  tabs.postMessage(null);
  return kept.every(Boolean);
}

export async function remove(picture) {
  await store.remove("pictures", picture.id);
  [pictures, loose] = [pictures, loose].map((list) => list.filter(({ id }) => id !== picture.id));
  render();
  tabs.postMessage(null);
}

export async function clear() {
  await store.clear("pictures");
  [pictures, loose] = [[], []];
  render();
  tabs.postMessage(null);
}

const latestFirst = (list) => list.sort((a, b) => b.created - a.created);

export const latest = () => pictures[0] ?? null;

export function mark(picture) {
  current = picture?.id ?? null;
  for (const tile of byId("gallery-days").querySelectorAll("[data-picture]")) {
    tile.setAttribute("aria-current", String(tile.dataset.picture === current));
  }
}

function render() {
  byId("gallery").hidden = pictures.length === 0;
  const visible = pictures.slice(0, shown);
  const kept = new Set(visible.map(({ id }) => id));
  for (const [id, url] of urls) {
    if (!kept.has(id)) {
      URL.revokeObjectURL(url);
      urls.delete(id);
    }
  }
  const days = Map.groupBy(visible, ({ created }) => dayOf(created));
  byId("gallery-days").replaceChildren(
    ...[...days].flatMap(([day, ofDay]) => [
      element("h3", { textContent: day }),
      element("div", { className: "tiles" }, ...ofDay.map(tile)),
    ]),
  );
  const hidden = pictures.length - visible.length;
  if (hidden > 0) {
    const more = () => {
      shown += AT_ONCE;
      render();
    };
    byId("gallery-days").append(button(`Show ${count(hidden, "earlier picture")}`, more, { id: "more-pictures" }));
  }
}

function tile(picture) {
  if (!urls.has(picture.id)) urls.set(picture.id, URL.createObjectURL(picture.blob));
  const node = element(
    "button",
    {
      type: "button",
      title: picture.fields.prompt,
      "aria-label": `${picture.fields.prompt}, seed ${picture.seed}${picture.nsfw ? ", flagged" : ""}`,
      "aria-current": String(picture.id === current),
      onclick: () => select(picture),
    },
    element("img", { src: urls.get(picture.id), alt: "", loading: "lazy" }),
  );
  node.dataset.picture = picture.id;
  dragOut(node, picture, urls.get(picture.id));
  if (picture.nsfw) node.append(element("span", { className: "badge", textContent: "Flagged" }));
  return node;
}

function dayOf(time) {
  const day = new Date(time).toDateString();
  if (day === new Date().toDateString()) return "Today";
  if (day === new Date(Date.now() - 86_400_000).toDateString()) return "Yesterday";
  return new Date(time).toLocaleDateString(undefined, { dateStyle: "long" });
}
