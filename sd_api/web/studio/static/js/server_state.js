// Watches the server: whether it is there, whether it is ready, and what it offers.
import * as api from "./api.js";
import { arrived, banner, byId, endBanner, pause } from "./dom.js";
import { first } from "./early.js";
import { GONE } from "./failures.js";
import { askWho, letIn } from "./sign_in.js";

// Milliseconds between two questions.
const UNTIL_READY = 1000;
const WHEN_READY = 5000;

/**
 * Keep the chip in the bar up to date; described(offer) is called with what the server offers, when that changes, and
 * healthy(health) with every answer of GET /health.
 */
export async function watchServer(described, healthy) {
  let known = await begin(described, healthy);
  await pause(known === "ready" ? WHEN_READY : UNTIL_READY);
  for (;;) {
    // A tab in the background asks only for what it needs to be of use.
    const state = !known || document.visibilityState === "visible" ? await look(healthy) : null;
    if (state === "gone" || state === "signed-out") {
      known = "";
    } else if (state !== null && state !== known) {
      // What a model can do is known once it is loaded; and after a restart all may be different.
      known = (await describe(described)) ? state : "";
    }
    await pause(state === "ready" ? WHEN_READY : UNTIL_READY);
  }
}

/** Take the answers that were asked for early; answers the state that the description is of, or nothing. */
async function begin(described, healthy) {
  const state = await look(healthy, first.health);
  const shown = await describe(described, first.models);
  // Both were asked for at once, so the model may have been loaded between the two.
  return shown && (await first.models).models[0].modes !== null ? state : "";
}

async function describe(described, answer = api.models()) {
  try {
    described(await answer);
    return true;
  } catch (error) {
    if (error instanceof api.ServerGone || error instanceof api.Refused) return false;
    throw error;
  }
}

async function look(healthy, answer = api.health()) {
  let health;
  try {
    health = await answer;
    letIn();
    healthy(health);
  } catch (error) {
    if (error instanceof api.SignedOut) await askWho(error);
    health = { status: error instanceof api.SignedOut ? "signed-out" : "gone" };
  }
  const chip = byId("server-state");
  if (health.download?.total_bytes) chip.textContent = `Downloading the model, ${arrived(health.download)}`;
  else if (chip.textContent.startsWith("Downloading")) delete chip.dataset.shown;
  // Once, so that a banner that was dismissed stays away.
  if (chip.dataset.shown !== health.status) tell(health);
  chip.dataset.state = chip.dataset.shown = health.status;
  return health.status;
}

function tell({ status, device, message }) {
  const words = { loading: "Loading", ready: `Ready on ${device}`, failed: "No model", gone: "Not reachable" };
  byId("server-state").textContent = words[status] ?? "Not signed in";
  endBanner("server");
  if (status === "gone") {
    banner(GONE, { topic: "server" });
  } else if (status === "loading") {
    banner("The model is still loading. You can press Generate now; your picture starts when it is ready.", {
      kind: "wait", topic: "server",
    });
  } else if (status === "failed") {
    banner(`${message} The next request tries again.`, { topic: "server" });
  }
}
