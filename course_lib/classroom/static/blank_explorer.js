// needs: text_rules.js mask_rules.js mask_words.js mask_paint.js mask_grid.js blank_rules.js blank_strip.js blank_row.js
// The blank explorer: a text field, the chips, the row, its mask, the counts and the sentences, kept in step.

const TRAITS = ["text", "tokens", "blanks", "order", "selected"];
const HINT = "Point at a column, or move through the column numbers with the arrow keys, to have it in words.";

function render({ model, el }) {
  const ids = { field: uniqueId("bx-field"), note: uniqueId("bx-note") };
  const saver = lazySaver(model);
  let width = 0, pointed = null, cell = null, refused = "", edit = null; // prettier-ignore
  let laidOut = "", roomFor = null, writing = false; // prettier-ignore

  const state = () => madeWhole(Object.fromEntries(TRAITS.map((name) => [name, model.get(name)])));
  const change = (changes) => {
    writing = true;
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    const whole = state();
    if (whole.selected !== (model.get("selected") ?? null)) model.set("selected", whole.selected);
    writing = false;
    saver.soon();
    draw();
  };
  const set = (changes) => {
    edit = null;
    change(changes);
  };

  // -- the text

  const field = h("textarea", { id: ids.field, rows: "2", spellcheck: "false", dir: "auto", "aria-describedby": ids.note, placeholder: "Type or paste your own sentence", oninput: () => typed() });
  const note = h("p", { class: "mx-note", id: ids.note });
  const typed = () => {
    const text = field.value.toWellFormed();
    const tokens = tokensOf(text);
    refused = typeof tokens === "string" ? `${tokens} The row below still shows the text before.` : "";
    field.setAttribute("aria-invalid", String(Boolean(refused)));
    if (refused) {
      live.say(refused, 800);
      return draw();
    }
    edit ??= state(); // the blanks of a whole edit follow from its beginning, not from every half-typed word
    change({ text, tokens, ...followBlanks(edit, tokens) });
  };

  // -- the blanks and their order

  const strip = makeBlankStrip(state, {
    paint: (before, from, to, on) => set(paintBlanks(before, from, to, on)),
    restore: ({ blanks, order }) => set({ blanks, order }),
    range: (from, to) => from < to && live.say(`${to - from + 1} tokens chosen, ${nameOf(model.get("tokens"), from)} to ${nameOf(model.get("tokens"), to)}. Space blanks or keeps them.`, 300),
  });
  const button = (text, press) => h("button", { type: "button", onclick: (event) => event.currentTarget.getAttribute("aria-disabled") !== "true" && press() }, text);
  const clear = button("Clear", () => set({ blanks: [], order: [] }));
  const shuffle = button("Shuffle Part B", () => set({ order: shuffled(state().order) }));
  const inOrder = button("In text order", () => set({ order: range(0, state().order.length) }));

  // -- the row, its mask and the counts

  const row = makeBlankRow({ point: (c) => point(c, null), choose: (selected) => set({ selected }) });
  const column = h("p", {}), columnRoom = h("p", { class: "mx-ghost", "aria-hidden": "true" }); // prettier-ignore
  let cursor = null; // the cell that the keyboard has in the grid
  const grid = makeGrid({
    hover: (at) => point(at?.[0] ?? null, at),
    choose: (i, j) => {
      cursor = [i, j];
      set({ selected: i });
    },
    move: (key) => {
      const T = layoutOf(state()).tokens.length;
      const [i, j] = cursor ?? [state().selected ?? 0, state().selected ?? 0];
      const to = { ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1], Home: [i, 0], End: [i, T - 1], PageUp: [0, j], PageDown: [T - 1, j] }[key];
      if (!to) return false;
      cursor = to.map((n) => Math.max(0, Math.min(T - 1, n)));
      pointed = cell = null;
      set({ selected: cursor[0] });
      return true;
    },
  });
  grid.box.addEventListener("blur", () => {
    cursor = null;
    draw();
  });
  const point = (c, at) => {
    if (c === pointed && String(at) === String(cell)) return;
    [pointed, cell] = [c, at];
    draw();
  };
  const cellLine = h("p", { class: "mx-cell muted" });
  const figures = ["Part A", "Row", "With loss", "Blanked"].map(blankFigure);
  const legend = h("ul", { class: "bx-legend" }, [
    ["bx-key-a", "Part A: read, in both directions"], ["bx-key-b", "Part B: written, left to right"], ["bx-key-special", "[MASK], [START]: in no text"],
    ["mx-swatch mx-prefix", "sees Part A"], ["mx-swatch mx-added", "sees ahead, in Part A"], ["mx-swatch mx-target", "sees Part B"], ["mx-swatch mx-hatch", "does not see"],
  ].map(([kind, words]) => h("li", {}, h("span", { class: `bx-key ${kind}` }), words))); // prettier-ignore
  const words = h("p", { class: "bx-words" }), room = h("p", { class: "mx-ghost", "aria-hidden": "true" }); // prettier-ignore
  const live = liveRegion();
  const gridBox = h("div", { class: "bx-mask" }, grid.box);

  const root = h("section", { class: "course mx bx", "aria-label": "Blank explorer" },
    h("div", { class: "mx-text" }, h("label", { for: ids.field }, "Your sentence"), field, note),
    h("p", { class: "bx-hint muted" }, "Drag over tokens to blank them, or click one. Keys: arrows, Shift and arrows, Space."),
    strip.box,
    h("div", { class: "bx-buttons" }, clear, shuffle, inOrder),
    row.box,
    h("div", { class: "mx-words bx-column" }, columnRoom, column),
    h("div", { class: "bx-main" },
      h("div", { class: "bx-left" }, gridBox, cellLine),
      h("div", {}, h("div", { class: "bx-figures" }, figures.map(({ box }) => box)), legend)),
    h("div", { class: "mx-words" }, room, words), live); // prettier-ignore
  keepKeys(root);
  el.append(root);

  // -- drawing

  const drawNow = () => {
    if (!width) return; // not in the page yet: there are no sizes and no colours
    const now = state(), layout = layoutOf(now), T = layout.tokens.length, A = layout.contextLen; // prettier-ignore
    if (pointed !== null && pointed >= T) pointed = cell = null;
    if (cursor?.some((n) => n >= T)) cursor = null;
    const shown = pointed ?? now.selected;
    if (roomFor !== now.tokens.join("\n")) {
      roomFor = now.tokens.join("\n");
      const longest = longestBlankWords(now.tokens);
      setText(room, longest.row);
      setText(columnRoom, longest.column.length > HINT.length ? longest.column : HINT);
    }
    strip.draw(now, shown === null ? null : sourceOf(now, layout, shown));
    row.draw(now, layout, now.selected, shown);
    drawMask(now, layout, shown);
    drawControls(now);
    const hidden = hiddenIn(now), n = now.tokens.length; // prettier-ignore
    figures[0].show(plural(A, "column"), `context_len = P = ${A}`);
    figures[1].show(plural(T, "column"), `T = ${T}`);
    figures[2].show(`${T - A} of ${T}`, now.blanks.length ? "all of Part B" : "nothing to predict");
    figures[3].show(`${hidden} of ${n}`, `${percent(hidden, n)}\u00a0% of the text`);
    setText(column, shown === null ? HINT : columnWords(now, shown, layout));
    column.classList.toggle("muted", shown === null);
    const parts = rowSentences(now, layout);
    setText(words, parts.join(" "));
    live.sayNew(blankSentences(now));
  };

  const drawMask = (now, layout, shown) => {
    const T = layout.tokens.length, A = layout.contextLen; // prettier-ignore
    const as = { kind: "prefix", prefixLen: A, tokens: layout.tokens.map((id) => (id < now.tokens.length ? now.tokens[id] : SPECIAL[id - now.tokens.length])) };
    const mark = `${T} ${A} ${width}`;
    if (laidOut !== mark) {
      laidOut = mark;
      grid.layout(range(0, T).map(String), gridBox.clientWidth); // by number, as the columns: its size is then always the same
      grid.draw(as, { loss: null }, false);
    }
    const at = cell ?? cursor, said = at ? cellWords(as, ...at) : ""; // prettier-ignore
    grid.drawOver(as, shown, at, said);
    setText(cellLine, said || "The mask of the row: each column asks in a row of its own.");
  };

  const drawControls = (now) => {
    if (!refused && field.value.toWellFormed() !== model.get("text")) field.value = model.get("text");
    setText(note, refused || `${plural(now.tokens.length, "token")} of at most ${MOST_BLANK_TOKENS}`);
    note.classList.toggle("bad", Boolean(refused));
    note.classList.toggle("muted", !refused);
    for (const [each, off] of [[clear, !now.blanks.length], [shuffle, now.blanks.length < 2], [inOrder, now.order.every((k, i) => k === i)]])
      each.setAttribute("aria-disabled", String(off)); // not `disabled`: the focus would be lost
  };

  const draw = oncePerFrame(drawNow);
  const heard = (name) => () => {
    if (!writing) edit = null; // what Python sets ends an edit, and its word counts
    if (!writing && name === "text") {
      refused = "";
      field.removeAttribute("aria-invalid");
    }
    draw();
  };
  const stops = TRAITS.map((trait) => onTrait(model, trait, heard(trait)));
  const layOut = () => {
    if (!root.clientWidth) return;
    width = root.clientWidth;
    laidOut = "";
    grid.readColours();
    drawNow();
  };
  const stopTheme = onTheme(layOut);
  const resized = new ResizeObserver(() => root.clientWidth !== width && layOut());
  resized.observe(root); // also tells when JupyterLab, which renders before it attaches, gives the root its place
  document.fonts.ready.then(layOut);
  layOut();

  return () => {
    saver.flush();
    stops.forEach((stop) => stop());
    stopTheme();
    resized.disconnect();
  };
}

/** The tokens of a text, or what is wrong with it, in words. */
function tokensOf(text) {
  let tokens;
  try {
    tokens = splitText(text);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return `This text is too long: at most ${MOST_BLANK_TOKENS} tokens fit here.`;
  }
  if (!tokens.length) return "There is no token yet: type at least one word.";
  return tokens.length <= MOST_BLANK_TOKENS ? tokens : `This text has ${tokens.length} tokens: at most ${MOST_BLANK_TOKENS} fit here.`;
}

/** A count with a line beneath. No <dl>: JupyterLab's own style lets its parts float. */
function blankFigure(title) {
  const value = h("span", { class: "bx-big" }), detail = h("span", { class: "muted" }); // prettier-ignore
  return {
    box: h("div", { class: "bx-figure" }, h("span", { class: "bx-title" }, title), value, detail),
    show(number, said) {
      setText(value, number);
      setText(detail, said);
    },
  };
}

export default { render };
export { blankLayout, blankSentences, blanksOf, columnWords, flagsOf, followBlanks, paintBlanks, shuffled, sourceOf, splitText, tokensOf }; // prettier-ignore
