// The rules behind the mask explorer, without a page: text, masks, counts, sentences. Python's twins are
// classroom/text.py (splitText, quote), course_lib/masks.py and costs.py (masks, counts), explorer_words.py (sentences).

const MAX_TOKENS = 256;
const MAX_CHARACTERS = 20000;
const BUILT_IN_KINDS = ["encoder", "decoder", "encoder-decoder", "prefix"];

// ---- text (the rule is written in classroom/text.py)

const graphemes = new Intl.Segmenter("en", { granularity: "grapheme" });
const dictionary = new Intl.Segmenter("en", { granularity: "word" });
const GAP = /^[\p{White_Space}\p{Cc}\p{Zl}\p{Zp}\u200B]/u;
const FORMAT = /^\p{Cf}+$/u;
const UNSPACED =
  /^(?=[\p{L}\p{M}\p{N}])[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}]/u;
const LETTER = /^\p{L}/u;
const DIGIT = /^\p{Nd}/u;
const WORD = /^[\p{L}\p{M}\p{N}_]/u;

function graphemeKind(grapheme) {
  if (GAP.test(grapheme)) return "gap";
  if (FORMAT.test(grapheme)) return "format";
  if (UNSPACED.test(grapheme)) return "unspaced";
  if (LETTER.test(grapheme)) return "letter";
  if (DIGIT.test(grapheme)) return "digit";
  return WORD.test(grapheme) ? "word" : "other";
}

/** Split a text into tokens. Throws a RangeError, in words, above 20000 characters (code points) or 256 tokens. */
function splitText(text) {
  let characters = text.length;
  if (characters > MAX_CHARACTERS && characters <= 2 * MAX_CHARACTERS) characters = [...text].length;
  if (characters > MAX_CHARACTERS)
    throw new RangeError(`This text is too long: at most ${MAX_CHARACTERS} characters can be shown.`);
  const tokens = [];
  let word = "";
  let run = [];
  const push = (token) => {
    if (tokens.push(token) > MAX_TOKENS)
      throw new RangeError(`This text has more than ${MAX_TOKENS} tokens, the most that can be shown.`);
  };
  const endWord = () => {
    if (word) push(word);
    word = "";
  };
  const endRun = () => {
    if (run.length) wordsOfRun(run).forEach(push);
    run = [];
  };
  // One grapheme is held back, because an apostrophe or a point must know what follows it.
  const take = (grapheme, kind, before, after) => {
    const joins =
      ((grapheme === "'" || grapheme === "’") && before === "letter" && after === "letter") ||
      ((grapheme === "." || grapheme === ",") && before === "digit" && after === "digit");
    if (joins || kind === "letter" || kind === "digit" || kind === "word") {
      endRun();
      word += grapheme;
      return;
    }
    endWord();
    if (kind === "unspaced") {
      run.push(grapheme);
      return;
    }
    endRun();
    if (kind === "other") push(grapheme);
  };
  let before = "gap";
  let held = null;
  for (const { segment } of graphemes.segment(text.toWellFormed())) {
    const kind = graphemeKind(segment);
    if (kind === "format") continue;
    if (held) {
      take(held.segment, held.kind, before, kind);
      before = held.kind;
    }
    held = { segment, kind };
  }
  if (held) take(held.segment, held.kind, before, "gap");
  endWord();
  endRun();
  return tokens;
}

/** Words of a run of graphemes written without spaces; a boundary inside a grapheme is passed over. */
function wordsOfRun(run) {
  const ends = new Set();
  let length = 0;
  for (const grapheme of run) ends.add((length += grapheme.length));
  const text = run.join("");
  const words = [];
  let start = 0;
  for (const { index, segment } of dictionary.segment(text)) {
    const end = index + segment.length;
    if (!ends.has(end)) continue;
    words.push(text.slice(start, end));
    start = end;
  }
  return words;
}

/** The boundary that stands at the same place in the text; a token that the place would cut goes to the prefix whole. */
function samePlace(oldTokens, oldBoundary, newTokens) {
  let characters = 0;
  for (let i = 0; i < oldBoundary; i++) characters += oldTokens[i].length;
  let boundary = 0;
  for (let seen = 0; seen < characters && boundary < newTokens.length; boundary++) seen += newTokens[boundary].length;
  return boundary;
}

/** The boundary after an edit: it stays between the same two tokens where it can. */
function followEdit(oldTokens, oldBoundary, newTokens) {
  const shorter = Math.min(oldTokens.length, newTokens.length);
  let head = 0;
  while (head < shorter && oldTokens[head] === newTokens[head]) head++;
  let tail = 0;
  while (tail < shorter - head && oldTokens.at(-1 - tail) === newTokens.at(-1 - tail)) tail++;
  if (oldBoundary <= head) return oldBoundary;
  if (tail && oldBoundary >= oldTokens.length - tail) return oldBoundary + newTokens.length - oldTokens.length;
  return Math.min(oldBoundary, newTokens.length);
}

const RIGHT_TO_LEFT = /[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFE\u{10800}-\u{10FFF}\u{1E800}-\u{1EFFF}]/u;
const LONGEST_QUOTE = 24;

/** A token with spaces at its ends, line ends, tabs, other control characters and emptiness made visible. */
function showToken(token) {
  if (!token) return "∅";
  return token
    .toWellFormed()
    .replace(/[\n\r\u2028\u2029]/g, "↵")
    .replace(/\t/g, "⇥")
    .replace(/\p{Cc}/gu, "·")
    .replace(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length));
}

/** A shown token, cut to `longest` graphemes. */
function cropToken(token, longest = LONGEST_QUOTE) {
  const shown = showToken(token);
  if (shown.length <= longest) return shown;
  const first = [];
  for (const { segment } of graphemes.segment(shown)) {
    if (first.length === longest) return `${first.join("")}…`;
    first.push(segment);
  }
  return shown;
}

function quote(token) {
  const shown = cropToken(token);
  return RIGHT_TO_LEFT.test(shown) ? `‘\u2068${shown}\u2069’` : `‘${shown}’`;
}

// ---- masks and counts. A state is { kind, prefixLen, tokens, tile, selected, custom, moved }; P and T are its lengths.

/** The prefix length whose prefix mask the kind uses: T for an encoder, 0 for a decoder. */
function seenPrefix(kind, P, T) {
  return kind === "encoder" ? T : kind === "decoder" ? 0 : P;
}

/** The mask as T * T bytes, row by row: 1 where query i may read key j. */
function maskBits(kind, P, T, custom = null) {
  if (kind === "custom") return custom;
  const bits = new Uint8Array(T * T);
  const prefix = seenPrefix(kind, P, T);
  for (let i = 0; i < T; i++) bits.fill(1, i * T, i * T + Math.max(i + 1, prefix));
  return bits;
}

/** The tokens that the loss counts, or null where a mask alone does not say. An encoder's are spread evenly. */
function lossPositions(kind, P, T) {
  if (kind === "custom") return null;
  if (kind === "encoder") {
    const count = Math.max(Math.floor((15 * T + 50) / 100), Math.min(T, 1));
    return Array.from({ length: count }, (_, i) => Math.floor(((2 * i + 1) * T) / (2 * count)));
  }
  const first = { decoder: 1, prefix: Math.max(P, 1), "encoder-decoder": P }[kind];
  return Array.from({ length: Math.max(T - first, 0) }, (_, i) => first + i);
}

/** Everything that the meters show, counted pair by pair. `grid` holds each tile's sort: 0 skipped, 1 partial, 2 full. */
function counts(kind, P, T, tile, custom = null) {
  const bits = maskBits(kind, P, T, custom);
  const side = Math.ceil(T / tile);
  const open = new Uint32Array(side * side);
  let allowed = 0;
  let above = 0;
  for (let i = 0, at = 0; i < T; i++) {
    const row = Math.floor(i / tile) * side;
    for (let j = 0; j < T; j++, at++)
      if (bits[at]) {
        allowed++;
        if (j > i) above++;
        open[row + Math.floor(j / tile)]++;
      }
  }
  const grid = Uint8Array.from(open, (pairs) => (pairs === 0 ? 0 : pairs === tile * tile ? 2 : 1));
  const sorts = [0, 0, 0];
  for (const sort of grid) sorts[sort]++;
  return {
    bits, grid, side, allowed, above, total: T * T, causal: (T * (T + 1)) / 2,
    tiles: { skipped: sorts[0], partial: sorts[1], full: sorts[2], visited: sorts[1] + sorts[2] },
    loss: lossPositions(kind, P, T),
  }; // prettier-ignore
}

/** Where the user's own mask differs from the prefix mask of the boundary: pairs it opens, pairs it closes, blind rows. */
function difference(custom, P, T) {
  const prefix = maskBits("prefix", P, T);
  const found = { opens: [], closes: [], blind: [] };
  for (let i = 0, at = 0; i < T; i++) {
    let reads = 0;
    for (let j = 0; j < T; j++, at++) {
      reads += custom[at];
      if (custom[at] !== prefix[at]) found[custom[at] ? "opens" : "closes"].push([i, j]);
    }
    if (!reads) found.blind.push(i);
  }
  return found;
}

// ---- words

const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;
const percent = (part, whole) => (whole ? Math.floor((200 * part + whole) / (2 * whole)) : 0);

/** Keys as ranges, "0 to 4 and 7"; after the third range the rest is only counted. */
function rangesInWords(keys) {
  const ranges = [];
  for (const key of keys) {
    const last = ranges.at(-1);
    if (last && last[1] === key - 1) last[1] = key;
    else ranges.push([key, key]);
  }
  const words = ranges.slice(0, 3).map(([a, b]) => (a === b ? `${a}` : b === a + 1 ? `${a} and ${b}` : `${a} to ${b}`));
  const rest = ranges.slice(3).reduce((sum, [a, b]) => sum + b - a + 1, 0);
  return words.join(", ") + (rest ? `, and ${rest} more` : "");
}

function pairInWords(tokens, [i, j]) {
  return `${quote(tokens[i])} (query ${i}) to ${quote(tokens[j])} (key ${j})`;
}

/** One cell of the grid in words. */
function cellWords(state, i, j) {
  const { tokens, kind, prefixLen: P, custom } = state;
  const T = tokens.length;
  const may = maskBits(kind, P, T, custom)[i * T + j];
  return `${quote(tokens[i])} (query ${i}) ${may ? "may" : "may not"} read ${quote(tokens[j])} (key ${j}).`;
}

function lookingWords({ kind, tokens, prefixLen: P, custom }) {
  const T = tokens.length;
  if (kind === "encoder") return `Encoder-only, T = ${T}: every token reads every token; the boundary plays no part.`;
  if (kind === "decoder")
    return `Decoder-only, T = ${T}: every token reads itself and what stands before it; the boundary plays no part.`;
  if (kind === "encoder-decoder") {
    const source = P ? `a source of ${plural(P, "token")}, up to ${quote(tokens[P - 1])},` : "no source";
    const target = P < T ? `a target of ${T - P}, from ${quote(tokens[P])} on` : "no target";
    const reads = [
      P && "the source reads itself in both directions",
      P < T && "the target reads itself from left to right",
      P && P < T && "and reads the source by cross-attention",
    ].filter(Boolean);
    return `Encoder–decoder with ${source} and ${target}: ${reads.join(", ")}.`;
  }
  if (kind === "custom") return customWords(tokens, P, custom);
  if (P === 0)
    return `Prefix LM with P = 0 of T = ${T}: there is no prefix, so every token reads itself and what stands before it, as in a decoder.`;
  if (P === T)
    return `Prefix LM with P = T = ${T}: everything is prefix, so every token reads every token, as in an encoder.`;
  return (
    `Prefix LM with P = ${P} of T = ${T}: the prefix, up to ${quote(tokens[P - 1])}, reads itself in both directions; ` +
    `the target, from ${quote(tokens[P])} on, reads the prefix, and itself from left to right.`
  );
}

function customWords(tokens, P, custom) {
  const T = tokens.length;
  const { opens, closes, blind } = difference(custom, P, T);
  const changes = [
    opens.length && `opens ${plural(opens.length, "pair")}, first ${pairInWords(tokens, opens[0])}`,
    closes.length && `closes ${plural(closes.length, "pair")}, first ${pairInWords(tokens, closes[0])}`,
  ].filter(Boolean);
  const against = changes.length
    ? `against the prefix mask of P = ${P} it ${changes.join(", and ")}.`
    : `it is exactly the prefix mask of P = ${P}.`;
  const nothing = blind.length
    ? ` ${plural(blind.length, "query", "queries")} may read nothing at all, first ${quote(tokens[blind[0]])} (query ${blind[0]}).`
    : "";
  return `Your own mask, T = ${T}: ${against}${nothing}`;
}

function lossWords(kind, P, T, loss) {
  if (kind === "custom") return "A mask alone does not say which tokens the loss scores.";
  const n = plural(loss.length, "token");
  if (kind === "encoder") return `The loss scores ${n} out of ${T}, masked at random at a rate of 15\u00a0%.`;
  if (!loss.length) return "The loss scores no token: nothing is predicted.";
  if (kind === "decoder" || (kind === "prefix" && P === 0)) return `The loss scores ${n}, all but the first, which nothing predicts.`;
  const by = kind === "prefix" ? "the last prefix token" : "a start symbol";
  return `The loss scores ${n}, the target; ${by} predicts the first of them.`;
}

/** Everything that the explorer shows, as a list of sentences. `counted` is what `counts` gave for this state. */
function sentences(state, counted = null) {
  const { kind, tokens, prefixLen: P, tile, selected, custom, moved } = state;
  const T = tokens.length;
  const note = moved ? [movedWords(moved, P, T)] : [];
  if (!T) return [...note, "There is no token yet: type a sentence, and its mask appears."];
  const c = counted ?? counts(kind, P, T, tile, custom);
  const more = c.allowed - c.causal;
  const versus = more === 0 ? "as many as causal" : `${Math.abs(more)} ${more > 0 ? "more" : "fewer"} than causal`;
  const out = [
    ...note,
    lookingWords(state),
    `${c.allowed} of ${c.total} pairs ${c.allowed === 1 ? "is" : "are"} allowed (${percent(c.allowed, c.total)}\u00a0%), ${versus}.`,
    `In tiles of ${tile} × ${tile}, a kernel visits ${c.tiles.visited} of ${c.grid.length} and skips ${c.tiles.skipped}.`,
    lossWords(kind, P, T, c.loss),
  ];
  if (selected !== null) {
    const keys = [];
    for (let j = 0; j < T; j++) if (c.bits[selected * T + j]) keys.push(j);
    const some = `${keys.length} of ${T} keys: ${rangesInWords(keys)}`;
    const which = keys.length === 0 ? "nothing at all" : keys.length < T ? some : T === 1 ? "itself" : `all ${T} keys`;
    out.push(`${quote(tokens[selected])} (query ${selected}) may read ${which}.`);
  }
  return out;
}

function movedWords(from, to, T) {
  const why = T < from ? `because the text now has ${plural(T, "token")}` : "with the words that it stands between";
  return `The boundary moved from ${from} to ${to}, ${why}.`;
}
