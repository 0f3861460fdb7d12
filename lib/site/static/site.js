// What the theme leaves to the mouse: labels that open the navigation work with the keyboard, too, and say what they are and
// whether it is open; Escape closes it; long code can be scrolled with the keyboard.
for (const label of document.querySelectorAll("label[for^='__'], label[for^='toctree-checkbox']")) {
  if (label.closest(".sidebar-drawer, .mobile-header, .content-icon-container, .toc-header-icon, header") && label.className !== "overlay") {
    const box = document.getElementById(label.htmlFor);
    const say = () => label.setAttribute("aria-expanded", String(box.checked));
    label.setAttribute("tabindex", "0");
    label.setAttribute("role", "button");
    label.setAttribute("aria-label", box.getAttribute("aria-label"));
    say();
    box.addEventListener("change", say);
    label.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        label.click();
      }
    });
  }
}
addEventListener("keydown", (event) => {
  for (const box of document.querySelectorAll("#__navigation:checked, #__toc:checked")) {
    if (event.key === "Escape") {
      box.click();
      document.querySelector(`label[for='${box.id}'][role='button']`).focus();
    }
  }
});
for (const box of document.querySelectorAll("pre, .table-wrapper, mjx-container[display='true']")) {
  if (box.scrollWidth > box.clientWidth) {
    box.setAttribute("tabindex", "0");
  }
}
