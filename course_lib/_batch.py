"""What a step of training reads: a batch in each of its forms, checked, moved to the model, and counted."""

from torch import Tensor

from ._check import short, shown
from .glm import BlankInfilling
from .loss import check_scored, default_loss_mask
from .masks import Visibility
from .objectives import Example
from .packing import is_rows


def read_batch(batch: Example | BlankInfilling | dict, device, must: str) -> tuple[dict, int, int]:
    """Return the arguments of PrefixLM.forward on the device, how many tokens are read, and how many carry loss.

    must: how an error begins, such as "batch_of must return".
    """
    if isinstance(batch, (Example, BlankInfilling)):
        batch = batch.arguments()
    if not isinstance(batch, dict) or not {"tokens", "prefix_len", "targets"} <= batch.keys():
        what = f"a dict of {short(list(batch))}" if isinstance(batch, dict) else shown(batch)
        raise TypeError(
            f"{must} an Example, a BlankInfilling, or a dict with tokens, prefix_len and targets, got {what}"
        )
    batch = {name: one.to(device) if isinstance(one, Tensor) else one for name, one in batch.items()}
    tokens = batch["tokens"]
    if not isinstance(tokens, Tensor) or tokens.dim() != 2:
        raise ValueError(f"{must} a batch, tokens (batch, length), got {shown(tokens)}")
    seen = Visibility(batch["prefix_len"], batch.get("lengths"), batch.get("document_lens"))
    if seen.batch_size not in (None, len(tokens)):
        raise ValueError(f"prefix_len and lengths tell of {seen.batch_size} examples, but tokens are of {len(tokens)}")
    seen.check(tokens.shape[1], "the length of tokens")
    if batch.get("loss_mask") is None:
        batch["loss_mask"] = default_loss_mask(seen, tokens.shape[1], device=device)
    check_scored(batch["targets"], batch["loss_mask"], *tokens.shape)
    return batch, _count(seen, *tokens.shape), int(batch["loss_mask"].expand(tokens.shape).sum())


def _count(seen: Visibility, batch: int, total: int) -> int:
    """Return how many tokens of a batch are read: neither padding nor what is left of a row behind its documents."""
    documents = seen.document_lens or (total,)
    rows = documents if is_rows(documents) else [documents] * batch
    lengths = [total] * batch if seen.lengths is None else seen.lengths
    return sum(min(sum(row), length) for row, length in zip(rows, lengths, strict=True))
