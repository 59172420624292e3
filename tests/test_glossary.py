"""The glossary: each word is taught where it says, in short plain sentences, and every lesson leads to it."""

import re
from pathlib import Path

import pytest
from hostile_values import VALUES, refused

from course_lib.classroom import rich
from course_lib.classroom.course_map import LESSONS
from course_lib.classroom.glossary import glossary
from course_lib.classroom.glossary_terms import TERMS

SOURCES = {
    file.stem: file.read_text("utf-8") for file in (Path(__file__).parents[1] / "notebooks/source").glob("[0-9]*.md")
}


def section(source: str, heading: str) -> str:
    """A heading of the second level and the text under it, with its code."""
    found = re.search(rf"^## {re.escape(heading)}$.*?(?=^## |\Z)", source, re.DOTALL | re.MULTILINE)
    return found[0] if found else ""


def test_there_are_enough_words_each_once_in_order_of_the_alphabet():
    names = [term.name.lower() for term in TERMS]
    assert len(names) >= 35
    assert names == sorted(set(names))
    assert {term.notebook for term in TERMS} == {one.notebook for one in LESSONS[1:-1]}


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_a_word_is_taught_where_the_glossary_says(term):
    taught = " ".join(section(SOURCES[term.notebook], term.heading).split())
    assert taught, f"{term.notebook} has no heading {term.heading!r}"
    assert re.search(rf"(?<!\w){re.escape(term.seen)}(?!\w)", taught, re.IGNORECASE)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_a_meaning_is_short_plain_and_does_not_begin_with_the_word(term):
    text = rich.plain(term.meaning)
    assert 5 <= len(text.split()) <= 36
    assert text[0].isupper()
    assert text.endswith(".")
    assert not re.search(r"[.!?] [A-Z]", text)  # one sentence
    assert not text.lower().startswith(term.name.lower())


def test_the_table_has_every_word_with_its_link_and_words_without_html():
    page, words = glossary().fallback()["text/html"], repr(glossary())
    assert page.count("<dt") == page.count("<a href=") == len(TERMS) == len(words.splitlines())
    for term in TERMS:
        assert f'href="{term.notebook}.ipynb#' in page
        assert f"{term.name} (lesson {term.notebook[:2]}): " in words


def test_some_words_can_be_looked_up_and_an_unknown_one_is_named():
    assert [term["name"] for term in glossary("State", "kv cache").terms] == ["state", "KV cache"]
    with pytest.raises(ValueError, match=r"'normalizer': the glossary has no such word\. Did you mean 'normaliser'\?"):
        glossary("normalizer")
    with pytest.raises(TypeError, match="name = 3"):
        glossary(3)
    for value in VALUES.values():
        assert refused(lambda value=value: glossary(value), "name = ")


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_lesson_leads_to_the_glossary(name):
    if name == "08_wrap_up":
        assert "\n## Glossary\n" in SOURCES[name]
    else:
        assert "[glossary](08_wrap_up.ipynb#Glossary)" in SOURCES[name]
        assert ("{{words}}" in SOURCES[name]) == any(term.notebook == name for term in TERMS)
