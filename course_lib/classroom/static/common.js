// Shared by every widget of the course. Joined in front of each widget's own file: no imports, no exports here.

/** Build an element. Attributes named on* are listeners; children are nodes or text, never HTML. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") element.style.cssText = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/**
 * JupyterLab takes arrows and letters for itself, even from inputs in an output. Keep them; let Tab pass, and let Escape
 * lead back to the cell, if nothing within had a use for it.
 */
function keepKeys(element) {
  element.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" && event.key !== "Tab") event.stopPropagation();
    if (event.key === "Escape") element.closest(".jp-Cell")?.focus({ preventScroll: true });
  });
}

/** Call `draw` at most once a frame, however often it is asked for. */
function oncePerFrame(draw) {
  let waiting = 0;
  return () => {
    if (!waiting)
      waiting = requestAnimationFrame(() => {
        waiting = 0;
        draw();
      });
  };
}

const LEAST_WIDTH = 120; // px: in less there is no picture to draw

/** Set a text only where it changed. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Set a paragraph of sentences, each in a span of its own, touching only those that changed. */
function setSentences(paragraph, sentences) {
  while (paragraph.childElementCount > sentences.length) paragraph.lastElementChild.remove();
  while (paragraph.childElementCount < sentences.length) paragraph.append(h("span"));
  sentences.forEach((sentence, n) => setText(paragraph.children[n], `${sentence} `));
}

/** A region that screen readers speak. Speaks only the last of a burst, when it has settled. */
function liveRegion() {
  const element = h("div", { class: "course-live", role: "status", "aria-live": "polite" });
  let timer = 0, newTimer = 0, heard = null; // prettier-ignore
  const hush = () => (clearTimeout(timer), clearTimeout(newTimer));
  element.say = (text, delay = 400) => {
    hush();
    timer = setTimeout(() => setText(element, text), delay);
  };
  /** Speak those sentences that the listener has not heard: what a burst passed over stays unheard. The first call is silent. */
  element.sayNew = (sentences) => {
    const now = sentences.filter(Boolean);
    heard ??= now;
    const fresh = now.filter((sentence) => !heard.includes(sentence));
    if (!fresh.length) return clearTimeout(newTimer);
    hush();
    newTimer = setTimeout(() => {
      heard = now;
      setText(element, fresh.join(" "));
    }, 500);
  };
  return element;
}

/** Send what changed to Python soon, not at once: dragging must not flood the kernel. The last state always goes out. */
function lazySaver(model, after = 120) {
  let timer = 0;
  const flush = () => {
    if (!timer) return;
    clearTimeout(timer);
    timer = 0;
    model.save_changes();
  };
  return { soon: () => (timer ||= setTimeout(flush, after)), flush };
}

let lastId = 0;
/** A page-wide unique id, for labels and descriptions. */
function uniqueId(prefix) {
  lastId += 1;
  return `${prefix}-${lastId}-${Math.random().toString(36).slice(2, 8)}`;
}

/** Subscribe to a trait, and unsubscribe with the returned function. */
function onTrait(model, name, callback) {
  model.on(`change:${name}`, callback);
  return () => model.off(`change:${name}`, callback);
}

/** Call back when JupyterLab's or the system's theme changes. Returns a function that stops it. */
function onTheme(callback) {
  const observer = new MutationObserver(callback);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  const query = matchMedia("(prefers-color-scheme: dark)");
  query.addEventListener("change", callback);
  return () => {
    observer.disconnect();
    query.removeEventListener("change", callback);
  };
}

const MATHML = new Set(["mrow", "mi", "mn", "mo", "mtext", "mfrac", "msup", "msub", "msqrt"]);

/** Turn parsed rich text, [[kind, value], ...] from Python, into nodes: text, code, em, and white-listed MathML. */
function richText(pieces) {
  const namespace = "http://www.w3.org/1998/Math/MathML";
  const node = ([tag, ...children]) => {
    if (!MATHML.has(tag)) throw new Error(`<${tag}> is not allowed in a formula`);
    const element = document.createElementNS(namespace, tag);
    element.append(...children.map((child) => (Array.isArray(child) ? node(child) : child)));
    return element;
  };
  return pieces.map(([kind, value]) => {
    if (kind === "math") {
      const math = document.createElementNS(namespace, "math");
      math.append(...value.map(node));
      return math;
    }
    return kind === "code" || kind === "em" ? h(kind, {}, value) : document.createTextNode(value);
  });
}

/** Send to Python; when no answer is noted with `.answered()` within five seconds, call `late` once. */
function patientSender(model, late) {
  let timer = 0;
  return {
    send(content) {
      clearTimeout(timer);
      timer = setTimeout(late, 5000);
      try {
        model.send(content);
      } catch {
        clearTimeout(timer);
        late(); // the channel is closed: the kernel was stopped
      }
    },
    answered: () => clearTimeout(timer),
  };
}
