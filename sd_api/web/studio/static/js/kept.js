// What a browser keeps for a page in a few words. Some refuse, where cookies are blocked: then nothing is kept.

/** kind is "localStorage", or "sessionStorage" for what ends with the tab. */
export function read(kind, name) {
  try {
    return window[kind].getItem(name);
  } catch {
    return null;
  }
}

/** Keep a text; null takes it away. */
export function write(kind, name, text) {
  try {
    if (text === null) window[kind].removeItem(name);
    else window[kind].setItem(name, text);
  } catch {
    // As if it had been forgotten.
  }
}
