// What this browser keeps for the studio: how much it is, whether it stays, and how it is taken away.
import { button, byId, element, size } from "./dom.js";
import { forgetPrompts, setStyles, stylesText } from "./prompts.js";

const box = byId("settings");

/** Once; clearPictures() and clearTable() take away what they say. */
export function setUp({ clearPictures, clearTable }) {
  byId("settings-close").addEventListener("click", () => box.close());
  byId("style-text").addEventListener("change", () => setStyles(byId("style-text").value));
  byId("settings-actions").append(
    confirmed("Delete all pictures", clearPictures),
    confirmed("Clear the table", clearTable),
    confirmed("Delete prompt history", async () => forgetPrompts()),
  );
  byId("persist").addEventListener("click", async () => {
    await navigator.storage?.persist?.();
    show();
  });
}

export function open() {
  byId("style-text").value = stylesText();
  box.showModal();
  return show();
}

async function show() {
  // Pages over plain HTTP from another computer cannot ask.
  const found = await navigator.storage?.estimate?.();
  const stays = await navigator.storage?.persisted?.();
  const words = found ? `${size(found.usage)} are used of the ${size(found.quota)} that this browser allows.` : "This browser does not say how much.";
  const lasting = stays
    ? " It stays until you delete it."
    : " The browser may delete it when its disk is full.";
  byId("storage-note").textContent = words + lasting;
  byId("persist").hidden = Boolean(stays) || !navigator.storage?.persist;
}

/** A button that has to be pressed twice. */
function confirmed(label, act) {
  const node = button(`${label}…`, async () => {
    if (!node.classList.contains("danger")) {
      node.classList.add("danger");
      node.textContent = `${label}: press again to confirm`;
      return;
    }
    await act();
    calm();
    show();
  });
  const calm = () => {
    node.classList.remove("danger");
    node.textContent = `${label}…`;
  };
  node.addEventListener("blur", calm);
  return element("div", {}, node);
}
