// How a quiz and the score lead to the heading that teaches something.

/** A link to the heading. JupyterLab opens the notebook in this window and scrolls; elsewhere its own address does. */
function taughtLink({ notebook, heading, href }) {
  const link = h("a", { href, target: "_blank", rel: "noopener" }, heading);
  const inView = () =>
    [...document.querySelectorAll(".jp-Notebook :is(h1, h2, h3, h4)")].some((element) => {
      const { top, height } = element.getBoundingClientRect();
      return element.textContent.replace("\u00b6", "").trim() === heading && height > 0 && top > -height && top < innerHeight;
    });
  link.addEventListener("click", (event) => {
    const folder = /\/tree\/(.*\/)?[^/]*\.ipynb$/.exec(decodeURIComponent(location.pathname));
    if (!folder || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const args = { path: `${folder[1] ?? ""}${notebook}.ipynb`, id: `#${heading.replaceAll(" ", "-")}` };
    link.dataset.commandlinkerCommand = "rendermime:handle-local-link";
    link.dataset.commandlinkerArgs = JSON.stringify(args);
    // a notebook that was closed has no headings yet when JupyterLab looks for one: ask once more when it is drawn
    if (event.isTrusted) setTimeout(() => link.isConnected && !inView() && link.click(), 1500);
  });
  return link;
}
