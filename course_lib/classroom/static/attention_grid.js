// The weights as a heat map over the cells of a mask grid, and the scale that says what its colours mean.

const HEAT_STEPS = 256;

/** The colour of each weight: from paper to the hue, by the root of the weight, so that small ones can be told apart. */
function heatColours(paper, hue) {
  const from = hexChannels(paper), to = hexChannels(hue); // prettier-ignore
  return Array.from({ length: HEAT_STEPS }, (_, n) => {
    const [r, g, b] = from.map((channel, c) => Math.round(channel + ((to[c] - channel) * n) / (HEAT_STEPS - 1)));
    return `rgb(${r} ${g} ${b})`;
  });
}

/** Lay the heat map between the cells of `grid` (from makeGrid) and its cursor. */
function makeHeat(grid) {
  const [cells, over] = grid.box.querySelectorAll("canvas");
  const canvas = h("canvas", { class: "ax-heat" });
  const pen = canvas.getContext("2d");
  over.before(canvas);
  let colours = null, place = null; // prettier-ignore

  const readColours = () => {
    const style = getComputedStyle(grid.box);
    const of = (name) => style.getPropertyValue(`--c-${name}`).trim();
    colours = { paper: of("paper"), ink: of("ink"), heat: heatColours(of("paper"), of("cross")) };
  };

  /** After the grid's own layout. */
  const layout = () => {
    const dpr = window.devicePixelRatio || 1;
    Object.assign(canvas, { width: cells.width, height: cells.height });
    canvas.style.width = cells.style.width;
    canvas.style.height = cells.style.height;
    const [x, y, size] = grid.box.dataset.cells.split(" ").map((each) => each * dpr);
    place = { x: Math.round(x), y: Math.round(y), size, dpr };
  };

  /** Draw the weights of one layer and head (or the mean) on the open cells; `pale` while they are of another boundary. */
  const draw = (state, pale) => {
    const { tokens, prefixLen: P } = state;
    const T = tokens.length;
    const { x, y, size, dpr } = place;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!T) return;
    const gap = size >= 16 * dpr ? dpr : size >= 7 * dpr ? dpr / 2 : 0;
    for (let i = 0; i < T; i++) {
      const row = attentionRow(state, i);
      const open = Math.max(i + 1, P);
      pen.globalAlpha = 1;
      pen.fillStyle = colours.paper;
      pen.fillRect(x, y + i * size, open * size, size);
      pen.globalAlpha = pale ? 0.35 : 1;
      for (let j = 0; j < open; j++) {
        pen.fillStyle = colours.heat[Math.round(Math.sqrt(Math.min(1, row[j])) * (HEAT_STEPS - 1))];
        pen.fillRect(x + j * size + gap, y + i * size + gap, size - 2 * gap, size - 2 * gap);
      }
    }
    pen.globalAlpha = 1;
    drawOutline(T, P);
  };

  /** The open cells' stair, and the boundary: paper around ink, to be seen on any colour. */
  const drawOutline = (T, P) => {
    const { x, y, size, dpr } = place;
    const side = T * size;
    const path = new Path2D();
    let at = Math.max(1, P) * size;
    path.moveTo(x + at, y);
    for (let i = 0; i < T; i++) {
      const open = Math.max(i + 1, P) * size;
      if (open !== at) path.lineTo(x + open, y + i * size);
      path.lineTo(x + open, y + (i + 1) * size);
      at = open;
    }
    const boundary = new Path2D();
    boundary.moveTo(x + P * size, y - 5 * dpr);
    boundary.lineTo(x + P * size, y + side);
    boundary.moveTo(x - 5 * dpr, y + P * size);
    boundary.lineTo(x + side, y + P * size);
    pen.strokeStyle = colours.ink;
    pen.lineWidth = dpr;
    pen.stroke(path);
    pen.strokeStyle = colours.paper;
    pen.lineWidth = 4 * dpr;
    pen.stroke(boundary);
    pen.setLineDash([6 * dpr, 4 * dpr]);
    pen.strokeStyle = colours.ink;
    pen.lineWidth = 2 * dpr;
    pen.stroke(boundary);
    pen.setLineDash([]);
  };

  return { readColours, layout, draw };
}

/** What the colours mean. */
function heatScale() {
  const marks = [0, 0.05, 0.2, 0.5, 1];
  const ticks = marks.map((mark) => h("span", { class: "ax-tick", style: `inset-inline-start: ${Math.sqrt(mark) * 100}%` }, String(mark)));
  return h("div", { class: "ax-scale", role: "img", "aria-label": "Colour scale: from paper for a weight of 0 to full colour for 1. Hatched cells may not be read." },
    h("span", { class: "ax-ramp-name" }, "attention weight"),
    h("span", { class: "ax-ramp" }, h("span", { class: "ax-ramp-bar" }), ticks),
    h("span", { class: "ax-hatch-key" }, h("span", { class: "mx-swatch mx-hatch" }), "may not read")); // prettier-ignore
}
