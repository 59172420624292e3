// The picture of the cache: tokens are rows, layers are columns, and lines show which rows the reading token reads.

const CELL_WORDS = { empty: "", kept: "kept", written: "new", stale: "stale" };
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Make the picture. `on` = { boundary(P), read(i) }; `now()` is the newest state. */
function makeFlow(now, on) {
  const lines = svg("svg", { class: "cx-lines", "aria-hidden": "true" });
  const pill = h("span", { class: "cx-pill" });
  const divider = h("div", { class: "cx-divider", role: "slider", tabindex: "0", "aria-label": "Boundary between prefix and target", "aria-orientation": "vertical", "aria-valuemin": "0" }, pill);
  const was = h("div", { class: "cx-was", "aria-hidden": "true" }, h("span", {}));
  const table = h("div", { class: "cx-grid", role: "grid", tabindex: "0", "aria-readonly": "true", "aria-label": "Cache: rows are tokens, columns are layers. Up and Down choose the row that reads." });
  const box = h("div", { class: "cx-flow" }, table, lines, was, divider);
  const ids = uniqueId("cx-row");
  let rows = [], built = "", metrics = null; // prettier-ignore

  // -- the pointer and the keys

  table.addEventListener("click", (event) => {
    const i = rows.findIndex(({ row }) => row.contains(event.target));
    if (i >= 0 && i < heldTokens(now())) on.read(i);
  });
  table.addEventListener("keydown", (event) => {
    const state = now(), last = heldTokens(state) - 1; // prettier-ignore
    if (last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = { ArrowUp: readingRow(state) - 1, ArrowDown: readingRow(state) + 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    on.read(Math.max(0, Math.min(last, to)));
  });
  divider.addEventListener("keydown", (event) => {
    const state = now(), limit = boundaryLimit(state), P = state.prefixLen; // prettier-ignore
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    // down the page is on in the text
    const to = { ArrowDown: P + 1, ArrowRight: P + 1, ArrowUp: P - 1, ArrowLeft: P - 1, Home: 0, End: limit, PageDown: P + 4, PageUp: P - 4 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    on.boundary(Math.max(0, Math.min(limit, to)));
  });
  divider.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    event.preventDefault();
    divider.focus();
    divider.setPointerCapture(event.pointerId);
    divider.classList.add("dragging");
  });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    const { first, pitch } = metrics;
    const P = Math.round((event.clientY - box.getBoundingClientRect().top - first) / pitch);
    on.boundary(Math.max(0, Math.min(boundaryLimit(now()), P)));
  });
  divider.addEventListener("lostpointercapture", () => divider.classList.remove("dragging"));

  // -- drawing

  const build = ({ tokens, layers }) => {
    built = `${layers}`;
    const head = h("div", { class: "cx-row cx-head", role: "row" }, h("span", { role: "columnheader" }, h("span", { class: "visually-hidden" }, "token")),
      Array.from({ length: layers }, (_, n) => h("span", { role: "columnheader", class: "cx-layer" }, h("span", { class: "cx-long" }, "layer "), String(n + 1))),
      h("span", { role: "columnheader", class: "cx-out" }, "next")); // prettier-ignore
    rows = tokens.map((token, i) => {
      const name = h("span", { class: "cx-token", role: "rowheader", title: token.length > 12 ? cropToken(token, 200) : null }, cropToken(token, 24));
      const cells = Array.from({ length: layers }, () => h("span", { class: "cx-cell", role: "gridcell" }));
      const out = h("span", { class: "cx-out", role: "gridcell" });
      return { name, cells, out, row: h("div", { class: "cx-row", role: "row", id: `${ids}-${i}` }, name, cells, out) };
    });
    table.replaceChildren(head, ...rows.map(({ row }) => row));
    table.style.setProperty("--layers", layers);
    table.classList.toggle("is-many", layers > 4); // on a narrow page their words find no room in the cells
  };

  /** Read where everything is: after building, or when the width changes. */
  const measure = () => {
    const place = (element) => ({ left: element.offsetLeft, right: element.offsetLeft + element.offsetWidth, middle: element.offsetTop + element.offsetHeight / 2 });
    const tops = rows.map(({ row }) => row.firstChild.offsetTop);
    const tall = rows[0].name.offsetHeight;
    const pitch = tops.length > 1 ? tops[1] - tops[0] : tall + 4;
    metrics = {
      first: tops[0] - (pitch - tall) / 2, pitch, width: table.offsetWidth,
      columns: rows[0].cells.map(place), middles: rows.map(({ name }) => place(name).middle), token: place(rows[0].name), out: place(rows[0].out),
    }; // prettier-ignore
    lines.setAttribute("width", box.clientWidth);
    lines.setAttribute("height", box.clientHeight);
  };

  const draw = (state) => {
    const { tokens, prefixLen: P, layers } = state;
    if (built !== `${layers}`) build(state);
    if (!metrics || metrics.layers !== layers) {
      measure();
      metrics.layers = layers;
    }
    const n = heldTokens(state), states = cellStates(state); // prettier-ignore
    const wrong = sum(staleOf(state)) > 0; // what the model would say from stale rows is nobody's answer
    const reading = n ? readingRow(state) : -1, reads = n ? rowsRead(state) : 0; // prettier-ignore
    rows.forEach(({ row, name, cells, out }, i) => {
      name.className = `cx-token ${i < P ? "cx-prefix" : "cx-target"}${i >= n ? " is-coming" : ""}${i === reading ? " is-reading" : ""}`;
      row.setAttribute("aria-selected", String(i === reading));
      cells.forEach((cell, layer) => {
        const kind = states[layer][i];
        const read = n && i < reads && kind !== "empty";
        const mark = `cx-cell cx-${kind}${read ? " is-read" : ""}`;
        if (cell.className !== mark) cell.className = mark;
        setText(cell, CELL_WORDS[kind]);
        if (kind === "empty") cell.setAttribute("aria-label", "empty");
        else cell.removeAttribute("aria-label");
      });
      const foretells = i === reading && i >= P - 1;
      setText(out, wrong && foretells ? "?" : foretells ? (i + 1 < tokens.length ? cropToken(tokens[i + 1], 12) : "…") : "");
    });
    if (reading >= 0) table.setAttribute("aria-activedescendant", `${ids}-${reading}`);
    else table.removeAttribute("aria-activedescendant");
    drawDivider(state, n);
    drawLines(state, reading, reads, states);
  };

  const drawDivider = (state, n) => {
    const { tokens, prefixLen: P } = state;
    const { first, pitch, width } = metrics;
    const cached = cachedPrefix(state);
    for (const [element, at] of [[divider, P], [was, cached]]) {
      element.style.transform = `translateY(${first + at * pitch}px)`;
      element.style.width = `${width}px`;
    }
    was.hidden = !n || cached === P;
    setText(was.firstChild, `cached for P = ${cached}`);
    setText(pill, `P = ${P}`);
    divider.setAttribute("aria-valuenow", P);
    divider.setAttribute("aria-valuemax", boundaryLimit(state));
    divider.setAttribute("aria-valuetext", placeOfBoundary(tokens, P));
  };

  const drawLines = (state, reading, reads, states) => {
    const { columns, middles, token, out } = metrics;
    const { prefixLen: P } = state;
    lines.replaceChildren();
    if (reading < 0) return;
    const y = middles[reading];
    const arrow = (from, to, kind = "") => lines.append(svg("path", { class: `cx-arrow ${kind}`, d: `M${from} ${y}H${to - 1}M${to - 6} ${y - 4}L${to - 1} ${y}L${to - 6} ${y + 4}` }));
    arrow(token.right + 2, columns[0].left);
    columns.forEach(({ right }, layer) => {
      const next = columns[layer + 1]?.left ?? out.left;
      const node = right + (next - right) * 0.62;
      for (let j = 0; j < reads; j++) {
        const stale = states[layer][j] === "stale";
        const bend = (node - right) * 0.75;
        lines.append(svg("path", { class: `cx-line${stale ? " is-stale" : ""}`, d: `M${right} ${middles[j]}C${right + bend} ${middles[j]} ${node - bend * 0.4} ${y} ${node} ${y}` }));
      }
      lines.append(svg("circle", { class: "cx-node", cx: node, cy: y, r: 3.5 }));
      if (layer + 1 < columns.length || reading >= P - 1) arrow(node + 3.5, next);
    });
  };

  return {
    box, draw,
    rebuild() {
      built = "";
      metrics = null;
    },
  }; // prettier-ignore
}

function placeOfBoundary(tokens, P) {
  const T = tokens.length;
  const where = P === 0 ? "no prefix" : P === T ? "no target" : `between ${quote(tokens[P - 1])} and ${quote(tokens[P])}`;
  return `${plural(P, "token")}, ${where}`;
}
