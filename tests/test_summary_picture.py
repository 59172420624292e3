"""The course on one page shows what the library counts, and says it with the same numbers."""

from course_lib import costs, masks
from course_lib.cache import stale_rows
from course_lib.classroom import summary_picture
from course_lib.classroom.course_map import LESSONS


def test_the_page_has_a_picture_for_every_lesson_with_something_to_draw():
    titles = [axis.get_title(loc="left") for axis in summary_picture.picture().axes]
    assert len(titles) == 8
    named = {number for title in titles for number in title.partition(" · ")[0].split(", ")}
    assert named == {one.number for one in LESSONS} - {"00", "01", "08"}


def test_the_numbers_are_the_librarys():
    n = summary_picture._numbers()
    assert n["looks"] == int(masks.prefix_mask(3, 7).sum()) == costs.allowed_pairs(3, 7)
    assert n["added"] == int((masks.prefix_mask(3, 7) & ~masks.causal_mask(7)).sum())
    assert n["stale"] == sum(map(len, stale_rows(n["before"], n["after"], 8, 3)))
    assert n["rows"] == 24
    assert n["parallel"] < n["serial"]
    assert 0 < n["recalled"] < n["facts"]
    assert n["softmax"] > 1.9
    assert n["linear"] == 0.5


def test_the_words_say_every_number_of_the_titles():
    words = summary_picture.in_words()
    n = summary_picture._numbers()
    for name in ("looks", "added", "before", "after", "stale", "rows", "features", "facts", "recalled", "serial"):
        assert str(n[name]) in words
    assert len(words) > 200
