// All pictures that this browser keeps, by the day on which they were made.
import { button, byId, count, element } from "./dom.js";
import { dragOut } from "./images.js";
import { later } from "./later.js";
import { pngSize } from "./png.js";
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
// The ids of those that are chosen together; null while none are being chosen.
let chosen = null;
const urls = new Map();
const thumbnails = later(() => import("./thumbnails.js"));
// Thumbnails of pictures are made when they come into view.
const coming = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    coming.unobserve(target);
    fill(target);
  }
}, { rootMargin: "400px" });

/** Read what is kept; choose(picture) is called when one is chosen. */
export async function open(choose) {
  select = choose;
  tabs.addEventListener("message", read);
  for (const id of ["search", "only-favourites"]) byId(id).addEventListener("input", () => render());
  await read();
}

async function read() {
  const kept = [...loose, ...(await store.all("pictures"))];
  // Those of earlier versions have no size.
  pictures = latestFirst(await Promise.all(kept.map(async (one) => (one.width ? one : { ...one, ...(await pngSize(one.blob)) }))));
  render();
}

/** Add pictures, or put others in their place; false where the browser has no room for them, so that they end with the page. */
export async function add(added) {
  // A job that two tabs wait for brings its pictures twice.
  const ids = new Set(added.map(({ id }) => id));
  pictures = latestFirst([...added, ...pictures.filter(({ id }) => !ids.has(id))]);
  render();
  const kept = await Promise.all(added.map((picture) => store.put("pictures", picture)));
  loose = [...loose.filter(({ id }) => !ids.has(id)), ...added.filter((_, index) => !kept[index])];
  tabs.postMessage(null);
  return kept.every(Boolean);
}

export async function remove(removed) {
  const ids = new Set(removed.map(({ id }) => id));
  for (const id of ids) await store.remove("pictures", id);
  [pictures, loose] = [pictures, loose].map((list) => list.filter(({ id }) => !ids.has(id)));
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
/** Those that the search and the favourites leave. */
export const found = () => pictures.filter(matches);
export const picked = () => pictures.filter(({ id }) => chosen?.has(id));

/** Begin to choose several, or end it. */
export function pick(on) {
  chosen = on ? new Set() : null;
  render();
}

/** Choose all that are found, or, if they are, none. */
export function pickAll() {
  const ids = found().map(({ id }) => id);
  chosen = new Set(ids.every((id) => chosen.has(id)) ? [] : ids);
  render();
}

export function mark(picture) {
  current = picture?.id ?? null;
  for (const tile of byId("gallery-days").querySelectorAll("[data-picture]")) {
    tile.setAttribute("aria-current", String(tile.dataset.picture === current));
  }
}

function matches({ favourite, fields, label, seed }) {
  if (byId("only-favourites").checked && !favourite) return false;
  const text = [fields.prompt, fields.negative_prompt, label, seed].join(" ").toLowerCase();
  return byId("search").value.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}

function render() {
  byId("gallery").hidden = pictures.length === 0;
  const list = found();
  const visible = list.slice(0, shown);
  const kept = new Set(visible.map(({ id }) => id));
  for (const [id, url] of urls) {
    if (!kept.has(id)) {
      URL.revokeObjectURL(url);
      urls.delete(id);
    }
  }
  coming.disconnect();
  const days = Map.groupBy(visible, ({ created }) => dayOf(created));
  byId("gallery-days").replaceChildren(
    ...[...days].flatMap(([day, ofDay]) => [
      element("h3", { textContent: day }),
      element("div", { className: "tiles" }, ...ofDay.map(tile)),
    ]),
  );
  const hidden = list.length - visible.length;
  if (hidden > 0) {
    const more = () => {
      shown += AT_ONCE;
      render();
    };
    byId("gallery-days").append(button(`Show ${count(hidden, "earlier picture")}`, more, { id: "more-pictures" }));
  }
  if (pictures.length && !list.length) byId("gallery-days").append(element("p", { className: "hint", textContent: "No picture matches." }));
  byId("gallery").classList.toggle("picking", chosen !== null);
  byId("picked").textContent = chosen ? `${count(chosen.size, "picture")} selected` : "";
}

function tile(picture) {
  const image = element("img", { alt: "" });
  const node = element(
    "button",
    {
      type: "button",
      title: picture.fields.prompt ?? "",
      "aria-label": `${picture.fields.prompt || "Without a prompt"}, seed ${picture.seed}${picture.nsfw ? ", flagged" : ""}`,
      "aria-current": String(picture.id === current),
      onclick: () => (chosen ? toggle(node, picture) : select(picture)),
    },
    image,
  );
  node.dataset.picture = picture.id;
  if (chosen) node.setAttribute("aria-pressed", String(chosen.has(picture.id)));
  if (urls.has(picture.id)) image.src = urls.get(picture.id);
  else coming.observe(node);
  dragOut(node, picture);
  const badge = picture.nsfw ? "Flagged" : picture.canvas ? "Layer" : null;
  if (badge) node.append(element("span", { className: "badge", textContent: badge }));
  if (picture.favourite) node.append(element("span", { className: "star", textContent: "★", "aria-hidden": "true" }));
  return node;
}

function toggle(node, { id }) {
  if (!chosen.delete(id)) chosen.add(id);
  node.setAttribute("aria-pressed", String(chosen.has(id)));
  byId("picked").textContent = `${count(chosen.size, "picture")} selected`;
}

/** A picture keeps its thumbnail, so that it is made once. */
async function fill(node) {
  const picture = pictures.find(({ id }) => id === node.dataset.picture);
  if (!picture) return;
  if (!picture.thumb) {
    const { thumbnail } = await thumbnails();
    picture.thumb = (await thumbnail(picture.blob)) ?? picture.blob;
    if (pictures.includes(picture) && !loose.includes(picture)) await store.put("pictures", picture);
  }
  if (!node.isConnected) return;
  if (!urls.has(picture.id)) urls.set(picture.id, URL.createObjectURL(picture.thumb));
  node.querySelector("img").src = urls.get(picture.id);
}

function dayOf(time) {
  const day = new Date(time).toDateString();
  if (day === new Date().toDateString()) return "Today";
  if (day === new Date(Date.now() - 86_400_000).toDateString()) return "Yesterday";
  return new Date(time).toLocaleDateString(undefined, { dateStyle: "long" });
}
