"""The quiz engine: what it says to right, wrong and hostile answers, and what a deck remembers."""

import json
import math
import random
from fractions import Fraction
from pathlib import Path

import pytest

from course_lib.classroom import rich
from course_lib.classroom.banks import load_banks
from course_lib.classroom.grading import RefusedError, grade, parse_number, reveal
from course_lib.classroom.progress import progress
from course_lib.classroom.quiz import QuizDeck, quiz

SAMPLE = load_banks(Path(__file__).parent / "banks")
ONE, SEVERAL, COUNT, CELLS, STEPS, SAY = (
    SAMPLE.questions[f"sample.{name}"] for name in ("one", "several", "count", "cells", "steps", "say")
)


pytestmark = pytest.mark.usefixtures("own_progress")


def said(question, response) -> str:
    return " ".join(map(rich.plain, grade(question, response).feedback))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("31", 31),
        (" 31.0 ", 31),
        ("1,024", 1024),
        ("-1,234,567.5", Fraction(-12345675, 10)),
        ("\u22127", -7),
        ("+.5", Fraction(1, 2)),
        ("5.", 5),
        ("1e3", 1000),
        ("9/16", Fraction(9, 16)),
        ("3 / 4", Fraction(3, 4)),
        ("31 ones", 31),
        ("31ONES", 31),
    ],
)
def test_numbers_are_read_exactly(text, value):
    assert parse_number(text, "ones") == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Type a number"),
        ("   ", "Type a number"),
        ("many", "not a number"),
        ("ones", "not a number"),
        ("1 2", "not a number"),
        ("1,02", "with a point"),
        ("0,5", "with a point"),
        ("1,0245", "with a point"),
        ("1,024,5", "not a number"),
        ("0x1f", "not a number"),
        ("1_000", "not a number"),
        (".", "not a number"),
        ("e5", "not a number"),
        ("1/2/3", "not a number"),
        ("1/0", "divided by 0"),
        ("٣١", "not a number"),
        ("nan", "finite"),
        ("-Infinity", "finite"),
        ("\u221e", "finite"),
        ("1e15", "too large"),
        ("1e99", "too large"),
        ("1e999999", "not a number"),
        ("9" * 41, "too long"),
        ("<b>1</b>", "not a number"),
        ("9" * 10**6, "too long"),
    ],
)
def test_what_is_no_number_is_refused_in_words(text, why):
    with pytest.raises(RefusedError, match=why):
        parse_number(text, "ones")


def test_a_number_is_right_near_or_wrong_in_a_direction():
    assert grade(COUNT, "31").right
    assert said(COUNT, "28") == "That is the causal mask alone."
    assert said(COUNT, "1,000") == "1,000 is too large."
    assert said(COUNT, "30.9999") == "30.9999 is too small."
    tolerant = {**COUNT, "answer": 0.3, "tolerance": 0.1}
    assert [grade(tolerant, text).right for text in ("0.2", "0.4", "0.19", "0.41", "1/3")] == [1, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        ([0], "The one you chose is right, but there is more to choose."),
        ([2], "The one you chose is not right. \u201c4\u201d: Two times two."),
        ([0, 2], "1 of the 2 you chose is right. \u201c4\u201d: Two times two."),
        ([3, 2], "None of the 2 you chose are right. \u201c4\u201d: Two times two. \u201c6\u201d: Two times three."),
        ([0, 1, 2], "2 of the 3 you chose are right. \u201c4\u201d: Two times two."),
    ],
)
def test_several_choices_are_a_set(chosen, words):
    assert not grade(SEVERAL, chosen).right
    assert said(SEVERAL, chosen) == words
    assert grade(SEVERAL, [1, 0]).right


def test_a_mask_names_its_first_wrong_cell():
    target = [[1, 1, 0], [1, 1, 0], [1, 1, 1]]
    assert grade(CELLS, target).right
    causal = [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert said(CELLS, causal) == "1 cell differs. It is row 0, column 1: token 0 (a) may look at token 1 (lamp)."
    full = [[1] * 3] * 3
    assert said(CELLS, full).startswith("2 cells differ. The first is row 0, column 2: token 0 (a) may not look at")


def test_an_order_names_the_first_item_out_of_place():
    order = reveal(STEPS)["order"]
    assert grade(STEPS, order).right
    swapped = [order[0], order[2], order[1], order[3]]
    assert said(STEPS, swapped) == "The first is in place. Something else comes next, not \u201cthird\u201d."
    last = [order[0], order[1], order[3], order[2]]
    assert said(STEPS, last) == "The first 2 are in place. Something else comes next, not \u201cfourth\u201d."


def test_own_words_are_right_when_every_tick_is_set():
    assert not grade(SAY, {"text": "hm", "ticks": [0]}).right
    assert grade(SAY, {"text": "hm", "ticks": [1, 0]}).right


HOSTILE = [
    None,
    True,
    -1,
    99,
    1.0,
    math.nan,
    "",
    "<script>alert(1)</script>",
    "x" * 10**6,
    [],
    [0, 0],
    [True],
    [-1],
    [99],
    ["0"],
    [[0]],
    [None] * 10**5,
    [[1, 1, 0], [1, 1, 0], [1, 1]],
    [[True] * 3] * 3,
    [[2] * 3] * 3,
    {},
    {"text": 5},
    {"text": ""},
    {"text": "x" * 10**6},
    {"text": "x", "ticks": "all"},
    {"text": "x", "ticks": [7]},
    {"text": "x", "ticks": {"0": 1}},
]


@pytest.mark.parametrize("question", [ONE, SEVERAL, COUNT, CELLS, STEPS, SAY], ids=lambda question: question["kind"])
@pytest.mark.parametrize("response", HOSTILE, ids=lambda response: repr(response)[:20])
def test_hostile_answers_are_refused_and_count_for_nothing(question, response):
    with pytest.raises(RefusedError) as refusal:
        grade(question, response)
    assert len(str(refusal.value)) < 200
    deck = QuizDeck([question])
    sent = {"type": "submit", "id": question["id"], "attempt": 1, "response": response}
    if not (question["kind"] == "words" and isinstance(response, dict) and response.get("text") == "x"):
        deck._receive(deck, sent, [])  # the text alone is a first answer: ticks come later
        assert deck.states[question["id"]]["note"]
        assert deck.states[question["id"]]["tries"] == 0
    assert progress.snapshot()["questions"].get(question["id"], {}).get("tries", 0) <= (question["kind"] == "words")


@pytest.mark.parametrize(
    "message", [None, 1, "x", [], {}, {"id": 3}, {"id": "no.such"}, {"id": ONE["id"]}, {"id": ["x"]}]
)
def test_nonsense_messages_change_nothing(message):
    deck = QuizDeck([ONE])
    deck._receive(deck, message, [])
    assert deck.states[ONE["id"]]["status"] == "new"
    for kind in ("hint", "again", "tick", "reveal", ["submit"]):
        deck._receive(deck, {"type": kind, "id": ONE["id"], "ticks": [0]}, [])
        assert deck.states[ONE["id"]]["status"] == "new"
        assert deck.states[ONE["id"]]["hint"] is None


class Learner:
    """What a browser would send to a deck."""

    def __init__(self, *questions):
        self.deck = QuizDeck(list(questions))

    def send(self, question, kind, **content):
        self.deck._receive(self.deck, {"type": kind, "id": question["id"], **content}, [])
        return self.state(question)

    def submit(self, question, response, attempt=None):
        tries = self.state(question)["tries"]
        return self.send(question, "submit", response=response, attempt=tries + 1 if attempt is None else attempt)

    def state(self, question):
        return self.deck.states[question["id"]]


def test_hint_after_one_miss_answer_after_two_and_then_again():
    learner = Learner(ONE)
    state = learner.submit(ONE, 0)
    assert (state["status"], state["can_hint"], state["hint"]) == ("missed", True, None)
    assert "answer" not in state
    assert learner.send(ONE, "hint")["hint"] == [["text", "Halve it."]]
    state = learner.submit(ONE, 2)
    assert (state["status"], state["answer"]) == ("shown", {"right": [1]})
    assert state["explanation"]
    assert learner.submit(ONE, 1)["status"] == "shown"  # it is over
    state = learner.send(ONE, "again")
    assert (state["status"], state["tries"], state["response"]) == ("new", 0, None)
    assert learner.submit(ONE, 1)["status"] == "right"
    kept = progress.snapshot()["questions"][ONE["id"]]
    assert (kept["tries"], kept["right"], kept["shown"]) == (3, True, True)


def test_the_same_answer_sent_twice_is_one_try():
    learner = Learner(ONE)
    learner.submit(ONE, 0)
    assert learner.submit(ONE, 0, attempt=1)["status"] == "missed"
    assert progress.snapshot()["questions"][ONE["id"]]["tries"] == 1


@pytest.mark.parametrize("attempt", [0, 2, -1, "1", None, [1]])
def test_an_attempt_out_of_turn_is_ignored(attempt):
    learner = Learner(ONE)
    learner.send(ONE, "submit", response=1, attempt=attempt)
    assert learner.state(ONE)["status"] == "new"


def test_a_browser_never_holds_an_answer_before_it_is_due():
    deck = QuizDeck([ONE, SEVERAL, COUNT, CELLS, STEPS, SAY])
    state = deck.get_state()
    del state["layout"]  # a random id, in which any two digits may stand by chance
    sent = json.dumps(state)
    for secret in (
        "Twice one",
        "Halve it",
        "divisors",
        "causal mask alone",
        "Three more",
        '"right"',
        "It is said",
        "31",
    ):
        assert secret not in sent
    assert "It is said" not in str(deck)


def test_own_words_are_kept_and_ticked():
    learner = Learner(SAY)
    assert learner.submit(SAY, {"text": "half a pair: \ud83d"})["status"] == "shown"
    assert learner.state(SAY)["response"]["text"] == "half a pair: \ufffd"
    assert learner.send(SAY, "tick", ticks=[0, 1])["status"] == "right"
    assert learner.send(SAY, "tick", ticks=[1])["status"] == "shown"
    assert learner.send(SAY, "tick", ticks=[9])["note"]
    assert QuizDeck([SAY]).states[SAY["id"]]["response"] == {"text": "half a pair: \ufffd", "ticks": [1]}


def test_a_deck_comes_back_as_it_was_left():
    learner = Learner(ONE, COUNT, STEPS)
    learner.submit(ONE, 1)
    learner.submit(COUNT, "28")
    again = QuizDeck([ONE, COUNT, STEPS])
    for question in (ONE, COUNT, STEPS):
        old, new = learner.state(question), again.states[question["id"]]
        assert {**old, "serial": 0} == {**new, "serial": 0}
    assert again.current == 1  # missed once: it is still open


def test_the_answer_just_given_is_no_second_miss():
    learner = Learner(ONE)
    learner.submit(ONE, 0)
    state = learner.submit(ONE, 0)
    assert (state["status"], state["tries"]) == ("missed", 1)
    assert "just gave" in state["note"]


def test_two_decks_with_the_same_question_agree():
    here, there = Learner(ONE), Learner(COUNT, ONE)
    here.submit(ONE, 0)
    here.send(ONE, "hint")
    assert there.state(ONE)["status"] == "missed"
    there.submit(COUNT, "31")
    assert here.state(ONE)["hint"]  # untouched by what happened elsewhere
    progress.reset("forget")
    assert here.state(ONE)["status"] == there.state(COUNT)["status"] == "new"


@pytest.mark.parametrize(
    "last", [{"response": 2}, {"response": "1"}, {"response": None}, {"response": [1]}, {"tries": 5}]
)
def test_an_answer_that_no_longer_fits_its_question_starts_anew(last):
    status = "missed" if "tries" in last else "right"
    progress.record_question(ONE["id"], **{"status": status, "tries": 1, "response": 0, **last})
    assert QuizDeck([ONE]).states[ONE["id"]]["status"] == "new"


def test_a_tampered_record_never_stops_a_deck():
    random.seed(0)
    values = [None, 0, 5, "x", [0, 1], [[1]], {"text": "a", "ticks": [3]}]
    for question in (ONE, SEVERAL, COUNT, CELLS, STEPS, SAY):
        for value in values:
            for status in ("missed", "right", "shown"):
                progress.record_question(question["id"], status=status, tries=random.randint(0, 3), response=value)
                assert QuizDeck([question]).states


@pytest.mark.parametrize(
    ("name", "error"), [("prefix_mask.costs", ValueError), ("", ValueError), (3, TypeError), (None, TypeError)]
)
def test_an_unknown_deck_is_an_error_that_lists_what_there_is(name, error):
    with pytest.raises(error, match="name = "):
        quiz(name)
    if name:
        with pytest.raises(
            error, match="Did you mean 'prefix_mask.cost'.*chapter.q1" if error is ValueError else "string"
        ):
            quiz(name)


def test_a_deck_and_a_question_are_found_by_name():
    assert len(quiz("prefix_mask.cost").questions) >= 3
    assert [question["id"] for question in quiz("chapter.q3").questions] == ["chapter.q3"]


def test_without_a_kernel_everything_is_there_escaped_and_the_answers_folded():
    deck = QuizDeck([ONE, SEVERAL, COUNT, CELLS, STEPS, SAY])
    before = deck.fallback(), repr(deck)
    page = before[0]["text/html"]
    assert page.count("<details>") == page.count("</details>") == 6
    assert "&lt;b&gt;3&lt;/b&gt;" in page
    assert "<b>" not in page
    outside = "".join(part.rpartition("</details>")[2] for part in page.split("<details>"))
    assert "31 ones" in page
    assert "31 ones" not in outside
    assert 'href="00_sample.ipynb#Where-one-is-taught"' in page
    learner = Learner(ONE)
    learner.submit(ONE, 1)
    again = QuizDeck([ONE, SEVERAL, COUNT, CELLS, STEPS, SAY])
    assert (again.fallback(), repr(again)) == before


def test_every_real_deck_can_be_shown():
    for name in load_banks().decks:
        deck = quiz(name)
        assert deck.fallback()["text/html"]
        assert repr(deck).startswith("Quiz: ")
