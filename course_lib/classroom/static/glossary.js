// needs: taught_link.js
// The glossary: every word with its meaning and where it is taught; typing leaves those that hold what was typed.

function render({ model, el }) {
  const terms = model.get("terms");
  const entries = terms.map(({ name, meaning, lesson, taught }) => {
    const where = h("small", {}, `Lesson ${lesson}: `, taughtLink(taught));
    return h("div", { class: "glossary-entry" }, h("dt", {}, name), h("dd", {}, richText(meaning), " ", where));
  });
  const plain = terms.map(({ name }, i) => `${name} ${entries[i].querySelector("dd").textContent}`.toLowerCase());
  const id = uniqueId("glossary");
  const find = h("input", { type: "text", role: "searchbox", id, class: "glossary-find", autocomplete: "off", spellcheck: "false", oninput: filter });
  const count = h("span", { class: "glossary-count muted", role: "status" });
  const list = h("dl", { class: "glossary-list" }, entries);
  const root = h(
    "section",
    { class: "course glossary", "aria-label": "Glossary" },
    terms.length > 1 ? h("p", { class: "glossary-head" }, h("label", { for: id }, "Find a word"), find, count) : null,
    list,
  );
  keepKeys(root);

  function filter() {
    const wanted = find.value.trim().toLowerCase();
    const named = terms.map(({ name }) => name.toLowerCase().includes(wanted));
    const kept = named.some(Boolean) ? named : plain.map((text) => text.includes(wanted)); // a name before a mention
    entries.forEach((entry, i) => (entry.hidden = !kept[i]));
    const left = kept.filter(Boolean).length;
    count.textContent = left === terms.length ? `${left} words` : `${left} of ${terms.length} words`;
  }
  filter();
  el.append(root);
}

export default { render };
