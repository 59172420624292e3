// The progress panel: bars by lesson and objective, and the record's way out, in and away.

const LATE = "The kernel is busy or stopped; nothing has happened yet. Wait, or run the cell again.";
const MOST_BYTES = 5_000_000;

function bar(label, done, all) {
  const share = all ? done / all : 0;
  return h(
    "div",
    { class: "tally-bar" },
    h("span", { class: "tally-label" }, label),
    h("span", { class: "tally-track", "aria-hidden": "true" }, h("span", { style: `width: ${share * 100}%` })),
    h("span", { class: "tally-count" }, `${done} of ${all}${all && done === all ? " ✓" : ""}`),
  );
}

function render({ model, el }) {
  let number = 0;
  const list = h("div", { class: "progress-lessons" });
  const note = h("p", { class: "progress-note", role: "status" });
  const notice = h("p", { class: "progress-notice" });
  const where = h("p", { class: "muted progress-where" });
  const sender = patientSender(model, () => say(LATE));
  const open = new Set();
  const file = h("input", { type: "file", accept: ".json,application/json", class: "visually-hidden", tabindex: -1, "aria-label": "Progress file", onchange: restore });
  const forget = h("button", { type: "button", onclick: () => asking(true) }, "Reset");
  const sure = h("button", { type: "button", class: "progress-danger", onclick: () => ask({ type: "reset", confirm: "forget" }) }, "Yes, forget everything");
  const keep = h("button", { type: "button", onclick: () => asking(false) }, "Keep it");
  const question = h("div", { class: "progress-actions progress-sure", role: "group", "aria-label": "Reset" }, h("span", {}, "Forget every answer, guess and exercise?"), sure, keep);
  const root = h(
    "section",
    { class: "course progress-panel", "aria-label": "Your progress" },
    h("h3", {}, "Your progress"),
    list,
    h(
      "div",
      { class: "progress-actions" },
      h("button", { type: "button", onclick: () => ask({ type: "export" }) }, "Export"),
      h("button", { type: "button", onclick: () => file.click() }, "Restore"),
      forget,
      file,
    ),
    question,
    note,
    notice,
    where,
  );
  keepKeys(root);
  question.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation(); // JupyterLab would leave the output
    asking(false);
  });

  function say(text) {
    note.textContent = text;
    note.hidden = !text;
  }

  function ask(content) {
    number += 1;
    say("");
    sender.send({ ...content, number });
  }

  function asking(on) {
    question.hidden = !on;
    if (on) keep.focus();
    else if (question.contains(document.activeElement) || document.activeElement === document.body) forget.focus();
  }

  async function restore() {
    const [chosen] = file.files;
    file.value = "";
    if (!chosen) return;
    if (chosen.size > MOST_BYTES) say(`Nothing was changed: ${chosen.name} is larger than 5 MB, too large for progress.`);
    else ask({ type: "restore", text: await chosen.text() });
  }

  function answered(content) {
    if (content.number !== number) return;
    sender.answered();
    if (content.file !== null) {
      const link = h("a", { href: URL.createObjectURL(new Blob([content.file], { type: "application/json" })), download: "course-progress.json" });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      say("Exported to course-progress.json, where your browser keeps downloads.");
    } else if (content.text) {
      say(content.text);
      asking(false);
    }
  }

  function draw() {
    const lessons = model.get("lessons");
    list.replaceChildren(
      ...(lessons.length ? lessons.map(lesson) : [h("p", { class: "muted" }, "There is nothing to answer yet.")]),
    );
    notice.textContent = model.get("notice");
    notice.hidden = !notice.textContent;
    where.textContent = `Kept in ${model.get("where")}`;
  }

  function lesson({ notebook, title, right, questions, done, exercises, objectives }) {
    const details = h(
      "details",
      { ontoggle: () => (details.open ? open.add(notebook) : open.delete(notebook)) },
      h("summary", {}, `${objectives.length} ${objectives.length === 1 ? "objective" : "objectives"}`),
      objectives.map((each) => bar(each.text, each.done, each.all)),
    );
    details.open = open.has(notebook);
    return h(
      "div",
      { class: "progress-lesson" },
      h("h4", {}, title),
      questions ? bar("Questions right", right, questions) : null,
      exercises ? bar("Exercises done", done, exercises) : null,
      objectives.length ? details : null,
    );
  }

  let asked = 0;
  const look = () => {
    if (Date.now() - asked < 3000) return; // another notebook may have recorded something: look again, but not always
    asked = Date.now();
    try {
      model.send({ type: "refresh", number: 0 });
    } catch {
      // the kernel was stopped: what is shown stays
    }
  };
  root.addEventListener("pointerenter", look);
  root.addEventListener("focusin", look);

  say("");
  question.hidden = true;
  draw();
  el.append(root);
  const stop = ["lessons", "notice", "where"].map((name) => onTrait(model, name, draw));
  model.on("msg:custom", answered);
  return () => {
    stop.forEach((off) => off());
    model.off("msg:custom", answered);
    sender.answered();
  };
}

export default { render };
