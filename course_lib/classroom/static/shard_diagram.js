// A text cut among processes, and what travels between them: for one sum, from each to the next, and round the ring.

const EDGE = 1, LEAST_ARROW = 13; // px; between narrower boxes only the last has an arrow's head
const ROWS = { labels: 8, text: 20, names: 52, linear: 84, parts: 97, bus: 126, chain: 154, ring: 200, blocks: 213, back: 238, height: 262 };

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** Draw a state { N, L, P, training } into an svg of this width. */
function drawShards(picture, { N, L, P, training }, width) {
  const gap = Math.min(8, (0.2 * width) / N), pitch = (width - 2 * EDGE + gap) / N, box = pitch - gap, shard = L / N; // prettier-ignore
  const left = (n) => EDGE + n * pitch, middle = (n) => left(n) + box / 2; // prettier-ignore
  const first = Math.floor(P / shard), side = Math.min(13, box), everyone = Array.from({ length: N }, (_, n) => n); // prettier-ignore
  const nodes = [];
  const rect = (kind, x, y, w, h) => w > 0 && nodes.push(svg("rect", { class: `sd-${kind}`, x, y, width: w, height: h }));
  const text = (words, x, y, anchor = "start", kind = "") => nodes.push(svg("text", { x, y, class: `sd-at-${anchor} ${kind}` }, words));
  const line = (d, kind) => nodes.push(svg("path", { class: `sd-line sd-${kind}`, d }));
  const head = (x, y, turn, kind) => nodes.push(svg("path", { class: `sd-head sd-${kind}`, d: "M0,0l-6,-3.5v7z", transform: `translate(${x},${y}) rotate(${turn})` }));
  /** Arrows from each of some places to the next. */
  const onwards = (from, to, y, half, kind) => {
    const wide = pitch - 2 * half >= LEAST_ARROW;
    if (!wide) line(`M${middle(from)},${y}H${middle(to) - half - 5}`, kind);
    for (let n = from; n < to; n += 1) {
      if (wide) line(`M${middle(n) + half},${y}H${middle(n + 1) - half - 6}`, kind);
      if (wide || n === to - 1) head(middle(n + 1) - half - 1, y, 0, kind);
    }
  };

  if (P) text(`prefix, ${whole(P)}`, EDGE, ROWS.labels, "start", "sd-of-prefix");
  if (P < L) text(`target, ${whole(L - P)}`, width - EDGE, ROWS.labels, "end", "sd-of-target");
  for (const n of everyone) {
    const read = (Math.min(Math.max(P - n * shard, 0), shard) / shard) * box;
    rect("prefix", left(n), ROWS.text, read, 20);
    rect("target", left(n) + read, ROWS.text, box - read, 20);
    if (pitch >= 22) text(pitch >= 66 ? `process ${n}` : String(n), middle(n), ROWS.names, "middle", "sd-muted");
  }
  if (pitch < 22) {
    text("0", EDGE, ROWS.names, "start", "sd-muted");
    text("processes", width / 2, ROWS.names, "middle", "sd-muted");
    text(String(N - 1), width - EDGE, ROWS.names, "end", "sd-muted");
  }

  text("Prefix linear attention", EDGE, ROWS.linear, "start", "sd-strong");
  if (N > 1 && P) {
    line(`M${middle(0)},${ROWS.bus}H${middle(N - 1)}`, "sum");
    for (const n of everyone) {
      const holds = n * shard < P, y = ROWS.parts + (holds ? 13 : 6); // prettier-ignore
      line(`M${middle(n)},${ROWS.bus}V${y}`, "up");
      if (holds) rect("part", middle(n) - side / 2, ROWS.parts, side, 13);
      else if (pitch >= 9) head(middle(n), y - 2, -90, "up");
    }
  }
  const sum = N === 1 ? "nothing travels" : P ? `one sum of states${training ? ", one of gradients" : ", which all get"}` : "no prefix: no sum";
  text(sum, EDGE, P && N > 1 ? ROWS.bus + 13 : ROWS.parts + 10, "start", "sd-muted");
  if (first < N - 1) {
    onwards(first, N - 1, ROWS.chain + 6, side / 2, "chain");
    for (let n = first; n < N; n += 1) rect("handed", middle(n) - side / 2, ROWS.chain, side, 13);
    const handed = `states, handed on →${training ? ", gradients ←" : ""}`;
    text(handed, Math.min(middle(first) - side / 2, width - EDGE - (training ? 205 : 125)), ROWS.chain + 24, "start", "sd-muted"); // so wide are these words
  } else if (N > 1) text(P === L ? "no target: nothing to hand on" : "one holds the target: none handed on", width - EDGE, ROWS.chain + 6, "end", "sd-muted");

  text("Ring attention", EDGE, ROWS.ring, "start", "sd-strong");
  if (N === 1) text("nothing travels", EDGE, ROWS.blocks + 10, "start", "sd-muted");
  else {
    const half = Math.min(box / 2, Math.max(side / 2, (pitch - LEAST_ARROW - 5) / 2)), y = ROWS.blocks + 7; // prettier-ignore
    onwards(0, N - 1, y, half, "round");
    for (const n of everyone) rect("block", middle(n) - half, ROWS.blocks, 2 * half, 14);
    line(`M${middle(N - 1)},${ROWS.blocks + 14}V${ROWS.back}H${middle(0)}V${ROWS.blocks + 21}`, "round");
    head(middle(0), ROWS.blocks + 16, -90, "round");
    text(`keys and values, handed on ${timesWords(N - 1)}`, width / 2, ROWS.back + 13, "middle", "sd-muted");
  }
  picture.replaceChildren(...nodes);
  picture.setAttribute("viewBox", `0 0 ${width} ${ROWS.height}`);
}
