"""Softmax attention under a prefix mask: the public face, the choice of a backend, and the one that torch brings."""

from torch import Tensor
from torch.nn import functional as F

from .._check import one_of, real_number
from ..masks import prefix_mask
from . import flex, reference, split
from ._inputs import check_prefix_len, check_qkv

BACKENDS = ("auto", "reference", "sdpa", "split", "flex")
SPLIT_FROM = 1024  # tokens; tools/bench_softmax.py measures it again


def prefix_softmax_attention(
    q: Tensor, k: Tensor, v: Tensor, prefix_len, *, scale: float | None = None, backend: str = "auto"
) -> Tensor:
    """Return softmax attention where query i sees key j if j <= i or j < prefix_len: (B, H, T, Dv).

    q, k        (B, H, T, D), float32, float64, bfloat16 or float16, any strides; B, H and T may be 0.
    v           (B, H, T, Dv); Dv may differ from D. Nothing is broadcast.
    prefix_len  int, or a list or integer tensor (B,), each 0..T: 0 is causal, T is bidirectional. A tensor must be on
                the device of q; on an accelerator, checking its values waits for the device once.
    scale       factor of the scores, D^-0.5 unless given.
    backend     "reference"  the definition in plain torch; memory T^2 in the inputs' type; differentiable twice.
                "sdpa"       torch's `scaled_dot_product_attention`, with a bool mask of T^2 bytes (B T^2 for lengths
                             that differ), or without one when all is causal or bidirectional.
                "split"      no mask: all queries read the prefix, target queries read the target causally, and both
                             answers are merged; memory T. On the CPU only; examples are grouped by prefix length;
                             differentiable once, and the same bits at every call.
                "flex"       FlexAttention over a `prefix_block_mask`, compiled at the first call with a shape, which
                             takes seconds and a C++ compiler (RuntimeError without one). On the CPU it takes no
                             float64 and has no gradient.
                "auto"       "split" on the CPU from T = 1024 on, else "sdpa"; "sdpa" too when no mask is needed.

    The rule of "auto" was measured on one thread of an x86-64 with AVX-512 (`tools/bench_softmax.py --crossover`): up
    to T = 256 the mask is cheaper than a second call; at 512 the prefix length decides, and "split" takes 0.8 to 1.15
    of the time of "sdpa", in bfloat16 up to 1.3; from 1024 on it was at least as fast for every prefix length tried,
    forward and with backward, in both types. "flex" took longer than "split" wherever the two were raced, and
    "reference" is for reading.

    Padding on the right needs nothing where prefix_len is no more than the real length: no real query sees it. Where a
    prefix has padding in it, give `scaled_dot_product_attention` the mask `Visibility(prefix_len, lengths).mask(T)`.

    Gradients reach q, k and v. Wrong shapes, dtypes, devices and lengths raise ValueError or TypeError, as does a
    backend that cannot serve these inputs.

    Source: Raffel et al. 2020 (T5), section 3.2.1, for the mask; Vaswani et al. 2017, section 3.2.1, for the attention.
    """
    check_qkv(q, k, v, meta=True)
    prefix_len = check_prefix_len(prefix_len, q)
    scale = q.shape[-1] ** -0.5 if scale is None else real_number("scale", scale)
    if one_of("backend", backend, BACKENDS) == "auto":
        backend = _fastest(q, prefix_len)
    if backend == "split" and (reason := split.why_not(q)):
        raise ValueError(f'backend "split" cannot be used here: {reason}; use backend="sdpa"')
    if backend == "reference":
        return reference.softmax_attention(q, k, v, prefix_mask(prefix_len, q.shape[2], device=q.device), scale=scale)
    if q.numel() == 0:
        return q @ k.mT @ v  # nothing to attend to: no kernel is asked, and the result still depends on q, k and v
    if scale <= 0:  # torch's causal kernels scale what they have hidden: -inf times 0 or -1 hides nothing
        q, scale = (-q, -scale) if scale < 0 else (0 * q, 1.0)
    if backend == "sdpa":
        return _sdpa(q, k, v, prefix_len, scale)
    prefix_lens = [prefix_len] * len(q) if isinstance(prefix_len, int) else prefix_len
    return (split.split_attention if backend == "split" else flex.flex_attention)(q, k, v, prefix_lens, scale)


def _fastest(q: Tensor, prefix_len: int | list[int]) -> str:
    total_len = q.shape[2]
    without_mask = prefix_len in (0, 1, total_len)
    return "sdpa" if without_mask or total_len < SPLIT_FROM or split.why_not(q) else "split"


def _sdpa(q: Tensor, k: Tensor, v: Tensor, prefix_len: int | list[int], scale: float) -> Tensor:
    total_len = q.shape[2]
    if prefix_len == total_len:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    if prefix_len in (0, 1):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    mask = prefix_mask(prefix_len, total_len, device=q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
