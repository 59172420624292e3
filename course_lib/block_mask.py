"""The prefix mask in the block form that FlexAttention takes, written down and not evaluated pair by pair.

`create_block_mask` asks a function about all T x T pairs: seconds at T = 16384, and memory for all of them. But in a
prefix mask every block row holds full blocks, then partial ones, then nothing, so that two numbers a row tell it all.
"""

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from ._check import is_whole_number, length_tensor, room, usable_device, whole_number


def prefix_block_mask(prefix_len, total_len: int, *, block_size: int = 128, device=None) -> BlockMask:
    """Return the prefix mask as a BlockMask of shape (1, 1, T, T), or (B, 1, T, T) for one prefix length per example.

    prefix_len: int, or a list or integer tensor (B,), each 0..T; a tensor must be on `device` (default: where it is).
    T need not be a multiple of block_size. The result equals `create_block_mask` of the same mask, field by field, and
    its mask_mod serves the partial blocks.

    prefix_block_mask(3, 7, block_size=2), where # is a full block, + partial and . absent:

        # + . .
        # + . .
        # # + .
        + + + +     the last block row is cut short by T, so none of its blocks is full

    Source: the BlockMask format is documented in torch.nn.attention.flex_attention.
    """
    total_len, device = whole_number("total_len", total_len), usable_device("device", device)
    block_size = whole_number("block_size", block_size, low=1)
    limits = {"high": total_len, "high_name": "total_len"}
    if is_whole_number(prefix_len):
        single = whole_number("prefix_len", prefix_len, **limits)
        lengths = torch.tensor([single], device=device)

        def mask_mod(b, h, q_idx, kv_idx):
            return (kv_idx <= q_idx) | (kv_idx < single)
    else:
        lengths = length_tensor("prefix_len", prefix_len, device=device, or_one=True, **limits)

        def mask_mod(b, h, q_idx, kv_idx):
            return (kv_idx <= q_idx) | (kv_idx < lengths[b])

    side = -(-total_len // block_size)
    room("total_len", total_len, 4 * max(len(lengths), 1) * side**2)  # int32 indexes of block columns
    rows = torch.arange(side, device=lengths.device)  # block rows, and block columns too
    prefix = lengths[:, None, None]  # (B, H = 1, block row)
    visited = torch.maximum(rows + 1, (prefix + block_size - 1) // block_size)
    past = rows if block_size > 1 else rows + 1  # the diagonal cuts its own blocks, unless a block is one pair
    full = torch.maximum(past, prefix // block_size)
    full = torch.where(rows < total_len // block_size, full, 0)  # a block that reaches past the end is never full

    return BlockMask.from_kv_blocks(
        (visited - full).int(),
        _first(visited, rows, start=full),
        full.int(),
        _first(full, rows),
        BLOCK_SIZE=block_size,
        mask_mod=mask_mod,
        seq_lengths=(total_len, total_len),
    )


def _first(stop: Tensor, columns: Tensor, start: Tensor | int = 0) -> Tensor:
    """List every row's columns start..stop-1, then the others in order, as torch does; (B, 1, R) -> (B, 1, R, C)."""
    stop = stop[..., None]
    start = start[..., None] if isinstance(start, Tensor) else torch.zeros_like(stop)
    count = stop - start
    return torch.where(columns < count, start + columns, torch.where(columns < stop, columns - count, columns)).int()
