// The mask explorer in words. Python's twin is classroom/explorer_words.py.

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

/** The longest that the sentences can get for this text while anything but the text changes: their place is kept free. */
function longestSentences({ tokens, custom, tile }) {
  const T = tokens.length;
  if (!T) return ["There is no token yet: type a sentence, and its mask appears."];
  const quoted = tokens.map((token) => cropToken(token));
  const longest = tokens[quoted.reduce((best, token, i) => (token.length > quoted[best].length ? i : best), 0)];
  const same = Array.from({ length: T }, () => longest);
  const places = [...new Set([0, 1, T - 1, T])].filter((P) => P >= 0 && P <= T);
  const pick = (list) => list.reduce((a, b) => (b.length > a.length ? b : a), "");
  const kinds = [...BUILT_IN_KINDS];
  const looking = kinds.flatMap((kind) => places.map((P) => lookingWords({ kind, tokens: same, prefixLen: P })));
  if (custom) looking.push(...places.map((P) => customWords(same, P, custom)));
  const many = Array.from({ length: T }, (_, i) => i);
  return [
    pick(looking),
    `${T * T} of ${T * T} pairs are allowed (100\u00a0%), ${T * T} fewer than causal.`,
    `In tiles of ${tile} × ${tile}, a kernel visits ${T * T} of ${T * T} and skips ${T * T}.`,
    pick(kinds.flatMap((kind) => places.map((P) => lossWords(kind, P, T, lossPositions(kind, P, T))))),
    `${quote(longest)} (query ${T - 1}) may read ${T} of ${T} keys: ${rangesInWords(many)}${custom ? ", 100 to 200, 200 to 240, and 100 more" : ""}.`,
  ];
}
