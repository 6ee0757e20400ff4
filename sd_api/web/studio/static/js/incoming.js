// Images that come in: opened, dropped or pasted, anywhere on the page.
import { byId } from "./dom.js";

/** Call take(file, onTable) for each image that comes; onTable says whether it was meant for the table. */
export function listen(take) {
  const file = byId("file");
  byId("open-image").addEventListener("click", () => file.click());
  byId("drop-open").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    if (file.files.length) take(file.files[0], true);
    // So that the same file can be opened again.
    file.value = "";
  });

  document.addEventListener("paste", (event) => {
    const pasted = imageOf(event.clipboardData);
    if (!pasted) return;
    event.preventDefault();
    take(pasted, true);
  });

  // Every element on the way is entered and left.
  let depth = 0;
  const showing = (on) => (byId("dropping").hidden = !on);
  document.addEventListener("dragenter", (event) => {
    if (carriesFiles(event)) showing(++depth > 0);
  });
  document.addEventListener("dragleave", (event) => {
    if (carriesFiles(event)) showing(--depth > 0);
  });
  document.addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault();
  });
  document.addEventListener("drop", (event) => {
    depth = 0;
    showing(false);
    const dropped = imageOf(event.dataTransfer);
    if (!carriesFiles(event)) return;
    // Also what is no image: the browser would leave the page to show it.
    event.preventDefault();
    if (dropped) take(dropped, byId("table").contains(event.target));
    else if (event.dataTransfer.files.length) take(event.dataTransfer.files[0], false);
  });
}

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
const imageOf = (data) => [...(data?.files ?? [])].find((file) => file.type.startsWith("image/"));
