// Chooses light or dark before anything is painted: what was chosen here before, else what the system prefers.
// A plain script, not a module, since modules wait until the page has been read.
(() => {
  const KEY = "lrs-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function remembered() {
    try {
      return localStorage.getItem(KEY);
    } catch {
      return null; // storage may be forbidden; then the system's choice holds
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
      // The system's own choice is not remembered, so that it is followed again.
      if (theme === system()) localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // Then it holds for this page only.
    }
    show(theme);
  };
})();
