// What stands in a question's card, one control a kind. A control has: element, read() -> response, write(response),
// lock(on), mark(state) once it was marked, and focus(). `changed` is called when the learner changes something.

/** One choice or several. */
function choiceControl(question, changed) {
  const several = question.kind === "choices";
  const name = uniqueId("choice");
  const rows = question.options.map((text, i) => {
    const input = h("input", { type: several ? "checkbox" : "radio", name, value: i, onchange: changed });
    const tag = h("span", { class: "quiz-tag" });
    return { input, tag, label: h("label", { class: "quiz-option" }, input, h("span", {}, richText(text)), tag) };
  });
  const chosen = () => rows.flatMap((row, i) => (row.input.checked ? [i] : []));
  return {
    element: h("div", { class: "quiz-options" }, rows.map((row) => row.label)),
    read: () => (several ? chosen() : (chosen()[0] ?? null)),
    write: (response) => {
      const wanted = several ? (response ?? []) : [response];
      rows.forEach((row, i) => (row.input.checked = wanted.includes(i)));
    },
    lock: (on) => rows.forEach((row) => (row.input.disabled = on)),
    mark: ({ answer, response, status }) => {
      const picked = several ? (response ?? []) : [response];
      rows.forEach(({ tag, label }, i) => {
        const right = answer?.right.includes(i);
        const wrong = picked.includes(i) && (answer ? !right : status === "missed" && !several);
        tag.textContent = right ? "✓ right" : wrong ? "✗ not this" : "";
        label.classList.toggle("is-picked", picked.includes(i));
        label.classList.toggle("is-right", Boolean(right));
        label.classList.toggle("is-wrong", Boolean(wrong));
      });
    },
    focus: () => (rows.find((row) => row.input.checked) ?? rows[0]).input.focus(),
  };
}

function numberControl(question, changed) {
  // a text field: a number field hides what it cannot read, and then nobody could say what is wrong with it
  const input = h("input", {
    type: "text", inputmode: "decimal", autocomplete: "off", spellcheck: "false", class: "quiz-number",
    "aria-label": question.unit ? `Your answer, in ${question.unit}` : "Your answer", oninput: changed,
  });
  return {
    element: h("div", { class: "quiz-field" }, input, question.unit ? h("span", { "aria-hidden": "true" }, question.unit) : null),
    read: () => input.value,
    write: (response) => (input.value = response ?? ""),
    lock: (on) => (input.readOnly = on),
    mark: () => {},
    focus: () => input.focus(),
  };
}

const tokenName = (question, i) => (question.tokens.length ? `${i} ${question.tokens[i]}` : String(i));

/** A grid of cells; `cell(i, j)` makes what stands in row i, column j. */
function gridTable(question, role, label, cell) {
  const places = Array.from({ length: question.total }, (_, i) => i);
  const upright = question.tokens.some((token) => [...token].length > 2);
  const heading = (i) => h("span", { dir: "auto" }, question.tokens.length ? question.tokens[i] : String(i));
  return h(
    "table",
    { class: `quiz-grid${upright ? " upright" : ""}`, role, "aria-label": label },
    h("thead", {}, h("tr", {}, h("td", { class: "quiz-corner" }), places.map((j) => h("th", { scope: "col" }, heading(j))))),
    h("tbody", {}, places.map((i) => h("tr", {}, h("th", { scope: "row" }, heading(i)), places.map((j) => cell(i, j))))),
  );
}

function maskControl(question, changed) {
  const size = question.total;
  let locked = false;
  let painting = null;
  const open = (button) => button.getAttribute("aria-pressed") === "true";
  const count = h("p", { class: "muted quiz-count-open" });
  const buttons = Array.from({ length: size }, () => []);
  const tell = (more = "") => {
    count.textContent = `${buttons.flat().filter(open).length} of ${size * size} cells open${more}`;
  };
  const set = (button, value) => {
    if (locked || open(button) === value) return;
    button.setAttribute("aria-pressed", value);
    tell();
    changed();
  };
  const go = (i, j) => {
    const next = buttons[Math.min(Math.max(i, 0), size - 1)][Math.min(Math.max(j, 0), size - 1)];
    buttons.flat().forEach((button) => (button.tabIndex = button === next ? 0 : -1));
    next.focus();
  };
  const keys = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], Home: [0, -size], End: [0, size] };
  const table = gridTable(question, "grid", "The mask: rows ask, columns answer", (i, j) => {
    const button = h("button", {
      type: "button", class: "quiz-cell", "aria-pressed": "false", tabindex: i + j ? -1 : 0,
      "aria-label": `row ${tokenName(question, i)}, column ${tokenName(question, j)}`,
      onclick: (event) => event.detail === 0 && set(button, !open(button)), // from the keyboard; the pointer paints
      onkeydown: (event) => {
        const step = keys[event.key];
        if (!step) return;
        event.preventDefault();
        go(i + step[0], j + step[1]);
      },
      onpointerdown: (event) => {
        if (event.button !== 0) return;
        event.target.releasePointerCapture?.(event.pointerId);
        painting = !open(button);
        set(button, painting);
        go(i, j);
      },
      onpointerenter: (event) => {
        if (!(event.buttons & 1)) painting = null;
        if (painting !== null) set(button, painting);
      },
    });
    buttons[i][j] = button;
    return h("td", { role: "gridcell" }, button);
  });
  table.addEventListener("pointerup", () => (painting = null));
  const pair = h("div", { class: "quiz-pair" }, h("figure", {}, h("figcaption", {}, "Yours"), table, count));
  return {
    element: h(
      "div",
      {},
      h("p", { class: "muted" }, "Rows are queries, columns are keys. Click a cell to open it; or arrow keys and Space."),
      pair,
    ),
    read: () => buttons.map((row) => row.map((button) => Number(open(button)))),
    write: (response) => {
      buttons.forEach((row, i) => row.forEach((button, j) => button.setAttribute("aria-pressed", response?.[i]?.[j] === 1)));
      tell();
    },
    lock: (on) => {
      locked = on;
      buttons.flat().forEach((button) => button.setAttribute("aria-disabled", on));
    },
    mark: ({ answer, status }) => {
      pair.querySelector(".quiz-target")?.remove();
      pair.classList.toggle("compared", status === "shown");
      buttons.forEach((row, i) =>
        row.forEach((button, j) => {
          const differs = status === "shown" && open(button) !== (answer.rows[i][j] === 1);
          button.textContent = differs ? "✗" : "";
          button.classList.toggle("differs", differs);
        }),
      );
      if (status !== "shown") return;
      const text = `The right mask: ${answer.rows.map((row, i) => `row ${i} ${row.join(" ")}`).join("; ")}`;
      const cell = (i, j) => h("td", {}, h("span", { class: `quiz-cell${answer.rows[i][j] ? " open" : ""}` }));
      const target = gridTable(question, "img", text, cell);
      pair.append(h("figure", { class: "quiz-target" }, h("figcaption", {}, "The right mask"), target));
      tell(`, ${pair.querySelectorAll(".differs").length} differ (✗)`);
    },
    focus: () => buttons.flat().find((button) => button.tabIndex === 0).focus(),
  };
}

function orderControl(question, changed, say) {
  const list = h("ol", { class: "quiz-order" });
  let locked = false;
  const rows = question.items.map((text, i) => {
    const words = richText(text);
    const plain = words.map((node) => node.textContent).join("");
    const move = (step) => (event) => {
      const all = [...list.children];
      const place = all.indexOf(item);
      const other = all[place + step];
      if (locked || !other) return;
      if (step < 0) other.before(item);
      else other.after(item);
      event.currentTarget.focus();
      update();
      changed();
      say(`${plain}: now ${place + step + 1} of ${all.length}`);
    };
    const up = h("button", { type: "button", "aria-label": `Move up: ${plain}`, onclick: move(-1) }, "↑");
    const down = h("button", { type: "button", "aria-label": `Move down: ${plain}`, onclick: move(1) }, "↓");
    const onkeydown = (event) => {
      const button = { ArrowUp: up, ArrowDown: down }[event.key];
      if (!button) return;
      event.preventDefault();
      button.focus();
      button.click();
    };
    const item = h("li", { onkeydown }, h("span", { class: "quiz-item" }, words), h("span", { class: "quiz-moves" }, up, down));
    return { item, up, down, i };
  });
  const update = () => {
    for (const { item, up, down } of rows) {
      up.setAttribute("aria-disabled", locked || !item.previousElementSibling);
      down.setAttribute("aria-disabled", locked || !item.nextElementSibling);
    }
  };
  const read = () => [...list.children].map((item) => rows.find((row) => row.item === item).i);
  const write = (response) => {
    list.append(...(response ?? rows.map((row) => row.i)).map((i) => rows[i].item));
    update();
  };
  write(null);
  return {
    element: list,
    read,
    write,
    lock: (on) => {
      locked = on;
      update();
    },
    mark: () => {},
    focus: () => list.querySelector("button").focus(),
  };
}

function wordsControl(question, changed) {
  const area = h("textarea", { rows: 4, "aria-label": "Your answer", oninput: changed });
  return {
    element: h("div", { class: "quiz-field" }, area),
    read: () => ({ text: area.value }),
    write: (response) => (area.value = response?.text ?? ""),
    lock: (on) => (area.readOnly = on),
    mark: () => {},
    focus: () => area.focus(),
  };
}

const CONTROLS = {
  choice: choiceControl, choices: choiceControl, number: numberControl, mask: maskControl, order: orderControl, words: wordsControl,
};
