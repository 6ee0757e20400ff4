// The page about the API: Swagger UI over the description that the server gives of itself.

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  // Otherwise the page would send its address to a validator on the internet.
  validatorUrl: null,
});

// Swagger UI has a dark look of its own.
const page = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

function follow() {
  const theme = page.dataset.theme;
  page.classList.toggle("dark-mode", theme === "dark" || (theme === "automatic" && dark.matches));
}

new MutationObserver(follow).observe(page, { attributeFilter: ["data-theme"] });
dark.addEventListener("change", follow);
follow();
