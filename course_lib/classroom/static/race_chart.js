// The ratios of the race against P/T, and places on an axis of time.

const FAMILIES = ["softmax", "linear"];
const CHART = { height: 270, left: 34, right: 92, top: 12, bottom: 42 };

function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** An axis of time on a log scale around these seconds: where a time lies, in percent, and its ticks. */
function timeAxis(seconds) {
  const low = Math.min(...seconds), high = Math.max(...seconds); // prettier-ignore
  const all = [];
  for (let power = -7; power < 5; power++) for (const factor of [1, 2, 5]) all.push(Number(`${factor}e${power}`));
  const first = all.findLastIndex((one) => one <= low * 0.95), last = all.findIndex((one) => one >= high * 1.05); // prettier-ignore
  const from = Math.log(all[first]), to = Math.log(all[last]); // prettier-ignore
  const at = (value) => (100 * (Math.log(value) - from)) / (to - from);
  const ticks = all.slice(first, last + 1);
  const few = ticks.length > 6 ? ticks.filter((one) => /^1/.test(one.toExponential())) : ticks;
  return { at, ticks: few };
}

/** The mark of a family: a disc for softmax, a square for linear. */
function mark(family, x, y, look) {
  if (family === "softmax") return svg("circle", { class: `rx-mark rx-${family} ${look}`, cx: x, cy: y, r: 5 });
  return svg("rect", { class: `rx-mark rx-${family} ${look}`, x: x - 4.5, y: y - 4.5, width: 9, height: 9 });
}

/**
 * Draw the curves into `paper`. `laws`, `recorded` and `measured` map a family to a list over the eighths: of numbers,
 * and of [low, median, high], with holes. `here` is the eighth that the slider shows.
 */
function drawChart(paper, { eighths, here, laws, recorded, measured }) {
  const { height, left, right, top, bottom } = CHART;
  const width = Math.max(paper.getBoundingClientRect().width, 240);
  const seen = FAMILIES.flatMap((family) => [...recorded[family], ...measured[family]].filter(Boolean).map(([, median]) => median));
  const most = Math.max(2.2, 0.1 + Math.max(...seen, 0));
  const x = (eighth) => left + (eighth / eighths) * (width - left - right);
  const y = (ratio) => top + (1 - ratio / most) * (height - top - bottom);
  const inside = (ratio) => y(Math.min(ratio, most));
  const parts = [];
  for (let ratio = 0; ratio <= most; ratio += most > 5 ? 1 : 0.5)
    parts.push(
      svg("line", { class: ratio === 1 ? "rx-one" : "rx-rule", x1: left, x2: width - right, y1: y(ratio), y2: y(ratio) }),
      svg("text", { x: left - 8, y: y(ratio), class: "rx-end" }, String(ratio)),
    );
  for (let eighth = 0; eighth <= eighths; eighth += 2)
    parts.push(svg("text", { x: x(eighth), y: height - bottom + 18, class: "rx-middle" }, String(eighth / eighths)));
  parts.push(svg("text", { x: (left + width - right) / 2, y: height - 8, class: "rx-middle" }, "P / T"));
  parts.push(svg("line", { class: "rx-here", x1: x(here), x2: x(here), y1: top, y2: height - bottom }));
  const line = (points, name) => svg("polyline", { class: name, points: points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(" ") });
  const curve = (family, list, look) => {
    const known = list.map((one, n) => one && [n, one]).filter(Boolean);
    if (!known.length) return;
    parts.push(line(known.map(([n, [, median]]) => [x(n), inside(median)]), `rx-curve rx-${family} ${look}`));
    for (const [n, [low, median, high]] of known) {
      parts.push(svg("line", { class: `rx-spread rx-${family} ${look}`, x1: x(n), x2: x(n), y1: inside(low), y2: inside(high) }));
      parts.push(mark(family, x(n), inside(median), look));
    }
  };
  for (const family of FAMILIES) parts.push(line(laws[family].map((ratio, n) => [x(n), y(ratio)]), `rx-law rx-${family}`));
  for (const family of FAMILIES) curve(family, recorded[family], "is-recorded");
  for (const family of FAMILIES) curve(family, measured[family], "is-measured");
  const side = width - right + 10, softmax = y(laws.softmax.at(-1)), linear = y(laws.linear.at(-1)); // prettier-ignore
  for (const [at, name, words] of [[softmax, "softmax", "1 + (P/T)²"], [y(1), "", "causal"], [linear, "linear", "counted"]])
    parts.push(
      ...(name ? [svg("text", { x: side, y: at - 8, class: `rx-name rx-${name}` }, name)] : []),
      svg("text", { x: side, y: at + (name ? 8 : 0), class: "rx-side" }, words),
    );
  paper.setAttribute("viewBox", `0 0 ${width} ${height}`);
  paper.replaceChildren(...parts);
}
