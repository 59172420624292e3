"""The Python documentation, split without a leak; and a learner's own file, whatever it turns out to be."""

import os
import sys
from pydoc_data.topics import topics

import pytest

from course_lib.data import python_docs, read_text, split_words
from course_lib.real_text import _held_out, _python_docs

STORY = "The lantern is lost, and Mara climbs the stairs. " * 30


def paragraphs(text: str) -> set[str]:
    return {" ".join(one.split()) for one in text.split("\n\n")}


def runs(words: list[str], length: int) -> set[tuple]:
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def test_the_documentation_is_there_and_a_tenth_of_it_is_held_out():
    train, held_out = python_docs(), python_docs("held_out")
    assert len(train) > 250_000
    assert 0.05 < len(held_out) / (len(train) + len(held_out)) < 0.2
    for name, text in topics.items():
        title = text.strip().splitlines()[0]
        assert title in held_out if _held_out(name) else title in train or title in held_out, name


def test_nothing_held_out_is_in_the_training_part():
    train, held_out = paragraphs(python_docs()), paragraphs(python_docs("held_out"))
    assert not train & held_out
    # Beyond whole paragraphs: of runs of twenty words, next to none occurs in both.
    theirs = runs(split_words(python_docs("held_out")), 20)
    assert len(theirs & runs(split_words(python_docs()), 20)) < 0.01 * len(theirs)


def test_each_paragraph_is_there_once_and_none_is_made_up():
    text = "\n\n".join((python_docs(), python_docs("held_out")))
    kept = [" ".join(one.split()) for one in text.split("\n\n")]
    assert len(kept) == len(set(kept))
    source = " ".join(" ".join(topics.values()).split())
    assert all(one in source for one in kept)
    assert not any(set(line.strip()) <= set("*=-^~") and len(line.strip()) > 3 for line in text.splitlines() if line)


def test_a_python_without_documentation_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    _python_docs.cache_clear()
    with pytest.raises(RuntimeError, match=r"carries no documentation .* read_text"):
        python_docs()
    monkeypatch.undo()
    assert python_docs()


def test_a_wrong_split_is_refused():
    with pytest.raises(ValueError, match="split must be one of train, held_out, got 'test'"):
        python_docs("test")


READABLE = [
    (STORY.encode(), "utf-8", STORY),
    (STORY.encode("utf-8-sig"), "utf-8", STORY),
    (STORY.replace(". ", ".\r\n").encode(), "utf-8", STORY.replace(". ", ".\n")),
    (STORY.replace(". ", ".\r").encode(), "utf-8", STORY.replace(". ", ".\n")),
    (STORY.encode("utf-16"), "utf-16", STORY),
    (("Café. " + STORY).encode("cp1252"), "cp1252", "Café. " + STORY),
    (("漢字" * 200).encode(), "utf-8", "漢字" * 200),
    ((STORY + "\x0c\x1b[0m").encode(), "utf-8", STORY + "\x0c\x1b[0m"),
]


@pytest.mark.parametrize(("content", "encoding", "text"), READABLE)
def test_a_text_is_read(tmp_path, content, encoding, text):
    path = tmp_path / "story.txt"
    path.write_bytes(content)
    assert read_text(path, encoding=encoding) == read_text(str(path), encoding=encoding) == text


UNREADABLE = [
    (b"", {}, "is empty; a model needs at least 200"),
    (b" \n\n\t ", {}, "is empty"),
    (b"\xef\xbb\xbf", {}, "is empty"),
    (b"Only four words here", {}, "has only 4 words; a model needs at least 200"),
    (b"word", {"min_words": 2}, "has only 1 word; a model needs at least 2"),
    (STORY.encode(), {"max_bytes": 100}, "larger than 100 bytes"),
    (
        b"One line.\nThe caf\xe9 on line two. " + STORY.encode(),
        {},
        r"not written in utf-8: byte 0xe9 in line 2, at pos.* 17",
    ),
    (STORY.encode() + b"\xe2\x82", {}, "byte 0xe2 in line 1"),
    (("Café. " + STORY).encode(), {"encoding": "ascii"}, "not written in ascii: byte 0xc3"),
    (STORY.encode("utf-16"), {}, 'written in UTF-16, not in UTF-8; read it with encoding="utf-16"'),
    (STORY.encode("utf-16-le"), {}, "holds no plain text"),
    (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 9, {}, "holds no plain text"),
    (STORY.encode() + b"\0", {}, "holds no plain text"),
    (STORY.encode() + b"\x01\x02\x03" * 40, {}, "holds no plain text"),
    (b"abc" + STORY.encode(), {"encoding": "utf-16"}, "not written in utf-16"),
    (STORY.encode(), {"encoding": "utf-99"}, "encoding must be one that Python knows.*'utf-99'"),
    (STORY.encode(), {"encoding": "base64"}, "encoding must be one that Python knows"),
    (STORY.encode(), {"min_words": -1}, "min_words must be at least 0"),
    (STORY.encode(), {"max_bytes": 0}, "max_bytes must be from 1 to"),
]


@pytest.mark.parametrize(("content", "options", "words"), UNREADABLE)
def test_a_file_that_cannot_be_learnt_from_is_told_why(tmp_path, content, options, words):
    path = tmp_path / "story.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_text(path, **options)


def test_a_missing_file_is_told_where_it_was_looked_for(tmp_path, monkeypatch):
    (tmp_path / "story.txt").write_text(STORY)
    with pytest.raises(FileNotFoundError, match=r"does not exist in .*; did you mean story.txt\?") as caught:
        read_text(tmp_path / "storry.txt")
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="nor does its folder"):
        read_text(tmp_path / "none" / "story.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist in") as caught:
        read_text("zzz")
    assert str(tmp_path) in str(caught.value)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder; name a text file in it"):
        read_text(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    with pytest.raises(ValueError, match="a device or a pipe"):
        read_text(tmp_path / "pipe")
    for path in ("", " ", "a\0b", "\ud800", "x" * 5000, None, 3, b"x"):
        with pytest.raises((TypeError, ValueError), match=r"^path (= .*: )?must be the name of a file"):
            read_text(path)
    (tmp_path / "story.txt").write_text(STORY)
    with pytest.raises(TypeError, match="encoding must be the name"):
        read_text(tmp_path / "story.txt", encoding=None)


def test_a_file_that_may_not_be_read_is_told_so(tmp_path, monkeypatch):
    def refused(*args):
        raise PermissionError(13, "Permission denied")  # by hand, because an administrator may read everything

    path = tmp_path / "story.txt"
    path.write_text(STORY)
    monkeypatch.setattr(type(path), "open", refused)
    with pytest.raises(PermissionError, match=r"story.txt' may not be read; check who owns it"):
        read_text(path)
