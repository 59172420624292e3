// The rule that splits a text into tokens, and how a token is shown. Python's twin, where the rule is written, is
// classroom/text.py; followEdit says where a boundary stands after an edit.

const MAX_TOKENS = 256;
const MAX_CHARACTERS = 20000;

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

/** A shown token, cut to `longest` graphemes and ten times as many code points: marks can be piled up on one letter. */
function cropToken(token, longest = LONGEST_QUOTE) {
  const shown = showToken(token);
  if (shown.length <= longest) return shown;
  const points = [...shown.slice(0, 20 * longest + 2)];
  const head = Array.from(graphemes.segment(points.slice(0, 10 * longest).join("")), ({ segment }) => segment);
  return head.length > longest || points.length > 10 * longest ? `${head.slice(0, longest).join("")}…` : shown;
}

function quote(token) {
  const shown = cropToken(token);
  return RIGHT_TO_LEFT.test(shown) ? `‘\u2068${shown}\u2069’` : `‘${shown}’`;
}
