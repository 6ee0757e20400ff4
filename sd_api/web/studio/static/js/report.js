// All that the status page knows, as text to copy; the API gives it no secrets.
import { count, size } from "./dom.js";

export function report({ health, jobs, others, workers, access, checks }) {
  const rows = [
    ["Server", `${health.versions.server}, ${health.status}${health.message ? `: ${health.message}` : ""}`],
    ["Model", health.model],
    ["Device", `${health.device ?? "not chosen yet"}, ${health.dtype ?? "precision not chosen yet"}`],
    ["Versions", Object.entries(health.versions).map((pair) => pair.join(" ")).join(", ")],
    ["Models", health.models.map(({ model, bytes, on_device }) => `${model} (${bytes} bytes${on_device ? "" : ", off the device"})`).join(", ") || "none is loaded"],
    ["Queue", `${jobs.filter(({ state }) => state === "running").length} running, ${jobs.filter(({ state }) => state === "queued").length} waiting, ${others} of others`],
    ...workers.map((worker) => ["Worker", `${worker.host}, ${workerInWords(worker)}`]),
    ["Listens on", access.listens_on],
    ["Other names", access.allowed_hosts.join(", ") || "none"],
    ["Allowed web pages", access.allowed_origins.join(", ") || "only its own"],
    ["Token required", access.require_token ? "yes" : "no"],
    ["Browser", navigator.userAgent],
    ...checks.map(([name, result, words]) => [`Check ${result}`, `${name} – ${words}`]),
    ...health.refused_callers.map((caller) => ["Refused", `${caller.header} ${caller.value}: ${refusalInWords(caller)}`]),
    ...health.failures.map(({ time, mode, message }) => ["Error", `${new Date(time * 1000).toISOString()} ${mode}: ${message}`]),
  ];
  return rows.map(([name, value]) => `${name}: ${value}`).join("\n");
}

/** The state of a worker. */
export function workerInWords({ state, message, device, dtype, memory, models, busy, version }) {
  const doing = { loading: "loads its model", ready: busy ? "makes a picture" : "waits for work", failed: message };
  const room = memory ? `, ${size(memory.free)} of ${size(memory.total)} free` : "";
  const on = device ? ` on ${device} (${dtype}${room})` : "";
  return `${doing[state]}${on}; ${count(models.length, "model")} loaded; version ${version}`;
}

/** How often and when a caller was refused, and the line that would let it in; the line is only shown, never set. */
export function refusalInWords({ count: times, time, setting }) {
  const last = `${count(times, "time")}, last at ${new Date(time * 1000).toLocaleTimeString()}.`;
  return setting === null
    ? `${last} It is no valid name, so no line of the configuration lets it in.`
    : `${last} This line of the configuration lets it in: ${setting}`;
}
