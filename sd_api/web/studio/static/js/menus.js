// Menus close when something else is pressed, and on Escape.

const opened = () => [...document.querySelectorAll(".menu[open], .refine[open]")];

/** Close all menus; false if none was open. */
export function closeMenus(except = null) {
  const closed = opened().filter((menu) => !menu.contains(except));
  closed.forEach((menu) => (menu.open = false));
  return closed.length > 0;
}

document.addEventListener("pointerdown", ({ target }) => closeMenus(target));
