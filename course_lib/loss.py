"""Which rows carry loss, and the loss. Row i foretells token i + 1: the first target is for the last prefix row, P - 1.

Rows of the prefix before that have nothing to learn by: they have seen already what they would have to foretell.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ._check import is_whole_number, room, shown, usable_device, whole_number
from .masks import Visibility
from .positions import check_ids, document_positions, spread


def default_loss_mask(seen: Visibility, total_len: int, *, device=None) -> Tensor:
    """Return which rows carry loss, bool (T,) or (B, T): the last prefix token and every target, in each document.

    ValueError if a prefix, a length or the documents are longer than total_len; TypeError if seen is no Visibility.

    >>> default_loss_mask(Visibility(3), 7).int()
    tensor([0, 0, 1, 1, 1, 1, 1], dtype=torch.int32)
    """
    if not isinstance(seen, Visibility):
        raise TypeError(f"seen must be a Visibility, got {shown(seen)}")
    total_len, device = whole_number("total_len", total_len), usable_device("device", device)
    room("total_len", total_len, 8 * total_len * (seen.batch_size or 1))
    seen.check(total_len)
    documents, prefix = seen.document_lens, seen.prefix_len
    if documents is not None:  # what is left of the row behind the documents has a prefix without end
        position = document_positions(documents, total_len, device=device)
        prefix = spread(prefix, documents, total_len, rest=total_len + 2, device=device)
    else:
        position = torch.arange(total_len, device=device)
        prefix = prefix if is_whole_number(prefix) else torch.tensor(prefix, device=device)[:, None]
    rows = position >= prefix - 1
    if seen.lengths is not None:
        rows = rows & (torch.arange(total_len, device=device) < torch.tensor(seen.lengths, device=device)[:, None])
    return rows


def masked_loss(logits: Tensor, targets: Tensor, loss_mask: Tensor) -> Tensor:
    """Return the mean cross-entropy, in nats, of the rows that loss_mask allows; 0 if it allows none.

    logits (B, T, V), targets (B, T), loss_mask bool (T,) or (B, T). ValueError for other shapes, and for a target that
    carries loss and is not 0..V - 1; TypeError for a loss_mask that is not bool, and targets that are not integers.
    """
    if not isinstance(logits, Tensor) or logits.dim() != 3:
        raise ValueError(f"logits must be a tensor (batch, length, vocab_size), got {shown(logits)}")
    batch, total, vocab_size = logits.shape
    check_scored(targets, loss_mask, batch, total)
    targets = targets.masked_fill(~loss_mask, 0)
    check_ids("targets", targets, vocab_size, "vocab_size")
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32)).flatten(0, 1)
    losses = F.cross_entropy(logits, targets.flatten().long(), reduction="none").view(batch, total)
    # No rows at all is no mistake (a batch may hold nothing but prefixes), but 0/0 would be: one NaN ruins all weights.
    return losses.masked_fill(~loss_mask, 0).sum() / loss_mask.expand(batch, total).sum().clamp(min=1)


def check_scored(targets, loss_mask, batch: int, total: int) -> None:
    """Refuse targets that are not (B, T), and a loss_mask that is not bool (T,) or (B, T)."""
    shapes = {"targets": [(batch, total)], "loss_mask": [(total,), (batch, total)]}
    for name, value in (("targets", targets), ("loss_mask", loss_mask)):
        if not isinstance(value, Tensor) or tuple(value.shape) not in shapes[name]:
            raise ValueError(
                f"{name} must be a tensor of shape {' or '.join(map(str, shapes[name]))}, got {shown(value)}"
            )
    if loss_mask.dtype != torch.bool:
        raise TypeError(f"loss_mask must be bool, True = carries loss, got {shown(loss_mask)}")
