// Not a module, and in the head: so the page is never seen in the wrong colours first.
(() => {
  const THEMES = ["automatic", "light", "dark"];
  const LABELS = { automatic: "Auto", light: "Light", dark: "Dark" };
  const stored = localStorage.getItem("theme");
  let theme = THEMES.includes(stored) ? stored : "automatic";

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
      localStorage.setItem("theme", theme);
      show();
    });
  });
})();
