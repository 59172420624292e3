"""The key/value cache of a prefix language model, and what goes stale in it when the prefix changes.

Under a causal mask a row, once computed, stays right for ever: it never looked ahead. A prefix row did. Move the end of
the prefix from P to Q, and row i, which sees up to max(i, P - 1), is

    in layer 1        still right: its key and value come from its own embedding;
    in layer 2        wrong if it now sees more or less than before: rows 0..max(P, Q) - 2;
    from layer 3 on   wrong, whatever i is: it sees row 0, and row 0 is wrong in layer 2.

(P = 0 and P = 1 are the same mask: between them nothing goes stale.) So to mend a cache takes more than its keys and
values: the tokens and their positions, from which layer 1's inputs are made again, and layer 2's inputs, which are
right but for the rows above. Layers from 3 on need nothing, for all of them is made anew.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ._check import is_whole_number, room, whole_number, whole_numbers
from .decoding_cache import DecodingCache
from .masks import Visibility, prefix_mask

if TYPE_CHECKING:
    from .model import PrefixLM

__all__ = ["KVCache", "stale_rows"]

MOST_LAYERS = 10_000


def stale_rows(old_len: int, new_len: int, total_len: int, layers: int) -> list[range]:
    """Return, layer by layer, which of total_len cached rows go stale when the prefix length becomes new_len.

    >>> stale_rows(3, 6, 8, 3)
    [range(0, 0), range(0, 5), range(0, 8)]
    """
    total_len = whole_number("total_len", total_len)
    old, new = (
        whole_number(name, value, high=total_len, high_name="total_len")
        for name, value in (("old_len", old_len), ("new_len", new_len))
    )
    layers = whole_number("layers", layers, low=1)
    if layers > MOST_LAYERS:
        raise ValueError(f"layers must be at most {MOST_LAYERS}, got {layers}")
    if max(old, 1) == max(new, 1):
        return [range(0)] * layers
    seen_anew = range(max(old, new) - 1)  # the rows whose visible set changed; growing or shrinking, they are the same
    return [range(0), seen_anew, *[range(total_len)] * (layers - 2)][:layers]


class KVCache(DecodingCache):
    """What decoding keeps of the tokens it has read, for `batch_size` examples of up to `capacity` tokens each.

        cache = KVCache(model, batch_size=2)
        model(prompt, prefix_len, lengths=[7, 5], cache=cache)     # prefill; the prefix comes whole, in the first call
        model(tokens, prefix_len, cache=cache)                     # one more token each, or several
        cache.extend_prefix([9, 5])                                # the prefix is longer now: mends what went stale

    Row s of an example is its token s, so that examples of different lengths lie side by side without gaps; padding is
    never stored. `capacity` is the model's max_len unless given.

    lengths, prefix_lens   of `DecodingCache`: tokens held, and prefix lengths, one int per example.
    keys, values  per layer, (B, kv_heads, capacity, D).
    tokens, positions   (B, capacity), and `inputs`, what layer 2 was given, (B, capacity, dim): for extend_prefix.
                  Positions are (B, capacity, 2) where the model has block positions, too.
                  Keys and values are 2 * layers * kv_heads * head_dim numbers a token; these are dim numbers and
                  two int64 more, however many layers there are. `nbytes` is all together.

    A cache belongs to the weights that filled it: once they have changed, it is a ValueError to go on. What torch does
    not count, such as a fused optimizer's step or a write to `weight.data`, is noticed by the first number of each
    weight; what leaves all of those as they were is not noticed. A cache is not differentiable. Memory is taken
    when it is made. A call that fails, or is interrupted while it computes, leaves it as it was.
    """

    _mend = "rows would be stale; change them with cache.extend_prefix"

    def __init__(self, model: "PrefixLM", batch_size: int, *, capacity: int | None = None):
        super().__init__(model, batch_size)
        config, weight = model.config, next(model.parameters())
        if config.attention != "softmax":
            raise ValueError(f"a KVCache is for softmax attention, got a model of {config.attention!r}: see StateCache")
        limit = {"low": 1, "high": config.max_len, "high_name": "max_len"}
        if capacity is not None:
            self.capacity = whole_number("capacity", capacity, **limit)
        batch, own = (self.batch_size, self.capacity), {"dtype": weight.dtype, "device": weight.device}
        row = config.layers * config.kv_heads * (config.head_dim + (config.value_dim or config.head_dim)) + config.dim
        room("batch_size", self.batch_size, self.batch_size * self.capacity * row * weight.element_size())
        shape = (self.batch_size, config.kv_heads, self.capacity)
        self.keys = [torch.zeros(*shape, config.head_dim, **own) for _ in range(config.layers)]
        self.values = [torch.zeros(*shape, config.value_dim or config.head_dim, **own) for _ in range(config.layers)]
        whole = {"dtype": torch.int64, "device": weight.device}
        self.tokens = torch.zeros(batch, **whole)
        self.positions = torch.zeros((*batch, 2) if config.has_blocks else batch, **whole)
        self.inputs = torch.zeros(*batch, config.dim, **own)

    @property
    def nbytes(self) -> int:
        """Bytes of everything that is kept."""
        return sum(x.nbytes for x in (*self.keys, *self.values, self.tokens, self.positions, self.inputs, self.last))

    def begin(self, tokens: Tensor, seen: Visibility, positions: Tensor | None) -> "_Call":
        """Make room for the tokens (B, n) of one call of the model; nothing counts as held before its `finish`."""
        return _Call(self, tokens, *self._checked(tokens, seen), positions)

    @torch.no_grad()
    def extend_prefix(self, new_len) -> list[int]:
        """Change the prefix length, longer or shorter, and re-encode exactly the rows that it makes stale.

        new_len: int, or a list or integer tensor (B,), each from 0 to the tokens that the example holds. Returns how
        many rows were re-encoded in each layer, all examples together; `stale_rows` says which. Afterwards the cache is
        that of a fresh prefill, and `next_logits` answers under the new prefix. Nothing is written before all is
        computed.
        """
        if self.prefix_lens is None:
            raise ValueError("the cache is empty: its prefix length is that of the first call of the model")
        one = is_whole_number(new_len)
        new = [new_len] * self.batch_size if one else whole_numbers("new_len", new_len, or_one=True)
        new = self._check_prefix("new_len", new, self.lengths)
        self._check_mode()
        self._check_weights()
        layers = len(self.keys)
        by_example = zip(self.prefix_lens, new, self.lengths, strict=True)
        stale = [[len(rows) for rows in stale_rows(*lens, layers)] for lens in by_example]
        counts = [sum(layer) for layer in zip(*stale, strict=True)]
        changed = [b for b in range(self.batch_size) if max(new[b], 1) != max(self.prefix_lens[b], 1)]
        if changed:
            self._re_encode(changed, [new[b] for b in changed], [stale[b] for b in changed])
        self.prefix_lens = new
        return counts

    def _re_encode(self, changed: list[int], prefix_lens: list[int], stale: list[list[int]]) -> None:
        blocks, device = self.model.blocks, self.inputs.device
        lengths = torch.tensor([self.lengths[b] for b in changed], device=device)
        b, longest = torch.tensor(changed, device=device), max(self.lengths[b] for b in changed)
        mask = prefix_mask(prefix_lens, longest, device=device)
        positions = self.positions[b, :longest]
        x = self.model.embed(self.tokens[b, :longest], positions)
        k, v = self.keys[0][b, :, :longest], self.values[0][b, :, :longest]  # layer 1 keeps its own
        fresh, inputs = {}, None

        if len(blocks) > 1:  # layer 2 has new inputs in each example's first rows
            most = max(rows[1] for rows in stale)
            new = blocks[0](x[:, :most], mask[:, :, :most], positions=positions[:, :most], cache=(k, v))
            x = inputs = self.inputs[b, :longest]  # a copy, as are k and v
            k, v = self.keys[1][b, :, :longest], self.values[1][b, :, :longest]
            x[:, :most] = new
            k[:, :, :most], v[:, :, :most] = blocks[1].keys_values(new, positions[:, :most])
            fresh[1] = k, v
        for i in range(2, len(blocks)):  # from layer 3 on every row is stale
            x = blocks[i - 1](x, mask, positions=positions, cache=(k, v))
            fresh[i] = k, v = blocks[i].keys_values(x, positions)

        # Of the last layer's outputs one is of use: that of the last token, from which the next one is foretold.
        each, end = torch.arange(len(changed), device=device), lengths - 1
        at_end = {"positions": positions[each, end][:, None], "cache": (k, v)}
        x = blocks[-1](x[each, end][:, None], mask[each, :, end][:, :, None], **at_end)
        self.last[b] = self.model.norm(x[:, 0])
        for n, example in enumerate(changed):
            for i, (k, v) in fresh.items():
                rows = stale[n][i]
                self.keys[i][example, :, :rows] = k[n, :, :rows]
                self.values[i][example, :, :rows] = v[n, :, :rows]
            if inputs is not None:
                self.inputs[example, : stale[n][1]] = inputs[n, : stale[n][1]]


class _Call:
    """One call of the model with a cache: n new tokens for each example, of which counts[b] are real.

    mask        (B, 1, n, S): whom each new row sees among the S rows that are held then.
    positions   (B, n), or (B, n, 2) with block positions: the rows where the new tokens stand, in block 0, unless the
                caller gave others; 0 for padding.
    """

    def __init__(
        self, cache: KVCache, tokens: Tensor, counts: list[int], prefix_lens: list[int], positions: Tensor | None
    ):
        self.cache, self.counts, self.prefix_lens = cache, counts, prefix_lens
        device, new = tokens.device, torch.arange(tokens.shape[1], device=tokens.device)
        held = torch.tensor(cache.lengths, device=device)[:, None]
        row = held + new  # (B, n)
        real = new < torch.tensor(counts, device=device)[:, None]
        self.example, self.new = real.nonzero(as_tuple=True)
        self.row = row[self.example, self.new]
        if positions is None:
            positions = row.where(real, 0)
            if cache.positions.dim() == 3:
                positions = torch.stack([positions, torch.zeros_like(row)], dim=-1)
        self.positions = positions.expand(*row.shape, *cache.positions.shape[2:])
        self.total = max(n + count for n, count in zip(cache.lengths, counts, strict=True))
        key = torch.arange(self.total, device=device)
        prefix = torch.tensor(prefix_lens, device=device)[:, None, None]
        self.mask = ((key <= row[..., None]) | (key < prefix))[:, None]
        self._keep(cache.tokens, tokens)
        self._keep(cache.positions, self.positions)

    def layer(self, index: int, x: Tensor) -> "_Layer":
        """Return the cache of one layer, whose input is x (B, n, dim)."""
        if index == 1:
            self._keep(self.cache.inputs, x)
        return _Layer(self, index)

    def finish(self, x: Tensor) -> None:
        """Count the new rows as held; x (B, n, dim) is what the model answered to them."""
        self.cache._count(x, self.counts, self.prefix_lens)

    def _keep(self, store: Tensor, new: Tensor) -> None:
        store[self.example, self.row] = new.detach()[self.example, self.new].to(store.dtype)  # rows of real tokens only


class _Layer:
    """One layer's part of a call."""

    def __init__(self, call: _Call, index: int):
        self.call, self.index = call, index

    def write(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the new rows (B, kv_heads, n, D); return all rows, the new ones included, (B, kv_heads, S, D) each."""
        call, cache = self.call, self.call.cache
        stores = cache.keys[self.index], cache.values[self.index]
        for store, new in zip(stores, (keys, values), strict=True):
            call._keep(store.transpose(1, 2), new.transpose(1, 2))
        return stores[0][:, :, : call.total], stores[1][:, :, : call.total]
