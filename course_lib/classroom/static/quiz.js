// needs: quiz_kinds.js taught_link.js
// A deck of questions. Python marks and keeps; here is only the view. Choosing is not submitting.

const LATE = "The kernel is busy or stopped, so this is not marked yet. Your choice is kept: wait, or run the cell again.";
const STATUS_WORDS = { new: "not answered", missed: "not yet right", right: "right", shown: "answer shown" };
const DONE = new Set(["right", "shown"]);
const STATUS_SIGNS = { new: "", missed: "…", right: "✓", shown: "–" };

/** What was right, for those who saw it after two misses; what a picture or a list can say better is drawn. */
function answerNodes(question, state) {
  const { answer, status } = state;
  if (!answer || status === "right" || question.kind === "words" || question.kind === "mask") return [];
  if (question.kind === "order") return [h("p", {}, "The order:"), h("ol", {}, answer.order.map((i) => h("li", {}, richText(question.items[i]))))];
  if (question.kind === "number") return [h("p", {}, "The answer is ", h("strong", {}, answer.text), ".")];
  const texts = answer.right.map((i) => richText(question.options[i]));
  return [h("p", {}, texts.length > 1 ? "The answers are " : "The answer is ", texts.flatMap((text, i) => [i ? "; " : "", h("strong", {}, text)]), ".")];
}

function render({ model, el }) {
  const questions = model.get("questions");
  let current = Math.min(Math.max(Number(model.get("current")) || 0, 0), questions.length - 1);
  let drafts = { ...model.get("drafts") };
  let control = null;
  let tallest = 0;
  let shownSerial = null;
  let shownStatus = null;
  const live = liveRegion();
  const stateOf = (i) => model.get("states")[questions[i].id];
  const sender = patientSender(model, () => tellNote(LATE));

  const count = h("h3", { class: "quiz-title" });
  const steps = questions.map((_, i) => h("button", { type: "button", onclick: () => open(i, true) }));
  const previous = h("button", { type: "button", onclick: () => open(current - 1) }, "Previous");
  const next = h("button", { type: "button", onclick: () => open(current + 1) }, "Next");
  const legend = h("legend");
  const slot = h("div", { class: "quiz-slot" });
  const check = h("button", { type: "submit", class: "primary" }, "Check");
  const hint = h("button", { type: "button", onclick: () => ask({ type: "hint" }) }, "Show a hint");
  const again = h("button", { type: "button", onclick: tryAgain }, "Try again");
  const onward = h("button", { type: "button", class: "primary", onclick: () => open(current + 1, true) }, "Next question");
  const note = h("p", { class: "quiz-note", role: "status" });
  const feedback = h("div", { class: "quiz-feedback", role: "status", tabindex: "-1" });
  const after = h("div", { class: "quiz-actions" }, onward, again);
  const taught = h("p", { class: "quiz-taught muted" });
  const card = h(
    "form",
    { class: "quiz-card", novalidate: true, onsubmit: submit },
    h("fieldset", {}, legend, slot),
    h("div", { class: "quiz-actions" }, check, hint),
    note,
    feedback,
    after,
    taught,
  );
  const notice = h("p", { class: "quiz-notice" });
  const summary = h("p", { class: "quiz-summary", role: "status" });
  const head = h(
    "div",
    { class: "quiz-head" },
    count,
    questions.length > 1 ? h("div", { class: "quiz-steps", role: "group", "aria-label": "Questions" }, steps) : null,
    questions.length > 1 ? h("div", { class: "quiz-nav" }, previous, next) : null,
  );
  const root = h("section", { class: "course quiz", "aria-label": model.get("title") }, head, card, summary, notice, live);
  keepKeys(root);

  function tellNote(text) {
    note.textContent = text;
    note.hidden = !text;
  }

  function ask(content) {
    sender.send({ ...content, id: questions[current].id });
  }

  function submit(event) {
    event.preventDefault();
    const state = stateOf(current);
    if (state.status !== "new" && state.status !== "missed") return;
    tellNote("");
    ask({ type: "submit", attempt: state.tries + 1, response: control.read() });
  }

  function tryAgain() {
    const question = questions[current];
    delete drafts[question.id];
    if (question.kind === "words") drafts[question.id] = { text: stateOf(current).response.text }; // one's own words are kept
    ask({ type: "again" });
  }

  let saving = 0;
  function save() {
    clearTimeout(saving);
    saving = setTimeout(() => {
      model.set("drafts", { ...drafts });
      model.set("current", current);
      model.save_changes();
    }, 400);
  }

  function changed() {
    drafts[questions[current].id] = control.read();
    tellNote("");
    save();
  }

  /** Show question `i`. The card never becomes lower than it was: what stands below must not jump. */
  function open(i, focus = false) {
    if (i < 0 || i >= questions.length) return;
    sender.answered();
    current = i;
    const question = questions[i];
    legend.replaceChildren(...richText(question.prompt));
    control = CONTROLS[question.kind](question, changed, (text) => live.say(text, 100));
    slot.replaceChildren(control.element);
    taught.replaceChildren("Where this is taught: ", taughtLink(question.taught));
    check.textContent = question.kind === "words" ? "Compare" : "Check";
    tellNote("");
    shownSerial = null;
    feedback.setAttribute("role", "presentation"); // what is already known is not announced as news
    update();
    feedback.setAttribute("role", "status");
    if (focus) control.focus();
    save();
  }

  /** Bring the open question up to its state. */
  function update() {
    drawHead();
    const question = questions[current];
    const state = stateOf(current);
    if (state.serial === shownSerial) return;
    const answered = shownSerial !== null;
    const before = shownStatus;
    const focused = card.contains(document.activeElement) ? document.activeElement : null;
    [shownSerial, shownStatus] = [state.serial, state.status];
    if (answered) sender.answered();
    const done = DONE.has(state.status);
    if (done || (state.status === "missed" && before !== "missed")) delete drafts[question.id];
    control.lock(false);
    control.write(drafts[question.id] ?? state.response);
    control.lock(done);
    control.mark(state);
    check.hidden = done;
    hint.hidden = !state.can_hint;
    again.hidden = !done;
    onward.hidden = !done || current === questions.length - 1;
    after.hidden = !done;
    tellNote(state.note);
    if (!(answered && question.kind === "words" && done && DONE.has(before))) {
      feedback.replaceChildren(...feedbackNodes(question, state));
    } else tellTicks(state);
    feedback.hidden = !feedback.childNodes.length;
    if (answered && focused && (focused.hidden || (done && state.status !== before && !DONE.has(before)))) {
      if (feedback.hidden) control.focus();
      else feedback.focus({ preventScroll: true }); // what had the focus is gone or closed
    }
    hold();
  }

  function feedbackNodes(question, state) {
    if (state.status === "new") return [];
    if (question.kind === "words") return wordsNodes(state);
    const right = state.status === "right";
    const headline = right ? "✓ Right." : state.status === "shown" ? "✗ Not yet. Here is the answer." : "✗ Not yet.";
    return [
      h("p", { class: right ? "good" : "bad" }, h("strong", {}, headline)),
      ...state.feedback.map((text) => h("p", {}, richText(text))),
      state.hint ? h("p", { class: "quiz-hint" }, h("strong", {}, "Hint. "), richText(state.hint)) : null,
      ...answerNodes(question, state),
      state.explanation ? h("p", {}, richText(state.explanation)) : null,
    ].filter(Boolean);
  }

  function wordsNodes(state) {
    const { model: answer, checklist } = state.answer;
    const boxes = checklist.map((text, i) => {
      const box = h("input", { type: "checkbox", value: i, onchange: () => ask({ type: "tick", ticks: ticked() }) });
      box.checked = state.response.ticks.includes(i);
      return h("label", { class: "quiz-option" }, box, h("span", {}, richText(text)));
    });
    const ticked = () => boxes.flatMap((label, i) => (label.firstChild.checked ? [i] : []));
    const tally = h("p", { class: "quiz-tally" });
    queueMicrotask(() => tellTicks(state));
    return [
      h("p", {}, h("strong", {}, "One good answer")),
      h("blockquote", {}, richText(answer)),
      h("fieldset", {}, h("legend", {}, "Compare. Tick what yours says too:"), h("div", { class: "quiz-options" }, boxes)),
      tally,
      state.explanation.length ? h("p", {}, richText(state.explanation)) : null,
    ].filter(Boolean);
  }

  function tellTicks(state) {
    const { ticks } = state.response;
    const all = state.answer.checklist.length;
    const tally = feedback.querySelector(".quiz-tally");
    if (!tally) return;
    tally.className = `quiz-tally${ticks.length === all ? " good" : ""}`;
    tally.textContent = ticks.length === all ? "✓ By your own judgement, complete." : `By your own judgement: ${ticks.length} of ${all}.`;
  }

  function drawHead() {
    const many = questions.length > 1;
    count.textContent = many ? `Question ${current + 1} of ${questions.length}` : "Check yourself";
    steps.forEach((button, i) => {
      const { status } = stateOf(i);
      button.replaceChildren(String(i + 1), h("span", { "aria-hidden": "true" }, STATUS_SIGNS[status]));
      button.setAttribute("aria-label", `Question ${i + 1}: ${STATUS_WORDS[status]}`);
      button.className = `is-${status}`;
      if (i === current) button.setAttribute("aria-current", "step");
      else button.removeAttribute("aria-current");
    });
    previous.setAttribute("aria-disabled", current === 0);
    next.setAttribute("aria-disabled", current === questions.length - 1);
  }

  function hold() {
    const height = card.scrollHeight;
    if (height <= tallest) return;
    tallest = height;
    card.style.minHeight = `${height}px`;
  }

  const tellNotice = () => {
    notice.textContent = model.get("notice");
    notice.hidden = !notice.textContent;
  };
  tellNotice();
  const tellSummary = () => {
    summary.textContent = model.get("summary") ?? "";
    summary.hidden = !summary.textContent;
  };
  tellSummary();
  let width = 0;
  const resize = new ResizeObserver(([entry]) => {
    const now = Math.round(entry.contentRect.width);
    if (now === width) return;
    width = now; // another width, other lines: forget the old height
    tallest = 0;
    card.style.minHeight = "";
    hold();
  });
  el.append(root);
  open(current);
  clearTimeout(saving); // nothing has changed yet
  resize.observe(root);
  const stop = [onTrait(model, "states", update), onTrait(model, "notice", tellNotice), onTrait(model, "summary", tellSummary)];
  return () => {
    stop.forEach((off) => off());
    resize.disconnect();
    sender.answered();
    clearTimeout(saving);
  };
}

export default { render };
