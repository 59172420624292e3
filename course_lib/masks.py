"""Who may look at whom.

A mask is bool, True = may attend; rows are queries, columns are keys. P is the prefix length, T the total length, B the
batch size. Query i may look at key j when

    j <= i  (the past and itself)   or   j < P  (the prefix).

P = 0 and P = 1 are causal attention, P = T is bidirectional. Nothing is clamped: a P below 0 or above T is an error,
for as a slice bound it would quietly give another mask.

Masks combine with `&`. A query that may see nothing at all (an example of length 0, the padding behind packed
documents) is legal: torch's `scaled_dot_product_attention`, and attention in this package, answer it with zeros and
with gradients of zero. A softmax of your own would answer it with NaN.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ._check import is_whole_number, length_tensor, room, short, shown, usable_device, whole_number, whole_numbers
from .block_mask import prefix_block_mask
from .packing import check_documents, filled, is_rows, packed_mask, packed_prefix_mask, row_or_rows

__all__ = [
    "Visibility",
    "additive_mask",
    "bidirectional_mask",
    "causal_mask",
    "create_prefix_mask",
    "packed_prefix_mask",
    "padding_mask",
    "prefix_block_mask",
    "prefix_mask",
]


def create_prefix_mask(prefix_len: int, total_len: int) -> Tensor:
    """Build the prefix mask row by row, as ones and zeros of type float32, (T, T).

    >>> create_prefix_mask(3, 7)
    tensor([[1., 1., 1., 0., 0., 0., 0.],
            [1., 1., 1., 0., 0., 0., 0.],
            [1., 1., 1., 0., 0., 0., 0.],
            [1., 1., 1., 1., 0., 0., 0.],
            [1., 1., 1., 1., 1., 0., 0.],
            [1., 1., 1., 1., 1., 1., 0.],
            [1., 1., 1., 1., 1., 1., 1.]])

    This one is for reading. `scaled_dot_product_attention` *adds* a float mask to the scores, with no error: give it
    the bool `prefix_mask`, or `additive_mask` of it.
    """
    total_len = whole_number("total_len", total_len)
    prefix_len = whole_number("prefix_len", prefix_len, high=total_len, high_name="total_len")
    room("total_len", total_len, 4 * total_len**2)
    mask = torch.zeros(total_len, total_len)
    mask[:prefix_len, :prefix_len] = 1  # within the prefix, everyone sees everyone
    for i in range(prefix_len, total_len):
        mask[i, : i + 1] = 1  # a target sees the prefix, the targets before it, and itself
    return mask


def prefix_mask(prefix_len, total_len: int, *, device=None) -> Tensor:
    """Return the prefix mask: (T, T) for one prefix length, (B, 1, T, T) for one per example.

    prefix_len: int, or a list or integer tensor (B,), each 0..T. A tensor must be on `device` (default: where it is);
    one on an accelerator is waited for once, because its values are checked.

            key      0 1 2 3 4
    query 0          1 1 1 0 0     prefix_mask(3, 5): three prefix tokens, two targets;
          1          1 1 1 0 0     the block that a prefix adds to causal is the upper
          2          1 1 1 0 0     right half of the 3 x 3 corner
          3          1 1 1 1 0
          4          1 1 1 1 1

    TypeError or ValueError for a length that is none, or out of range.

    Source: Raffel et al. 2020 (T5), section 3.2.1, the mask called "causal with prefix" there.
    """
    prefix, total_len, device = _checked(prefix_len, total_len, device)
    position = torch.arange(total_len, device=device)
    query, key = position[:, None], position[None, :]
    return (key <= query) | (key < prefix)


def _checked(prefix_len, total_len, device):
    """Return the prefix length, an int or (B, 1, 1, 1), the total length, and the device that they are meant for."""
    total_len, device = whole_number("total_len", total_len), usable_device("device", device)
    limits = {"high": total_len, "high_name": "total_len"}
    if is_whole_number(prefix_len):
        room("total_len", total_len, total_len**2)
        return whole_number("prefix_len", prefix_len, **limits), total_len, device
    prefix = length_tensor("prefix_len", prefix_len, device=device, or_one=True, **limits)
    room("total_len", total_len, max(len(prefix), 1) * total_len**2)
    return prefix[:, None, None, None], total_len, prefix.device


def causal_mask(total_len: int, *, device=None) -> Tensor:
    """Return the mask of a decoder, (T, T): each token sees the past and itself. `prefix_mask(0, T)`."""
    return prefix_mask(0, total_len, device=device)


def bidirectional_mask(total_len: int, *, device=None) -> Tensor:
    """Return the mask of an encoder, (T, T): everyone sees everyone. `prefix_mask(T, T)`."""
    return prefix_mask(total_len, total_len, device=device)


def padding_mask(lengths, total_len: int, *, device=None) -> Tensor:
    """Return which keys are real tokens, (B, 1, 1, T): example b has lengths[b] of them, then padding.

    lengths: a list or integer tensor (B,), each 0..T. Combine it last, with `&`: a prefix opened after the padding is
    masked would let padding in again.

    prefix_mask(3, 5) & padding_mask([4], 5)      key 0 1 2 3 4
                                          query 0     1 1 1 0 0
                                                1     1 1 1 0 0
                                                2     1 1 1 0 0
                                                3     1 1 1 1 0
                                      padding   4     1 1 1 1 0   its output is of no use to anyone, and seen by no one
    """
    total_len, device = whole_number("total_len", total_len), usable_device("device", device)
    lengths = length_tensor("lengths", lengths, high=total_len, high_name="total_len", device=device)
    room("total_len", total_len, max(len(lengths), 8) * total_len)  # 8: the positions are int64
    return (torch.arange(total_len, device=lengths.device) < lengths[:, None])[:, None, None, :]


def additive_mask(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return a bool mask as numbers to add to the scores: 0 where it allows, -inf where it does not. Same shape.

    A row that allows nothing is all -inf: `scaled_dot_product_attention` answers it with zeros, a softmax with NaN.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(f"mask must be a bool tensor, True = may attend, got {shown(mask)}")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point torch.dtype, got {short(dtype)}")
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, float("-inf"))


@dataclass(frozen=True)
class Visibility:
    """Who sees whom, as numbers: a prefix, padding and packing, together, for one example or for each of a batch.

    prefix_len      int, or one per example (B,): the first P tokens see each other.
    lengths         None, or (B,): example b has lengths[b] tokens, the rest is padding, which nobody sees. A prefix may
                    be longer than its example: an encoder's is P = T, whatever the padding.
    document_lens   None, or the lengths of the documents packed in the row; or a list of such lists, one per example.
                    Documents never see each other, and what is left of the row belongs to none: it sees nothing and
                    nobody sees it. Then prefix_len is shaped like document_lens, a prefix for each document; an int is
                    the prefix of every document.

    Lists and integer tensors are kept as ints and tuples, so that equal ones compare equal and can key a cache.
    `mask(total_len)` is the bool mask, (T, T) if nothing differs between examples, else (B, 1, T, T).

    TypeError for what is no length; ValueError if a prefix is longer than its document, or if what is given per example
    tells of unequally many.

    >>> Visibility([2, 1], document_lens=[3, 2]).mask(6).int()
    tensor([[1, 1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0],
            [0, 0, 0, 1, 0, 0],
            [0, 0, 0, 1, 1, 0],
            [0, 0, 0, 0, 0, 0]], dtype=torch.int32)
    """

    prefix_len: int | tuple
    lengths: tuple[int, ...] | None = None
    document_lens: tuple | None = None

    def __post_init__(self):
        prefix, lengths, documents = self.prefix_len, self.lengths, self.document_lens
        if lengths is not None:
            lengths = tuple(whole_numbers("lengths", lengths))
        one_for_all = is_whole_number(prefix)
        if one_for_all:
            prefix = whole_number("prefix_len", prefix)
        if documents is not None:
            documents = row_or_rows("document_lens", documents)
            prefix = filled(documents, prefix) if one_for_all else row_or_rows("prefix_len", prefix, or_one=True)
            check_documents("prefix_len", prefix, "document_lens", documents)
        elif not one_for_all:
            prefix = tuple(whole_numbers("prefix_len", prefix, or_one=True))
        for name, value in (("prefix_len", prefix), ("lengths", lengths), ("document_lens", documents)):
            object.__setattr__(self, name, value)  # a frozen dataclass sets its own fields so
        sizes = self._batch_sizes()
        if len(set(sizes.values())) > 1:
            told = ", ".join(f"{name} of {size}" for name, size in sizes.items())
            raise ValueError(f"all that is given per example must tell of equally many examples, got {told}")

    def _batch_sizes(self) -> dict[str, int]:
        sizes = {}
        if isinstance(self.prefix_len, tuple) and (self.document_lens is None or is_rows(self.prefix_len)):
            sizes["prefix_len"] = len(self.prefix_len)
        if self.lengths is not None:
            sizes["lengths"] = len(self.lengths)
        return sizes  # document_lens is shaped like prefix_len when it tells examples apart

    @property
    def batch_size(self) -> int | None:
        """The number of examples told apart, or None if one mask serves any batch."""
        return next(iter(self._batch_sizes().values()), None)

    def check(self, total_len: int, name: str = "total_len") -> None:
        """Refuse (ValueError) what goes beyond rows of total_len tokens, a length that the caller knows as `name`."""
        limit = {"high": total_len, "high_name": name}
        if self.document_lens is not None:
            rows = self.document_lens if is_rows(self.document_lens) else (self.document_lens,)
            if (longest := max(map(sum, rows))) > total_len:
                raise ValueError(f"document_lens add up to {short(longest)}, more than {name} = {total_len}")
        elif is_whole_number(self.prefix_len):
            whole_number("prefix_len", self.prefix_len, **limit)
        else:
            whole_numbers("prefix_len", self.prefix_len, **limit)
        if self.lengths is not None:
            whole_numbers("lengths", self.lengths, **limit)

    def mask(self, total_len: int, *, device=None) -> Tensor:
        """Return the bool mask, (T, T) or (B, 1, T, T); a length above total_len is an error."""
        device = usable_device("device", device)
        if self.document_lens is None:
            seen = prefix_mask(self.prefix_len, total_len, device=device)
        elif is_rows(self.document_lens):
            total_len = whole_number("total_len", total_len)
            room("total_len", total_len, len(self.document_lens) * total_len**2)
            rows = zip(self.prefix_len, self.document_lens, strict=True)
            seen = torch.stack([packed_mask(*row, total_len, device) for row in rows])[:, None]
        else:
            seen = packed_mask(self.prefix_len, self.document_lens, total_len, device)
        if self.lengths is not None:
            seen = seen & padding_mask(self.lengths, total_len, device=device)
        return seen
