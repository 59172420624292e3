"""The lessons, their questions and their exercises fit together: every name is used, every place exists."""

import re
from pathlib import Path

import pytest

from course_lib.classroom.banks import load_banks
from course_lib.classroom.course_map import LESSONS
from course_lib.classroom.exercises import EXERCISES

SOURCES = {
    file.stem: file.read_text("utf-8") for file in (Path(__file__).parents[1] / "notebooks/source").glob("[0-9]*.md")
}
BANKS = load_banks()
LESSON_NAMES = sorted(SOURCES)


def called(function: str, source: str) -> list[str]:
    return re.findall(rf'\b{function}\("([^"]+)"', source)


def headings(source: str) -> set[str]:
    prose = re.sub(r"```.*?```", "", source, flags=re.S)
    return {match.strip() for match in re.findall(r"^#+ (.+)$", prose, flags=re.M)}


@pytest.mark.parametrize("name", LESSON_NAMES)
def test_every_name_in_a_lesson_exists(name):
    source = SOURCES[name]
    assert set(called("quiz", source)) <= set(BANKS.decks) | set(BANKS.questions)
    assert set(called("predict", source)) <= set(BANKS.predictions)
    assert set(re.findall(r"\bcheck\.(\w+)\(", source)) <= set(EXERCISES)


def test_every_deck_prediction_and_exercise_is_in_its_lesson():
    for deck in BANKS.decks:
        bank = deck.split(".")[0]
        if bank != "chapter":
            assert deck in called("quiz", next(text for name, text in SOURCES.items() if name[3:] == bank))
    for identifier, prediction in BANKS.predictions.items():
        assert identifier in called("predict", SOURCES[prediction["taught"]["notebook"]])
    for one in EXERCISES.values():
        assert f"check.{one.name}(" in SOURCES[one.notebook]


def test_every_question_is_asked_in_a_lesson():
    asked = {
        question for source in SOURCES.values() for deck in called("quiz", source) for question in BANKS.decks[deck]
    }
    assert asked == set(BANKS.questions)


@pytest.mark.parametrize(
    "entry", [*BANKS.questions.values(), *BANKS.predictions.values()], ids=lambda entry: entry["id"]
)
def test_a_question_names_a_heading_that_exists(entry):
    taught = entry["taught"]
    assert taught["heading"] in headings(SOURCES[taught["notebook"]])


@pytest.mark.parametrize("one", EXERCISES.values(), ids=lambda one: one.name)
def test_an_exercise_names_the_heading_under_which_it_is_set(one):
    before, _, _ = SOURCES[one.notebook].partition(f"check.{one.name}(")
    assert re.findall(r"^## (.+)$", before, flags=re.M)[-1] == one.heading


@pytest.mark.parametrize("entry", BANKS.questions.values(), ids=lambda entry: entry["id"])
def test_a_question_is_asked_after_its_matter_was_taught(entry):
    order = [(name, line) for name in LESSON_NAMES for line in SOURCES[name].splitlines()]
    taught = order.index((entry["taught"]["notebook"], f"## {entry['taught']['heading']}"))
    decks = [deck for deck, questions in BANKS.decks.items() if entry["id"] in questions]
    asked = [place for place, (_, line) in enumerate(order) if any(f'quiz("{deck}")' in line for deck in decks)]
    assert asked
    assert min(asked) > taught


@pytest.mark.parametrize("name", LESSON_NAMES)
def test_a_lesson_states_its_objectives_and_tries_each(name):
    stated = {key: text for key, text in BANKS.objectives.items() if key.split(".")[0] == name[3:]}
    prose = " ".join(SOURCES[name].split())
    assert 3 <= len(stated) <= 5
    for key, text in stated.items():
        assert text in prose
        tried = [q["id"] for q in BANKS.questions.values() if q["objective"] == key]
        tried += [one.name for one in EXERCISES.values() if one.objective == key]
        assert tried, f"nothing tries {key}"


def test_the_first_lessons_ask_enough_and_in_every_way():
    """At least 15 questions, among them three of the chapter's, and every kind that the engine knows."""
    assert len(BANKS.questions) >= 15
    assert {"chapter.q1", "chapter.q3", "chapter.q4"} <= set(BANKS.questions)
    assert {q["kind"] for q in BANKS.questions.values()} == {"choice", "choices", "number", "mask", "order", "words"}


@pytest.mark.parametrize("name", LESSON_NAMES)
def test_a_lesson_has_its_head_and_its_end(name):
    source = SOURCES[name]
    title = next(one.title for one in LESSONS if one.notebook == name)
    assert f"\n# {title}\n" in source
    for part in (
        "{{minutes}}",
        "**You will**",
        "**You will learn**",
        "**You need**",
        "> **Take away.**",
        "**On your own.**",
        "**Next:**",
    ):
        assert part in source, part


@pytest.mark.parametrize("name", LESSON_NAMES)
def test_links_between_lessons_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+\.ipynb)", SOURCES[name]):
        assert Path(target).stem in SOURCES


@pytest.mark.parametrize("one", EXERCISES.values(), ids=lambda one: one.name)
def test_the_minutes_and_stars_in_the_text_are_the_exercises_own(one):
    lines = SOURCES[one.notebook].splitlines()
    call = next(i for i, line in enumerate(lines) if f"check.{one.name}(" in line)
    said = next(line for line in reversed(lines[:call]) if re.search(r"\d+ minutes?\b", line))
    stars = "★" * one.difficulty + "☆" * (3 - one.difficulty)
    assert f"{stars}, {one.minutes} minute" in said
