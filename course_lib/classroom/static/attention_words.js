// What the attention explorer says, without a page. Python's twin is classroom/attention_words.py.
// A state is { tokens, prefixLen, layer, head (null: mean), selected, layers, heads, weights, next, follows }.

/** How a query's attention is spread over the T keys: one head, or the mean over all. */
function attentionRow({ weights, layer, head, heads, tokens }, query) {
  const T = tokens.length;
  const at = (h) => (((layer - 1) * heads + h) * T + query) * T;
  const row = new Float64Array(T);
  if (head !== null) for (let j = 0; j < T; j++) row[j] = weights[at(head - 1) + j];
  else
    for (let j = 0; j < T; j++) {
      for (let h = 0; h < heads; h++) row[j] += weights[at(h) + j];
      row[j] /= heads;
    }
  return row;
}

/** The indexes of the largest weights, the largest first. */
function largestKeys(row, most) {
  return Array.from(row, (_, j) => j).sort((a, b) => row[b] - row[a] || a - b).slice(0, most);
}

function weightInWords(weight) {
  return weight > 0 && weight < 0.005 ? "under 0.01" : (Math.floor(100 * weight + 0.5) / 100).toFixed(2);
}

function shareInWords(p) {
  if (p < 0.005) return "under 1\u00a0%";
  return p >= 0.995 ? "over 99\u00a0%" : `${Math.floor(100 * p + 0.5)}\u00a0%`;
}

function series(parts) {
  return parts.length === 1 ? parts[0] : `${parts.slice(0, -1).join(", ")} and ${parts.at(-1)}`;
}

function whichHead({ layer, layers, head, heads }) {
  return `Layer ${layer} of ${layers}, ${head === null ? `mean over ${heads} heads` : `head ${head} of ${heads}`}`;
}

function prefixInWords({ tokens, prefixLen: P }) {
  const T = tokens.length;
  const count = plural(T, "token");
  if (P === 0) return `${count}, no prefix: each reads itself and what stands before it.`;
  if (P === T) return `${count}, all prefix: each reads every token.`;
  return `${count}, the first ${P} prefix, up to ${quote(tokens[P - 1])}; the target begins with ${quote(tokens[P])}.`;
}

function aheadInWords({ prefixLen: P, selected: i }, row) {
  if (i >= P - 1) return "It sees nothing that comes after it.";
  let ahead = 0;
  for (let j = i + 1; j < P; j++) ahead += row[j];
  return `Of its attention ${weightInWords(ahead)} goes ahead, to prefix tokens that come after it.`;
}

function rowNote({ prefixLen: P, selected: i }) {
  return i < P - 1 ? "No loss falls on this row: it lies inside the prefix, and sees what follows." : "";
}

function attentionSentences(state) {
  const { tokens, selected: i, next, follows } = state;
  if (!tokens.length) return ["There is no token yet: type a text, and the model reads it."];
  const said = [prefixInWords(state)];
  if (i === null) return said;
  const row = attentionRow(state, i);
  const keys = largestKeys(row, 3).filter((j, n) => n === 0 || row[j] >= 0.005);
  const gives = keys.map((j, n) => `${weightInWords(row[j])} ${n ? "" : "of its attention "}to ${quote(tokens[j])} (key ${j})`);
  const expects = next[i].slice(0, 3).map(([word, p]) => `${quote(word)} (${shareInWords(p)})`);
  const onward = i + 1 < tokens.length ? `; the text goes on with ${quote(tokens[i + 1])} (${shareInWords(follows[i])})` : "";
  const note = rowNote(state);
  return [
    ...said,
    `${whichHead(state)}: ${quote(tokens[i])} (query ${i}) gives ${series(gives)}.`,
    aheadInWords(state, row),
    `After ${quote(tokens[i])} the model expects ${series(expects)}${onward}.${note && ` ${note}`}`,
  ];
}

/** The longest that the sentences, the line about what lies ahead and the note can get for this text: their place is kept free. */
function longestAttentionWords(state) {
  const { tokens, heads, layers, next } = state;
  const T = tokens.length;
  if (!T) return [attentionSentences(state), "", ""];
  const longest = (words) => words.reduce((a, b) => (cropToken(b).length > cropToken(a).length ? b : a), "x".repeat(8));
  const token = longest(tokens), word = longest(next.flatMap((row) => row.slice(0, 3).map(([each]) => each))); // prettier-ignore
  const to = (n) => `0.00 ${n ? "" : "of its attention "}to ${quote(token)} (key ${T - 1})`;
  const ahead = "Of its attention under 0.01 goes ahead, to prefix tokens that come after it.";
  const note = rowNote({ prefixLen: 2, selected: 0 });
  return [
    [
      `${T} tokens, the first ${T} prefix, up to ${quote(token)}; the target begins with ${quote(token)}.`,
      `Layer ${layers} of ${layers}, mean over ${heads} heads: ${quote(token)} (query ${T - 1}) gives ${series([0, 1, 2].map(to))}.`,
      ahead,
      `After ${quote(token)} the model expects ${series([0, 1, 2].map(() => `${quote(word)} (under 1\u00a0%)`))}; the text goes on with ${quote(token)} (under 1\u00a0%). ${note}`,
    ],
    ahead,
    `The text goes on with ${quote(token)}: under 1\u00a0%. ${note}`,
  ];
}

/** One cell of the grid in words. */
function weightCellWords(state, i, j) {
  const { tokens, prefixLen: P } = state;
  const query = `${quote(tokens[i])} (query ${i})`, key = `${quote(tokens[j])} (key ${j})`; // prettier-ignore
  if (j > i && j >= P) return `${query} may not read ${key}.`;
  return `${query} gives ${weightInWords(attentionRow(state, i)[j])} of its attention to ${key}.`;
}
