// Light or dark: as the system has it, unless the reader chose.

const KEY = "galflow-theme";

/** What was chosen before; a page without an origin (in a sandbox) has no memory. */
function remembered() {
  try {
    return localStorage.getItem(KEY);
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
    return null;
  }
}

function remember(theme) {
  try {
    localStorage.setItem(KEY, theme);
  } catch (error) {
    if (error.name !== "SecurityError") throw error;
  }
}

export function themeSwitch(button) {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const words = () => {
    button.textContent = dark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Show this page ${dark() ? "light" : "dark"}`);
  };
  const chosen = remembered();
  if (chosen) root.dataset.theme = chosen;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    remember(root.dataset.theme);
    words();
    dispatchEvent(new Event("themechange"));
  });
  words();
}
