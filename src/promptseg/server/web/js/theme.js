// Light or dark: as the person chose, or as their system has it.

export const THEMES = ["auto", "light", "dark"];

/** Keep the page's theme as the state has it. */
export function startTheme(store) {
  store.watch(
    (state) => state.look.theme,
    (theme) => {
      if (theme === "auto") delete document.documentElement.dataset.theme;
      else document.documentElement.dataset.theme = theme;
    },
  );
}

/** The theme that comes after another one. */
export function nextTheme(theme) {
  return THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
}
