// What scrolls sideways in a box of its own can be reached with the keyboard.
addEventListener("DOMContentLoaded", () => {
  const reachable = () => {
    for (const box of document.querySelectorAll("pre, .table-wrapper, div.math, .cell_output"))
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
  };
  reachable();
  addEventListener("resize", reachable);
});
