"""The sizes and choices that make a model, checked together before any weight is made."""

import dataclasses

from ._check import check_flag, one_of, real_number, room_of_weight, whole_number
from .attention import check_heads
from .layers import ATTENTIONS, BLOCKS, HEADS, MLPS, NORMS, choices_of
from .linear_layers import FEATURE_MAPS

__all__ = ["POSITIONS", "Config"]

POSITIONS = ("rotary", "learned", "glm", "glm_rotary")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """The sizes and choices that make a model; what is None is filled in.

    Raises TypeError for what is of no use as a size or a choice, and ValueError, naming the field, for one that is not
    allowed, or not together with the others. A config that exists makes a `PrefixLM`.
    """

    vocab_size: int
    dim: int = 128  # features of a token, between the layers
    layers: int = 4
    heads: int = 4
    kv_heads: int | None = None  # key/value heads, each shared by heads / kv_heads queries; None: heads
    head_dim: int | None = None  # None: dim / heads
    value_dim: int | None = None  # None: head_dim
    hidden: int | None = None  # features within the MLP; None: 4 dim, or 8/3 dim for SwiGLU, as many weights
    max_len: int = 256  # the most tokens in a row
    attention: str = "softmax"  # or linear; jrt, with a second stream over the prefix; gated, whose state fades
    feature_map: str = "elu_plus_one"  # of attention without a softmax, as are the next two; or taylor_exp, identity
    normalize: bool | None = None  # divide by the sum of the weights; None: yes, but for gated and identity
    output_norm: bool = False  # norm what each head has read
    block: str = "serial"  # or parallel: attention and the MLP side by side, for softmax and linear attention
    positions: str = "rotary"  # or learned; or with GLM's block positions, glm (two learned tables) or glm_rotary
    norm: str = "rmsnorm"  # or layernorm
    mlp: str = "swiglu"  # or gelu
    tied: bool = True  # one table for the tokens that come in and those that go out
    dropout: float = 0.0

    def __post_init__(self):
        choices = {"attention": ATTENTIONS, "feature_map": FEATURE_MAPS, "block": BLOCKS, "positions": POSITIONS}
        for name, allowed in {**choices, "norm": NORMS, "mlp": MLPS}.items():
            one_of(name, getattr(self, name), allowed)
        for name in ("vocab_size", "dim", "layers", "heads", "max_len"):
            self._set(name, whole_number(name, getattr(self, name), low=1))
        if self.head_dim is None and self.dim % self.heads:
            raise ValueError(
                f"dim must be a multiple of heads if head_dim is not given, got {self.dim} and {self.heads}"
            )
        swiglu_hidden = -(-8 * self.dim // 24) * 8  # 8/3 dim, rounded up to a multiple of 8: as many weights as 4 dim
        filled = {
            "kv_heads": self.heads,
            "head_dim": self.dim // self.heads,
            "value_dim": None,
            "hidden": swiglu_hidden if self.mlp == "swiglu" else 4 * self.dim,
        }
        for name, value in filled.items():
            given = getattr(self, name)
            self._set(name, value if given is None else whole_number(name, given, low=1))
        if self.positions == "glm_rotary" and self.head_dim % 4:
            raise ValueError(f"head_dim must be a multiple of 4 for glm_rotary, got {self.head_dim}")
        check_heads(self.heads, self.kv_heads, self.head_dim, self.rotary)
        if self.normalize is None:
            self._set("normalize", self.attention != "gated" and self.feature_map != "identity")
        for name in ("tied", "normalize", "output_norm"):
            check_flag(name, getattr(self, name))
        self._set("dropout", real_number("dropout", self.dropout, low=0, high=1, below=True))
        self._check_together()
        room_of_weight(vocab_size=self.vocab_size, dim=self.dim)
        room_of_weight(dim=self.dim, hidden=self.hidden)
        room_of_weight(dim=self.dim, heads=self.heads, head_dim=self.head_dim)
        if self.value_dim is not None:
            room_of_weight(dim=self.dim, heads=self.heads, value_dim=self.value_dim)
        if self.positions in ("learned", "glm"):  # nothing else is as long as max_len
            room_of_weight(max_len=self.max_len, dim=self.dim)

    def _set(self, name: str, value) -> None:
        object.__setattr__(self, name, value)  # a frozen dataclass sets its own fields so

    def _check_together(self) -> None:
        """Refuse choices that exclude each other."""
        if self.block == "parallel" and self.attention not in HEADS:
            raise ValueError(
                f"attention must be one of {', '.join(HEADS)} with block = 'parallel', got {self.attention!r}"
            )
        if self.normalize and self.attention == "gated":
            raise ValueError("normalize must be False with a gate: what is left of a faded sum is no sum of weights")
        if self.normalize and self.attention != "softmax" and self.feature_map == "identity":
            raise ValueError("normalize must be False with feature_map = 'identity': the weights may sum to 0 or less")

    @property
    def rotary(self) -> bool:
        """Whether queries and keys are turned by their positions."""
        return self.positions in ("rotary", "glm_rotary")

    @property
    def has_blocks(self) -> bool:
        """Whether a token has a block position beside its position (`course_lib.glm`)."""
        return self.positions.startswith("glm")

    @property
    def attention_choices(self) -> dict:
        """What an attention layer of this kind takes besides its sizes."""
        return {name: getattr(self, name) for name in choices_of(self.attention)}
