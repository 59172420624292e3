"""The map tells the truth about the lessons that exist, and works where HTML is not shown."""

import re
from pathlib import Path
from xml.etree import ElementTree

from course_lib.classroom.course_map import LESSONS, _thumbnail, course_map

SOURCES = Path(__file__).parents[1] / "notebooks" / "source"


def test_the_lessons_are_those_that_exist():
    assert {one.notebook for one in LESSONS} == {file.stem for file in SOURCES.glob("[0-9]*.md")}


def test_every_lesson_has_its_link():
    html = course_map()._repr_html_()
    assert re.findall(r'href="([^"]+)"', html) == [f"{one.notebook}.ipynb" for one in LESSONS]


def test_the_map_in_words_names_every_lesson():
    words = repr(course_map())
    assert all(f"{one.number} {one.title}: {one.claim}" in words for one in LESSONS)


def test_every_thumbnail_is_a_picture_of_its_own():
    drawings = [_thumbnail(one.picture) for one in LESSONS]
    assert len(set(drawings)) == len(LESSONS)
    for drawing in drawings:
        assert len(ElementTree.fromstring(drawing)) >= 2  # paper, and something on it
