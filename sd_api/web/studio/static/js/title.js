// The tab's title: how far the pictures are, for a tab that is not looked at.

const NAME = "Studio";

let done = false;

/** How far the job in progress is, from 0 to 1, or null; and how many there are. */
export function showProgress(share, jobs) {
  if (jobs === 0) {
    document.title = done && document.hidden ? `✓ Done – ${NAME}` : NAME;
    return;
  }
  done = false;
  const words = share === null ? "Waiting" : `${Math.floor(100 * share)} %`;
  document.title = `${words}${jobs > 1 ? ` (${jobs} jobs)` : ""} – ${NAME}`;
}

/** A picture has come. */
export const noteDone = () => (done = true);

document.addEventListener("visibilitychange", () => {
  if (document.title.startsWith("✓")) document.title = NAME;
  done = false;
});
