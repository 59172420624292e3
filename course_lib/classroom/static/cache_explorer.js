// needs: text_rules.js mask_rules.js mask_words.js player.js cache_rules.js cache_flow.js
// The cache explorer: steps through prefill and decode, a boundary that makes rows stale, and what all of it costs.

const PLAY_EVERY = 1100; // ms
const TRAITS = { tokens: "tokens", promptLen: "prompt_len", prefixLen: "prefix_len", layers: "layers", step: "step", prefillLen: "prefill_len", reEncoded: "re_encoded", reader: "reader", turns: "turns" };

function render({ model, el }) {
  const ids = Object.fromEntries(["step", "prefix", "layers", "turns"].map((name) => [name, uniqueId(`cx-${name}`)]));
  const saver = lazySaver(model);
  let width = 0;

  const state = () => {
    const now = Object.fromEntries(Object.entries(TRAITS).map(([name, trait]) => [name, model.get(trait)]));
    now.reader ??= null;
    now.prefixLen = Math.min(now.prefixLen, boundaryLimit(now)); // Python may set one trait after another
    return now;
  };
  const change = (changes) => {
    if (!changes) return;
    for (const [name, value] of Object.entries(changes)) model.set(TRAITS[name], value);
    saver.soon();
    draw();
  };
  const go = (step) => {
    const now = state();
    if (step >= 0 && step <= lastStep(now) && step !== now.step) change({ ...stepTo(now, step), reader: null });
  };
  const move = (P) => change(moveBoundary(state(), P));

  // -- the controls

  const player = makePlayer({
    at: () => state().step, last: () => lastStep(state()), blocked: () => cacheAction(state()) === "moved", every: PLAY_EVERY,
    go, draw: () => draw(),
  }); // prettier-ignore
  const slider = h("input", { id: ids.step, type: "range", min: "0", step: "1", oninput: () => {
    player.stop();
    const now = state(), to = Number(slider.value); // prettier-ignore
    if (stepTo(now, to)) go(to);
    else draw();
  } }); // prettier-ignore
  const sliderValue = h("span", { class: "cx-number cx-value", "aria-hidden": "true" });
  const prefix = h("input", { id: ids.prefix, type: "range", min: "0", step: "1", oninput: () => (player.stop(), move(Number(prefix.value))) });
  const prefixValue = h("span", { class: "cx-number cx-value", "aria-hidden": "true" });
  const layers = h("select", { id: ids.layers, onchange: () => change({ layers: Number(layers.value) }) }, [1, 2, 3, 4, 5, 6].map((n) => h("option", { value: n }, String(n))));
  const mend = pressButton("Re-encode", () => change(reEncode(state())), "primary");
  const mendNote = h("span", { class: "cx-mend-note muted" });

  // -- the picture and the numbers

  const flow = makeFlow(state, { boundary: (P) => (player.stop(), move(P)), read: (reader) => change({ reader }) });
  const legend = h("ul", { class: "cx-legend" }, [["empty", "empty"], ["written", "written in this step"], ["kept", "kept"], ["stale", "stale"]].map(([kind, words]) =>
    h("li", {}, h("span", { class: `cx-swatch cx-cell cx-${kind}` }), words))); // prettier-ignore
  const written = figure("Rows written");
  const read = figure("Rows read");
  const work = bars("Query–key products so far", ["with the cache", "without one"]);
  const stale = h("ul", { class: "cx-stale-list" });
  const chat = bars("Rows written in a chat", ["causal", "prefix"]);
  const turns = h("input", { id: ids.turns, type: "range", min: "1", max: "10", step: "1", oninput: () => change({ turns: Number(turns.value) }) });
  const turnsValue = h("span", { class: "cx-number", "aria-hidden": "true" });
  const words = h("p", {}), kept = h("p", { class: "cx-room", "aria-hidden": "true" }); // prettier-ignore
  const live = liveRegion();

  const root = h("section", { class: "course cx", "aria-label": "Cache explorer" },
    h("div", { class: "cx-controls" },
      player.box,
      h("div", { class: "cx-range" }, h("label", { for: ids.step }, "Step"), slider, sliderValue),
      h("label", { class: "cx-check" }, "Layers", layers)),
    h("div", { class: "cx-controls" },
      h("div", { class: "cx-range" }, h("label", { for: ids.prefix }, "Prefix length P"), prefix, prefixValue),
      h("div", { class: "cx-mend" }, mend, mendNote)),
    h("div", { class: "cx-main" },
      h("div", {}, flow.box, legend),
      h("div", { class: "cx-side" },
        h("div", { class: "cx-figures" }, written.box, read.box),
        work.box,
        h("div", {}, h("p", { class: "cx-title" }, "Stale rows"), stale),
        h("div", {}, chat.box, h("div", { class: "cx-range cx-turns" }, h("label", { for: ids.turns }, "Turns"), turns, turnsValue)))),
    h("div", { class: "cx-words" }, kept, words), live); // prettier-ignore
  keepKeys(root);
  el.append(root);

  // -- drawing

  const drawNow = () => {
    if (!width) return; // not in the page yet: there are no sizes
    const now = state();
    if (now.tokens.length < now.promptLen || now.step > lastStep(now)) return; // Python's message is still coming in
    const n = heldTokens(now), done = cacheAction(now); // prettier-ignore
    flow.draw(now);
    drawControls(now, done);
    const rows = rowsWritten(now);
    written.show(String(sum(rows)), !sum(rows) ? "nothing is written" : rows.every((count) => count === rows[0]) ? `${rows[0]} in each layer` : `${series(rows.map(String))} by layer`);
    const reads = n && done !== "moved" ? rowsRead(now) : 0;
    read.show(String(reads * now.layers), reads ? `${reads} in each layer, by row ${readingRow(now)}` : "nothing is read");
    const [used, everything] = productsSoFar(now);
    work.show([[used], [everything]], Math.max(everything, 1), [String(used), String(everything)], everything > used ? `${everything - used} saved` : "nothing saved yet");
    drawStale(now, n);
    const [once, again] = chatRows(now.turns, now.promptLen, now.tokens.length - now.promptLen, now.layers);
    chat.show([[once], [once, again]], once + again, [String(once), `${once} + ${again}`], again ? `${plural(again, "row")} written again, for the prefix grows` : "no row is written again");
    if (turns.value !== String(now.turns)) turns.value = now.turns;
    setText(turnsValue, String(now.turns));
    const parts = cacheSentences(now);
    setText(kept, longestCacheWords(now));
    setSentences(words, parts);
    live.sayNew(parts);
  };

  const drawControls = (now, done) => {
    const last = lastStep(now), blocked = done === "moved"; // prettier-ignore
    player.show(now.step === 0 ? "Prefill" : "Step");
    slider.max = last;
    slider.value = now.step;
    slider.setAttribute("aria-valuetext", `${now.step} of ${last}: ${done === "empty" ? "empty cache" : now.step === 1 ? "prefill" : `new token ${now.step - 1}`}`);
    setText(sliderValue, `${now.step} of ${last}`);
    const limit = boundaryLimit(now);
    prefix.max = limit;
    prefix.value = now.prefixLen;
    prefix.setAttribute("aria-valuetext", placeOfBoundary(now.tokens, now.prefixLen));
    setText(prefixValue, `${now.prefixLen} of ${limit}`);
    if (layers.value !== String(now.layers)) layers.value = now.layers;
    mend.setAttribute("aria-disabled", String(!blocked));
    const count = sum(staleOf(now));
    setText(mend, blocked ? `Re-encode ${plural(count, "row")}` : "Re-encode");
    setText(mendNote, blocked ? "before the next step" : now.step ? "Move the boundary: what goes stale?" : "");
  };

  const drawStale = (now, n) => {
    const counts = staleOf(now);
    if (stale.childElementCount !== counts.length)
      stale.replaceChildren(...counts.map((_, layer) => h("li", {}, h("span", {}, `layer ${layer + 1}`), h("span", { class: "cx-track" }, h("span", { class: "cx-fill cx-bad" })), h("span", { class: "cx-number" }))));
    counts.forEach((count, layer) => {
      const [, track, number] = stale.children[layer].children;
      track.firstChild.style.width = `${n ? (100 * count) / n : 0}%`;
      setText(number, `${count} of ${n}`);
    });
  };

  const draw = oncePerFrame(drawNow);
  const stops = Object.values(TRAITS).map((trait) => onTrait(model, trait, draw));
  const layOut = () => {
    if (!root.clientWidth || root.clientWidth === width) return;
    width = root.clientWidth;
    flow.rebuild();
    drawNow();
  };
  const resized = new ResizeObserver(layOut); // also tells when JupyterLab, which renders before it attaches, gives the root its place
  resized.observe(root);
  document.fonts.ready.then(() => {
    flow.rebuild();
    draw();
  });
  layOut();

  return () => {
    saver.flush();
    player.dispose();
    stops.forEach((stopOne) => stopOne());
    resized.disconnect();
  };
}

/** A large number with a line beneath. */
function figure(title) {
  const value = h("span", { class: "cx-big cx-number" }), detail = h("span", { class: "muted cx-number" }); // prettier-ignore
  return {
    box: h("div", { class: "cx-figure" }, h("p", { class: "cx-title" }, title), value, detail),
    show(number, words) {
      setText(value, number);
      setText(detail, words);
    },
  };
}

/** Two bars on one scale; each may have a second part. */
function bars(title, names) {
  const detail = h("p", { class: "muted cx-detail" });
  const rows = names.map((name) => {
    const fills = [h("span", { class: "cx-fill" }), h("span", { class: "cx-fill cx-again" })];
    const number = h("span", { class: "cx-number" });
    return { fills, number, row: h("li", {}, h("span", {}, name), h("span", { class: "cx-track", "aria-hidden": "true" }, fills), number) };
  });
  return {
    box: h("div", { class: "cx-bars" }, h("p", { class: "cx-title" }, title), h("ul", {}, rows.map(({ row }) => row)), detail),
    show(values, scale, numbers, words) {
      rows.forEach(({ fills, number }, n) => {
        fills.forEach((fill, part) => (fill.style.width = `${(100 * (values[n][part] ?? 0)) / scale}%`));
        setText(number, numbers[n]);
      });
      setText(detail, words);
    },
  };
}

export default { render };
export { cacheAction, cacheSentences, cellStates, chatRows, productsOf, productsSoFar, reEncode, rowsWritten, staleRows, stepTo }; // prettier-ignore
