// needs: number_words.js controls.js chunk_diagram.js
// What linear attention costs, counted and said here. Python's twin is classroom/chunk_words.py.

const WAYS = { quadratic: "Quadratic", reordered: "Reordered", chunks: "In chunks" };
const FORMULAS = { quadratic: "(Q Kᵀ ⊙ mask) V", reordered: "Q (Kᵀ V)", chunks: "(Q Kᵀ ⊙ mask) V, far pairs through Kᵀ V" };
const PARTS = ["state", "read", "pairs"];
const TRAITS = { way: "way", T: "total_len", C: "chunk", P: "prefix_len", D: "features" };
const EIGHTHS = 8;
const LENGTHS = powers(4, 16), FEATURES = powers(4, 8); // prettier-ignore

// -- the numbers; a state is { way, T, C, P, D }

function chunkCost({ way, T, C, P, D }) {
  if (way === "quadratic") return { state: 0, read: 0, pairs: 4 * T * T * D, flops: 4 * T * T * D, steps: 1 };
  const left = way === "reordered" ? 0 : T - P, rest = left % C, once = 2 * T * D * D; // prettier-ignore
  const pairs = 4 * D * (Math.floor(left / C) * C * C + rest * rest);
  return { state: once, read: once, pairs, flops: 2 * once + pairs, steps: (left < T ? 1 : 0) + Math.ceil(left / C) };
}

function heldMost({ way, T, C, P, D }) {
  const tile = Math.min(C, T - P), state = `state ${D} × ${D}`; // prettier-ignore
  if (way === "quadratic") return [T * T, `the square, ${whole(T)} × ${whole(T)}`];
  if (way === "reordered" || !tile) return [D * D, `the ${state}`];
  return [Math.max(D * D, tile * tile), `${state}, tile ${whole(tile)} × ${whole(tile)}`];
}

// -- the words

const inTurn = (count) => `${plural(count, "step")} in turn`;

function ratio(one, other) {
  if (one % other === 0) return whole(one / other);
  return other % one === 0 ? `1/${whole(other / one)}` : brief(one / other);
}

function compared(one, other) {
  if (one === other) return "as many operations as";
  return `${ratio(one, other)} ${one < other && other % one === 0 ? "of" : "times"} the operations of`;
}

/** What is drawn, what it costs, and what that trades for what. */
function chunkSentences(state) {
  const cost = chunkCost(state), [most, what] = heldMost(state); // prettier-ignore
  return [
    drawnWords(state),
    `${whole(cost.flops)} operations (${short(cost.flops)}): state ${whole(cost.state)}, read ${whole(cost.read)}, pairs ${whole(cost.pairs)}; ${inTurn(cost.steps)}; at most ${whole(most)} numbers held at once (${what}).`,
    tradeWords(state),
  ];
}

function drawnWords({ way, T, C, P, D }) {
  if (way === "quadratic") return `Q times Kᵀ gives ${whole(T)} × ${whole(T)} pairs, those too that the mask hides; times V, the output.`;
  if (way === "reordered") return `Kᵀ times V gives one state of ${D} × ${D}; Q times the state, the output. No mask, and no T × T square.`;
  if (P === T) return `The prefix is everything: one state of ${D} × ${D}, one reading of it, no mask, and no chunk is left.`;
  const side = Math.min(C, T - P), count = Math.ceil((T - P) / C); // prettier-ignore
  const prefix = P ? `A prefix of ${whole(P)} tokens: one state, one reading, no mask. Then ` : "";
  const tiles = count > 1 ? `${whole(count)} tiles` : P ? "one tile" : "One tile", last = (T - P) % side ? ", the last one smaller" : ""; // prettier-ignore
  const before = P || count > 1 ? `what lies before is read from a state of ${D} × ${D}` : "nothing lies before it";
  return `${prefix}${tiles} on the diagonal, of ${whole(side)} × ${whole(side)} pairs${last}; ${before}.`;
}

function tradeWords(state) {
  const { way, T, C, P, D } = state;
  const of = (one, chunk = C) => chunkCost({ ...state, way: one, C: chunk }), now = of(way); // prettier-ignore
  if (way === "quadratic") {
    const besides = P < T ? `, ${compared(now.flops, of("chunks").flops)} chunks of ${whole(C)}${P ? ` after a prefix of ${whole(P)}` : ""}` : "";
    return `One step, and ${compared(now.flops, of("reordered").flops)} the reordered products (T / D)${besides}. Twice the tokens take four times the operations.`;
  }
  if (way === "reordered") return `One step, and ${compared(now.flops, of("quadratic").flops)} the quadratic form (D / T). But no mask fits in: the state holds all tokens, those to come too.`;
  if (P === T) return "These are the reordered products: one step, whatever C is.";
  const least = of(way, 1), most = of(way, T), between = C > 1 && C < T - P ? C : D, middle = of(way, between); // prettier-ignore
  const words = `C = 1: token by token, ${inTurn(least.steps)}, the fewest operations, ${short(least.flops)}. C = T: ${P ? "the target as one tile" : "the quadratic form"}, with a state beside it; ${inTurn(most.steps)}, ${short(most.flops)}.`;
  if (between >= T - P) return words;
  return `${words} In between, C = ${whole(between)}: ${inTurn(middle.steps)}, ${short(middle.flops)}, ${ratio(middle.flops, least.flops)} times the fewest; ${Math.floor((100 * middle.pairs) / middle.flops + 0.5)}\u00a0% of it for pairs.`;
}

/** What the picture could not draw in proportion. */
function thinWords({ thin, fine }) {
  const what = [thin && "what is D wide", fine && "the tiles"].filter(Boolean).join(" and ");
  return `One scale for all three ways; ${what ? `${what} would be thinner than 2 px, and ${thin && !fine ? "is" : "are"} drawn that wide.` : "the proportions are true."}`;
}

const stepsWords = ({ way, T, C, P }) => {
  if (way !== "chunks" || P === T) return "nothing waits";
  return `${P ? "the prefix, then " : ""}${plural(Math.ceil((T - P) / C), "chunk")}`;
};

// -- the widget

function render({ model, el }) {
  const saver = lazySaver(model);
  const state = () => {
    const { way, T, C, P, D } = Object.fromEntries(Object.entries(TRAITS).map(([short, trait]) => [short, model.get(trait)]));
    const eighth = T / EIGHTHS; // Python may set one trait after another: until then, the nearest that fits
    return { way, T, C: Math.min(C, T), P: Math.min(Math.round(P / eighth), EIGHTHS) * eighth, D };
  };
  const change = (changes) => {
    for (const [name, value] of Object.entries({ ...state(), ...changes })) model.set(TRAITS[name], value);
    saver.soon();
    draw();
  };
  const lengthen = (T) => {
    const now = state();
    change({ T, C: Math.min(now.C, T), P: (now.P * T) / now.T });
  };

  const patterns = uniqueId("ck-pattern");
  const ways = segments("Products", (way) => change({ way }));
  const length = stopSlider("Tokens, T", lengthen), features = stopSlider("Features, Dk = Dv = D", (D) => change({ D })); // prettier-ignore
  const chunk = stopSlider("Chunk, C", (C) => change({ C })), prefix = stopSlider("Prefix, P", (P) => change({ P })); // prettier-ignore

  const longest = widest();
  const formula = roomFor(Object.values(FORMULAS)), picture = svg("svg", { class: "ck-paper", role: "img" }); // prettier-ignore
  const caption = roomFor(longest.map((one) => chunkSentences(one)[0])), thin = roomFor([thinWords({ thin: true, fine: true })]); // prettier-ignore
  const flops = figure("Operations", [`${whole(4.5e12)}`]), turns = figure("Steps that wait for each other", ["the prefix, then 65,536 chunks"]); // prettier-ignore
  const memory = figure("Numbers in the largest thing held", longest.map((one) => heldMost(one)[1]));
  const bars = Object.entries(WAYS).map(([way, name]) => costBar(way, name));
  const close = h("span", { class: "ck-track", "aria-hidden": "true" }, PARTS.map((part) => h("span", { class: `ck-part ck-of-${part}` }))), closeName = h("span", { class: "ck-name" }), closeTimes = h("span", { class: "course-number muted" }); // prettier-ignore
  const splits = PARTS.map((part) => h("span", { class: "course-number" }));
  const words = roomFor(longest.map((one) => chunkSentences(one)[2])), live = liveRegion(); // prettier-ignore
  const sample = (kind, name) => h("li", {}, swatch(kind, patterns), name);
  const root = h("section", { class: "course ck", "aria-label": "The ways to compute linear attention" },
    h("div", { class: "ck-controls" }, ways.box, length.box, features.box, chunk.box, prefix.box),
    h("div", { class: "ck-desk" },
      h("div", { class: "ck-sheet" }, h("div", { class: "ck-formula" }, formula.box), picture, caption.box, thin.box),
      h("div", { class: "ck-side" }, flops.box, turns.box, memory.box,
        h("ul", { class: "ck-legend" }, sample("pairs", "pairs, computed"), sample("hidden", "computed, but hidden by the mask"), sample("read", "read from the state: no pairs"), sample("prefix", "prefix: one state, one reading, no mask"), sample("state", "state, D × D")))),
    h("p", { class: "course-title" }, "Operations, on one linear scale"),
    h("ul", { class: "ck-bars" }, bars.map(({ row }) => row), h("li", { class: "ck-close" }, closeName, close, closeTimes)),
    h("ul", { class: "ck-splits" }, PARTS.map((part, n) => h("li", {}, h("i", { class: `ck-part ck-of-${part}` }), `${part} `, splits[n]))),
    h("div", { class: "course-words" }, words.box),
    h("p", { class: "course-note muted" }, "Q and K have been through the feature map φ. A multiplication and its addition are 2 operations; a tile counts in whole, its hidden half too. Q, K, V and the output are held by every way, and not counted."),
    live); // prettier-ignore
  keepKeys(root);
  el.append(root);

  const drawNow = () => {
    const { width, height } = picture.getBoundingClientRect();
    if (width < LEAST_WIDTH) return; // not in the page yet, or in a pane that was dragged to nothing
    const now = state(), { way, T, C, P, D } = now, cost = chunkCost(now), [most, what] = heldMost(now), off = way !== "chunks"; // prettier-ignore
    ways.show(Object.entries(WAYS), way);
    length.show(LENGTHS, T, whole(T), plural(T, "token"));
    features.show(FEATURES, D, String(D), String(D));
    chunk.show(powers(0, Math.log2(T)), C, off ? "only in chunks" : whole(C), plural(C, "token"), off);
    prefix.show(Array.from({ length: EIGHTHS + 1 }, (_, n) => (n * T) / EIGHTHS), P, off ? "only in chunks" : whole(P), `${plural(P, "token")}, ${(EIGHTHS * P) / T} eighths`, off);

    const said = chunkSentences(now);
    formula.text.textContent = FORMULAS[way];
    thin.text.textContent = thinWords(drawPaper(picture, now, width, height, patterns));
    picture.setAttribute("aria-label", said[0]);
    caption.text.textContent = said[0];
    flops.show(short(cost.flops), whole(cost.flops));
    turns.show(whole(cost.steps), stepsWords(now));
    memory.show(whole(most), what);

    const costs = Object.keys(WAYS).map((one) => chunkCost({ ...now, way: one })), top = Math.max(...costs.map((one) => one.flops)); // prettier-ignore
    bars.forEach((bar, n) => bar.show(costs[n], top, Object.keys(WAYS)[n] === way, n === 2 ? `In chunks of ${whole(C)}` : ""));
    [...close.children].forEach((part, n) => (part.style.flexGrow = cost[PARTS[n]] / cost.flops));
    closeName.textContent = `${WAYS[way]}, split`;
    closeTimes.textContent = top === cost.flops ? "as above" : `enlarged ${ratio(top, cost.flops)} ×`;
    splits.forEach((split, n) => (split.textContent = `${whole(cost[PARTS[n]])} (${Math.floor((1000 * cost[PARTS[n]]) / cost.flops + 0.5) / 10}\u00a0%)`));
    words.text.textContent = said[2];
    live.sayNew(said);
  };

  const draw = oncePerFrame(drawNow);
  const stops = Object.values(TRAITS).map((trait) => onTrait(model, trait, draw));
  const resized = new ResizeObserver(draw); // also tells when JupyterLab, which renders before it attaches, gives the root its place
  resized.observe(root);
  return () => {
    saver.flush();
    stops.forEach((stop) => stop());
    resized.disconnect();
  };
}

/** States whose words are the longest: their place is kept free, so that nothing below moves. */
function widest() {
  const all = [{ C: 2, P: 0 }, { C: 8192, P: 8192 }, { C: 16384, P: 8192 }, { C: 32, P: 8192 }, { C: 64, P: 57344 }, { C: 1, P: 8192 }]; // prettier-ignore
  return Object.keys(WAYS).flatMap((way) => [16, 128, 256].flatMap((D) => all.map((one) => ({ way, T: 65536, D, ...one }))));
}

function swatch(kind, patterns) {
  const fill = ["hidden", "read", "prefix"].includes(kind) ? { fill: `url(#${patterns}-${kind})` } : {};
  return svg("svg", { class: "ck-swatch", width: 20, height: 14, "aria-hidden": "true" }, svg("rect", { class: `ck-${kind}`, x: 1, y: 1, width: 18, height: 12, ...fill }));
}

/** A way's operations as a stacked bar, with its name and number. */
function costBar(way, title) {
  const parts = PARTS.map((part) => h("span", { class: `ck-part ck-of-${part}` })), fill = h("span", { class: "ck-fill" }, parts); // prettier-ignore
  const name = h("span", { class: "ck-name" }, title), number = h("span", { class: "course-number" }); // prettier-ignore
  const row = h("li", { "data-way": way }, name, h("span", { class: "ck-track", "aria-hidden": "true" }, fill), number);
  return {
    row,
    show(cost, top, here, words) {
      fill.style.width = `${(100 * cost.flops) / top}%`;
      parts.forEach((part, n) => (part.style.flexGrow = cost[PARTS[n]] / cost.flops));
      number.textContent = short(cost.flops);
      if (words) name.textContent = words;
      row.classList.toggle("is-here", here);
    },
  };
}

export default { render };
export { chunkCost, chunkSentences, heldMost, paperScale };
