"""The definitions, written to be read: slow, quadratic in memory, differentiable any number of times.

Every faster backend is tested against these, and these against plain loops.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class LinearState(NamedTuple):
    """What linear attention keeps of the keys it has seen: all that a later query needs, whatever their number.

    kv  (B, H, Dk, Dv)  the sum of k_j^T v_j, unscaled.
    z   (B, H, Dk)      the sum of k_j, for the normaliser; None where nobody kept it.

    Both have the dtype of q, k and v, but float32 for 16-bit ones: a long sum in 16 bits loses what it is given.
    """

    kv: Tensor
    z: Tensor | None = None


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which sums over the tokens are kept: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def empty_state(q: Tensor, v: Tensor) -> LinearState:
    """Return the state before any key: zeros."""
    zeros = q.new_zeros(*q.shape[:2], q.shape[3], v.shape[3] + 1, dtype=state_dtype(q.dtype))
    return LinearState(zeros[..., :-1].contiguous(), zeros[..., -1].contiguous())


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, *, scale: float | None = None) -> Tensor:
    """Return softmax(scale * q k^T) v over the pairs that a bool mask allows; a row that may see nothing gives zeros.

    q (..., Tq, D), k (..., Tk, D), v (..., Tk, Dv); mask broadcasts to (..., Tq, Tk), True = may attend.
    scale is D^-0.5 unless given. Returns (..., Tq, Dv).

    Source: Vaswani et al. 2017, section 3.2.1.
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = (scale * q @ k.mT).masked_fill(~mask, float("-inf"))  # hidden before the softmax: exp(-inf) = 0
    if scores.shape[-1] == 0:
        return scores @ v  # no keys at all: zeros
    largest = scores.amax(-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)  # finite, even where all is hidden
    weights = torch.exp(scores - largest.detach())  # exp would overflow without it; the quotient stays the same
    total = weights.sum(-1, keepdim=True)
    return weights / torch.where(total == 0, 1, total) @ v


def linear_attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor, state: LinearState, *, scale: float, normalize: bool, eps: float
) -> tuple[Tensor, LinearState]:
    """Return (scale * q k^T, 0 where the mask forbids) v, and the state after all keys.

    q, k (B, H, T, Dk) and v (B, H, T, Dv) as the feature map left them; mask broadcasts to (B, H, T, T), True = may
    attend; state (`LinearState`) is of earlier keys, which every query sees. With normalize, each row is divided by the
    sum of its weights, plus eps; the state's z counts, too.

    Source: Katharopoulos et al. 2020 (arXiv 2006.16236), section 3.2, before the sum is taken apart.
    """
    dtype, (q, k, v) = q.dtype, (x.to(state_dtype(x.dtype)) for x in (q, k, v))
    weights = (scale * q @ k.mT).masked_fill(~mask, 0)
    out = weights @ v + scale * q @ state.kv
    if normalize:
        out = out / (weights.sum(-1, keepdim=True) + scale * q @ state.z[..., None] + eps)
    z = None if state.z is None else state.z + k.sum(2)
    return out.to(dtype), LinearState(state.kv + k.mT @ v, z)


def linear_recurrence(
    q: Tensor, k: Tensor, v: Tensor, prefix_len, state: LinearState, *, scale: float, normalize: bool, eps: float
) -> tuple[Tensor, LinearState]:
    """Return the same for a prefix mask, token by token: first all keys of the prefix, then each later key at its turn.

    prefix_len is an int, or B of them. The arguments and the result are otherwise those of `linear_attention`.

    Source: Katharopoulos et al. 2020 (arXiv 2006.16236), section 3.4, equations 16-20, started from a prefix.
    """
    dtype, (q, k, v) = q.dtype, (x.to(state_dtype(x.dtype)) for x in (q, k, v))
    prefix = torch.as_tensor(prefix_len, device=q.device).reshape(-1, 1, 1, 1)
    in_prefix = torch.arange(k.shape[2], device=q.device)[:, None] < prefix  # (B or 1, 1, T, 1)
    early, late = k.masked_fill(~in_prefix, 0), k.masked_fill(in_prefix, 0)
    kv, z = state.kv + early.mT @ v, None if state.z is None else state.z + early.sum(2)
    rows = [q[:, :, :0] @ kv]  # so that no tokens are no special case
    for t in range(q.shape[2]):
        now = slice(t, t + 1)
        kv = kv + late[:, :, now].mT @ v[:, :, now]
        z = None if z is None else z + late[:, :, t]
        row = scale * q[:, :, now] @ kv
        rows.append(row / (scale * q[:, :, now] @ z[..., None] + eps) if normalize else row)
    return torch.cat(rows, dim=2).to(dtype), LinearState(kv, z)
