// The row that the blanks make, as a table: one column for each position, Part A and Part B apart.

/** Make the table. `on` = { point(c or null), choose(c or null) } is told of the pointer and the keys. */
function makeBlankRow(on) {
  const table = h("table", { class: "bx-table" });
  const box = h("div", { class: "bx-row", role: "group", "aria-label": "The row in columns; it scrolls sideways" }, table);
  let heads = [], built = "", selected = null, marked = null, reached = null; // prettier-ignore

  const columnOf = (event) => {
    const c = event.target.closest?.("[data-c]")?.dataset.c;
    return c === undefined ? null : Number(c);
  };
  table.addEventListener("pointerover", (event) => event.pointerType === "mouse" && on.point(columnOf(event)));
  table.addEventListener("pointerleave", () => on.point(null));
  table.addEventListener("click", (event) => {
    const c = columnOf(event);
    if (c !== null) on.choose(c === selected ? null : c);
  });
  table.addEventListener("focusin", (event) => {
    const c = columnOf(event);
    if (c !== null && event.target.matches(":focus-visible")) on.choose(c); // by Tab; a click chooses by itself
  });
  table.addEventListener("keydown", (event) => {
    const at = heads.indexOf(event.target);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: heads.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const c = Math.max(0, Math.min(heads.length - 1, to));
    on.choose(c);
    heads[c].focus({ preventScroll: true });
  });

  /** Scroll sideways alone, and clear of the headers of the rows, which lie over the columns. */
  const intoView = (c) => {
    const cell = heads[c].parentElement, head = table.querySelector("th").offsetWidth; // prettier-ignore
    if (cell.offsetLeft - head < box.scrollLeft) box.scrollLeft = cell.offsetLeft - head - 8;
    const beyond = cell.offsetLeft + cell.offsetWidth - box.clientWidth;
    if (beyond > box.scrollLeft) box.scrollLeft = beyond + 8;
  };

  const build = (state, layout) => {
    const { tokens } = state;
    const n = tokens.length, A = layout.contextLen, columns = range(0, layout.tokens.length); // prettier-ignore
    const had = heads.indexOf(document.activeElement);
    const kind = (c) => {
      const special = layout.tokens[c] >= n, opens = layout.tokens[c] === n + 1; // prettier-ignore
      return [c < A ? "in-a" : "in-b", special && "is-special", c === A ? "first-b" : opens && "opens"].filter(Boolean).join(" ");
    };
    const badge = (c) => layout.tokens[c] >= n && h("span", { class: "bx-badge", "aria-hidden": "true" }, String(layout.blankOf[c] + 1));
    const text = (id) => (id < n ? cropToken(tokens[id], 12) : SPECIAL[id - n]);
    const quiet = (words) => [h("span", { "aria-hidden": "true", class: "muted" }, "–"), h("span", { class: "visually-hidden" }, words)];
    const row = (name, words, cell) =>
      h("tr", { class: `bx-${name}` }, h("th", { scope: "row" }, words),
        columns.map((c) => h("td", { "data-c": c, class: kind(c) }, cell(c)))); // prettier-ignore
    heads = columns.map((c) => h("button", { type: "button", class: "bx-head", "aria-label": `Column ${c}, ${nameOf(tokens, layout.tokens[c])}` }, String(c)));
    table.replaceChildren(
      h("caption", { class: "visually-hidden" }, "The row: Part A, which is read, then Part B, which is written"),
      h("thead", {},
        h("tr", { class: "bx-parts" }, h("td", {}),
          h("th", { scope: "colgroup", colspan: A, class: "in-a" }, h("span", {}, "Part A")),
          layout.tokens.length > A && h("th", { scope: "colgroup", colspan: layout.tokens.length - A, class: "in-b first-b" }, h("span", {}, "Part B"))),
        h("tr", { class: "bx-columns" }, h("th", { scope: "row" }, "column"), columns.map((c) => h("th", { scope: "col", "data-c": c, class: kind(c) }, heads[c])))),
      h("tbody", {},
        row("tokens", "input token", (c) => h("span", { class: "bx-token" }, h("bdi", {}, text(layout.tokens[c])), badge(c))),
        row("targets", "target", (c) => (layout.lossMask[c] ? h("bdi", {}, text(layout.targets[c])) : quiet("nothing"))),
        row("loss", "loss", (c) => (layout.lossMask[c] ? [h("span", { class: "bx-dot", "aria-hidden": "true" }), h("span", { class: "visually-hidden" }, "yes")] : quiet("no"))),
        row("positions", "position", (c) => String(layout.positions[c])),
        row("blocks", "block position", (c) => String(layout.blockPositions[c])))); // prettier-ignore
    marked = selected = undefined;
    return had;
  };

  /** Bring the table up to date: `chosen` is the selected column, `shown` that under the pointer or else the selected. */
  const draw = (state, layout, chosen, shown) => {
    const look = JSON.stringify([state.tokens, state.blanks, state.order]);
    const had = look === built ? -1 : build(state, layout);
    built = look;
    if (marked !== shown) {
      table.querySelectorAll(".is-on").forEach((cell) => cell.classList.remove("is-on"));
      if (shown !== null) table.querySelectorAll(`[data-c="${shown}"]`).forEach((cell) => cell.classList.add("is-on"));
    }
    if (selected !== chosen)
      heads.forEach((head, c) => {
        head.setAttribute("aria-pressed", String(c === chosen));
        head.tabIndex = c === (chosen ?? 0) ? 0 : -1;
      });
    [marked, selected] = [shown, chosen];
    if (chosen !== reached && chosen !== null) intoView(chosen); // also what Python or the mask chose
    reached = chosen;
    if (had >= 0) heads[Math.min(had, heads.length - 1)].focus({ preventScroll: true });
  };

  return { box, draw };
}
