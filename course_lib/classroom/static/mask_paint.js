// What is painted over and around the cells of a mask. A pen is { context, at, colours }: a canvas's context, the places of
// everything on it (`layout` of mask_grid.js), and the colours of the theme.

/** The outline of the cells above the diagonal in the first `n` rows and columns. */
function trianglePath(c, { x, y, cell }, n) {
  c.beginPath();
  c.moveTo(x + cell, y);
  c.lineTo(x + n * cell, y);
  for (let i = n - 1; i > 0; i--) {
    c.lineTo(x + (i + 1) * cell, y + i * cell);
    c.lineTo(x + i * cell, y + i * cell);
  }
  c.closePath();
}

/** A user's own mask: what it opens against the prefix mask is dotted, what it closes is crossed. */
function markDifferences({ context, at, colours }, roles) {
  const { T, x, y, cell, dpr } = at;
  const crosses = new Path2D();
  context.beginPath();
  for (let k = 0; k < roles.length; k++) {
    const cx = x + (k % T) * cell, cy = y + Math.floor(k / T) * cell; // prettier-ignore
    if (roles[k] === ADDED) context.rect(cx, cy, cell, cell);
    if (roles[k] !== SHUT || cell < 6 * dpr) continue;
    const inset = cell * 0.3;
    crosses.moveTo(cx + inset, cy + inset);
    crosses.lineTo(cx + cell - inset, cy + cell - inset);
    crosses.moveTo(cx + cell - inset, cy + inset);
    crosses.lineTo(cx + inset, cy + cell - inset);
  }
  context.fill();
  context.strokeStyle = colours.bad;
  context.lineWidth = 2 * dpr;
  context.stroke(crosses);
}

/** Lines between tiles, a veil over those that are skipped, a frame in those that are full. */
function drawTiles({ context, at, colours }, tile, counted) {
  const { T, x, y, cell, side, dpr } = at;
  const step = tile * cell;
  const edge = (n) => Math.min(n * step, side);
  const veil = new Path2D(), full = new Path2D(), lines = new Path2D(); // prettier-ignore
  counted.grid.forEach((sort, k) => {
    const col = k % counted.side, row = Math.floor(k / counted.side); // prettier-ignore
    const rect = [x + edge(col), y + edge(row), edge(col + 1) - edge(col), edge(row + 1) - edge(row)];
    if (sort === 0) veil.rect(...rect);
    if (sort === 2 && step >= 10 * dpr) {
      const inset = Math.max(2 * dpr, step * 0.06);
      full.rect(rect[0] + inset, rect[1] + inset, rect[2] - 2 * inset, rect[3] - 2 * inset);
    }
  });
  for (let n = 0; n <= counted.side; n++) {
    lines.moveTo(x + edge(n), y);
    lines.lineTo(x + edge(n), y + side);
    lines.moveTo(x, y + edge(n));
    lines.lineTo(x + side, y + edge(n));
  }
  context.globalAlpha = 0.88;
  context.fillStyle = colours.paper;
  context.fill(veil);
  context.globalAlpha = 1;
  context.strokeStyle = colours.paper;
  context.lineWidth = 1.5 * dpr;
  context.stroke(full);
  context.strokeStyle = colours.ink;
  context.lineWidth = step >= 8 * dpr ? 1.25 * dpr : 0.5 * dpr;
  context.stroke(lines);
  if (step < 34 * dpr) return;
  context.font = `${Math.min(12, (step / dpr) * 0.26) * dpr}px ${colours.font}`;
  context.fillStyle = colours.muted;
  context.textAlign = "center";
  context.textBaseline = "middle";
  counted.grid.forEach((sort, k) => {
    const col = k % counted.side, row = Math.floor(k / counted.side); // prettier-ignore
    const rows = Math.min(tile, T - row * tile);
    const middle = (Math.floor((rows - 1) / 2) + 0.5) * cell; // of a row: the line between two rows would cut the word
    if (sort === 0 && edge(col + 1) - edge(col) >= 30 * dpr)
      context.fillText("skip", x + (edge(col) + edge(col + 1)) / 2, y + edge(row) + middle);
  });
}

/** The boundary, dashed, along both axes. */
function drawBoundary({ context, at, colours }, { kind, prefixLen: P }) {
  if (kind === "encoder" || kind === "decoder") return;
  const { x, y, cell, side, dpr } = at;
  context.save();
  context.beginPath();
  context.moveTo(x + P * cell, y - 5 * dpr);
  context.lineTo(x + P * cell, y + side);
  context.moveTo(x - 5 * dpr, y + P * cell);
  context.lineTo(x + side, y + P * cell);
  context.strokeStyle = colours.paper;
  context.lineWidth = 4 * dpr;
  context.stroke();
  context.setLineDash([6 * dpr, 4 * dpr]);
  context.strokeStyle = colours.ink;
  context.lineWidth = 2 * dpr;
  context.stroke();
  context.restore();
}

/** The three blocks of an encoder–decoder carry their names, where there is room. */
function drawBlockNames({ context, at, colours }, { kind, prefixLen: P }) {
  if (kind !== "encoder-decoder") return;
  const { T, x, y, cell, side, dpr } = at;
  const put = (words, cx, cy, wide, tall) => {
    context.font = `600 ${12 * dpr}px ${colours.font}`;
    const w = context.measureText(words).width + 14 * dpr;
    if (w > wide - 4 * dpr || tall < 22 * dpr) return;
    context.fillStyle = colours.paper;
    context.beginPath();
    context.roundRect(cx - w / 2, cy - 10 * dpr, w, 20 * dpr, 10 * dpr);
    context.fill();
    context.fillStyle = colours.ink;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText(words, cx, cy);
  };
  const p = P * cell, rest = side - p; // prettier-ignore
  put("source self-attention", x + p / 2, y + p / 2, p, p);
  if (P < T) put("cross-attention", x + p / 2, y + p + rest / 2, p, rest);
  put("target self-attention", x + p + rest / 2, y + side - Math.min(rest * 0.22, 3 * cell), rest * 0.8, rest);
}

/** The names of the tokens, or their numbers where there is no room, and what the axes are. */
function drawAxes({ context, at, colours }, state) {
  const { T, x, y, cell, side, dpr, names, font } = at;
  const { kind, prefixLen: P } = state;
  const colourOf = (i) => (kind === "encoder" ? colours.prefix : kind === "decoder" || i >= P ? colours.target : colours.prefix);
  context.textBaseline = "middle";
  context.font = `${font * dpr}px ${colours.font}`;
  const every = names ? 1 : [1, 2, 4, 8, 16, 32, 64].find((step) => step * cell >= 22 * dpr) ?? 64;
  for (let i = 0; i < T; i += every) {
    const centre = (i + 0.5) * cell;
    context.fillStyle = colourOf(i);
    context.textAlign = "right";
    context.fillText(names ? names[i] : i, x - 7 * dpr, y + centre, x - at.caption - 6 * dpr);
    if (!names) {
      context.textAlign = "center";
      context.fillText(i, x + centre, y - 11 * dpr);
      continue;
    }
    context.save();
    context.translate(x + centre - 1 * dpr, y - 7 * dpr);
    context.rotate(-SLANT);
    context.textAlign = "left";
    context.fillText(names[i], 0, 0);
    context.restore();
  }
  context.fillStyle = colours.muted;
  context.font = `${11.5 * dpr}px ${colours.font}`;
  context.textAlign = "left";
  context.fillText("keys are read →", x, 8 * dpr);
  context.save();
  context.translate(8 * dpr, y);
  context.rotate(-Math.PI / 2);
  context.textAlign = "right";
  context.fillText("← queries ask", 0, 0);
  context.restore();
}
