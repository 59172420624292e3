"""What a reader has asked the system for is kept: less motion, colours of its own, a narrow or an enlarged page."""

import io

import numpy as np
import pytest
from PIL import Image
from seen_text import dim_text

MOVING = """() => {
  const moves = (element, part) => {
    const { transitionProperty, transitionDuration, animationName, scrollBehavior } = getComputedStyle(element, part);
    const slides = transitionProperty !== "none" && transitionDuration.split(",").some((time) => parseFloat(time) > 0);
    return slides || animationName !== "none" || scrollBehavior === "smooth";
  };
  const parts = [null, "::before", "::after"];
  const all = [...document.querySelectorAll("main *")];
  return all.filter((each) => parts.some((part) => moves(each, part))).map((each) => each.getAttribute("class"));
}"""
WIDE = """() => {
  const edge = document.documentElement.clientWidth;
  const clips = (e) => getComputedStyle(e).overflowX !== "visible";
  const scrolled = (e) => e && (clips(e) || scrolled(e.parentElement.closest(".course *")));
  const out = [...document.querySelectorAll("main .course *")].filter((e) => {
    if (!e.checkVisibility({ visibilityProperty: true }) || e.closest(".course-live, .visually-hidden")) return false;
    const { right, width } = e.getBoundingClientRect();
    return width > 0 && right > e.closest(".course").getBoundingClientRect().right + 1 && !scrolled(e.parentElement);
  });
  const page = document.documentElement.scrollWidth;
  const found = out.map((e) => `${e.closest("main > div").id}: .${e.getAttribute("class")} stands out`);
  return page > edge ? [`the page is ${page} wide in ${edge}`, ...found] : found;
}"""
DRAWN = """(root) => {
  const copy = root.cloneNode(true);
  for (const said of copy.querySelectorAll(".course-live")) said.remove();
  return copy.textContent;
}"""
# Pairs that are told apart by a fill: a selector of each, in one widget and state.
TOLD_BY_A_FILL = {
    "a chosen segment": ("#kv", ".course-segments label:has(:checked)", ".course-segments label:not(:has(:checked))"),
    "a chosen kind": ("#mask", ".mx-segment:has(:checked)", ".mx-segment:not(:has(:checked))"),
    "a bar and its track": ("#kv", ".kv-weights", ".kv-bars li:first-child .kv-track"),
    "an open cell": ("#quiz-cells", ".quiz-target .open", ".quiz-target .quiz-cell:not(.open)"),
    "a token of the prefix": ("#mask", ".mx-token.mx-prefix", ".mx-token.mx-target"),
    "a swatch": ("#mask", ".mx-swatch.mx-prefix", ".mx-swatch.mx-hatch"),
    "a written cell": ("#cache", ".cx-swatch.cx-written", ".cx-swatch.cx-kept"),
}


def test_nothing_moves_for_a_reader_who_asked_for_less_motion(gallery_page):
    gallery = gallery_page(reduced_motion="reduce")
    gallery.use_explorers()
    for button in gallery.page.get_by_role("button", name="Play", exact=True).all():
        button.click()
    gallery.page.wait_for_timeout(1000)  # what was pressed is drawn and said a little later
    before = [gallery.root(name).evaluate(DRAWN) for name in ("cache", "flow", "state")]
    gallery.page.wait_for_timeout(2500)  # longer than any of them rests on a step
    assert [gallery.root(name).evaluate(DRAWN) for name in ("cache", "flow", "state")] == before
    gallery.answer_wrong()
    assert gallery.page.evaluate(MOVING) == []
    assert gallery.page.evaluate("() => document.getAnimations().length") == 0


def test_motion_is_noticed(gallery_page):
    gallery = gallery_page(names=["kv", "progress"])
    moving = gallery.page.evaluate(MOVING)
    assert any("kv-fill" in str(each) for each in moving)
    assert None in moving  # the filling of a bar of progress


def colour(locator) -> np.ndarray:
    picture = np.asarray(Image.open(io.BytesIO(locator.first.screenshot())).convert("RGB"), dtype=float)
    return picture.mean((0, 1))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_forced_colours_leave_text_to_be_read_and_fills_to_be_told_apart(gallery_page, scheme):
    """JupyterLab's theme is the other one: the ground is the system's, whatever JupyterLab thinks."""
    gallery = gallery_page(forced_colors="active", color_scheme=scheme)
    gallery.theme("dark" if scheme == "light" else "light")
    problems = dim_text(gallery.page)
    gallery.answer_wrong()
    gallery.answer_again()
    problems += dim_text(gallery.page)
    gallery.page.evaluate(
        "() => document.querySelectorAll('main > div').forEach((each) => { each.style.display = ''; })"
    )
    for what, (widget, one, other) in TOLD_BY_A_FILL.items():
        pair = [colour(gallery.page.locator(f"{widget} {each}")) for each in (one, other)]
        if np.abs(pair[0] - pair[1]).max() < 12:
            problems.append(f"{what} looks like one that is not: {pair}")
    assert problems == []


@pytest.mark.parametrize("width", [320, 640])
def test_a_narrow_page_does_not_scroll_sideways(gallery_page, width):
    """320 pixels are 1280 at 400 %, 640 are 1280 at 200 %: for what is enlarged, the page is narrow."""
    gallery = gallery_page(viewport=(width, 800))
    problems = gallery.page.evaluate(WIDE)
    gallery.use_explorers()
    problems += gallery.page.evaluate(WIDE)
    gallery.answer_wrong()
    problems += gallery.page.evaluate(WIDE)
    gallery.answer_again()
    assert problems + gallery.page.evaluate(WIDE) == []


def test_what_stands_out_is_noticed(gallery_page):
    gallery = gallery_page(viewport=(320, 800), names=["kv"])
    gallery.page.add_style_tag(content=".kv { width: 340px } .kv .course-words { width: 400px }")
    problems = gallery.page.evaluate(WIDE)
    assert any("the page is" in problem for problem in problems)
    assert any("course-words" in problem for problem in problems)


def test_a_mask_in_a_pane_that_is_dragged_to_nothing_raises_no_error(gallery_page):
    gallery = gallery_page(names=["mask", "attention", "blank"])
    for width in (60, 20, 400):
        gallery.page.set_viewport_size({"width": width, "height": 400})
        gallery.settle()
    assert gallery.page.errors == []
