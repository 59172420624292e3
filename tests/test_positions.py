"""Positions against complex numbers and plain loops."""

import cmath
import math
import random

import pytest
import torch

from course_lib.positions import LearnedPositions, document_positions, rotary, rotary_2d, spread


def rotated_by_loops(x, positions, base):
    """Each pair is a complex number, multiplied by a number of length 1."""
    out = x.clone()
    half = x.shape[-1] // 2
    for b in range(x.shape[0]):
        for h in range(x.shape[1]):
            for t in range(x.shape[2]):
                for i in range(half):
                    pair = complex(x[b, h, t, i], x[b, h, t, i + half])
                    pair *= cmath.exp(1j * positions[b][t] * base ** (-2 * i / (2 * half)))
                    out[b, h, t, i], out[b, h, t, i + half] = pair.real, pair.imag
    return out


@pytest.mark.parametrize("base", [10000.0, 100.0])
@pytest.mark.parametrize("features", [2, 6])
def test_rotary_is_a_product_of_complex_numbers(features, base):
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, features, generator=rng, dtype=torch.float64)
    for row in ([0, 1, 2, 3], [7, 2, 2, 1000]):
        wanted = rotated_by_loops(x, [row, row], base)
        torch.testing.assert_close(rotary(x, torch.tensor(row), base=base), wanted)
    each = [[0, 1, 2, 3], [5, 0, 9, 9]]
    torch.testing.assert_close(rotary(x, torch.tensor(each), base=base), rotated_by_loops(x, each, base))


def test_only_the_distance_counts():
    rng = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8, generator=rng, dtype=torch.float64)
    products = [
        (rotary(q, torch.tensor([m])) * rotary(k, torch.tensor([n]))).sum()
        for m, n in ((5, 2), (103, 100), (100_003, 100_000))
    ]
    for other in products[1:]:
        torch.testing.assert_close(other, products[0])
    assert (rotary(q, torch.tensor([2])) * rotary(k, torch.tensor([5]))).sum() != products[0]  # order counts


def test_position_0_changes_nothing_and_no_position_changes_a_length():
    x = torch.randn(1, 2, 3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(rotary(x, torch.zeros(3, dtype=torch.int64)), x)
    torch.testing.assert_close(rotary(x, torch.tensor([1, 50, 7])).norm(dim=-1), x.norm(dim=-1))


def test_rows_can_come_in_any_pieces():
    x = torch.randn(1, 2, 6, 8, generator=torch.Generator().manual_seed(0))
    whole = rotary(x, torch.arange(6))
    assert torch.equal(torch.cat([rotary(x[:, :, [t]], torch.tensor([t])) for t in range(6)], dim=2), whole)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-7)])
def test_far_positions_are_as_exact_as_near_ones(dtype, tolerance):
    exact = torch.randn(1, 1, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(dtype)
    positions = torch.tensor([0, 1_000, 100_000, 10_000_000])
    out = rotary(exact, positions)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), rotary(exact.double(), positions), atol=tolerance, rtol=tolerance)


def test_rotary_refuses_in_words():
    x = torch.zeros(2, 1, 3, 4)
    for positions in (torch.zeros(2, dtype=torch.int64), torch.zeros(3, 3, dtype=torch.int64)):
        with pytest.raises(ValueError, match=r"positions must be \(3,\) or \(2, 3\), got"):
            rotary(x, positions)
    for positions in ([0, 1, 2], torch.zeros(3), torch.zeros(3, dtype=torch.bool)):
        with pytest.raises(TypeError, match="positions must be a tensor of integers"):
            rotary(x, positions)
    with pytest.raises(ValueError, match="features even"):
        rotary(torch.zeros(2, 1, 3, 5), torch.arange(3))


def test_learned_positions_are_rows_of_a_table():
    learned = LearnedPositions(5, 3)
    table = learned.table.weight
    assert torch.equal(learned(torch.tensor([4, 0, 0])), table[[4, 0, 0]])
    assert torch.equal(learned(torch.tensor([[1], [2]])), table[[1, 2]][:, None])
    for wrong in (5, -1):
        with pytest.raises(ValueError, match=f"positions must be from 0 to max_len - 1 = 4, got {wrong}"):
            learned(torch.tensor([0, wrong]))


def test_documents_begin_at_0_each():
    assert document_positions([3, 2], 7).tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert document_positions([], 3).tolist() == [0, 1, 2]
    assert document_positions([[2, 0, 1], [4]], 4).tolist() == [[0, 1, 0, 0], [0, 1, 2, 3]]
    rng = random.Random(0)
    for _ in range(50):
        lens = [rng.randrange(4) for _ in range(rng.randrange(5))]
        total = sum(lens) + rng.randrange(3)
        wanted = [t for n in [*lens, total - sum(lens)] for t in range(n)]
        assert document_positions(lens, total).tolist() == wanted
        owner = [name for name, n in enumerate(lens) for _ in range(n)] + [-1] * (total - sum(lens))
        assert spread(range(len(lens)), tuple(lens), total, rest=-1).tolist() == owner
    with pytest.raises(ValueError, match="document_lens add up to 5, more than total_len = 4"):
        document_positions([3, 2], 4)


def test_rotary_2d_turns_one_half_by_each_kind_of_position():
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 4, 8, generator=rng, dtype=torch.float64)
    places = torch.tensor([[[0, 0], [1, 0], [1, 1], [1, 2]], [[0, 0], [5, 0], [3, 1], [3, 9]]])
    out = rotary_2d(x, places)
    for kind, half in ((0, slice(0, 4)), (1, slice(4, 8))):
        torch.testing.assert_close(out[..., half], rotated_by_loops(x[..., half], places[..., kind].tolist(), 10000.0))


@pytest.mark.parametrize(
    ("features", "places", "words"),
    [
        (6, torch.zeros(1, 3, 2, dtype=torch.int64), "features a multiple of 4"),
        (8, torch.zeros(1, 3, dtype=torch.int64), r"places must be \(1, 3, 2\), got \(1, 3\)"),
        (8, torch.zeros(3, 2, dtype=torch.int64), r"places must be \(1, 3, 2\), got \(3, 2\)"),
    ],
)
def test_rotary_2d_refuses_what_does_not_fit(features, places, words):
    with pytest.raises(ValueError, match=words):
        rotary_2d(torch.zeros(1, 2, 3, features), places)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"base": 0}, "base must be finite and at least 1, got 0"),
        ({"base": math.nan}, "base must be finite and at least 1, got nan"),
        ({"base": "x"}, "base must be a number"),
        ({"x": torch.ones(1, 1, 2, 4, dtype=torch.int64)}, "x must be a dense tensor of floats"),
        ({"x": [1.0]}, "x must be a dense tensor of floats"),
        ({"positions": torch.arange(2, device="meta")}, "positions is on meta, but cpu is needed"),
    ],
)
def test_what_cannot_be_turned_is_refused(wrong, words):
    with pytest.raises((TypeError, ValueError), match=words):
        rotary(**{"x": torch.ones(1, 1, 2, 4), "positions": torch.arange(2), **wrong})
