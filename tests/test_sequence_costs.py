"""The counted bytes of a shared sequence: against shares that are walked through one by one, and what is refused."""

import re

import numpy as np
import pytest

from course_lib.linear_costs import state_bytes
from course_lib.sequence_costs import reduced_bytes, sequence_bytes, shard_lengths

SHAPE = {"heads": 2, "key_dim": 3, "value_dim": 5, "number_bytes": 4}
SHARDS = [[7], [4, 4], [3, 5, 2], [0, 6, 0, 1], [2, 0, 0, 9, 3]]


def test_shards_are_as_even_as_can_be():
    for total in (0, 1, 7, 64, 65):
        for processes in (1, 2, 3, 64):
            shards = shard_lengths(total, processes)
            assert (sum(shards), len(shards), max(shards) - min(shards) <= 1) == (total, processes, True)
            assert shards == sorted(shards, reverse=True)


def test_an_all_reduce_sends_all_but_an_nth_twice():
    assert [reduced_bytes(120, processes) for processes in (1, 2, 3, 4)] == [0, 120, 160, 180]
    assert reduced_bytes(100, 3) == 134


@pytest.mark.parametrize("shards", SHARDS)
def test_a_ring_is_counted_block_by_block(shards):
    count, total, token = len(shards), sum(shards), 4 * 2 * (3 + 5)
    sent, held = [0] * count, list(range(count))  # whose block each process has

    def turn(times, kinds):
        nonlocal held
        for _ in range(times):
            for rank in range(count):
                sent[rank] += kinds * token * shards[held[rank]]
            held = [held[rank - 1] for rank in range(count)]

    turn(count - 1, 1)
    assert sequence_bytes("ring", total, shards, **SHAPE) == sent
    held = list(range(count))
    turn(count - 1, 2)  # K and V, and beside them dK and dV
    if count > 1:
        turn(1, 1)  # these two come home
    assert held == list(range(count))
    assert sequence_bytes("ring", 0, shards, **SHAPE, training=True) == sent
    even = shard_lengths(12 * count, count)
    assert sequence_bytes("ring", 0, even, **SHAPE) == [token * 12 * (count - 1)] * count  # 2 (N - 1) / N L H d


@pytest.mark.parametrize("shards", SHARDS)
def test_states_are_counted_link_by_link(shards):
    count, state = len(shards), 4 * 2 * 3 * (5 + 1)
    for prefix in range(sum(shards) + 1):
        owners = [rank for rank, length in enumerate(shards) for _ in range(length)]
        first = owners[prefix] if prefix < sum(shards) else count
        summed = reduced_bytes(state, count) if prefix else 0
        forward = [summed + state * (first <= rank and rank + 1 < count) for rank in range(count)]
        back = [summed + state * (first < rank) for rank in range(count)]
        assert sequence_bytes("linear", prefix, shards, **SHAPE, normalize=True) == forward
        both = sequence_bytes("linear", prefix, shards, **SHAPE, normalize=True, training=True)
        assert both == [a + b for a, b in zip(forward, back, strict=True)]


def test_a_state_is_that_of_linear_costs_and_has_no_length():
    sent = {L: sequence_bytes("linear", L, shard_lengths(L, 4), heads=8, key_dim=64, value_dim=64, normalize=True)
            for L in (4096, 2**20)}  # fmt: skip
    assert sent[4096] == sent[2**20] == [reduced_bytes(state_bytes(heads=8, key_dim=64, value_dim=64), 4)] * 4


def test_states_of_16_bit_inputs_are_sums_in_32():
    of = {number: sequence_bytes("linear", 4, [4, 4], **SHAPE | {"number_bytes": number}) for number in (2, 4, 8)}
    assert of[2] == of[4] == [n // 2 for n in of[8]]


def test_the_shortest_prefix_of_a_batch_begins_the_chain():
    each = {"batch": 2, "heads": 1, "key_dim": 1, "value_dim": 1}
    assert sequence_bytes("linear", [9, 4], [3, 3, 3], **each) == [11, 19, 11]
    assert sequence_bytes("linear", [0, 0], [3, 3, 3], **each) == [8, 8, 0]


@pytest.mark.parametrize(
    ("method", "prefix_len", "lengths", "choices", "words"),
    [
        ("tree", 0, [1], {}, "method must be one of linear, ring, got 'tree'"),
        ("ring", 3, [1, 1], {}, "prefix_len must be from 0 to the sum of lengths = 2, got 3"),
        ("linear", [1, 2], [2, 2], {}, "prefix_len must have one entry for each of the 1 examples, got 2"),
        ("linear", 0, [], {}, "lengths must have one entry for each process, got none"),
        ("linear", 0, [2, -1], {}, "lengths[1] must be at least 0, got -1"),
        ("linear", 0, [2], {"heads": 0}, "heads must be at least 1, got 0"),
    ],
)
def test_what_is_wrong_is_said(method, prefix_len, lengths, choices, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        sequence_bytes(method, prefix_len, lengths, **SHAPE | choices)


@pytest.mark.parametrize("method", ["linear", "ring"])
def test_numpy_sizes_count_like_any_other(method):
    sizes = {"heads": 8, "key_dim": 128, "value_dim": 128, "batch": 100}
    wanted = sequence_bytes(method, 512, [2**12] * 4, **sizes)
    assert sequence_bytes(method, 512, [2**12] * 4, **{name: np.int16(n) for name, n in sizes.items()}) == wanted


@pytest.mark.parametrize("arguments", [(10, 0), (10, -2), (-1, 2)])
def test_an_all_reduce_of_nobody_is_refused(arguments):
    with pytest.raises(ValueError, match=r"(processes must be at least 1|size must be at least 0), got"):
        reduced_bytes(*arguments)
