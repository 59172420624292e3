// The sentence as a strip of tokens, the divider that can be dragged to any gap, and the arcs of the token that asks.

const ARC_ROLES = ["prefix", "target", "added", "cross"];

/** Make the strip. `on` = { boundary(P), choose(i), preview(i or null) } is told; `now()` is the state, newer than what is drawn. */
function makeStrip(now, on) {
  // A canvas, not SVG: without a GPU, a hundred long curves take a browser 100 ms as paths, and 3 ms here.
  const arcs = h("canvas", { class: "mx-arcs", "aria-hidden": "true" });
  const pen = arcs.getContext("2d");
  const list = h("div", { class: "mx-tokens", role: "listbox", dir: "auto", "aria-label": "Tokens. The chosen one asks; arcs end at what it may read." });
  const empty = h("p", { class: "mx-empty muted" }, "No tokens yet. Type a sentence above, and its mask appears here.");
  const pill = h("span", { class: "mx-pill", "aria-hidden": "true" });
  const divider = h("div", { class: "mx-divider", role: "slider", tabindex: "0", "aria-label": "Boundary between prefix and target", "aria-valuemin": "0" }, pill);
  const inner = h("div", { class: "mx-strip-inner" }, empty, arcs, list, divider);
  const box = h("div", { class: "mx-strip" }, inner); // scrolls when the text is long
  let shown = { tokens: [], P: -1, kind: "", selected: null, focusable: null, reads: null, loss: null };
  let options = [], places = [], gaps = [], lines = 1, span = 1, rightToLeft = false, tall = false, enabled = true, scrolls = false, dpr = 1, colours = null, drawnArcs = ""; // prettier-ignore

  // -- the pointer and the keys

  const indexOf = (event) => options.indexOf(event.target.closest?.(".mx-token"));
  list.addEventListener("click", (event) => {
    const i = indexOf(event);
    if (i >= 0) on.choose(i);
  });
  list.addEventListener("pointerover", (event) => {
    if (event.pointerType === "mouse") on.preview(indexOf(event) >= 0 ? indexOf(event) : null);
  });
  list.addEventListener("pointerleave", () => on.preview(null));
  list.addEventListener("keydown", (event) => {
    const to = target(event, now().selected ?? 0, options.length - 1);
    if (to === null) return;
    event.preventDefault();
    on.choose(to);
    focusToken(to);
  });

  /** Where a key moves to from `at`, or null: along the text with Left and Right as the text runs. */
  const target = (event, at, most) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return null;
    const ahead = rightToLeft ? "ArrowLeft" : "ArrowRight";
    const back = rightToLeft ? "ArrowRight" : "ArrowLeft";
    const slider = event.currentTarget === divider;
    const leap = Math.max(4, Math.round(most / 10));
    const steps = {
      [ahead]: 1, [back]: -1, ArrowUp: slider ? 1 : -1, ArrowDown: slider ? -1 : 1, Home: -Infinity, End: Infinity,
      PageUp: slider ? leap : -leap, PageDown: slider ? -leap : leap,
    }; // prettier-ignore
    if (!(event.key in steps)) return null;
    return Math.max(0, Math.min(most, at + steps[event.key]));
  };
  divider.addEventListener("keydown", (event) => {
    const to = target(event, now().prefix_len, now().tokens.length);
    if (to === null) return;
    event.preventDefault();
    if (enabled) on.boundary(to);
  });
  divider.addEventListener("pointerdown", (event) => {
    if (!enabled || event.button !== 0) return;
    event.preventDefault();
    divider.focus();
    divider.setPointerCapture(event.pointerId);
    divider.classList.add("dragging");
  });
  divider.addEventListener("pointermove", (event) => {
    if (!divider.hasPointerCapture(event.pointerId)) return;
    if (scrolls) {
      const rect = box.getBoundingClientRect();
      box.scrollTop += event.clientY > rect.bottom - 20 ? 14 : event.clientY < rect.top + 20 ? -14 : 0;
    }
    on.boundary(nearestGap(event));
  });
  divider.addEventListener("lostpointercapture", () => divider.classList.remove("dragging"));

  const nearestGap = (event) => {
    const rect = inner.getBoundingClientRect();
    const x = event.clientX - rect.left, y = event.clientY - rect.top; // prettier-ignore
    let best = gaps[0], least = Infinity; // prettier-ignore
    for (const gap of gaps) {
      const away = Math.max(gap.top - y, y - gap.bottom, 0) * 1000 + Math.abs(gap.x - x); // the line first, then the place in it
      if (away < least) [best, least] = [gap, away];
    }
    return best.p;
  };

  const focusToken = (i) => {
    options[i]?.focus({ preventScroll: false });
  };

  // -- drawing

  const build = (tokens) => {
    options = tokens.map((token) => h("span", { class: "mx-token", role: "option", tabindex: "-1", title: token.length > 24 ? cropToken(token, 200) : null }, cropToken(token, 40)));
    list.replaceChildren(...options);
    box.classList.toggle("is-empty", !tokens.length);
    box.classList.toggle("is-long", tokens.length > 64);
    shown = { tokens, P: -1, kind: "", selected: null, focusable: null, reads: null, loss: null };
  };

  /** Read where the tokens are. Only when the text or the width changes: it costs a layout. */
  const measure = () => {
    box.classList.remove("is-wrapped", "is-tall");
    rightToLeft = getComputedStyle(list).direction === "rtl";
    const read = () => {
      places = options.map((option) => ({ x: option.offsetLeft, y: option.offsetTop, w: option.offsetWidth, h: option.offsetHeight }));
      lines = new Set(places.map((place) => place.y)).size;
    };
    read();
    tall = lines > 3;
    if (lines > 1) {
      box.classList.add(tall ? "is-tall" : "is-wrapped");
      read();
    }
    span = list.offsetWidth;
    dpr = window.devicePixelRatio || 1;
    arcs.width = Math.round(inner.clientWidth * dpr);
    arcs.height = Math.round(inner.clientHeight * dpr);
    scrolls = box.scrollHeight > box.clientHeight + 1;
    gaps = [];
    const start = (place) => (rightToLeft ? place.x + place.w : place.x);
    const end = (place) => (rightToLeft ? place.x : place.x + place.w);
    const outward = rightToLeft ? 6 : -6;
    const add = (p, x, place) => gaps.push({ p, x, top: place.y, bottom: place.y + place.h });
    places.forEach((place, i) => {
      const before = places[i - 1];
      if (before && before.y === place.y) add(i, (end(before) + start(place)) / 2, place);
      else {
        if (before) add(i, end(before) - outward, before);
        add(i, start(place) + outward, place);
      }
    });
    if (places.length) add(places.length, end(places.at(-1)) - outward, places.at(-1));
    shown.P = -1;
    drawnArcs = "";
    return rightToLeft;
  };

  const roleOf = (kind, P, i) => (kind === "encoder" ? "prefix" : kind === "decoder" || i >= P ? "target" : "prefix");

  /** Bring the strip up to date; only what changed is touched. `reads` are the keys of the asking token. */
  const draw = (state, counted, asks, onlyKey) => {
    const { tokens, kind, prefixLen: P } = state;
    const T = tokens.length;
    const boundaryMoved = shown.P !== P || shown.kind !== kind;
    const scored = new Uint8Array(T);
    counted.loss?.forEach((i) => (scored[i] = 1));
    const row = asks === null ? null : counted.bits.subarray(asks * T, asks * T + T);
    options.forEach((option, i) => {
      const role = roleOf(kind, P, i);
      const reads = row ? (row[i] ? "open" : "shut") : "";
      if (option.mxRole !== role) option.classList.toggle("mx-prefix", role === "prefix");
      if (option.mxRole !== role) option.classList.toggle("mx-target", role === "target");
      if (option.mxScored !== scored[i]) option.classList.toggle("mx-scored", scored[i] === 1);
      if (option.mxRole !== role || option.mxScored !== scored[i])
        option.setAttribute("aria-label", `${cropToken(tokens[i], 200)}, ${i}, ${role === "prefix" ? "prefix" : "target"}${scored[i] ? ", scored" : ""}`);
      if (option.mxReads !== reads) {
        option.classList.toggle("mx-open", reads === "open");
        option.classList.toggle("mx-shut", reads === "shut");
      }
      Object.assign(option, { mxRole: role, mxScored: scored[i], mxReads: reads });
    });
    if (shown.asks !== asks) {
      options[shown.asks]?.classList.remove("mx-asks");
      options[asks]?.classList.add("mx-asks");
    }
    const focusable = T ? (state.selected ?? 0) : null;
    if (shown.selected !== state.selected || shown.focusable !== focusable) {
      options[shown.selected]?.setAttribute("aria-selected", "false");
      options[state.selected]?.setAttribute("aria-selected", "true");
      options[shown.focusable]?.setAttribute("tabindex", "-1");
      options[focusable]?.setAttribute("tabindex", "0");
    }
    if (boundaryMoved) drawDivider(state);
    drawArcs(state, row, asks, onlyKey);
    Object.assign(shown, { P, kind, selected: state.selected, focusable, asks });
  };

  const drawDivider = ({ tokens, kind, prefixLen: P }) => {
    enabled = kind !== "encoder" && kind !== "decoder";
    const gap = gaps.find((each) => each.p === P) ?? { x: 0, top: 0, bottom: 0 };
    divider.style.transform = `translate(${gap.x}px, ${gap.top - 5}px)`;
    divider.style.height = `${gap.bottom - gap.top + 10}px`;
    if (scrolls && !divider.classList.contains("dragging")) {
      const seen = box.scrollTop;
      if (gap.top - 30 < seen) box.scrollTop = gap.top - 30;
      else if (gap.bottom + 30 > seen + box.clientHeight) box.scrollTop = gap.bottom + 30 - box.clientHeight;
    }
    divider.classList.toggle("is-off", !enabled);
    divider.setAttribute("aria-disabled", String(!enabled));
    divider.setAttribute("aria-valuenow", P);
    divider.setAttribute("aria-valuemax", tokens.length);
    divider.setAttribute("aria-valuetext", boundaryWords(tokens, P));
    pill.textContent = `P = ${P}`;
  };

  const readColours = () => {
    const style = getComputedStyle(box);
    colours = Object.fromEntries(ARC_ROLES.map((role) => [role, style.getPropertyValue(`--c-${role}`).trim()]));
    drawnArcs = "";
  };

  /** Draw an arc from the asking token to each key of its row, or to `onlyKey` alone. */
  const drawArcs = (state, row, asks, onlyKey) => {
    const T = state.tokens.length;
    const mark = `${state.kind} ${state.prefixLen} ${asks} ${onlyKey} ${row}`;
    if (mark === drawnArcs) return;
    drawnArcs = mark;
    pen.setTransform(dpr, 0, 0, dpr, 0, 0);
    pen.clearRect(0, 0, arcs.width, arcs.height);
    if (!row || places.length !== T) return;
    const from = places[asks];
    const room = tall ? 22 : lines > 1 ? 48 : from.y - 4; // the free height above a line of tokens, as in the style
    const r = T > 64 ? 1.8 : 2.8;
    const keys = Object.fromEntries(ARC_ROLES.map((role) => [role, []]));
    for (let j = 0; j < T; j++) if (row[j] && (onlyKey === null || onlyKey === j)) keys[arcRole(state, asks, j)].push(j);
    pen.lineCap = "round";
    for (const role of ARC_ROLES) {
      if (!keys[role].length) continue;
      pen.strokeStyle = pen.fillStyle = colours[role];
      pen.lineWidth = T > 64 ? 1 : tall ? 1.5 : 2;
      pen.globalAlpha = onlyKey !== null ? 1 : T > 64 ? 0.45 : tall ? 0.6 : 0.85;
      pen.setLineDash([]);
      if (role === "added" && T <= 64) {
        pen.lineWidth *= 1.35; // dotted: it reads ahead; hundreds of dots would be slow
        pen.globalAlpha = Math.min(1, pen.globalAlpha + 0.15);
        pen.setLineDash([0.5, 5]);
      }
      for (const j of keys[role]) {
        pen.beginPath(); // one path each: a hundred crossing curves in one path are slow to fill
        traceArc(pen, from, places[j], j === asks, room, span);
        pen.stroke();
      }
      pen.globalAlpha = 1;
      pen.setLineDash([]);
      pen.beginPath();
      for (const j of keys[role]) {
        const to = places[j];
        const x = to.x + to.w / 2, y = to.y < from.y ? to.y + to.h + 3 : to.y - 3; // prettier-ignore
        pen.moveTo(x + r, y);
        pen.arc(x, y, r, 0, 7);
      }
      pen.fill();
    }
  };

  return { box, build, measure, draw, readColours };
}

function arcRole({ kind, prefixLen: P, custom }, i, j) {
  if (kind === "encoder") return j > i ? "added" : "prefix";
  if (kind === "decoder") return "target";
  if (kind === "encoder-decoder") return i >= P && j < P ? "cross" : j < P ? "prefix" : "target";
  if (j > i && (kind === "prefix" || j >= P)) return "added";
  return j < P ? "prefix" : "target";
}

/** An arc from the top of one token to the top of another in its line, or a gentle S to a token in another line. */
function traceArc(pen, from, to, self, room, span) {
  const x0 = from.x + from.w / 2, x1 = to.x + to.w / 2, y = from.y - 3; // prettier-ignore
  const up = to.y < from.y;
  const y0 = up || self || from.y === to.y ? y : from.y + from.h + 3;
  pen.moveTo(x0, y0);
  if (self) pen.bezierCurveTo(x0 - 14, y - 21, x0 + 14, y - 21, x0, y);
  else if (from.y === to.y) {
    const rise = (room / 0.76) * (0.25 + 0.75 * Math.min(1, Math.sqrt(Math.abs(x1 - x0) / span)));
    pen.bezierCurveTo(x0, y - rise, x1, y - rise, x1, y);
  } else {
    const y1 = up ? to.y + to.h + 3 : to.y - 3;
    const middle = (y0 + y1) / 2;
    pen.bezierCurveTo(x0, middle, x1, middle, x1, y1);
  }
}

function boundaryWords(tokens, P) {
  const T = tokens.length;
  if (!T) return "no tokens";
  const where = P === 0 ? "no prefix" : P === T ? "no target" : `between ${quote(tokens[P - 1])} and ${quote(tokens[P])}`;
  return `${P} of ${plural(T, "token")}, ${where}`;
}
