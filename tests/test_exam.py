"""The exam: who is drawn, from any record; that it begins anew, and that what it marks is kept."""

import json
import random
from collections import Counter

import numpy as np
import pytest
from hostile_values import Nasty

from course_lib.classroom.banks import load_banks
from course_lib.classroom.course_map import LESSONS
from course_lib.classroom.exam import SIZE, exam
from course_lib.classroom.exam_draw import KNOWN, MISSED, NEW, draw, exam_pool, lesson_of, standing
from course_lib.classroom.grading import reveal
from course_lib.classroom.progress import progress
from course_lib.classroom.progress_file import empty, parse, to_text
from course_lib.classroom.quiz import quiz

POOL = exam_pool()
TAUGHT = {one.notebook for one in LESSONS} - {"08_wrap_up"}
SHARE = -(-SIZE // len(TAUGHT))  # of a lesson, in an exam of the usual size
WHEN = "2026-01-01T00:00:00+00:00"


pytestmark = pytest.mark.usefixtures("own_progress")


def entry(status, tries=1, *, right=False, shown=False, response=None):
    last = {"status": status, "tries": tries, "response": response}
    right, shown = right or status == "right", shown or status == "shown"
    return {"tries": max(1, tries), "right": right, "shown": shown, "last": last, "when": WHEN}


def record_of(**stands):
    """A record in which the questions of these ids stand so."""
    entries = {MISSED: entry("shown", 2), KNOWN: entry("right")}
    return empty() | {"questions": {key.replace("__", "."): entries[stand] for key, stand in stands.items()}}


def random_record(seed):
    lot = random.Random(seed)
    missed = lot.choice([0.1, 0.5, 1])  # fewer than an exam asks, about as many, and more
    stands = {key: lot.choices([MISSED, NEW, KNOWN], [missed, 4, 4])[0] for key in POOL}
    return stands, record_of(**{key.replace(".", "__"): stand for key, stand in stands.items() if stand != NEW})


def ids(questions):
    return [question["id"] for question in questions]


def test_the_pool_is_large_and_comes_from_every_lesson_in_every_way_that_is_marked():
    assert len(POOL) >= 30
    assert {lesson_of(question) for question in POOL.values()} == TAUGHT
    assert {question["kind"] for question in POOL.values()} == {"choice", "choices", "number", "mask", "order"}


@pytest.mark.parametrize(
    ("was", "stands"),
    [
        (None, NEW),
        (entry("missed"), MISSED),
        (entry("shown", 2), MISSED),
        (entry("right", 2), MISSED),  # only at the second try
        (entry("right", 1), KNOWN),
        (entry("right", 1, shown=True), KNOWN),  # known now
        (entry("new", 0, right=True), KNOWN),
        (entry("new", 0, shown=True), MISSED),
        ({**entry("new", 0), "tries": 0}, NEW),
    ],
)
def test_where_a_question_stands(was, stands):
    assert standing(was) == stands


@pytest.mark.parametrize("seed", range(30))
def test_a_first_exam_asks_every_lesson_equally_and_in_three_kinds(seed):
    drawn = draw(empty(), seed=seed, size=SIZE)
    counts = Counter(map(lesson_of, drawn))
    assert len(set(ids(drawn))) == SIZE
    assert set(counts) == TAUGHT
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len({question["kind"] for question in drawn}) >= 3
    objectives = Counter(question["objective"] for question in drawn)
    assert max(objectives.values()) == 1  # every lesson has at least two


@pytest.mark.parametrize("seed", range(40))
def test_what_was_missed_is_drawn_before_what_is_new_and_that_before_the_rest(seed):
    stands, record = random_record(seed)
    drawn = draw(record, seed=seed, size=SIZE)
    classes = [stands[key] for key in ids(drawn)]
    assert classes == sorted(classes)  # asked in this order, too
    assert len(set(ids(drawn))) == SIZE
    assert classes.count(MISSED) == min(SIZE, list(stands.values()).count(MISSED))
    counts = Counter(map(lesson_of, drawn))
    missed = Counter(lesson_of(q) for q in drawn if stands[q["id"]] == MISSED)
    assert all(count <= max(SHARE, missed[lesson]) for lesson, count in counts.items())
    for lesson in TAUGHT:  # within a lesson nothing is passed over for something that can wait
        taken = [stands[q["id"]] for q in drawn if lesson_of(q) == lesson]
        left = [stands[key] for key, q in POOL.items() if lesson_of(q) == lesson and key not in ids(drawn)]
        assert not taken or not left or max(taken) <= min(left)
    for lesson, other in ((a, b) for a in TAUGHT for b in TAUGHT):  # nor between lessons, until one has its share
        left = [stands[key] for key, q in POOL.items() if lesson_of(q) == lesson and key not in ids(drawn)]
        taken = [stands[q["id"]] for q in drawn if lesson_of(q) == other]
        if counts[lesson] < SHARE and left and taken:
            assert max(taken) <= min(left)


def test_one_missed_question_comes_first_whatever_the_seed():
    record = record_of(glm__fim=MISSED)
    assert all(draw(record, seed=seed, size=SIZE)[0]["id"] == "glm.fim" for seed in range(10))


def test_all_that_was_missed_is_asked_before_anything_else_whichever_lesson_it_is_from():
    of_one_lesson = [key for key, q in POOL.items() if lesson_of(q) == "02_prefix_mask"]
    drawn = draw(record_of(**{key.replace(".", "__"): MISSED for key in of_one_lesson}), seed=0, size=SIZE)
    assert set(ids(drawn)) <= set(of_one_lesson)
    nine = of_one_lesson[:9]
    drawn = draw(record_of(**{key.replace(".", "__"): MISSED for key in nine}), seed=0, size=SIZE)
    assert set(ids(drawn)[:9]) == set(nine)
    assert len({lesson_of(q) for q in drawn[9:]} - {"02_prefix_mask"}) == 3  # the rest is from the others


def test_misses_are_spread_over_the_lessons_they_are_from():
    missed = {key.replace(".", "__"): MISSED for key in POOL}
    counts = Counter(map(lesson_of, draw(record_of(**missed), seed=0, size=SIZE)))
    assert set(counts) == TAUGHT
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("seed", range(5))
def test_who_knows_everything_is_not_asked_the_same_twice_in_a_row_and_in_time_everything(seed):
    times = {key: f"2026-01-01T00:00:{n % 60:02}+00:00" for n, key in enumerate(POOL)}
    before, asked = set(), set()
    for day in range(2, 25):
        record = empty() | {"questions": {key: entry("right") | {"when": when} for key, when in times.items()}}
        drawn = ids(draw(record, seed=seed, size=SIZE))
        assert not before & set(drawn)
        times |= dict.fromkeys(drawn, f"2026-01-{day:02}T00:00:00+00:00")
        before, asked = set(drawn), asked | set(drawn)
    assert asked == set(POOL)


def test_a_draw_depends_on_the_seed_and_the_record_alone():
    _, record = random_record(7)
    assert ids(draw(record, seed=3, size=SIZE)) == ids(draw(json.loads(to_text(record)), seed=3, size=SIZE))
    assert len({tuple(ids(draw(record, seed=seed, size=SIZE))) for seed in range(10)}) == 10


@pytest.mark.parametrize("size", [1, 2, 13, 40, len(POOL)])
def test_any_size_is_drawn_without_repeating(size):
    assert len(set(ids(draw(empty(), seed=0, size=size)))) == size


@pytest.mark.parametrize("seed", range(20))
def test_a_second_exam_repeats_nothing_that_was_known_while_something_is_new(seed):
    first = draw(empty(), seed=seed, size=SIZE)
    record = record_of(**{key.replace(".", "__"): KNOWN for key in ids(first)})
    assert not set(ids(first)) & set(ids(draw(record, seed=seed, size=SIZE)))


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"size": 0}, ValueError, "allowed are 1 to"),
        ({"size": len(POOL) + 1}, ValueError, f"allowed are 1 to {len(POOL)}"),
        ({"size": 2.0}, TypeError, "size = 2.0: must be a whole number"),
        ({"size": True}, TypeError, "must be a whole number"),
        ({"seed": "1"}, TypeError, "seed = '1'"),
        ({"size": 10**5000}, ValueError, r"size = \(a number of about 5,001 digits\): allowed are 1 to"),
        ({"size": -(10**5000)}, ValueError, "allowed are 1 to"),
        ({"seed": Nasty()}, TypeError, "seed = <Nasty"),
    ],
)
def test_what_is_no_exam_is_refused_in_words(arguments, error, said):
    with pytest.raises(error, match=said):
        exam(**arguments)


def test_every_whole_number_is_one():
    first = ids(draw(empty(), seed=3, size=4))
    assert ids(draw(empty(), seed=np.int64(3), size=np.int32(4))) == first
    assert len(draw(empty(), seed=-(10**5000), size=4)) == 4


def test_an_old_or_foreign_record_breaks_nothing():
    foreign = {"questions": {"gone.question": entry("shown", 2), "glm.fim": entry("right", response="<b>")}}
    record = parse(to_text(empty() | foreign))
    assert "glm.fim" not in ids(draw(record, seed=0, size=SIZE))
    progress.path.write_text("{ not a record", "utf-8")
    with pytest.warns(UserWarning, match="could not be used"):
        deck = exam()
    assert ids(deck._bank.values()) == ids(draw(empty(), seed=0, size=SIZE))
    assert deck.notice


def submit(deck, question_id, *, right):
    question, at = deck._bank[question_id], deck._at[question_id]
    deck._receive(deck, {"type": "submit", "id": question_id, "attempt": at["tries"] + 1,
                         "response": answer(question, right, at["tries"])}, [])  # fmt: skip


def answer(question, right, tries):
    options, key = question.get("options", []), reveal(question)
    if question["kind"] == "choice":
        wrong = [i for i in range(len(options)) if i not in key["right"]]
        return key["right"][0] if right else wrong[tries]
    if question["kind"] == "choices":
        wrong = next(i for i in range(len(options)) if i not in key["right"])
        return key["right"] if right else sorted({wrong, *(key["right"] if tries else [])})
    if question["kind"] == "number":
        return key["text"] if right else str(1_000_003 + tries)
    if question["kind"] == "order":
        return key["order"] if right else [key["order"][::-1], key["order"][1:] + key["order"][:1]][tries]
    return key["rows"] if right else [[tries] * len(key["rows"])] * len(key["rows"])


def test_an_exam_begins_anew_and_keeps_what_it_marks():
    progress.record_question("glm.fim", status="shown", tries=2, response=0)
    deck = exam()
    assert next(iter(deck._bank)) == "glm.fim"
    assert {at["status"] for at in deck._at.values()} == {"new"}
    assert "1 that you missed before, 11 new to you" in deck.summary
    submit(deck, "glm.fim", right=True)
    kept = progress.snapshot()["questions"]["glm.fim"]
    assert (kept["last"]["status"], kept["last"]["tries"], kept["tries"]) == ("right", 1, 3)
    assert "1 of 12 questions answered: 1 right at once" in deck.summary
    assert "glm.fim" not in ids(draw(progress.snapshot(), seed=0, size=SIZE))  # known now


def test_an_exam_is_answered_to_its_end_and_the_next_begins_with_what_was_missed():
    deck = exam(seed=5)
    order = list(deck._bank)
    for place, key in enumerate(order):
        for _ in range(1 if place % 3 == 0 else 2):
            submit(deck, key, right=place % 3 != 2 and deck._at[key]["tries"] == place % 3)
    assert deck.summary.startswith("All 12 questions answered: 4 right at once, 4 at the second try, 4 not right.")
    not_at_once = {key for place, key in enumerate(order) if place % 3}
    assert set(ids(draw(progress.snapshot(), seed=6, size=SIZE))[: len(not_at_once)]) == not_at_once


def test_what_other_cells_do_does_not_change_a_running_exam():
    deck = exam()
    key = next(iter(deck._bank))
    progress.record_question(key, status="right", tries=1, response=0)
    assert deck._at[key]["status"] == "new"
    submit(deck, key, right=False)
    assert deck._at[key]["status"] == "missed"
    assert quiz(key)._at[key]["status"] == "missed"  # one record for both
    progress.reset("forget")
    assert deck._at[key]["status"] == "missed"


def test_the_saved_output_is_that_of_an_exam_with_no_answers_in_it():
    deck = exam()
    page = deck.fallback()["text/html"]
    assert page.count("<details>") == SIZE
    assert deck.describe().startswith("Exam: 12 questions.")


def test_every_question_of_the_banks_is_drawn_or_asked_in_the_last_lesson():
    banks = load_banks()
    asked = {key for deck in ("chapter.quiz", "wrap_up.words", "wrap_up.together", "wrap_up.review")
             for key in banks.decks[deck]}  # fmt: skip
    words = {key for key, question in banks.questions.items() if question["kind"] == "words"}
    assert set(banks.questions) == set(POOL) | asked | words
    assert len(words & asked) >= 4
