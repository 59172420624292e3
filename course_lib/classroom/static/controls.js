// What the explorers that count are made of: choices, sliders over a list, and texts that keep their place.

const powers = (from, to) => Array.from({ length: to - from + 1 }, (_, n) => 2 ** (from + n));

/** Radio buttons that look like one control: `choose` gets a value; an option is [value, words]. */
function segments(name, choose) {
  const group = uniqueId("segments"), row = h("span", { class: "course-segments" }); // prettier-ignore
  let shown = "";
  return {
    box: h("fieldset", { class: "course-choice" }, h("legend", {}, name), row),
    show(options, value) {
      const words = options.map(([, text]) => text).join();
      if (words !== shown) {
        shown = words;
        row.replaceChildren(...options.map(([each, text]) =>
          h("label", {}, h("input", { type: "radio", name: group, value: String(each), onchange: () => choose(each) }), h("span", {}, text)))); // prettier-ignore
      }
      options.forEach(([each], n) => {
        const radio = row.children[n].firstChild;
        if (radio.checked !== (each === value)) radio.checked = each === value;
      });
    },
  };
}

/** A slider over a list of numbers: `choose` gets the number. `aloud` is what a screen reader says of it. */
function stopSlider(name, choose) {
  const id = uniqueId("slider");
  let numbers = [];
  const input = h("input", { id, type: "range", min: "0", step: "1", oninput: () => choose(numbers[input.value]) });
  const value = h("span", { class: "course-number", "aria-hidden": "true" });
  const box = h("div", { class: "course-range" }, h("label", { for: id }, name), value, input);
  return {
    box,
    show(list, number, text, aloud = text, off = false) {
      numbers = list;
      input.max = list.length - 1;
      input.value = list.indexOf(number);
      input.disabled = off;
      box.classList.toggle("is-off", off);
      input.setAttribute("aria-valuetext", aloud);
      setText(value, text);
    },
  };
}

/** A text with as much place as the tallest of those that will stand there. */
function roomFor(texts) {
  const text = h("span");
  return { text, box: h("p", { class: "course-room" }, [...new Set(texts)].map((one) => h("span", { "aria-hidden": "true" }, one)), text) };
}

/** A large number, with its unit if it has one, and a line beneath that keeps the place of the tallest of `texts`. */
function figure(title, texts) {
  const value = h("span", { class: "course-big" }), unit = h("span", { class: "course-unit muted" }), detail = roomFor(texts); // prettier-ignore
  return {
    box: h("div", { class: "course-figure course-number" }, h("p", { class: "course-title" }, title), value, unit, detail.box),
    show(number, words, inUnit = "") {
      setText(value, number);
      setText(unit, inUnit);
      setText(detail.text, words);
    },
  };
}
