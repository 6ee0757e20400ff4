// What to show where a request was not taken, and what to do about it.
import { Refused, ServerGone, SignedOut } from "./api.js";
import { banner, button } from "./dom.js";
import { inOurWords, showProblems } from "./errors.js";
import { askWho } from "./sign_in.js";

const UNREADABLE = ["NotFoundError", "NotReadableError"];

export const GONE = "The server does not answer. Start it again if it was stopped; this page reconnects by itself.";

/** Beside the fields that it names, else in the banner; again() sends the same once more. */
export function showFailure(error, again) {
  const tryAgain = button("Try again", () => {
    banner(null);
    again();
  });
  if (error instanceof ServerGone) {
    banner(GONE, { topic: "server", actions: [tryAgain] });
    return;
  }
  if (error instanceof SignedOut) {
    askWho(error);
    return;
  }
  if (error instanceof DOMException && UNREADABLE.includes(error.name)) {
    banner("The file of an image was moved or changed after it was opened. Open it again.");
    return;
  }
  if (!(error instanceof Refused)) throw error;
  const problems = inOurWords(error.problems);
  if (problems.length) {
    showProblems(problems);
  } else if (error.retryAfter) {
    const words = "The server is busy: its queue is full. Try again in about";
    banner(`${words} ${error.retryAfter} s.`, { kind: "wait", actions: [tryAgain] });
  } else {
    banner(error.message, { actions: error.status === 503 ? [tryAgain] : [] });
  }
}
