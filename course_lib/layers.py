"""The parts of a Transformer block. Tensors are (B, T, dim) between layers and (B, H, T, D) within attention.

What attention may see is a `Visibility`, or a bool mask, True = may attend, (T, T) or (B, 1, T, T); None is causal. A
query that may see nothing gets zeros. No layer has biases.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._check import shown, whole_number
from .kernels.reference import softmax_attention
from .masks import Visibility
from .positions import rotary, rotary_2d

__all__ = ["MLPS", "NORMS", "Attention", "GeluMLP", "SerialBlock", "SwiGLU"]

NORMS = {"rmsnorm": nn.RMSNorm, "layernorm": lambda dim: nn.LayerNorm(dim, bias=False)}


class SwiGLU(nn.Module):
    """(silu(x W_gate) * x W_up) W_down. Source: Shazeer 2020, "GLU Variants Improve Transformer", equation 6."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class GeluMLP(nn.Module):
    """gelu(x W_up) W_down, the gelu exact. Source: Hendrycks and Gimpel 2016, section 2."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


MLPS = {"swiglu": SwiGLU, "gelu": GeluMLP}


class Attention(nn.Module):
    """Softmax attention with `heads` query heads and `kv_heads` key/value heads, each shared by heads/kv_heads queries.

    kv_heads = heads is multi-head attention, 1 is multi-query, between them lies grouped-query attention. The scale is
    head_dim^-0.5. `rotary` turns queries and keys by their positions; else positions are not looked at.

    Sources: Vaswani et al. 2017, section 3.2; Ainslie et al. 2023 (GQA), section 2.2.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, kv_heads: int | None = None, *, rotary: bool = True):
        super().__init__()
        self.heads, self.head_dim, self.rotary = whole_number("heads", heads, low=1), head_dim, rotary
        self.kv_heads = heads if kv_heads is None else whole_number("kv_heads", kv_heads, low=1)
        if self.heads % self.kv_heads:
            raise ValueError(f"heads must be a multiple of kv_heads, got {heads} and {kv_heads}")
        if whole_number("head_dim", head_dim, low=1) % 2 and rotary:
            raise ValueError(f"head_dim must be even for rotary positions, got {head_dim}")
        self.query = nn.Linear(dim, heads * head_dim, bias=False)
        self.key = nn.Linear(dim, self.kv_heads * head_dim, bias=False)
        self.value = nn.Linear(dim, self.kv_heads * head_dim, bias=False)
        self.output = nn.Linear(heads * head_dim, dim, bias=False)

    def forward(self, x: Tensor, mask=None, *, positions: Tensor | None = None, cache=None) -> Tensor:
        """Return (B, T, dim). Row i of `mask` says what x[:, i] may see.

        positions   (T,) or (B, T); 0..T - 1 unless given. With a cache they must be given, as must the mask. Or
                    (B, T, 2), positions and block positions, for the two-dimensional rotary form.
        cache       an object whose `write(keys, values)` keeps the rows of this call and returns all S rows it holds,
                    (B, kv_heads, S, D) each; or those two tensors themselves, and then x adds no keys of its own. The
                    mask is (T, S) or (B, 1, T, S).
        """
        if cache is not None and (mask is None or positions is None):
            raise ValueError("with a cache, mask and positions must be given: neither begins at row 0 any more")
        if isinstance(cache, tuple):
            k, v = cache
        else:
            k, v = self.keys_values(x, positions)
            if cache is not None:
                k, v = cache.write(k, v)
        q = self._turned(self._split(self.query(x)), positions)
        if mask is not None:
            mask = as_bool_mask(mask, len(x), x.shape[1], k.shape[2], x.device)
        gqa = self.kv_heads != self.heads
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=gqa)
        return self.output(out.transpose(1, 2).flatten(2))

    def keys_values(self, x: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return what a cache keeps of x (B, T, dim): keys, turned already, and values, (B, kv_heads, T, D) each."""
        return self._turned(self._split(self.key(x)), positions), self._split(self.value(x))

    def weights(self, x: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Return how much each query looks at each key, (B, H, T, T); rows add up to 1, or to 0 if they see nothing."""
        length = x.shape[1]
        q = self._turned(self._split(self.query(x)), positions)
        k = self.keys_values(x, positions)[0].repeat_interleave(self.heads // self.kv_heads, dim=1)
        mask = as_bool_mask(Visibility(0) if mask is None else mask, len(x), length, length, x.device)
        one_hot = torch.eye(length, dtype=x.dtype, device=x.device)  # the values: what comes out is the weights
        return softmax_attention(q, k, one_hot, mask)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # (B, T, H * D) -> (B, H, T, D)

    def _turned(self, x: Tensor, positions: Tensor | None) -> Tensor:
        if not self.rotary:
            return x
        if positions is not None and positions.dim() == 3:
            return rotary_2d(x, positions)
        return rotary(x, torch.arange(x.shape[2], device=x.device) if positions is None else positions)


class SerialBlock(nn.Module):
    """Attention, then the MLP, each on a normed copy and added to what was: x + A(N(x)), then x + M(N(x)).

    Source: Xiong et al. 2020, figure 1(b): the norm first (pre-LN).
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        head_dim: int,
        hidden: int,
        kv_heads: int | None = None,
        rotary: bool = True,
        norm: str = "rmsnorm",
        mlp: str = "swiglu",
        dropout: float = 0.0,
    ):
        super().__init__()
        one_of("norm", norm, NORMS)
        one_of("mlp", mlp, MLPS)
        self.attention_norm = NORMS[norm](dim)
        self.attention = Attention(dim, heads, head_dim, kv_heads, rotary=rotary)
        self.mlp_norm = NORMS[norm](dim)
        self.mlp = MLPS[mlp](dim, hidden)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask=None, *, positions: Tensor | None = None, cache=None) -> Tensor:
        """Return (B, T, dim); the arguments are those of `Attention.forward`."""
        seen = self.attention(self.attention_norm(x), mask, positions=positions, cache=cache)
        x = x + self.dropout(seen)
        return x + self.dropout(self.mlp(self.mlp_norm(x)))

    def keys_values(self, x: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the keys and values that this block makes of its input x (B, T, dim)."""
        return self.attention.keys_values(self.attention_norm(x), positions)

    def attention_weights(self, x: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Return this block's attention weights on its input x (B, T, dim): (B, H, T, T)."""
        return self.attention.weights(self.attention_norm(x), mask, positions=positions)


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


def one_of(name: str, value, allowed) -> None:
    """Refuse a choice that there is not, and name those that there are."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
