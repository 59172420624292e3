"""What every cache does, whatever it keeps: count tokens, refuse what does not go on, and answer for the last one."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._check import is_whole_number, room, short, shown, whole_number
from .kernels import LinearState
from .masks import Visibility

if TYPE_CHECKING:
    from .model import PrefixLM


class DecodingCache:
    """The part that `KVCache` and `StateCache` share.

    capacity      the most tokens of an example, the model's max_len unless something else is said.
    lengths       tokens read, one int per example.
    prefix_lens   prefix lengths, one int per example; None before the first call.
    last          (B, dim), the model's answer to each example's last token.

    A copy, by copy.copy or copy.deepcopy, goes on by itself from where the cache is, with the same model: so a text can
    go on in several ways, as in a beam, from a prompt that is read once.
    """

    def __init__(self, model: "PrefixLM", batch_size: int):
        if not isinstance(getattr(model, "blocks", None), torch.nn.ModuleList):  # PrefixLM itself imports this module
            raise TypeError(f"model must be a PrefixLM, got {shown(model)}")
        self.batch_size, self.model = whole_number("batch_size", batch_size, low=1), model
        self.capacity = model.config.max_len
        weight = next(model.parameters())
        room("batch_size", self.batch_size, self.batch_size * model.config.dim * weight.element_size())
        self.last = torch.zeros(self.batch_size, model.config.dim, dtype=weight.dtype, device=weight.device)
        self.lengths = [0] * self.batch_size
        self.prefix_lens: list[int] | None = None
        self._filled_by: _Weights | None = None

    def __copy__(self) -> "DecodingCache":
        """Return a cache that goes on from here by itself, with tensors of its own; the model is the same one."""
        new = object.__new__(type(self))
        new.__dict__ = {name: _copied(value) for name, value in vars(self).items()}
        return new

    def __deepcopy__(self, memo: dict) -> "DecodingCache":
        """Do the same: with a copy of the model, too, it would be refused by the model that it was made for."""
        return self.__copy__()

    def next_logits(self) -> Tensor:
        """Return the logits of what follows each example's last token, (B, vocab_size), under the prefix as it is."""
        if 0 in self.lengths:
            raise ValueError(
                f"example {self.lengths.index(0)} of the cache holds no token: nothing foretells the first"
            )
        self._check_weights()
        with torch.no_grad():
            return self.model.logits(self.last)

    def _checked(self, tokens: Tensor, seen: Visibility) -> tuple[list[int], list[int]]:
        """Return how many real tokens this call brings each example, and its prefix length, once all goes on."""
        self._check_mode()
        self._check_weights()
        batch, new = tokens.shape
        if batch != self.batch_size:
            raise ValueError(
                f"tokens must be of the {self.batch_size} examples that the cache was made for, got {short(batch)}"
            )
        if seen.document_lens is not None:
            raise ValueError("a cache holds one document per example: document_lens cannot go with it")
        counts = [new] * batch if seen.lengths is None else list(seen.lengths)
        limit = {"high": new, "high_name": "the tokens given"}
        counts = [whole_number(f"lengths[{b}]", count, **limit) for b, count in enumerate(counts)]
        longest = max(held + count for held, count in zip(self.lengths, counts, strict=True))
        if longest > self.capacity:
            raise ValueError(
                f"the cache has room for {self.capacity} tokens an example, got {longest} with the new ones"
            )
        prefix_lens = [seen.prefix_len] * batch if is_whole_number(seen.prefix_len) else list(seen.prefix_len)
        if self.prefix_lens is None:
            prefix_lens = self._check_prefix("prefix_len", prefix_lens, counts)
        elif prefix_lens != self.prefix_lens:
            raise ValueError(
                f"the cache was filled with prefix lengths {self.prefix_lens}, got {short(prefix_lens)}: {self._mend}"
            )
        return counts, prefix_lens

    _mend: str  # what to do when a prefix is to change

    def _check_mode(self) -> None:
        if self.model.training and self.model.config.dropout > 0:
            raise ValueError("dropout would make every row of a cache another model's: call model.eval() first")

    def _check_weights(self) -> None:
        """Refuse a model whose weights are not those that filled the cache: what it holds would be another model's."""
        if self._filled_by is not None and self._filled_by.changed():
            raise ValueError("the model's weights have changed since this cache was filled: make a new one")

    def _check_prefix(self, name: str, prefix_lens: list, held: list[int]) -> list[int]:
        if len(prefix_lens) != self.batch_size:
            raise ValueError(
                f"{name} must have one entry for each of the {self.batch_size} examples, got {len(prefix_lens)}"
            )
        return [
            whole_number(f"{name} of example {b}", one, high=count, high_name="the tokens that the example has")
            for b, (one, count) in enumerate(zip(prefix_lens, held, strict=True))
        ]

    def _count(self, x: Tensor, counts: list[int], prefix_lens: list[int]) -> None:
        """Take the new tokens as read; x (B, n, dim) is what the model answered to them."""
        last = torch.tensor(counts, device=x.device) - 1
        some = (last >= 0).nonzero()[:, 0]
        self.last[some] = x.detach()[some, last[some]].to(self.last.dtype)
        self.lengths = [held + count for held, count in zip(self.lengths, counts, strict=True)]
        self.prefix_lens = prefix_lens
        if self._filled_by is None:
            self._filled_by = _Weights(self.model)


class _Weights:
    """A model's weights as they are now, to tell later on whether they still are."""

    def __init__(self, model: "PrefixLM"):
        # Kept flat: to walk through the modules for each token would take several times as long as to look here.
        self.parts = [
            (holder, name, part, _state(part) if isinstance(part, Tensor) else None)
            for module in model.modules()
            for holder in (module._modules, module._parameters)
            for name, part in holder.items()
        ]
        # Fused optimizers and weight.data write past torch's count of versions. A step moves nearly every number, so
        # the first of each weight tells of it, as bytes: so NaN is equal to itself, and all types lie in one row.
        weights = [weight.detach() for weight in model.parameters() if weight.numel()]
        self.firsts = [weight.as_strided((1,), (1,)).view(torch.uint8) for weight in weights]
        self.read = torch.cat(self.firsts)

    def changed(self) -> bool:
        """Whether any weight was replaced, moved or written. On an accelerator this waits for the device once."""
        for holder, name, part, state in self.parts:
            now = holder.get(name)
            if now is not part or (state is not None and _state(now) != state):
                return True
        return not torch.equal(torch.cat(self.firsts), self.read)


def _copied(value):
    """Return a copy of a tensor, or of a list or LinearState of them; all else in a cache is never written in place."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, LinearState):
        return LinearState(*map(_copied, value))
    return [_copied(one) for one in value] if isinstance(value, list) else value


def _state(weight: Tensor) -> tuple[int, int]:
    """Return what changes when a weight is written in place, or is given other memory, as .double() does."""
    return 0 if weight.is_inference() else weight._version, weight.data_ptr()  # inference tensors count no versions
