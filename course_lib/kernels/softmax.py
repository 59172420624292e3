"""Softmax attention under a prefix mask: the public face, and the backend that torch brings."""

from torch import Tensor
from torch.nn import functional as F

from ..masks import prefix_mask
from . import reference
from ._inputs import check_backend, check_prefix_len, check_qkv, check_scale

BACKENDS = ("auto", "reference", "sdpa")


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
                "auto"       the fastest that fits; now "sdpa".

    Gradients reach q, k and v. Wrong shapes, dtypes, devices and lengths raise ValueError or TypeError.

    Source: Raffel et al. 2020 (T5), section 3.2.1, for the mask; Vaswani et al. 2017, section 3.2.1, for the attention.
    """
    check_qkv(q, k, v)
    prefix_len = check_prefix_len(prefix_len, q)
    scale = q.shape[-1] ** -0.5 if scale is None else check_scale(scale)
    if check_backend(backend, BACKENDS) == "reference":
        return reference.softmax_attention(q, k, v, prefix_mask(prefix_len, q.shape[2], device=q.device), scale=scale)
    return _sdpa(q, k, v, prefix_len, scale)


def _sdpa(q: Tensor, k: Tensor, v: Tensor, prefix_len: int | list[int], scale: float) -> Tensor:
    total_len = q.shape[2]
    if q.numel() == 0:
        return q @ k.mT @ v  # nothing to attend to: no kernel is asked, and the result still depends on q, k and v
    if prefix_len == total_len:
        return F.scaled_dot_product_attention(q, k, v, scale=scale)
    if prefix_len in (0, 1):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
    mask = prefix_mask(prefix_len, total_len, device=q.device)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
