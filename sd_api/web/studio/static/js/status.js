// The status page: asks the server again and again, and shows what it says.
import * as api from "./api.js";
import { announce, byId, copyText, count, element, pause, size } from "./dom.js";
import { checks } from "./checks.js";
import { inWords } from "./job_view.js";
import { modeLabel } from "./modes.js";
import { refusalInWords, report, workerInWords } from "./report.js";
import { askWho, letIn } from "./sign_in.js";

const INTERVAL = 2000;
const MARKS = { good: "✓", bad: "✕", look: "!" };
const DIALECTS = { plugin: "", tasks: ", as a task", openai: ", by OpenAI’s API", a1111: ", by A1111’s API" };
const HEADLINES = {
  ready: "Ready to make pictures",
  loading: "The model is being loaded",
  failed: "The model could not be loaded",
  "signed-out": "Please sign in",
  gone: "The server does not answer",
};

const SUBLINES = {
  "signed-out": "Sign in to see the rest of this page.",
  gone: "Start it again if it was stopped. This page reconnects by itself.",
};

// What was found last; the report is made of it.
const found = { health: null, jobs: [], others: 0, workers: [], access: null, checks: [] };
let lastRun = 0;

async function refresh() {
  let state = "gone";
  try {
    found.health = await api.health();
    ({ jobs: found.jobs, others: found.others } = await api.jobs());
    found.workers = await api.workers();
    found.access = await api.access();
    state = found.health.status;
    letIn();
  } catch (error) {
    if (error instanceof api.SignedOut) {
      state = "signed-out";
      await askWho(error);
    } else if (!(error instanceof api.ServerGone || error instanceof api.Refused)) {
      throw error;
    }
  }
  show(state);
  return state;
}

function show(state) {
  const { health, access } = found;
  byId("server-state").dataset.state = state;
  byId("server-state").textContent = { ready: "Ready", loading: "Loading", failed: "No model", "signed-out": "Not signed in" }[state] ?? "Not reachable";
  byId("headline").textContent = HEADLINES[state] ?? HEADLINES.gone;
  byId("subline").textContent = SUBLINES[state] ?? health.message ?? `Updated at ${new Date().toLocaleTimeString()}`;
  if (!access) return;
  facts("server", [
    ["Address", location.origin],
    ["Listens on", access.listens_on],
    ["Other names", access.allowed_hosts.join(", ") || "none"],
    ["Allowed web pages", access.allowed_origins.join(", ") || "only its own"],
    ["Main model", health.model],
    ["Device", health.device ?? "not chosen yet"],
    ["Precision", health.dtype ?? "not chosen yet"],
    ["Token required", access.require_token ? "yes" : "no"],
    ["Jobs are visible to", access.share_jobs ? "every caller (share_jobs)" : "their sender: the same token, else the same computer"],
    ...Object.entries(health.versions).map(([name, version]) => [name === "server" ? "This server" : name, version]),
  ]);
  lines("models", "None is loaded yet.", health.models.map(({ model, bytes, on_device, plan, reasons }) => [
    model, [`${size(bytes)}, ${on_device ? "on the device" : "waiting in the host’s memory"}`, plan, ...reasons.slice(1)].filter(Boolean).join("; "),
  ]));
  const own = found.jobs.map((job) => [`${modeLabel(job.mode)}${job.model ? ` with ${job.model}` : ""}${DIALECTS[job.dialect]}`, inWords(job, { loading: health.status === "loading" })]);
  const others = found.others ? [[`${count(found.others, "job")} of others`, "Only their senders see the details."]] : [];
  lines("queue", "No jobs.", [...own, ...others]);
  byId("workers-panel").hidden = found.workers.length === 0;
  lines("workers", "", found.workers.map((worker) => [worker.host, workerInWords(worker)]));
  lines("failures", "None since the server was started.", health.failures.map(({ time, mode, model, message }) => [
    `${new Date(time * 1000).toLocaleString()}, ${modeLabel(mode).toLowerCase()}${model ? ` with ${model}` : ""}`, message,
  ]));
  lines("refused", "None.", health.refused_callers.map((caller) => [`${caller.header}: ${caller.value}`, refusalInWords(caller)]));
  byId("report").textContent = report(found);
}

function facts(id, rows) {
  byId(id).replaceChildren(
    ...rows.flatMap(([name, value]) => [element("dt", { textContent: name }), element("dd", { textContent: value })]),
  );
}

function lines(id, none, rows) {
  const items = rows.map(([title, words]) => element("li", {}, element("strong", { textContent: title }), words));
  byId(id).replaceChildren(...(items.length ? items : [element("li", { className: "muted", textContent: none })]));
}

async function runChecks() {
  const run = ++lastRun;
  const results = [];
  const address = byId("address").value.trim().replace(/\/+$/, "") || location.origin;
  const complete = address.includes("://") ? address : `http://${address}`;
  for (const [name, test] of checks(complete)) {
    let result;
    try {
      result = await test();
    } catch (error) {
      result = ended(error, results.length === 0);
    }
    // Another address was asked for in the meantime.
    if (run !== lastRun) return;
    results.push([name, ...result]);
  }
  found.checks = results;
  byId("checks").replaceChildren(...results.map(([name, result, words]) => {
    const mark = element("span", { className: "mark", textContent: MARKS[result], "aria-hidden": "true" });
    const spoken = element("span", { className: "visually-hidden", textContent: { good: "Good: ", bad: "Problem: ", look: "Look: " }[result] });
    const item = element("li", {}, mark, element("strong", {}, spoken, name), element("p", { textContent: words }));
    item.dataset.result = result;
    return item;
  }));
  if (found.access) byId("report").textContent = report(found);
}

function ended(error, isFirst) {
  if (error instanceof api.SignedOut) return ["look", "Sign in to see that."];
  // The first has said already that there is no answer.
  if (error instanceof api.ServerGone && !isFirst) return ["look", "This can be checked once the server answers."];
  return ["bad", error instanceof TypeError ? "This is not an address. An address looks like http://127.0.0.1:1337." : error.message];
}

byId("address").value = location.origin;
byId("address-form").addEventListener("submit", (event) => {
  event.preventDefault();
  runChecks();
});
byId("check-again").addEventListener("click", runChecks);
byId("copy-report").addEventListener("click", async () => {
  const words = (await copyText(byId("report").textContent)) ? "Copied" : "Not allowed here: select the text below";
  byId("copy-report").textContent = words;
  announce(words);
  setTimeout(() => (byId("copy-report").textContent = "Copy report"), 2000);
});

for (let state = null; ; await pause(INTERVAL)) {
  if (state !== null && document.visibilityState !== "visible") continue;
  const before = state;
  state = await refresh();
  if (state !== before) await runChecks();
}
