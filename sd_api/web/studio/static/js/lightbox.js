// One picture at a time over the whole window, with the others a key away.
import { byId } from "./dom.js";
import { parameterRows, pictureActions } from "./picture_actions.js";

const box = byId("lightbox");
let list = [];
let at = 0;
let url = null;
let described = {};
let actionsOf = () => ({});

/** Show a picture of a list; "fields" is what GET /models says of them, actionsFor(picture) what its buttons call. */
export function open(picture, pictures, fields, actionsFor) {
  [list, described, actionsOf] = [pictures, fields, actionsFor];
  show(Math.max(0, list.findIndex(({ id }) => id === picture.id)));
  box.showModal();
}

function show(index) {
  at = Math.min(list.length - 1, Math.max(0, index));
  const picture = list[at];
  if (url) URL.revokeObjectURL(url);
  url = URL.createObjectURL(picture.blob);
  const image = byId("lightbox-image");
  Object.assign(image, { src: url, alt: picture.fields.prompt || "The picture", width: picture.width, height: picture.height });
  enlarge(false);
  byId("lightbox-title").textContent = picture.fields.prompt || "Without a prompt";
  byId("lightbox-note").textContent = `${at + 1} of ${list.length} · ${picture.width} × ${picture.height}`;
  byId("lightbox-previous").disabled = at === 0;
  byId("lightbox-next").disabled = at === list.length - 1;
  byId("lightbox-actions").replaceChildren(...pictureActions(picture, ending(actionsOf(picture))));
  byId("lightbox-parameters").replaceChildren(...parameterRows(picture, described));
}

/** What takes the picture to the table, or the picture away, ends the view. */
function ending({ favour, ...actions }) {
  const closing = (act) => act && ((...given) => (box.close(), act(...given)));
  const mark = async (one) => {
    list = list.with(at, await favour(one));
    show(at);
  };
  return { ...Object.fromEntries(Object.entries(actions).map(([name, act]) => [name, closing(act)])), favour: mark };
}

/** Each of the picture's pixels as one of the screen, or all of it in the window. */
function enlarge(on) {
  byId("lightbox-image").style.width = on ? `${list[at].width / devicePixelRatio}px` : "";
  byId("lightbox-view").classList.toggle("actual", on);
  byId("lightbox-actual").setAttribute("aria-pressed", String(on));
}

const isActual = () => byId("lightbox-view").classList.contains("actual");

byId("lightbox-previous").addEventListener("click", () => show(at - 1));
byId("lightbox-next").addEventListener("click", () => show(at + 1));
byId("lightbox-actual").addEventListener("click", () => enlarge(!isActual()));
byId("lightbox-close").addEventListener("click", () => box.close());
byId("lightbox-image").addEventListener("dblclick", () => enlarge(!isActual()));
// On the document, because a button that ends at the last picture loses the focus to it.
document.addEventListener("keydown", ({ key, target }) => {
  // In a picture that is larger than the window, arrows scroll.
  if (!box.open || (isActual() && target === byId("lightbox-view"))) return;
  if (key === "ArrowLeft") show(at - 1);
  else if (key === "ArrowRight") show(at + 1);
  else if (key === "1") enlarge(!isActual());
});
box.addEventListener("close", () => {
  byId("lightbox-image").removeAttribute("src");
  if (url) URL.revokeObjectURL(url);
  url = null;
});
