"""Quizzes in a browser: every kind by mouse and by keyboard alone, and in JupyterLab through restarts and reloads."""

from pathlib import Path

import pytest
from nbformat.v4 import new_markdown_cell

from course_lib.classroom.banks import load_banks
from course_lib.classroom.quiz import QuizDeck

BANKS = Path(__file__).parents[1] / "banks"
SAMPLE = load_banks(BANKS)
DECK_CELL = f"""
from pathlib import Path
from course_lib.classroom.banks import load_banks
from course_lib.classroom.quiz import QuizDeck
sample = load_banks(Path({str(BANKS)!r}))
QuizDeck([sample.questions[name] for name in sample.decks["sample.all"]])
"""
BRIDGE = """() => {
  window.model.send = async (content) => {
    window.model.sent.push(content);
    for (const [name, value] of Object.entries(await window.python(content))) window.model.receive(name, value);
  };
}"""


pytestmark = pytest.mark.usefixtures("own_progress")


@pytest.fixture
def deck_page(module_page):
    """Return a function that shows questions on a plain page, marked by the real engine."""

    def load(*names, **options):
        deck = QuizDeck([SAMPLE.questions[f"sample.{name}"] for name in names])
        seen = {name: getattr(deck, name) for name in ("questions", "states", "current", "drafts", "notice")}
        page = module_page("quiz", seen, draw=False, **options)

        def python(content):
            deck._receive(deck, content, [])
            return {"states": deck.states, "notice": deck.notice}

        page.expose_function("python", python)
        page.evaluate(BRIDGE)
        page.evaluate("() => window.module.default.render({ model: window.model, el: window.root })")
        return page

    return load


def check(page):
    page.get_by_role("button", name="Check", exact=True).click()


def feedback(page):
    return page.locator(".quiz-feedback")


def tab_to(page, locator, presses=40):
    """Press Tab until the element has the focus: what the keyboard cannot reach fails here."""
    for _ in range(presses):
        page.keyboard.press("Tab")
        if locator.evaluate("(element) => element === document.activeElement"):
            return
    raise AssertionError(f"Tab does not reach {locator}")


def test_one_choice_wrong_then_right_by_mouse(deck_page, expect):
    page = deck_page("one", "count")
    expect(page.get_by_role("heading")).to_have_text("Question 1 of 2")
    page.get_by_role("radio", name="1", exact=True).check()
    expect(feedback(page)).to_be_hidden()  # choosing is not submitting
    assert page.evaluate("() => window.model.sent") == []
    check(page)
    expect(feedback(page)).to_contain_text("Not yet.")
    expect(feedback(page)).to_contain_text("One is odd.")
    expect(page.get_by_role("button", name="Question 1: not yet right")).to_be_visible()
    page.get_by_role("button", name="Show a hint").click()
    expect(feedback(page)).to_contain_text("Halve it.")
    page.locator("label").filter(has_text="2").click()
    check(page)
    expect(feedback(page)).to_contain_text("Right.")
    expect(feedback(page).locator("math mfrac")).to_have_count(1)
    expect(page.get_by_role("radio").first).to_be_disabled()
    page.get_by_role("button", name="Next question").click()
    expect(page.get_by_role("heading")).to_have_text("Question 2 of 2")
    page.get_by_role("button", name="Previous").click()
    expect(feedback(page)).to_contain_text("Right.")
    page.get_by_role("button", name="Try again").click()
    expect(feedback(page)).to_be_hidden()
    expect(page.get_by_role("radio", checked=True)).to_have_count(0)


def test_text_of_a_bank_is_text_and_answers_come_only_when_they_are_due(deck_page, expect):
    page = deck_page("one")
    expect(page.get_by_text("<b>3</b>")).to_be_visible()
    assert "Twice one" not in page.evaluate("() => JSON.stringify([model.get('questions'), model.get('states')])")
    page.get_by_role("radio").nth(2).check()
    check(page)
    expect(feedback(page)).to_contain_text("<i>whatever</i>")
    state = page.evaluate("() => JSON.stringify(model.get('states'))")
    assert "answer" not in state
    assert "Halve" not in state
    check(page)
    expect(page.locator(".quiz-note")).to_contain_text("just gave")  # no second miss
    page.get_by_role("radio").nth(0).check()
    check(page)
    expect(feedback(page)).to_contain_text("The answer is 2.")
    assert page.locator(".course b, .course i").count() == 0


def test_everything_by_keyboard_alone(deck_page, expect):
    page = deck_page("one", "several", "count", "cells", "steps", "say")
    go_on = page.get_by_role("button", name="Next question")
    submit = page.get_by_role("button", name="Check", exact=True)

    tab_to(page, page.get_by_role("radio").first)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(feedback(page)).to_contain_text("Right.")
    tab_to(page, go_on)
    page.keyboard.press("Enter")
    expect(page.get_by_role("checkbox").first).to_be_focused()
    for _ in range(2):
        page.keyboard.press("Space")
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(feedback(page)).to_contain_text("Right.")
    tab_to(page, go_on)
    page.keyboard.press("Enter")
    page.keyboard.type("28")
    page.keyboard.press("Enter")
    expect(feedback(page)).to_contain_text("causal mask alone")
    page.keyboard.press("Control+A")
    page.keyboard.type("31.0 ones")
    page.keyboard.press("Enter")
    expect(feedback(page)).to_contain_text("Right.")
    tab_to(page, go_on)
    page.keyboard.press("Enter")
    expect(page.get_by_label("row 0 a, column 0 a")).to_be_focused()
    for key in ("Space", "ArrowRight", "Space", "ArrowDown", "Space", "Home", "Space", "ArrowDown", "Space"):
        page.keyboard.press(key)
    for key in ("ArrowRight", "Enter", "End", "Space"):
        page.keyboard.press(key)
    expect(page.get_by_text("7 of 9 cells open")).to_be_visible()
    tab_to(page, submit)
    page.keyboard.press("Enter")
    expect(feedback(page)).to_contain_text("Right.")
    tab_to(page, go_on)
    page.keyboard.press("Enter")
    for place, item in enumerate(("first", "second", "third", "fourth")):
        row = page.locator(".quiz-order li").filter(has_text=item)
        here = page.locator(".quiz-item").all_text_contents().index(item)
        if here > place:
            button = row.get_by_role("button", name=f"Move up: {item}")
            button.focus()
            for _ in range(here - place):
                page.keyboard.press("ArrowUp")
            expect(button).to_be_focused()
    assert page.locator(".quiz-item").all_text_contents() == ["first", "second", "third", "fourth"]
    tab_to(page, submit)
    page.keyboard.press("Enter")
    expect(feedback(page)).to_contain_text("Right.")
    tab_to(page, go_on)
    page.keyboard.press("Enter")
    page.keyboard.type("It is said, and\nin two lines.")
    tab_to(page, page.get_by_role("button", name="Compare"))
    page.keyboard.press("Enter")
    expect(feedback(page)).to_contain_text("It is said.")
    tab_to(page, page.get_by_role("checkbox").first)
    page.keyboard.press("Space")
    expect(feedback(page)).to_contain_text("1 of 2")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(feedback(page)).to_contain_text("complete")
    expect(page.get_by_role("button", name=": right")).to_have_count(6)


def test_a_mask_is_painted_with_the_mouse_and_compared_after_two_misses(deck_page, expect):
    page = deck_page("cells")
    first, last = page.get_by_label("row 0 a, column 0 a"), page.get_by_label("row 2 שלום, column 0 a")
    first.hover()
    page.mouse.down()
    box = last.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5, steps=12)
    page.mouse.up()
    expect(page.locator("button[aria-pressed=true]")).to_have_count(3)
    first.click()
    expect(first).to_have_attribute("aria-pressed", "false")
    check(page)
    expect(feedback(page)).to_contain_text(
        "5 cells differ. The first is row 0, column 0: token 0 (a) may look at token 0 (a)."
    )
    expect(page.locator(".quiz-target")).to_have_count(0)
    first.click()
    check(page)
    expect(page.locator(".quiz-target .open")).to_have_count(7)
    expect(page.locator("button.differs")).to_have_count(4)
    first.click(force=True)
    expect(first).to_have_attribute("aria-pressed", "true")  # it is over
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("button[aria-pressed=true]")).to_have_count(0)
    expect(page.locator(".quiz-target")).to_have_count(0)


def test_nonsense_is_refused_in_words_and_is_no_try(deck_page, expect):
    page = deck_page("count")
    for typed, said in (
        ("many", "not a number"),
        ("0,5", "with a point"),
        ("1" * 50, "too long"),
        ("", "Type a number"),
    ):
        page.get_by_role("textbox").fill(typed)
        check(page)
        expect(page.locator(".quiz-note")).to_contain_text(said)
        expect(page.get_by_role("textbox")).to_have_value(typed)
    expect(feedback(page)).to_be_hidden()
    page.get_by_role("textbox").fill("31")
    check(page)
    expect(feedback(page)).to_contain_text("Right.")


def test_a_silent_kernel_is_said_in_words_and_the_choice_is_kept(module_page, expect):
    deck = QuizDeck([SAMPLE.questions["sample.one"]])
    page = module_page(
        "quiz", {"questions": deck.questions, "states": deck.states, "current": 0, "drafts": {}, "notice": ""}
    )
    page.clock.install()
    page.get_by_role("radio").first.check()
    check(page)
    page.clock.fast_forward(4900)
    expect(page.locator(".quiz-note")).to_be_hidden()
    page.clock.fast_forward(200)
    expect(page.locator(".quiz-note")).to_contain_text("busy or stopped")
    expect(page.get_by_role("radio").first).to_be_checked()
    check(page)
    assert [sent["attempt"] for sent in page.evaluate("() => model.sent")] == [1, 1]  # the same try, asked twice


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_above_moves_and_the_card_never_shrinks(deck_page, expect, width):
    page = deck_page("several", "count", viewport=(width, 900))
    top = "() => document.querySelector('.quiz-options, .quiz-number').getBoundingClientRect().top"
    button = "() => document.querySelector('.quiz-card [type=submit]').getBoundingClientRect().top"
    height = "() => document.querySelector('.quiz').getBoundingClientRect().height"
    before, at, tall = page.evaluate(top), page.evaluate(button), page.evaluate(height)
    page.get_by_role("checkbox").nth(3).check()
    check(page)
    expect(feedback(page)).to_be_visible()
    assert (page.evaluate(top), page.evaluate(button)) == (before, at)
    page.get_by_role("checkbox").nth(3).uncheck()
    page.get_by_role("checkbox").nth(0).check()
    check(page)
    expect(feedback(page)).to_contain_text("Here is the answer")
    assert page.evaluate(top) == before
    grown = page.evaluate(height)
    assert grown > tall
    page.get_by_role("button", name="Next", exact=True).click()
    assert abs(page.evaluate(height) - grown) < 1  # less than a pixel
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def run_wrong_then_right(page, expect):
    quiz = page.locator(".quiz")
    quiz.get_by_role("radio").first.check()
    quiz.get_by_role("button", name="Check", exact=True).click()
    expect(quiz.locator(".quiz-feedback")).to_contain_text("One is odd.", timeout=15_000)
    quiz.get_by_role("radio").nth(1).check()
    quiz.get_by_role("button", name="Check", exact=True).click()
    expect(quiz.locator(".quiz-feedback")).to_contain_text("Right.", timeout=15_000)


def test_in_jupyterlab_answers_survive_a_restart_and_a_reload(lab, expect):
    page = lab.open_notebook([DECK_CELL])
    run_wrong_then_right(page, expect)
    quiz = page.locator(".quiz")

    lab.reload(page)  # the kernel lives: the deck is as it was, without running anything
    expect(quiz.locator(".quiz-feedback")).to_contain_text("Right.", timeout=15_000)
    expect(quiz.get_by_role("button", name="Question 1: right")).to_be_visible()

    lab.restart_kernel(page)  # the deck is dead, and says so
    quiz.get_by_role("button", name="Next question").click()
    quiz.get_by_role("checkbox").first.check()
    quiz.get_by_role("button", name="Check", exact=True).click()
    expect(quiz.locator(".quiz-note")).to_contain_text("busy or stopped", timeout=15_000)
    expect(quiz.get_by_role("checkbox").first).to_be_checked()

    lab.run_all(page)
    expect(quiz.get_by_role("button", name="Question 1: right")).to_be_visible(timeout=15_000)
    expect(quiz.get_by_role("heading")).to_have_text("Question 2 of 6")  # the first that is not answered
    page.errors[:] = [error for error in page.errors if "Canceled future" not in error]  # JupyterLab's own requests


def test_in_jupyterlab_by_keyboard_alone_without_a_layout_jump(lab, expect):
    page = lab.open_notebook([DECK_CELL, "'below'"], viewport=(1280, 900))
    quiz = page.locator(".quiz")
    quiz.get_by_role("radio").first.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(quiz.locator(".quiz-feedback")).to_contain_text("One is odd.", timeout=15_000)
    top = quiz.evaluate("(element) => element.getBoundingClientRect().top")
    page.keyboard.press("ArrowDown")  # JupyterLab would go to the next cell
    expect(quiz.get_by_role("radio").nth(1)).to_be_checked()
    page.keyboard.press("Enter")
    expect(quiz.locator(".quiz-feedback")).to_contain_text("Right.", timeout=15_000)
    expect(quiz.locator(".quiz-feedback")).to_be_focused()
    assert quiz.evaluate("(element) => element.getBoundingClientRect().top") == top
    assert page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length") == 2  # no cell was added


def test_in_jupyterlab_the_link_opens_the_lesson_at_its_heading(lab, expect):
    filler = [new_markdown_cell("word\n\n" * 40) for _ in range(4)]
    lab.write_notebook([*filler, new_markdown_cell("## Where one is taught"), *filler], "00_sample")
    page = lab.open_notebook([DECK_CELL])
    page.locator(".quiz").get_by_role("link", name="Where one is taught").click()
    expect(page.get_by_role("heading", name="Where one is taught")).to_be_in_viewport(timeout=15_000)
    assert len(page.context.pages) == 1
