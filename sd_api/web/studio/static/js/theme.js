// Not a module, and in the head: so the page is never seen in the wrong colours first.
(() => {
  const THEMES = ["automatic", "light", "dark"];
  const LABELS = { automatic: "Auto", light: "Light", dark: "Dark" };
  let theme = "automatic";
  try {
    if (THEMES.includes(localStorage.getItem("theme"))) theme = localStorage.getItem("theme");
  } catch {
    // Some browsers keep nothing for some pages; see kept.js, which is a module.
  }

  function show() {
    document.documentElement.dataset.theme = theme;
    const name = document.getElementById("theme-name");
    if (name) name.textContent = LABELS[theme];
  }

  show();
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      show();
      try {
        localStorage.setItem("theme", theme);
      } catch {
        // Then it is chosen for this visit.
      }
    });
  });
})();
