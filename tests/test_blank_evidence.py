"""What is said and drawn of the blank arms follows from the record."""

import pytest

from course_lib.blank_arms import BLANK_ARMS
from course_lib.classroom import blank_evidence as evidence
from course_lib.classroom.evidence import load, of_arm

SHARES = {  # filled in reverse, three seeds
    BLANK_ARMS[0]: [0.50, 0.52, 0.48],
    BLANK_ARMS[1]: [0.30, 0.28, 0.31],
    BLANK_ARMS[2]: [0.47, 0.44, 0.49],
    BLANK_ARMS[3]: [0.46, 0.47, 0.45],
    BLANK_ARMS[4]: [0.10, 0.11, 0.12],
}


def record(shares=SHARES):
    runs = [
        {"arm": arm, "seed": seed, "filled in order": 0.5, "filled reversed": share}
        | {"tokens_read": 600_000, "tokens_taught": 200_000}
        for arm, seeds in shares.items()
        for seed, share in enumerate(seeds)
    ]
    return {"arms": runs}


def test_the_part_that_is_missed_most_is_one_without_which_every_seed_is_worse():
    assert evidence.missed_most(record()) == "shuffled blanks"
    assert evidence.missed_most(record(SHARES | {BLANK_ARMS[1]: [0.3, 0.28, 0.49]})) == "block positions"
    same = record({arm: [0.4, 0.5, 0.6] for arm in BLANK_ARMS})
    assert evidence.missed_most(same) == evidence.NONE


def test_a_dot_for_each_seed():
    figure = evidence.picture(record())
    dots = [line.get_xdata() for line in figure.axes[1].lines if line.get_marker() == "o"]
    for drawn, shares in zip(dots, SHARES.values(), strict=True):
        assert list(drawn) == pytest.approx([100 * share for share in shares])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(BLANK_ARMS)
    assert "600 k tokens read, 200 k carried loss" in figure.get_supxlabel()


def test_the_words_have_means_and_ranges():
    assert "GLM: 50% in order (50% to 50%), 50% reversed (48% to 52%)" in evidence.in_words(record())


def test_lesson_04_says_what_the_record_says():
    """Its prose was written from this record: whoever records anew, and finds otherwise, must write it anew."""
    results = load("glm")
    assert evidence.missed_most(results) == "shuffled blanks"
    in_order, reverse = (
        {arm: of_arm(results, arm, f"filled {order}") for arm in BLANK_ARMS} for order in evidence.ORDERS
    )
    whole, unshuffled, own_masks, no_blocks, original = BLANK_ARMS
    assert max(in_order[unshuffled]) < min(in_order[whole])  # no seed reaches GLM's
    assert sum(in_order[unshuffled]) / 3 > 0.85 * sum(in_order[whole]) / 3  # a little worse in the order of the text
    assert sum(reverse[unshuffled]) / 3 < 0.75 * sum(reverse[whole]) / 3  # and far worse in reverse
    for arm in (own_masks, no_blocks):  # no difference that three seeds can show
        assert max(reverse[arm]) > min(reverse[whole])
        assert max(in_order[arm]) >= min(in_order[whole])
    for order in (in_order, reverse):  # win by far
        others = [max(order[arm]) for arm in BLANK_ARMS if arm != original]
        assert min(order[original]) > max(others) + 0.1
