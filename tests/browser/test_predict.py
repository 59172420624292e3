"""Predictions and the progress panel in JupyterLab: a guess before and after the picture, export, restore, reset."""

import json
from pathlib import Path

import pytest

from course_lib.classroom.banks import load_banks
from course_lib.classroom.predict import Prediction

BANKS = Path(__file__).parents[1] / "banks"
SAMPLE = load_banks(BANKS).predictions
SETUP = f"""
from pathlib import Path
from matplotlib.figure import Figure
from course_lib.classroom import progress
from course_lib.classroom.banks import load_banks
from course_lib.classroom.predict import Prediction
sample = load_banks(Path({str(BANKS)!r})).predictions
def draw(value):
    figure = Figure(figsize=(4, 2), dpi=100)
    figure.add_subplot().bar(["guess", "truth"], [value or 0, 31])
    return figure
guess = Prediction(sample["sample.guess"])
guess
"""
REVEAL = 'guess.reveal(draw, truth=31, alt="Two bars: your guess and the truth, which is 31.")'


pytestmark = pytest.mark.usefixtures("own_progress")


@pytest.fixture
def guess_page(module_page):
    """Return a function that shows a prediction on a plain page, with the real Python behind it."""

    def load(name, **options):
        guess = Prediction(SAMPLE[f"sample.{name}"])
        names = ("asked", "guess", "locked", "reply", "draft", "notice")
        page = module_page("predict", {each: getattr(guess, each) for each in names}, draw=False, **options)

        def python(content):
            guess._receive(guess, content, [])
            return {each: getattr(guess, each) for each in ("guess", "locked", "notice", "reply")}

        page.expose_function("python", python)
        page.evaluate(
            """async () => {
              window.model.send = async (content) => {
                const traits = await window.python(content);
                for (const [name, value] of Object.entries(traits)) window.model.receive(name, value);
              };
              await window.module.default.render({ model: window.model, el: window.root });
            }"""
        )
        page.guess = guess
        return page

    return load


def test_a_slider_by_keyboard(guess_page, expect):
    page = guess_page("guess")
    page.keyboard.press("Tab")
    expect(page.get_by_role("slider")).to_be_focused()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "1 ones")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Taken")
    assert page.guess.value == 1
    page.get_by_role("slider").press("End")
    expect(page.get_by_role("status")).to_contain_text("not yet taken")
    page.get_by_role("button", name="Change my guess").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Taken")
    assert page.guess.value == 49


def test_a_field_refuses_in_words_and_keeps_what_was_typed(guess_page, expect):
    page = guess_page("typed")
    field = page.get_by_role("textbox")
    for typed, said in (("lots", "not a number"), ("9999", "Between 0 and 2,000"), ("0.3", "In steps of 0.5")):
        field.fill(typed)
        field.press("Enter")
        expect(page.get_by_role("status")).to_contain_text(said)
        expect(field).to_have_value(typed)
    field.fill("1,000.5")
    field.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("Taken")
    assert page.guess.value == 1000.5


def test_a_choice_is_committed_by_its_button(guess_page, expect):
    page = guess_page("pick")
    page.get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("Choose one")
    page.get_by_role("radio").nth(1).check()
    assert page.guess.value is None
    page.get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("Taken")
    assert page.guess.value == "that"


@pytest.mark.parametrize("width", [400, 1280])
def test_points_are_dragged_or_set_by_slider(guess_page, expect, width):
    page = guess_page("curve", viewport=(width, 900))
    box = page.locator("circle").nth(2).bounding_box()
    page.mouse.move(box["x"] + 7, box["y"] + 7)
    page.mouse.down()
    page.mouse.move(box["x"] + 7, box["y"] - 300, steps=5)  # far above: the largest value
    page.mouse.up()
    page.get_by_role("slider").first.press("Home")
    page.get_by_role("button").click()
    expect(page.get_by_role("status")).to_contain_text("Taken")
    assert page.guess.value == [0, 2, 4]
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_in_jupyterlab_the_picture_comes_first_and_a_later_guess_is_drawn(lab, expect):
    page = lab.open_notebook([SETUP, REVEAL, "'below'"])
    reveal = page.locator(".reveal")
    expect(reveal).to_contain_text("No guess yet")
    expect(reveal.locator("img")).to_have_attribute("alt", "Two bars: your guess and the truth, which is 31.")
    height = reveal.evaluate("(element) => element.getBoundingClientRect().height")
    before = reveal.locator("img").get_attribute("src")
    slider = page.get_by_role("slider", name="Your guess")
    slider.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.get_by_role("button", name="This is my guess").press("Enter")
    expect(reveal).to_contain_text("Your guess: 1 ones. It is 31 ones: your guess is 30 too small.", timeout=15_000)
    expect(reveal.locator("img")).not_to_have_attribute("src", before, timeout=15_000)
    expect(slider).to_be_disabled()
    assert reveal.evaluate("(element) => element.getBoundingClientRect().height") == height
    assert json.loads(lab.progress_file.read_text())["predictions"]["sample.guess"]["guess"] == 1

    lab.run_all(page)
    expect(page.get_by_role("slider", name="Your guess")).to_be_disabled()
    expect(page.locator(".reveal")).to_contain_text("Your guess: 1 ones.")


def test_in_jupyterlab_progress_is_exported_restored_and_reset(lab, expect, tmp_path):
    page = lab.open_notebook(
        [SETUP + "progress.record_question('prefix_mask.first_row', status='right', tries=1, response=1)", "progress"]
    )
    panel = page.locator(".progress-panel")
    right = panel.locator(".tally-count").filter(has_text="1 of").first
    expect(right).to_be_visible()
    with page.expect_download() as download:
        panel.get_by_role("button", name="Export").click()
    copy = tmp_path / "copy.json"
    download.value.save_as(copy)
    assert json.loads(copy.read_text())["questions"]["prefix_mask.first_row"]["right"]

    panel.get_by_role("button", name="Reset").press("Enter")
    expect(panel.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(panel.get_by_role("button", name="Keep it")).to_be_hidden()
    expect(panel.get_by_role("button", name="Reset")).to_be_focused()
    expect(right).to_be_visible()
    panel.get_by_role("button", name="Reset").click()
    panel.get_by_role("button", name="Yes, forget everything").click()
    expect(panel.get_by_role("status")).to_contain_text("empty again", timeout=15_000)
    expect(right).to_have_count(0)

    panel.locator("input[type=file]").set_input_files(
        files=[{"name": "x.json", "mimeType": "", "buffer": b"<b>no</b>"}]
    )
    expect(panel.get_by_role("status")).to_contain_text("Nothing was changed", timeout=15_000)
    panel.locator("input[type=file]").set_input_files(copy)
    expect(panel.get_by_role("status")).to_contain_text("Restored 1 questions", timeout=15_000)
    expect(right).to_be_visible()
