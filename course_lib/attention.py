"""Attention layers. Tensors are (B, T, dim) between layers and (B, H, T, D) within attention.

What attention may see is a `Visibility`, or a bool mask, True = may attend, (T, T) or (B, 1, T, T); None is causal. A
query that may see nothing gets zeros. No layer has biases.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._check import check_flag, room_of_weight, short, shown, whole_number
from .kernels.reference import softmax_attention
from .masks import Visibility
from .positions import rotary, rotary_2d

__all__ = ["Attention", "AttentionHeads", "Joined"]


class Joined(nn.Linear):
    """Several linear maps of one input as one product: their matrices one below the other, their outputs side by side.

    The input is read once, and one large product keeps a machine busier than several small ones.
    """

    def __init__(self, dim: int, widths: tuple[int, ...]):
        super().__init__(dim, sum(widths), bias=False)
        self.widths = widths

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return one (..., width) for each of the maps, views of one tensor."""
        return super().forward(x).split(self.widths, dim=-1)

    def some(self, x: Tensor, first: int, last: int) -> tuple[Tensor, ...]:
        """Return what the maps number first..last - 1 make of x, and compute no other."""
        rows = slice(sum(self.widths[:first]), sum(self.widths[:last]))
        return F.linear(x, self.weight[rows]).split(self.widths[first:last], dim=-1)


class AttentionHeads(nn.Module):
    """Softmax attention between its projections: no weights, `heads` query heads, `kv_heads` key/value heads.

    Each key/value head is shared by heads/kv_heads queries: kv_heads = heads is multi-head attention, 1 is multi-query,
    between them lies grouped-query attention. The scale is head_dim^-0.5. `rotary` turns queries and keys by their
    positions; else positions are not looked at. `value_dim` is head_dim unless given. TypeError or ValueError for sizes
    that are not whole numbers of at least 1, or do not go together.

    Sources: Vaswani et al. 2017, section 3.2; Shazeer 2019 (multi-query), section 3; Ainslie et al. 2023 (GQA), 2.2.
    """

    def __init__(
        self,
        heads: int,
        head_dim: int,
        kv_heads: int | None = None,
        *,
        rotary: bool = True,
        value_dim: int | None = None,
    ):
        super().__init__()
        self.heads, self.head_dim = whole_number("heads", heads, low=1), whole_number("head_dim", head_dim, low=1)
        self.kv_heads = self.heads if kv_heads is None else whole_number("kv_heads", kv_heads, low=1)
        self.value_dim = self.head_dim if value_dim is None else whole_number("value_dim", value_dim, low=1)
        self.rotary = check_flag("rotary", rotary)
        check_heads(self.heads, self.kv_heads, self.head_dim, self.rotary)

    @property
    def widths(self) -> tuple[int, int, int]:
        """How many features the queries, the keys and the values of a token have, all heads together."""
        return self.heads * self.head_dim, self.kv_heads * self.head_dim, self.kv_heads * self.value_dim

    @property
    def read_width(self) -> int:
        """How many features all heads of a token read together."""
        return self.heads * self.value_dim

    def check_room(self, dim: int) -> None:
        """Refuse sizes whose projections from and to `dim` features no memory holds."""
        room_of_weight(dim=dim, heads=self.heads, head_dim=self.head_dim)  # there are no more key/value heads
        room_of_weight(dim=dim, heads=self.heads, value_dim=self.value_dim)

    def read(self, q: Tensor, k, v, mask=None, *, positions: Tensor | None = None, cache=None) -> Tensor:
        """Return what each query reads, (B, T, read_width).

        q, k, v     (B, T, widths), straight from their projections.
        positions   (T,) or (B, T); 0..T - 1 unless given. With a cache they must be given, as must the mask. Or
                    (B, T, 2), positions and block positions, for the two-dimensional rotary form.
        cache       an object whose `write(keys, values)` keeps the rows of this call and returns all S rows it holds,
                    (B, kv_heads, S, D) each; or those two tensors themselves, and then k and v are not looked at. The
                    mask is (T, S) or (B, 1, T, S).
        """
        if cache is not None and (mask is None or positions is None):
            raise ValueError("with a cache, mask and positions must be given: neither begins at row 0 any more")
        if isinstance(cache, tuple):
            k, v = cache
        else:
            k, v = self.cached(k, v, positions)
            if cache is not None:
                k, v = cache.write(k, v)
        q = self._turned(self._split(q), positions)
        if mask is not None:
            mask = as_bool_mask(mask, len(q), q.shape[2], k.shape[2], q.device)
        gqa = self.kv_heads != self.heads
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=gqa)
        return out.transpose(1, 2).flatten(2)

    def cached(self, k: Tensor, v: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what a cache keeps of projected keys and values: keys, turned; values; (B, kv_heads, T, D) each."""
        return self._turned(self._split(k), positions), self._split(v, self.value_dim)

    def read_weights(self, q: Tensor, k: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Return how much each query looks at each key, (B, H, T, T); rows add up to 1, or to 0 if they see nothing."""
        length = q.shape[1]
        q, k = (self._turned(self._split(one), positions) for one in (q, k))
        k = k.repeat_interleave(self.heads // self.kv_heads, dim=1)
        mask = as_bool_mask(Visibility(0) if mask is None else mask, len(q), length, length, q.device)
        one_hot = torch.eye(length, dtype=q.dtype, device=q.device)  # the values: what comes out is the weights
        return softmax_attention(q, k, one_hot, mask)

    def _split(self, x: Tensor, width: int | None = None) -> Tensor:
        return x.unflatten(-1, (-1, width or self.head_dim)).transpose(1, 2)  # (B, T, H * D) -> (B, H, T, D)

    def _turned(self, x: Tensor, positions: Tensor | None) -> Tensor:
        if not self.rotary:
            return x
        if isinstance(positions, Tensor) and positions.dim() == 3:
            return rotary_2d(x, positions)
        return rotary(x, torch.arange(x.shape[2], device=x.device) if positions is None else positions)


class Attention(AttentionHeads):
    """`AttentionHeads` with its four projections; `fused` makes queries, keys and values by one product."""

    def __init__(
        self,
        dim: int,
        heads: int,
        head_dim: int,
        kv_heads: int | None = None,
        *,
        fused: bool = False,
        **more,
    ):
        super().__init__(heads, head_dim, kv_heads, **more)
        self.dim, self.fused = whole_number("dim", dim, low=1), check_flag("fused", fused)
        self.check_room(self.dim)
        if fused:
            self.qkv = Joined(self.dim, self.widths)
        else:
            query, key, value = self.widths
            self.query = nn.Linear(self.dim, query, bias=False)
            self.key = nn.Linear(self.dim, key, bias=False)
            self.value = nn.Linear(self.dim, value, bias=False)
        self.output = nn.Linear(self.read_width, self.dim, bias=False)

    def forward(self, x: Tensor, mask=None, *, positions: Tensor | None = None, cache=None) -> Tensor:
        """Return (B, T, dim). Row i of `mask` says what x[:, i] may see; positions and cache are those of `read`."""
        if isinstance(cache, tuple):  # the keys and values are there: x adds none of its own
            q, k, v = self._query(x), None, None
        else:
            q, k, v = self.project(x)
        return self.output(self.read(q, k, v, mask, positions=positions, cache=cache))

    def project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the queries, keys and values of x (B, T, dim), (B, T, widths)."""
        check_x(x, self.dim)
        return self.qkv(x) if self.fused else (self.query(x), self.key(x), self.value(x))

    def keys_values(self, x: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what a cache keeps of x (B, T, dim): keys, turned already, and values, (B, kv_heads, T, D) each."""
        check_x(x, self.dim)
        k, v = self.qkv.some(x, 1, 3) if self.fused else (self.key(x), self.value(x))
        return self.cached(k, v, positions)

    def weights(self, x: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Return how much each query looks at each key, (B, H, T, T); rows add up to 1, or to 0 if they see nothing."""
        check_x(x, self.dim)
        q, k = self.qkv.some(x, 0, 2) if self.fused else (self.query(x), self.key(x))
        return self.read_weights(q, k, mask, positions=positions)

    def _query(self, x: Tensor) -> Tensor:
        check_x(x, self.dim)
        return self.qkv.some(x, 0, 1)[0] if self.fused else self.query(x)


def check_x(x, dim: int) -> Tensor:
    """Return what goes into a layer, dense floats (B, T, dim); refuse any other."""
    if not isinstance(x, Tensor) or x.dim() != 3 or x.shape[-1] != dim:
        raise ValueError(f"x must be a tensor (batch, length, dim = {dim}), got {shown(x)}")
    if not x.is_floating_point() or x.layout != torch.strided:
        raise TypeError(f"x must be a dense tensor of floats, got {shown(x)}")
    return x


def check_heads(heads: int, kv_heads: int, head_dim: int, rotary: bool) -> None:
    """Refuse heads that cannot share key/value heads evenly, and features that cannot be turned in pairs."""
    if heads % kv_heads:
        raise ValueError(f"heads must be a multiple of kv_heads, got {short(heads)} and {short(kv_heads)}")
    if rotary and head_dim % 2:
        raise ValueError(f"head_dim must be even for rotary positions, got {short(head_dim)}")


def as_bool_mask(mask, batch: int, queries: int, keys: int, device) -> Tensor:
    """Return a Visibility as its mask, and a mask as it is, once its type and shape are right."""
    if isinstance(mask, Visibility):
        mask = mask.mask(keys, device=device)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        raise TypeError(
            f"mask must be a Visibility or a bool tensor, True = may attend, got {shown(mask)}; "
            "numbers would be added to the scores"
        )
    if tuple(mask.shape) not in ((queries, keys), (batch, 1, queries, keys)):
        wanted = f"({queries}, {keys}) or ({batch}, 1, {queries}, {keys})"
        raise ValueError(f"mask must be {wanted}, got {tuple(mask.shape)}")
    return mask
