// needs: number_words.js controls.js player.js state_rules.js
// The state explorer: facts arrive in a memory of fixed size, and what can be read from it is shown beside it.

const PLAY_EVERY = 900; // ms
const TRAITS = ["facts", "features", "feature_map", "normalize", "prefix_len", "step", "selected"];
const MOST_NUMBERED = 16; // features: with more, a row has no place for numbers, and what is below 0 is hatched
const REFUSED = "With identity there is no normalising: φ(q)·z may be 0 or negative.";
const NORMALISED = "Divides all of v̂ by φ(q)·z: the largest stays the largest.";

function render({ model, el }) {
  const saver = lazySaver(model);
  let drawn = "", past = null; // prettier-ignore
  const world = () => model.get("world");
  /** The traits, made to fit: Python may set one after another. */
  const state = () => {
    const s = Object.fromEntries(TRAITS.map((name) => [name, model.get(name)]));
    s.prefix_len = Math.min(s.prefix_len, s.facts);
    s.normalize = s.normalize && s.feature_map !== "identity";
    return { ...s, step: Math.min(s.step, lastStep(s)), selected: Math.min(s.selected, s.facts - 1) };
  };
  const change = (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(name, value);
    saver.soon();
    draw();
  };
  const go = (step) => step >= 0 && step <= lastStep(state()) && change({ step });
  const select = (selected) => selected >= 0 && selected < state().facts && change({ selected });

  // -- the controls

  const player = makePlayer({ at: () => state().step, last: () => lastStep(state()), every: PLAY_EVERY, go, draw: () => draw() });
  const step = slider("Step", (value) => (player.stop(), go(value)));
  step.input.addEventListener("keydown", (event) => {
    if (event.key !== " ") return;
    event.preventDefault();
    player.toggle();
  });
  const facts = slider("Facts", (value) => change(refit(state(), { facts: value })), 1);
  const prefix = slider("Prefix, at once", (value) => change(refit(state(), { prefix_len: value })));
  const features = slider("Features of a key", (value) => change({ features: FEATURES[value] }));
  const told = uniqueId("st-told");
  const maps = segments("Feature map φ", (name) => change(name === "identity" ? { feature_map: name, normalize: false } : { feature_map: name }));
  const normalize = h("input", { type: "checkbox", "aria-describedby": told, onclick: (event) => {
    if (state().feature_map !== "identity") return change({ normalize: normalize.checked });
    event.preventDefault();
    live.say(REFUSED, 0);
  } }); // prettier-ignore
  const note = roomFor([REFUSED, NORMALISED]);
  note.text.id = told;
  note.box.classList.add("course-note", "muted");

  // -- facts, S, what is read, and the strip

  const options = Array.from({ length: MOST_FACTS }, (_, fact) => {
    const words = h("span", { class: "st-word" }), mark = h("span", { class: "st-mark" }); // prettier-ignore
    return { words, mark, option: h("div", { role: "option", onclick: () => select(fact) }, words, mark) };
  });
  const list = h("div", { class: "st-facts", role: "listbox", "aria-label": "Facts: choose the one that is asked for", onkeydown: (event) => {
    const { selected: at, facts: count } = state();
    const to = { ArrowDown: at + 1, ArrowRight: at + 1, ArrowUp: at - 1, ArrowLeft: at - 1, Home: 0, End: count - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (to >= 0 && to < count) (select(to), options[to].option.focus());
  } }, options.map(({ option }) => option)); // prettier-ignore
  const map = h("div", { class: "st-map", role: "table" }), mapTitle = h("p", { class: "course-title" }); // prettier-ignore
  const low = h("span", { class: "st-digit" }), high = h("span", { class: "st-digit" }); // prettier-ignore
  const scale = h("p", { class: "st-scale", "aria-hidden": "true" }, low, h("span", { class: "st-ramp" }), high);
  const bars = Array.from({ length: VALUES }, () => {
    const [digit, amount, mark] = ["st-digit", "st-digit st-amount", "st-tag"].map((kind) => h("span", { class: kind }));
    const fill = h("span", { class: "st-fill" });
    return { digit, amount, mark, fill, row: h("li", {}, digit, h("span", { class: "st-track", "aria-hidden": "true" }, fill), amount, mark) };
  });
  const readTitle = h("p", { class: "course-title" });
  const slots = Array.from({ length: MOST_FACTS }, () => h("span", { class: "st-slot" }));
  const strip = h("div", { class: "st-strip", role: "img" }, slots), recall = h("p", { class: "course-title" }); // prettier-ignore
  const said = roomFor(["Step 32 of 32: the prefix, 32 facts, arrives at once: one product KᵀV is added to S. A query made in the prefix sees all 32."]);
  const asked = roomFor(["Asked for thimble, v̂ is largest at 8 (188.88) from other facts alone: thimble is not stored yet."]);
  const size = roomFor(["S and z hold 64 × 8 + 64 = 576 numbers; 32 facts so far. A cache would hold 32 × (64 + 8) = 2,304."]);
  const live = liveRegion();

  const root = h("section", { class: "course st", "aria-label": "State explorer" },
    h("div", { class: "st-run" }, player.box, step.box),
    h("div", { class: "st-settings" }, facts.box, prefix.box, features.box),
    h("div", { class: "st-settings st-choices" },
      maps.box,
      h("div", { class: "st-normalize" }, h("label", {}, normalize, "Normalise"), note.box)),
    h("div", { class: "course-words" }, said.box),
    h("div", { class: "st-panels" },
      h("div", { class: "st-panel st-left" }, h("p", { class: "course-title" }, "Facts: key → value"), list),
      h("div", { class: "st-panel st-middle" }, mapTitle, map, scale),
      h("div", { class: "st-panel st-right" }, readTitle, h("ul", { class: "st-bars" }, bars.map(({ row }) => row)), asked.box)),
    h("div", { class: "st-recall" }, recall, strip),
    h("div", { class: "course-words" }, size.box),
    h("p", { class: "course-note muted" }, "▸ arrives in this step; dashed: to come; blue edge: prefix. ✓ ✗: the largest of v̂ is, or is not, what was stored. Keys are random unit vectors. The last S does not depend on the prefix: a sum has no order."),
    live); // prettier-ignore
  keepKeys(root);
  el.append(root);

  // -- drawing

  const cells = [];
  const buildMap = (Dk) => {
    const line = (label, kind = "") => {
      const made = Array.from({ length: VALUES + 1 }, (_, n) => h("div", { class: n ? "st-cell" : "st-cell st-query", role: label === "" ? "columnheader" : "cell" }, h("span")));
      if (label) cells.push(made);
      return [h("div", { class: `st-row ${kind}`, role: "row" }, made), made];
    };
    cells.length = 0;
    const [header, titles] = line("", "st-header");
    titles.forEach((cell, n) => (cell.firstChild.textContent = n ? world().digits[n - 1] : "φ(q)"));
    map.heads = titles;
    map.replaceChildren(header, ...Array.from({ length: Dk }, (_, row) => line(`${row + 1}`)[0]));
    map.classList.toggle("is-fine", Dk > MOST_NUMBERED);
    scale.classList.toggle("is-fine", Dk > MOST_NUMBERED);
  };

  const draw = oncePerFrame(() => {
    const s = state(), all = world(), frame = JSON.stringify([s.facts, s.features, s.feature_map, s.normalize]); // prettier-ignore
    if (drawn !== frame || past.world !== all) {
      if (cells.length !== s.features) buildMap(s.features);
      past = { ...history(all, s), world: all };
      drawn = frame;
    }
    const stored = storedAt(s), right = recalled(all, past.reads, stored), from = s.step === 1 ? 0 : stored - 1; // prettier-ignore
    const words = sentences(all, s, past);
    drawControls(s);
    drawFacts(s, all, stored, right, from);
    drawMap(s, all, stored, from);
    drawRead(s, all, stored);
    [said, asked, size].forEach(({ text }, n) => setText(text, words[[1, 2, 4][n]]));
    setText(recall, stored ? `Recall ${right.filter(Boolean).length} of ${stored}` : "Recall: nothing is stored yet");
    strip.setAttribute("aria-label", words[3]);
    live.sayNew(words.slice(0, 4));
  });

  const drawControls = (s) => {
    const last = lastStep(s);
    player.show();
    step.show(s.step, last, `${s.step} of ${last}`);
    facts.show(s.facts, MOST_FACTS, `${s.facts}`);
    prefix.show(s.prefix_len, s.facts, `${s.prefix_len} of ${s.facts}`);
    features.show(FEATURES.indexOf(s.features), FEATURES.length - 1, `${s.features}`);
    maps.show(Object.keys(MAPS).map((name) => [name, name === "identity" ? name : "elu + 1"]), s.feature_map);
    normalize.checked = s.normalize;
    normalize.setAttribute("aria-disabled", String(s.feature_map === "identity"));
    setText(note.text, s.feature_map === "identity" ? REFUSED : NORMALISED);
  };

  const drawFacts = (s, all, stored, right, from) => {
    options.forEach(({ option, words, mark }, fact) => {
      const when = fact >= stored ? "later" : fact >= from ? "now" : "stored", sign = fact >= stored ? "" : right[fact] ? "✓" : "✗"; // prettier-ignore
      option.hidden = slots[fact].hidden = fact >= s.facts;
      option.className = `is-${when}${fact < s.prefix_len ? " is-prefix" : ""}`;
      option.tabIndex = fact === s.selected ? 0 : -1;
      option.setAttribute("aria-selected", String(fact === s.selected));
      const spokenWhen = { later: "to come", now: "arrives now", stored: "stored" }[when];
      option.setAttribute("aria-label", [factWords(all, fact), fact < s.prefix_len && "prefix", spokenWhen, sign && (right[fact] ? "recalled right" : "recalled wrong")].filter(Boolean).join(", "));
      setText(words, factWords(all, fact));
      for (const each of [mark, slots[fact]]) {
        setText(each, sign);
        each.classList.toggle("is-right", sign === "✓");
        each.classList.toggle("is-wrong", sign === "✗");
      }
    });
  };

  const drawMap = (s, all, stored, from) => {
    const { S } = past.states[stored], query = past.keys[s.selected], changed = new Set(all.values.slice(from, stored)); // prettier-ignore
    setText(mapTitle, `S: ${s.features} features × ${VALUES} values`);
    map.setAttribute("aria-label", `φ(q) of ${all.nouns[s.selected]}, and S: ${s.features} features by ${VALUES} values`);
    map.heads.forEach((cell, n) => cell.classList.toggle("is-now", n > 0 && changed.has(n - 1)));
    cells.forEach((row, i) => [query[i], ...S[i]].forEach((x, n) => {
      setText(row[n].firstChild, number(x));
      row[n].classList.toggle("is-below", x < 0);
      row[n].style.setProperty("--share", Math.abs(x) / past.top);
    })); // prettier-ignore
    setText(low, number(-past.top));
    setText(high, number(past.top));
  };

  const drawRead = (s, all, stored) => {
    const read = past.reads[stored][s.selected], true_ = all.values[s.selected], known = s.selected < stored; // prettier-ignore
    const best = stored ? argmax(read) : -1, wide = past.high - past.low || 1, at = (x) => (100 * (x - past.low)) / wide; // prettier-ignore
    setText(readTitle, `${all.nouns[s.selected]}: v̂ = φ(q) S${s.normalize ? " / (φ(q)·z)" : ""}`);
    bars.forEach(({ row, digit, fill, amount, mark }, n) => {
      const verdict = n === best && known ? (n === true_ ? " is-right" : " is-wrong") : "";
      row.className = `${n === true_ ? `is-true${known ? "" : " is-later"}` : ""}${verdict}`;
      row.style.setProperty("--zero", `${at(0)}%`);
      fill.style.cssText = `left: ${at(Math.min(0, read[n]))}%; width: ${(100 * Math.abs(read[n])) / wide}%`;
      setText(digit, all.digits[n]);
      setText(amount, number(read[n]));
      setText(mark, verdict ? (n === true_ ? "✓ right" : "✗ wrong") : n === true_ ? (known ? "stored" : "to come") : n === best && read[n] > 0 ? "largest" : "");
    });
  };

  const stops = [...TRAITS, "world"].map((trait) => onTrait(model, trait, draw));
  draw();
  return () => {
    saver.flush();
    player.dispose();
    stops.forEach((stopOne) => stopOne());
  };
}

export default { render };
export { history, recalled, refit, sentences, storedAt };
