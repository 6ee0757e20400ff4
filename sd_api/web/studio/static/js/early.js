// Asks for what the form is drawn from while the page's other modules are still on the way.
import * as api from "./api.js";

function asked(question) {
  const answer = question();
  // It is handled where it is waited for, which is later.
  answer.catch(() => {});
  return answer;
}

/** The first answers of GET /health and GET /models. */
export const first = { health: asked(api.health), models: asked(api.models) };
