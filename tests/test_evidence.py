"""Sentences and pictures follow from the record: what overlaps is not called better, and every dot is a number."""

import copy
from statistics import mean

import pytest

from course_lib.arms import ARMS
from course_lib.classroom import evidence, published

EVERYWHERE, CAUSAL, PREFIX = ARMS
LOSSES = {  # of three seeds
    "stories": {EVERYWHERE: [0.31, 0.33, 0.32], CAUSAL: [0.30, 0.34, 0.33], PREFIX: [0.32, 0.31, 0.30]},
    "docs": {EVERYWHERE: [4.0, 4.1, 3.9], CAUSAL: [4.4, 4.3, 4.5], PREFIX: [4.45, 4.35, 4.2]},
}
SWEEP = {"fixed": [[6.0, 4.0, 4.4], [6.2, 4.1, 4.5]], "drawn": [[5.0, 4.05, 4.2], [5.2, 4.2, 4.3]]}


def record():
    """A record whose numbers are chosen for their overlaps."""
    arms = [
        {"data": data, "arm": arm, "seed": seed, "loss": loss, "tokens_read": 1_500_000, "tokens_taught": 40_000 + seed}
        | ({"cards_kept": [0.9, 1.0, 0.95][seed], "story": f"{arm} {seed} wrote this."} if data == "stories" else {})
        for data, of_arms in LOSSES.items()
        for arm, losses in of_arms.items()
        for seed, loss in enumerate(losses)
    ]
    sweep = [
        {"trained": trained, "seed": seed, "losses": losses, "tokens_read": 900_000, "tokens_taught": 450_000}
        for trained, curves in SWEEP.items()
        for seed, losses in enumerate(curves)
    ]
    about = {"seeds": 3, "machine": "a machine", "date": "2026-01-02", "command": "make experiments"}
    return about | {
        "arms": arms,
        "sweep": sweep,
        "prefix_lens": [1, 32, 63],
        "fixed_prefix": 32,
        "window_len": 64,
        "outline": "Omar, bat, queen, island.",
    }


def test_an_arm_wins_only_if_all_of_its_seeds_are_better():
    results = record()
    assert evidence.winner(results, "docs") == EVERYWHERE
    assert evidence.winner(results, "stories") == evidence.NO_WINNER
    words = evidence.arms_in_words(results)
    assert f"On the Python documentation, every seed of «{EVERYWHERE}» is better than every seed of the others" in words
    assert f"On the storyteller's stories, «{PREFIX}» has the lowest mean, but its seeds overlap" in words
    assert f"{CAUSAL} 4.400 (4.300 to 4.500)" in words


def test_one_that_beats_only_one_of_the_others_is_said_so():
    results = record()
    for run in results["arms"]:
        if (run["data"], run["arm"], run["seed"]) == ("docs", PREFIX, 2):
            run["loss"] = 4.05  # under the worst seed of the winner
    assert evidence.winner(results, "docs") == evidence.NO_WINNER
    assert (
        f"every seed of «{EVERYWHERE}» beats every seed of «{CAUSAL}», but not of the other"
        in evidence.arms_in_words(results)
    )


def test_the_arms_picture_has_a_dot_for_each_seed_and_says_what_was_read():
    results = record()
    axes = evidence.arms_picture(results).axes
    for axis, of_arms in zip(axes, LOSSES.values(), strict=True):
        dots = [line.get_xdata().tolist() for line in axis.lines if line.get_marker() == "o"]
        assert dots == list(of_arms.values())
        bars = [line.get_xdata()[0] for line in axis.lines if line.get_marker() != "o"]
        assert bars == pytest.approx([mean(losses) for losses in of_arms.values()])
        assert axis.get_title().endswith("\n1.50 M tokens read, 40 k carried loss")  # alike for all: said once
    assert [label.get_text() for label in axes[0].get_yticklabels()] == list(ARMS)
    for run in results["arms"]:
        run["tokens_taught"] += 20_000 * (run["arm"] == EVERYWHERE)
    for axis in evidence.arms_picture(results).axes:
        for label, arm in zip(axis.get_yticklabels(), ARMS, strict=True):
            taught = "60 k" if arm == EVERYWHERE else "40 k"
            assert label.get_text() == f"{arm}\n1.50 M tokens read, {taught} carried loss"


def test_two_arms_are_called_by_their_names():
    results = record()
    results["arms"] = [run for run in results["arms"] if run["arm"] != CAUSAL]
    words = evidence.arms_in_words(results)
    assert f"every seed of «{EVERYWHERE}» is better than every seed of «{PREFIX}»" in words
    assert "but its seeds overlap with those of the other:" in words


def test_the_sweep_is_drawn_and_said():
    results = record()
    axis = evidence.sweep_picture(results).axes[0]
    curves = [list(line.get_ydata()) for line in axis.lines if len(line.get_xdata()) == 3]
    assert curves[:2] == SWEEP["fixed"]
    assert curves[3:5] == SWEEP["drawn"]
    assert curves[2] == pytest.approx([6.1, 4.05, 4.45])
    words = evidence.sweep_in_words(results)
    assert "At P = 32, where the fixed models were trained, it is 4.05 with P fixed and 4.12 with P drawn." in words
    assert "differ most at P = 1: 6.10 with P fixed and 5.10 with P drawn." in words


def test_the_weak_spot_is_where_no_seed_overlaps_and_the_gap_is_largest():
    results = record()
    assert evidence.weak_spot(results) == evidence.BELOW
    above = copy.deepcopy(results)
    for run in above["sweep"]:
        run["losses"][0] = 5.0
    assert evidence.weak_spot(above) == evidence.ABOVE
    for run in above["sweep"]:
        run["losses"][2] = 5.0
    assert evidence.weak_spot(above) == evidence.NOWHERE


def test_stories_are_those_of_the_first_seed_with_what_all_seeds_kept():
    told = evidence.stories(record())
    for arm in ARMS:
        assert f"{arm} (cards kept, seed by seed: 90.0%, 100.0%, 95.0%)\n{arm} 0 wrote this." in told


def test_where_it_comes_from_is_said():
    said = evidence.provenance(record())
    for part in ("3 seeds", "a machine", "2026-01-02", "make experiments"):
        assert part in said


def test_an_unknown_record_is_refused():
    with pytest.raises(
        ValueError,
        match="name must be one of glm, glm_docs, linear, palm, prefix_lm, recall, regression, got 'nothing'",
    ):
        evidence.load("nothing")


# --- what others published ---


def test_published_numbers_are_those_of_the_tables():
    """Typed once more, from the tables: T5's 2, Wang's 3 and 8, Ding's 8, Transfusion's 5, U-PaLM's MMLU."""
    pairs = [(one.causal, one.both_ways) for one in published.PUBLISHED]
    t5 = [(74.70, 81.82), (61.14, 78.94), (55.02, 68.11), (73.78, 79.68), (53.81, 76.87)]
    wang = [
        (44.2, 43.5),
        (42.4, 41.8),
        (50.4, 48.9),
        (51.4, 54.0),
        (47.1, 51.0),
        (50.3, 55.2),
        (51.3, 52.3),
        (52.1, 52.0),
    ]
    others = [(43.3, 46.6), (61.0, 64.8), (78.0, 81.4), (69.3, 70.7), (12.7, 16.0)]
    assert pairs == t5 + wang + others


def test_the_published_picture_shows_the_numbers():
    drawn = published.picture().axes[0]
    for marker, name in (("s", "causal"), ("o", "both_ways")):
        values = [getattr(one, name) for one in published.PUBLISHED]
        assert [line.get_xdata()[0] for line in drawn.lines if line.get_marker() == marker] == values
    rows = [label.get_text() for label in drawn.get_yticklabels()]
    assert rows == [f"{one.source}: {one.what}" for one in published.PUBLISHED]


def test_the_gains_are_those_of_the_same_numbers_and_sorted():
    (bars,) = published.gains().data
    assert len(set(bars.y)) == len(bars.y) == len(published.PUBLISHED)  # equal names would fall in one row
    found = {row: (gain, *scores) for row, gain, scores in zip(bars.y, bars.x, bars.customdata, strict=True)}
    for one in published.PUBLISHED:
        gain, causal, both_ways = found[f"{one.what} · {one.source}"]
        assert (causal, both_ways) == (one.causal, one.both_ways)
        assert gain == pytest.approx(one.both_ways - one.causal)
    assert list(bars.x) == sorted(bars.x, reverse=True)


def test_the_published_sentence_counts_right():
    words = published.in_words()
    behind = [one for one in published.PUBLISHED if one.both_ways <= one.causal]
    assert f"both ways is ahead in {len(published.PUBLISHED) - len(behind)}" in words
    assert all(f"{one.what} in {one.source}" in words for one in behind)
    assert len(behind) == 4


def test_lesson_03_says_what_the_record_says():
    """Its prose was written from this record: whoever records anew, and finds otherwise, must write it anew."""
    results = evidence.load("prefix_lm")
    assert evidence.winner(results, "docs") == EVERYWHERE
    assert evidence.winner(results, "stories") == evidence.NO_WINNER
    causal, prefix = (evidence.of_arm(results, arm, "loss", "docs") for arm in (CAUSAL, PREFIX))
    assert min(causal) < max(prefix)
    assert min(prefix) < max(causal)  # the seeds lie on top of each other
    assert evidence.weak_spot(results) == evidence.BELOW
    _, gaps = evidence._gaps(results)
    home = results["prefix_lens"].index(results["fixed_prefix"])
    assert gaps[:home] == sorted(gaps[:home], reverse=True)  # the more so the shorter the prefix
    assert all(gap < 0 for gap in gaps[home:])  # a little better where they were trained, and beyond
    assert max(map(abs, gaps)) < 0.2  # a slope and no cliff
    kept = [evidence.of_arm(results, arm, "cards_kept", "stories") for arm in ARMS]
    assert [sum(share < 1 for share in of_seeds) for of_seeds in kept] == [2, 2, 0]  # four of nine, all of them causal
    assert [sum(share < 0.99 for share in of_seeds) for of_seeds in kept] == [2, 1, 0]  # one of them hardly any
    losses = [evidence.of_arm(results, arm, "loss", "stories") for arm in ARMS]
    for arm in (0, 1):  # the other two, with losses as low as those of the prefix LMs
        whole = [loss for loss, share in zip(losses[arm], kept[arm], strict=True) if share == 1]
        assert max(whole) <= max(losses[2])


def test_lesson_05_says_what_its_record_says():
    """At lesson 03's rate every serial model is better; at half of it, and on the documentation, no one is."""
    results = evidence.load("palm")
    assert evidence.winner(results, "stories") == "serial"
    assert evidence.winner(results, "stories, half rate") == evidence.NO_WINNER
    assert evidence.winner(results, "docs") == evidence.NO_WINNER


def test_lesson_06_says_what_its_record_says():
    """Dividing is better in every seed, the norm does not mend it, and softmax is ahead of all."""
    results = evidence.load("linear")
    of_arm = {arm: evidence.of_arm(results, arm, "loss", "stories, half rate") for arm in evidence.arms_of(results)}
    softmax, divided, plain, normed = of_arm.values()
    assert list(of_arm) == ["softmax", "divided by the sum", "not divided", "not divided, normed"]
    assert max(softmax) < min(divided)
    assert max(divided) < min(*plain, *normed)
    assert max(plain) < min(normed)
