"""Autoregressive blank infilling, GLM's objective: spans are cut out of a text, and written again behind it.

    text     x1 x2 x3 x4 x5 x6        spans (2, 3) and (4, 6), the second one first

    Part A   x1 x2 M  x4 M            the text, one MASK for each span: everyone sees everyone
    Part B   S x5 x6  S x3            each span behind a START: each sees Part A, and Part B up to itself

    tokens           x1 x2 M  x4 M  | S  x5 x6 | S  x3
    targets          x1 x2 M  x4 M  | x5 x6 E  | x3 E       E is END
    loss_mask        0  0  0  0  0  | 1  1  1  | 1  1
    positions        0  1  2  3  4  | 4  4  4  | 2  2       in Part A; a span stands where its MASK stands
    block_positions  0  0  0  0  0  | 1  2  3  | 1  2       within the span, START included
    context_len      5

So GLM's mask is the ordinary prefix mask, `prefix_mask(context_len, T)`: all that is new lies in the layout. Positions
tell where a span belongs and not how long it is: only END does.

Source: Du et al. 2022 (GLM), section 2.1 and figure 2; the numbers are those of its code (`make_block_data`), where the
block positions begin with START.
"""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ._check import pairs, short, shown, whole_number, whole_numbers
from .packing import pad_rows
from .span_corruption import one_text

__all__ = [
    "BlankInfilling",
    "blank_infilling",
    "collate_blanks",
]


class BlankInfilling(NamedTuple):
    """A text as GLM reads it, T tokens, or a batch of B of them.

    tokens           int64 (T,), or (B, T): Part A, then Part B
    targets          the same shape: what row i should predict in Part B; in Part A, the token itself
    loss_mask        bool, the same shape: True in Part B
    positions        int64, the same shape: where in Part A
    block_positions  int64, the same shape: where in the span, 1 at START; 0 in Part A
    context_len      int, or int64 (B,): the length of Part A, which is the prefix length
    lengths          None, or int64 (B,): example b has so many tokens, then padding
    """

    tokens: Tensor
    targets: Tensor
    loss_mask: Tensor
    positions: Tensor
    block_positions: Tensor
    context_len: int | Tensor
    lengths: Tensor | None = None

    def arguments(self) -> dict:
        """Return the arguments of `PrefixLM.forward`, for a batch; `training.Run` takes them too."""
        arguments = self._asdict()
        return {"prefix_len": arguments.pop("context_len"), **arguments}

    def to(self, device) -> "BlankInfilling":
        """Return the same example with its tensors on a device."""
        return self._make(one.to(device) if isinstance(one, Tensor) else one for one in self)


def blank_infilling(tokens, spans, *, mask_id: int, start_id: int, end_id: int, order=None) -> BlankInfilling:
    """Lay out a text with these spans blanked, as above.

    tokens   ids, a list or an integer tensor (L,), L >= 1.
    spans    (start, end) pairs, half open, in any order; none empty, any two at least one token apart. None at all is
             legal, and leaves nothing to learn; (0, L) is the whole text, and leaves one MASK to read.
    order    in which order Part B writes them: indexes into the spans sorted by start. None writes them as they stand
             in the text; GLM shuffles them (`torch.randperm(len(spans))`), so that each learns to see any others.
    """
    ids = one_text(tokens, 1, "to read", "tokens")
    spans = _sorted_spans(spans, len(ids))
    mask, start, end = (
        ids.new_tensor([whole_number(name, value)])
        for name, value in (("mask_id", mask_id), ("start_id", start_id), ("end_id", end_id))
    )
    order = list(range(len(spans))) if order is None else whole_numbers("order", order)
    if sorted(order) != list(range(len(spans))):
        raise ValueError(
            f"order must name each of the {len(spans)} spans once, 0..{len(spans) - 1}, got {short(order)}"
        )

    context, places, end_before = [], [], 0  # places: where each span's MASK stands in Part A
    for first, last in spans:
        context += [ids[end_before:first], mask]
        places.append(sum(map(len, context)) - 1)
        end_before = last
    context = torch.cat([*context, ids[end_before:]])

    parts = [(context, context, torch.arange(len(context)), torch.zeros(len(context), dtype=torch.int64))]
    for i in order:
        span = ids[slice(*spans[i])]
        inputs, targets = torch.cat([start, span]), torch.cat([span, end])
        parts.append((inputs, targets, torch.full_like(inputs, places[i]), torch.arange(1, len(inputs) + 1)))
    inputs, targets, positions, block_positions = (torch.cat(one) for one in zip(*parts, strict=True))
    loss_mask = torch.arange(len(inputs)) >= len(context)
    return BlankInfilling(inputs, targets, loss_mask, positions, block_positions, len(context))


def _sorted_spans(spans, length: int) -> list[tuple[int, int]]:
    """Return spans in the order of the text, checked."""
    checked = pairs("spans", spans)
    for i, (start, end) in enumerate(checked):
        if not start < end <= length:
            raise ValueError(
                f"spans must be (start, end) with 0 <= start < end <= {length}, the length of the text; "
                f"got {(start, end)} as spans[{i}]"
            )
    checked.sort()
    for one, other in pairwise(checked):
        if other[0] <= one[1]:
            how = "touch" if other[0] == one[1] else "overlap"
            raise ValueError(f"spans must lie at least one token apart, but {one} and {other} {how}")
    return checked


def collate_blanks(examples, pad_id: int) -> BlankInfilling:
    """Lay examples side by side as a batch, with padding behind the shorter ones, where no loss counts.

    examples: a list of B BlankInfillings of one text each, at least one. The mask of the batch is
    `prefix_mask(context_len, T)` with the padding closed: `Visibility(context_len, lengths)`.
    """
    pad_id = whole_number("pad_id", pad_id)
    if (
        not isinstance(examples, (list, tuple))
        or not examples
        or not all(
            isinstance(one, BlankInfilling) and isinstance(one.tokens, Tensor) and one.tokens.dim() == 1
            for one in examples
        )
    ):
        raise ValueError(
            f"examples must be a list of BlankInfillings of one text each, and hold at least one, got {shown(examples)}"
        )
    fillers = {"tokens": pad_id, "targets": pad_id, "loss_mask": False, "positions": 0, "block_positions": 0}
    rows = {name: pad_rows([getattr(one, name) for one in examples], filler) for name, filler in fillers.items()}
    context_len = torch.tensor([one.context_len for one in examples])
    return BlankInfilling(**rows, context_len=context_len, lengths=torch.tensor([len(one.tokens) for one in examples]))
