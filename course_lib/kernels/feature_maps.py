"""Feature maps: phi, so that phi(q) . phi(k) stands in for exp(q . k) and the keys can be summed before a query comes.

A kernel of this package takes q and k that are mapped already: `prefix_linear_attention(phi(q), phi(k), v, P)`. Mask
padding after the map, never before: phi(0) is not 0 for `elu_plus_one` and `taylor_exp`.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def identity(x: Tensor) -> Tensor:
    """Return x itself: weights q . k, of either sign, so that dividing by their sum makes no sense."""
    return x


def elu_plus_one(x: Tensor) -> Tensor:
    """Return elu(x) + 1, of the shape and dtype of x: x + 1 above 0, exp(x) below; never negative.

    Source: Katharopoulos et al. 2020 (arXiv 2006.16236), equation 7.
    """
    return F.elu(x) + 1


def taylor_exp(x: Tensor) -> Tensor:
    """Return features (..., 1 + d + d^2) of x (..., d): 1, x / d^(1/4), and all products x_a x_b / sqrt(2 d).

    Then taylor_exp(q) . taylor_exp(k) = 1 + s + s^2 / 2 with s = q . k / sqrt(d), the first terms of exp(s) and always
    at least 1/2. The scale d^-0.5 is inside; the dtype is that of x.

    Source: Arora et al. 2024 (Based, arXiv 2402.18668), the map they call Taylor.
    """
    d = x.shape[-1]
    products = (x[..., :, None] * x[..., None, :]).flatten(-2)
    return torch.cat([torch.ones_like(x[..., :1]), x * d**-0.25, products * (2 * d) ** -0.5], dim=-1)
