"""Softmax attention under a prefix mask without a mask: two calls of a fused kernel, merged by their log-sum-exp.

    query \\ key    prefix      target
    prefix           all           -         call 1: every query reads the whole prefix, nothing hidden
    target           all        causal       call 2: target queries read the target, causally

No T x T mask exists, and the pairs it would hide are not computed. A target row has then two answers, each the mean of
its own part of the values. With lse_1 and lse_2, the logarithms of the two sums of exponentials, the mean of both is

    out = w_1 out_1 + w_2 out_2,    w_2 = sigmoid(lse_2 - lse_1) = 1 - w_1.

Backward needs no merging: a pair's weight is exp(score - lse), and the gradient of its score is weight * (dO . v - dO .
out), so that each of the two backward calls gives its share of the whole, exactly, once it is handed the *global* out
and lse in place of its own.

Sources: Dao et al. 2022 (FlashAttention), section 3.1, for the merge and the backward from the log-sum-exp; Liu et al.
2023 (Ring Attention), section 3, for blocks of keys that share the global log-sum-exp.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ._segments import segments

_FORWARD = "_scaled_dot_product_flash_attention_for_cpu"


def why_not(q: Tensor) -> str | None:
    """Return what keeps the split form from these queries, or None if it takes them."""
    if q.device.type != "cpu":
        return f"it is built on an operation that torch has on the CPU, and q is on {q.device}"
    if not (hasattr(torch.ops.aten, _FORWARD) and hasattr(torch.ops.aten, _FORWARD + "_backward")):
        return f"this torch, {torch.__version__}, lacks the operation aten::{_FORWARD}"
    return None


def split_attention(q: Tensor, k: Tensor, v: Tensor, prefix_lens: list[int], scale: float) -> Tensor:
    """Return softmax attention under the prefix mask of one length per example, (B, H, T, Dv).

    q, k (B, H, T, D), v (B, H, T, Dv), nothing of them empty; len(prefix_lens) = B. The fused kernel wants D = Dv, so
    the narrower side is filled up with zeros: they change no score, and their columns of the result are dropped.
    Under autocast the inputs are cast, as those of `scaled_dot_product_attention` are.
    """
    if torch.is_autocast_enabled(q.device.type) and q.dtype != torch.float64:
        q, k, v = (x.to(torch.get_autocast_dtype(q.device.type)) for x in (q, k, v))
    width, value_width = q.shape[-1], v.shape[-1]
    if width < value_width:
        q, k = (F.pad(x, (0, value_width - width)) for x in (q, k))
    elif width > value_width:
        v = F.pad(v, (0, width - value_width))
    return _Split.apply(q, k, v, prefix_lens, scale)[0][..., :value_width]


@torch.library.custom_op("course_lib::split_attention", mutates_args=())
def _split(q: Tensor, k: Tensor, v: Tensor, prefix_lens: list[int], scale: float) -> tuple[Tensor, Tensor]:
    """Return out (B, H, T, D) and lse (B, H, T); all of q, k and v are (B, H, T, D)."""
    out, lse = _empty_results(q)
    for rows, _, _, prefix in segments(prefix_lens, None, len(q), q.shape[2]):
        out[rows], lse[rows] = _forward(q[rows], k[rows], v[rows], prefix, scale)
    return out, lse


@torch.library.custom_op("course_lib::split_attention_backward", mutates_args=())
def _split_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, prefix_lens: list[int], scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of q, k and v, each (B, H, T, D), for the gradient of out."""
    gradients = _empty_gradients(q)
    for rows, _, _, prefix in segments(prefix_lens, None, len(q), q.shape[2]):
        parts = _backward(*(x[rows] for x in (grad, q, k, v, out, lse)), prefix, scale)
        for gradient, part in zip(gradients, parts, strict=True):
            gradient[rows] = part
    return gradients


def _forward(q: Tensor, k: Tensor, v: Tensor, prefix: int, scale: float) -> tuple[Tensor, Tensor]:
    """Return out and lse of examples that share a prefix length."""
    if prefix in (0, 1, q.shape[2]):  # one part is empty, or one triangle; the kernel divides by zero on empty parts
        return _fused(q, k, v, prefix < q.shape[2], scale)
    out, lse = _fused(q, k[:, :, :prefix], v[:, :, :prefix], False, scale)
    later_out, later_lse = _fused(*(x[:, :, prefix:] for x in (q, k, v)), True, scale)
    target_out, target_lse = out[:, :, prefix:], lse[:, :, prefix:]
    later_weight = torch.sigmoid(later_lse - target_lse)[..., None]
    merged = torch.lerp(target_out.to(lse.dtype), later_out.to(lse.dtype), later_weight)  # in float32 at least
    target_out.copy_(merged)
    target_lse.copy_(torch.logaddexp(target_lse, later_lse))
    return out, lse


def _backward(grad, q, k, v, out, lse, prefix: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of examples that share a prefix length; out and lse are those of all keys together."""
    if prefix in (0, 1, q.shape[2]):
        return _fused_backward(grad, q, k, v, out, lse, prefix < q.shape[2], scale)
    dq, *early = _fused_backward(grad, q, k[:, :, :prefix], v[:, :, :prefix], out, lse, False, scale)
    target_dq, *late = _fused_backward(*(x[:, :, prefix:] for x in (grad, q, k, v, out, lse)), True, scale)
    dq[:, :, prefix:] += target_dq
    dk, dv = (torch.cat(both, dim=2) for both in zip(early, late, strict=True))
    return dq, dk, dv


def _fused(q, k, v, causal: bool, scale: float) -> tuple[Tensor, Tensor]:
    q, k, v = (_plain_rows(x) for x in (q, k, v))
    return getattr(torch.ops.aten, _FORWARD)(q, k, v, 0.0, causal, scale=scale)


def _fused_backward(grad, q, k, v, out, lse, causal: bool, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    grad, q, k, v, out = (_plain_rows(x) for x in (grad, q, k, v, out))
    return getattr(torch.ops.aten, _FORWARD + "_backward")(grad, q, k, v, out, lse, 0.0, causal, scale=scale)


def _plain_rows(x: Tensor) -> Tensor:
    """Return x with features side by side and rows apart, as the kernel reads it: on others it errs without a word."""
    return x if x.stride(-1) == 1 and x.stride(-2) >= x.shape[-1] else x.clone(memory_format=torch.contiguous_format)


def _empty_results(q: Tensor) -> tuple[Tensor, Tensor]:
    lse_dtype = torch.float64 if q.dtype == torch.float64 else torch.float32
    return q.new_empty(q.shape), q.new_empty(q.shape[:3], dtype=lse_dtype)


def _empty_gradients(q: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, heads, total, width = q.shape  # the heads of a token side by side, as the layer that made q wants them
    dq, dk, dv = (q.new_empty(batch, total, heads, width).transpose(1, 2) for _ in range(3))
    return dq, dk, dv


@_split.register_fake
def _(q, k, v, prefix_lens, scale):
    return _empty_results(q)


@_split_backward.register_fake
def _(grad, q, k, v, out, lse, prefix_lens, scale):
    return _empty_gradients(q)


class _Split(torch.autograd.Function):
    """The operation and its gradient. The operations above have none of their own, so that torch.func works too."""

    @staticmethod
    def forward(q, k, v, prefix_lens, scale):
        return _split(q, k, v, prefix_lens, scale)

    @staticmethod
    def setup_context(ctx, inputs, output):
        q, k, v, ctx.prefix_lens, ctx.scale = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(q, k, v, *output)

    @staticmethod
    def backward(ctx, grad, _):
        return *_SplitBackward.apply(grad, *ctx.saved_tensors, ctx.prefix_lens, ctx.scale), None, None


class _SplitBackward(torch.autograd.Function):
    """The gradient, which has none."""

    @staticmethod
    def forward(grad, q, k, v, out, lse, prefix_lens, scale):
        return _split_backward(grad, q, k, v, out, lse, prefix_lens, scale)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *gradients):
        raise RuntimeError(
            'backend "split" can be differentiated once, and a second derivative was asked for: use backend="reference"'
        )
