// Sets the theme before anything is painted; without a choice the system's is in force.
try {
  const theme = localStorage.getItem("iovigil-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden: then there is no choice to remember.
}
document.documentElement.classList.add("scripted");
