// The mask as a grid on a canvas: rows are queries, columns are keys. Draws what it is told; keeps no state of its own.

const ROLE_COLOURS = { [PREFIX]: "prefix", [TARGET]: "target", [ADDED]: "added", [CROSS]: "cross", [SHUT]: "bad" };
const MOST_NAMED = 24; // above this, the axes carry numbers only
const SLANT = Math.PI / 3; // of the names above the columns

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

  const pen = () => ({ context, at, colours });

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
      trianglePath(context, at, grown);
      context.fill();
      context.lineJoin = "miter";
      for (const [colour, wide] of [["paper", 5], ["ink", 2.2]]) {
        context.strokeStyle = colours[colour];
        context.lineWidth = wide * dpr * Math.min(1, Math.max(0.5, cell / (14 * dpr)));
        context.stroke();
      }
    } else if (kind === "custom") markDifferences(pen(), roles);
    context.strokeStyle = colours.line;
    context.lineWidth = dpr;
    context.strokeRect(x, y, side, side);
  };

  /** Draw the mask and all that does not depend on the pointer. */
  const draw = (state, counted, showTiles) => {
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!at.T) return;
    drawCells(state, cellRoles(state.kind, state.prefixLen, at.T, state.custom));
    if (showTiles) drawTiles(pen(), state.tile, counted);
    drawBoundary(pen(), state);
    drawAxes(pen(), state);
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
    drawBlockNames({ ...pen(), context: above }, state);
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
    setText(cellName, words);
  };

  return { box, layout, draw, drawOver, readColours, cellAt };
}
