"""What decoding with linear attention keeps: a state a layer, of the same size whatever it has read."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from .decoding_cache import DecodingCache
from .kernels import LinearState
from .masks import Visibility

if TYPE_CHECKING:
    from .model import PrefixLM

__all__ = ["StateCache"]


class StateCache(DecodingCache):
    """The states of all layers, for `batch_size` examples; used as a `KVCache` is.

        cache = StateCache(model, batch_size=2)
        model(prompt, prefix_len, lengths=[7, 5], cache=cache)     # the prefix comes whole, in the first call
        model(tokens, prefix_len, cache=cache)                     # one more token each, or several

    states   per layer, a `LinearState`; None before the first call.

    The prefix cannot be changed afterwards: a sum does not tell what was added when. Nor can the weights, as with a
    `KVCache`. It is not differentiable. A call that fails leaves the cache as it was.
    """

    _mend = "a state cannot be taken apart; begin with a new cache"

    def __init__(self, model: "PrefixLM", batch_size: int):
        super().__init__(model, batch_size)
        if model.config.attention == "softmax":
            raise ValueError("a StateCache is for attention without a softmax, got a model of 'softmax': see KVCache")
        self.states: list[LinearState | None] = [None] * model.config.layers

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is kept."""
        kept = [x for state in self.states if state is not None for x in state if x is not None]  # no z beside a gate
        return self.last.nbytes + sum(x.nbytes for x in kept)

    def begin(self, tokens: Tensor, seen: Visibility, positions: Tensor | None) -> "_Call":
        """Begin one call of the model with tokens (B, n); nothing counts as read before its `finish`."""
        return _Call(self, tokens, *self._checked(tokens, seen), positions)


class _Call:
    """One call of the model: `mask` is a Visibility, `positions` (B, n) are where the new tokens stand."""

    def __init__(self, cache: StateCache, tokens: Tensor, counts: list[int], prefix_lens: list[int], positions):
        self.cache, self.counts, self.prefix_lens = cache, counts, prefix_lens
        first = cache.prefix_lens is None
        self.mask = Visibility(prefix_lens if first else 0, lengths=counts)
        new = torch.arange(tokens.shape[1], device=tokens.device)
        if positions is None:
            real = new < torch.tensor(counts, device=tokens.device)[:, None]
            positions = (torch.tensor(cache.lengths, device=tokens.device)[:, None] + new).where(real, 0)
            if cache.model.config.has_blocks:
                positions = torch.stack([positions, torch.zeros_like(positions)], dim=-1)
        self.positions = positions
        self.layers = [_Layer(state) for state in cache.states]

    def layer(self, index: int, x: Tensor) -> "_Layer":
        """Return what one layer keeps."""
        return self.layers[index]

    def finish(self, x: Tensor) -> None:
        """Take over the new states; x (B, n, dim) is what the model answered to the new tokens."""
        self.cache._count(x, self.counts, self.prefix_lens)
        self.cache.states = [layer.state for layer in self.layers]  # last: what fails before it has read nothing


class _Layer:
    """The state of one layer; the layer reads it and sets the next."""

    def __init__(self, state: LinearState | None):
        self.state = state
