"""GLM's layout against examples worked out by hand, a second one in plain loops, and what must hold of any."""

import math
import random
from collections import Counter
from itertools import pairwise

import pytest
import torch

from course_lib import glm
from course_lib.glm import (
    blank_infilling,
    collate_blanks,
    glm_130b,
    sample_document_span,
    sample_sentences,
    sample_spans,
)
from course_lib.masks import Visibility, prefix_mask
from course_lib.vocabulary import Vocabulary

M, S, E = 90, 91, 92  # MASK, START, END
IDS = {"mask_id": M, "start_id": S, "end_id": E}
WORDS = Vocabulary(["a", "b", "c"])


def laid_out(tokens, spans, order=None):
    return blank_infilling(tokens, spans, **IDS, order=order)


def fields(example):
    return {name: one.int().tolist() if torch.is_tensor(one) else one for name, one in example._asdict().items()}


def test_the_papers_example():
    """x1..x6 with [x3] and [x5, x6] blanked; figure 2 of the paper writes the second one first."""
    assert fields(laid_out([1, 2, 3, 4, 5, 6], [(2, 3), (4, 6)], [1, 0])) == {
        "tokens": [1, 2, M, 4, M, S, 5, 6, S, 3],
        "targets": [1, 2, M, 4, M, 5, 6, E, 3, E],
        "loss_mask": [0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
        "positions": [0, 1, 2, 3, 4, 4, 4, 4, 2, 2],
        "block_positions": [0, 0, 0, 0, 0, 1, 2, 3, 1, 2],
        "context_len": 5,
        "lengths": None,
    }


def test_at_both_edges_and_given_in_any_order():
    wanted = {
        "tokens": [M, 3, M, S, 1, 2, S, 4],
        "targets": [M, 3, M, 1, 2, E, 4, E],
        "loss_mask": [0, 0, 0, 1, 1, 1, 1, 1],
        "positions": [0, 1, 2, 0, 0, 0, 2, 2],
        "block_positions": [0, 0, 0, 1, 2, 3, 1, 2],
        "context_len": 3,
        "lengths": None,
    }
    assert fields(laid_out([1, 2, 3, 4], [(0, 2), (3, 4)])) == wanted
    assert fields(laid_out(torch.tensor([1, 2, 3, 4]), [(3, 4), (0, 2)])) == wanted


def test_the_whole_text_is_one_mask_and_no_span_leaves_nothing_to_learn():
    whole = laid_out([1, 2], [(0, 2)])
    assert whole.tokens.tolist() == [M, S, 1, 2]
    assert whole.positions.tolist() == [0, 0, 0, 0]
    assert whole.context_len == 1
    none = laid_out([1, 2], [])
    assert none.tokens.tolist() == none.targets.tolist() == [1, 2]
    assert not none.loss_mask.any()
    assert none.context_len == 2


# --- any text, any spans, any order ---


def by_loops(tokens, spans, order):
    """The definition, one token at a time: rows of (token, target, counts, position, block position)."""
    spans, rows, place_of = sorted(spans), [], {}
    inside = {i: span for span in spans for i in range(*span)}
    for i, token in enumerate(tokens):
        if i not in inside:
            rows.append((token, token, False, len(rows), 0))
        elif i == inside[i][0]:
            place_of[inside[i]] = len(rows)
            rows.append((M, M, False, len(rows), 0))
    context = len(rows)
    for number in order:
        span = spans[number]
        written = [S, *(tokens[i] for i in range(*span)), E]
        for step in range(len(written) - 1):
            rows.append((written[step], written[step + 1], True, place_of[span], step + 1))
    return rows, context


def random_case(rng):
    length = rng.randint(1, 14)
    tokens = [rng.randint(0, 80) for _ in range(length)]
    spans, at = [], 0
    while at < length:
        if rng.random() < 0.4:
            end = rng.randint(at + 1, min(at + 4, length))
            spans.append((at, end))
            at = end
        at += 1
    order = list(range(len(spans)))
    rng.shuffle(order)
    return tokens, spans, order


CASES = [random_case(random.Random(seed)) for seed in range(300)]


def test_every_field_is_that_of_the_definition():
    for tokens, spans, order in CASES:
        rows, context = by_loops(tokens, spans, order)
        example = laid_out(tokens, random.Random(1).sample(spans, len(spans)), order)
        names = ("tokens", "targets", "loss_mask", "positions", "block_positions")
        assert list(zip(*(getattr(example, name).tolist() for name in names), strict=True)) == rows
        assert example.context_len == context


def test_filling_the_masks_with_what_part_b_writes_gives_back_the_text():
    for tokens, spans, order in CASES:
        example = laid_out(tokens, spans, order)
        written = {}
        for row in example.loss_mask.nonzero()[:, 0].tolist():
            target, place = int(example.targets[row]), int(example.positions[row])
            written.setdefault(place, []).append(target)
        text = []
        for place, token in enumerate(example.tokens[: example.context_len].tolist()):
            answer = written.get(place, [token])
            assert (place in written) == (token == M)
            text += answer[:-1] if place in written else answer
            if place in written:
                assert answer[-1] == E
        assert text == tokens


def test_positions_reveal_no_length_before_its_tokens():
    """Two texts that differ in how long a span is are the same up to the row that predicts where it ends."""
    short, long = laid_out([1, 2, 3, 9, 9], [(1, 3)]), laid_out([1, 2, 3, 4, 5, 9, 9], [(1, 5)])
    same = short.context_len + 3  # START and the two tokens that both have
    for name in ("tokens", "positions", "block_positions"):
        assert torch.equal(getattr(short, name)[:same], getattr(long, name)[:same])
    assert short.targets[same - 1] == E
    assert long.targets[same - 1] == 4


def test_every_target_may_be_predicted_from_part_a_and_what_part_b_wrote_before():
    """Under the prefix mask of the context, and no target token can be seen by the row that predicts it."""
    for tokens, spans, order in CASES[:60]:
        example = laid_out(list(range(len(tokens))), spans, order)  # every token of the text once
        seen = prefix_mask(example.context_len, len(example.tokens))
        for row in example.loss_mask.nonzero()[:, 0].tolist():
            visible = example.tokens[seen[row]].tolist()
            assert visible == example.tokens[: max(row + 1, example.context_len)].tolist()
            assert example.targets[row] == E or int(example.targets[row]) not in visible


@pytest.mark.parametrize(
    ("tokens", "spans", "order", "says"),
    [
        ([1, 2, 3], [(0, 2), (1, 3)], None, r"\(0, 2\) and \(1, 3\) overlap"),
        ([1, 2, 3], [(0, 1), (1, 3)], None, r"\(0, 1\) and \(1, 3\) touch"),
        ([1, 2, 3], [(1, 4)], None, r"0 <= start < end <= 3, the length of the text; got \(1, 4\) as spans\[0\]"),
        ([1, 2, 3], [(2, 1)], None, r"got \(2, 1\) as spans\[0\]"),
        ([1, 2, 3], [(1, 1)], None, r"got \(1, 1\) as spans\[0\]"),
        ([1, 2, 3], [(0, 1), (2, 2)], None, r"got \(2, 2\) as spans\[1\]"),
        ([1, 2, 3], [(0, 1, 2)], None, r"got \(0, 1, 2\) as spans\[0\]"),
        ([1, 2, 3], [(-1, 1)], None, r"spans\[0\]\[0\] must be at least 0, got -1"),
        ([1, 2, 3], [(0, 1), (2, 3)], [0], r"order must name each of the 2 spans once, 0\.\.1, got \[0\]"),
        ([1, 2, 3], [(0, 1), (2, 3)], [0, 0], r"order must name each"),
        ([], [], None, "ids must be at least 1 token"),
    ],
)
def test_wrong_spans_are_named(tokens, spans, order, says):
    with pytest.raises(ValueError, match=says):
        laid_out(tokens, spans, order)


# --- which spans ---


def apart(spans, length):
    assert all(start < end for start, end in spans)
    assert all(one[1] < other[0] for one, other in pairwise(spans))
    assert not spans or (spans[0][0] >= 0 and spans[-1][1] <= length)


def test_sampled_spans_cover_the_ratio_and_lie_apart():
    generator = torch.Generator().manual_seed(0)
    for length in (1, 2, 5, 7, 40, 200):
        for _ in range(60):
            spans = sample_spans(length, generator=generator)
            apart(spans, length)
            covered = [end - start for start, end in spans]
            assert sum(covered) >= 0.15 * length


def test_lengths_are_poisson_without_its_zero():
    generator, lengths = torch.Generator().manual_seed(1), Counter()
    for _ in range(2500):
        lengths.update(end - start for start, end in sample_spans(60, generator=generator))
    drawn = sum(lengths.values())
    for k in range(1, 7):
        expected = 3**k * math.exp(-3) / math.factorial(k) / (1 - math.exp(-3))
        # stopping at the ratio is no choice of a length; only what no longer fits is drawn anew, which is rare here
        assert lengths[k] / drawn == pytest.approx(expected, abs=4 * math.sqrt(expected / drawn))
    mean = sum(k * n for k, n in lengths.items()) / drawn
    assert mean == pytest.approx(3 / (1 - math.exp(-3)), abs=0.08)


def test_every_way_to_lay_down_spans_is_as_likely():
    """Spans of 2 and 1 in a text of 6: three tokens stay, so four places, of which two are chosen: six ways."""
    generator = torch.Generator().manual_seed(2)
    ways = Counter(tuple(glm._laid_down([2, 1], 6, generator)) for _ in range(6000))
    assert len(ways) == 6
    assert max(abs(count - 1000) for count in ways.values()) < 150  # five standard deviations


def test_the_same_seed_draws_the_same():
    for draw in (sample_spans, sample_document_span):
        one, other = (draw(50, generator=torch.Generator().manual_seed(7)) for _ in range(2))
        assert one == other


def test_a_document_span_is_half_of_the_text_or_more_and_ends_with_it():
    generator = torch.Generator().manual_seed(3)
    drawn = [sample_document_span(20, generator=generator)[0] for _ in range(2000)]
    assert {end for _, end in drawn} == {20}
    assert {end - start for start, end in drawn} == set(range(10, 21))
    anywhere = {sample_document_span(4, at_end=False, generator=generator)[0] for _ in range(400)}
    assert anywhere == {(0, 2), (1, 3), (2, 4), (0, 3), (1, 4), (0, 4)}
    assert sample_document_span(1, generator=generator) == [(0, 1)]


def test_chosen_sentences_are_whole_and_never_neighbours():
    sentences = [(0, 4), (4, 9), (9, 12), (12, 20), (20, 23)]
    generator = torch.Generator().manual_seed(4)
    seen = set()
    for _ in range(300):
        chosen = sample_sentences(sentences, mask_ratio=0.3, generator=generator)
        assert set(chosen) <= set(sentences)
        apart(chosen, 23)
        assert sum(end - start for start, end in chosen) >= 0.3 * 23
        seen.update(chosen)
    assert seen == set(sentences)


def test_glm_130b_reads_three_in_ten_and_writes_the_others():
    generator = torch.Generator().manual_seed(5)
    ids = [WORDS.first_word + i % 3 for i in range(30)]
    examples = [glm_130b(ids, WORDS, generator=generator) for _ in range(1000)]
    writing = [one for one in examples if WORDS.GMASK in one.tokens]
    assert 640 < len(writing) < 760
    assert all(one.tokens[one.context_len - 1] == WORDS.GMASK for one in writing)
    assert {one.context_len for one in writing} == set(range(1, 31))  # 1..30 tokens are left to write
    reading = [one for one in examples if WORDS.MASK in one.tokens]
    assert len(reading) + len(writing) == 1000
    order = [one.positions[one.context_len :].unique_consecutive().tolist() for one in reading]
    assert any(places != sorted(places) for places in order)  # shuffled


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sample_spans(40, mask_ratio=0.9), "length = 40 is too short: spans of about 3 tokens"),
        (lambda: sample_spans(0), "length must be at least 1, got 0"),
        (lambda: sample_spans(9, mask_ratio=0), "mask_ratio must be a number between 0 and 1"),
        (lambda: sample_spans(9, mean_length=0), "mean_length must be a number above 0, got 0"),
        (lambda: sample_document_span(9, low=0.9, high=0.5), "0 <= low <= high <= 1"),
        (lambda: sample_sentences([]), "sentences are 0, too few"),
        (lambda: sample_sentences([(0, 5), (5, 9)], mask_ratio=0.9), "under 90%; take more sentences"),
        (lambda: sample_sentences([(4, 9), (0, 4)]), r"got \(0, 4\) as sentences\[1\]"),
        (lambda: glm_130b([60], WORDS, kind="both"), 'kind must be "short" or "long"'),
        (lambda: collate_blanks([], 0), "must be a list of BlankInfillings"),
    ],
)
def test_what_cannot_be_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


# --- batches ---


def test_a_batch_is_padded_and_its_mask_is_the_prefix_mask():
    examples = [laid_out(*case) for case in CASES[:8]]
    batch = collate_blanks(examples, pad_id=5)
    T = batch.tokens.shape[1]
    seen = Visibility(batch.context_len, batch.lengths).mask(T)
    for b, one in enumerate(examples):
        length = len(one.tokens)
        assert int(batch.lengths[b]) == length
        for name in ("tokens", "targets", "loss_mask", "positions", "block_positions"):
            assert torch.equal(getattr(batch, name)[b, :length], getattr(one, name))
        assert (batch.tokens[b, length:] == 5).all()
        assert not batch.loss_mask[b, length:].any()
        assert torch.equal(seen[b, 0, :length, :length], prefix_mask(one.context_len, length))
        assert not seen[b, 0, :, length:].any()
