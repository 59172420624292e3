"""Documents laid end to end: each keeps to itself."""

import random

import pytest
import torch

from course_lib.masks import create_prefix_mask, packed_prefix_mask


def test_two_packed_documents():
    assert packed_prefix_mask([2, 1], [4, 3]).int().tolist() == [
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 1, 1, 1],
    ]


@pytest.mark.parametrize("seed", range(20))
def test_packed_documents_are_a_block_diagonal_of_prefix_masks(seed):
    draw = random.Random(seed)
    documents = [draw.randint(0, 6) for _ in range(draw.randint(0, 6))]
    prefixes = [draw.randint(0, length) for length in documents]
    total = sum(documents)
    mask = packed_prefix_mask(torch.tensor(prefixes, dtype=torch.int32), documents)
    wanted = torch.zeros(total, total, dtype=torch.bool)
    start = 0
    for prefix, length in zip(prefixes, documents, strict=True):
        for i in range(length):
            for j in range(length):
                wanted[start + i, start + j] = j <= i or j < prefix
        start += length
    assert torch.equal(mask, wanted)
    blocks = [create_prefix_mask(p, t) for p, t in zip(prefixes, documents, strict=True)]
    assert torch.equal(mask.float(), torch.block_diag(*blocks).reshape(total, total))


@pytest.mark.parametrize(
    ("prefixes", "documents", "error", "words"),
    [
        ([3], [2], ValueError, r"prefix_lens\[0\] must be from 0 to document_lens\[0\] = 2, got 3"),
        ([1, 1], [2], ValueError, r"prefix_lens must be shaped like document_lens"),
        ([1], [-2], ValueError, r"document_lens\[0\] must be at least 0, got -2"),
        (1, [2], TypeError, r"prefix_lens must be a list or tensor of whole numbers"),
        ([0.5], [2], TypeError, r"prefix_lens\[0\] must be a whole number"),
    ],
)
def test_packing_that_cannot_be_is_refused(prefixes, documents, error, words):
    with pytest.raises(error, match=words):
        packed_prefix_mask(prefixes, documents)
