// The prompts that were used, the ones that are kept of them, and styles: words that are put around a prompt.
import { button, byId, element } from "./dom.js";
import { read, write } from "./kept.js";
import { closeMenus } from "./menus.js";

const USED = "prompts";
const STYLES = "styles";
// Besides those that are kept.
const MOST = 40;
const PLACE = "{prompt}";
const FIRST_STYLES = `Photograph: {prompt}, photograph, natural light, 50 mm lens, sharp focus
Watercolour: {prompt}, watercolour on paper, soft edges, pale colours
Oil painting: oil painting of {prompt}, visible brush strokes
Line drawing: {prompt}, black ink line drawing on white`;

let choose = () => {};
let current = () => "";

/** Once; put(prompt) is called with a prompt that was chosen, and read() answers the one in the form. */
export function setUp({ put, read: readForm }) {
  current = readForm;
  choose = (text) => {
    put(text);
    closeMenus();
    byId("prompt").focus();
  };
}

/** Remember a prompt as the latest. */
export function note(text) {
  if (!text.trim()) return;
  const rest = used();
  const kept = rest.find((one) => one.text === text)?.kept ?? false;
  save([{ text, kept }, ...rest.filter((one) => one.text !== text)]);
}

export const stylesText = () => read("localStorage", STYLES) ?? FIRST_STYLES;
export const setStyles = (text) => write("localStorage", STYLES, text);
export const forgetPrompts = () => write("localStorage", USED, null);

/** [name, words] pairs of lines like "name: words". */
export function parseStyles(text) {
  return text.split("\n")
    .map((line) => /^([^:]+):(.+)$/.exec(line)?.slice(1).map((part) => part.trim()))
    .filter(Boolean);
}

/** A prompt in a style, whose words have a place for it, or follow it. */
export const styled = (prompt, words) =>
  words.includes(PLACE) ? words.replaceAll(PLACE, () => prompt) : [prompt, words].filter(Boolean).join(", ");

function used() {
  try {
    const found = JSON.parse(read("localStorage", USED));
    return Array.isArray(found) ? found.filter(({ text }) => typeof text === "string") : [];
  } catch {
    return [];
  }
}

function save(list) {
  const others = list.filter(({ kept }) => !kept).slice(0, MOST);
  write("localStorage", USED, JSON.stringify(list.filter((one) => one.kept || others.includes(one))));
}

/** List the prompts that were used. */
export function showUsed() {
  const list = used().sort((a, b) => Number(b.kept) - Number(a.kept));
  const rows = list.map((one) => {
    const keep = button(one.kept ? "★" : "☆", () => {
      one.kept = !one.kept;
      save(used().map((other) => (other.text === one.text ? one : other)));
      showUsed();
    }, { className: "square", "aria-pressed": String(Boolean(one.kept)), "aria-label": `Keep: ${one.text.slice(0, 80)}` });
    return element("li", {}, button(one.text, () => choose(one.text), { className: "plain" }), keep);
  });
  byId("used-prompt-list").replaceChildren(...(rows.length ? rows : [element("li", { className: "hint", textContent: "None yet." })]));
}

/** List the styles. */
export function showStyles() {
  const rows = parseStyles(stylesText()).map(([name, words]) =>
    element("li", {}, button(name, () => choose(styled(current(), words)), { className: "plain", title: words })));
  byId("style-list").replaceChildren(...(rows.length ? rows : [element("li", { className: "hint", textContent: "None yet. Add some in Settings." })]));
}
