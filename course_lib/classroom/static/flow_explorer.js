// needs: player.js flow_diagram.js
// The data-flow explorer: two blocks on one scale, and a step through both at once. What a block is made of, what its
// counts are and how they are said, all of that comes with `graphs`: here it is only drawn.

const PLAY_EVERY = 1200; // ms
const KINDS = { product: "matrix product", attention: "attention", norm: "norm", elementwise: "number by number", "all-reduce": "all-reduce: all devices wait" };

function render({ model, el }) {
  const ids = Object.fromEntries(["step", "devices", "hatch"].map((name) => [name, uniqueId(`fx-${name}`)]));
  const saver = lazySaver(model);
  let drawn = "";

  const variantOf = (fused, devices) => model.get("graphs")[`${fused ? "fused" : "unfused"}-${devices}`];
  const shown = () => variantOf(model.get("fused"), model.get("devices"));
  const lastStep = (of = shown()) => of.said.length - 1;
  const stepNow = () => Math.min(model.get("step"), lastStep()); // Python may set one trait after another
  const change = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    saver.soon();
    draw();
  };
  const go = (step) => step >= 0 && step <= lastStep() && step !== stepNow() && change({ step });
  const select = (selected) => selected !== model.get("selected") && change({ selected });
  const choose = (fused, devices) => {
    const of = variantOf(fused, devices), selected = model.get("selected"); // prettier-ignore
    change({ fused, devices, step: Math.min(stepNow(), lastStep(of)), selected: selected in of.told ? selected : "" });
  };

  // -- the controls

  const player = makePlayer({ at: stepNow, last: lastStep, every: PLAY_EVERY, go, draw: () => draw() });
  const slider = h("input", { id: ids.step, type: "range", min: "0", step: "1", oninput: () => (player.stop(), go(Number(slider.value))), onkeydown: (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    player.toggle();
  } }); // prettier-ignore
  const sliderValue = h("span", { class: "fx-number fx-value", "aria-hidden": "true" });
  const fused = h("input", { type: "checkbox", onchange: () => choose(fused.checked, model.get("devices")) });
  const devices = [1, 2].map((count) => h("input", { type: "radio", name: ids.devices, value: count, onchange: () => choose(model.get("fused"), count) }));

  // -- the pictures, the words and the table

  const diagrams = Object.fromEntries(Object.keys(BLOCKS).map((block) => [block, makeDiagram(block, ids.hatch, select)]));
  const sample = (kind, state, words) => h("li", {}, svg("svg", { width: 34, height: 18, class: `fx-key fx-${kind} is-${state}`, "aria-hidden": "true" }, outline(kind, 2, 32, 9, 14, ids.hatch)), words);
  const legend = h("div", { class: "fx-legend" },
    h("ul", {}, Object.entries(KINDS).map(([kind, words]) => sample(kind, "done", words))),
    h("ul", {}, Object.entries(STATES).map(([state, words]) => sample("product", state, words))));
  const said = roomy(), told = roomy("fx-told"); // prettier-ignore
  const head = h("tr", {}, h("td", {}), h("th", { scope: "col" }, "serial"), h("th", { scope: "col" }, "parallel"));
  const rows = h("tbody", {});
  const note = h("p", { class: "muted" }), live = liveRegion(); // prettier-ignore
  const hatch = svg("svg", { width: 0, height: 0, class: "fx-defs", "aria-hidden": "true" }, svg("defs", {}, svg("pattern", { id: ids.hatch, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("rect", { width: 2, height: 6, class: "fx-hatch" }))));

  const root = h("section", { class: "course fx", "aria-label": "Data-flow explorer" }, hatch,
    h("div", { class: "fx-controls" },
      player.box,
      h("div", { class: "fx-range" }, h("label", { for: ids.step }, "Step"), slider, sliderValue)),
    h("div", { class: "fx-controls" },
      h("label", { class: "fx-check" }, fused, "Fuse the products that share an input"),
      h("div", { class: "fx-devices", role: "radiogroup", "aria-label": "Devices" }, devices.map((input, n) => h("label", {}, input, `on ${n + 1} device${n ? "s" : ""}`)))),
    h("div", { class: "fx-words" }, said.box),
    h("div", { class: "fx-pair" }, Object.values(diagrams).map(({ box }) => box)),
    legend,
    h("div", { class: "fx-words" }, told.box),
    h("table", { class: "fx-table" }, h("thead", {}, head), rows),
    note, live); // prettier-ignore
  keepKeys(root);
  el.append(root);

  // -- drawing

  const drawNow = () => {
    const width = diagrams.serial.width(), of = shown(), step = stepNow(); // prettier-ignore
    if (width < LEAST_WIDTH || !of) return; // not in the page yet, or in a pane that was dragged to nothing
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
    setText(note, of.note);
    live.sayNew([of.said[step], selected ? of.told[selected] : ""]);
  };

  const drawControls = (of, step) => {
    const last = lastStep(of);
    player.show();
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

  return () => {
    saver.flush();
    player.dispose();
    stops.forEach((stopOne) => stopOne());
    resized.disconnect();
  };
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

export default { render };
