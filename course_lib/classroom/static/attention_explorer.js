// needs: controls.js text_rules.js mask_rules.js mask_words.js mask_paint.js mask_grid.js mask_strip.js attention_words.js attention_store.js attention_grid.js attention_marks.js
// The attention explorer: a text, the boundary, a layer and a head, and what the model looks at and expects.

const MOST_BARS = 6;
const NEXT_BARS = 8;

function render({ model, el }) {
  const store = attentionStoreOf(model);
  const ids = { field: uniqueId("ax-field"), note: uniqueId("ax-note"), slider: uniqueId("ax-slider"), hint: uniqueId("ax-hint") };
  let preview = null; // { i, j } under the pointer
  let cursor = null; // the cell that the keyboard has in the grid
  let laidOut = { tokens: null, width: 0 };

  // -- the text

  const field = h("textarea", { id: ids.field, rows: "2", spellcheck: "false", "aria-describedby": ids.note, oninput: () => store.setText(field.value), onblur: () => store.leaveText() });
  const note = h("p", { class: "mx-note", id: ids.note });

  // -- the strip and the slider

  const strip = makeStrip(() => ({ ...store.state(), prefix_len: store.state().prefixLen }), {
    boundary: (P) => store.setBoundary(P),
    choose: (selected) => {
      preview = null;
      store.set({ selected });
    },
    preview: (i) => show(i === null ? null : { i, j: null }),
  });
  strip.box.querySelector(".mx-empty").textContent = "No tokens yet. Type a text above, and the model reads it.";
  strip.box.querySelector(".mx-tokens").setAttribute("aria-label", "Tokens. The chosen one asks; arcs are as thick as its attention.");
  const arcs = makeWeightArcs(strip);
  const slider = h("input", { id: ids.slider, type: "range", min: "0", step: "1", "aria-describedby": ids.hint, oninput: () => store.setBoundary(Number(slider.value)) });
  const sliderValue = h("span", { class: "mx-number mx-chosen", "aria-hidden": "true" });
  const status = h("span", { class: "ax-status" });
  const hint = h("p", { class: "mx-hint muted", id: ids.hint }, "Drag the divider or the slider, or use the arrow keys. Choose a token to see where it looks.");
  const keys = h("p", { class: "mx-keys" }, h("span", { class: "mx-key mx-prefix" }, "prefix"), h("span", { class: "mx-key mx-target" }, "target"), status);

  // -- layer and head

  const layers = segments("Layer", (layer) => store.set({ layer }));
  const heads = segments("Head", (head) => store.set({ head }));

  // -- the grid

  const grid = makeGrid({
    hover: (cell) => show(cell ? { i: cell[0], j: cell[1] } : null),
    choose: (i, j) => {
      cursor = [i, j];
      store.set({ selected: i });
      draw();
    },
    move: (key) => {
      const { tokens, selected } = store.state();
      const T = tokens.length;
      if (!T) return false;
      const [i, j] = cursor ?? [selected ?? 0, selected ?? 0];
      const to = { ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1], Home: [i, 0], End: [i, T - 1], PageUp: [0, j], PageDown: [T - 1, j] }[key];
      if (!to) return false;
      cursor = to.map((n) => Math.max(0, Math.min(T - 1, n)));
      preview = null;
      store.set({ selected: cursor[0] });
      draw();
      return true;
    },
  });
  grid.box.setAttribute("aria-label", "Attention weights: rows are queries, columns are keys. Arrow keys move from cell to cell.");
  grid.box.addEventListener("focus", () => {
    const { tokens, selected } = store.state();
    if (!grid.box.matches(":focus-visible") || !tokens.length) return;
    const i = selected ?? 0;
    cursor = [i, cursor ? Math.min(cursor[1], tokens.length - 1) : i];
    draw();
  });
  grid.box.addEventListener("blur", () => {
    cursor = null;
    draw();
  });
  const heat = makeHeat(grid);
  const cellLine = h("p", { class: "mx-cell" });

  // -- the bars and the words

  const looks = barList("looks", MOST_BARS, "looks at");
  const ahead = h("p", { class: "ax-ahead" });
  const expects = barList("next", NEXT_BARS, "expects");
  const rowNoteLine = h("p", { class: "ax-row-note muted" });
  const words = h("p", { class: "mx-sentence" });
  const kept = [words, ahead, rowNoteLine].map((line) => h(line.tagName, { class: `${line.className} ax-ghost`, "aria-hidden": "true" }));
  const live = liveRegion();

  const left = h("div", { class: "mx-left" }, grid.box, heatScale(), cellLine);
  const right = h("div", { class: "mx-right ax-right" }, looks.box, h("div", { class: "ax-kept" }, kept[1], ahead), expects.box, h("div", { class: "ax-kept" }, kept[2], rowNoteLine));
  const root = h("section", { class: "course mx ax", "aria-label": "Attention explorer" },
    h("div", { class: "mx-text" }, h("label", { for: ids.field }, "The text that the model reads"), field, note),
    strip.box,
    h("div", { class: "mx-boundary" }, h("label", { for: ids.slider }, "Prefix length P"), slider, sliderValue, hint),
    keys, h("div", { class: "ax-choose" }, layers.box, heads.box),
    h("div", { class: "mx-main" }, left, right), h("div", { class: "mx-words ax-kept" }, kept[0], words), live); // prettier-ignore
  keepKeys(root);
  el.append(root);

  // -- drawing

  const show = (next) => {
    if (next?.i === preview?.i && next?.j === preview?.j) return;
    preview = next;
    draw();
  };

  const drawNow = () => {
    if (!laidOut.width) return; // not in the page yet: there are no sizes and no colours
    const now = store.state();
    if (!now.whole) return; // Python's message is still coming in, trait by trait
    const { tokens, prefixLen: P } = now;
    const T = tokens.length;
    if (laidOut.tokens !== tokens) {
      strip.build(tokens);
      laidOut.tokens = tokens;
      cursor = preview = null;
      layOut(tokens);
    }
    longestAttentionWords(now).forEach((longest, n) => setText(kept[n], [longest].flat().join(" ")));
    const counted = { ...counts("prefix", P, T, 4), loss: null };
    const masked = { kind: "prefix", tokens, prefixLen: P, selected: now.selected, tile: 4, custom: null };
    const asks = preview ? preview.i : now.selected;
    const stale = now.busy;
    strip.draw(masked, counted, asks, -1); // -1: no arcs of the strip's own
    arcs.draw(asks === null ? null : attentionRow(now, asks), asks, preview?.j ?? null, stale);
    grid.draw(masked, counted, false);
    heat.draw(now, stale);
    const cell = preview && preview.j !== null ? [preview.i, preview.j] : cursor;
    const cellText = cell ? (stale ? "The weights are being computed." : weightCellWords(now, ...cell)) : "";
    grid.drawOver(masked, asks, cell, cellText);
    setText(cellLine, cell ? cellText : T ? "Point at a cell, or move with the arrow keys, to have its weight in words." : "");
    root.classList.toggle("is-stale", stale);
    root.setAttribute("aria-busy", String(stale));
    setText(status, now.late ? "Python does not answer: is a cell running, or the kernel stopped?" : stale ? "computing …" : "");
    status.classList.toggle("bad", now.late);
    drawControls(now);
    drawBars(now, asks);
    const parts = attentionSentences(now);
    if (!stale) setSentences(words, parts);
    speak(now, parts, stale);
  };

  const drawControls = ({ tokens, prefixLen: P, text, problem, movedFrom, layers: L, heads: H, layer, head, late }) => {
    const T = tokens.length;
    if (field.value !== text) field.value = text;
    const moved = movedFrom === null || movedFrom === undefined ? "" : `The boundary moved from ${movedFrom} to ${P}, with the words that it stands between.`;
    setText(note, problem ? `${problem} The picture still shows the text before.` : moved || `${plural(T, "token")}, special tokens included`);
    note.classList.toggle("bad", Boolean(problem));
    note.classList.toggle("muted", !problem && !moved);
    field.setAttribute("aria-invalid", String(Boolean(problem)));
    if (slider.disabled !== !T) slider.disabled = !T;
    if (slider.max !== String(T)) slider.max = T;
    if (slider.value !== String(P)) slider.value = P;
    slider.setAttribute("aria-valuetext", boundaryWords(tokens, P));
    setText(sliderValue, `${P} of ${T}`);
    layers.show(Array.from({ length: L }, (_, n) => [n + 1, String(n + 1)]), layer);
    heads.show([[null, "mean"], ...Array.from({ length: H }, (_, n) => [n + 1, String(n + 1)])], head);
  };

  const drawBars = (now, asks) => {
    const { tokens, next, follows } = now;
    if (asks === null) {
      looks.show("Choose a token to see where it looks", []);
      expects.show("… and what the model expects next", []);
      setText(ahead, "");
      setText(rowNoteLine, "");
      return;
    }
    const state = { ...now, selected: asks };
    const row = attentionRow(state, asks);
    const after = tokens[asks + 1];
    looks.show(`${quote(tokens[asks])} (query ${asks}) looks at`, largestKeys(row, MOST_BARS).filter((j) => row[j] > 0)
      .map((j) => ({ word: `${tokens[j]}`, share: row[j], text: weightInWords(row[j]), mark: `key ${j}${j > asks ? ", ahead" : j === asks ? ", itself" : ""}` }))); // prettier-ignore
    setText(ahead, aheadInWords(state, row));
    const bars = next[asks].map(([word, p]) => ({ word, share: p, text: shareInWords(p), mark: word === after ? "in the text" : "" }));
    expects.show(`after ${quote(tokens[asks])} the model expects`, bars);
    const missed = after !== undefined && !next[asks].some(([word]) => word === after);
    setText(rowNoteLine, [missed && `The text goes on with ${quote(after)}: ${shareInWords(follows[asks])}.`, rowNote(state)].filter(Boolean).join(" "));
  };

  /** Speak only the sentences that changed, when things have settled. */
  const speak = ({ late, problem }, parts, stale) => {
    if (late) return live.say("Python does not answer.");
    if (problem) return live.say(problem);
    if (stale) return;
    live.sayNew(parts);
  };

  const layOut = (tokens) => {
    grid.readColours();
    heat.readColours();
    strip.readColours();
    strip.measure();
    arcs.measure();
    grid.layout(tokens, left.clientWidth);
    heat.layout();
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
export { attentionRow, attentionSentences, weightCellWords };
