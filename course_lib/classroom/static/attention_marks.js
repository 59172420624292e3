// Arcs over the strip whose width is the attention weight, and the two lists of bars.

/** Lay arcs over `strip` (from makeStrip): from the asking token to every key, as thick as its weight. */
function makeWeightArcs(strip) {
  const inner = strip.box.firstElementChild;
  const canvas = h("canvas", { class: "mx-arcs ax-arcs", "aria-hidden": "true" });
  const pen = canvas.getContext("2d");
  inner.append(canvas);
  let places = [], dpr = 1, colour = "", paper = ""; // prettier-ignore

  /** After the strip's own measuring. */
  const measure = () => {
    const style = getComputedStyle(canvas);
    colour = style.getPropertyValue("--c-cross").trim();
    paper = style.getPropertyValue("--c-paper").trim();
    dpr = window.devicePixelRatio || 1;
    canvas.width = Math.round(inner.clientWidth * dpr);
    canvas.height = Math.round(inner.clientHeight * dpr);
    places = [...inner.querySelectorAll(".mx-token")].map((token) => ({ x: token.offsetLeft, y: token.offsetTop, w: token.offsetWidth, h: token.offsetHeight }));
  };

  const draw = (row, asks, onlyKey, pale) => {
    pen.setTransform(dpr, 0, 0, dpr, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (!row || places.length !== row.length) return;
    const from = places[asks];
    const tall = strip.box.classList.contains("is-tall");
    const room = tall ? 22 : strip.box.classList.contains("is-wrapped") ? 48 : from.y - 8;
    const span = inner.clientWidth;
    pen.strokeStyle = pen.fillStyle = colour;
    pen.lineCap = "round";
    const keys = largestKeys(row, row.length).filter((j) => row[j] >= 0.01 && (onlyKey === null || onlyKey === j)).reverse();
    for (const j of keys) {
      pen.globalAlpha = (pale ? 0.3 : 1) * Math.min(1, 0.3 + 0.9 * Math.sqrt(row[j]));
      pen.lineWidth = 0.8 + (tall ? 5 : 8) * row[j];
      pen.beginPath();
      traceArc(pen, from, places[j], j === asks, room, span);
      pen.stroke();
    }
    for (const j of keys) {
      const to = places[j];
      const x = to.x + to.w / 2, y = to.y < from.y ? to.y + to.h + 3 : to.y - 3, r = 1.6 + 3.4 * Math.sqrt(row[j]); // prettier-ignore
      pen.beginPath();
      pen.arc(x, y, r, 0, 7);
      pen.globalAlpha = 1;
      pen.fillStyle = paper;
      pen.fill();
      pen.globalAlpha = pale ? 0.35 : 1;
      pen.fillStyle = colour;
      pen.fill();
    }
  };

  return { measure, draw };
}

/** A list of `count` bars, each a word, a bar and a number; its place is kept when there are fewer. */
function barList(kind, count, title) {
  const heading = h("p", { class: "ax-bars-head" }, title);
  const rows = Array.from({ length: count }, () => {
    const word = h("span", { class: "ax-word" }), fillOf = h("span", { class: "ax-fill" }), value = h("span", { class: "ax-value" }), mark = h("span", { class: "ax-mark" }); // prettier-ignore
    return { word, fillOf, value, mark, row: h("li", { class: "ax-bar" }, word, h("span", { class: "ax-track", "aria-hidden": "true" }, fillOf), value, " ", mark) };
  });
  const list = h("ol", { class: "ax-list" }, rows.map(({ row }) => row));
  const box = h("div", { class: `ax-bars ax-${kind}` }, heading, list);
  return {
    box,
    /** `bars` = [{ word, share, text, mark }]; a marked one is the word that the text goes on with. */
    show(title, bars) {
      setText(heading, title);
      rows.forEach(({ row, word, fillOf, value, mark }, n) => {
        const bar = bars[n];
        row.classList.toggle("is-unused", !bar);
        row.classList.toggle("is-marked", Boolean(bar?.mark));
        setText(mark, bar?.mark ?? "");
        setText(word, bar ? cropToken(bar.word, 16) : "");
        word.title = bar && bar.word.length > 16 ? cropToken(bar.word, 200) : "";
        setText(value, bar?.text ?? "");
        fillOf.style.transform = `scaleX(${bar ? bar.share : 0})`;
      });
    },
  };
}
