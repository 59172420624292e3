"""The closed forms against counting, one pair and one tile at a time."""

import doctest
from itertools import pairwise

import numpy as np
import pytest
import torch

from course_lib import costs
from course_lib.costs import (
    KINDS,
    Tiles,
    added_pairs,
    allowed_pairs,
    attention_flops,
    loss_positions,
    loss_tokens,
    tiles,
)
from course_lib.masks import prefix_block_mask

ALL_SMALL = [(prefix, total) for total in range(13) for prefix in range(total + 1)]


def allowed(i: int, j: int, prefix: int) -> bool:
    return j <= i or j < prefix


def counted_tiles(prefix: int, total: int, block: int) -> Tiles:
    counts = {"skipped": 0, "partial": 0, "full": 0}
    for top in range(0, total, block):
        for left in range(0, total, block):
            # A place beyond the sequence is a pair that is not allowed.
            pairs = [
                i < total and j < total and allowed(i, j, prefix)
                for i in range(top, top + block)
                for j in range(left, left + block)
            ]
            counts["full" if all(pairs) else "partial" if any(pairs) else "skipped"] += 1
    return Tiles(**counts)


@pytest.mark.parametrize(("prefix", "total"), ALL_SMALL)
def test_pairs_are_what_counting_gives(prefix, total):
    pairs = [(i, j) for i in range(total) for j in range(total)]
    assert allowed_pairs(prefix, total) == sum(allowed(i, j, prefix) for i, j in pairs)
    assert added_pairs(prefix) == sum(allowed(i, j, prefix) and j > i for i, j in pairs)
    assert allowed_pairs(prefix, total) == allowed_pairs(0, total) + added_pairs(prefix)


@pytest.mark.parametrize("block", [1, 2, 3, 4, 5, 13])
@pytest.mark.parametrize("total", range(13))
def test_tiles_are_what_counting_gives(total, block):
    for prefix in range(total + 1):
        got = tiles(prefix, total, block)
        assert got == counted_tiles(prefix, total, block)
        assert got.visited == got.partial + got.full
        assert got.visited + got.skipped == (-(-total // block)) ** 2


def test_tiles_of_a_known_mask():
    # # + . .     # full, + partial, . skipped
    # # + . .
    # # # + .
    # + + + +     row 7 does not exist
    assert tiles(3, 7, 2) == Tiles(skipped=5, partial=7, full=4)


@pytest.mark.parametrize("total", [256, 300, 1000])
@pytest.mark.parametrize("block", [32, 128])
def test_tiles_are_those_of_the_block_mask(total, block):
    for prefix in (0, 1, block, block + 1, total // 2, total):
        blocks = prefix_block_mask(prefix, total, block_size=block)
        full, partial = int(blocks.full_kv_num_blocks.sum()), int(blocks.kv_num_blocks.sum())
        assert (tiles(prefix, total, block).full, tiles(prefix, total, block).partial) == (full, partial)


def test_a_prefix_costs_one_plus_its_share_squared():
    total = 100_000
    for share in (0, 0.1, 0.5, 0.9, 1):
        ratio = allowed_pairs(round(share * total), total) / allowed_pairs(0, total)
        assert ratio == pytest.approx(1 + share**2, abs=2 / total)
        assert ratio < 2


def test_flops_are_those_of_the_two_products():
    """A product of (n, d) with (d, m) takes n * m * d multiplications and as many additions."""
    heads, dim = 3, 5
    for prefix, total in ALL_SMALL:
        operations = 0
        for i in range(total):
            keys = sum(allowed(i, j, prefix) for j in range(total))
            operations += heads * (2 * keys * dim + 2 * keys * dim)  # (1, d) x (d, keys), then (1, keys) x (keys, d)
        assert attention_flops(prefix, total, heads=heads, head_dim=dim) == operations


def test_flops_of_full_attention_are_those_that_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    q, k, v = torch.randn(3, 1, 2, 24, 8)
    with FlopCounterMode(display=False) as counter:
        (q @ k.mT).softmax(-1) @ v
    assert attention_flops(24, 24, heads=2, head_dim=8) == counter.get_total_flops()


def test_a_tiled_kernel_computes_whole_tiles():
    # Causal, 5 tokens, tiles of 2: six tiles of four pairs, for 15 allowed pairs.
    assert attention_flops(0, 5, heads=1, head_dim=1, block_size=2) == 4 * 6 * 4
    assert attention_flops(0, 5, heads=1, head_dim=1, block_size=1) == attention_flops(0, 5, heads=1, head_dim=1)


def predicted_by_definition(kind: str, prefix: int, total: int) -> list[int]:
    """A token carries loss if it is to be predicted and something stands before it that can predict it."""
    if kind == "decoder":
        return [t for t in range(total) if t - 1 >= 0]
    if kind == "prefix":
        return [t for t in range(total) if t >= prefix and t - 1 >= 0]
    return [t for t in range(total) if t >= prefix]  # the decoder's start symbol stands before the first


@pytest.mark.parametrize("kind", ["decoder", "prefix", "encoder-decoder"])
@pytest.mark.parametrize(("prefix", "total"), ALL_SMALL)
def test_tokens_that_carry_loss(kind, prefix, total):
    wanted = predicted_by_definition(kind, prefix, total)
    assert loss_positions(kind, prefix, total) == wanted
    assert loss_tokens(kind, prefix, total) == len(wanted)


def test_an_encoder_masks_15_percent_spread_evenly():
    assert [loss_tokens("encoder", 0, total) for total in (0, 1, 3, 7, 10, 20, 100, 256)] == [0, 1, 1, 1, 2, 3, 15, 38]
    for total in (*range(70), 256):
        places = loss_positions("encoder", 0, total)
        assert len(places) == loss_tokens("encoder", 0, total)
        assert len(places) == (0 if total == 0 else max(1, int(0.15 * total + 0.5)))
        assert all(0 <= place < total for place in places)
        gaps = {b - a for a, b in pairwise(places)}
        assert not gaps or (min(gaps) >= 1 and max(gaps) - min(gaps) <= 1)
        assert all(loss_positions("encoder", prefix, total) == places for prefix in (1, total) if prefix <= total)
    assert loss_positions("encoder", 0, 20) == [3, 10, 16]


def test_every_kind_is_counted():
    assert KINDS == ("encoder", "decoder", "encoder-decoder", "prefix")
    assert [loss_tokens(kind, 3, 7) for kind in KINDS] == [1, 6, 4, 4]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: allowed_pairs(8, 7), ValueError, "prefix_len must be from 0 to total_len = 7, got 8"),
        (lambda: allowed_pairs(-1, 7), ValueError, "prefix_len must be from 0 to total_len = 7, got -1"),
        (lambda: allowed_pairs(0, -7), ValueError, "total_len must be at least 0, got -7"),
        (lambda: allowed_pairs(True, 7), TypeError, "prefix_len must be a whole number"),
        (
            lambda: allowed_pairs(torch.tensor(3), 7),
            TypeError,
            "prefix_len must be a whole number, got Tensor of shape",
        ),
        (lambda: added_pairs(-1), ValueError, "prefix_len must be at least 0, got -1"),
        (lambda: tiles(3, 7, 0), ValueError, "block_size must be at least 1, got 0"),
        (lambda: tiles(3, 7.0, 2), TypeError, "total_len must be a whole number"),
        (lambda: attention_flops(3, 7, heads=0, head_dim=4), ValueError, "heads must be at least 1, got 0"),
        (lambda: attention_flops(3, 7, heads=2, head_dim=0.5), TypeError, "head_dim must be a whole number"),
        (lambda: loss_tokens("causal", 3, 7), ValueError, "kind must be one of encoder, decoder, .*got 'causal'"),
        (lambda: loss_positions("encoder", 9, 7), ValueError, "prefix_len must be from 0 to"),
        (lambda: loss_positions(None, 3, 7), ValueError, "kind must be one of .*got None"),
    ],
)
def test_what_cannot_be_counted_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_the_examples_in_the_docstrings():
    result = doctest.testmod(costs)
    assert result.attempted > 0
    assert result.failed == 0


def test_a_numpy_size_counts_like_any_other():
    wanted = attention_flops(0, 2**20, heads=8, head_dim=64, block_size=128)
    assert attention_flops(0, 2**20, heads=8, head_dim=64, block_size=np.int32(128)) == wanted


@pytest.mark.usefixtures("in_time")
def test_a_list_too_long_to_be_written_down_is_refused():
    with pytest.raises(ValueError, match="total_len must leave at most 1048576 tokens to list"):
        loss_positions("decoder", 0, 2**40)
