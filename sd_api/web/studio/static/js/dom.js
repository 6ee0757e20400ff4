// Small helpers around the document. Whatever comes from people or files is only ever put in as text.

export const byId = (id) => document.getElementById(id);

/** Make an element; properties that it has not become attributes. */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** A drawing from the page's own symbols. */
export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

export function button(label, onclick, properties = {}) {
  return element("button", { type: "button", textContent: label, onclick, ...properties });
}

/** Tell screen readers, without moving the focus. */
export function announce(text) {
  const announcer = byId("announcer");
  if (announcer.textContent !== text) announcer.textContent = text;
}

/**
 * The one banner at the top: what concerns no single field.
 * kind is "problem", "wait" or "notice"; actions are buttons. Calling it without text takes the banner away.
 */
export function banner(text, { kind = "problem", actions = [], topic = "" } = {}) {
  const node = byId("banner");
  node.hidden = !text;
  node.dataset.kind = kind;
  node.dataset.topic = topic;
  node.replaceChildren(element("p", { textContent: text ?? "" }), ...actions);
  if (text) node.append(button("Dismiss", () => banner(null), { className: "quiet" }));
}

/** Take the banner away if it is still about this topic. */
export function endBanner(topic) {
  if (byId("banner").dataset.topic === topic) banner(null);
}

/** Copy text; false where the browser does not let this page, as over plain HTTP from another computer. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

export const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** A time, as it is said of what is only estimated. */
export const time = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`);

export const about = (seconds) => `about ${time(seconds)}`;

export const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

export const size = (bytes) => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(bytes / 1e6))} MB`);

/** How far a download is, in words. */
export const arrived = ({ bytes, total_bytes }) =>
  `${size(bytes)} of ${size(total_bytes)} (${Math.floor((100 * bytes) / total_bytes)} %)`;

/** A name that nothing else has. Not crypto.randomUUID, which pages over plain HTTP from another computer lack. */
export function newId(kind) {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `${kind}-${[...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
