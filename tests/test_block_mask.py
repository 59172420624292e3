"""The prefix mask written down in blocks, against what torch computes pair by pair."""

import random

import pytest
import torch
from torch.nn import functional as F
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from course_lib.masks import prefix_block_mask, prefix_mask


def assert_same_blocks(mine, torchs):
    for field in ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices"):
        a, b = getattr(mine, field), getattr(torchs, field)
        assert a.dtype == b.dtype, field
        assert torch.equal(a, b), field
    for field in ("q_num_blocks", "q_indices", "full_q_num_blocks", "full_q_indices"):
        assert torch.equal(getattr(mine, field), getattr(torchs, field)), field
    assert torch.equal(mine.to_dense(), torchs.to_dense())
    assert (mine.seq_lengths, mine.BLOCK_SIZE, mine.shape) == (torchs.seq_lengths, torchs.BLOCK_SIZE, torchs.shape)


def torchs_block_mask(prefixes: torch.Tensor, total: int, block: int):
    def allowed(b, h, q, k):
        return (k <= q) | (k < prefixes[b])

    return create_block_mask(allowed, len(prefixes), 1, total, total, device="cpu", BLOCK_SIZE=block)


@pytest.mark.parametrize("block", [1, 2, 3, 4, 16])
@pytest.mark.parametrize("total", [0, 1, 2, 3, 4, 5, 7, 8, 9, 12])
def test_every_small_block_mask_is_torchs(total, block):
    every = torch.arange(total + 1)
    assert_same_blocks(prefix_block_mask(every, total, block_size=block), torchs_block_mask(every, total, block))
    for prefix in range(total + 1):
        one = torchs_block_mask(every[prefix : prefix + 1], total, block)
        assert_same_blocks(prefix_block_mask(prefix, total, block_size=block), one)


@pytest.mark.parametrize(("total", "block"), [(256, 128), (300, 128), (301, 64), (129, 32)])
def test_larger_block_masks_are_torchs(total, block):
    draw = random.Random(total)
    prefixes = torch.tensor([0, 1, block - 1, block, block + 1, total, draw.randint(0, total)])
    assert_same_blocks(prefix_block_mask(prefixes, total, block_size=block), torchs_block_mask(prefixes, total, block))


def test_the_mask_mod_is_the_mask():
    index = torch.arange(9)
    for prefix in (0, 4, 9):
        mod = prefix_block_mask(prefix, 9, block_size=4).mask_mod
        assert torch.equal(mod(0, 0, index[:, None], index[None, :]), prefix_mask(prefix, 9))
    mod = prefix_block_mask([0, 4, 9], 9, block_size=4).mask_mod
    for b, prefix in enumerate([0, 4, 9]):
        assert torch.equal(mod(torch.tensor(b), 0, index[:, None], index[None, :]), prefix_mask(prefix, 9))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("prefix", [0, 70, 150, [0, 70]])
def test_flex_attention_takes_the_block_mask(prefix):
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 2, 150, 8)
    out = flex_attention(q, k, v, block_mask=prefix_block_mask(prefix, 150))
    wanted = F.scaled_dot_product_attention(q, k, v, attn_mask=prefix_mask(prefix, 150))
    torch.testing.assert_close(out, wanted, atol=1e-5, rtol=1e-5)


def test_a_long_block_mask_is_written_down_and_not_computed():
    total = 2**20  # all pairs would be 2^40
    blocks = prefix_block_mask(total // 2, total, block_size=2**14)
    assert blocks.full_kv_num_blocks.flatten().tolist() == [max(32, row) for row in range(64)]
    assert blocks.kv_num_blocks.flatten().tolist() == [0] * 32 + [1] * 32


@pytest.mark.parametrize(("block", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (128.0, TypeError)])
def test_a_block_size_that_is_none_is_refused(block, error):
    with pytest.raises(error, match="block_size must be"):
        prefix_block_mask(3, 7, block_size=block)
