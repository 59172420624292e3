// The rules behind the cache explorer, without a page: steps, stale rows, counts, sentences. Python's twins are
// course_lib/cache.py (staleRows) and classroom/cache_words.py (the rest).
// A state is { tokens, promptLen, prefixLen, layers, step, prefillLen, reEncoded, reader, turns }.

/** How many tokens the cache holds. */
const heldTokens = ({ promptLen, step }) => (step ? promptLen + step - 1 : 0);
const lastStep = ({ tokens, promptLen }) => tokens.length - promptLen + 1;
const cachedPrefix = ({ reEncoded, prefillLen }) => (reEncoded.length ? reEncoded.at(-1)[1] : prefillLen);
const boundaryLimit = (state) => heldTokens(state) || state.promptLen;
const readingRow = (state) => (state.reader === null || state.reader >= heldTokens(state) ? heldTokens(state) - 1 : state.reader);
const rowsRead = (state) => Math.max(readingRow(state) + 1, state.prefixLen);
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

/** How many rows, from row 0 on, go stale in each layer when the prefix length changes. */
function staleRows(before, now, total, layers) {
  if (Math.max(before, 1) === Math.max(now, 1)) return new Array(layers).fill(0);
  return Array.from({ length: layers }, (_, layer) => [0, Math.max(before, now) - 1][layer] ?? total);
}

const staleOf = (state) => (state.step ? staleRows(cachedPrefix(state), state.prefixLen, heldTokens(state), state.layers) : new Array(state.layers).fill(0));

/** "empty", "prefill", "decode", "moved" (the boundary, so that rows are stale), or "mended". */
function cacheAction(state) {
  if (!state.step) return "empty";
  if (state.prefixLen !== cachedPrefix(state)) return "moved";
  if (state.reEncoded.at(-1)?.[0] === state.step) return "mended";
  return state.step === 1 ? "prefill" : "decode";
}

/** What a step to `step` changes: going back undoes what was re-encoded after it. Null if stale rows forbid to go on. */
function stepTo(state, step) {
  if (step > state.step && cacheAction(state) === "moved") return null;
  const reEncoded = state.reEncoded.filter(([at]) => at <= step);
  return { step, reEncoded, prefixLen: cachedPrefix({ ...state, reEncoded }) };
}

const moveBoundary = (state, prefixLen) => (state.step ? { prefixLen } : { prefixLen, prefillLen: prefixLen });
const reEncode = (state) => ({ reEncoded: [...state.reEncoded, [state.step, state.prefixLen]] });

/** Rows that the last action wrote, layer by layer. */
function rowsWritten(state) {
  const done = cacheAction(state);
  if (done === "mended") return staleRows(state.reEncoded.at(-2)?.[1] ?? state.prefillLen, state.prefixLen, heldTokens(state), state.layers);
  return new Array(state.layers).fill({ prefill: state.promptLen, decode: 1 }[done] ?? 0);
}

/** What each cell is, [layer][row]: "empty", "kept", "written" or "stale". */
function cellStates(state) {
  const n = heldTokens(state), done = cacheAction(state), stale = staleOf(state), written = rowsWritten(state); // prettier-ignore
  const isNew = (layer, i) => (done === "decode" ? i === n - 1 : i < written[layer]);
  return Array.from({ length: state.layers }, (_, layer) =>
    state.tokens.map((_, i) => (i >= n ? "empty" : i < stale[layer] ? "stale" : isNew(layer, i) ? "written" : "kept")));
} // prettier-ignore

/** Query-key products of one layer over n tokens. */
const allowedPairs = (P, n) => (n * (n + 1)) / 2 + (P * (P - 1)) / 2;

/** The products that the last action took, and those of computing all held tokens anew. */
function productsOf(state) {
  const { prefixLen: P, layers } = state;
  const n = heldTokens(state), done = cacheAction(state); // prettier-ignore
  if (done === "empty" || done === "moved") return [0, 0];
  const everything = layers * allowedPairs(P, n);
  if (done === "prefill") return [everything, everything];
  if (done === "decode") return [layers * Math.max(n, P), everything];
  const written = rowsWritten(state);
  if (!sum(written)) return [0, everything];
  let used = n; // of the last layer only the last token's answer is wanted
  for (const rows of written.slice(1)) for (let i = 0; i < rows; i++) used += Math.max(i + 1, P);
  return [used, everything];
}

/** The same two numbers, summed over all that was done since the cache was empty. */
function productsSoFar(state) {
  let used = 0, everything = 0; // prettier-ignore
  const add = (past) => {
    const [some, all] = productsOf(past);
    used += some;
    everything += all;
  };
  for (let step = 1; step <= state.step; step++) {
    let reEncoded = state.reEncoded.filter(([at]) => at < step);
    add({ ...state, step, reEncoded, prefixLen: cachedPrefix({ ...state, reEncoded }) });
    for (const entry of state.reEncoded.filter(([at]) => at === step)) {
      reEncoded = [...reEncoded, entry];
      add({ ...state, step, reEncoded, prefixLen: entry[1] });
    }
  }
  return [used, everything];
}

/** Rows that a chat writes once, and those that a prefix chat, whose prefix grows with every turn, writes again. */
function chatRows(turns, message, answer, layers) {
  const added = message + answer;
  return [layers * turns * added, ((layers - 1) * added * turns * (turns - 1)) / 2];
}

// ---- words

const byLayer = (counts) => series(counts.map((count, layer) => `${count} in layer ${layer + 1}`));
const firstRows = (count) => rangesInWords(Array.from({ length: count }, (_, i) => i));

function series(parts) {
  return parts.length === 1 ? parts[0] : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

function doneWords(state) {
  const { tokens, promptLen, prefixLen: P, layers } = state;
  const n = heldTokens(state), done = cacheAction(state); // prettier-ignore
  if (done === "empty")
    return `The cache of ${plural(layers, "layer")} is empty; ${plural(promptLen, "prompt token")} will be read with P = ${P}.`;
  if (done === "prefill")
    return `Prefill with P = ${P}: ${plural(n, "prompt token")} went through ${plural(layers, "layer")} together and wrote ${plural(n * layers, "row")} of keys and values.`;
  if (done === "decode")
    return `Decoding, new token ${n - promptLen} of ${tokens.length - promptLen}: ${quote(tokens[n - 1])} wrote ${plural(layers, "row")}, one in each layer; the other ${(n - 1) * layers} are kept.`;
  const rows = done === "moved" ? staleOf(state) : rowsWritten(state);
  if (done === "moved")
    return `The boundary moved from P = ${cachedPrefix(state)} to P = ${P} with ${n} tokens cached: ${sum(rows)} of ${n * layers} rows are stale, ${byLayer(rows)}.`;
  return `Re-encoded for P = ${P}: ${sum(rows)} of ${n * layers} rows were written anew, ${byLayer(rows)}.`;
}

function readingWords(state) {
  if (!state.step) return [];
  const i = readingRow(state), rows = rowsRead(state); // prettier-ignore
  const who = `${quote(state.tokens[i])} (row ${i}) reads`;
  return [rows === 1 ? `${who} only its own row in each layer.` : `${who} ${rows} rows in each layer: ${firstRows(rows)}.`];
}

function costWords(state) {
  const done = cacheAction(state);
  if (done === "empty" || done === "moved") return [];
  const [used, everything] = productsOf(state);
  if (done === "prefill") return [`This takes ${used} query–key products, with a cache or without.`];
  return [`This takes ${plural(used, "query–key product")}; without a cache all ${heldTokens(state)} tokens would be computed anew, with ${everything}: ${everything - used} are saved.`];
}

function whyWords(state) {
  if (cacheAction(state) !== "moved") return [];
  const { prefixLen: P, layers } = state;
  const before = cachedPrefix(state);
  if (Math.max(P, 1) === Math.max(before, 1)) return ["P = 0 and P = 1 are the same mask, so no row goes stale."];
  const rows = Math.max(P, before) - 1;
  const [row, are, see] = rows === 1 ? ["row", "is", "it sees"] : ["rows", "are", "they see"];
  return [
    "Layer 1 stays right: its keys and values come from the embeddings, which saw nobody.",
    layers > 1 && `In layer 2 ${row} ${firstRows(rows)} ${are} stale: in layer 1 ${see} ${P > before ? "more" : "less"} than before.`,
    layers > 2 && "From layer 3 on every row is stale: each sees row 0, which is stale in layer 2.",
  ].filter(Boolean);
}

function chatWords({ tokens, promptLen, layers, turns }) {
  const answer = tokens.length - promptLen;
  const [once, again] = chatRows(turns, promptLen, answer, layers);
  return `In a chat of ${plural(turns, "turn")} of ${promptLen} + ${answer} tokens, ${plural(once, "row")} are written; a causal chat writes each once. A prefix chat, whose prefix grows with every turn, writes ${again} more, in place of those that went stale.`;
}

/** The longest that the sentences can get for these tokens and layers: their place is kept free. */
function longestCacheWords(state) {
  const longest = state.tokens.reduce((a, b) => (cropToken(b).length > cropToken(a).length ? b : a));
  const end = { ...state, tokens: state.tokens.map(() => longest), step: lastStep(state), reEncoded: [], prefillLen: 0, reader: null };
  const moved = { ...end, prefixLen: Math.max(heldTokens(end) - 1, 0) };
  const mended = { ...moved, reEncoded: [[end.step, moved.prefixLen]] };
  return [{ ...end, prefixLen: 0 }, moved, mended].map((each) => cacheSentences(each).join(" ")).reduce((a, b) => (b.length > a.length ? b : a));
}

/** Everything that the explorer shows, as a list of sentences. */
function cacheSentences(state) {
  return [doneWords(state), ...readingWords(state), ...costWords(state), ...whyWords(state), chatWords(state)];
}
