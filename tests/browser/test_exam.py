"""What lesson 08 has in a browser: the exam, answered wrong and right, the score that follows, and the glossary."""

import pytest
from nbformat.v4 import new_markdown_cell

from course_lib.classroom.banks import load_banks
from course_lib.classroom.exam import exam
from course_lib.classroom.exam_draw import draw
from course_lib.classroom.glossary import glossary
from course_lib.classroom.progress import progress
from course_lib.classroom.progress_file import empty
from course_lib.classroom.score import score

QUESTIONS = load_banks().questions
BRIDGE = """() => {
  window.model.send = async (content) => {
    for (const [name, value] of Object.entries(await window.python(content))) window.model.receive(name, value);
  };
}"""
CHOICES = ("glm.camps", "palm_parallel.reads")  # each has one right option
SEED = next(seed for seed in range(100) if draw(empty(), seed=seed, size=4)[0]["kind"] == "number")
EXAM_CELL = f"from course_lib.classroom import exam, score\nexam(seed={SEED}, size=4)"


pytestmark = pytest.mark.usefixtures("own_progress")


@pytest.fixture
def exam_page(module_page):
    """Show an exam of two questions that were missed, of one choice each, marked by the real engine."""

    def load(**options):
        for key in CHOICES:
            progress.record_question(key, status="shown", tries=2, response=0)
        deck = exam(seed=0, size=2)
        assert set(deck._bank) == set(CHOICES)
        names = ("questions", "states", "current", "drafts", "notice", "title", "summary")
        page = module_page("quiz", {name: getattr(deck, name) for name in names}, draw=False, **options)

        def python(content):
            deck._receive(deck, content, [])
            return {"states": deck.states, "notice": deck.notice, "summary": deck.summary}

        page.expose_function("python", python)
        page.evaluate(BRIDGE)
        page.evaluate("() => window.module.default.render({ model: window.model, el: window.root })")
        return page, list(deck._bank.values())

    return load


def places(question):
    right = [bool(option.get("right")) for option in question["options"]]
    return right.index(True), right.index(False)


def summary(page):
    return page.locator(".quiz-summary")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_exam_answered_wrong_and_right_by_mouse(exam_page, expect, theme):
    page, questions = exam_page(theme=theme)
    expect(page.get_by_role("region", name="Exam")).to_be_visible()
    expect(summary(page)).to_have_text("2 questions from 2 lessons: 2 that you missed before.")
    right, wrong = places(questions[0])
    page.get_by_role("radio").nth(wrong).check()
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.locator(".quiz-feedback")).to_contain_text("✗ Not yet.")  # a sign and words, not a colour alone
    expect(page.locator(".quiz-tag").nth(wrong)).to_have_text("✗ not this")
    page.get_by_role("radio").nth(right).check()
    page.get_by_role("button", name="Check", exact=True).click()
    expect(page.locator(".quiz-feedback")).to_contain_text("✓ Right.")
    expect(summary(page)).to_contain_text(
        "1 of 2 questions answered: 0 right at once, 1 at the second try, 0 not right."
    )
    page.get_by_role("button", name="Next question").click()
    right, _ = places(questions[1])
    page.get_by_role("radio").nth(right).check()
    page.get_by_role("button", name="Check", exact=True).click()
    expect(summary(page)).to_contain_text("All 2 questions answered: 1 right at once")
    assert summary(page).get_attribute("role") == "status"


def test_an_exam_by_keyboard_alone(exam_page, expect):
    page, questions = exam_page(viewport=(360, 800))
    for question in questions:
        right, _ = places(question)
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("() => document.activeElement.type === 'radio'"):
                break
        page.keyboard.press("Space")
        for _ in range(right):
            page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.locator(".quiz-feedback")).to_contain_text("✓ Right.")
        if question is not questions[-1]:
            page.get_by_role("button", name="Next question").focus()
            page.keyboard.press("Enter")
            page.evaluate("() => document.activeElement.blur()")
    expect(summary(page)).to_contain_text("All 2 questions answered: 2 right at once")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("width", "theme"), [(360, "dark"), (900, "light")])
def test_the_score_shows_the_weakest_and_then_all_by_keyboard(module_page, expect, width, theme):
    progress.record_question("glm.chat", status="shown", tries=2, response=0)
    table = score()
    traits = {name: getattr(table, name) for name in ("rows", "words", "shown", "notice")}
    page = module_page("score", traits, viewport=(width, 900), theme=theme)
    rows = page.locator(".score-table tbody tr")
    expect(rows).to_have_count(table.shown)
    expect(rows.first).to_contain_text(table.rows[0]["text"])
    expect(rows.first).to_contain_text("1 not yet · 2 not tried")
    link = rows.first.get_by_role("link")
    expect(link).to_have_attribute("href", table.rows[0]["places"][0]["href"])
    more = page.get_by_role("button", name=f"Show all {len(table.rows)}")
    more.focus()
    page.keyboard.press("Enter")
    expect(rows).to_have_count(len(table.rows))
    expect(page.get_by_role("button", name="Show the weakest")).to_have_attribute("aria-expanded", "true")
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(("width", "theme"), [(360, "dark"), (900, "light")])
def test_a_word_is_found_by_typing(module_page, expect, width, theme):
    words = glossary()
    page = module_page("glossary", {"terms": words.terms}, viewport=(width, 900), theme=theme)
    shown = page.locator(".glossary-entry:visible")
    expect(shown).to_have_count(len(words.terms))
    find = page.get_by_role("searchbox", name="Find a word")
    find.focus()
    page.keyboard.type("Causal")
    expect(shown).to_have_count(1)  # the word itself, not all that mention it
    expect(page.locator(".glossary-count")).to_have_text(f"1 of {len(words.terms)} words")
    expect(shown.get_by_role("link")).to_have_attribute("href", "02_prefix_mask.ipynb#One-square-of-ones")
    find.fill("fade")  # no word is called so, one means it
    expect(shown.locator("dt")).to_have_text(["decay"])
    find.fill("<b>x")
    expect(shown).to_have_count(0)
    find.fill("")
    expect(shown).to_have_count(len(words.terms))
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_in_jupyterlab_the_score_follows_the_exam_and_leads_to_its_lesson(lab, expect):
    question = QUESTIONS[exam(seed=SEED, size=4).questions[0]["id"]]
    filler = [new_markdown_cell("word\n\n" * 40) for _ in range(4)]
    page = lab.open_notebook([EXAM_CELL, "score()"])
    expect(page.locator(".score-sum")).to_contain_text("none tried yet", timeout=15_000)
    form = page.locator(".quiz")
    for wrong in ("999983", "999979"):
        form.get_by_role("textbox").fill(wrong)
        form.get_by_role("button", name="Check", exact=True).click()
        expect(form.locator(".quiz-feedback")).to_contain_text("✗ Not yet", timeout=15_000)
        expect(form.get_by_role("textbox")).to_have_value(wrong)
    expect(form.locator(".quiz-feedback")).to_contain_text("Here is the answer", timeout=15_000)
    expect(page.locator(".score-sum")).to_contain_text("1 tried, 1 with something not right yet", timeout=15_000)
    weakest = page.locator(".score-table tbody tr").first
    expect(weakest).to_contain_text("1 not yet")
    heading = question["taught"]["heading"]
    lab.write_notebook([*filler, new_markdown_cell(f"## {heading}"), *filler], question["taught"]["notebook"])
    weakest.get_by_role("link", name=heading).click()
    expect(page.get_by_role("heading", name=heading)).to_be_in_viewport(timeout=15_000)
