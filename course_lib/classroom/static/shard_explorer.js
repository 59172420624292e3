// needs: number_words.js controls.js shard_diagram.js
// What processes send each other that share a sequence, counted and said here. Python's twin is classroom/shard_words.py.

const HEADS = 8, FEATURES = 64, NUMBER_BYTES = 4, STATE = HEADS * FEATURES * (FEATURES + 1) * NUMBER_BYTES; // prettier-ignore
const TOKEN = HEADS * 2 * FEATURES * NUMBER_BYTES; // of a key and a value
const TRAITS = { N: "processes", L: "total_len", P: "prefix_len", training: "training" };
const EIGHTHS = 8;
const PROCESSES = powers(0, 6), LENGTHS = powers(10, 20); // prettier-ignore
const SCALE = [4, 11]; // powers of ten, in bytes
const PASSES = [[false, "Forward"], [true, "Training"]]; // prettier-ignore
const WAYS = ["Prefix linear attention", "Ring attention"];

// -- the numbers; a state is { N, L, P, training }

function shardCount({ N, L, P, training }) {
  const first = Math.floor(P / (L / N)), summed = P ? Math.ceil((2 * (N - 1) * STATE) / N) : 0; // prettier-ignore
  const handed = first < N - 1 ? (training && first < N - 2 ? 2 : 1) : 0; // by the one that hands on most often
  const linear = summed * (training ? 2 : 1) + handed * STATE;
  const rounds = N === 1 ? 0 : training ? 3 * N - 2 : N - 1;
  return { linear, ring: (L / N) * TOKEN * rounds, first, summed, handed };
}

// -- the words

const timesWords = (count) => (count === 1 ? "once" : count === 2 ? "twice" : `${count} times`);
const inFull = (count) => `${whole(count)} bytes (${byteSize(count)})`;

/** Who holds what, what prefix linear attention sends, what ring attention sends, and how they compare. */
function shardSentences(state) {
  const { N, L, P, training } = state, { linear, ring } = shardCount(state), shard = L / N; // prettier-ignore
  if (N === 1) return [`One process holds all ${whole(L)} tokens.`, "It has nobody to send to: choose more processes.", "", ""];
  const back = training ? `; backward ${timesWords(N - 1)} again, with their gradients beside them, which go once more to come home` : "";
  return [
    `${N} processes hold ${whole(shard)} tokens each. ${prefixWords(state)}`,
    `Prefix linear attention: ${statesWords(state)} A state takes ${whole(STATE)} bytes, and a process sends at most ${inFull(linear)}.`,
    `Ring attention: each process hands keys and values of ${whole(shard)} tokens on ${timesWords(N - 1)}${back}: ${inFull(ring)}.`,
    `That is ${brief(ring / linear)} times as much. Twice the tokens would double it, and leave the states as they are.`,
  ];
}

function prefixWords({ N, L, P }) {
  if (P === 0 || P === L) return P ? "All of them are prefix." : "There is no prefix.";
  const process = Math.floor(P / (L / N));
  return P % (L / N) ? `The prefix ends within process ${process}.` : `The prefix ends with process ${process - 1}.`;
}

function statesWords(state) {
  const summed = state.P ? "for the prefix one state is summed over all processes" : "no prefix, no sum";
  const words = `${summed}; ${chainWords(state)}.`;
  if (!state.training) return words;
  const backward = !state.P ? "their gradients go in reverse" : shardCount(state).handed ? "their gradients go the same ways, the target's in reverse" : "its gradient is summed the same way";
  return `${words} Backward ${backward}.`;
}

function chainWords({ N, L, P }) {
  const first = Math.floor(P / (L / N));
  if (P === L) return "no target, nothing to hand on";
  if (first === N - 1) return `the target is all in process ${first}, and nothing is handed on`;
  if (first === N - 2) return `for the target process ${first} hands a state on to process ${N - 1}`;
  return `for the target processes ${first} to ${N - 2} each hand a state on to the next`;
}

/** How the two numbers come about, as products. */
function madeOf(state) {
  const { N, L, P, training } = state, { summed, handed } = shardCount(state); // prettier-ignore
  if (N === 1) return ["nobody to send to", "nobody to send to"];
  const terms = [P && `sum ${whole(summed)}${training ? " × 2" : ""}`, handed && `handed on ${whole(STATE)}${handed === 2 ? " × 2" : ""}`];
  const rounds = training ? `(${N - 1} + ${N - 1} + ${N})` : N - 1;
  return [terms.filter(Boolean).join(" + "), `${whole(L / N)} tokens × ${whole(TOKEN)} bytes × ${rounds}`];
}

// -- the widget

function render({ model, el }) {
  const saver = lazySaver(model);
  const state = () => {
    const { N, L, P, training } = Object.fromEntries(Object.entries(TRAITS).map(([short, trait]) => [short, model.get(trait)]));
    const eighth = L / EIGHTHS; // Python may set one trait after another: until then, the nearest that fits
    return { N, L, P: Math.min(Math.round(P / eighth), EIGHTHS) * eighth, training };
  };
  const change = (changes) => {
    for (const [name, value] of Object.entries({ ...state(), ...changes })) model.set(TRAITS[name], value);
    saver.soon();
    draw();
  };
  const lengthen = (L) => {
    const now = state();
    change({ L, P: (now.P / now.L) * L });
  };

  const passes = segments("Pass", (training) => change({ training }));
  const processes = stopSlider("Processes, N", (N) => change({ N })), length = stopSlider("Tokens, T", lengthen), prefix = stopSlider("Prefix, P", (P) => change({ P })); // prettier-ignore
  const longest = widest();
  const picture = svg("svg", { class: "sd-paper", role: "img" }), caption = roomFor(longest.map((one) => shardSentences(one)[0])), words = roomFor(longest.map((one) => shardSentences(one).slice(1).join("\n"))), live = liveRegion(); // prettier-ignore
  const figures = WAYS.map((way, n) => figure(`${way}: a process sends`, longest.map((one) => madeOf(one)[n])));
  const ticks = Array.from({ length: SCALE[1] - SCALE[0] + 1 }, (_, n) => h("span", { style: `left: ${(100 * n) / (SCALE[1] - SCALE[0])}%` }, byteSize(10 ** (SCALE[0] + n)).replace(/\.0+|(?<=10)\.0/, "")));
  const dots = WAYS.map((way, n) => dotRow(way, n));
  const root = h("section", { class: "course sd", "aria-label": "A sequence shared by processes" },
    h("div", { class: "sd-controls" }, passes.box, processes.box, length.box, prefix.box),
    picture, h("div", { class: "sd-caption" }, caption.box),
    h("div", { class: "sd-figures" }, figures.map(({ box }) => box)),
    h("p", { class: "course-title" }, "What the busiest process sends; each line is ten times the one before"),
    h("ul", { class: "sd-rows" }, dots.map(({ row }) => row), h("li", { class: "sd-close", "aria-hidden": "true" }, h("span", { class: "sd-ticks muted" }, ticks))),
    h("div", { class: "course-words" }, words.box),
    h("p", { class: "course-note muted" }, `One layer of ${HEADS} heads, ${FEATURES} features of a key and of a value, one text, float32. A state is ${FEATURES} × ${FEATURES} for each head, and ${FEATURES} more for the normaliser. In bfloat16 keys and values would take half; states stay float32. A sum over N processes costs each 2 (N − 1) / N of its bytes.`),
    live); // prettier-ignore
  keepKeys(root);
  el.append(root);

  const drawNow = () => {
    const { width } = picture.getBoundingClientRect();
    if (width < LEAST_WIDTH) return; // not in the page yet, or in a pane that was dragged to nothing
    const now = state(), { N, L, P, training } = now, { linear, ring } = shardCount(now), made = madeOf(now), said = shardSentences(now); // prettier-ignore
    passes.show(PASSES, training);
    processes.show(PROCESSES, N, String(N), N === 1 ? "1 process" : `${N} processes`);
    length.show(LENGTHS, L, whole(L), `${whole(L)} tokens`);
    prefix.show(Array.from({ length: EIGHTHS + 1 }, (_, n) => (n * L) / EIGHTHS), P, whole(P), `${whole(P)} tokens, ${(EIGHTHS * P) / L} eighths`);
    drawShards(picture, now, width);
    picture.setAttribute("aria-label", said[0]);
    caption.text.textContent = said[0];
    [linear, ring].forEach((bytes, n) => {
      figures[n].show(bytes ? byteSize(bytes) : "none", made[n]);
      dots[n].show(bytes);
    });
    words.text.textContent = said.slice(1).filter(Boolean).join("\n");
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
  return [false, true].flatMap((training) => [[64, 2 ** 17], [64, 0], [64, 2 ** 20], [16, 2 ** 20 - 2 ** 17], [8, 2 ** 20 - 2 ** 17], [8, 2 ** 19 + 2 ** 18]].map(([N, P]) => ({ N, L: 2 ** 20, P, training }))); // prettier-ignore
}

/** A number of bytes as a place on the scale; none has no place on it. */
function dotRow(way, n) {
  const dot = h("span", { class: `sd-dot sd-dot-${n}` }), number = h("span", { class: "course-number" }); // prettier-ignore
  return {
    row: h("li", {}, h("span", { class: "sd-name" }, way), h("span", { class: "sd-track", "aria-hidden": "true" }, dot), number),
    show(bytes) {
      dot.hidden = !bytes;
      if (bytes) dot.style.left = `${(100 * (Math.log10(bytes) - SCALE[0])) / (SCALE[1] - SCALE[0])}%`;
      number.textContent = bytes ? byteSize(bytes) : "none";
    },
  };
}

export default { render };
export { madeOf, shardCount, shardSentences };
