"""Where a token stands. Attention alone cannot tell: without positions, its inputs are a set and not a sequence.

Positions are given as ids, int64, (T,) for a whole batch or (B, T): so that a cache can go on at any place, and packed
documents can each begin at 0. Padding needs nothing: it comes last, and nobody sees it.
"""

from itertools import accumulate

import torch
from torch import Tensor, nn

from ._check import check_device, real_number, room, room_of_weight, short, shown, usable_device, whole_number
from .packing import is_rows, row_or_rows

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)


def rotary(x: Tensor, positions: Tensor, *, base: float = 10000.0) -> Tensor:
    """Turn the features of queries or keys by angles that grow with the position; same shape and type.

    x           (B, H, T, D), D even. Features i and i + D/2 are a pair, a point in the plane (the halves are rotated,
                not neighbours); pair i is turned by position * base^(-2i/D) radians.
    positions   (T,) or (B, T), whole numbers, on the device of x.
    base        at least 1: the slowest pair takes about 2 pi * base positions for a turn.

    A query at m and a key at n then have a product that depends on m - n alone. Angles are computed in float64, so that
    far positions are as exact as near ones; 16-bit inputs are turned in float32.

    TypeError or ValueError, naming the argument, for what does not fit.

    Source: Su et al. 2021 (RoFormer), section 3.4; the order of the halves is GPT-NeoX's.
    """
    _check_features(x, 2)
    base = real_number("base", base, low=1)
    batch, _, length, features = x.shape
    check_positions(positions, batch, length)
    check_device("positions", positions, x.device)
    pair = torch.arange(features // 2, dtype=torch.float64, device=x.device)
    angles = positions[..., None] * base ** (-2 * pair / features)
    if angles.dim() == 3:
        angles = angles[:, None]  # the same for all heads
    wide = torch.promote_types(x.dtype, torch.float32)
    cos, sin = angles.cos().to(wide), angles.sin().to(wide)
    first, second = x.to(wide).chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


def rotary_2d(x: Tensor, places: Tensor, *, base: float = 10000.0) -> Tensor:
    """Turn the first half of the features by the position, and the second half by the block position.

    x       (B, H, T, D), D a multiple of 4.
    places  (B, T, 2): the position and the block position of each token, as GLM lays them out (`course_lib.glm`).

    Source: ChatGLM-6B's code (`position_encoding_2d`); each half is `rotary`, with the angles of D/2 features.
    """
    _check_features(x, 4)
    check_places(places, x.shape[0], x.shape[2])
    check_device("places", places, x.device)
    halves = zip(x.chunk(2, dim=-1), places.unbind(-1), strict=True)
    return torch.cat([rotary(half, ids, base=base) for half, ids in halves], dim=-1)


def _check_features(x, multiple: int) -> None:
    """Refuse what is not (B, H, T, D) floats with a D that can be turned."""
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.layout != torch.strided:
        raise TypeError(f"x must be a dense tensor of floats, got {shown(x)}")
    if x.dim() != 4 or x.shape[-1] % multiple:
        even = "even" if multiple == 2 else f"a multiple of {multiple}"
        raise ValueError(f"x must be (batch, heads, length, features), features {even}, got shape {tuple(x.shape)}")


class LearnedPositions(nn.Module):
    """One learned vector for each position, to be added to the token's. Source: Gehring et al. 2017, section 3.1.

    forward(positions): (T,) or (B, T), each 0..max_len - 1, to (T, dim) or (B, T, dim).
    """

    def __init__(self, max_len: int, dim: int):
        super().__init__()
        max_len, dim = whole_number("max_len", max_len, low=1), whole_number("dim", dim, low=1)
        room_of_weight(max_len=max_len, dim=dim)
        self.table = nn.Embedding(max_len, dim)

    def forward(self, positions: Tensor) -> Tensor:
        check_ids("positions", positions, self.table.num_embeddings, "max_len")
        return self.table(positions.long())


def document_positions(document_lens, total_len: int, *, device=None) -> Tensor:
    """Return positions that begin at 0 in each packed document: (T,), or (B, T) for a list of documents per example.

    >>> document_positions([3, 2], 7)
    tensor([0, 1, 2, 0, 1, 0, 1])
    """
    total_len, device = whole_number("total_len", total_len), usable_device("device", device)
    documents = row_or_rows("document_lens", document_lens)
    room("total_len", total_len, 8 * total_len * (len(documents) if is_rows(documents) else 1))
    if is_rows(documents):
        return torch.stack([document_positions(row, total_len, device=device) for row in documents])
    starts = [0, *accumulate(documents)][:-1]
    row = torch.arange(total_len, device=device)
    return row - spread(starts, documents, total_len, rest=sum(documents), device=device)


def spread(values, document_lens: tuple, total_len: int, *, rest: int, device=None) -> Tensor:
    """Lay each document's own number at each of its tokens, (T,) or (B, T); what is left of the row gets `rest`."""
    if is_rows(document_lens):
        pairs = zip(values, document_lens, strict=True)
        return torch.stack([spread(*pair, total_len, rest=rest, device=device) for pair in pairs])
    left = total_len - sum(document_lens)
    if left < 0:
        raise ValueError(f"document_lens add up to {sum(document_lens)}, more than total_len = {total_len}")
    counts = torch.tensor((*document_lens, left), device=device)
    return torch.repeat_interleave(torch.tensor((*values, rest), device=device), counts, output_size=total_len)


def check_positions(positions, batch: int, length: int, name: str = "positions") -> None:
    """Refuse what is not (T,) or (B, T) whole numbers."""
    if not isinstance(positions, Tensor) or positions.dtype not in INTEGERS:
        raise TypeError(f"{name} must be a tensor of integers, got {shown(positions)}")
    if tuple(positions.shape) not in ((length,), (batch, length)):
        raise ValueError(f"{name} must be ({length},) or ({batch}, {length}), got {tuple(positions.shape)}")


def check_places(places, batch: int, length: int) -> None:
    """Refuse what is not (B, T, 2) whole numbers: a position and a block position for each token."""
    if not isinstance(places, Tensor) or places.dtype not in INTEGERS:
        raise TypeError(f"places must be a tensor of integers, got {shown(places)}")
    if tuple(places.shape) != (batch, length, 2):
        raise ValueError(f"places must be ({batch}, {length}, 2), got {tuple(places.shape)}")


def check_ids(name: str, ids, count: int, count_name: str) -> None:
    """Refuse what is not a tensor of ids 0..count - 1. On an accelerator this waits for the device once."""
    if not isinstance(ids, Tensor) or ids.dtype not in INTEGERS:
        raise TypeError(f"{name} must be a tensor of integers, got {shown(ids)}")
    if ids.numel() > 0:
        low, high = (int(one) for one in torch.aminmax(ids))
        if low < 0 or high >= count:
            wrong = low if low < 0 else high
            raise ValueError(f"{name} must be from 0 to {count_name} - 1 = {count - 1}, got {short(wrong)}")
