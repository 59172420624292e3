// needs: number_words.js controls.js
// The bytes of keys and values, counted here. Python's twin is classroom/kv_explorer.py; the sizes come from there.

const NUMBER_BYTES = 2; // bfloat16
const CONTEXTS = powers(8, 17), SEQUENCES = powers(0, 9); // prettier-ignore
const HUES = 3; // of the groups, one after the other
const MOST_HEADS = 48;

// -- the numbers; a state is { model, kvHeads, context, sequences, sizes }

const divisors = (heads) => Array.from({ length: heads }, (_, n) => n + 1).filter((n) => heads % n === 0);

/** The divisor of `heads` that is nearest to a number; of two, the smaller. */
const nearest = (heads, number) => divisors(heads).reduce((best, n) => (Math.abs(n - number) < Math.abs(best - number) ? n : best));

function kvCount({ model, kvHeads, context, sequences, sizes }) {
  const { layers, dim, heads, head_dim: size, hidden } = sizes[model];
  const token = 2 * layers * kvHeads * size * NUMBER_BYTES;
  const weights = layers * (dim * size * 2 * (heads + kvHeads) + 3 * dim * hidden) * NUMBER_BYTES;
  return { heads, layers, size, token, cache: token * context * sequences, weights };
}

// -- the words

function sharing(n, heads) {
  if (n === 1) return `shared by all ${heads} query heads (multi-query)`;
  return n === heads ? "one for each query head (multi-head)" : `each shared by ${heads / n} query heads (grouped-query)`;
}

/** Everything that is shown, as a list of sentences; the first stands below the heads. */
function kvSentences(state) {
  const { model, kvHeads: n, context, sequences } = state;
  const { heads, token, cache, weights } = kvCount(state);
  const times = cache / weights < 0.001 ? "less than 0.001 times" : `${brief(cache / weights)} times`;
  return [
    `${model} with ${plural(n, "key/value head")}, ${sharing(n, heads)}.`,
    `A token takes ${whole(token)} bytes.`,
    `${plural(sequences, "sequence")} of ${whole(context)} tokens ${sequences === 1 ? "keeps" : "keep"} ${byteSize(cache)}, ${times} the weights (${byteSize(weights)}).`,
    n === heads ? `With 1 key/value head the cache would be 1/${n} as large.` : `With ${heads} key/value heads the cache would be ${heads / n} times as large.`,
  ];
}

const movedWords = ({ model, from, to }) => `Key/value heads went from ${from} to ${to}, the nearest that fits ${model}.`;
const tokenWords = (layers, n, size) => `2 × ${layers} layers × ${plural(n, "head")} × ${size} numbers × 2 bytes`;
const cacheWords = (token, context, sequences) => `${whole(token)} × ${whole(context)} tokens × ${plural(sequences, "sequence")}`;

// -- the widget

function render({ model, el }) {
  const sizes = model.get("sizes");
  const saver = lazySaver(model);
  let moved = null;

  const state = () => {
    const [name, kvHeads, context, sequences] = ["model", "kv_heads", "context", "sequences"].map((trait) => model.get(trait));
    return { model: name, kvHeads: nearest(sizes[name].heads, kvHeads), context, sequences, sizes }; // Python may set one trait after another
  };
  const change = (changes) => {
    for (const [trait, value] of Object.entries(changes)) model.set(trait, value);
    saver.soon();
    draw();
  };
  const choose = (name) => {
    const from = state().kvHeads, to = nearest(sizes[name].heads, from); // prettier-ignore
    moved = from === to ? null : { model: name, from, to };
    change({ model: name, kv_heads: to });
  };

  const models = segments("PaLM", choose);
  const kvHeads = stopSlider("Key/value heads", (value) => ((moved = null), change({ kv_heads: value })));
  const context = stopSlider("Tokens in a sequence", (value) => change({ context: value }));
  const sequences = stopSlider("Sequences at once", (value) => change({ sequences: value }));
  const marks = h("div", { class: "kv-marks", "aria-hidden": "true" });
  kvHeads.box.append(marks);

  // the longest that each text gets: its place is kept free, so that nothing below moves
  const [caption, ...said] = kvSentences({ model: "540B", kvHeads: 24, context: 131072, sequences: 512, sizes });
  const strip = h("div", { class: "kv-strip", role: "img" }), queries = h("p", { class: "course-title" }), shared = roomFor([caption]); // prettier-ignore
  const token = figure("Bytes a token: keys and values", [tokenWords(118, MOST_HEADS, 256)]), all = figure("The cache in all", [cacheWords(5799936, 131072, 512)]); // prettier-ignore
  const words = roomFor([[movedWords({ model: "540B", from: 32, to: 24 }), ...said].join(" ")]);
  const bars = ["Cache", "Weights"].map((name) => {
    const fill = h("span", { class: `kv-fill kv-${name.toLowerCase()}` }), number = h("span", { class: "course-number" }); // prettier-ignore
    return { fill, number, row: h("li", {}, h("span", {}, name), h("span", { class: "kv-track", "aria-hidden": "true" }, fill), number) };
  });
  const live = liveRegion();
  const root = h("section", { class: "course kv", "aria-label": "Memory of keys and values" },
    h("div", { class: "kv-controls" }, models.box, kvHeads.box, context.box, sequences.box),
    h("div", { class: "kv-heads" }, queries, strip, shared.box),
    h("div", { class: "kv-figures" }, token.box, all.box),
    h("p", { class: "course-title" }, "Cache and weights, on one scale"),
    h("ul", { class: "kv-bars" }, bars.map(({ row }) => row)),
    h("div", { class: "course-words" }, words.box),
    h("p", { class: "course-note muted" }, "Numbers are bfloat16, 2 bytes each. Decimal units: 1 GB is 10⁹ bytes. Weights are the matrices of all layers; the table of the tokens is not counted."),
    live); // prettier-ignore
  keepKeys(root);
  el.append(root);

  let drawn = "";
  const drawHeads = ({ model: name, kvHeads: n }, heads) => {
    if (drawn === `${name} ${n}`) return;
    drawn = `${name} ${n}`;
    queries.textContent = `${heads} query heads in each layer`;
    strip.setAttribute("aria-label", `${queries.textContent}; ${plural(n, "key/value head")}, ${sharing(n, heads)}`);
    strip.replaceChildren(...Array.from({ length: n }, (_, i) =>
      h("span", { class: `kv-group kv-hue-${i % HUES}${i % 2 ? " is-odd" : ""}`, style: `--share: ${heads / n}` },
        h("span", { class: "kv-queries" }, Array.from({ length: heads / n }, () => h("i"))), h("span", { class: "kv-shared" })))); // prettier-ignore
    const stops = divisors(heads);
    marks.replaceChildren(...stops.map((stop) => h("span", { class: stop === n ? "is-here" : "" }, h("b", {}, stop))));
  };

  const draw = oncePerFrame(() => {
    const now = state(), { heads, layers, size, token: each, cache, weights } = kvCount(now); // prettier-ignore
    models.show(Object.keys(sizes).map((name) => [name, name]), now.model);
    kvHeads.show(divisors(heads), now.kvHeads, `${now.kvHeads} of ${heads}`, `${now.kvHeads}, ${sharing(now.kvHeads, heads)}`);
    context.show(CONTEXTS, now.context, whole(now.context), `${whole(now.context)} tokens`);
    sequences.show(SEQUENCES, now.sequences, String(now.sequences), plural(now.sequences, "sequence"));
    drawHeads(now, heads);
    token.show(whole(each), tokenWords(layers, now.kvHeads, size), `≈ ${byteSize(each)}`);
    all.show(byteSize(cache), cacheWords(each, now.context, now.sequences));
    [cache, weights].forEach((bytes, n) => {
      bars[n].fill.style.width = `${(100 * bytes) / Math.max(cache, weights)}%`;
      bars[n].number.textContent = byteSize(bytes);
    });
    if (moved && (moved.model !== now.model || moved.to !== now.kvHeads)) moved = null; // Python went on from there
    const [first, ...rest] = kvSentences(now);
    const parts = moved ? [movedWords(moved), ...rest] : rest;
    shared.text.textContent = first;
    words.text.textContent = parts.join(" ");
    live.sayNew([first, ...parts]);
  });

  const stops = ["model", "kv_heads", "context", "sequences"].map((trait) => onTrait(model, trait, draw));
  draw();
  return () => {
    saver.flush();
    stops.forEach((stop) => stop());
  };
}

export default { render };
export { divisors, kvCount, kvSentences, nearest };
