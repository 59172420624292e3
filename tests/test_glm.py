"""GLM's layout against examples worked out by hand, a second one in plain loops, and what must hold of any."""

import random

import pytest
import torch

from course_lib.glm import blank_infilling, collate_blanks
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
        ([], [], None, "tokens must be at least 1 token"),
    ],
)
def test_wrong_spans_are_named(tokens, spans, order, says):
    with pytest.raises(ValueError, match=says):
        laid_out(tokens, spans, order)


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


@pytest.mark.parametrize("examples", [[], [laid_out(*CASES[0]), 3], iter(()), None])
def test_a_batch_of_something_else_is_refused(examples):
    with pytest.raises(ValueError, match="examples must be a list of BlankInfillings"):
        collate_blanks(examples, 0)
