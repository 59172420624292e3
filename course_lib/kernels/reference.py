"""The definitions, written to be read: slow, quadratic in memory, differentiable any number of times.

Every faster backend is tested against these, and these against plain loops.
"""

import torch
from torch import Tensor


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
