"""The checker finds what is kept and what is lost: by hand, on right stories, and on stories of other outlines."""

from itertools import islice, pairwise

import pytest

from course_lib.data import CARDS, Outline, follows, read_outline, storyteller
from course_lib.story_check import _marks
from course_lib.story_words import THINGS

OUTLINE = "Mara, bat, fox, storm, forest, feast."
STORY = (
    "Mara walks to the forest. A wild storm howls all day. There she finds a bat. It folds its wings and hangs upside "
    "down. “What is it?” asks the fox. They watch it chase moths at dusk. The day ends with a feast of bread and plums."
)
ALL = {*CARDS, "meaning"}


def test_a_right_story_keeps_all():
    report = follows(OUTLINE, STORY)
    assert set(report.kept) == ALL
    assert report.lost == {}
    assert (report.score, report.sentences, report.well_made) == (1.0, 7, 7)
    assert str(report).startswith("The story keeps 7 of 7.\n  kept hero: Mara\n")
    assert str(report).endswith("  kept meaning: bat (an animal)\n7 of 7 sentences are well made.")


CHANGES = [
    ("Mara walks", "Nell walks", "hero", "the outline says Mara, the story says Nell", 7),
    ("Mara walks", "Someone walks", "hero", "the outline says Mara, the story names no hero", 6),
    ("There she", "There he", "hero", "Mara is a she, the story says he", 7),
    ("a bat", "a seal", "thing", "the outline says bat, the story says seal", 7),
    ("the fox", "the fox and the owl", "friend", "the outline says fox, the story says owl", 6),
    ("A wild storm howls all day.", "", "weather", "the outline says storm, the story names no weather", 6),
    ("to the forest", "to the castle", "place", "the outline says forest, the story says castle", 7),
    (
        "a feast of bread",
        "a song and a dance of bread",
        "ending",
        "the outline says feast, the story says song and dance",
        6,
    ),
]


@pytest.mark.parametrize(("old", "new", "kind", "why", "well_made"), CHANGES)
def test_one_change_loses_one_card(old, new, kind, why, well_made):
    assert STORY.count(old) == 1
    report = follows(OUTLINE, STORY.replace(old, new))
    assert report.lost == {kind: why}
    assert set(report.kept) == ALL - {kind}
    assert report.score == 6 / 7
    assert f"LOST {kind}: {why}" in str(report)
    assert report.well_made == well_made


def test_the_other_meaning_is_told_apart():
    told = STORY.replace("It folds its wings and hangs upside down.", "It is carved of wood and fits both hands.")
    told = told.replace("They watch it chase moths at dusk.", "They hit a ball over the roof.")
    lost = "bat (an animal) is asked for, the story tells of a bat (a club)"
    assert follows(OUTLINE, told).lost == {"meaning": lost}
    assert follows(OUTLINE.replace("forest", "market"), told.replace("forest", "market")).lost == {}
    told = STORY.replace("It folds its wings and hangs upside down.", "").replace(
        "They watch it chase moths at dusk.", ""
    )
    assert follows(OUTLINE, told).lost == {
        "meaning": "bat (an animal) is asked for, the story does not tell what it is"
    }


def test_a_story_that_tells_both_meanings_keeps_neither():
    both = STORY + " It is carved of wood and fits both hands. They hit a ball over the roof."
    lost = "is asked for, the story tells of a bat (an animal) and of a bat (a club)"
    assert follows(OUTLINE, both).lost == {"meaning": f"bat (an animal) {lost}"}
    town = both.replace("forest", "market")
    assert follows(OUTLINE.replace("forest", "market"), town).lost == {"meaning": f"bat (a club) {lost}"}


def test_a_card_that_is_not_on_the_table_must_not_turn_up():
    report = follows("Mara, bat, fox, forest", STORY)
    assert report.lost == {
        "weather": "the outline has no weather, the story says storm",
        "ending": "the outline has no ending, the story says feast",
    }
    assert set(follows("Mara bat fox forest", "").lost) == {"hero", "thing", "friend", "place", "meaning"}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_every_story_keeps_its_own_outline(split):
    for outline, story in islice(storyteller(0, split), 400):
        report = follows(outline, story)
        assert report.lost == {}, report
        assert report.well_made == report.sentences


def test_a_story_of_another_outline_keeps_little():
    pairs = list(islice(storyteller(1), 400))
    scores = [follows(outline, story).score for (outline, _), (_, story) in pairwise(pairs)]
    assert sum(scores) / len(scores) < 0.15
    assert max(scores) < 1


def test_a_babble_of_the_right_words_is_not_well_made():
    report = follows(OUTLINE, "Mara bat fox storm forest feast wings moths")
    assert (report.sentences, report.well_made) == (1, 0)


def test_an_empty_story_keeps_nothing():
    report = follows(OUTLINE, "")
    assert (report.kept, report.score, report.sentences, report.well_made) == ({}, 0.0, 0, 0)
    assert set(report.lost) == ALL


def test_a_story_that_breaks_off_has_an_unfinished_sentence():
    report = follows(OUTLINE, "Mara walks to the forest. A wild")
    assert (report.sentences, report.well_made) == (2, 1)


def test_each_meaning_has_words_that_no_other_has():
    marks = _marks()
    assert set(marks) == {(thing, side) for thing in THINGS for side in ("wild", "town")}
    assert all(len(words) >= 3 for words in marks.values())


def test_an_outline_may_be_given_read_or_as_text():
    assert follows(read_outline(OUTLINE), STORY) == follows(OUTLINE, STORY)
    assert isinstance(read_outline(OUTLINE), Outline)


def test_bad_input_is_refused_in_words():
    with pytest.raises(TypeError, match="story must be a str"):
        follows(OUTLINE, None)
    with pytest.raises(ValueError, match="outline is empty"):
        follows("", STORY)
