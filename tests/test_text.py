"""How a learner's text becomes tokens."""

import json
import unicodedata
from pathlib import Path

import pytest
import regex

from course_lib.classroom.text import MAX_CHARACTERS, MAX_TOKENS, quote, show, split_text, well_formed

TEXTS = json.loads(Path(__file__).with_name("texts.json").read_text("utf-8"))
TRICKY = [text["text"] for text in TEXTS] + [
    "a'b'c d''e 'f g' 1.2.3 1..2 .5 5. 1,2,3",
    "👨‍👩‍👧x👍🏽y1️⃣2️⃣",
    "a\u0301\u200d\u200db\u00ad\u00adc",
    "\u0600١٢ \u06dd٣",
    "_x__y_ __init__",
]


def dropped(letter: str) -> bool:
    """What the rule drops, said without its patterns."""
    return letter.isspace() or unicodedata.category(letter) in ("Cc", "Zl", "Zp", "Cf")


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text["name"])
def test_texts_in_many_scripts_are_split_as_written_down(text):
    assert split_text(text["text"]) == text["tokens"]


def test_the_fixture_has_thirty_texts_in_many_scripts():
    scripts = ["Latin", "Greek", "Cyrillic", "Hebrew", "Arabic", "Devanagari", "Tamil", "Hangul", "Ethiopic"]
    scripts += ["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"]
    together = "".join(text["text"] for text in TEXTS)
    assert len(TEXTS) == 30
    assert [script for script in scripts if not regex.search(rf"\p{{Script={script}}}", together)] == []


@pytest.mark.parametrize("text", TRICKY)
def test_nothing_but_space_and_format_characters_is_lost(text):
    kept = "".join(letter for letter in text if not dropped(letter))
    assert "".join(letter for letter in "".join(split_text(text)) if not dropped(letter)) == kept


@pytest.mark.parametrize("text", TRICKY)
def test_no_grapheme_is_ever_broken(text):
    graphemes = regex.findall(r"\X", text)
    for token in split_text(text):
        for part in regex.findall(r"\X", token):
            assert part in graphemes


@pytest.mark.parametrize("text", TRICKY)
def test_tokens_with_spaces_between_are_split_as_they_stand(text):
    tokens = split_text(text)
    assert split_text(" ".join(tokens)) == tokens


def test_nothing_is_no_token():
    assert split_text("") == split_text(" \n\u200b\u00ad\ufeff") == []


def test_at_most_256_tokens():
    assert len(split_text("word " * MAX_TOKENS)) == MAX_TOKENS
    with pytest.raises(ValueError, match="at most 256 tokens, got 257"):
        split_text("word " * (MAX_TOKENS + 1))


def test_at_most_20000_characters():
    assert split_text("a" * MAX_CHARACTERS) == ["a" * MAX_CHARACTERS]
    assert len(split_text("𝔐" * MAX_CHARACTERS)) == 1  # code points are counted, not bytes
    with pytest.raises(ValueError, match="at most 20000 characters, got 1000000"):
        split_text("a" * 1_000_000)


@pytest.mark.parametrize("text", [None, b"bytes", 7, ["a"]])
def test_only_a_str_is_split(text):
    with pytest.raises(TypeError, match="text must be a str, got"):
        split_text(text)


def test_lone_surrogates_are_replaced_and_pairs_joined():
    assert well_formed("a\ud800b\udc00") == "a\ufffdb\ufffd"
    assert split_text("\ud83d\ude00 \ud800") == ["😀", "\ufffd"]


def test_what_is_invisible_is_shown():
    assert [show(token) for token in ["", " the ", "a b", "\n", "\t", "\r", "\0", "\u2028"]] == [
        "∅", "␣the␣", "a b", "↵", "⇥", "↵", "·", "↵",
    ]  # fmt: skip


def test_a_quoted_token_is_short_and_cannot_turn_the_sentence():
    assert quote("Mara") == "‘Mara’"
    assert quote("x" * 24) == f"‘{'x' * 24}’"
    assert quote("x" * 25) == f"‘{'x' * 24}…’"
    family = "👩‍👩‍👧‍👦"
    assert quote(family * 24) == f"‘{family * 24}’"
    assert quote(family * 25) == f"‘{family * 24}…’"
    assert quote("x" * 20_000) == f"‘{'x' * 24}…’"
    marked = "a" + "\u0301" * 239
    assert quote(marked) == f"‘{marked}’"
    assert quote(marked + "\u0301") == f"‘{marked}…’"
    assert quote("مارا") == "‘\u2068مارا\u2069’"
