"""The contrast of text as it is seen: the colour of every letter against the pixels that lie behind it.

A style sheet cannot tell what lies behind a text: a hatching, a bar, another element. So the page is photographed with
its letters made transparent, and each text's colour is compared with what is then in its place.
"""

import io
from contextlib import contextmanager

import numpy as np
from contrast import MARK, TEXT
from PIL import Image

HIDE = """.course, .course * { color: transparent !important; -webkit-text-fill-color: transparent !important;
  caret-color: transparent !important; text-decoration-color: transparent !important; transition: none !important }
.course svg text { fill: transparent !important } .course ::placeholder { color: transparent !important }"""
# Every visible text: its words, where it is, its colour with its opacity, and whether it is large.
# A control that is off is exempt, as in WCAG.
FIND = """() => {
  const off = (e) => e.closest(":disabled, [aria-disabled=true], label:has(:disabled, [aria-disabled=true])");
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const channels = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data].map((one) => one / 255);
  };
  const forced = matchMedia("(forced-colors: active)").matches;
  const found = [];
  const add = (element, words, rects) => {
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || off(element)) return;
    const style = getComputedStyle(element);
    if (forced && style.forcedColorAdjust === "auto") return; // the system's own text on its own ground
    const drawn = element instanceof SVGElement && style.fill.startsWith("rgb") ? style.fill : style.color;
    let [r, g, b, alpha] = channels(drawn);
    for (let e = element; e; e = e.parentElement) alpha *= getComputedStyle(e).opacity;
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    for (const box of rects) {
      const { width, height } = box;
      if (width < 2 || height < 6 || size < 6) continue;
      const [x, y, id] = [box.x + scrollX, box.y + scrollY, element.closest("main > div").id];
      found.push({ words, x, y, width, height, colour: [r, g, b], alpha, large, id });
    }
  };
  const walker = document.createTreeWalker(document.querySelector("main"), NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement; // prettier-ignore
    if (!node.data.trim() || parent.closest(".course-live, .visually-hidden, option, textarea")) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    add(parent, node.data.trim(), range.getClientRects());
  }
  for (const field of document.querySelectorAll("main :is(textarea, input[type=text], select)")) {
    const { x, y, width, height } = field.getBoundingClientRect();
    const start = new DOMRect(x + 8, y + 6, Math.min(width - 16, 60), Math.min(height - 12, 18));
    add(field, field.value || "a field", [start]);
  }
  return found;
}"""


@contextmanager
def without_letters(page):
    style = page.add_style_tag(content=HIDE)
    try:
        yield
    finally:
        style.evaluate("(element) => element.remove()")


def luminance(colours):
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def contrast_on(picture, text) -> float:
    """Return the contrast that all but the worst twentieth of the pixels behind a text give it."""
    top, left = int(text["y"] + text["height"] * 0.2), int(text["x"])
    bottom, right = int(text["y"] + text["height"] * 0.8) + 1, int(text["x"] + text["width"]) + 1
    behind = picture[top:bottom, left:right].reshape(-1, 3) / 255
    if not len(behind):
        return 21.0
    letters = np.array(text["colour"]) * text["alpha"] + behind * (1 - text["alpha"])
    pair = np.sort([luminance(letters), luminance(behind)], axis=0)
    return float(np.quantile((pair[1] + 0.05) / (pair[0] + 0.05), 0.05))


def measure(page) -> list[tuple[float, float, str]]:
    """Return (contrast, needed, where it stands and what it says) of every text on the page, the weakest first."""
    for _ in range(10):
        texts = page.evaluate(FIND)
        with without_letters(page):
            photograph = page.screenshot(full_page=True)
        if texts == page.evaluate(FIND):  # nothing moved meanwhile
            break
    picture = np.asarray(Image.open(io.BytesIO(photograph)).convert("RGB"))
    found = []
    for text in texts:
        where = f"{text['id']}: {text['words'][:40]!r}"
        found.append((contrast_on(picture, text), MARK if text["large"] else TEXT, where))
    return sorted(found, key=lambda row: row[0] / row[1])


def dim_text(page) -> list[str]:
    """Return every text that cannot be told well enough from its ground, in words."""
    return [
        f"{where} has a contrast of {found:.2f}, needs {need}"
        for found, need, where in measure(page)
        if found < need - 0.05
    ]
