// Formulas: where a page has any, KaTeX is loaded from this site and renders what Sphinx left as \(...\) and \[...\].
(() => {
  const folder = new URL("katex/", document.currentScript.src);
  const load = (name) =>
    new Promise((resolve, reject) => {
      const script = Object.assign(document.createElement("script"), { src: new URL(name, folder), onload: resolve });
      script.onerror = reject;
      document.head.append(script);
    });
  const ready = new Promise((resolve) => {
    if (document.readyState !== "loading") resolve();
    else document.addEventListener("DOMContentLoaded", resolve);
  });
  ready
    .then(() => load("katex.min.js"))
    .then(() => load("auto-render.min.js"))
    .then(() => {
      const delimiters = [
        { left: "\\(", right: "\\)", display: false },
        { left: "\\[", right: "\\]", display: true },
      ];
      for (const element of document.querySelectorAll(".math")) renderMathInElement(element, { delimiters });
      dispatchEvent(new Event("resize")); // a formula may be wider than its box now
      document.documentElement.dataset.formulas = "rendered";
    });
})();
