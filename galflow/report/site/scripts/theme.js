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

/** Whether the page is dark now. */
export function isDark() {
  const { theme } = document.documentElement.dataset;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

export function themeSwitch(button) {
  const root = document.documentElement;
  const words = () => {
    button.textContent = isDark() ? "Light" : "Dark";
    button.setAttribute("aria-label", `Show this page ${isDark() ? "light" : "dark"}`);
  };
  const chosen = remembered();
  if (chosen) root.dataset.theme = chosen;
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    words();
    dispatchEvent(new Event("themechange"));
  });
  words();
}
