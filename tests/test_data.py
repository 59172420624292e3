"""Batches: what lies where, that they are the same for a seed and step, and that a model learns from them."""

import pytest
import torch

from course_lib import data
from course_lib.data import (
    Vocabulary,
    encode_story,
    read_outline,
    split_words,
    story_batch,
    story_vocabulary,
    text_batch,
    text_windows,
)

WORDS = story_vocabulary()
OUTLINE = "Mara, bat, fox, forest."


def test_all_of_the_data_can_be_imported_from_one_place():
    assert all(hasattr(data, name) for name in data.__all__)
    assert data.Vocabulary is Vocabulary


def test_an_outline_is_the_prefix_and_the_story_the_target():
    ids, prefix_len = encode_story(WORDS, OUTLINE, "Mara sees a bat and stops.")
    assert ids[0] == WORDS.BOS
    assert ids[-1] == WORDS.EOS
    assert WORDS.decode(ids[1:prefix_len]) == OUTLINE
    assert WORDS.decode(ids[prefix_len:-1]) == "Mara sees a bat and stops."
    assert encode_story(WORDS, "forest fox bat Mara") == (ids[:prefix_len], prefix_len)
    with pytest.raises(ValueError, match="outline is empty"):
        encode_story(WORDS, "")
    with pytest.raises(ValueError, match="‘dragon’"):
        encode_story(WORDS, OUTLINE, "Mara sees a dragon.")


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_a_batch_holds_stories_of_its_split_with_padding_behind(split):
    tokens, prefix_len, lengths = story_batch(WORDS, 20, 0, split=split)
    assert tokens.shape == (20, max(lengths))
    assert {one.dtype for one in (tokens, prefix_len, lengths)} == {torch.int64}
    assert set(prefix_len.tolist()) == {9, 11, 13}  # BOS, then four to six cards with a mark behind each
    for row, prefix, length in zip(tokens.tolist(), prefix_len, lengths, strict=True):
        assert row[0] == WORDS.BOS
        assert row[length - 1] == WORDS.EOS
        assert row[length:] == [WORDS.PAD] * (len(row) - length)
        outline = read_outline(WORDS.decode(row[1:prefix]))
        assert outline.split == split
        assert data.follows(outline, WORDS.decode(row[prefix : length - 1])).lost == {}


def test_a_batch_is_a_function_of_its_seed_and_step():
    def batch(**changes):
        return story_batch(WORDS, 8, **{"seed": 0, "step": 0, **changes}).tokens

    assert torch.equal(batch(), batch())
    others = [batch(step=1), batch(seed=1), batch(seed=1, step=1), batch(split="held_out")]
    rows = [tuple(WORDS.decode(row, specials=False) for row in one) for one in [batch(), *others]]
    assert (
        len({text for row in rows for text in row}) == 5 * 8
    )  # nothing in common: seed 0, step 1 is not seed 1, step 0


def test_a_vocabulary_that_lacks_words_of_the_stories_is_told_which():
    with pytest.raises(data.UnknownWordsError, match="does not know"):
        story_batch(Vocabulary(["Mara"]), 2, 0)


def test_windows_lie_side_by_side():
    assert text_windows(list(range(11)), 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert text_windows(torch.arange(8), 4).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert text_windows([5, 6], 2).tolist() == [[5, 6]]


def test_a_batch_of_text_comes_from_anywhere_and_is_the_same_for_a_seed_and_step():
    ids = list(range(100, 110))
    batch = text_batch(ids, 600, 4, 0)
    assert batch.shape == (600, 4)
    assert torch.equal(batch, text_batch(torch.tensor(ids), 600, 4, 0))
    assert not torch.equal(batch, text_batch(ids, 600, 4, 0, step=1))
    starts = batch[:, 0].tolist()
    assert torch.equal(batch, torch.tensor([[start, start + 1, start + 2, start + 3] for start in starts]))
    assert set(starts) == set(range(100, 107))  # the first window and the last one too
    assert min(starts.count(start) for start in set(starts)) > 600 / 7 / 2
    assert text_batch(ids, 2, 10, 0).tolist() == [ids, ids]


BAD = [
    (lambda: story_batch(WORDS, 0, 0), "batch_size must be at least 1"),
    (lambda: story_batch(WORDS, 2, -1), "seed must be at least 0"),
    (lambda: story_batch(WORDS, 2, 0, step=-1), "step must be at least 0"),
    (lambda: story_batch(WORDS, 2, 0, split="all"), "split must be one of train, held_out"),
    (lambda: text_windows([1, 2, 3], 4), "ids must be at least window_len = 4 tokens long, got 3"),
    (lambda: text_windows([1, 2, 3], 1), "window_len must be at least 2"),
    (lambda: text_windows(torch.zeros(2, 3, dtype=torch.int64), 2), "ids must be one-dimensional"),
    (lambda: text_batch([], 2, 2, 0), "got 0"),
    (lambda: text_batch([1, 2], 0, 2, 0), "batch_size"),
]


@pytest.mark.parametrize(("call", "words"), BAD)
def test_bad_input_is_refused_in_words(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_what_a_story_says_can_be_learnt_from_its_outline_alone():
    """A bag of cards and a linear map tell which words the story will have.

    That a story depends on its outline is seen from outside the grammar: trained on the training part, the words of
    held-out stories are told far better than by how frequent they are.
    """

    def bags(split: str, number: int):
        tokens, prefix_len, _ = story_batch(WORDS, number, 0, split=split)
        in_outline = torch.arange(tokens.shape[1]) < prefix_len[:, None]
        outline, story = (
            torch.zeros(number, len(WORDS)).scatter_(1, tokens * part, 1)[:, WORDS.first_word :]
            for part in (in_outline, ~in_outline)
        )
        return outline, story

    cards, words = bags("train", 1500)
    solution = torch.linalg.lstsq(torch.cat([cards, torch.ones(len(cards), 1)], 1), words, driver="gelsd").solution
    cards, unseen = bags("held_out", 300)
    told = torch.cat([cards, torch.ones(len(cards), 1)], 1) @ solution
    assert ((told - unseen) ** 2).mean() < 0.5 * ((words.mean(0) - unseen) ** 2).mean()


def test_real_text_goes_from_words_to_windows():
    text = data.python_docs("held_out")
    vocabulary = Vocabulary.from_texts([data.python_docs()], max_words=3000)
    ids = vocabulary.encode(text, unknown="unk")
    assert len(ids) == len(split_words(text))
    assert ids.count(vocabulary.UNK) < 0.1 * len(ids)
    assert text_windows(ids, 64).shape == (len(ids) // 64, 64)
