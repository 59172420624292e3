// The rules behind the blank explorer, without a page: blanks, the row that they make, sentences. Python's twins are
// course_lib/glm.py (blankLayout) and classroom/blank_words.py (sentences).
// A state is { tokens, blanks, order, selected }; blanks are [start, end], half open, sorted, a token apart.

const MOST_BLANK_TOKENS = 24;
const SPECIAL = ["[MASK]", "[START]", "[END]"]; // ids n, n + 1 and n + 2 of the row, behind the n tokens of the text
const NAMED_BLANKS = 3; // so many are quoted; a sentence that quotes a dozen is not read
const range = (from, to) => Array.from({ length: to - from }, (_, i) => from + i);

// ---- blanks

/** For each of n tokens, whether it is blanked. */
function flagsOf(n, blanks) {
  return range(0, n).map((i) => blanks.some(([start, end]) => start <= i && i < end));
}

/** The runs of blanked tokens: two blanks can never touch. */
function blanksOf(flags) {
  const blanks = [];
  flags.forEach((blanked, i) => {
    if (!blanked) return;
    if (flags[i - 1]) blanks.at(-1)[1] = i + 1;
    else blanks.push([i, i + 1]);
  });
  return blanks;
}

/** The same blanks but for tokens from..to, both included, which are `on` or not; the order stays while their number does. */
function paintBlanks({ tokens, blanks, order }, from, to, on) {
  const flags = flagsOf(tokens.length, blanks).fill(on, Math.min(from, to), Math.max(from, to) + 1);
  const painted = blanksOf(flags);
  return { blanks: painted, order: orderFor(painted, order) };
}

const orderFor = (blanks, order) => (blanks.length === order.length ? order : range(0, blanks.length));

/** Another order than this one, drawn by `random`; of fewer than two there is none other. */
function shuffled(order, random = Math.random) {
  const drawn = [...order];
  for (let i = drawn.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [drawn[i], drawn[j]] = [drawn[j], drawn[i]];
  }
  if (drawn.every((k, i) => k === order[i])) drawn.push(...drawn.splice(0, 1));
  return drawn;
}

/** Where the blanks go when the text is edited: they stay on their words, and on words that took the place of these. */
function followBlanks({ tokens, blanks, order }, now) {
  const flags = flagsOf(tokens.length, blanks), shorter = Math.min(tokens.length, now.length); // prettier-ignore
  let head = 0, tail = 0; // prettier-ignore
  while (head < shorter && tokens[head] === now[head]) head++;
  while (tail < shorter - head && tokens.at(-1 - tail) === now.at(-1 - tail)) tail++;
  const middle = flags.slice(head, tokens.length - tail), added = now.length - head - tail; // prettier-ignore
  const all = middle.length > 0 && middle.every(Boolean);
  const between = middle.length === added ? middle : new Array(added).fill(all);
  const followed = blanksOf([...flags.slice(0, head), ...between, ...flags.slice(tokens.length - tail)]);
  return { blanks: followed, order: orderFor(followed, order) };
}

/** A state that can be drawn, whatever came in: Python may set one trait after another. */
function madeWhole({ tokens, blanks, order, selected }) {
  const whole = blanksOf(flagsOf(tokens.length, blanks));
  const fits = order.length === whole.length && [...order].sort((a, b) => a - b).every((k, i) => k === i);
  const state = { tokens, blanks: whole, order: fits ? order : range(0, whole.length) };
  const T = tokens.length + 2 * whole.length; // a [MASK] and a [START] for each blank
  return { ...state, selected: selected === null || selected === undefined || selected >= T ? null : selected };
}

const hiddenIn = ({ blanks }) => blanks.reduce((sum, [start, end]) => sum + end - start, 0);

/** The row, column by column, as `blank_infilling` lays it out; `blankOf` is each column's blank, null for kept text. */
function blankLayout(n, blanks, order) {
  const [MASK, START, END] = [n, n + 1, n + 2];
  const row = { tokens: [], targets: [], lossMask: [], positions: [], blockPositions: [], blankOf: [], contextLen: 0 };
  const add = (token, target, loss, position, block, blank) => {
    row.tokens.push(token);
    row.targets.push(target);
    row.lossMask.push(loss);
    row.positions.push(position);
    row.blockPositions.push(block);
    row.blankOf.push(blank);
  };
  const places = [];
  for (let i = 0; i < n; ) {
    const k = blanks.findIndex(([start]) => start === i);
    if (k >= 0) places[k] = row.tokens.length;
    const token = k < 0 ? i : MASK;
    add(token, token, false, row.tokens.length, 0, k < 0 ? null : k);
    i = k < 0 ? i + 1 : blanks[k][1];
  }
  row.contextLen = row.tokens.length;
  for (const k of order) {
    const [start, end] = blanks[k];
    for (let i = start; i <= end; i++) add(i === start ? START : i - 1, i === end ? END : i, true, places[k], i - start + 1, k);
  }
  return row;
}

const layoutOf = ({ tokens, blanks, order }) => blankLayout(tokens.length, blanks, order);

/** The tokens of the text that a column came from, [start, end]: itself, or for [MASK] and [START] the whole blank. */
function sourceOf(state, layout, c) {
  const token = layout.tokens[c];
  return token < state.tokens.length ? [token, token + 1] : state.blanks[layout.blankOf[c]];
}

// ---- words

/** A token of the row as a sentence names it. */
const nameOf = (tokens, id) => (id < tokens.length ? quote(tokens[id]) : SPECIAL[id - tokens.length]);

function wordsOfBlank({ tokens, blanks }, k) {
  const [start, end] = blanks[k];
  const first = quote(tokens[start]);
  return end === start + 1 ? first : `${first} ${end === start + 2 ? "and" : "to"} ${quote(tokens[end - 1])}`;
}

function placesOfBlank(state, k) {
  const [start, end] = state.blanks[k];
  return `${wordsOfBlank(state, k)} (token${end === start + 1 ? "" : "s"} ${rangesInWords(range(start, end))})`;
}

function whichToken(i, length) {
  if (length === 1) return "the only token of";
  return i === 0 ? "the first token of" : i === length - 1 ? "the last token of" : `token ${i + 1} of ${length} in`;
}

/** What is to be said of column `c`. */
function columnWords(state, c, layout = layoutOf(state)) {
  const { tokens, blanks } = state;
  const n = tokens.length, A = layout.contextLen, token = layout.tokens[c], k = layout.blankOf[c]; // prettier-ignore
  const stands = `It stands at position ${layout.positions[c]}`;
  if (c < A) {
    const who = k === null ? `${quote(tokens[token])}, token ${token} of the text` : `[MASK], in the place of blank ${k + 1}, ${wordsOfBlank(state, k)}`;
    const rest = blanks.length ? ", and nothing of Part B" : "";
    return `Column ${c} reads ${who}. ${stands}, with block position 0, and predicts nothing. It sees all of Part A${rest}.`;
  }
  const [start, end] = blanks[k];
  const who = token === n + 1 ? `[START], which opens blank ${k + 1}` : `${quote(tokens[token])}, ${whichToken(token - start, end - start)} blank ${k + 1}`;
  const target = layout.targets[c];
  const predicts = target < n ? quote(tokens[target]) : "[END], which closes the blank";
  const seen = c > A ? `and Part B up to itself: columns ${rangesInWords(range(A, c + 1))}` : "and of Part B only itself";
  return (
    `Column ${c} reads ${who}. ${stands}, where the [MASK] of blank ${k + 1} stands, with block position ` +
    `${layout.blockPositions[c]}, and must predict ${predicts}. It sees all of Part A, ${seen}.`
  );
}

/** What is to be said of the row as a whole, as a list of sentences. */
function rowSentences(state, layout = layoutOf(state)) {
  const n = state.tokens.length, count = state.blanks.length, hidden = hiddenIn(state); // prettier-ignore
  const A = layout.contextLen, T = layout.tokens.length; // prettier-ignore
  const mask = `Its mask is prefix_mask(${A}, ${T}): every column sees all of Part A`;
  if (!count)
    return [
      `The text has ${plural(n, "token")} and no blank: Part B is empty, and nothing is to be predicted.`,
      `Part A is the whole text, ${plural(A, "column")}: this is the context, and the prefix of length P = ${A}.`,
      `In all that is T = ${plural(T, "column")}, and none of them carries loss.`,
      `${mask}.`,
    ];
  const [verb, place] = count === 1 ? ["hides", "the blank"] : ["hide", "each blank"];
  const named = range(0, Math.min(count, NAMED_BLANKS)).map((k) => `blank ${k + 1} is ${placesOfBlank(state, k)}`);
  const more = count > NAMED_BLANKS ? `; and ${count - NAMED_BLANKS} more` : "";
  const inTurn = count > 1 ? `the blanks in the order ${state.order.map((k) => k + 1).join(", ")}, each after a [START]` : "blank 1 after a [START]";
  return [
    `${plural(count, "blank")} ${verb} ${hidden} of ${plural(n, "token")} (${percent(hidden, n)}\u00a0%): ${named.join("; ")}${more}.`,
    `Part A is the text with one [MASK] for ${place}, ${plural(A, "column")}: this is the context, and the prefix of length P = ${A}.`,
    `Part B writes ${inTurn}: ${T - A} columns.`,
    `In all that is T = ${T} columns, and ${T - A} of them carry loss, all of Part B: they must predict ${plural(hidden, "hidden token")} and ${count} × [END].`,
    `${mask}, and a column of Part B also sees Part B up to itself.`,
  ];
}

/** Everything that the explorer shows, as a list of sentences. */
function blankSentences(state) {
  return [...rowSentences(state), ...(state.selected === null ? [] : [columnWords(state, state.selected)])];
}

/** The longest that the two texts can get for these tokens: their place is kept free. */
function longestBlankWords(tokens) {
  const n = tokens.length;
  const longest = tokens.reduce((a, b) => (cropToken(b).length > cropToken(a).length ? b : a));
  const same = tokens.map(() => longest);
  const choices = [range(0, n).map((i) => i % 2 === 0), range(0, n).map((i) => i % 4 !== 3), range(0, n).map(() => true), range(0, n).map(() => false)];
  const states = choices.map((flags) => ({ tokens: same, blanks: blanksOf(flags), selected: null }));
  states.forEach((state) => (state.order = range(0, state.blanks.length)));
  const pick = (texts) => texts.reduce((a, b) => (b.length > a.length ? b : a), "");
  const rows = states.map((state) => rowSentences(state));
  return {
    row: range(0, 5).map((i) => pick(rows.map((parts) => parts[i] ?? ""))).join(" "),
    column: pick(states.flatMap((state) => layoutOf(state).tokens.map((_, c) => columnWords(state, c)))),
  }; // prettier-ignore
}
