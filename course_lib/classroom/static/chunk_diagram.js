// The products of linear attention as shapes on paper, the three ways on one scale: a unit is the side of one token.

const LEAST = 2; // px: nothing is drawn thinner, and the caption says so
const MOST_TILES = 64, MOST_STATES = 8, STAIRS = 3; // the last: px a token from which the mask's steps are drawn
const EDGE = 12, GAP = 8, LABEL = 18, ARROW = 18, DOTS = 16.5; // px

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Pixels of a token, and the sides of T tokens, D features and a chunk, such that each of the three ways fits. */
function paperScale({ way, T, C, P, D }, width, height) {
  const sign = width < 400 ? 14 : 24, across = width - 2 * EDGE - 4 * sign - GAP, down = height - 2 * LABEL - GAP - ARROW; // prettier-ignore
  const free = Math.min(across / (T + 4 * D), down / (T + 2 * D));
  const unit = free * D < LEAST ? Math.min((across - 4 * LEAST) / T, (down - 2 * LEAST) / T) : free;
  const t = T * unit, d = Math.max(D * unit, LEAST); // prettier-ignore
  return { unit, t, d, sign, top: LABEL + Math.max(0, (down - t - 2 * d) / 2), c: Math.max(Math.min(C, T - P) * unit, LEAST), thin: D * unit < LEAST, fine: way === "chunks" && P < T && Math.min(C, T - P) * unit < LEAST };
}

/** The chunks of the target as [begin, end]. */
const piecesOf = ({ T, C, P }) => Array.from({ length: Math.ceil((T - P) / C) }, (_, n) => [P + n * C, Math.min(P + (n + 1) * C, T)]);

/** Patterns for what is hidden and what is read; `id` makes their names the widget's own. */
function paperPatterns(id) {
  const pattern = (name, turn, size) => svg("pattern", { id: `${id}-${name}`, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${turn})` },
    svg("rect", { class: `ck-ground-${name}`, width: size, height: size }), svg("rect", { class: `ck-line-${name}`, width: 1.2, height: size })); // prettier-ignore
  return svg("defs", {}, pattern("hidden", 45, 5), pattern("read", 90, 5), pattern("prefix", 90, 5));
}

/** Draw a state into an svg of this size. `id` is that of its patterns. */
function drawPaper(picture, state, width, height, id) {
  const scale = paperScale(state, width, height), { unit, t, d } = scale; // prettier-ignore
  const nodes = [];
  const rect = (kind, x, y, w, h) => nodes.push(svg("rect", { class: `ck-${kind}`, x, y, width: w, height: h, ...fillOf(kind, id) }));
  const text = (words, x, y, kind = "") => nodes.push(svg("text", { x, y, class: kind }, words));
  const named = (name, kind, x, y, w, h) => (rect(kind, x, y, w, h), text(name, x + w / 2, y - 8));
  const paper = { rect, text, named, nodes, id };
  if (state.way === "reordered") drawReordered(paper, scale, width);
  else drawSquare(paper, state, scale, width);
  picture.replaceChildren(paperPatterns(id), ...nodes);
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  return scale;
}

const fillOf = (kind, id) => (["hidden", "read", "prefix"].includes(kind) ? { fill: `url(#${id}-${kind})` } : {});

function drawReordered({ rect, text, named }, { t, d, sign, top }, width) {
  const left = (width - t - GAP - 4 * d - 4 * sign) / 2, x = left + t + GAP, y = top + t + GAP; // prettier-ignore
  named("Kᵀ", "given", left, y, t, d);
  named("V", "given", x, top, d, t);
  rect("state", x, y, d, d);
  text("S", x + d + 10, y + d / 2, "ck-strong");
  const second = x + d + 2 * sign, middle = top + Math.max(t, d) / 2; // prettier-ignore
  named("Q", "given", second, middle - t / 2, d, t);
  text("×", second + d + sign / 2, middle, "ck-sign");
  named("S", "state", second + d + sign, middle - d / 2, d, d);
  text("=", second + 2 * d + 1.5 * sign, middle, "ck-sign");
  named("out", "out", second + 2 * d + 2 * sign, middle - t / 2, d, t);
  if (t > 130) text("no T × T square", left + t / 2, top + t / 2, "ck-muted");
}

function drawSquare(paper, state, scale, width) {
  const { rect, text, named } = paper, { t, d, sign, top } = scale, { T } = state; // prettier-ignore
  const left = (width - 3 * d - GAP - t - 2 * sign) / 2, x = left + d + GAP, y = top + d + GAP; // prettier-ignore
  named("Q", "given", left, y, d, t);
  named("Kᵀ", "given", x, top, t, d);
  rect("square", x, y, t, t);
  if (state.way === "quadratic") tile(paper, scale, x, y, T);
  else drawChunks(paper, state, scale, x, y, width);
  text("×", x + t + sign / 2, y + t / 2, "ck-sign");
  named("V", "given", x + t + sign, y, d, t);
  text("=", x + t + d + 1.5 * sign, y + t / 2, "ck-sign");
  named("out", "out", x + t + d + 2 * sign, y, d, t);
  if (state.way === "quadratic" && t > 110) text("T × T pairs", x + t * 0.32, y + t * 0.72, "ck-inside");
}

/** Pairs that are computed, and their half above the diagonal, which the mask hides. */
function tile({ rect, nodes, id }, { unit }, x, y, tokens) {
  const side = tokens * unit;
  rect("pairs", x, y, side, side);
  if (tokens < 2 || side < 6) return;
  const points = [[unit, 0], [side, 0], [side, side - unit]]; // prettier-ignore
  if (unit >= STAIRS) for (let n = tokens - 1; n > 0; n -= 1) points.push([(n + 1) * unit, n * unit], [n * unit, n * unit], [n * unit, (n - 1) * unit]);
  nodes.push(svg("polygon", { class: "ck-hidden", ...fillOf("hidden", id), points: points.map(([a, b]) => `${x + a},${y + b}`).join(" ") }));
}

function drawChunks(paper, state, scale, x, y, width) {
  const { rect, text, nodes, id } = paper, { unit, t, d, c } = scale, { P, T, C } = state, p = P * unit; // prettier-ignore
  const pieces = piecesOf(state);
  if (pieces.length > MOST_TILES || (pieces.length > 1 && C * unit < STAIRS)) {
    const corners = (points) => points.map(([a, b]) => `${x + a},${y + b}`).join(" "), half = c / 2; // prettier-ignore
    nodes.push(svg("polygon", { class: "ck-read", ...fillOf("read", id), points: corners([[0, p], [p, p], [t, t], [0, t]]) }));
    nodes.push(svg("polygon", { class: "ck-band", points: corners([[p, p], [p + half, p], [t, t - half], [t, t], [t - half, t], [p, p + half]]) })); // prettier-ignore
  } else {
    for (const [begin, end] of pieces) {
      const tall = (end - begin) * unit, above = y + begin * unit; // prettier-ignore
      if (begin) rect("read", x, above, begin * unit, tall);
      tile(paper, scale, x + begin * unit, above, end - begin);
    }
  }
  if (P) rect("prefix", x, y, p, p);
  if (p > 92) ["one state,", "one reading,", "no mask"].forEach((words, n) => text(words, x + p / 2, y + p / 2 + (n - 1) * 17, "ck-inside"));
  if (t - Math.max(p, c) > 120 && p <= t / 2) text("read from the state", x + Math.max(p / 2 + (t - p) * 0.16, 64), y + t - (t - Math.max(p, c)) * 0.22, "ck-inside");
  drawStates(paper, P ? [[0, P], ...pieces] : pieces, scale, x, y + t + ARROW, width);
}

/** The states under the square, each beneath its chunk where there is room; where there is not, the first and the last. */
function drawStates({ rect, text, nodes }, pieces, { unit, t, d }, x, y, width) {
  const room = width - EDGE - x, count = pieces.length, middle = y + d / 2; // prettier-ignore
  const fit = Math.min(MOST_STATES, Math.floor((room + ARROW) / (d + ARROW))), some = Math.max(1, Math.min(fit, Math.floor((room - DOTS) / (d + ARROW)))); // prettier-ignore
  const sizes = count <= fit ? pieces.map(() => d) : [...Array(Math.max(1, some - 1)).fill(d), DOTS, ...Array(some > 1 ? 1 : 0).fill(d)];
  const gap = Math.max(ARROW, (t - sizes.reduce((sum, size) => sum + size)) / (sizes.length - 1 || 1));
  let lefts = sizes.map((_, n) => sizes.slice(0, n).reduce((sum, size) => sum + size + gap, 0));
  const beneath = pieces.slice(0, MOST_STATES).map(([begin, end]) => ((begin + end) * unit - d) / 2);
  if (count <= fit && beneath.every((at, n) => at >= (n ? beneath[n - 1] + d + ARROW : 0))) lefts = beneath;
  lefts.forEach((left, n) => {
    if (sizes[n] === d) rect("state", x + left, y, d, d);
    else text("…", x + left + DOTS / 2, middle, "ck-sign");
    if (!n) return;
    const from = x + lefts[n - 1] + sizes[n - 1] + 2, to = x + left - 2; // prettier-ignore
    nodes.push(svg("path", { class: "ck-arrow", d: `M${from},${middle}H${to - 5}` }), svg("path", { class: "ck-head", d: `M${to},${middle}l-6,-3.5v7z` }));
  });
  text(count > 1 ? "the state, handed from chunk to chunk" : "the state", Math.min(x, width - 240), y + d + 11, "ck-below"); // these words are so wide
}
