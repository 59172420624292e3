// needs: taught_link.js
// The score by objective: Python counts and sorts, here it is drawn. A bar is never the only sign: the counts are written.

const PARTS = [["right", "right"], ["wrong", "not yet"], ["untried", "not tried"]];

function scoreRow(row) {
  const bar = PARTS.map(([part]) => (row[part] ? h("span", { class: `is-${part}`, style: `flex: ${row[part]}` }) : null));
  const places = row.places.map((place, n) => {
    const more = n && row.places[n - 1].lesson === place.lesson;
    return h("span", {}, n ? "; " : "", more ? "" : `Lesson ${place.lesson}: `, taughtLink(place));
  });
  return h(
    "tr",
    {},
    h("th", { scope: "row" }, row.text, h("span", { class: "score-where" }, places)),
    h(
      "td",
      { class: "score-counts" },
      h("span", { class: "score-bar", "aria-hidden": "true" }, bar),
      h("span", { class: "score-words" }, PARTS.filter(([part]) => row[part]).map(([part, word]) => `${row[part]} ${word}`).join(" · ")),
    ),
  );
}

function render({ model, el }) {
  let all = false;
  const words = h("p", { class: "score-sum", role: "status" });
  const body = h("tbody");
  const notice = h("p", { class: "score-notice" });
  const more = h("button", { type: "button", onclick: () => ((all = !all), draw()) });
  const head = h("tr", {}, h("th", { scope: "col" }, "you can"), h("th", { scope: "col" }, "so far"));
  const table = h("table", { class: "score-table" }, h("thead", {}, head), body);
  const title = h("h3", { class: "score-title" }, "Your score by objective, the weakest first");
  const root = h("section", { class: "course score", "aria-label": "Score by objective" }, title, words, table, more, notice);
  keepKeys(root);

  function draw() {
    const rows = model.get("rows");
    words.textContent = model.get("words");
    body.replaceChildren(...rows.slice(0, all ? rows.length : model.get("shown")).map(scoreRow));
    more.textContent = all ? `Show the weakest ${model.get("shown")}` : `Show all ${rows.length}`;
    more.setAttribute("aria-expanded", all);
    more.hidden = rows.length <= model.get("shown");
    notice.textContent = model.get("notice");
    notice.hidden = !notice.textContent;
  }
  const soon = oncePerFrame(draw);
  draw();
  el.append(root);
  const stop = [onTrait(model, "rows", soon), onTrait(model, "words", soon), onTrait(model, "notice", soon)];
  return () => stop.forEach((off) => off());
}

export default { render };
