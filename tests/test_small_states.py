"""The pictures and words of what a small state can do are the record's, and the lesson's sentences hold in it."""

import copy

import pytest

from course_lib.classroom import evidence, small_states
from course_lib.recall import ARMS, VALUES


@pytest.fixture(scope="module")
def recall():
    return evidence.load("recall")


@pytest.fixture(scope="module")
def fits():
    return evidence.load("regression")


def test_every_seed_is_drawn_where_it_is(recall):
    (axis,) = small_states.recall_picture(recall, guess=70).axes
    dots = [line for line in axis.lines if line.get_marker() == "o"]
    for dot, arm in zip(dots, ARMS, strict=True):
        shares = [100 * run["recalled"] for run in recall["arms"] if run["arm"] == arm]
        assert list(dot.get_xdata()) == shares
        assert len(shares) == recall["seeds"]
    assert 70 in [line.get_xdata()[0] for line in axis.lines if line.get_color() == small_states.LIGHT["bad"]]
    assert 100 / VALUES in [line.get_xdata()[0] for line in axis.lines]


def test_the_table_is_computed():
    record = {"arms": [{"arm": arm, "recalled": r / 10} for arm in ARMS for r in (1, 2, 6)]}
    assert small_states.recall_in_words(record).splitlines()[0] == f"{next(iter(ARMS)):32}  30 %   (10 to 60)"
    assert small_states.recalled(record, next(iter(ARMS))) == 30


def test_what_lesson_07_says_of_recall_holds(recall):
    last, first, twice, prefix, softmax = (
        [run["recalled"] for run in recall["arms"] if run["arm"] == arm] for arm in ARMS
    )
    assert 0.4 < min(last) <= max(last) < 0.6  # "about half"
    assert min(first) > max(last)
    assert min(prefix) > max(last)
    assert max(twice) - min(twice) > 0.2  # "far apart"
    assert min(softmax) > 0.99  # "needs no help"


def test_what_lesson_07_says_of_fitting_holds(fits):
    one, three = small_states.regression_in_words(fits).splitlines()
    assert one.endswith("the same, seed by seed")
    assert three.endswith("every seed with the prefix mask is better")


def test_seeds_that_overlap_are_not_called_better(fits):
    mixed = copy.deepcopy(fits)
    for run in mixed["arms"]:
        if (run["arm"], run["seed"]) == ("prefix", 0):
            run["error"] = 0.5
    assert small_states.regression_in_words(mixed).splitlines()[1].endswith("their seeds overlap")
    for run in mixed["arms"]:
        if run["arm"] == "prefix":
            run["error"] = 0.5
    assert small_states.regression_in_words(mixed).splitlines()[1].endswith("every seed with the causal mask is better")


def test_every_fit_is_drawn(fits):
    (axis,) = small_states.regression_picture(fits).axes
    drawn = sorted(x for line in axis.lines for x in line.get_xdata())
    assert drawn == pytest.approx(sorted(100 * run["error"] for run in fits["arms"]))
