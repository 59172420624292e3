// A block as a picture: a row is a step, the residual stream runs down the left, attention and the MLP branch off it.

const BLOCKS = { serial: "Serial block", parallel: "Parallel block" };
const STATES = { waiting: "waiting", running: "running now", done: "done" };
const PITCH = 44, TALL = 28, TOP = 18; // prettier-ignore
const ROOMY = { number: 10, spine: 48, half: 22, first: 84 }, NARROW = { number: 7, spine: 35, half: 18, first: 61 }; // prettier-ignore

/** A block: its formula, and the picture in which a row is a step. `build` makes it, `show` marks what is done. */
function makeDiagram(block, hatch, select) {
  const formula = h("span", { class: "fx-formula" });
  const picture = svg("svg", { role: "group", "aria-label": `${BLOCKS[block]}, as operations` });
  const box = h("figure", { class: `fx-block fx-${block}` }, h("figcaption", {}, h("strong", {}, BLOCKS[block]), formula), picture);
  let nodes = [], edges = [], numbers = [], band, end, steps; // prettier-ignore

  const build = (graph, width, rows) => {
    const focused = picture.contains(document.activeElement) && document.activeElement.dataset.name;
    const { number, spine, half, first: start } = width < 320 ? NARROW : ROOMY;
    const column = (width - start - 2) / graph.width, at = (row) => TOP + row * PITCH; // prettier-ignore
    const places = { x: { left: spine - half, right: spine + half, y: at(0), spine: true } };
    for (const { name, span, stage } of graph.nodes)
      places[name] = { ...(span.length ? { left: start + span[0] * column + 2, right: start + span[1] * column - 2 } : places.x), y: at(stage), spine: !span.length };
    formula.replaceChildren(mathOf(graph.formula));
    steps = graph.steps;
    band = svg("rect", { class: "fx-band", x: 0, width, height: PITCH - 2, rx: 4 });
    const regions = graph.regions.map(({ letter, first, last, span }) => svg("g", { class: "fx-region" },
      svg("rect", { x: start + span[0] * column - 3, y: at(first) - PITCH / 2 - 6, width: (span[1] - span[0]) * column + 6, height: (last - first + 1) * PITCH + 3, rx: 4 }),
      svg("text", { x: start + span[0] * column + 2, y: at(first) - PITCH / 2 + 1 }, letter))); // prettier-ignore
    numbers = Array.from({ length: rows }, (_, n) => svg("text", { class: "fx-step", x: number, y: at(n + 1) }, String(n + 1)));
    numbers.slice(steps).forEach((number) => number.classList.add("is-over"));
    edges = graph.nodes.flatMap(({ name, waits_for, stage }) => waits_for.map((from) => ({ from, to: name, stage, path: edge(places[from], places[name]) })));
    nodes = graph.nodes.map((node) => {
      const { left, right, y } = places[node.name];
      const text = svg("text", { class: "fx-name", x: (left + right) / 2, y }, node.name);
      const mark = svg("g", { role: "button", tabindex: -1, "data-name": node.name }, outline(node.kind, left, right, y, TALL, hatch), text);
      mark.addEventListener("click", () => (mark.focus(), select(node.name)));
      mark.addEventListener("focus", () => select(node.name));
      return { ...node, mark, text, room: right - left - 6, centre: (left + right) / 2 };
    });
    end = svg("text", { class: "fx-end", x: spine - half, y: at(steps + 1) }, `done after ${steps} steps`);
    picture.setAttribute("width", width);
    picture.setAttribute("height", at(rows + 1) + 12);
    picture.replaceChildren(band, ...regions, ...numbers, ...edges.map(({ path }) => path), svg("text", { class: "fx-x", x: spine, y: at(0) - 5 }, "x"), ...nodes.map(({ mark }) => mark), end);
    for (const { name, text, room, centre } of nodes) {
      if (text.getComputedTextLength() > room) text.classList.add("is-tight");
      const [first, ...rest] = name.split(" ");
      if (text.getComputedTextLength() > room && rest.length) text.replaceChildren(svg("tspan", { x: centre, dy: -6 }, `${first} `), svg("tspan", { x: centre, dy: 12 }, rest.join(" ")));
    }
    nodes.find(({ name }) => name === focused)?.mark.focus();
  };

  const show = (step, selected) => {
    band.setAttribute("y", TOP + step * PITCH - PITCH / 2 + 1);
    band.setAttribute("class", `fx-band${step === 0 || step > numbers.length ? " is-off" : ""}`);
    numbers.forEach((number, n) => number.classList.toggle("is-now", n + 1 === step));
    end.classList.toggle("is-done", step >= steps);
    for (const { from, to, stage, path } of edges) {
      path.classList.toggle("is-done", stage <= step);
      path.classList.toggle("is-chosen", selected !== "" && (from === selected || to === selected));
    }
    const stop = nodes.find(({ name }) => name === selected) ?? nodes[0];
    for (const node of nodes) {
      const state = node.stage < step ? "done" : node.stage === step ? "running" : "waiting";
      node.mark.setAttribute("class", `fx-node fx-${node.kind} is-${state}${node.name === selected ? " is-chosen" : ""}`);
      node.mark.setAttribute("aria-label", `${node.label}, ${STATES[state]}`);
      node.mark.setAttribute("aria-pressed", String(node.name === selected));
      node.mark.setAttribute("tabindex", node === stop ? 0 : -1);
    }
  };

  picture.addEventListener("keydown", (event) => {
    const now = nodes.find(({ mark }) => mark === document.activeElement);
    if (!now || event.ctrlKey || event.metaKey || event.altKey) return;
    const nearest = (stage) => nodes.filter((node) => node.stage === stage).sort((a, b) => Math.abs(a.centre - now.centre) - Math.abs(b.centre - now.centre))[0];
    const beside = (by) => nodes.filter((node) => node.stage === now.stage)[nodes.filter((node) => node.stage === now.stage).indexOf(now) + by];
    const to = { ArrowUp: () => nearest(now.stage - 1), ArrowDown: () => nearest(now.stage + 1), ArrowLeft: () => beside(-1), ArrowRight: () => beside(1), Home: () => nodes[0], End: () => nodes.at(-1), " ": () => now, Enter: () => now }[event.key];
    if (!to) return;
    event.preventDefault();
    to()?.mark.focus();
    if (to() === now) select(now.name);
  });
  picture.addEventListener("click", (event) => !event.target.closest(".fx-node") && select(""));

  return { box, build, show, width: () => box.clientWidth };
}

/** The outline of an operation between two x, around y: each kind has a shape of its own. */
function outline(kind, left, right, y, tall, hatch) {
  const top = y - tall / 2, bottom = y + tall / 2, tip = tall * 0.3; // prettier-ignore
  const path = (d, kind = "fx-shape") => svg("path", { class: kind, d });
  if (kind === "elementwise") return svg("rect", { class: "fx-shape", x: left, y: top, width: right - left, height: tall, rx: tall / 2 });
  if (kind === "attention") return path(`M${left} ${y}L${left + tip} ${top}H${right - tip}L${right} ${y}L${right - tip} ${bottom}H${left + tip}Z`);
  if (kind === "all-reduce") {
    const inner = tall * 0.36, from = left + inner, to = right - inner, cut = tall * 0.14; // prettier-ignore
    const d = `M${left} ${y}L${from} ${top}V${top + cut}H${to}V${top}L${right} ${y}L${to} ${bottom}V${bottom - cut}H${from}V${bottom}Z`;
    const lines = path(d, "fx-lines");
    lines.setAttribute("fill", `url(#${hatch})`);
    return svg("g", {}, path(d), lines);
  }
  const box = svg("rect", { class: "fx-shape", x: left, y: top, width: right - left, height: tall, rx: 2 });
  return kind === "norm" ? svg("g", {}, box, path(`M${left + 5} ${top}V${bottom}M${right - 5} ${top}V${bottom}`, "fx-bars")) : box;
}

/** The line from one operation to another: along the residual stream, out of it, into it, or straight down a branch. */
function edge(a, b) {
  const from = a.y + (a.spine && a.y === TOP ? 2 : TALL / 2), top = b.y - TALL / 2, x = (a.left + a.right) / 2; // prettier-ignore
  const kind = `fx-edge${a.spine && b.spine ? " fx-spine" : ""}`;
  if (a.spine && !b.spine) return svg("path", { class: kind, d: `M${x} ${from}V${b.y - 6}Q${x} ${b.y} ${x + 6} ${b.y}H${b.left}m-5 -4l5 4l-5 4` });
  if (b.spine && !a.spine) return svg("path", { class: kind, d: `M${x} ${from}V${b.y - 6}Q${x} ${b.y} ${x - 6} ${b.y}H${b.right}m5 -4l-5 4l5 4` });
  const narrow = a.right - a.left < b.right - b.left ? a : b;
  return svg("path", { class: kind, d: `M${(narrow.left + narrow.right) / 2} ${from}V${top}m-4 -5l4 5l4 -5` });
}

/** A formula of letters and signs as MathML. */
function mathOf(formula) {
  return richText([["math", [["mrow", ...[...formula.replaceAll(" ", "")].map((sign) => [/[A-Za-z]/.test(sign) ? "mi" : /[₁₂]/.test(sign) ? "mn" : "mo", sign])]]]])[0];
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
