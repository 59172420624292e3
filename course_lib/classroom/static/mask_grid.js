// The mask as a grid on a canvas: rows are queries, columns are keys. Draws what it is told; keeps no state of its own.

const CLOSED = 0, PREFIX = 1, TARGET = 2, ADDED = 3, CROSS = 4, SHUT = 5; // prettier-ignore
const ROLE_COLOURS = { [PREFIX]: "prefix", [TARGET]: "target", [ADDED]: "added", [CROSS]: "cross", [SHUT]: "bad" };
const MOST_NAMED = 24; // above this, the axes carry numbers only
const SLANT = Math.PI / 3;

/** What each cell is, (T * T): CLOSED or how it is open; ADDED looks ahead (or is open against the prefix mask), SHUT is closed against it. */
function cellRoles(kind, P, T, custom = null) {
  const roles = new Uint8Array(T * T);
  for (let i = 0; i < T; i++) {
    const row = i * T;
    const paint = (role, from, to) => from < to && roles.fill(role, row + from, row + to);
    if (kind === "encoder" || (kind === "prefix" && i < P)) {
      paint(PREFIX, 0, i + 1);
      paint(ADDED, i + 1, kind === "encoder" ? T : P);
    } else if (kind === "decoder") paint(TARGET, 0, i + 1);
    else if (kind === "custom")
      for (let j = 0; j < T; j++) {
        const expected = j <= i || j < P;
        if (custom[row + j]) roles[row + j] = !expected ? ADDED : j < P ? PREFIX : TARGET;
        else if (expected) roles[row + j] = SHUT;
      }
    else {
      paint(kind === "encoder-decoder" && i >= P ? CROSS : PREFIX, 0, P);
      paint(TARGET, P, i + 1);
    }
  }
  return roles;
}

function hexChannels(hex) {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** A small canvas, repeated as a pattern. */
function patternOf(context, size, paint) {
  const tile = h("canvas", { width: size, height: size });
  paint(tile.getContext("2d"), size);
  return context.createPattern(tile, "repeat");
}

/** Make the grid. `on` = { hover(i, j) or hover(null), choose(i, j), move(key) } is told of the pointer and the keys. */
function makeGrid(on) {
  const canvas = h("canvas", { class: "mx-cells" });
  const over = h("canvas", { class: "mx-over" });
  const cellName = h("span", { role: "gridcell", id: uniqueId("mx-cell") });
  const box = h("div", {
    class: "mx-grid", role: "grid", tabindex: "0", "aria-activedescendant": cellName.id,
    "aria-label": "Mask: rows are queries, columns are keys. Arrow keys move from cell to cell.",
  }, canvas, over, h("div", { role: "row", class: "visually-hidden" }, cellName)); // prettier-ignore
  const context = canvas.getContext("2d");
  const above = over.getContext("2d");
  const image = h("canvas");
  let colours = null, patterns = null, at = null, imageData = null; // prettier-ignore

  const cellAt = (event) => {
    if (!at?.T) return null;
    const rect = canvas.getBoundingClientRect();
    const j = Math.floor(((event.clientX - rect.left) * at.dpr - at.x) / at.cell);
    const i = Math.floor(((event.clientY - rect.top) * at.dpr - at.y) / at.cell);
    return i >= 0 && j >= 0 && i < at.T && j < at.T ? [i, j] : null;
  };
  box.addEventListener("pointermove", (event) => on.hover(cellAt(event)));
  box.addEventListener("pointerleave", () => on.hover(null));
  box.addEventListener("click", (event) => {
    const cell = cellAt(event);
    if (cell) on.choose(...cell);
  });
  box.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (on.move(event.key)) event.preventDefault();
  });

  const readColours = () => {
    const style = getComputedStyle(box);
    colours = { font: style.fontFamily };
    for (const name of ["paper", "ink", "muted", "line", "prefix", "target", "added", "cross", "bad", "hatch", "focus"])
      colours[name] = style.getPropertyValue(`--c-${name}`).trim();
    colours.words = new Uint32Array(6);
    for (const [role, name] of Object.entries(ROLE_COLOURS)) {
      const [r, g, b] = hexChannels(colours[name]);
      colours.words[role] = ((role == SHUT ? 70 : 255) << 24) | (b << 16) | (g << 8) | r;
    }
    patterns = null;
  };

  /** Find the place of everything for T tokens in `width` CSS pixels. Only when the text, the width or the theme changes. */
  const layout = (tokens, width) => {
    const T = tokens.length;
    const dpr = window.devicePixelRatio || 1;
    const side = Math.min(width, 560);
    const caption = 20;
    let names = null, left = caption + 26, top = caption + 20, right = 2; // prettier-ignore
    const most = Math.max(46, 110 / Math.max(T, 1)); // a short text has large cells, but not a wall of them
    let cell = Math.max(1, Math.min(most, (side - left - right) / Math.max(T, 1))); // a pane may be dragged to nothing
    if (T && T <= MOST_NAMED) {
      const font = Math.max(9, Math.min(13, cell * 0.62));
      context.font = `${font}px ${colours.font}`;
      names = tokens.map((token) => cropToken(token, 12));
      const widths = names.map((name) => context.measureText(name).width);
      const longest = Math.max(...widths);
      const wide = caption + Math.min(longest, side * 0.3) + 12;
      const lean = Math.max(0, ...widths.map((w, j) => w * Math.cos(SLANT) - (T - j - 0.5) * cell)) + 4;
      const fits = Math.min(most, (side - wide - lean) / T);
      if (fits >= 10) {
        cell = fits;
        left = wide;
        right = lean;
        top = caption + longest * Math.sin(SLANT) + font * 0.8 + 4;
      } else names = null;
    }
    const whole = Math.floor(cell * dpr);
    const size = whole >= 4 ? whole : Math.floor(cell * dpr * T) / Math.max(T, 1); // small cells share what is left over
    at = {
      T, dpr, cell: size, x: Math.round(left * dpr), y: Math.round(top * dpr), side: Math.round(size * T), names,
      font: Math.max(9, Math.min(13, (size / dpr) * 0.62)), caption: caption * dpr, right: right * dpr,
    }; // prettier-ignore
    const w = Math.min(Math.floor(width * dpr), Math.ceil(at.x + Math.max(at.side + right * dpr, 96 * dpr)));
    const tall = at.y + Math.max(at.side, T ? 0 : 150 * dpr) + Math.ceil(3 * dpr);
    box.classList.toggle("is-empty", !T);
    box.dataset.cells = [at.x / dpr, at.y / dpr, size / dpr].join(" "); // where the first cell is, and how large one is
    for (const each of [canvas, over]) {
      each.width = w;
      each.height = tall;
      each.style.width = `${w / dpr}px`;
      each.style.height = `${tall / dpr}px`;
    }
    box.style.height = `${tall / dpr}px`;
    box.style.width = `${w / dpr}px`;
    image.width = image.height = Math.max(T, 1);
    imageData = T ? image.getContext("2d").createImageData(T, T) : null;
    patterns = null;
  };

  const makePatterns = () => {
    const { dpr, cell } = at;
    const hatch = patternOf(context, Math.round(7 * dpr), (c, s) => {
      c.strokeStyle = colours.hatch;
      c.lineWidth = dpr;
      c.beginPath();
      for (const shift of [-s, 0, s]) {
        c.moveTo(shift, s);
        c.lineTo(shift + s, 0);
      }
      c.stroke();
    });
    const dots = patternOf(context, cell >= 6 * dpr ? cell : Math.max(cell, 1) * Math.ceil((5 * dpr) / cell), (c, s) => {
      c.fillStyle = colours.paper;
      c.beginPath();
      c.arc(s / 2, s / 2, Math.max(0.8 * dpr, Math.min(s * 0.13, 3 * dpr)), 0, 7);
      c.fill();
    });
    const origin = new DOMMatrix().translate(at.x, at.y);
    hatch.setTransform(origin);
    dots.setTransform(origin);
    patterns = { hatch, dots };
  };

  /** The outline of the cells above the diagonal in the first `n` rows and columns. */
  const triangle = (c, n) => {
    const { x, y, cell } = at;
    c.beginPath();
    c.moveTo(x + cell, y);
    c.lineTo(x + n * cell, y);
    for (let i = n - 1; i > 0; i--) {
      c.lineTo(x + (i + 1) * cell, y + i * cell);
      c.lineTo(x + i * cell, y + i * cell);
    }
    c.closePath();
  };

  const drawCells = (state, roles) => {
    const { T, x, y, cell, side, dpr } = at;
    const { kind, prefixLen: P } = state;
    if (!patterns) makePatterns();
    context.fillStyle = colours.paper;
    context.fillRect(x, y, side, side);
    context.fillStyle = patterns.hatch;
    context.fillRect(x, y, side, side);
    const words = new Uint32Array(imageData.data.buffer);
    for (let k = 0; k < roles.length; k++) words[k] = colours.words[roles[k]];
    image.getContext("2d").putImageData(imageData, 0, 0);
    context.imageSmoothingEnabled = false;
    context.drawImage(image, x, y, side, side);
    if (cell >= 5 * dpr) {
      context.strokeStyle = colours.paper;
      context.lineWidth = cell >= 16 * dpr ? 2 * dpr : 1;
      context.beginPath();
      for (let n = 0; n <= T; n++) {
        context.moveTo(x + n * cell, y);
        context.lineTo(x + n * cell, y + side);
        context.moveTo(x, y + n * cell);
        context.lineTo(x + side, y + n * cell);
      }
      context.stroke();
    }
    const grown = kind === "prefix" ? P : kind === "encoder" ? T : 0;
    context.fillStyle = patterns.dots;
    if (grown > 1) {
      triangle(context, grown);
      context.fill();
      context.lineJoin = "miter";
      for (const [colour, wide] of [["paper", 5], ["ink", 2.2]]) {
        context.strokeStyle = colours[colour];
        context.lineWidth = wide * dpr * Math.min(1, Math.max(0.5, cell / (14 * dpr)));
        context.stroke();
      }
    } else if (kind === "custom") markDifferences(roles);
    context.strokeStyle = colours.line;
    context.lineWidth = dpr;
    context.strokeRect(x, y, side, side);
  };

  const markDifferences = (roles) => {
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
  };

  const drawTiles = (tile, counted) => {
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
  };

  const drawBoundary = ({ kind, prefixLen: P }) => {
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
  };

  /** The three blocks of an encoder–decoder carry their names, where there is room. */
  const drawBlockNames = ({ kind, prefixLen: P }) => {
    if (kind !== "encoder-decoder") return;
    const { T, x, y, cell, side, dpr } = at;
    const put = (words, cx, cy, wide, tall) => {
      above.font = `600 ${12 * dpr}px ${colours.font}`;
      const w = above.measureText(words).width + 14 * dpr;
      if (w > wide - 4 * dpr || tall < 22 * dpr) return;
      above.fillStyle = colours.paper;
      above.beginPath();
      above.roundRect(cx - w / 2, cy - 10 * dpr, w, 20 * dpr, 10 * dpr);
      above.fill();
      above.fillStyle = colours.ink;
      above.textAlign = "center";
      above.textBaseline = "middle";
      above.fillText(words, cx, cy);
    };
    const p = P * cell, rest = side - p; // prettier-ignore
    put("source self-attention", x + p / 2, y + p / 2, p, p);
    if (P < T) put("cross-attention", x + p / 2, y + p + rest / 2, p, rest);
    put("target self-attention", x + p + rest / 2, y + side - Math.min(rest * 0.22, 3 * cell), rest * 0.8, rest);
  };

  const drawAxes = (state, loss) => {
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
  };

  /** Draw the mask and all that does not depend on the pointer. */
  const draw = (state, counted, showTiles) => {
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!at.T) return;
    drawCells(state, cellRoles(state.kind, state.prefixLen, at.T, state.custom));
    if (showTiles) drawTiles(state.tile, counted);
    drawBoundary(state);
    drawAxes(state, counted.loss);
  };

  /** Draw the row of the chosen query, the cell under the pointer or the keyboard, and name that cell. */
  const drawOver = (state, row, cell, words) => {
    above.clearRect(0, 0, over.width, over.height);
    if (!at.T) return;
    const { x, y, cell: size, side, dpr } = at;
    if (row !== null) {
      above.strokeStyle = colours.paper;
      above.lineWidth = 4.5 * dpr;
      above.strokeRect(x - dpr, y + row * size - dpr, side + 2 * dpr, size + 2 * dpr);
      above.strokeStyle = colours.ink;
      above.lineWidth = 2 * dpr;
      above.strokeRect(x - dpr, y + row * size - dpr, side + 2 * dpr, size + 2 * dpr);
    }
    drawBlockNames(state);
    if (cell) {
      const [i, j] = cell;
      above.lineWidth = 1.5 * dpr;
      above.strokeStyle = colours.ink;
      above.setLineDash([3 * dpr, 3 * dpr]);
      above.strokeRect(x + j * size, y, size, side);
      above.setLineDash([]);
      above.strokeStyle = colours.paper;
      above.lineWidth = 6 * dpr;
      above.strokeRect(x + j * size, y + i * size, size, size);
      above.strokeStyle = colours.focus;
      above.lineWidth = 3 * dpr;
      above.strokeRect(x + j * size, y + i * size, size, size);
    }
    if (cellName.textContent !== words) cellName.textContent = words;
  };

  return { box, layout, draw, drawOver, readColours, cellAt };
}
