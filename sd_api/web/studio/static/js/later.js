// Modules that the first view does without: each is loaded when it is first used, or once the page has time for it.

const waiting = [];

/** What loads a module; "load" is a call of import. One that did not come is asked for again the next time. */
export function later(load) {
  let loaded = null;
  const get = () => (loaded ??= load().catch((error) => {
    loaded = null;
    throw error;
  }));
  waiting.push(get);
  return get;
}

/** Load all of them, so that they are there where the server is not. */
export function loadTheRest() {
  // Safari has no idle callbacks.
  const whenIdle = window.requestIdleCallback ?? ((act) => setTimeout(act, 200));
  whenIdle(() => waiting.forEach((get) => get().catch(() => {})));
}
