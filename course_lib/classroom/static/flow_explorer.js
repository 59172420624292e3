// The data-flow explorer: two blocks on one scale, and a step through both at once. What a block is made of, what its
// counts are and how they are said, all of that comes with `graphs`: here it is only drawn.

const TELL_AFTER = 120; // ms: dragging must not flood the kernel; the last state always goes out
const PLAY_EVERY = 1200; // ms
const BLOCKS = { serial: "Serial block", parallel: "Parallel block" };
const KINDS = { product: "matrix product", attention: "attention", norm: "norm", elementwise: "number by number", "all-reduce": "all-reduce: all devices wait" };
const STATES = { waiting: "waiting", running: "running now", done: "done" };
const PITCH = 42, TALL = 28, GUTTER = 22, SPINE = 48, HALF = 22, FIRST = 84, COLUMNS = 5.3, TOP = 18; // prettier-ignore

function render({ model, el }) {
  const ids = Object.fromEntries(["step", "devices", "hatch"].map((name) => [name, uniqueId(`fx-${name}`)]));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let telling = 0, playing = 0, drawn = "", spoken = null; // prettier-ignore

  const variantOf = (fused, devices) => model.get("graphs")[`${fused ? "fused" : "unfused"}-${devices}`];
  const shown = () => variantOf(model.get("fused"), model.get("devices"));
  const lastStep = (of = shown()) => of.said.length - 1;
  const stepNow = () => Math.min(model.get("step"), lastStep()); // Python may set one trait after another
  const change = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    telling ||= setTimeout(tell, TELL_AFTER);
    draw();
  };
  const tell = () => {
    clearTimeout(telling);
    telling = 0;
    model.save_changes();
  };
  const go = (step) => step >= 0 && step <= lastStep() && step !== stepNow() && change({ step });
  const select = (selected) => selected !== model.get("selected") && change({ selected });
  const choose = (fused, devices) => {
    const of = variantOf(fused, devices), selected = model.get("selected"); // prettier-ignore
    change({ fused, devices, step: Math.min(stepNow(), lastStep(of)), selected: selected in of.told ? selected : "" });
  };

  // -- the controls

  const button = (text, press, kind = "") => h("button", { type: "button", class: kind, onclick: (event) => event.currentTarget.getAttribute("aria-disabled") !== "true" && press() }, text);
  const back = button("Back", () => (stop(), go(stepNow() - 1)));
  const next = button("Next", () => (stop(), go(stepNow() + 1)), "primary");
  const play = button("Play", () => (playing ? stop() : start()));
  const slider = h("input", { id: ids.step, type: "range", min: "0", step: "1", oninput: () => (stop(), go(Number(slider.value))), onkeydown: (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    if (!still.matches) play.click();
    else go(stepNow() + 1);
  } }); // prettier-ignore
  const sliderValue = h("span", { class: "fx-number fx-value", "aria-hidden": "true" });
  const fused = h("input", { type: "checkbox", onchange: () => choose(fused.checked, model.get("devices")) });
  const devices = [1, 2].map((count) => h("input", { type: "radio", name: ids.devices, value: count, onchange: () => choose(model.get("fused"), count) }));

  /** Play is steps by a clock. Who asked for less motion gets no Play, and steps by hand. */
  const start = () => {
    if (stepNow() >= lastStep()) go(0);
    playing = setInterval(() => {
      if (root.isConnected) go(stepNow() + 1);
      if (!root.isConnected || stepNow() >= lastStep()) stop();
    }, PLAY_EVERY);
    draw();
  };
  const stop = () => {
    clearInterval(playing);
    playing = 0;
    draw();
  };

  // -- the pictures, the words and the table

  const diagrams = Object.fromEntries(Object.keys(BLOCKS).map((block) => [block, makeDiagram(block, ids.hatch, select)]));
  const sample = (kind, state, words) => h("li", {}, svg("svg", { width: 34, height: 18, class: `fx-key fx-${kind} is-${state}`, "aria-hidden": "true" }, outline(kind, 2, 32, 9, 14, ids.hatch)), words);
  const legend = h("div", { class: "fx-legend" },
    h("ul", {}, Object.entries(KINDS).map(([kind, words]) => sample(kind, "done", words))),
    h("ul", {}, Object.entries(STATES).map(([state, words]) => sample("product", state, words))));
  const said = roomy(), told = roomy("fx-told"); // prettier-ignore
  const head = h("tr", {}, h("td", {}), h("th", { scope: "col" }, "serial"), h("th", { scope: "col" }, "parallel"));
  const rows = h("tbody", {});
  const live = liveRegion();
  const hatch = svg("svg", { width: 0, height: 0, class: "fx-defs", "aria-hidden": "true" }, svg("defs", {}, svg("pattern", { id: ids.hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("rect", { width: 2, height: 6, class: "fx-hatch" }))));

  const root = h("section", { class: "course fx", "aria-label": "Data-flow explorer" }, hatch,
    h("div", { class: "fx-controls" },
      h("div", { class: "fx-buttons" }, back, next, play),
      h("div", { class: "fx-range" }, h("label", { for: ids.step }, "Step"), slider, sliderValue)),
    h("div", { class: "fx-controls" },
      h("label", { class: "fx-check" }, fused, "Fuse the products that share an input"),
      h("div", { class: "fx-devices", role: "radiogroup", "aria-label": "Devices" }, devices.map((input, n) => h("label", {}, input, `on ${n + 1} device${n ? "s" : ""}`)))),
    h("div", { class: "fx-words" }, said.box),
    h("div", { class: "fx-pair" }, Object.values(diagrams).map(({ box }) => box)),
    legend,
    h("div", { class: "fx-words" }, told.box),
    h("table", { class: "fx-table" }, h("thead", {}, head), rows),
    h("p", { class: "muted" }, "A step counts waiting, not time: what runs in one step waits for nothing of the same step, large or small."), live); // prettier-ignore
  keepKeys(root);
  el.append(root);

  // -- drawing

  const drawNow = () => {
    const width = diagrams.serial.width(), of = shown(), step = stepNow(); // prettier-ignore
    if (!width || !of) return; // not in the page yet: there are no sizes
    const selected = model.get("selected") in of.told ? model.get("selected") : "";
    const side = diagrams.serial.box.offsetTop === diagrams.parallel.box.offsetTop;
    const frame = `${width} ${side} ${model.get("fused")} ${model.get("devices")}`;
    if (drawn !== frame) {
      drawn = frame;
      const steps = Object.keys(BLOCKS).map((block) => of[block].steps);
      for (const [block, { build }] of Object.entries(diagrams)) build(of[block], width, side ? Math.max(...steps) : of[block].steps);
      said.reserve(Object.values(model.get("graphs")).flatMap((each) => each.said));
      told.reserve(Object.values(model.get("graphs")).flatMap((each) => Object.values(each.told)));
    }
    for (const { show } of Object.values(diagrams)) show(step, selected);
    drawControls(of, step);
    said.say(of.said[step]);
    told.say(selected ? of.told[selected] : "Choose an operation in a diagram, by a click or with Tab and the arrow keys: here it says what it is and what waits for what.");
    const table = [["Steps so far", ...Object.keys(BLOCKS).map((block) => `${Math.min(step, of[block].steps)} of ${of[block].steps}`)], ...of.rows];
    if (rows.childElementCount !== table.length) rows.replaceChildren(...table.map((row) => h("tr", {}, h("th", { scope: "row" }), row.slice(1).map(() => h("td", { class: "fx-number" })))));
    table.forEach((row, n) => row.forEach((text, column) => setText(rows.children[n].children[column], text)));
    const parts = [of.said[step], selected ? of.told[selected] : ""];
    const fresh = parts.filter((part) => part && !spoken?.includes(part));
    if (spoken && fresh.length) live.say(fresh.join(" "), 500);
    spoken = parts;
  };

  const drawControls = (of, step) => {
    const last = lastStep(of);
    back.setAttribute("aria-disabled", String(step === 0)); // not `disabled`: the focus would be lost
    next.setAttribute("aria-disabled", String(step === last));
    setText(play, playing ? "Pause" : "Play");
    play.hidden = still.matches;
    slider.max = last;
    slider.value = step;
    slider.setAttribute("aria-valuetext", `${step} of ${last}`);
    setText(sliderValue, `${step} of ${last}`);
    fused.checked = model.get("fused");
    devices.forEach((input, n) => (input.checked = n + 1 === model.get("devices")));
  };

  const draw = oncePerFrame(drawNow);
  const stops = ["graphs", "step", "fused", "devices", "selected"].map((trait) => onTrait(model, trait, draw));
  const resized = new ResizeObserver(draw); // also tells when JupyterLab, which renders before it attaches, gives the root its place
  resized.observe(root);
  still.addEventListener("change", draw);

  return () => {
    if (telling) tell();
    clearInterval(playing);
    stops.forEach((stopOne) => stopOne());
    still.removeEventListener("change", draw);
    resized.disconnect();
  };
}

/** A block: its formula, and the picture in which a row is a step. `build` makes it, `show` marks what is done. */
function makeDiagram(block, hatch, select) {
  const formula = h("span", { class: "fx-formula" });
  const picture = svg("svg", { role: "group", "aria-label": `${BLOCKS[block]}, as operations` });
  const box = h("figure", { class: `fx-block fx-${block}` }, h("figcaption", {}, h("strong", {}, BLOCKS[block]), formula), picture);
  let nodes = [], edges = [], numbers = [], band, end, steps, chosen = ""; // prettier-ignore

  const build = (graph, width, rows) => {
    const focused = picture.contains(document.activeElement);
    const column = (width - FIRST - 2) / COLUMNS, at = (row) => TOP + row * PITCH; // prettier-ignore
    const places = { x: { left: SPINE - HALF, right: SPINE + HALF, y: at(0), spine: true } };
    for (const { name, span, stage } of graph.nodes)
      places[name] = { ...(span.length ? { left: FIRST + span[0] * column + 2, right: FIRST + span[1] * column - 2 } : places.x), y: at(stage), spine: !span.length };
    formula.replaceChildren(mathOf(graph.formula));
    steps = graph.steps;
    band = svg("rect", { class: "fx-band", x: 0, width, height: PITCH - 2, rx: 4 });
    const regions = graph.regions.map(({ letter, first, last, span }) => svg("g", { class: "fx-region" },
      svg("rect", { x: FIRST + span[0] * column - 3, y: at(first) - PITCH / 2 - 4, width: (span[1] - span[0]) * column + 6, height: (last - first + 1) * PITCH - 2, rx: 4 }),
      svg("text", { x: FIRST + span[0] * column + 1, y: at(first) - TALL / 2 - 3 }, letter))); // prettier-ignore
    numbers = Array.from({ length: rows }, (_, n) => svg("text", { class: "fx-step", x: GUTTER / 2 - 1, y: at(n + 1) }, String(n + 1)));
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
    end = svg("text", { class: "fx-end", x: SPINE - HALF, y: at(steps) + TALL / 2 + 15 }, `done after ${steps} steps`);
    picture.setAttribute("width", width);
    picture.setAttribute("height", at(rows) + TALL / 2 + 22);
    picture.replaceChildren(band, ...regions, ...numbers, ...edges.map(({ path }) => path), svg("text", { class: "fx-x", x: SPINE, y: at(0) - 5 }, "x"), ...nodes.map(({ mark }) => mark), end);
    for (const { text, room } of nodes) if (text.getComputedTextLength() > room) text.classList.add("is-tight");
    if (focused) nodes[0].mark.focus();
  };

  const show = (step, selected) => {
    chosen = selected;
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
  return richText([["math", [["mrow", ...[...formula.replaceAll(" ", "")].map((sign) => [/[A-Za-z]/.test(sign) ? "mi" : "mo", sign])]]]])[0];
}

/** A paragraph that is as tall as the tallest text it may hold, so that nothing below it moves. */
function roomy(kind = "") {
  const words = h("p", { class: kind }), box = h("div", { class: "fx-roomy" }, words); // prettier-ignore
  return {
    box,
    say: (text) => setText(words, text),
    reserve(texts) {
      const now = words.textContent;
      box.style.minHeight = "";
      const tallest = Math.max(...[...new Set(texts)].sort((a, b) => b.length - a.length).slice(0, 4).map((text) => ((words.textContent = text), box.offsetHeight)));
      words.textContent = now;
      box.style.minHeight = `${tallest}px`;
    },
  };
}

function svg(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Set a text only where it changed. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export default { render };
