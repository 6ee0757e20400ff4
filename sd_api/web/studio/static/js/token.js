// The token that says who asks, where the server wants to know. It ends with the tab, and goes into no address.
import { read, write } from "./kept.js";

const STORED = "token";

let token = read("sessionStorage", STORED);

export const current = () => token;

/** From now on, ask with this one; null is for none. */
export function use(another) {
  token = another;
  write("sessionStorage", STORED, token);
}
