// Signing in: a panel above both pages, where the server needs a token and there is none that it takes.
import * as api from "./api.js";
import { announce, button, byId, element } from "./dom.js";
import { clearProblems, showProblems } from "./errors.js";
import * as token from "./token.js";

const MISSING = "Please sign in: this server needs to know who sends a request.";
const EXPIRED = "This token has expired.";
const WRONG = "The server does not know this token.";
const EMPTY = { username: "The user name is empty.", password: "The password is empty.", token: "There is no token yet." };

let panel = null;

/** Ask, because the server answered so; what is being typed there already stays. */
export async function askWho(error) {
  const offered = await api.access().catch(() => null);
  // The server has gone, or somebody has signed in since that was asked.
  if (offered === null || error.token !== token.current()) return;
  panel ??= build(offered);
  if (!panel.hidden) return;
  panel.hidden = false;
  byId("sign-in-words").textContent = token.current() === null ? MISSING : `${reason(error)} Sign in again.`;
  // A prompt that is being written keeps the focus.
  if (document.activeElement === document.body) byId("username").focus();
}

/** The server has let the page in. */
export function letIn() {
  if (panel) panel.hidden = true;
  byId("sign-out").hidden = token.current() === null;
}

function reason({ message }) {
  if (message.includes("expired")) return EXPIRED;
  return message.includes("no token") ? WRONG : message;
}

function build({ enable_signup, enable_public_token }) {
  const node = element("section", { className: "panel sign-in", hidden: true, "aria-labelledby": "sign-in-title" });
  node.append(
    element("h2", { id: "sign-in-title", textContent: "Sign in" }),
    element("p", { className: "muted", id: "sign-in-words", role: "status" }),
    account(enable_signup),
    pasted(),
  );
  if (enable_public_token) {
    const anonymous = button("Go on without an account", () => attempt([], "anonymous", api.publicToken));
    node.append(element("div", { "data-field": "anonymous" }, anonymous));
  }
  document.querySelector("main").before(node);
  return node;
}

function account(mayJoin) {
  const typed = () => [byId("username").value.trim(), byId("password").value];
  const logIn = () => api.logIn(...typed());
  const join = async () => {
    await api.signUp(...typed());
    return logIn();
  };
  const names = ["username", "password"];
  const form = formOf(() => attempt(names, "password", logIn), "Sign in", [
    field("username", "User name", { autocomplete: "username", autocapitalize: "none", spellcheck: false }),
    field("password", "Password", { type: "password", autocomplete: "current-password" }),
  ]);
  if (mayJoin) form.append(button("Create an account", () => attempt(names, "username", join)));
  return form;
}

function pasted() {
  // Tokens have no letters that this changes; with others the request could not even be sent.
  const typed = () => encodeURIComponent(byId("token").value.trim());
  return formOf(() => attempt(["token"], "token", typed), "Use it", [
    field("token", "Or paste a token", { type: "password", autocomplete: "off" }),
  ]);
}

function formOf(submit, label, fields) {
  const form = element("form", { noValidate: true }, ...fields, element("button", { type: "submit", textContent: label }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    submit();
  });
  return form;
}

function field(id, label, properties) {
  return element(
    "div",
    { className: "field", "data-field": id },
    element("label", { htmlFor: id, textContent: label }),
    element("input", { id, ...properties }),
  );
}

/** Get a token, and see whether the server takes it; names are the fields for it, and a failure is shown at "place". */
async function attempt(names, place, getToken) {
  clearProblems(panel);
  const empty = names.filter((name) => !byId(name).value);
  if (empty.length) return showProblems(empty.map((name) => [name, EMPTY[name]]));
  try {
    token.use(await getToken());
    await api.health();
  } catch (error) {
    token.use(null);
    return showProblems(error.problems?.length ? error.problems : [[place, reason(error)]]);
  }
  panel.querySelectorAll("input").forEach((input) => (input.value = ""));
  letIn();
  return announce("Signed in");
}

byId("sign-out").addEventListener("click", () => {
  token.use(null);
  // What the page shows of the server goes as well.
  location.reload();
});
