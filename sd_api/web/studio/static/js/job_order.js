// The order of the jobs that wait: their cards are dragged by a handle, or moved by its keys.
import * as api from "./api.js";
import { announce, button, byId } from "./dom.js";

const PLACES = { running: 0, queued: 1 };

const list = byId("job-list");
let dragged = null;

const waiting = () => [...list.querySelectorAll('.job[data-state="queued"]')];

/** Put the cards into the order in which their jobs begin. */
export function arrange() {
  if (dragged) return;
  const rank = ({ dataset: { state, position } }) => (PLACES[state] ?? 2) * 1e6 + Number(position ?? 0);
  const cards = [...list.children];
  const sorted = cards.toSorted((a, b) => rank(a) - rank(b));
  if (sorted.every((card, index) => card === cards[index])) return;
  const focused = document.activeElement;
  list.append(...sorted);
  // A node that is moved loses the focus.
  if (list.contains(focused)) focused.focus({ preventScroll: true });
}

/** Give a job's card its handle. */
export function addHandle(card, name) {
  const handle = button("⠿", () => {}, {
    className: "quiet move", title: "Drag, or press ↑ or ↓, to start this job sooner or later", "aria-label": `Move: ${name}`,
  });
  handle.addEventListener("keydown", (event) => {
    const cards = waiting();
    const at = cards.indexOf(card);
    const to = { ArrowUp: at - 1, ArrowDown: at + 1, Home: 0, End: cards.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (at < 0 || to === at || !cards[to]) return;
    cards[to][to < at ? "before" : "after"](card);
    handle.focus({ preventScroll: true });
    settle(card, to < at);
  });
  handle.addEventListener("pointerdown", (event) => {
    dragged = { card, from: waiting().indexOf(card) };
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", ({ clientY }) => {
    if (dragged?.card !== card) return;
    const over = waiting().find((one) => clientY >= one.getBoundingClientRect().top && clientY < one.getBoundingClientRect().bottom);
    if (!over || over === card) return;
    const cards = waiting();
    over[cards.indexOf(over) < cards.indexOf(card) ? "before" : "after"](card);
  });
  for (const kind of ["lostpointercapture", "pointercancel"]) {
    handle.addEventListener(kind, () => {
      if (dragged?.card !== card) return;
      const { from } = dragged;
      dragged = null;
      const to = waiting().indexOf(card);
      if (to >= 0 && to !== from) settle(card, to < from);
    });
  }
  card.querySelector(".row").prepend(handle);
}

/** Have the server take over a card's new place: it stands right before another job, or right after one. */
async function settle(card, sooner) {
  const cards = waiting();
  const at = cards.indexOf(card);
  const beside = cards[sooner ? at + 1 : at - 1].dataset.job;
  // Until the server says more of them, they stand as they are seen.
  const positions = cards.map(({ dataset }) => Number(dataset.position)).sort((a, b) => a - b);
  cards.forEach(({ dataset }, index) => (dataset.position = positions[index]));
  announce(`Number ${at + 1} of ${cards.length} waiting jobs`);
  try {
    await api.moveJob(card.dataset.job, { [sooner ? "before" : "after"]: beside });
  } catch (error) {
    // One of them has just begun or ended, or the server is away: the next answer has their order.
    if (!(error instanceof api.Refused || error instanceof api.ServerGone)) throw error;
  }
}
