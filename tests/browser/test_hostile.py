"""Hostile texts in a real browser: typed or pasted into every field, they stay text, and the page answers."""

import time

import pytest

from course_lib.classroom.blank_explorer import BlankExplorer
from course_lib.classroom.explorer import MaskExplorer
from course_lib.classroom.predict import predict

MARKUP = '<img src=x onerror="window.hacked = 1"></textarea><script>window.hacked = 1</script><b>bold</b> {{7*7}} &amp;'
TEXTS = {
    "markup": MARKUP,
    "control": "a\x00\x1b[31m\x07b\u2028c",
    "bidi": "a\u202e" + MARKUP + "\u2066\u2069",
    "marks": "a" + "\u0301" * 2_000,  # a browser's own field takes seconds for ten times as many
    "million": MARKUP * 9_000,
    "one word": "a" * 1_000_000,
}


@pytest.fixture
def field(module_page):
    """Return a page with one explorer, and its field."""

    def draw(name):
        if name == "predict":
            entry = {**predict("prefix_mask.count").asked, "kind": "number", "control": "field"}
            traits = {"asked": entry, "guess": None, "locked": False, "reply": {}, "draft": None, "notice": ""}
            page = module_page("predict", traits)
            return page, page.get_by_role("textbox").first
        explorer = {"mask_explorer": MaskExplorer, "blank_explorer": BlankExplorer}[name]()
        own = [one for one in explorer.trait_names(sync=True) if not one.startswith("_")]
        skipped = ("layout", "tabbable", "tooltip", "comm", "custom_mask")
        page = module_page(name, {one: getattr(explorer, one) for one in own if one not in skipped})
        return page, page.locator("textarea").first

    return draw


def elements(page) -> int:
    return page.evaluate("() => document.querySelectorAll('img, script, b, iframe').length")


@pytest.mark.parametrize("name", ["mask_explorer", "blank_explorer", "predict"])
def test_a_hostile_text_stays_text_and_the_page_answers(field, name):
    page, box = field(name)
    before = elements(page)
    for text in TEXTS.values():
        started = time.monotonic()
        box.fill(text)
        if name == "predict":
            box.press("Enter")
        page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        assert time.monotonic() - started < 5
        assert elements(page) == before
    page.wait_for_timeout(200)
    assert page.evaluate("() => window.hacked") is None
    box.fill("3" if name == "predict" else "The lamp is lit.")
    if name != "predict":
        page.wait_for_function("() => model.get('tokens').length === 5")


@pytest.mark.parametrize("name", ["mask_explorer", "blank_explorer"])
def test_what_python_sends_stays_text(field, name):
    page, _ = field(name)
    before = elements(page)
    for trait, value in (("tokens", [MARKUP] * 5), ("text", MARKUP)):
        page.evaluate("([trait, value]) => model.receive(trait, value)", [trait, value])
    page.wait_for_timeout(200)
    assert elements(page) == before
    assert page.evaluate("() => window.hacked") is None
