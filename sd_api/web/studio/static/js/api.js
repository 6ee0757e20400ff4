// The public API of the server, as docs/api.md has it. Nothing here is for this page alone.
import * as token from "./token.js";

/** The server answered that it will not, or cannot; problems are [field, words] pairs, where it names fields so. */
export class Refused extends Error {
  constructor(message, status, { retryAfter = null, problems = [] } = {}) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
    this.problems = problems;
  }
}

/** It needs a token, and does not take the one that came. */
export class SignedOut extends Refused {
  constructor(message, asked) {
    super(message, 401);
    this.token = asked;
  }
}

/** There was no answer. */
export class ServerGone extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

/** Seeds that a number would round stay the text that came; browsers that do not give it round them. */
const exact = (key, value, context) =>
  (Number.isInteger(value) && !Number.isSafeInteger(value) ? context?.source : null) ?? value;

async function ask(path, options) {
  const asked = token.current();
  const headers = asked === null ? {} : { Authorization: `Bearer ${asked}` };
  let response;
  let answer;
  try {
    response = await fetch(path, { cache: "no-store", headers, ...options });
    answer = JSON.parse(await response.text(), exact);
  } catch {
    // Either there is no answer, or it broke off, or something else than the server gave it.
    throw new ServerGone();
  }
  if (response.status === 401) throw new SignedOut(answer.message ?? answer.detail, asked);
  return [response, answer];
}

async function call(path, options) {
  const [response, answer] = await ask(path, options);
  if (response.ok) return answer;
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  // The task server's endpoints have a shape of their own.
  const problems = Array.isArray(answer.detail)
    ? answer.detail.map(({ loc, msg }) => [loc.at(-1), `${msg}.`])
    : (answer.errors ?? []).map(({ field, message }) => [field, message]);
  const message = answer.message ?? (problems.length ? "" : answer.detail) ?? `The server answered ${response.status}.`;
  throw new Refused(message, response.status, { retryAfter, problems });
}

const job = (id) => `/jobs/${encodeURIComponent(id)}`;

export const models = () => call("/models");
export const customModels = () => call("/custom_models");
export const ping = () => call("/ping");
export const access = (query = {}) => call(`/access?${new URLSearchParams(query)}`);
/** The caller's own jobs, and the number of others' jobs. */
export const jobs = () => call("/jobs");

let hasWorkers = true;

/** The workers; none where the server does not list them, or makes the pictures by itself. */
export async function workers() {
  if (!hasWorkers) return [];
  try {
    return (await call("/workers")).workers.filter(({ id }) => id !== "local");
  } catch (error) {
    if (!(error instanceof Refused) || error.status !== 404) throw error;
    hasWorkers = false;
    return [];
  }
}

export const jobStatus = async (id, preview) => (await call(`${job(id)}?preview=${preview}`)).job;
export const jobResult = (id) => call(`${job(id)}/result`);
/** Let a waiting job begin right {before} or right {after} another one. */
export const moveJob = (id, place) => call(`${job(id)}/move?${new URLSearchParams(place)}`, { method: "POST" });
export const cancelJob = (id) => call(`${job(id)}/cancel`, { method: "POST" });

const oneDownload = (id) => `/downloads/${id.split("/").map(encodeURIComponent).join("/")}`;

/** The caller's downloads of models. */
export const downloads = async () => (await call("/downloads")).downloads;
export const download = (id) => call(oneDownload(id), { method: "POST" });
export const removeDownload = (id) => call(oneDownload(id), { method: "DELETE" });

/** Where the model could not be loaded, this is a 503 that says why: an answer like any other. */
export async function health() {
  const [, answer] = await ask("/health");
  return answer;
}

const credentials = (username, password) => ({ method: "POST", body: new URLSearchParams({ username, password }) });

export const signUp = (username, password) => call("/user", credentials(username, password));
export const logIn = async (username, password) => (await call("/token", credentials(username, password))).access_token;
export const publicToken = async () => (await call("/token/all", { method: "POST" })).access_token;

/** What a form would take, without running it. */
export async function estimate(fields, signal) {
  return (await call("/estimate", { method: "POST", body: new URLSearchParams(fields), signal })).estimate;
}

/** Send a form whose job goes on by itself; answers the job. */
export async function submit(path, fields) {
  const body = new URLSearchParams({ ...fields, wait: "false" });
  return (await call(path, { method: "POST", body })).job;
}
