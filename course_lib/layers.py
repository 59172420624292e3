"""Norms, MLPs, and the two blocks of a Transformer, serial and parallel. Tensors are (B, T, dim). No layer has biases.

A block's `mask` says what attention may see: a `Visibility`, a bool mask, or None for causal, as in `attention`; where
there is no softmax, no bool mask. `attention` is one of ATTENTIONS, `attention_choices` what else its layer takes.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._check import check_flag, one_of, real_number, room_of_weight, short, shown, whole_number
from .attention import Attention, AttentionHeads, Joined, check_x
from .linear_layers import GatedAttention, JRTAttention, LinearAttention, LinearHeads

__all__ = ["ATTENTIONS", "BLOCKS", "MLPS", "NORMS", "Attention", "GeluMLP", "ParallelBlock", "SerialBlock", "SwiGLU"]

ATTENTIONS = {"softmax": Attention, "linear": LinearAttention, "jrt": JRTAttention, "gated": GatedAttention}
HEADS = {"softmax": AttentionHeads, "linear": LinearHeads}  # those that add no projections of their own

NORMS = {"rmsnorm": nn.RMSNorm, "layernorm": lambda dim: nn.LayerNorm(dim, bias=False)}


class SwiGLU(nn.Module):
    """(silu(x W_gate) * x W_up) W_down; `fused` makes up and gate by one product.

    Source: Shazeer 2020, "GLU Variants Improve Transformer", equation 6.
    """

    def __init__(self, dim: int, hidden: int, *, fused: bool = False):
        super().__init__()
        dim, hidden = whole_number("dim", dim, low=1), whole_number("hidden", hidden, low=1)
        room_of_weight(dim=dim, hidden=hidden)
        self.fused = check_flag("fused", fused)
        if fused:
            self.up_gate = Joined(dim, self.widths(hidden))
        else:
            self.gate = nn.Linear(dim, hidden, bias=False)
            self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activate(*(self.up_gate(x) if self.fused else (self.up(x), self.gate(x)))))

    @staticmethod
    def widths(hidden: int) -> tuple[int, ...]:
        """How wide the products are whose outputs `activate` takes."""
        return hidden, hidden

    @staticmethod
    def activate(up: Tensor, gate: Tensor) -> Tensor:
        """Return what goes into the last product, (..., hidden), for the outputs of the first two."""
        return F.silu(gate) * up


class GeluMLP(nn.Module):
    """gelu(x W_up) W_down, the gelu exact; one product in is as fused as it gets.

    Source: Hendrycks and Gimpel 2016, section 2.
    """

    def __init__(self, dim: int, hidden: int, *, fused: bool = False):
        super().__init__()
        dim, hidden = whole_number("dim", dim, low=1), whole_number("hidden", hidden, low=1)
        room_of_weight(dim=dim, hidden=hidden)
        check_flag("fused", fused)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.activate(self.up(x)))

    @staticmethod
    def widths(hidden: int) -> tuple[int, ...]:
        """How wide the products are whose outputs `activate` takes."""
        return (hidden,)

    @staticmethod
    def activate(up: Tensor) -> Tensor:
        """Return what goes into the last product, (..., hidden), for the output of the first."""
        return F.gelu(up)


MLPS = {"swiglu": SwiGLU, "gelu": GeluMLP}
QKV = ("attention.query.weight", "attention.key.weight", "attention.value.weight")
UP_GATE = ("mlp.up.weight", "mlp.gate.weight")


class _Block(nn.Module):
    """What both blocks can do: turn into their fused and their unfused form."""

    settings: dict  # the arguments that make another block of the same kind
    joins: dict  # the fused matrix -> the axis along which it joins, and the matrices that it joins

    def fuse(self):
        """Return a new block of the same function and the same weights, those that share an input in one matrix.

        What is frozen stays frozen. ValueError if that is so for a part of a matrix only.
        """
        return self._made(fused=True)

    def unfuse(self):
        """Return a new block of the same function and the same weights, one matrix a product; frozen stays frozen."""
        return self._made(fused=False)

    def _checked(self, x) -> Tensor:
        return check_x(x, self.settings["dim"])  # before the norm, which would name no argument

    def _made(self, *, fused: bool):
        with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
            other = type(self)(**{**self.settings, "fused": fused})
        state = {name: value.clone() for name, value in self.state_dict().items()}
        trained = {name: weight.requires_grad for name, weight in self.named_parameters()}
        if fused != self.settings["fused"]:
            for whole, (axis, parts) in self.joins.items():
                if fused:
                    if len({trained[part] for part in parts}) > 1:
                        told = ", ".join(f"{part}: {trained[part]}" for part in parts)
                        raise ValueError(f"requires_grad must be the same for all parts of {whole}, got {told}")
                    trained[whole] = trained[parts[0]]
                    state[whole] = torch.cat([state.pop(part) for part in parts], axis)
                else:
                    sizes = [other.get_parameter(part).shape[axis] for part in parts]
                    pieces = state.pop(whole).split(sizes, axis)
                    state |= {part: piece.contiguous() for part, piece in zip(parts, pieces, strict=True)}
                    trained |= dict.fromkeys(parts, trained[whole])
        for name, weight in other.named_parameters():
            weight.requires_grad_(trained[name])  # which a weight that is assigned takes over
        other.load_state_dict(state, assign=True)
        return other.train(self.training)


class SerialBlock(_Block):
    """Attention, then the MLP, each on a normed copy and added to what was: x + A(N(x)), then x + M(N(x)).

    Four products one after the other: queries, keys and values; attention's output; up and gate; down. `fused` makes
    each of the four by one matrix. Unless told otherwise it has `heads` key/value heads and RMSNorm. TypeError or
    ValueError, naming the argument, for a size or a choice that there is not.

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
        fused: bool = False,
        rotary: bool = True,
        norm: str = "rmsnorm",
        mlp: str = "swiglu",
        dropout: float = 0.0,
        attention: str = "softmax",
        attention_choices: dict | None = None,
    ):
        super().__init__()
        self.settings = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        one_of("norm", norm, NORMS)
        one_of("mlp", mlp, MLPS)
        one_of("attention", attention, ATTENTIONS)
        dim, chosen = whole_number("dim", dim, low=1), _chosen(rotary, attention, attention_choices)
        room_of_weight(dim=dim)
        self.attention_norm = NORMS[norm](dim)
        self.attention = ATTENTIONS[attention](dim, heads, head_dim, kv_heads, fused=fused, **chosen)
        self.mlp_norm = NORMS[norm](dim)
        self.mlp = MLPS[mlp](dim, hidden, fused=fused)
        self.dropout = nn.Dropout(real_number("dropout", dropout, low=0, high=1, below=True))
        self.joins = {"attention.qkv.weight": (0, QKV)}
        if mlp == "swiglu":
            self.joins["mlp.up_gate.weight"] = (0, UP_GATE)

    def forward(self, x: Tensor, mask=None, *, positions: Tensor | None = None, cache=None) -> Tensor:
        """Return (B, T, dim); positions and cache are those of `AttentionHeads.read`."""
        seen = self.attention(self.attention_norm(self._checked(x)), mask, positions=positions, cache=cache)
        x = x + self.dropout(seen)
        return x + self.dropout(self.mlp(self.mlp_norm(x)))

    def keys_values(self, x: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the keys and values that this block makes of its input x (B, T, dim)."""
        return self.attention.keys_values(self.attention_norm(self._checked(x)), positions)

    def attention_weights(self, x: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Return this block's attention weights on its input x (B, T, dim): (B, H, T, T)."""
        return self.attention.weights(self.attention_norm(self._checked(x)), mask, positions=positions)


class ParallelBlock(_Block):
    """Attention and the MLP side by side, on one normed copy: x + A(N(x)) + M(N(x)).

    Two products, one after the other, where the serial block has four. `fused`: in_proj.weight has the rows of query,
    key, value, up and gate, in this order, and out_proj.weight the columns of attention's output, then of the MLP's
    down. shared_norm=False gives the MLP a norm of its own, as in GPT-NeoX-20B; there is then no input that all five
    share, and such a block can't be fused. Unless told otherwise it has PaLM's one key/value head and LayerNorm, and is
    fused. TypeError or ValueError, naming the argument, for a size or a choice that there is not.

    Sources: Wang and Komatsuzaki 2021 (GPT-J, the code); Chowdhery et al. 2022 (PaLM), section 2, "Parallel Layers".
    """

    def __init__(
        self,
        dim: int,
        *,
        heads: int,
        head_dim: int,
        hidden: int,
        kv_heads: int | None = 1,
        fused: bool = True,
        rotary: bool = True,
        norm: str = "layernorm",
        shared_norm: bool = True,
        mlp: str = "swiglu",
        dropout: float = 0.0,
        attention: str = "softmax",
        attention_choices: dict | None = None,
    ):
        super().__init__()
        self.settings = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        one_of("norm", norm, NORMS)
        one_of("mlp", mlp, MLPS)
        one_of("attention", attention, HEADS)
        dim, hidden = whole_number("dim", dim, low=1), whole_number("hidden", hidden, low=1)
        room_of_weight(dim=dim, hidden=hidden)
        chosen = _chosen(rotary, attention, attention_choices)
        fused, shared_norm = check_flag("fused", fused), check_flag("shared_norm", shared_norm)
        if fused and not shared_norm:
            raise ValueError("fused must be False if shared_norm is: with two norms the products have no common input")
        self.norm = NORMS[norm](dim)
        self.mlp_norm = None if shared_norm else NORMS[norm](dim)
        self.fused = fused
        if fused:
            self.heads = HEADS[attention](heads, head_dim, kv_heads, **chosen)
            self.heads.check_room(dim)
            self.activate = MLPS[mlp].activate
            self.in_proj = Joined(dim, self.heads.widths + MLPS[mlp].widths(hidden))
            self.out_proj = nn.Linear(self.heads.read_width + hidden, dim, bias=False)
        else:
            self.attention = ATTENTIONS[attention](dim, heads, head_dim, kv_heads, **chosen)
            self.mlp = MLPS[mlp](dim, hidden)
        self.dropout = nn.Dropout(real_number("dropout", dropout, low=0, high=1, below=True))
        mlp_in = UP_GATE if mlp == "swiglu" else UP_GATE[:1]
        self.joins = {
            "in_proj.weight": (0, QKV + mlp_in),
            "out_proj.weight": (1, ("attention.output.weight", "mlp.down.weight")),
        }

    def forward(self, x: Tensor, mask=None, *, positions: Tensor | None = None, cache=None) -> Tensor:
        """Return (B, T, dim); positions and cache are those of `AttentionHeads.read`."""
        return x + self.dropout(self.branches(x, mask, positions=positions, cache=cache))

    def branches(self, x: Tensor, mask=None, *, positions: Tensor | None = None, cache=None) -> Tensor:
        """Return A(N(x)) + M(N(x)), what the block adds to x."""
        h = self.norm(self._checked(x))
        if not self.fused:
            seen = self.attention(h, mask, positions=positions, cache=cache)
            return seen + self.mlp(h if self.mlp_norm is None else self.mlp_norm(x))
        q, k, v, *wide = self.in_proj(h)
        seen = self.heads.read(q, k, v, mask, positions=positions, cache=cache)
        return self.out_proj(torch.cat([seen, self.activate(*wide)], dim=-1))

    def keys_values(self, x: Tensor, positions: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the keys and values that this block makes of its input x (B, T, dim)."""
        if not self.fused:
            return self.attention.keys_values(self.norm(self._checked(x)), positions)
        return self.heads.cached(*self.in_proj.some(self.norm(self._checked(x)), 1, 3), positions)

    def attention_weights(self, x: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Return this block's attention weights on its input x (B, T, dim): (B, H, T, T)."""
        if not self.fused:
            return self.attention.weights(self.norm(self._checked(x)), mask, positions=positions)
        return self.heads.read_weights(*self.in_proj.some(self.norm(self._checked(x)), 0, 2), mask, positions=positions)


BLOCKS = {"serial": SerialBlock, "parallel": ParallelBlock}


def choices_of(attention: str) -> tuple[str, ...]:
    """Return the names of what an attention layer of this kind takes besides its sizes."""
    return ("value_dim",) if attention == "softmax" else ("value_dim", "feature_map", "normalize", "output_norm")


def _chosen(rotary: bool, attention: str, choices: dict | None) -> dict:
    """Return what an attention layer of this kind is made with besides its sizes; refuse what it does not know."""
    known = choices_of(attention)
    if choices is not None and not isinstance(choices, dict):
        raise TypeError(f"attention_choices must be a dict, got {shown(choices)}")
    if unknown := [name for name in choices or () if name not in known]:
        raise ValueError(
            f"attention_choices must be of {', '.join(known)} with attention = {attention!r}, got {short(unknown)}"
        )
    return {"rotary": rotary, **(choices or {})}
