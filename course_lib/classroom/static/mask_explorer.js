// needs: text_rules.js mask_rules.js mask_words.js mask_store.js mask_paint.js mask_grid.js mask_strip.js mask_meters.js
// The mask explorer: a text field, the kinds, the strip, the grid, the meters and the sentence, kept in step.

const KIND_LABELS = {
  encoder: ["Reads both ways", "encoder-only"],
  decoder: ["Writes left to right", "decoder-only"],
  "encoder-decoder": ["One reads, one writes", "encoder–decoder"],
  prefix: ["Reads, then writes", "prefix LM"],
  custom: ["Your own mask", "mask="],
};
const BOUNDARY_HINTS = {
  encoder: "An encoder ignores the boundary.",
  decoder: "A decoder ignores the boundary.",
  "encoder-decoder": "The boundary parts the source from the target.",
  prefix: "Drag the divider or slider, or use arrow keys.",
  custom: "Only a line to compare your mask with.",
};
const TILE_LEGEND = [["full", "full tile: needs no mask"], ["veil", "skipped tile: never computed"]];

function legendOf(kind) {
  return {
    encoder: [["prefix", "reads back, and itself"], ["added", "reads ahead: more than causal"]],
    decoder: [["target", "reads back, and itself"]],
    "encoder-decoder": [["prefix", "source self-attention"], ["cross", "cross-attention"], ["target", "target self-attention"]],
    prefix: [["prefix", "reads the prefix"], ["added", "added to causal: the prefix reads ahead"], ["target", "target reads the target before it"]],
    custom: [["prefix", "reads the prefix"], ["target", "reads the target"], ["added", "open, but closed in the prefix mask"], ["closed", "closed, but open in the prefix mask"]],
  }[kind]; // prettier-ignore
}

function render({ model, el }) {
  const store = storeOf(model);
  const ids = { field: uniqueId("mx-field"), note: uniqueId("mx-note"), slider: uniqueId("mx-slider"), kinds: uniqueId("mx-kind"), hint: uniqueId("mx-hint") };
  let preview = null; // { i, j } under the pointer: its arcs are shown, the choice stays
  let cursor = null; // the cell that the keyboard has in the grid
  let laidOut = { tokens: null, width: 0 };
  let refused = "";

  // -- the text

  const field = h("textarea", {
    id: ids.field, rows: "2", spellcheck: "false", dir: "auto", "aria-describedby": ids.note,
    placeholder: "Type or paste your own sentence", oninput: () => typed(),
  }); // prettier-ignore
  const note = h("p", { class: "mx-note", id: ids.note });
  const typed = () => {
    try {
      refused = "";
      store.setText(field.value);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      refused = `${error.message} The picture still shows the text before.`;
    }
    field.setAttribute("aria-invalid", String(Boolean(refused)));
    draw();
  };

  // -- the kind

  const radios = {};
  const segments = Object.entries(KIND_LABELS).map(([kind, [words, term]]) => {
    const radio = h("input", { type: "radio", name: ids.kinds, value: kind, onchange: () => store.set({ kind }) });
    radios[kind] = radio;
    return h("label", { class: "mx-segment" }, radio, h("span", { class: "mx-kind" }, words), h("span", { class: "mx-term" }, term));
  });
  const kinds = h("fieldset", { class: "mx-kinds" }, h("legend", { class: "visually-hidden" }, "Who may look at whom"), segments);

  // -- the strip and the slider

  const strip = makeStrip(() => store.state, {
    boundary: (prefix_len) => store.set({ prefix_len }),
    choose: (selected) => {
      preview = null;
      store.set({ selected });
    },
    preview: (i) => show(i === null ? null : { i, j: null }),
  });
  const slider = h("input", { id: ids.slider, type: "range", min: "0", step: "1", "aria-describedby": ids.hint, oninput: () => store.set({ prefix_len: Number(slider.value) }) });
  const sliderValue = h("span", { class: "mx-number mx-chosen", "aria-hidden": "true" }); // no <output>: it would be read at each step
  const hint = h("p", { class: "mx-hint muted", id: ids.hint });
  const scoredKey = h("span", { class: "mx-key mx-scored" }, "scored by the loss");
  const keys = h("p", { class: "mx-keys" },
    h("span", { class: "mx-key mx-prefix" }, "prefix"), h("span", { class: "mx-key mx-target" }, "target"),
    scoredKey); // prettier-ignore

  // -- the grid

  const grid = makeGrid({
    hover: (cell) => show(cell ? { i: cell[0], j: cell[1] } : null),
    choose: (i, j) => {
      cursor = [i, j];
      store.set({ selected: i });
      draw();
    },
    move: (key) => {
      const T = store.state.tokens.length;
      if (!T) return false;
      const [i, j] = cursor ?? [store.state.selected ?? 0, store.state.selected ?? 0];
      const to = { ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1], Home: [i, 0], End: [i, T - 1], PageUp: [0, j], PageDown: [T - 1, j] }[key];
      if (!to) return false;
      cursor = to.map((n) => Math.max(0, Math.min(T - 1, n)));
      preview = null;
      store.set({ selected: cursor[0] });
      draw();
      return true;
    },
  });
  grid.box.addEventListener("focus", () => {
    if (!grid.box.matches(":focus-visible") || !store.state.tokens.length) return;
    const i = Math.min(store.state.selected ?? 0, store.state.tokens.length - 1);
    cursor = [i, cursor ? Math.min(cursor[1], store.state.tokens.length - 1) : i];
    draw();
  });
  grid.box.addEventListener("blur", () => {
    cursor = null;
    draw();
  });
  const cellLine = h("p", { class: "mx-cell" });
  const legend = h("ul", { class: "mx-legend" });

  const meters = makeMeters(store);
  const words = h("p", { class: "mx-sentence" });
  const ghost = h("p", { class: "mx-sentence mx-ghost", "aria-hidden": "true" });
  const live = liveRegion();

  const main = h("div", { class: "mx-main" }, h("div", { class: "mx-left" }, grid.box, cellLine), h("div", { class: "mx-right" }, meters.boxes, legend));
  const root = h("section", { class: "course mx", "aria-label": "Mask explorer" },
    h("div", { class: "mx-head" },
      h("div", { class: "mx-text" }, h("label", { for: ids.field }, "Your sentence"), field, note), kinds),
    strip.box,
    h("div", { class: "mx-boundary" }, h("label", { for: ids.slider }, "Prefix length P"), slider, sliderValue, hint),
    keys, main, h("div", { class: "mx-words" }, ghost, words), live); // prettier-ignore
  keepKeys(root);
  el.append(root);

  // -- drawing

  /** The state as the pure functions take it, made safe: Python may set one trait after another. */
  const current = () => {
    const { state } = store;
    const T = state.tokens.length;
    const own = state.custom?.length === T * T ? state.custom : null;
    return {
      tokens: state.tokens,
      kind: state.kind === "custom" && !own ? "prefix" : state.kind,
      prefixLen: Math.min(state.prefix_len, T),
      selected: state.selected === null || state.selected >= T ? null : state.selected,
      tile: state.tile,
      custom: own,
      moved: state.moved_from,
    };
  };

  let drawnOver = "";
  const show = (next) => {
    if (next?.i === preview?.i && next?.j === preview?.j) return;
    preview = next;
    draw();
  };

  let counted = null;
  let countedFor = "";
  let dirtyCells = true;
  const drawNow = () => {
    if (!laidOut.width) return; // not in the page yet: there are no sizes and no colours
    const now = current();
    const { tokens, kind, prefixLen: P, tile, custom } = now;
    const T = tokens.length;
    const width = laidOut.width;
    if (laidOut.tokens !== tokens) {
      strip.build(tokens);
      laidOut.tokens = tokens;
      cursor = preview = null;
      layOut();
      setSentences(ghost, longestSentences(now));
      countedFor = "";
    }
    const mark = `${kind} ${P} ${T} ${tile}`;
    if (mark !== countedFor || custom !== counted?.custom) {
      counted = { ...counts(kind, P, T, tile, custom), custom };
      countedFor = mark;
      dirtyCells = true;
    }
    const asks = preview ? preview.i : now.selected;
    strip.draw(now, counted, asks, preview?.j ?? null);
    const look = `${store.state.show_tiles}`;
    if (dirtyCells || drawNow.look !== look) grid.draw(now, counted, store.state.show_tiles);
    const cell = preview && preview.j !== null ? [preview.i, preview.j] : cursor;
    const cellText = cell ? cellWords(now, ...cell) : "";
    const overMark = `${asks} ${cell} ${width} ${T}`;
    if (dirtyCells || drawnOver !== overMark || drawNow.look !== look) grid.drawOver(now, asks, cell, cellText);
    drawnOver = overMark;
    dirtyCells = false;
    drawNow.look = look;
    setText(cellLine, cell ? cellText : T ? "Point at a cell, or move with the arrow keys, to have it in words." : "");
    drawControls(now);
    meters.draw(now, counted);
    const parts = sentences(now, counted);
    setSentences(words, now.moved ? parts.slice(1) : parts);
    live.sayNew(parts);
  };

  const drawControls = ({ tokens, kind, prefixLen: P, moved, custom }) => {
    const T = tokens.length;
    if (document.activeElement !== field || (!refused && field.value.toWellFormed() !== store.state.text)) {
      if (!refused && field.value !== store.state.text) field.value = store.state.text;
    }
    setText(note, refused || (moved !== null ? movedWords(moved, P, T) : `${plural(T, "token")} of at most ${MAX_TOKENS}`));
    note.classList.toggle("bad", Boolean(refused));
    note.classList.toggle("muted", !refused && moved === null);
    for (const [name, radio] of Object.entries(radios)) if (radio.checked !== (name === kind)) radio.checked = name === kind;
    scoredKey.hidden = kind === "custom";
    scoredKey.classList.toggle("mx-read", kind === "encoder");
    segments.at(-1).hidden = !store.state.custom;
    radios.custom.disabled = !custom;
    const off = kind === "encoder" || kind === "decoder" || T === 0;
    if (slider.disabled !== off) slider.disabled = off;
    if (slider.max !== String(T)) slider.max = T;
    if (slider.value !== String(P)) slider.value = P;
    slider.setAttribute("aria-valuetext", boundaryWords(tokens, P));
    setText(sliderValue, `${P} of ${T}`);
    setText(hint, BOUNDARY_HINTS[kind]);
    const tiled = store.state.show_tiles;
    if (legend.mxKind !== `${kind} ${tiled}`) {
      legend.mxKind = `${kind} ${tiled}`;
      const rows = [...legendOf(kind), ["hatch", "may not read"], ...(tiled ? TILE_LEGEND : [])];
      legend.replaceChildren(...rows.map(([role, text]) => h("li", {}, h("span", { class: `mx-swatch mx-${role}` }), text)));
      const roles = { "encoder-decoder": ["source", "target"], encoder: ["reads both ways", null], decoder: [null, "written left to right"] }[kind] ?? ["prefix", "target"];
      roles.forEach((role, n) => {
        keys.children[n].hidden = role === null;
        setText(keys.children[n], role ?? "");
      });
    }
  };

  const layOut = () => {
    grid.readColours();
    strip.readColours();
    slider.dir = strip.measure() ? "rtl" : "ltr";
    grid.layout(store.state.tokens, main.firstChild.clientWidth);
    dirtyCells = true;
    drawnOver = "";
  };

  const draw = oncePerFrame(drawNow);
  const stopWatching = store.watch(draw);
  const layOutAnew = () => {
    laidOut.tokens = null;
    draw();
  };
  const stopTheme = onTheme(layOutAnew);
  const resized = new ResizeObserver(() => {
    if (root.clientWidth === laidOut.width || !root.clientWidth) return;
    laidOut = { tokens: null, width: root.clientWidth };
    drawNow();
  });
  laidOut.width = root.clientWidth;
  resized.observe(root); // also tells when JupyterLab, which renders before it attaches, gives the root its place
  document.fonts.ready.then(layOutAnew);
  drawNow();

  return () => {
    stopWatching();
    stopTheme();
    resized.disconnect();
  };
}

export default { render };
export { cellRoles, cellWords, counts, difference, followEdit, lossPositions, maskBits, quote, samePlace, sentences, showToken, splitText }; // prettier-ignore
