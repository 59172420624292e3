"""The masks against their definition in plain loops, and the block form against torch's own."""

import dataclasses
import doctest
import random
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course_lib import masks
from course_lib.kernels.reference import softmax_attention
from course_lib.masks import (
    Visibility,
    additive_mask,
    bidirectional_mask,
    causal_mask,
    create_prefix_mask,
    packed_prefix_mask,
    padding_mask,
    prefix_block_mask,
    prefix_mask,
)

ALL_SMALL = [(prefix, total) for total in range(13) for prefix in range(total + 1)]


def by_definition(prefix: int, total: int) -> list[list[bool]]:
    return [[j <= i or j < prefix for j in range(total)] for i in range(total)]


def visible_by_loops(prefixes, documents, length, total) -> list[list[bool]]:
    """One row of documents, each (prefix, length), then padding from `length` on: pair by pair."""
    owner, start, prefix = [], [], []
    for number, (own_prefix, own_length) in enumerate(zip(prefixes, documents, strict=True)):
        start += [len(owner)] * own_length
        prefix += [own_prefix] * own_length
        owner += [number] * own_length
    rows = []
    for i in range(total):
        row = []
        for j in range(total):
            together = i < len(owner) and j < len(owner) and owner[i] == owner[j]
            row.append(together and j < length and (j <= i or j - start[j] < prefix[j]))
        rows.append(row)
    return rows


def as_mask(rows: list[list[bool]], total: int) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.bool).reshape(total, total)


def test_the_example_of_three_and_seven():
    assert create_prefix_mask(3, 7).tolist() == [
        [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    ]
    assert create_prefix_mask(3, 7).dtype == torch.float32


@pytest.mark.parametrize(("prefix", "total"), ALL_SMALL)
def test_every_small_mask_is_the_definition(prefix, total):
    wanted = as_mask(by_definition(prefix, total), total)
    assert torch.equal(create_prefix_mask(prefix, total), wanted.float())
    mask = prefix_mask(prefix, total)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, wanted)
    if prefix <= 1:
        assert torch.equal(mask, causal_mask(total))
    if prefix == total:
        assert torch.equal(mask, bidirectional_mask(total))


@pytest.mark.parametrize("total", [1, 2, 7, 12])
def test_one_prefix_per_example(total):
    prefixes = list(range(total + 1))
    wanted = torch.stack([as_mask(by_definition(prefix, total), total) for prefix in prefixes])[:, None]
    for given in (
        prefixes,
        tuple(prefixes),
        torch.tensor(prefixes),
        torch.tensor(prefixes).short(),
        np.array(prefixes),
    ):
        assert torch.equal(prefix_mask(given, total), wanted)
    assert prefix_mask([], total).shape == (0, 1, total, total)


@pytest.mark.parametrize("total", [37, 128, 301])
def test_properties_of_larger_masks(total):
    draw = random.Random(total)
    for prefix in {0, 1, total - 1, total, *(draw.randint(0, total) for _ in range(8))}:
        mask = prefix_mask(prefix, total)
        rows = torch.arange(total)
        assert torch.equal(mask.sum(1), torch.maximum(rows + 1, torch.tensor(prefix)))  # how many each query sees
        assert not (mask[:, 1:] & ~mask[:, :-1]).any()  # whoever sees a key sees every earlier one
        assert not (mask[:-1] & ~mask[1:]).any()  # a later query sees at least as much
        assert torch.equal(mask, mask.double() @ mask.double() > 0)  # so that layers on layers see no further
        # Another formula for the same: count the places where a new step of attention begins.
        steps = torch.tensor([0] * prefix + [1] * (total - prefix)).cumsum(0)
        assert torch.equal(mask, steps[:, None] >= steps[None, :])


def test_numpy_integers_are_lengths_too():
    assert torch.equal(prefix_mask(np.int32(2), np.int64(4)), prefix_mask(2, 4))


@pytest.mark.parametrize("make", [create_prefix_mask, prefix_mask, prefix_block_mask])
@pytest.mark.parametrize(
    ("prefix", "total", "error", "words"),
    [
        (-1, 7, ValueError, r"prefix_len must be from 0 to total_len = 7, got -1"),
        (8, 7, ValueError, r"prefix_len must be from 0 to total_len = 7, got 8"),
        (0, -1, ValueError, r"total_len must be at least 0, got -1"),
        (True, 7, TypeError, r"prefix_len must be a whole number.*True"),
        (3.0, 7, TypeError, r"prefix_len must be a whole number.*3\.0"),
        ("3", 7, TypeError, r"prefix_len must be a whole number.*'3'"),
        (None, 7, TypeError, r"prefix_len must be a whole number.*None"),
        (3, 7.0, TypeError, r"total_len must be a whole number.*7\.0"),
        (3, False, TypeError, r"total_len must be a whole number.*False"),
        (3, [7], TypeError, r"total_len must be a whole number.*\[7\]"),
    ],
)
def test_what_is_no_length_is_refused(make, prefix, total, error, words):
    with pytest.raises(error, match=words):
        make(prefix, total)


@pytest.mark.parametrize("make", [prefix_mask, padding_mask, prefix_block_mask])
@pytest.mark.parametrize(
    ("lengths", "error", "words"),
    [
        ([1, -1], ValueError, r"\[1\] must be from 0 to total_len = 7, got -1"),
        (torch.tensor([8]), ValueError, r"\[0\] must be from 0 to total_len = 7, got 8"),
        ([1, True], TypeError, r"\[1\] must be a whole number"),
        ([1, 2.0], TypeError, r"\[1\] must be a whole number"),
        (torch.tensor([1.0]), TypeError, r"hold integers, got Tensor of shape \(1,\) and type torch.float32"),
        (torch.tensor([True]), TypeError, r"hold integers, got Tensor of shape \(1,\) and type torch.bool"),
        (np.array([1.5]), TypeError, r"hold integers"),
        (torch.tensor(3), ValueError, r"one-dimensional.*shape \(\)"),
        (torch.tensor([[3]]), ValueError, r"one-dimensional.*shape \(1, 1\)"),
        ({3}, TypeError, r"must be a (list or tensor of whole numbers|whole number, or a list or tensor of them), got"),
        (torch.zeros(2, dtype=torch.int64, device="meta"), ValueError, r"meta device, which holds no values"),
    ],
)
def test_what_are_no_lengths_is_refused(make, lengths, error, words):
    with pytest.raises(error, match=words):
        make(lengths, 7)


@pytest.mark.parametrize(
    "make",
    [
        lambda lengths: prefix_mask(lengths, 7, device="meta"),
        lambda lengths: padding_mask(lengths, 7, device="meta"),
        lambda lengths: prefix_block_mask(lengths, 7, device="meta"),
        lambda lengths: packed_prefix_mask(lengths, lengths, device="meta"),
        lambda lengths: packed_prefix_mask(lengths.to("meta"), lengths),
    ],
)
def test_lengths_on_another_device_are_refused(make):
    with pytest.raises(ValueError, match=r"is on (cpu|meta), but (cpu|meta) is needed: move it"):
        make(torch.tensor([3, 4]))


def test_masks_are_made_on_the_device_that_is_asked_for():
    for mask in (
        prefix_mask(3, 7, device="meta"),
        prefix_mask([3, 4], 7, device="meta"),
        causal_mask(7, device="meta"),
        bidirectional_mask(7, device="meta"),
        padding_mask([3], 7, device="meta"),
        Visibility([3, 4], [5, 6]).mask(7, device="meta"),
    ):
        assert mask.device.type == "meta"


def test_padding_hides_the_keys_behind_each_length():
    lengths = [0, 1, 4, 5]
    mask = padding_mask(torch.tensor(lengths), 5)
    assert mask.shape == (4, 1, 1, 5)
    assert mask[:, 0, 0].tolist() == [[j < length for j in range(5)] for length in lengths]
    both = prefix_mask([3, 3, 3, 5], 5) & mask
    for b, (prefix, length) in enumerate(zip([3, 3, 3, 5], lengths, strict=True)):
        wanted = [[j < length and (j <= i or j < prefix) for j in range(5)] for i in range(5)]
        assert both[b, 0].tolist() == wanted
    assert padding_mask([], 5).shape == (0, 1, 1, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_the_additive_form(dtype):
    mask = prefix_mask([1, 3], 4)
    added = additive_mask(mask, dtype)
    assert added.dtype == dtype
    assert added.shape == mask.shape
    assert (added[mask] == 0).all()
    assert (added[~mask] == float("-inf")).all()


def test_the_additive_form_refuses_what_is_no_mask():
    with pytest.raises(TypeError, match=r"mask must be a bool tensor.*float32"):
        additive_mask(create_prefix_mask(1, 2), torch.float32)
    with pytest.raises(TypeError, match=r"dtype must be a floating-point torch\.dtype, got torch\.int64"):
        additive_mask(prefix_mask(1, 2), torch.int64)


def test_a_float_mask_is_added_by_torch_and_the_additive_form_is_right():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 2, 6, 4)
    right = F.scaled_dot_product_attention(q, k, v, attn_mask=prefix_mask(2, 6))
    added = F.scaled_dot_product_attention(q, k, v, attn_mask=additive_mask(prefix_mask(2, 6), torch.float32))
    wrong = F.scaled_dot_product_attention(q, k, v, attn_mask=create_prefix_mask(2, 6))
    torch.testing.assert_close(added, right)
    assert (wrong - right).abs().max() > 0.1


# Visibility


@pytest.mark.parametrize("seed", range(30))
def test_visibility_of_prefix_padding_and_packing_together(seed):
    draw = random.Random(seed)
    total = draw.randint(1, 12)
    batch = draw.randint(1, 3)
    documents, prefixes = [], []
    for _ in range(batch):
        cuts = sorted(draw.randint(0, total) for _ in range(draw.randint(1, 3)))
        documents.append([b - a for a, b in pairwise([0, *cuts])])  # what is behind the last cut is no document's
        prefixes.append([draw.randint(0, length) for length in documents[-1]])
    lengths = [draw.randint(0, total) for _ in range(batch)]
    seen = Visibility(prefixes, lengths, documents)
    wanted = torch.stack(
        [as_mask(visible_by_loops(*one, total), total) for one in zip(prefixes, documents, lengths, strict=True)]
    )
    assert seen.batch_size == batch
    assert torch.equal(seen.mask(total), wanted[:, None])


def test_visibility_of_each_alone():
    assert torch.equal(Visibility(3).mask(7), prefix_mask(3, 7))
    assert torch.equal(Visibility([3, 0]).mask(7), prefix_mask([3, 0], 7))
    assert torch.equal(Visibility(3, [7, 2]).mask(7), prefix_mask(3, 7) & padding_mask([7, 2], 7))
    assert torch.equal(Visibility([2, 1], document_lens=[4, 3]).mask(7), packed_prefix_mask([2, 1], [4, 3]))
    assert torch.equal(Visibility(1, document_lens=[4, 3]).mask(7), packed_prefix_mask([1, 1], [4, 3]))
    assert not Visibility(0, document_lens=[]).mask(2).any()
    assert [Visibility(3).batch_size, Visibility([3, 4]).batch_size, Visibility(3, [5]).batch_size] == [None, 2, 1]
    assert Visibility([2, 1], document_lens=[4, 3]).batch_size is None  # two documents, any number of examples


def test_an_encoder_with_padding_has_a_prefix_longer_than_its_example():
    mask = Visibility(4, [2]).mask(4)
    assert mask[0, 0].tolist() == [[True, True, False, False]] * 4


def test_visibility_is_a_value():
    one = Visibility(torch.tensor([1, 2]), torch.tensor([3, 4]))
    assert one == Visibility((1, 2), [3, 4])
    assert len({one, Visibility([1, 2], (3, 4)), Visibility([1, 2])}) == 2
    packed = Visibility(torch.tensor([[1, 1], [2, 0]]), document_lens=torch.tensor([[2, 2], [4, 0]]))
    assert packed == Visibility([[1, 1], (2, 0)], document_lens=[(2, 2), [4, 0]])
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.prefix_len = 3


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Visibility(-1), ValueError, r"prefix_len must be at least 0, got -1"),
        (lambda: Visibility(True), TypeError, r"prefix_len must be a whole number"),
        (lambda: Visibility([1, 2.0]), TypeError, r"prefix_len\[1\] must be a whole number"),
        (lambda: Visibility(1, 3), TypeError, r"lengths must be a list or tensor of whole numbers, got 3"),
        (lambda: Visibility([1, 2], [3]), ValueError, r"equally many examples, got prefix_len of 2, lengths of 1"),
        (lambda: Visibility([[1], [1]], [3], [[2], [2]]), ValueError, r"prefix_len of 2, lengths of 1"),
        (lambda: Visibility([1, 2], document_lens=[3]), ValueError, r"prefix_len must be shaped like document_lens"),
        (lambda: Visibility([1, 1], document_lens=[[3], [3]]), ValueError, r"shaped like document_lens"),
        (
            lambda: Visibility([[1], [4]], document_lens=[[3], [3]]),
            ValueError,
            r"prefix_len\[1\]\[0\] must be from 0 to",
        ),
        (lambda: Visibility(4, document_lens=[5, 3]), ValueError, r"prefix_len\[1\] must be from 0 to .* = 3, got 4"),
        (lambda: Visibility(8).mask(7), ValueError, r"prefix_len must be from 0 to total_len = 7, got 8"),
        (lambda: Visibility(1, [8]).mask(7), ValueError, r"lengths\[0\] must be from 0 to total_len = 7, got 8"),
        (lambda: Visibility(1, document_lens=[4, 4]).mask(7), ValueError, r"add up to 8, more than total_len = 7"),
    ],
)
def test_visibility_that_cannot_be_is_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(
    "attend",
    [
        lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=mask),
        lambda q, k, v, mask: F.scaled_dot_product_attention(q, k, v, attn_mask=additive_mask(mask, q.dtype)),
        softmax_attention,
    ],
    ids=["sdpa", "sdpa added", "reference"],
)
def test_a_row_that_sees_nothing_yields_zeros_and_gradients_without_nan(attend, dtype):
    # Example 0 has no tokens at all; of example 1 the last two are no document's.
    mask = Visibility([[0, 0], [2, 1]], [0, 6], [[0, 0], [3, 1]]).mask(6)
    empty = ~mask.any(-1)  # (B, 1, T)
    assert empty[:, 0].tolist() == [[True] * 6, [False] * 4 + [True] * 2]
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 3, 6, 4, dtype=dtype, requires_grad=True) for _ in range(3))
    out = attend(q, k, v, mask)
    assert out.isfinite().all()
    assert (out[empty.expand(2, 3, 6)] == 0).all()
    assert (out[1, :, :4] != 0).any(-1).all()
    dq, dk, dv = torch.autograd.grad(out.sum() + out.square().sum(), (q, k, v))
    for gradient in (dq, dk, dv):
        assert gradient.isfinite().all()
        assert (gradient[empty.expand(2, 3, 6)] == 0).all()  # who sees nothing is seen by nobody here, too
    assert (dv[1, :, :4] != 0).any()


def test_the_examples_in_the_docstrings():
    result = doctest.testmod(masks)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("much", [2**40, 2**62])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda n: create_prefix_mask(0, n), "total_len"),
        (lambda n: prefix_mask(0, n), "total_len"),
        (lambda n: prefix_mask([0, 1], n), "total_len"),
        (lambda n: padding_mask([1], n), "total_len"),
        (lambda n: masks.prefix_block_mask(0, n), "total_len"),
        (lambda n: masks.packed_prefix_mask([1], [n]), "the sum of document_lens"),
        (lambda n: masks.packed_prefix_mask([1, 1], [n, n]), "the sum of document_lens"),
        (lambda n: Visibility([1], document_lens=[n]).mask(n), "total_len"),
    ],
)
def test_a_mask_that_no_memory_holds_is_refused_before_it_is_made(call, name, much):
    with pytest.raises(ValueError, match=rf"^{name} = \d+ is too large: it asks for [\d,]+ TiB of memory"):
        call(much)


def test_many_lengths_are_refused_in_few_words():
    with pytest.raises(ValueError, match="prefix_len must be shaped like document_lens") as refused:
        Visibility([1], document_lens=[1] * 5000)
    assert len(str(refused.value)) < 300
