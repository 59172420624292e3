"""Prefix linear attention whose state fades: a gate at each target token says what is left of what was summed before.

Every row of the prefix sees every key of it, whatever lies between the two, so a gate that acts from token to token has
no place there: the prefix stays two dense products. It may still weigh its keys, each by a number of its own, as
`fading_prefix` does: then all its rows read the state that a recurrence would have at the prefix's end.
"""

import math

import torch
from torch import Tensor

from .._check import check_device, check_flag, real_number, shown
from ._inputs import check_heads_of, check_prefix_len, check_qkv
from ._segments import segments
from .reference import state_dtype

CHUNK = 16  # tokens: within a chunk every pair has a decay for each feature, C^2 Dk numbers


def gated_prefix_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    prefix_len,
    *,
    scale: float = 1.0,
    decay_prefix: bool = True,
) -> Tensor:
    """Return scale * q_i S_i, (B, H, T, Dv), where S_i is the prefix's state up to its end, and fades from there on.

    q, k          (B, H, T, Dk), as a feature map left them; v (B, H, T, Dv).
    log_decay     (B, H, T, Dk), or (B, H, T, 1) for one decay of all features: the logarithm of a factor, from -inf
                  (excluded) to 0; of the dtype of q, or float32. Ignored for the tokens of the prefix.
    prefix_len    int, or a list or integer tensor (B,), each 0..T.
    decay_prefix  True:  for i >= P, S_i = exp(log_decay_i) S_{i-1} + k_i^T v_i, and S_{P-1} is the sum over the prefix.
                  False: the prefix's sum stays whole beside a state of the targets that starts empty and fades.

    exp(log_decay_i) multiplies the rows of S, one for each feature of the key. With log_decay = 0 this is
    `prefix_linear_attention`. Gradients reach q, k, v and log_decay, any number of times. Wrong shapes, dtypes,
    devices, lengths and a log_decay above 0 raise ValueError or TypeError.

    Source: Yang et al. 2024 (GLA, arXiv 2312.06635), section 4, for the gate; the prefix is this course's.
    """
    check_qkv(q, k, v)
    prefix_len, scale = check_prefix_len(prefix_len, q), real_number("scale", scale)
    check_flag("decay_prefix", decay_prefix)
    log_decay = _checked(log_decay, q, ~_within(prefix_len, q))
    with torch.autocast(q.device.type, enabled=False):
        if q.numel() == 0:
            return q @ (k.mT @ v)
        out = torch.zeros_like(v)
        for examples, _, _, prefix in segments(prefix_len, None, q.shape[0], q.shape[2]):
            inputs = (x[examples].to(state_dtype(q.dtype)) for x in (q, k, v, log_decay))
            out[examples] = (scale * _attend(*inputs, prefix, decay_prefix)).to(v.dtype)  # scaled before it is rounded
        return out


def fading_prefix(k: Tensor, log_decay: Tensor, prefix_len) -> Tensor:
    """Return k, (B, H, T, Dk), its prefix keys multiplied by exp of the log_decay of all later tokens of the prefix.

    With these keys the state at the end of the prefix is the one that S_i = exp(log_decay_i) S_{i-1} + k_i^T v_i has
    there. Every row of the prefix reads it, so what a key weighs does not depend on who reads it, and the prefix is
    still two products: `gated_prefix_linear_attention(q, fading_prefix(k, g, P), v, g, P)`.

    What it takes and refuses is as there, but that log_decay is ignored for the tokens behind the prefix.
    """
    check_heads_of("k", k)
    prefix_len = check_prefix_len(prefix_len, k, "k")
    gates = _checked(log_decay, k, _within(prefix_len, k), "k").to(state_dtype(k.dtype))
    later = gates.flip(2).cumsum(2).flip(2) - gates
    return (k * later.exp()).to(k.dtype)


def _attend(q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, prefix: int, decay_prefix: bool) -> Tensor:
    kept = fading = k[:, :, :prefix].mT @ v[:, :, :prefix]
    rows = [q[:, :, :prefix] @ kept]
    if not decay_prefix:
        fading = torch.zeros_like(kept)
    for start in range(prefix, q.shape[2], CHUNK):
        queries, keys, values, gates = (x[:, :, start : start + CHUNK] for x in (q, k, v, log_decay))
        since = gates.cumsum(2)  # what is left, of what was there before the chunk, is exp of this
        lost = since[:, :, :, None] - since[:, :, None]  # (B, H, C, C, Dk or 1), between a key and a later query
        future = torch.ones(lost.shape[2:4], dtype=torch.bool, device=q.device).triu(1)[..., None]
        left = lost.masked_fill(future, 0).exp().masked_fill(future, 0)  # of a future key nothing; exp would overflow
        tile = torch.einsum("bhik,bhjk,bhijk->bhij", queries, keys, left.expand(*left.shape[:-1], q.shape[-1]))
        row = tile @ values + (queries * since.exp()) @ fading
        rows.append(row if decay_prefix else row + queries @ kept)
        at_end = (since[:, :, -1:] - since).exp()
        fading = since[:, :, -1, :, None].exp() * fading + (keys * at_end).mT @ values
    return torch.cat(rows, dim=2)


def _within(prefix_len: int | list[int], x: Tensor) -> Tensor:
    """Return which tokens are of the prefix, (B or 1, 1, T, 1)."""
    prefix = torch.as_tensor(prefix_len, device=x.device).reshape(-1, 1, 1, 1)
    return torch.arange(x.shape[2], device=x.device)[:, None] < prefix


def _checked(log_decay, q: Tensor, used: Tensor, name: str = "q") -> Tensor:
    """Return log_decay, 0 where it is not used, and no lower than where its factor is 0 in the dtype of a state.

    Sums of lower ones would swallow those beside them, and of very low ones be -inf, whose differences are NaN.
    """
    if not isinstance(log_decay, Tensor):
        raise TypeError(f"log_decay must be a tensor, got {shown(log_decay)}")
    if log_decay.shape not in (q.shape, (*q.shape[:3], 1)):
        allowed = f"{tuple(q.shape)} or {(*q.shape[:3], 1)}"
        raise ValueError(f"log_decay must have shape {allowed}, got {tuple(log_decay.shape)}")
    if log_decay.dtype not in (q.dtype, torch.float32):
        raise TypeError(f"log_decay must have the dtype of {name}, {q.dtype}, or float32, got {log_decay.dtype}")
    check_device("log_decay", log_decay, q.device)
    log_decay = log_decay.masked_fill(~used, 0)
    if not ((log_decay <= 0) & log_decay.isfinite()).all():
        worst = log_decay.max().item() if log_decay.isfinite().all() else "one that is not finite"
        raise ValueError(f"log_decay must be finite and at most 0, the logarithm of a factor up to 1, got {worst}")
    numbers = torch.finfo(state_dtype(q.dtype))
    return log_decay.clamp(min=math.log(numbers.tiny) + math.log(numbers.eps) - 1)  # half the least number or less
