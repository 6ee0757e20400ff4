// The public API of the server, as docs/api.md has it. Nothing here is for this page alone.

/** The server answered that it will not, or cannot. */
export class Refused extends Error {
  constructor(message, status, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

/** Nobody answered. */
export class ServerGone extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options });
    return [response, await response.json()];
  } catch {
    // Either there is no answer, or it broke off, or something else than the server gave it.
    throw new ServerGone();
  }
}

async function call(path, options) {
  const [response, answer] = await ask(path, options);
  if (response.ok) return answer;
  const seconds = Number(response.headers.get("Retry-After"));
  throw new Refused(answer.message ?? `The server answered ${response.status}.`, response.status, seconds || null);
}

const job = (id) => `/jobs/${encodeURIComponent(id)}`;

export const models = () => call("/models");
export const customModels = () => call("/custom_models");
export const ping = () => call("/ping");
export const access = (query = {}) => call(`/access?${new URLSearchParams(query)}`);
export const jobs = async () => (await call("/jobs")).jobs;
export const jobStatus = async (id, preview) => (await call(`${job(id)}?preview=${preview}`)).job;
export const jobResult = (id) => call(`${job(id)}/result`);
export const cancelJob = (id) => call(`${job(id)}/cancel`, { method: "POST" });

/** Where the model could not be loaded, this is a 503 that tells why: an answer like any other. */
export async function health() {
  const [, answer] = await ask("/health");
  return answer;
}

/** Send a form whose job goes on whether or not anybody waits for it; answers the job. */
export async function submit(path, fields) {
  const body = new URLSearchParams({ ...fields, wait: "false" });
  return (await call(path, { method: "POST", body })).job;
}
