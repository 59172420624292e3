"""JRT-RNN's prefix linear attention: two streams of keys, one causal over all tokens, one that everybody sees whole.

This is not the prefix mask. The causal stream goes over the prefix, too, so that with the same keys in both streams a
pair within the prefix counts twice where j <= i and once where j > i: the weights are 0, 1 and 2. And a token of the
prefix sees a later one only through the second stream's own keys and values.
"""

import torch
from torch import Tensor

from .._check import check_device, shown
from ._inputs import check_qkv
from .linear import LinearState, prefix_linear_attention
from .reference import state_dtype


def jrt_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_enc: Tensor,
    v_enc: Tensor,
    *,
    scale: float = 1.0,
    normalize: bool = True,
    eps: float = 1e-6,
) -> Tensor:
    """Return linear attention to the past and, by keys and values of their own, to all of the first M tokens.

    q, k   (B, H, T, Dk) and v (B, H, T, Dv), as for `prefix_linear_attention`: the causal stream, over all T tokens.
    k_enc  (B, H, M, Dk) and v_enc (B, H, M, Dv), 0 <= M <= T: the stream that every query sees whole. M = 0 is causal.

    out_i = scale * (sum_{j <= i} (q_i . k_j) v_j + sum_{j < M} (q_i . k_enc_j) v_enc_j), (B, H, T, Dv); with normalize,
    divided by the same sums without the values, plus eps. The second sum is one state, which the causal stream starts
    from: two dense products more than causal attention. normalize is True unless given, as in equation 3;
    `prefix_linear_attention` has False. Gradients reach all five tensors, once. Wrong shapes, dtypes, devices and
    choices raise ValueError or TypeError.

    Source: Arora et al. 2024 (JRT, arXiv 2407.05483), section 4.2, equation 3.
    """
    check_qkv(q, k, v)
    for name, value, like in (("k_enc", k_enc, k), ("v_enc", v_enc, v)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a tensor, got {shown(value)}")
        allowed = [*like.shape]
        allowed[2] = k_enc.shape[2] if isinstance(k_enc, Tensor) and k_enc.dim() == 4 else "M"
        if [*value.shape] != allowed or value.shape[2] > like.shape[2]:
            shape = f"({like.shape[0]}, {like.shape[1]}, M, {like.shape[3]})"
            raise ValueError(
                f"{name} must have shape {shape}, with one M from 0 to the length T of q = {q.shape[2]} for both, "
                f"got {tuple(value.shape)}"
            )
        if value.dtype != q.dtype:
            raise TypeError(f"{name} must have the dtype of q, {q.dtype}, got {value.dtype}")
        check_device(name, value, q.device)
    with torch.autocast(q.device.type, enabled=False):
        k_enc, v_enc = (x.to(state_dtype(q.dtype)) for x in (k_enc, v_enc))
        seen_by_all = LinearState(k_enc.mT @ v_enc, k_enc.sum(2))
    return prefix_linear_attention(q, k, v, scale=scale, normalize=normalize, eps=eps, initial_state=seen_by_all)
