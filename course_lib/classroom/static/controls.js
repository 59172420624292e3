// What the explorers that count are made of: choices, sliders, and texts that keep their place.

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

/** A slider from `min` up to what `show` names as the most. `aloud` is what a screen reader says of where it stands. */
function slider(name, choose, min = 0) {
  const id = uniqueId("slider"), value = h("span", { class: "course-number", "aria-hidden": "true" }); // prettier-ignore
  const input = h("input", { id, type: "range", min, step: 1, oninput: () => choose(Number(input.value)) });
  const box = h("div", { class: "course-range" }, h("label", { for: id }, name), value, input);
  return {
    input,
    box,
    show(now, most, text, aloud = text, off = false) {
      input.max = most;
      input.value = now;
      input.disabled = off;
      box.classList.toggle("is-off", off);
      input.setAttribute("aria-valuetext", aloud);
      setText(value, text);
    },
  };
}

/** A slider over a list of numbers: `choose` gets the number. */
function stopSlider(name, choose) {
  let numbers = [];
  const { box, show } = slider(name, (n) => choose(numbers[n]));
  return {
    box,
    show(list, number, ...words) {
      numbers = list;
      show(list.indexOf(number), list.length - 1, ...words);
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
