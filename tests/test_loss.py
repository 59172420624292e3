"""Which rows carry loss, by hand, by loops and against the counts; and the loss itself, row by row."""

import math
import random

import pytest
import torch

from course_lib.costs import loss_tokens
from course_lib.loss import default_loss_mask, masked_loss
from course_lib.masks import Visibility


def test_the_last_prefix_token_foretells_the_first_target():
    # text  a b c | d e f g      tokens a b c d e f      targets b c d e f g      P = 3: c is the first to foretell: d
    assert default_loss_mask(Visibility(3), 6).tolist() == [False, False, True, True, True, True]


def test_no_prefix_and_nothing_but_prefix():
    assert default_loss_mask(Visibility(0), 4).tolist() == [True] * 4
    assert default_loss_mask(Visibility(1), 4).tolist() == [True] * 4
    assert default_loss_mask(Visibility(4), 4).tolist() == [False, False, False, True]
    assert default_loss_mask(Visibility(0), 0).tolist() == []


@pytest.mark.parametrize("total", range(1, 9))
def test_as_many_rows_as_the_costs_count(total):
    # A text of T tokens makes T - 1 rows: the last token is a target only.
    for prefix in range(total):
        assert default_loss_mask(Visibility(prefix), total - 1).sum() == loss_tokens("prefix", prefix, total)
    assert default_loss_mask(Visibility(0), total - 1).sum() == loss_tokens("decoder", 0, total)


def test_padding_and_packing_by_loops():
    rng = random.Random(0)
    for _ in range(100):
        total = rng.randrange(1, 12)
        lengths = [rng.randint(0, total) for _ in range(3)]
        prefixes = [rng.randint(0, n) for n in lengths]
        wanted = [[p - 1 <= i < n for i in range(total)] for p, n in zip(prefixes, lengths, strict=True)]
        assert default_loss_mask(Visibility(prefixes, lengths=lengths), total).tolist() == wanted

        rows = [[rng.randint(0, total // 3) for _ in range(3)] for _ in range(2)]
        starts = [[rng.randint(0, n) for n in row] for row in rows]
        wanted = [
            [p - 1 <= i for p, n in zip(start, row, strict=True) for i in range(n)] + [False] * (total - sum(row))
            for start, row in zip(starts, rows, strict=True)
        ]
        assert default_loss_mask(Visibility(starts, document_lens=rows), total).tolist() == wanted
        assert default_loss_mask(Visibility(starts[0], document_lens=rows[0]), total).tolist() == wanted[0]


def by_loops(logits, targets, mask):
    losses = [
        math.log(sum(math.exp(x) for x in logits[b][i])) - logits[b][i][targets[b][i]]
        for b in range(len(logits))
        for i in range(len(logits[b]))
        if mask[b][i]
    ]
    return sum(losses) / len(losses)


def test_the_loss_is_the_mean_over_the_rows_that_count():
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 4, 5, generator=rng, dtype=torch.float64)
    targets = torch.randint(5, (2, 4), generator=rng)
    mask = torch.tensor([[True, False, False, True], [False, True, False, False]])
    wanted = by_loops(logits.tolist(), targets.tolist(), mask.tolist())
    assert masked_loss(logits, targets, mask).item() == pytest.approx(wanted)
    for anything in (-100, 7_000):  # where no loss falls
        assert masked_loss(logits, targets.masked_fill(~mask, anything), mask).item() == pytest.approx(wanted)
    wanted = by_loops(logits.tolist(), targets.tolist(), [mask[0].tolist()] * 2)
    assert masked_loss(logits, targets, mask[0]).item() == pytest.approx(wanted)


def test_no_rows_at_all_teach_nothing_and_break_nothing():
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss = masked_loss(logits, torch.zeros(2, 3, dtype=torch.int64), torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros_like(logits))


def test_16_bit_logits_are_scored_in_32():
    logits = torch.randn(1, 9, 50, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets, mask = torch.arange(9)[None], torch.ones(9, dtype=torch.bool)
    torch.testing.assert_close(masked_loss(logits, targets, mask), masked_loss(logits.float(), targets, mask))


def test_refusals_in_words():
    logits, targets, mask = torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.int64), torch.ones(3, dtype=torch.bool)
    with pytest.raises(ValueError, match="targets must be from 0 to vocab_size - 1 = 4, got 5"):
        masked_loss(logits, targets + 5, mask)
    with pytest.raises(ValueError, match=r"targets must be a tensor of shape \(2, 3\), got"):
        masked_loss(logits, targets[:, 1:], mask)
    with pytest.raises(ValueError, match=r"loss_mask must be a tensor of shape \(3,\) or \(2, 3\), got"):
        masked_loss(logits, targets, mask[1:])
    with pytest.raises(TypeError, match="loss_mask must be bool"):
        masked_loss(logits, targets, mask.float())
    with pytest.raises(TypeError, match="targets must be a tensor of integers"):
        masked_loss(logits, targets.float(), mask)
    with pytest.raises(ValueError, match=r"logits must be a tensor \(batch, length, vocab_size\), got"):
        masked_loss(logits[0], targets, mask)
    for beyond in (Visibility(99), Visibility([1, 99]), Visibility(1, lengths=[99]), Visibility(1, document_lens=[99])):
        with pytest.raises(ValueError, match=r"total_len = 7"):
            default_loss_mask(beyond, 7)
