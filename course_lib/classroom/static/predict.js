// A prediction (the question and the learner's guess) and the picture that follows it.

const LATE = "The kernel is busy or stopped, so this guess is not taken yet. It is kept here: wait, or run the cell again.";

const spoken = (value, unit) => `${value.toLocaleString("en", { maximumFractionDigits: 6 })}${unit ? ` ${unit}` : ""}`;
/** The step nearest to the middle: where a slider stands before it was moved. */
const middle = ({ min, max, step }) => onStep(min + (max - min) / 2, { min, max, step });
const onStep = (value, { min, max, step }) =>
  Number((min + Math.round((Math.min(Math.max(value, min), max) - min) / step) * step).toPrecision(12));

/** A native slider with its value beside it. */
function slider(asked, label, changed) {
  const input = h("input", { type: "range", min: asked.min, max: asked.max, step: asked.step, "aria-label": label });
  const output = h("span", { class: "predict-value", "aria-hidden": "true" });
  const tell = () => {
    const text = spoken(Number(input.value), asked.unit);
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
  };
  input.addEventListener("input", () => {
    tell();
    changed();
  });
  return {
    input,
    output,
    read: () => onStep(Number(input.value), asked),
    write: (value) => {
      input.value = value;
      tell();
    },
  };
}

function numberControl(asked, changed) {
  if (asked.control === "field") {
    const input = h("input", {
      type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false", oninput: changed,
      "aria-label": asked.unit ? `Your guess, in ${asked.unit}` : "Your guess",
    });
    const range = `from ${spoken(asked.min)} to ${spoken(asked.max, asked.unit)}`;
    return {
      element: h("div", { class: "predict-row" }, input, h("span", { class: "muted" }, range)),
      read: () => input.value,
      write: (value) => (input.value = value ?? ""),
      lock: (on) => (input.readOnly = on),
    };
  }
  const one = slider(asked, "Your guess", changed);
  const ends = h("div", { class: "predict-ends muted", "aria-hidden": "true" }, h("span", {}, spoken(asked.min)), h("span", {}, spoken(asked.max)));
  return {
    element: h("div", { class: "predict-row" }, h("div", { class: "predict-track" }, one.input, ends), one.output),
    read: one.read,
    write: (value) => one.write(value ?? middle(asked)),
    lock: (on) => (one.input.disabled = on),
  };
}

function choiceControl(asked, changed) {
  const name = uniqueId("predict");
  const inputs = asked.options.map((option) => h("input", { type: "radio", name, value: option, onchange: changed }));
  const rows = asked.options.map((option, i) => h("label", { class: "predict-option" }, inputs[i], h("span", {}, option)));
  return {
    element: h("div", { class: "predict-options" }, rows),
    read: () => inputs.find((input) => input.checked)?.value ?? null,
    write: (value) => inputs.forEach((input) => (input.checked = input.value === value)),
    lock: (on) => inputs.forEach((input) => (input.disabled = on)),
  };
}

/** Draw your guess: drag the points of a line, or set each with its slider. */
function pointsControl(asked, changed) {
  const [height, left, right, top, bottom] = [210, 46, 18, 12, 40];
  let width = 480;
  const { xs, min, max } = asked;
  const svgNode = (tag, attributes, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    node.append(...children);
    return place(node, attributes);
  };
  const place = (node, attributes) => {
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    return node;
  };
  const x = (i) => left + ((xs[i] - xs[0]) / (xs[xs.length - 1] - xs[0])) * (width - left - right);
  const y = (value) => top + (1 - (value - min) / (max - min)) * (height - top - bottom);
  const places = xs.map((_, i) => i);
  const sliders = places.map((i) => slider(asked, `${asked.y_label} at ${asked.x_label} = ${spoken(xs[i])}`, update));
  const line = svgNode("polyline", { class: "predict-line" });
  const dots = places.map(() => svgNode("circle", { class: "predict-dot", r: 7 }));
  const label = (anchor, text, px, py) => svgNode("text", { "text-anchor": anchor, x: px, y: py }, text);
  const levels = [min, (min + max) / 2, max];
  const rules = levels.map((value) => svgNode("line", { class: "predict-rule", x1: left, y1: y(value), y2: y(value) }));
  const heights = levels.map((value) => label("end", spoken(value), left - 8, y(value) + 4));
  const names = places.map((i) => label("middle", spoken(xs[i]), 0, height - bottom + 18));
  const title = label("middle", asked.x_label, 0, height - 4);
  const svg = svgNode("svg", { class: "predict-plot", "aria-hidden": "true" }, ...rules, ...heights, ...names, title, line, ...dots);
  new ResizeObserver(([entry]) => {
    if (!entry.contentRect.width) return;
    width = entry.contentRect.width; // one unit is one pixel at every size, so that the labels stay readable
    draw();
  }).observe(svg);
  let locked = false;
  let held = null;
  function draw() {
    const values = sliders.map((one) => one.read());
    place(svg, { viewBox: `0 0 ${width} ${height}`, height });
    rules.forEach((rule) => place(rule, { x2: width - right }));
    names.forEach((name, i) => place(name, { x: x(i) }));
    place(title, { x: (left + width - right) / 2 });
    place(line, { points: places.map((i) => `${x(i)},${y(values[i])}`).join(" ") });
    dots.forEach((dot, i) => place(dot, { cx: x(i), cy: y(values[i]) }));
  }
  function update() {
    draw();
    changed();
  }
  const drag = (event) => {
    const box = svg.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * width;
    const py = ((event.clientY - box.top) / box.height) * height;
    held ??= places.reduce((best, i) => (Math.abs(x(i) - px) < Math.abs(x(best) - px) ? i : best));
    sliders[held].write(onStep(min + (1 - (py - top) / (height - top - bottom)) * (max - min), asked));
    update();
  };
  svg.addEventListener("pointerdown", (event) => {
    if (locked || event.button !== 0) return;
    event.preventDefault();
    svg.setPointerCapture(event.pointerId);
    drag(event);
  });
  svg.addEventListener("pointermove", (event) => held !== null && drag(event));
  for (const name of ["pointerup", "pointercancel"]) svg.addEventListener(name, () => (held = null));
  const rows = places.map((i) =>
    h("div", { class: "predict-point" }, h("span", { "aria-hidden": "true" }, `${asked.x_label} = ${spoken(xs[i])}`), sliders[i].input, sliders[i].output),
  );
  return {
    element: h("div", { class: "predict-points" }, h("div", {}, h("p", { class: "muted" }, `${asked.y_label[0].toUpperCase()}${asked.y_label.slice(1)}. Drag the points, or use the sliders.`), svg), h("div", {}, rows)),
    read: () => sliders.map((one) => one.read()),
    write: (values) => {
      sliders.forEach((one, i) => one.write(values?.[i] ?? middle(asked)));
      draw();
    },
    lock: (on) => {
      locked = on;
      svg.classList.toggle("locked", on);
      sliders.forEach((one) => (one.input.disabled = on));
    },
  };
}

const CONTROLS = { number: numberControl, choice: choiceControl, points: pointsControl };

function renderPrediction({ model, el }) {
  const asked = model.get("asked");
  let number = 0;
  let touched = false;
  const note = h("p", { class: "predict-note", role: "status" });
  const button = h("button", { type: "submit", class: "primary" });
  const control = CONTROLS[asked.kind](asked, changed);
  const notice = h("p", { class: "predict-notice" });
  const sender = patientSender(model, () => say(LATE, true));
  const id = uniqueId("predict-asked");
  const form = h(
    "form",
    { novalidate: true, onsubmit: submit },
    h("fieldset", {}, h("legend", { id }, h("span", { class: "predict-kicker" }, "Your guess first. "), richText(asked.prompt)), control.element),
    h("div", { class: "predict-actions" }, button, note),
    notice,
  );
  const root = h("section", { class: "course predict", "aria-labelledby": id }, form);
  keepKeys(root);

  function say(text, warn = false) {
    note.textContent = text;
    note.classList.toggle("warn", warn);
  }

  let saving = 0;
  function changed() {
    touched = true;
    say(model.get("guess") === null ? "" : "Changed, not yet taken.");
    clearTimeout(saving);
    saving = setTimeout(() => {
      model.set("draft", control.read());
      model.save_changes();
    }, 400);
  }

  function submit(event) {
    event.preventDefault();
    if (model.get("locked")) return;
    number += 1;
    say("");
    sender.send({ type: "guess", value: control.read(), number });
  }

  function update() {
    const guess = model.get("guess");
    const locked = model.get("locked");
    if (!touched || locked) control.write(guess ?? model.get("draft"));
    control.lock(locked);
    const hadFocus = document.activeElement === button;
    button.textContent = guess === null ? "This is my guess" : "Change my guess";
    button.hidden = locked;
    if (locked) say("✓ Your guess is taken, and drawn in the picture below.");
    else say(guess === null ? "" : "✓ Taken. You can change it until you look.");
    if (locked && hadFocus) {
      note.tabIndex = -1;
      note.focus({ preventScroll: true });
    }
    notice.textContent = model.get("notice");
    notice.hidden = !notice.textContent;
  }

  function answered() {
    const { number: which, note: refused } = model.get("reply");
    if (which !== number) return;
    sender.answered();
    touched = Boolean(refused);
    update();
    if (refused) say(refused, true);
  }

  el.append(root);
  update();
  const stop = ["guess", "locked", "notice"].map((name) => onTrait(model, name, update));
  stop.push(onTrait(model, "reply", answered));
  return () => {
    stop.forEach((off) => off());
    sender.answered();
    clearTimeout(saving);
  };
}

function renderReveal({ model, el }) {
  const image = h("img", { class: "reveal-picture" });
  const alt = h("figcaption", {});
  const line = h("p", { class: "reveal-line", role: "status" });
  const root = h("figure", { class: "course reveal" }, image, alt, line);
  let address = "";
  const picture = () => {
    const bytes = model.get("picture");
    if (!bytes?.byteLength) return;
    const before = address;
    [image.width, image.height] = [bytes.getUint32(16), bytes.getUint32(20)]; // from the PNG: its room is there at once
    address = URL.createObjectURL(new Blob([bytes], { type: "image/png" }));
    image.src = address;
    if (before) URL.revokeObjectURL(before);
  };
  const text = () => {
    alt.textContent = model.get("alt");
    image.alt = model.get("alt");
    line.textContent = model.get("line");
  };
  picture();
  text();
  el.append(root);
  const stop = [onTrait(model, "picture", picture), onTrait(model, "alt", text), onTrait(model, "line", text)];
  return () => {
    stop.forEach((off) => off());
    URL.revokeObjectURL(address);
  };
}

export default { render: (context) => (context.model.get("asked") ? renderPrediction(context) : renderReveal(context)) };
