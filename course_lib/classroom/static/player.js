// Back, Next and Play, for what goes step by step.

/** A button that cannot be pressed while it says so by aria-disabled: `disabled` would lose the focus. */
const pressButton = (text, press, kind = "") => h("button", { type: "button", class: kind, onclick: (event) => event.currentTarget.getAttribute("aria-disabled") !== "true" && press() }, text);

/**
 * `at()` and `last()` are the step and the last one, `go(step)` goes there, `blocked()` says that no step can follow.
 * Play is steps by a clock, one every so many ms. Who asked for less motion gets no Play, and steps by hand.
 */
function makePlayer({ at, last, go, draw, every, blocked = () => false }) {
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  let playing = 0;
  const ended = () => at() >= last() || blocked();
  const stop = () => {
    clearInterval(playing);
    playing = 0;
    draw();
  };
  const start = () => {
    if (at() >= last()) go(0);
    playing = setInterval(() => {
      if (box.isConnected && !ended()) go(at() + 1);
      if (!box.isConnected || ended()) stop();
    }, every);
    draw();
  };
  const step = (by) => (stop(), go(at() + by));
  const back = pressButton("Back", () => step(-1));
  const next = pressButton("Next", () => step(1), "primary");
  const play = pressButton("Play", () => (playing ? stop() : start()));
  const box = h("div", { class: "course-player" }, back, next, play);
  still.addEventListener("change", draw);
  return {
    box,
    stop,
    /** The space bar on a slider of the steps. */
    toggle: () => (still.matches ? go(at() + 1) : play.click()),
    show(nextWord = "Next") {
      for (const [each, off] of [[back, at() === 0], [next, ended()], [play, blocked()]]) each.setAttribute("aria-disabled", String(off)); // prettier-ignore
      setText(next, nextWord);
      setText(play, playing ? "Pause" : "Play");
      play.hidden = still.matches;
    },
    dispose() {
      clearInterval(playing);
      still.removeEventListener("change", draw);
    },
  };
}
