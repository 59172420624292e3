"""Attention layers without a softmax: the keys and values of a layer are summed up in a state of fixed size.

They take a `Visibility`, never a mask: what the kernels need is where the prefix ends, and where the padding begins.
With a cache they go on from its state; then the new tokens are all target, unless they are the first.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._check import check_flag, one_of, shown
from .attention import Attention, AttentionHeads
from .kernels import (
    LinearState,
    feature_maps,
    gated_prefix_linear_attention,
    linear_attention_step,
    prefix_linear_attention,
    reference,
)
from .kernels._inputs import check_prefix_len
from .masks import Visibility, padding_mask

__all__ = ["FEATURE_MAPS", "GatedAttention", "JRTAttention", "LinearAttention", "LinearHeads"]

FEATURE_MAPS = {name: getattr(feature_maps, name) for name in ("elu_plus_one", "taylor_exp", "identity")}


class LinearHeads(AttentionHeads):
    """Linear attention between its projections. The settings of `AttentionHeads`, and

    feature_map   one of FEATURE_MAPS; it maps queries and keys after they are turned by their positions. Taylor's has
                  its scale inside, the others take head_dim^-0.5 with them.
    normalize     divide by the sum of the weights, as a softmax does. Not with identity, whose sum may be anything.
    output_norm   norm what each head has read (RMSNorm over value_dim), as is usual where nothing is divided.

    Sources: Katharopoulos et al. 2020, section 3; Sun et al. 2023 (RetNet), section 2.1, for the norm.
    """

    def __init__(
        self,
        *sizes,
        feature_map: str = "elu_plus_one",
        normalize: bool = True,
        output_norm: bool = False,
        **more,
    ):
        super().__init__(*sizes, **more)
        one_of("feature_map", feature_map, FEATURE_MAPS)
        if check_flag("normalize", normalize) and feature_map == "identity":
            raise ValueError("normalize must be False with feature_map = 'identity': the weights may sum to 0 or less")
        self.feature_map, self.normalize = feature_map, normalize
        self.scale = 1.0 if feature_map == "taylor_exp" else self.head_dim**-0.5
        self.output_norm = nn.RMSNorm(self.value_dim) if check_flag("output_norm", output_norm) else None

    def read(
        self, q: Tensor, k: Tensor, v: Tensor, mask=None, *, positions: Tensor | None = None, cache=None
    ) -> Tensor:
        """Return what each query reads, (B, T, read_width).

        q, k, v     (B, T, widths), straight from their projections.
        mask        a Visibility; None is causal.
        positions   (T,) or (B, T), or (B, T, 2); 0..T - 1 unless given.
        cache       an object whose `state` is the `LinearState` of all that came before, or None; it is set anew.
        """
        seen = as_visibility(mask, q)
        q, k, v = self.mapped(q, k, v, seen, positions)
        return self.joined(self._attend(q, k, v, seen, cache))

    def mapped(self, q: Tensor, k: Tensor, v: Tensor, seen: Visibility, positions) -> tuple[Tensor, Tensor, Tensor]:
        """Return features and values of all heads, (B, heads, T, ...); the features of padding are 0."""
        return self._features(q, positions), self._keys(k, seen, positions), self._values(v)

    def _features(self, x: Tensor, positions) -> Tensor:
        return FEATURE_MAPS[self.feature_map](self._turned(self._split(x), positions))

    def _keys(self, k: Tensor, seen: Visibility, positions) -> Tensor:
        features = self._features(k, positions).repeat_interleave(self.heads // self.kv_heads, dim=1)
        return without_padding(features, seen)

    def _values(self, v: Tensor) -> Tensor:
        return self._split(v, self.value_dim).repeat_interleave(self.heads // self.kv_heads, dim=1)

    def joined(self, read: Tensor) -> Tensor:
        """Return what the heads have read, (B, heads, T, D), side by side: (B, T, read_width)."""
        if self.output_norm is not None:
            read = self.output_norm(read)
        return read.transpose(1, 2).flatten(2)

    def read_weights(self, q: Tensor, k: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Return how much each query looks at each key, (B, H, T, T). Without normalize, rows need not add up to 1."""
        seen, length = as_visibility(mask, q), q.shape[1]
        q, k = self._features(q, positions), self._keys(k, seen, positions)
        one_hot = one_hot_values(q)
        allowed, choices = seen.mask(length, device=q.device), {"scale": self.scale, "normalize": self.normalize}
        return reference.linear_attention(
            q, k, one_hot, allowed, reference.empty_state(q, one_hot), eps=1e-6, **choices
        )[0]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, seen: Visibility, cache) -> Tensor:
        choices = {"scale": self.scale, "normalize": self.normalize}
        if cache is None:
            return prefix_linear_attention(q, k, v, seen.prefix_len, document_lens=seen.document_lens, **choices)
        if cache.state is not None and q.shape[2] == 1:
            out, cache.state = linear_attention_step(q, k, v, cache.state, **choices)
        else:
            begun = {"initial_state": cache.state, "return_state": True}
            out, cache.state = prefix_linear_attention(q, k, v, seen.prefix_len, **begun, **choices)
        return out


class LinearAttention(LinearHeads, Attention):
    """`LinearHeads` with the four projections of `Attention`."""


class JRTAttention(LinearAttention):
    """JRT-RNN's layer: a causal stream over all tokens, and a second, with keys and values of its own, over the prefix.

    Every query sees the whole second stream, so a prefix token sees later ones of the prefix through it alone. With the
    same projections in both streams this would weigh the prefix twice: it is not the prefix mask.

    Source: Arora et al. 2024 (Just Read Twice, arXiv 2407.05483), section 4.2, equation 3.
    """

    def __init__(self, dim: int, *sizes, **more):
        super().__init__(dim, *sizes, **more)
        _, key, value = self.widths
        self.encoder_key = nn.Linear(dim, key, bias=False)
        self.encoder_value = nn.Linear(dim, value, bias=False)

    def forward(self, x: Tensor, mask=None, *, positions: Tensor | None = None, cache=None) -> Tensor:
        """Return (B, T, dim); the arguments are those of `LinearHeads.read`, without packed documents."""
        q, k, v = self.project(x)
        seen = as_visibility(mask, x)
        if seen.document_lens is not None:
            raise ValueError("document_lens must be None: JRT's second stream has one prefix a row")
        q, k, v = self.mapped(q, k, v, seen, positions)
        stream = cache if cache is not None else _Stream()
        if stream.state is None:  # the prefix comes whole, in the first call
            prefix_len = check_prefix_len(seen.prefix_len, q)
            prefix_lens = [prefix_len] * len(x) if isinstance(prefix_len, int) else prefix_len
            k_enc, v_enc = self._keys(self.encoder_key(x), seen, positions), self._values(self.encoder_value(x))
            prefix = without_padding(k_enc, Visibility(0, lengths=prefix_lens))
            with torch.autocast(x.device.type, enabled=False):  # it would put the sums into 16 bits
                prefix, v_enc = (one.to(reference.state_dtype(one.dtype)) for one in (prefix, v_enc))
                stream.state = LinearState(prefix.mT @ v_enc, prefix.sum(2))
        return self.output(self.joined(self._attend(q, k, v, Visibility(0), stream)))

    def weights(self, x: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Raise ValueError: a token has a weight and a value in each stream, and no one (B, H, T, T) tells both."""
        raise ValueError("attention must not be 'jrt' for weights: its two streams weigh different values of a token")


class GatedAttention(LinearAttention):
    """Linear attention whose state fades: each target token, by a gate of its own, says what is left of the past.

    The prefix is summed up whole, as in `LinearAttention`; from its end on, S_t = g_t S_{t-1} + k_t^T v_t with one
    g_t = sigmoid(x_t W)^(1/16) for each head. Nothing is divided, so `normalize` must be False.

    Source: Yang et al. 2024 (GLA, arXiv 2312.06635), section 4, for the gate and its 1/16; that the prefix does not
    fade is this course's reading of what its article proposes.
    """

    def __init__(self, dim: int, *sizes, normalize: bool = False, **more):
        if check_flag("normalize", normalize):
            raise ValueError("normalize must be False with a gate: what is left of a faded sum is no sum of weights")
        super().__init__(dim, *sizes, normalize=False, **more)
        self.gate = nn.Linear(dim, self.heads, bias=False)

    def forward(self, x: Tensor, mask=None, *, positions: Tensor | None = None, cache=None) -> Tensor:
        """Return (B, T, dim); the arguments are those of `LinearHeads.read`, without packed documents."""
        projected, seen = self.project(x), as_visibility(mask, x)
        q, k, v = self.mapped(*projected, seen, positions)
        faded, prefix_len = self._gates(x, q, seen)
        out = gated_prefix_linear_attention(q, k, v, faded, prefix_len, scale=self.scale)
        if cache is not None:
            with torch.autocast(x.device.type, enabled=False):  # it would put the state into 16 bits
                q, k, v = (one.to(faded.dtype) for one in (q, k, v))
                since = faded.cumsum(2)  # how much of what came before this call is left at each token, as a logarithm
                end = faded.sum(2, keepdim=True)  # and behind the last one, if there is one
                kv = ((end - since).exp() * k).mT @ v
                if cache.state is not None:
                    out = (out + self.scale * (q * since.exp()) @ cache.state.kv).to(out.dtype)
                    kv = kv + end.exp() * cache.state.kv
                cache.state = LinearState(kv)
        return self.output(self.joined(out))

    def weights(self, x: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Return how much each query looks at each key, faded as it is by then, (B, H, T, T)."""
        q, k, _ = self.project(x)
        seen = as_visibility(mask, x)
        q, k = self._features(q, positions), self._keys(k, seen, positions)
        return gated_prefix_linear_attention(q, k, one_hot_values(q), *self._gates(x, q, seen), scale=self.scale)

    def _gates(self, x: Tensor, q: Tensor, seen: Visibility) -> tuple[Tensor, int | list[int]]:
        """Return the logarithms of all gates, (B, H, T, 1), in the dtype of a state, and the prefix length."""
        if seen.document_lens is not None:
            raise ValueError("document_lens must be None: a gated state runs through the whole row")
        prefix_len = check_prefix_len(seen.prefix_len, q)
        faded = (F.logsigmoid(self.gate(x).to(reference.state_dtype(q.dtype))) / 16).mT[..., None]
        in_prefix = torch.arange(x.shape[1], device=x.device) < torch.tensor(prefix_len, device=x.device).reshape(-1, 1)
        return without_padding(faded, seen).masked_fill(in_prefix[:, None, :, None], 0), prefix_len


class _Stream:
    state: LinearState | None = None


def one_hot_values(q: Tensor) -> Tensor:
    """Return values (B, H, T, T) for queries (B, H, T, D) such that what a query reads is its weights."""
    return torch.eye(q.shape[2], dtype=q.dtype, device=q.device).expand(*q.shape[:2], -1, -1)


def without_padding(features: Tensor, seen: Visibility) -> Tensor:
    """Return features (B, H, T, D), those of padding 0; before the map that would be of no use, for phi(0) is not 0."""
    if seen.lengths is None:
        return features
    real = padding_mask(seen.lengths, features.shape[2], device=features.device).mT
    return features * real.to(features.dtype)


def as_visibility(mask, x: Tensor) -> Visibility:
    """Return who sees whom in a batch x (B, T, ...) as a Visibility; linear attention knows no other masks."""
    if mask is None:
        return Visibility(0)
    if not isinstance(mask, Visibility):
        raise TypeError(f"mask must be a Visibility or None for linear attention, got {shown(mask)}")
    if mask.batch_size not in (None, len(x)):  # one of 1 would be broadcast without a word
        raise ValueError(f"mask must tell of each of the {len(x)} examples, or of all alike, got {mask.batch_size}")
    return mask
