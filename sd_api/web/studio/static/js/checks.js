// "Why can't my plugin connect?": each check tests one thing by itself, and says what to do where it fails.
import * as api from "./api.js";
import { count } from "./dom.js";

const PLUGIN_PORT = "1337";
// Where the page came by https, a proxy is in front of the server.
const SCHEMES = {
  "http:": "It must begin with http://; this server does not speak https.",
  "https:": "It must begin with https://, as the address of this page does.",
};
const OWN_PORT = portOf(location);
const LOOPBACK = /^(localhost|127(\.\d+){3}|\[?::1\]?)$/;
// An address in numbers, as the computers of a network have one.
const NUMBERS = /^(\d+(\.\d+){3}|\[.*\])$/;

/**
 * All checks, as [name, test] pairs. A test answers [result, words]; the result is "good", "bad",
 * or "look" for what no page can see by itself.
 */
export function checks(address) {
  return [
    ["The server answers", answers],
    ["The address is this server’s", () => isHere(address)],
    ["The server accepts this address", () => isLetIn(address)],
    ["It can be reached from where the plugin runs", () => isReachable(address)],
    ["The model is loaded", modelIsThere],
    ["The plugin’s own calls work", pluginCalls],
    ["No firewall blocks it", () => firewall(address)],
  ];
}

async function answers() {
  const started = performance.now();
  await api.ping();
  return ["good", `/ping answered after ${Math.max(1, Math.round(performance.now() - started))} ms.`];
}

function isHere(address) {
  const url = new URL(address);
  const port = portOf(url);
  const rest = url.pathname.replace(/^\/$/, "") + url.search + url.hash;
  if (rest) return ["bad", `It must end with the port: the plugin adds ${rest} by itself, so set ${url.origin}.`];
  if (url.protocol !== location.protocol) return ["bad", SCHEMES[location.protocol]];
  if (port !== OWN_PORT && url.protocol === "https:") return ["bad", `The proxy in front of the server is at ${location.origin}.`];
  if (port !== OWN_PORT) {
    return ["bad", `This server listens on port ${OWN_PORT}, the address says ${port}. Change one of the two: start the server with --port ${url.port || PLUGIN_PORT}.`];
  }
  const usual = port === PLUGIN_PORT ? " That is the plugin’s own default." : ` The plugin’s own default is ${PLUGIN_PORT}, so ${port} has to be set there.`;
  return ["good", `Port ${port} is right.${usual}`];
}

async function isLetIn(address) {
  const { protocol, hostname } = new URL(address);
  if (protocol !== location.protocol) return ["bad", SCHEMES[location.protocol]];
  const { refusal, listens_on } = await api.access({ address });
  if (refusal && LOOPBACK.test(listens_on) && NUMBERS.test(hostname)) {
    return ["look", "The server listens to this computer only. Once it listens on the network, it accepts its addresses there by itself."];
  }
  if (refusal) return ["bad", refusal];
  return ["good", "Programs such as Photoshop need nothing more; web pages of other sites must be listed in allowed_origins."];
}

async function isReachable(address) {
  const { listens_on } = await api.access();
  const { hostname } = new URL(address);
  const onlyHere = LOOPBACK.test(listens_on);
  if (LOOPBACK.test(hostname)) {
    const words = "This address means “this computer”, so Photoshop has to run on the computer that the server runs on.";
    return ["good", onlyHere ? words : `${words} From others, use this computer’s own address.`];
  }
  if (onlyHere && hostname === location.hostname) {
    return ["good", "This page came from there, through a proxy in front of the server."];
  }
  return onlyHere
    ? ["bad", "The server listens to this computer only. For a plugin on another one, start it with --host 0.0.0.0."]
    : ["good", `The server listens on ${listens_on}, so other computers on the network may call it.`];
}

async function modelIsThere() {
  const { status, message, model } = await api.health();
  if (status === "ready") return ["good", `${model} is loaded.`];
  if (status === "loading") return ["look", `${model} is being loaded. The plugin connects already; pictures wait.`];
  return ["bad", message];
}

async function pluginCalls() {
  const { require_token } = await api.access();
  if (require_token) {
    return ["bad", 'This server needs a token with each call ("require_token" in the configuration), and the plugin sends none. Take that out, or use the studio.'];
  }
  const custom = await api.customModels();
  const found = custom.length ? `${count(custom.length, "custom model")}: ${custom.map((model) => model.ui_label).join(", ")}.` : "There are no custom models.";
  return ["good", `/custom_models answers. ${found} After a change of them, use Reload Plugin in its Generate tab.`];
}

async function firewall(address) {
  const { listens_on } = await api.access();
  const { hostname } = new URL(address);
  if (LOOPBACK.test(hostname)) return ["good", "Not here: firewalls let a computer talk to itself."];
  if (LOOPBACK.test(listens_on) && hostname !== location.hostname) {
    return ["look", "That matters only once the server listens on the network."];
  }
  return ["look", `A web page cannot check this. On the plugin’s computer, open ${address}/ping in a browser: if nothing comes, allow port ${OWN_PORT} for Python in this computer’s firewall.`];
}

function portOf({ port, protocol }) {
  return port || { "http:": "80", "https:": "443" }[protocol];
}
