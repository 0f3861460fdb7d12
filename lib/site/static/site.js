// What the theme leaves to the mouse: labels that open the navigation work with the keyboard, too, and long code can be
// scrolled with it.
for (const label of document.querySelectorAll("label[for^='__'], label[for^='toctree-checkbox']")) {
  if (label.closest(".sidebar-drawer, .mobile-header, .content-icon-container, .toc-header-icon, header") && label.className !== "overlay") {
    label.setAttribute("tabindex", "0");
    label.setAttribute("role", "button");
    label.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        label.click();
      }
    });
  }
}
for (const box of document.querySelectorAll("pre, .table-wrapper, mjx-container[display='true']")) {
  if (box.scrollWidth > box.clientWidth) {
    box.setAttribute("tabindex", "0");
  }
}
