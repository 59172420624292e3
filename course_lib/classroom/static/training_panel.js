// A training as it goes on: how far it is, its loss curve, and a button that stops it.

const STATES = { ready: "not begun", running: "training", stopping: "stopping", stopped: "stopped", finished: "finished", failed: "failed" };
const SILENCE = 15; // seconds without news, while it should be training, before the panel says so
const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [220, 52, 14, 12, 40];

const whole = (number) => Math.round(number).toLocaleString("en");
const brief = (number) => Number(number.toPrecision(3)).toString();
const duration = (seconds) =>
  seconds < 9.95 ? `${seconds.toFixed(1)} s` : seconds < 119.5 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;

/** The points of the curve, [step, loss] each, from float32 bytes that need not be aligned. */
function curvePoints(bytes, every, step) {
  const count = bytes ? Math.floor(bytes.byteLength / 4) : 0;
  return Array.from({ length: count }, (_, i) => [Math.min((i + 1) * every, step), bytes.getFloat32(4 * i, true)]);
}

/** The mean around each value: as far to both sides, at most a 40th of all, and at the end what there is. */
function smoothed(values) {
  const sums = [0];
  for (const value of values) sums.push(sums.at(-1) + value);
  return values.map((_, i) => {
    const half = Math.min(i, Math.ceil(values.length / 40));
    const end = Math.min(i + half + 1, values.length);
    return (sums[end] - sums[i - half]) / (end - i + half);
  });
}

/** Round numbers (1, 2 or 5 times a power of ten) that cut 0..high into at most five parts; the last reaches high. */
function linearTicks(high) {
  const power = 10 ** Math.floor(Math.log10(high / 5));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one * 5 >= high * (1 - 1e-9));
  return Array.from({ length: Math.ceil(high / step - 1e-9) + 1 }, (_, i) => Number((i * step).toPrecision(6)));
}

/** Of 1, 2, 5 times powers of ten, those from the last one below low to the first one above high. */
function logTicks(low, high) {
  const all = [];
  for (let power = Math.floor(Math.log10(low)) - 1; power <= Math.ceil(Math.log10(high)); power++)
    for (const factor of [1, 2, 5]) all.push(Number((factor * 10 ** power).toPrecision(6)));
  const first = all.findLastIndex((one) => one <= low);
  const last = all.findIndex((one) => one >= high && one > all[first]);
  return all.slice(first, last + 1);
}

/** The plot; `draw(points, steps, log)` draws it anew. One unit is one pixel, so that its text stays readable. */
function lossPlot() {
  const make = (tag, attributes, ...children) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    node.append(...children);
    return node;
  };
  const svg = make("svg", { class: "training-plot", role: "img", height: HEIGHT });
  let width = 600;
  let last = null;
  const observer = new ResizeObserver(([entry]) => {
    if (!entry.contentRect.width || entry.contentRect.width === width) return;
    width = entry.contentRect.width;
    if (last) draw(...last);
  });
  observer.observe(svg);

  function draw(points, steps, log) {
    last = [points, steps, log];
    const values = points.map(([, loss]) => loss);
    const top = Math.max(...values, 1e-9);
    const positive = values.filter((value) => value > 0);
    const onLog = log && positive.length > 0;
    const ticks = !points.length ? [0, 1] : onLog ? logTicks(Math.min(...positive), top) : linearTicks(top);
    const scale = onLog ? (value) => Math.log(Math.max(value, ticks[0])) : (value) => value;
    const [low, high] = [scale(ticks[0]), scale(ticks.at(-1))];
    const x = (step) => LEFT + (step / steps) * (width - LEFT - RIGHT);
    const y = (value) => TOP + (1 - (scale(value) - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);
    const line = (name, of) => {
      const places = points.map(([step], i) => `${x(step).toFixed(1)},${y(of[i]).toFixed(1)}`);
      return make("polyline", { class: name, points: places.join(" ") });
    };
    const parts = ticks.flatMap((tick, i) => {
      const rule = make("line", { class: "training-rule", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) });
      const crowded = points.length === 0 || (i > 0 && i < ticks.length - 1 && ticks.length > 7 && i % 2 === 1);
      return crowded ? [rule] : [rule, make("text", { x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, brief(tick))];
    });
    for (const [share, anchor] of [[0, "start"], [0.5, "middle"], [1, "end"]])
      if (share !== 0.5 || steps % 2 === 0)
        parts.push(make("text", { x: x(share * steps), y: HEIGHT - BOTTOM + 18, "text-anchor": anchor }, whole(share * steps)));
    parts.push(make("text", { x: (LEFT + width - RIGHT) / 2, y: HEIGHT - 4, "text-anchor": "middle" }, "step"));
    if (points.length) {
      const smooth = smoothed(values);
      parts.push(line("training-raw", values), line("training-smooth", smooth));
      parts.push(make("circle", { class: "training-now", r: 4, cx: x(points.at(-1)[0]), cy: y(smooth.at(-1)) }));
    } else {
      const middle = { x: (LEFT + width - RIGHT) / 2, y: (TOP + HEIGHT - BOTTOM) / 2, "text-anchor": "middle" };
      parts.push(make("text", middle, "The loss will be drawn here."));
    }
    svg.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    svg.setAttribute("aria-label", described(points, steps));
    svg.replaceChildren(...parts);
  }

  const described = (points, steps) =>
    points.length
      ? `Loss of each step, from ${brief(points[0][1])} at step ${whole(points[0][0])} to ${brief(points.at(-1)[1])} at step ${whole(points.at(-1)[0])} of ${whole(steps)}.`
      : "Loss curve: no step is done yet.";

  return { svg, draw, stop: () => observer.disconnect() };
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const plot = lossPlot();
  const title = h("h3", { id: uniqueId("training") });
  const state = h("span", { class: "training-state" });
  const filled = h("span", {});
  const bar = h("div", { class: "training-bar", role: "progressbar", "aria-valuemin": 0, "aria-labelledby": title.id }, filled);
  const button = h("button", { type: "button", onclick: stop }, "Stop");
  const facts = h("dl", { class: "training-facts" });
  const message = h("p", { class: "training-message", tabindex: -1 });
  const scale = h("input", { type: "checkbox", onchange: rescale });
  const live = liveRegion();
  const root = h(
    "section",
    { class: "course training", "aria-labelledby": title.id },
    h("div", { class: "training-head" }, title, state),
    h("div", { class: "training-row" }, bar, button),
    facts,
    message,
    h("figure", {}, h("div", { class: "training-caption" }, h("figcaption", {}, "Loss, nats a token"), h("label", {}, scale, " log scale")), plot.svg),
    live,
  );
  keepKeys(root);
  const fact = (name) => {
    const value = h("dd", {});
    facts.append(h("div", {}, h("dt", {}, name), value));
    return value;
  };
  const [steps, loss, read, taught, took] = ["steps done", "loss", "tokens read", "carried loss", "time"].map(fact);
  const measured = fact("held out");
  const sender = patientSender(model, () => {
    trouble = "The kernel did not take the Stop yet. Interrupt it (Kernel menu, Interrupt Kernel): that stops the training just as well.";
    asked = false;
    update();
  });

  let trouble = ""; // what the kernel does not do, in words
  let asked = false; // Stop was pressed, and is not answered yet
  let spoken = null; // the state and the quarter that were last told to screen readers
  let heard = performance.now();

  function stop() {
    trouble = "";
    asked = true;
    sender.send({ type: "stop" });
    update();
  }

  function rescale() {
    model.set("log", scale.checked);
    model.save_changes();
    update();
  }

  function update() {
    const now = get("state");
    const [step, all] = [get("step"), get("steps")];
    const points = curvePoints(get("losses"), get("every"), step);
    const active = now === "running" || now === "stopping";
    if (now !== "running") sender.answered();
    title.textContent = get("title");
    state.textContent = STATES[now] ?? now;
    root.dataset.state = now;
    bar.setAttribute("aria-valuemax", all);
    bar.setAttribute("aria-valuenow", step);
    bar.setAttribute("aria-valuetext", `step ${whole(step)} of ${whole(all)}`);
    filled.style.width = `${(100 * step) / all}%`;
    steps.textContent = `${whole(step)} of ${whole(all)}`;
    loss.textContent = points.length ? brief(smoothed(points.map(([, value]) => value)).at(-1)) : "–";
    read.textContent = whole(get("tokens_read"));
    taught.textContent = whole(get("tokens_taught"));
    const left = step >= Math.min(5, all) ? (get("seconds") / step) * (all - step) : null;
    took.textContent = duration(get("seconds")) + (active && left !== null ? `, about ${duration(left)} to go` : "");
    measured.textContent = get("measured");
    measured.parentElement.hidden = !measured.textContent;
    if (now !== "running") trouble = "";
    if (!active) asked = false;
    const hadFocus = document.activeElement === button;
    button.hidden = !active;
    button.disabled = asked || now === "stopping";
    button.textContent = button.disabled ? "Stopping …" : "Stop";
    message.textContent = trouble || get("message");
    message.classList.toggle("bad", now === "failed" || Boolean(trouble));
    if (hadFocus && button.hidden) message.focus({ preventScroll: true });
    scale.checked = get("log");
    plot.draw(points, all, scale.checked);
    speak(now, step, all, points);
  }

  /** Screen readers hear the beginning, each quarter, and the end: not ten numbers a second. */
  function speak(now, step, all, points) {
    const quarter = Math.floor((4 * step) / all);
    const key = now === "running" ? `running ${quarter}` : now;
    if (key === spoken) return;
    const first = spoken === null;
    spoken = key;
    const at = points.length ? ` The loss is ${brief(points.at(-1)[1])}.` : "";
    if (now === "running") live.say(quarter ? `Step ${whole(step)} of ${whole(all)}.${at}` : `Training has begun: ${whole(all)} steps.`);
    else if (!first) live.say(`${get("message")}${now === "finished" ? at : ""}`);
  }

  function news() {
    heard = performance.now();
    if (root.classList.contains("silent")) {
      root.classList.remove("silent");
      trouble = "";
    }
    draw();
  }

  const watch = setInterval(() => {
    const silent = get("state") === "running" && performance.now() - heard > SILENCE * 1000;
    if (!silent || root.classList.contains("silent")) return;
    root.classList.add("silent");
    trouble = `Nothing was heard from the kernel for ${SILENCE} seconds. It may be busy with a long step, or stopped; then run the cell again.`;
    update();
  }, 1000);

  const draw = oncePerFrame(update);
  el.append(root);
  update();
  const names = ["title", "state", "steps", "step", "losses", "tokens_read", "tokens_taught", "seconds", "measured", "message", "log"];
  const off = names.map((name) => onTrait(model, name, news));
  return () => {
    off.forEach((one) => one());
    clearInterval(watch);
    sender.answered();
    plot.stop();
  };
}

export { curvePoints, linearTicks, logTicks, smoothed };
export default { render };
