"""Words to ids and back: the rule that splits, the ids that never move, and what an unknown word is told."""

import os
import random

import pytest
import torch

from course_lib.data import UnknownWordsError, Vocabulary, join_words, split_words

SPLITS = [
    ("", []),
    (" \n\t", []),
    ("Mara isn’t here.", ["Mara", "isn’t", "here", "."]),
    ("don't 'quote' me", ["don't", "'", "quote", "'", "me"]),
    ("x_1 = 3.5", ["x_1", "=", "3", ".", "5"]),
    ("[MASK]", ["[", "MASK", "]"]),
    ("cafe\u0301", ["café"]),
    ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
    ("漢字です。", ["漢", "字", "で", "す", "。"]),
    ("ที่นี่", ["ที่", "นี่"]),
    ("a😀b", ["a", "😀", "b"]),
    ("\u0301a", ["\u0301", "a"]),
]


@pytest.mark.parametrize(("text", "words"), SPLITS)
def test_text_is_split_by_the_rule(text, words):
    assert split_words(text) == words
    assert split_words(join_words(words)) == words


@pytest.mark.parametrize(
    "text",
    [
        "Mara walks to the lake.",
        "“What is it?” asks the fox.",
        "Look, there is a bat!",
        "A list (of three): one, two; three.",
        "漢字です",
    ],
)
def test_text_is_written_as_it_was_read(text):
    assert join_words(split_words(text)) == text


def test_what_is_joined_is_split_into_the_same_words():
    rng = random.Random(0)
    pieces = [
        "a",
        "b'c",
        "1",
        "_",
        "'",
        "’",
        '"',
        "“",
        "”",
        "(",
        ")",
        "-",
        ".",
        ",",
        "字",
        "で",
        "ที",
        "\u0301",
        "ि",
        "😀",
    ]
    for _ in range(3000):
        words = [rng.choice(pieces) for _ in range(rng.randrange(8))]
        words = [word for text in words for word in split_words(text)]
        assert split_words(join_words(words)) == words


def test_special_tokens_have_the_same_ids_in_every_vocabulary():
    small, large = Vocabulary(["a"]), Vocabulary.from_texts(["b c d e f"])
    names = ["PAD", "BOS", "EOS", "UNK", "MASK", "GMASK", "START", "END", "PRE", "SUF", "MID", "NLU", "S2S", "NLG"]
    names += [f"SENTINEL_{n}" for n in range(32)]
    ids = [getattr(small, name) for name in names]
    assert ids == [getattr(large, name) for name in names] == list(range(46))
    assert [small.token(id) for id in ids] == [f"[{name}]" for name in names]
    assert [small.sentinel(n) for n in (0, 31)] == [small.SENTINEL_0, small.SENTINEL_31]
    assert all(small.is_special(id) for id in ids)
    assert not small.is_special(46)
    assert small.first_word == 46
    assert len(small) == 47


def test_encode_and_decode():
    vocabulary = Vocabulary(["a", "bat", ".", "Mara", "sees"])
    ids = vocabulary.encode("Mara sees a bat.")
    assert [id - vocabulary.first_word for id in ids] == [3, 4, 0, 1, 2]
    assert vocabulary.decode(ids) == vocabulary.decode(torch.tensor(ids)) == "Mara sees a bat."
    marked = [vocabulary.BOS, *ids, vocabulary.EOS, vocabulary.PAD]
    assert vocabulary.decode(marked) == "[BOS] Mara sees a bat. [EOS] [PAD]"
    assert vocabulary.decode(marked, specials=False) == "Mara sees a bat."
    assert vocabulary.encode("") == []
    assert vocabulary.decode([]) == ""


def test_no_text_is_ever_a_special_token():
    vocabulary = Vocabulary.from_texts(["the [MASK] is [PAD]"])
    assert all(not vocabulary.is_special(id) for id in vocabulary.encode("[MASK] [PAD]"))


def test_unknown_words_are_listed_each_once_with_a_word_that_is_near():
    vocabulary = Vocabulary.from_texts(["Mara sees the lantern ."])
    with pytest.raises(UnknownWordsError) as caught:
        vocabulary.encode("mara sees Zanzibar, the latern and Zanzibar.")
    assert caught.value.words == ("mara", "Zanzibar", ",", "latern", "and")
    assert isinstance(caught.value, ValueError)
    for told in ("has 5 words", "‘mara’ (did you mean ‘Mara’?)", "‘Zanzibar’,", "‘latern’ (did you mean ‘lantern’?)"):
        assert told in str(caught.value)
    ids = vocabulary.encode("the latern sees Zanzibar", unknown="unk")
    assert vocabulary.decode(ids) == "the [UNK] sees [UNK]"


def test_a_long_list_of_unknown_words_is_cut():
    with pytest.raises(UnknownWordsError, match=r"has 40 words .* and 28 more") as caught:
        Vocabulary(["a"]).encode(" ".join(f"{i}{'x' * 50}" for i in range(40)))
    assert len(str(caught.value)) < 1000
    assert len(caught.value.words) == 40


def test_words_come_by_frequency_then_by_letters_whatever_the_order_of_the_texts():
    texts = ["b a c", "c d", "c b"]
    assert Vocabulary.from_texts(texts).words == Vocabulary.from_texts(texts[::-1]).words == ("c", "b", "a", "d")
    assert Vocabulary.from_texts(texts, max_words=3).words == ("c", "b", "a")
    assert Vocabulary.from_texts(texts, min_count=2).words == ("c", "b")


def test_saved_and_loaded_it_is_the_same(tmp_path):
    vocabulary = Vocabulary.from_texts(["Mara’s “bat” 漢字 हिन्दी café"], sentinels=5)
    vocabulary.save(tmp_path / "words.json")
    loaded = Vocabulary.load(tmp_path / "words.json")
    assert loaded == vocabulary
    assert hash(loaded) == hash(vocabulary)
    assert loaded.fingerprint == vocabulary.fingerprint
    assert loaded.encode("Mara’s 漢字") == vocabulary.encode("Mara’s 漢字")
    others = [Vocabulary(vocabulary.words), Vocabulary(vocabulary.words[::-1], sentinels=5), Vocabulary(["a"])]
    assert all(other != vocabulary and other.fingerprint != vocabulary.fingerprint for other in others)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no vocabulary, or a damaged one"),
        (b'{"format": "course_lib vocab', "no vocabulary, or a damaged one"),
        (b"\xff\xfe", "no vocabulary, or a damaged one"),
        (b"[1, 2]", "no vocabulary of this course"),
        (b'{"format": "course_lib vocabulary", "version": 2}', "no vocabulary of this course"),
        (b'{"format": "course_lib vocabulary", "version": 1, "sentinels": 2, "words": [1]}', "no list of words"),
        (
            b'{"format": "course_lib vocabulary", "version": 1, "sentinels": 2, "words": ["a", "a"]}',
            "'a' more than once",
        ),
        (b'{"format": "course_lib vocabulary", "version": 1, "words": ["a"]}', "sentinels"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_by_name(tmp_path, content, words):
    path = tmp_path / "words.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words) as caught:
        Vocabulary.load(path)
    assert str(path) in str(caught.value)


BAD = [
    (lambda: split_words(3), TypeError, "text must be a str"),
    (lambda: Vocabulary("ab"), TypeError, "one str"),
    (lambda: Vocabulary(["a", "b", "a"]), ValueError, "'a' more than once"),
    (lambda: Vocabulary(["a b"]), ValueError, "one word each"),
    (lambda: Vocabulary([""]), ValueError, "one word each"),
    (lambda: Vocabulary(["a"], sentinels=-1), ValueError, "sentinels"),
    (lambda: Vocabulary.from_texts("text"), TypeError, "one str"),
    (lambda: Vocabulary.from_texts([]), ValueError, "nothing to learn"),
    (lambda: Vocabulary.from_texts(["a b"], min_count=2), ValueError, "at least 2 times"),
    (lambda: Vocabulary.from_texts(["a"], max_words=0), ValueError, "max_words"),
    (lambda: Vocabulary(["a"]).encode("a", unknown="skip"), ValueError, "unknown must be one of error, unk"),
    (lambda: Vocabulary(["a"]).decode([47]), ValueError, r"ids\[0\] must be from 0 to len\(vocabulary\) - 1 = 46"),
    (lambda: Vocabulary(["a"]).decode([-1]), ValueError, "got -1"),
    (lambda: Vocabulary(["a"]).decode(torch.zeros(2, 2, dtype=torch.int64)), ValueError, "one-dimensional"),
    (lambda: Vocabulary(["a"]).sentinel(32), ValueError, "n must be from 0 to sentinels - 1 = 31, got 32"),
    (lambda: Vocabulary(["a"], sentinels=0).sentinel(0), ValueError, "has no sentinel token"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: join_words("abc"), "words must be a list of str, got 'abc'"),
        (lambda: join_words([None]), r"words\[0\] must be a str, got None"),
        (lambda: Vocabulary(None), "words must be a list of str, got None"),
        (lambda: Vocabulary([["a"]]), r"words\[0\] must be a str, got \['a'\]"),
        (lambda: Vocabulary.from_texts([1]), r"texts\[0\] must be a str, got 1"),
        (lambda: Vocabulary(["a"], sentinels=2**24), "sentinels must be from 0 to 65536"),
    ],
)
def test_what_are_no_words_is_refused_by_name(call, words):
    with pytest.raises((TypeError, ValueError), match=words):
        call()


def test_an_interrupted_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "words.json"
    Vocabulary(["a"]).save(path)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Vocabulary(["b"]).save(path)
    assert Vocabulary.load(path) == Vocabulary(["a"])
    assert [one.name for one in tmp_path.iterdir()] == ["words.json"]
