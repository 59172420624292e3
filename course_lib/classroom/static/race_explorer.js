// needs: number_words.js controls.js race_chart.js
// Softmax and linear attention, causal and with a prefix: counted here, raced in Python. Python's twin is race_words.py.

const FORMS = FAMILIES.flatMap((family) => [`${family} causal`, `${family} prefix`]);
const LEAST_ROUNDS = 6; // with fewer, equals are told apart by chance too often
const TITLES = { softmax: "Softmax", linear: "Linear" };
const NO_KERNEL = "To measure on your own machine, run the course: behind this page there is no Python. The times shown were recorded.";
const WIDEST = 2; // times causal: the end of the counted scale, which no prefix passes

// -- the numbers; a setting has heads, dim, tile and eighths

/** The operations of each form: softmax in tiles visited in whole, linear in chunks as long as a tile. */
function countRace(setting, L, eighth) {
  const { heads, dim, tile, eighths } = setting, P = Math.floor((L * eighth) / eighths); // prettier-ignore
  const softmax = (P) => {
    const side = Math.ceil(L / tile), prefix = Math.ceil(P / tile); // prettier-ignore
    return 4 * heads * dim * tile * tile * ((side * (side + 1)) / 2 + (prefix * (prefix - 1)) / 2);
  };
  const linear = (P) => {
    const rest = (L - P) % tile, pairs = Math.floor((L - P) / tile) * tile * tile + rest * rest; // prettier-ignore
    return heads * (4 * L * dim * dim + 4 * dim * pairs);
  };
  return { "softmax causal": softmax(0), "softmax prefix": softmax(P), "linear causal": linear(0), "linear prefix": linear(P) };
}

const countedRatio = (counts, family) => counts[`${family} prefix`] / counts[`${family} causal`];

// -- the words

const times = (ratio) => (Math.floor(100 * ratio + 0.5) / 100).toFixed(2); // rounded half up, as in Python

function duration(seconds) {
  const [unit, least] = [["s", 1], ["ms", 1e-3], ["µs", 1e-6]].find(([, least]) => seconds >= least) ?? ["µs", 1e-6];
  const value = seconds / least, places = value >= 99.5 ? 0 : value >= 9.95 ? 1 : 2; // prettier-ignore
  return `${value.toFixed(places)}\u00a0${unit}`;
}

const roundTick = (seconds) => (seconds >= 1 ? `${seconds} s` : seconds >= 1e-3 ? `${Number((seconds * 1e3).toPrecision(2))} ms` : `${Number((seconds * 1e6).toPrecision(2))} µs`);
const MARKS = "median, and the middle half of the rounds as a line";
const placeWords = ({ eighths }, L, eighth) => `T = ${whole(L)}, P = ${whole(Math.floor((L * eighth) / eighths))}`;

function countedWords(setting, L, eighth) {
  const counts = countRace(setting, L, eighth), at = `Counted at ${placeWords(setting, L, eighth)}`; // prettier-ignore
  if (!eighth) return `${at}: nothing is prefix, and both forms take what causal takes.`;
  const [softmax, linear] = FAMILIES.map((family) => times(countedRatio(counts, family)));
  return `${at}: the prefix form of softmax takes ${softmax} times the operations of its causal form, that of linear ${linear} times.`;
}

const spreadWords = ([low, median, high]) => `${times(median)} times (middle half ${times(low)} to ${times(high)})`;

/** What a race says of a family, in a few words and in more: slower or faster only if three rounds of four, of six at least, say so. */
function verdict(family, { rounds, ratio }) {
  const [low, , high] = ratio[family];
  if (rounds < LEAST_ROUNDS) return ["too few rounds", "not told apart by so few rounds"];
  const found = high < 1 ? "faster" : low > 1 ? "slower" : "", claim = family === "softmax" ? "slower" : "faster"; // prettier-ignore
  if (found === claim) return [claim, claim];
  return found ? [`${found} here`, `not ${claim} here but ${found}`] : [`not ${claim} here`, `not ${claim} here: no difference that this race can show`];
}

const verdictWords = (family, point) => `${family} is ${verdict(family, point)[1]}, ${spreadWords(point.ratio[family])}`;

/** The same for a cell of the table: the numbers, and the verdict. */
function cellWords(family, point, eighth) {
  if (!point) return ["–", "", ""];
  const spread = point.ratio[family];
  if (!spread) return ["left out", "", ""];
  return [`${times(spread[1])} × time`, `(${times(spread[0])} to ${times(spread[2])})`, eighth ? verdict(family, point)[0] : "noise only"];
}

/** A race in words; `who` is "Measured here" or "Recorded". */
function raceWords(who, point, eighth) {
  const known = FAMILIES.filter((family) => point.ratio[family]), rounds = `${who}, ${point.rounds} rounds`; // prettier-ignore
  if (!eighth) return `${rounds}: nothing is prefix, so both forms are one function, and a ratio other than 1 is noise: ${known.map((family) => `${family} ${spreadWords(point.ratio[family])}`).join("; ")}.`;
  const left = known.includes("softmax") ? "" : " Softmax was left out.";
  return `${rounds}, prefix against causal: ${known.map((family) => verdictWords(family, point)).join("; ")}.${left}`;
}

// -- the widget

function render({ model, el }) {
  const setting = model.get("setting"), { lengths, eighths, recorded } = setting; // prettier-ignore
  const everyEighth = Array.from({ length: eighths + 1 }, (_, n) => n);
  const live = typeof model.send === "function"; // without a kernel nobody can measure: the recorded race is shown alone
  const saver = lazySaver(model);
  let told = "", wasBusy = false, trouble = "", asked = false; // prettier-ignore
  const state = () => ({ L: model.get("total_len"), eighth: model.get("prefix_eighths") });
  const change = (name, value) => {
    model.set(name, value);
    saver.soon();
    draw();
  };
  const sender = patientSender(model, () => {
    trouble = "The kernel has not answered: it may be running a cell, or be stopped.";
    asked = false;
    draw();
  });
  const send = (type, button) => {
    if (button.ariaDisabled === "true") return;
    saver.flush(); // the race is run where the slider stands
    asked = true;
    trouble = "";
    sender.send({ type });
    draw();
  };

  const length = segments("Tokens, T", (L) => change("total_len", L)), prefix = stopSlider("Prefix, P / T", (eighth) => change("prefix_eighths", eighth)); // prettier-ignore
  const measure = h("button", { type: "button", class: "primary", onclick: () => send("measure", measure) }, "Measure here");
  const stop = h("button", { type: "button", onclick: () => send("stop", stop) }, "Stop");
  const said = h("span"), longest = !live ? NO_KERNEL : `Measured at ${placeWords(setting, lengths.at(-1), eighths)}: 30 rounds in 10 s. Softmax is left out: about 100 s a round (estimated from ${whole(lengths[1])} tokens), over the limit of 10 s.`; // prettier-ignore

  const countedRows = FORMS.map((form) => barRow(form)), timeRows = FORMS.map((form) => timeRow(form, live)); // prettier-ignore
  const countedAxis = h("li", { class: "rx-axis", "aria-hidden": "true" }, h("span", {}, ["0", "1 × causal", `${WIDEST} ×`].map((words, n) => tickMark(50 * n, words, n * 50))));
  const timeTicks = h("span", {}), timeLine = h("li", { class: "rx-axis", "aria-hidden": "true" }, timeTicks); // prettier-ignore
  const scales = h("p", { class: "course-note muted" });
  const paper = svg("svg", { class: "rx-paper", role: "img", height: CHART.height });
  const cells = ["Counted", "Measured here", "Recorded"].map((name) => tableRow(name));
  const region = liveRegion();
  const legend = (look, name) => h("li", {}, svg("svg", { class: "rx-swatch", width: 34, height: 14, "aria-hidden": "true" }, ...swatch(look)), h("span", {}, name));
  const root = h("section", { class: `course rx${live ? "" : " is-still"}`, "aria-label": "What a prefix costs softmax and linear attention" },
    h("div", { class: "rx-controls" },
      length.box, prefix.box),
    h("div", { class: "rx-race" }, live && h("div", { class: "rx-buttons" }, measure, stop), h("p", { class: "rx-said" }, h("span", { "aria-hidden": "true" }, longest), said)),
    h("div", { class: "rx-rows" },
      h("div", { class: "rx-counted" }, h("h3", {}, "Counted: operations"), h("ul", {}, countedRows.map(({ row }) => row), countedAxis)),
      h("div", { class: "rx-timed" }, h("h3", {}, `${live ? "Measured" : "Recorded"}: time of one call`), h("ul", {}, timeRows.map(({ row }) => row), timeLine))),
    scales,
    h("div", { class: "rx-desk" },
      h("div", { class: "rx-sheet" }, h("h3", {}, "Prefix against causal, by P / T"), paper),
      h("div", { class: "rx-side" },
        h("ul", { class: "rx-legend" }, live && legend("is-measured", `measured here: ${MARKS}`), legend("is-recorded", live ? "recorded" : `recorded: ${MARKS}`), legend("rx-law", "counted"), legend("rx-one", "as long as causal")),
        h("p", { class: "rx-record muted" }, `Recorded on ${recorded.machine}, ${recorded.date}, by `, h("code", {}, recorded.command.split(" ").flatMap((word, n) => [n ? " " : "", h("span", {}, word)]))))),
    h("div", { class: "course-words" }, h("table", {}, h("caption", { class: "visually-hidden" }, "Prefix against causal"), h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Prefix against causal"), FAMILIES.map((family) => h("th", { scope: "col" }, TITLES[family])))), h("tbody", {}, cells.filter((_, n) => live || n !== 1).map(({ row }) => row)))),
    h("p", { class: "course-note muted" }, "In brackets, the middle half of the rounds. Slower or faster is said only if three rounds of four are, of six at least; the rounds of a race take all forms in turn."),
    h("p", { class: "course-note muted" }, `One example, ${setting.heads} heads of ${setting.dim} features, float32, without gradients. A multiplication and its addition are 2 operations. Softmax is counted in tiles of ${setting.tile} × ${setting.tile} pairs, visited in whole; linear in chunks of ${setting.tile}.`),
    region); // prettier-ignore
  keepKeys(root);
  el.append(root);

  const drawNow = () => {
    if (root.getBoundingClientRect().width < LEAST_WIDTH) return; // not in the page yet, or in a pane that was dragged to nothing
    const { L, eighth } = state(), measured = model.get("measured"), busy = model.get("busy"); // prettier-ignore
    const counts = countRace(setting, L, eighth), now = measured[`${L}:${eighth}`], record = recorded.points[`${L}:${eighth}`]; // prettier-ignore
    const P = Math.floor((L * eighth) / eighths);
    length.show(lengths.map((each) => [each, whole(each)]), L);
    prefix.show(everyEighth, eighth, `${eighth}/${eighths}, P = ${whole(P)}`, `${eighth} eighths: ${whole(P)} of ${whole(L)} tokens`);
    showRace(busy);

    countedRows.forEach((row, n) => row.show(counts[FORMS[n]], countedRatio(counts, FAMILIES[n >> 1])));
    const here = [recorded.points, measured].flatMap((points) => everyEighth.map((n) => points[`${L}:${n}`]).filter(Boolean));
    const axis = timeAxis(here.length ? here.flatMap((one) => Object.values(one.seconds).flat()) : [1e-3, 1]);
    timeRows.forEach((row, n) => row.show(axis, FORMS[n], now, record));
    timeTicks.replaceChildren(...axis.ticks.map((one) => tickMark(axis.at(one), here.length ? roundTick(one) : "", axis.at(one))));
    scales.textContent = `Each pair of bars has its own scale, its causal form being 1: softmax, causal takes ${brief(counts["softmax causal"] / counts["linear causal"])} times the operations of linear, causal. Times are on one log scale.`;

    const every = (of) => Object.fromEntries(FAMILIES.map((family) => [family, everyEighth.map((n) => of(family, n))]));
    const laws = every((family, n) => (family === "softmax" ? 1 + (n / eighths) ** 2 : countedRatio(countRace(setting, L, n), family)));
    const [theirs, mine] = [recorded.points, measured].map((points) => every((family, n) => points[`${L}:${n}`]?.ratio[family]));
    drawChart(paper, { eighths, here: eighth, laws, recorded: theirs, measured: mine });
    const ends = (name, list) => FAMILIES.map((family) => list[family].map((one, n) => one && `${n}/${eighths} ${times(one[1])}`).filter(Boolean)).map((known, n) => known.length && `${name}, ${FAMILIES[n]}: ${known.join(", ")}.`).filter(Boolean).join(" ");
    paper.setAttribute("aria-label", `Ratio of the prefix form to its causal form against P / T, at T = ${whole(L)}. ${ends("Measured here", mine)} ${ends("Recorded", theirs)}`.trim());

    const texts = [countedWords(setting, L, eighth),
      now ? raceWords("Measured here", now, eighth) : "Not measured here yet at this length and prefix.",
      record ? raceWords("Recorded", record, eighth) : "Not recorded at this length."]; // prettier-ignore
    const ratios = FAMILIES.map((family) => `${times(countedRatio(counts, family))} × operations`);
    cells[0].show("", ratios.map((ratio) => [ratio, "", ""]));
    cells[1].show(now ? `${now.rounds} rounds` : "", FAMILIES.map((family) => cellWords(family, now, eighth)));
    cells[2].show(record ? `${record.rounds} rounds` : "", FAMILIES.map((family) => cellWords(family, record, eighth)));
    if (!busy) region.sayNew(texts.slice(0, now ? 2 : 1));
  };

  /** The buttons, and how the race stands; it is spoken when it begins and when it ends. */
  function showRace(busy) {
    const focused = [measure, stop].includes(document.activeElement);
    if (busy !== wasBusy) {
      asked = false;
      sender.answered();
      trouble = "";
    }
    const text = live ? trouble || model.get("said") : NO_KERNEL;
    said.textContent = text || `Races the four forms where the slider stands, for about ${setting.seconds} seconds.`;
    said.classList.toggle("bad", Boolean(trouble));
    measure.ariaDisabled = String(busy || asked); // "disabled" would lose the focus
    stop.ariaDisabled = String(!busy || asked);
    root.setAttribute("aria-busy", String(busy));
    if (focused && busy !== wasBusy) (busy ? stop : measure).focus({ preventScroll: true });
    if ((busy !== wasBusy || trouble) && text !== told) region.say(text, 100);
    told = text;
    wasBusy = busy;
  }

  const draw = oncePerFrame(drawNow);
  const stops = ["total_len", "prefix_eighths", "measured", "busy", "said"].map((trait) => onTrait(model, trait, draw));
  const resized = new ResizeObserver(draw); // also tells when JupyterLab, which renders before it attaches, gives the root its place
  resized.observe(root);
  return () => {
    saver.flush();
    sender.answered();
    stops.forEach((stop) => stop());
    resized.disconnect();
  };
}

const nameOf = (form) => form.replace(/^\w+/, (family) => `${TITLES[family]},`);

/** A label under an axis, at so many percent; the first and the last stay inside. */
function tickMark(percent, words, share) {
  return h("span", { class: "rx-tick", style: `left: ${percent}%; transform: translateX(-${Math.max(0, Math.min(100, share))}%)` }, words);
}

/** A row of the left: a bar, its number, and the ratio. */
function barRow(form) {
  const [family, kind] = form.split(" "), bar = h("span", { class: `rx-bar rx-${family} rx-${kind}` }), number = h("b"), ratio = h("span"); // prettier-ignore
  const row = h("li", { "data-form": form }, h("span", { class: "rx-form" }, nameOf(form)), h("span", { class: "rx-text course-number" }, number, ratio), h("span", { class: "rx-track", "aria-hidden": "true" }, bar));
  return {
    row,
    show(count, times_) {
      const own = kind === "causal" ? 1 : times_;
      bar.style.width = `${(100 * own) / WIDEST}%`;
      number.textContent = short(count);
      ratio.textContent = kind === "causal" ? "" : `${times(own)} × causal`;
    },
  };
}

/** A row of the right: the dots, and their numbers. */
function timeRow(form, live) {
  const [family] = form.split(" "), mine = h("b"), theirs = h("span", { class: "muted" }), track = h("span", { class: "rx-track rx-times", "aria-hidden": "true" }); // prettier-ignore
  const row = h("li", { "data-form": form }, h("span", { class: "rx-form" }, nameOf(form)), h("span", { class: "rx-text course-number" }, mine, theirs), track);
  const dot = (axis, point, look) => {
    const found = point?.seconds[form];
    if (!found) return [];
    const [low, median, high] = found.map(axis.at);
    return [
      h("i", { class: `rx-half rx-${family} ${look}`, style: `left: ${low}%; width: ${high - low}%` }),
      h("i", { class: `rx-dot rx-${family} ${look}`, style: `left: ${median}%` }),
    ];
  };
  const text = (point, than = "") => {
    const ratio = form.endsWith("prefix") && point.ratio[family];
    return `${duration(point.seconds[form][1])}${ratio ? `, ${times(ratio[1])} ×${than}` : ""}`;
  };
  return {
    row,
    show(axis, name, now, record) {
      track.replaceChildren(...dot(axis, record, "is-recorded"), ...dot(axis, now, "is-measured"));
      const own = live ? now : record; // a page without a kernel has the recorded race alone
      mine.textContent = own ? (own.seconds[form] ? text(own, " causal") : "left out") : live ? "not measured here" : "not recorded";
      mine.className = own ? "" : "muted";
      theirs.textContent = !live ? "" : record?.seconds[form] ? `recorded ${text(record)}` : "not recorded";
    },
  };
}

/** A row of the table: a name with a detail, and for each family the numbers and the verdict. */
function tableRow(name) {
  const detail = h("span", { class: "muted" }), cells = FAMILIES.map(() => [h("span"), h("span"), h("b")]); // prettier-ignore
  return {
    row: h("tr", {}, h("th", { scope: "row" }, `${name} `, detail), cells.map((cell) => h("td", {}, cell))),
    show(more, texts) {
      detail.textContent = more;
      cells.forEach((cell, n) => cell.forEach((part, k) => (part.textContent = texts[n][k])));
    },
  };
}

function swatch(look) {
  if (look.startsWith("rx-")) return [svg("line", { class: look === "rx-law" ? "rx-law rx-softmax" : look, x1: 1, x2: 33, y1: 7, y2: 7 })];
  return FAMILIES.flatMap((family, n) => [svg("line", { class: `rx-spread rx-${family} ${look}`, x1: 8 + 18 * n, x2: 8 + 18 * n, y1: 0, y2: 14 }), mark(family, 8 + 18 * n, 7, look)]);
}

export default { render };
export { countRace, countedRatio, countedWords, duration, raceWords, timeAxis };
