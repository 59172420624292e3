// The sentence as chips: drag over them, click one, or move with the arrow keys, and what they carry is blanked or kept.

/** Make the strip. `on` = { paint(before, from, to, blanked), restore(before), range(from, to) }; `now()` is the newest state. */
function makeBlankStrip(now, on) {
  const list = h("div", {
    class: "bx-chips", role: "group", dir: "auto",
    "aria-label": "Tokens of the text. Arrow keys move, with Shift they choose several; Space blanks or keeps them.",
  }); // prettier-ignore
  let chips = [], built = null, caret = 0, anchor = 0, drag = null, pointed = false, source = null; // prettier-ignore

  const indexOf = (event) => chips.indexOf(event.target.closest?.(".bx-chip"));
  const isBlank = (i, state = now()) => state.blanks.some(([start, end]) => start <= i && i < end);

  // -- the pointer

  list.addEventListener("pointerdown", (event) => {
    const i = indexOf(event);
    if (i < 0 || event.button !== 0) return;
    event.preventDefault(); // no text is selected
    pointed = true; // the click that follows says the same again
    list.setPointerCapture(event.pointerId);
    drag = { before: now(), from: i, to: i, blanked: !isBlank(i) };
    stand(i);
    chips[i].focus({ preventScroll: true });
    on.paint(drag.before, i, i, drag.blanked);
  });
  list.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const i = nearest(event);
    if (i === drag.to || drag.before.tokens.length !== chips.length) return;
    drag.to = i;
    stand(i);
    on.paint(drag.before, drag.from, i, drag.blanked);
  });
  list.addEventListener("pointercancel", () => {
    if (drag) on.restore(drag.before); // a scroll by touch was meant
    drag = null;
  });
  list.addEventListener("lostpointercapture", () => {
    drag = null;
    setTimeout(() => (pointed = false));
  });
  list.addEventListener("click", (event) => {
    const i = indexOf(event);
    if (i >= 0 && !pointed) toggle(i, i); // a screen reader presses a button without a pointer
  });

  /** The chip under the pointer, or the nearest one in its line: a drag may leave the strip. */
  const nearest = ({ clientX, clientY }) => {
    let best = 0, least = Infinity; // prettier-ignore
    chips.forEach((chip, i) => {
      const { left, right, top, bottom } = chip.getBoundingClientRect();
      const away = Math.max(top - clientY, clientY - bottom, 0) * 1000 + Math.max(left - clientX, clientX - right, 0);
      if (away < least) [best, least] = [i, away];
    });
    return best;
  };

  // -- the keys

  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !chips.length) return;
    if (event.key === " " || event.key === "Enter") {
      event.preventDefault();
      return toggle(Math.min(anchor, caret), Math.max(anchor, caret));
    }
    const ahead = getComputedStyle(list).direction === "rtl" ? -1 : 1;
    const step = { ArrowRight: ahead, ArrowLeft: -ahead, ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    caret = Math.max(0, Math.min(chips.length - 1, caret + step));
    if (!event.shiftKey) anchor = caret;
    mark();
    chips[caret].focus();
    on.range(Math.min(anchor, caret), Math.max(anchor, caret));
  });
  list.addEventListener("focusout", (event) => {
    if (list.contains(event.relatedTarget)) return;
    anchor = caret;
    mark();
  });
  list.addEventListener("focusin", (event) => {
    const i = indexOf(event);
    if (i >= 0 && i !== caret) stand(i);
  });

  /** Blank tokens from..to, or keep them if all of them are blanked. */
  const toggle = (from, to) => {
    const state = now();
    on.paint(state, from, to, !range(from, to + 1).every((i) => isBlank(i, state)));
  };

  const stand = (i) => {
    caret = anchor = i;
    mark();
  };

  /** Mark the caret and the chosen range. */
  const mark = () => {
    const from = Math.min(anchor, caret), to = Math.max(anchor, caret); // prettier-ignore
    chips.forEach((chip, i) => {
      chip.tabIndex = i === caret ? 0 : -1;
      chip.classList.toggle("is-chosen", from < to && from <= i && i <= to);
    });
  };

  // -- drawing

  const build = (tokens) => {
    chips = tokens.map((token, i) =>
      h("button", { type: "button", class: "bx-chip", title: token.length > 24 ? cropToken(token, 200) : null },
        h("span", { class: "bx-word" }, cropToken(token)), h("span", { class: "bx-index", "aria-hidden": "true" }, String(i)),
        h("span", { class: "bx-badge", "aria-hidden": "true" }))); // prettier-ignore
    list.replaceChildren(...chips);
    built = tokens;
    source = null;
    stand(Math.min(caret, tokens.length - 1));
  };

  /** Bring the chips up to date. `from` is the place that a column came from, [start, end], or null. */
  const draw = (state, from) => {
    const { tokens, blanks } = state;
    if (built !== tokens && built?.join("\n") !== tokens.join("\n")) build(tokens);
    source = from;
    chips.forEach((chip, i) => {
      const k = blanks.findIndex(([start, end]) => start <= i && i < end);
      const goes = k >= 0 && i + 1 < blanks[k][1] && chips[i + 1].offsetTop === chip.offsetTop;
      chip.setAttribute("aria-pressed", String(k >= 0));
      chip.setAttribute("aria-label", `${cropToken(tokens[i], 200)}, token ${i}${k < 0 ? "" : `, in blank ${k + 1}`}`);
      chip.classList.toggle("is-blank", k >= 0);
      chip.classList.toggle("goes-on", goes); // the blank is one thing: the gap to its next token is filled
      chip.classList.toggle("is-source", Boolean(source) && source[0] <= i && i < source[1]);
      setText(chip.lastChild, k >= 0 && blanks[k][0] === i ? String(k + 1) : "");
    });
  };

  return { box: h("div", { class: "bx-strip" }, list), draw };
}
