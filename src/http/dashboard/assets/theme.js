// Chooses light or dark before anything is painted: the choice remembered here, else the system's preference. A plain
// script rather than a module, because modules wait until the page has been read.
(() => {
  const KEY = "lrs-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function remembered() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage may be forbidden; then the system's preference holds
    }
  }

  function show(theme) {
    document.documentElement.dataset.theme = theme;
    document.dispatchEvent(new CustomEvent("theme", { detail: theme }));
  }

  const system = () => (dark.matches ? "dark" : "light");
  show(remembered() ?? system());
  dark.addEventListener("change", () => remembered() === null && show(system()));

  window.toggleTheme = () => {
    const theme = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try {
      // The system's own choice is not stored, so that the page follows the system again.
      if (theme === system()) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // The choice then holds for this page only.
    }
    show(theme);
  };
})();
