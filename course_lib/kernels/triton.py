"""Prefix linear attention on a CUDA device: three Triton kernels, parallel over the length, and a backward by hand.

The formulas are those of `chunked.py`: the prefix by two dense products, the tail in chunks from the prefix state S.
There a head goes from left to right. A device has more processors than a batch has heads, so here a document is cut in
segments, first its prefix, then its tail, and three launches follow each other:

    sum      every segment adds up its own k^T v: all segments at once;
    scan     for each document, the sums become states: S of the whole prefix, and for each tail segment what precedes
             it. This alone goes from left to right, over segments and not tokens, a state's numbers side by side;
    attend   every segment writes its rows: all segments at once. In a prefix segment a row is q S, with no keys, no
             values and no mask; in a tail segment the chunks follow each other, and S stays on the chip.

The backward does the same with R, the sum of q^T g over later queries; g is what reaches q S. The sums are of q^T g,
the scan goes from right to left and gives the prefix the R of all queries. The rows come from the forward's own kernel:

    dq   with dout, v, k and S transposed in place of q, k, v and S;
    dk   with v, dout, q and R transposed, from right to left;
    dv   with k, q, dout and R, from right to left.

The normaliser stays in the chunk's tile: its rows are summed, and q z is added, z being the sum of the keys. The
forward keeps each row's factor, scale / (scale * sum + eps). With it, and with dout . out row by row, a weight's slope
is factor * (dout . v - dout . out). Nothing of length T is made for the normaliser but these two columns.

What is kept for the backward is q, k, v, a state for each segment, and with normalize out and the factors.

Precision. Sums and states are float32. bfloat16 is multiplied as it is; a state is rounded to it for a product, never
in its sum. float16 goes into the products as TF32, which holds each of its values exactly and has the range that a sum
over a long text needs; a state is rounded to it. float32 goes as three TF32 products, whose error is about that of
float32.

Nothing is added atomically, and every order of summation is fixed: same inputs, same bits.

Source: Hua et al. 2022 (FLASH, arXiv 2202.10447), section 3.3, for the chunks; Yang et al. 2024 (GLA, arXiv
2312.06635), section 4, for states first and rows after them, both parallel; Blelloch 1990 (Prefix sums and their
applications), for reduce and scan; Dao et al. 2022 (FlashAttention, arXiv 2205.14135), appendix B, for dout . out.
"""

import torch
from torch import Tensor

from ._triton_choices import Tiling, kernels, missing, precision, segment_length, tiling_of
from ._triton_plan import FIRST, LAST, Plan, make_plan

SCAN_BLOCK, SCAN_GROUP = 128, 8  # numbers of a state to a program of the scan, and segments that it reads at once


def triton_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prefix_len,
    state: Tensor | None,
    *,
    scale: float,
    normalize: bool,
    eps: float,
    documents,
    z: bool,
    last: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return (B, H, T, Dv), and if `last` is wanted the state after all keys, else None.

    The other arguments are those of `prefix_linear_attention`, checked. z tells whether states hold the sum of the
    keys; normalize needs it. A state is then (B, H, Dk * Dv + Dk), else (B, H, Dk * Dv); None is an empty one. With
    documents every one starts from an empty state, and there is no last one.
    """
    reason = missing(q, v)
    if reason is not None:
        raise ValueError(f"backend 'triton' {reason}")
    batch, heads, total, _ = q.shape
    prefix_len = tuple(prefix_len) if isinstance(prefix_len, list) else prefix_len
    stream = torch.cuda.current_stream(q.device).cuda_stream if q.device.type == "cuda" else 0
    size = segment_length(batch * heads, total, q.device)
    plan = make_plan(prefix_len, documents, batch, heads, total, size, q.device, stream)
    return _Attend.apply(q, k, v, state, plan, scale, normalize, eps, z, last)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, given, plan, scale, normalize, eps, z, last_wanted):
        q, k, v = (x.contiguous() for x in (q, k, v))
        out, factor = _make(plan, v), _column(q) if normalize else None
        with torch.cuda.device_of(q):
            states = _sum(plan, k, v, z, skip=0 if last_wanted else LAST)
            last = _scan(plan, states, given, q.shape[:2], last_wanted)
            _rows(plan, kernels().OUT, (q, k, v), out, factor, None, states, z, scale, eps)
        ctx.save_for_backward(q, k, v, states, *((out, factor) if normalize else (None, None)))
        ctx.plan, ctx.scale, ctx.z = plan, scale, z
        ctx.set_materialize_grads(False)
        return out, last

    @staticmethod
    def backward(ctx, dout, dlast):
        choices = ctx.plan, ctx.scale, ctx.z, ctx.needs_input_grad[3]
        gradients = _Gradient.apply(dout, dlast, *choices, *ctx.saved_tensors)
        return *gradients, None, None, None, None, None, None


class _Gradient(torch.autograd.Function):
    """The backward, as a function of its own, so that a second backward is refused in words."""

    @staticmethod
    def forward(ctx, dout, dlast, plan, scale, z, first_wanted, q, k, v, states, out, factor):
        dout = torch.zeros_like(v) if dout is None else dout.contiguous()
        dq, dk, dv = (_make(plan, x) for x in (q, k, v))
        dots = None if factor is None else _column(q)
        with torch.cuda.device_of(q):
            skip = 0 if first_wanted or dots is not None else FIRST  # dots are wanted of every segment
            slopes = _sum(plan, q, dout, z, skip=skip, backward=(out, factor, dots, scale))
            dgiven = _scan(plan, slopes, dlast, q.shape[:2], first_wanted, reverse=True)
            for mode, inputs, result, state in (
                (kernels().DQ, (dout, v, k), dq, states),
                (kernels().DK, (v, dout, q), dk, slopes),
                (kernels().DV, (k, q, dout), dv, slopes),
            ):
                _rows(plan, mode, inputs, result, factor, dots, state, z, scale)
        return dq, dk, dv, dgiven

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError("backend 'triton' cannot be differentiated twice: call it with backend='reference'")


def _sum(plan, x, y, z, *, skip, backward=None) -> Tensor:
    """Return what every segment adds to the state, (rows * heads, W); where a flag is in `skip`, nothing is written."""
    out, factor, dots, scale = backward or (None, None, None, 1.0)
    tiling = tiling_of("sum_states", x, y)
    part = min(_block(x.shape[3]), tiling.columns)
    width = x.shape[3] * y.shape[3] + (x.shape[3] if z else 0)
    states = torch.empty((plan.rows * plan.heads, width), dtype=torch.float32, device=x.device)
    columns = _or(factor, states), _or(dots, states)
    _launch(
        kernels().sum_states,
        (plan.rows * plan.heads, -(-x.shape[3] // part)),
        (x, y, _or(out, y), *columns, states, plan.segments, plan.heads, x.shape[2], scale),
        tiling,
        DX=x.shape[3],
        DY=y.shape[3],
        BX=part,
        BY=_block(y.shape[3]),
        W=width,
        C=tiling.chunk,
        Z=z,
        NORM=factor is not None,
        SCALED=factor is None and scale != 1,
        BACKWARD=backward is not None,
        SKIP=skip,
        **precision(x.dtype),
    )
    return states


def _scan(plan, states, given, shape, last_wanted, reverse=False) -> Tensor | None:
    """Turn the sums into states, in place, and return the one after all keys, (B, H, W), if it is wanted."""
    width = states.shape[1]
    last = torch.empty((*shape, width), dtype=torch.float32, device=states.device) if last_wanted else None
    given = None if given is None else given.contiguous()
    if last_wanted and plan.rows == 0:  # no tokens: what is given comes out
        last.zero_() if given is None else last.copy_(given)
    _launch(
        kernels().scan_states,
        (plan.documents * plan.heads, -(-width // SCAN_BLOCK)),
        (states, _or(given, states), _or(last, states), plan.table, plan.heads),
        Tiling(0, 4, 1, 0),
        W=width,
        GIVEN=given is not None,
        LAST_WANTED=last_wanted,
        REVERSE=reverse,
        BLOCK=SCAN_BLOCK,
        GROUP=SCAN_GROUP,
    )
    return last


def _rows(plan, mode, inputs, result, factor, dots, states, z, scale, eps=0.0) -> None:
    """Fill result (B, H, T, D), and going forward the factors, row by row."""
    a, _, c = inputs
    tiling = tiling_of("attend_rows", a, c)
    part = min(_block(c.shape[3]), tiling.columns)
    columns = _or(factor, states), _or(dots, states)
    _launch(
        kernels().attend_rows,
        (plan.rows * plan.heads, -(-c.shape[3] // part)),
        (*inputs, result, *columns, states, plan.segments, plan.heads, a.shape[2], scale, eps),
        tiling,
        DA=a.shape[3],
        DC=c.shape[3],
        BA=_block(a.shape[3]),
        BC=part,
        W=states.shape[1],
        C=tiling.chunk,
        MODE=mode,
        TRANSPOSED=mode in (kernels().DQ, kernels().DK),
        REVERSE=mode in (kernels().DK, kernels().DV),
        Z=z,
        NORM=factor is not None,
        SCALED=factor is None and scale != 1,
        **precision(a.dtype),
    )


def _launch(kernel, grid, arguments, tiling: Tiling, **constants) -> None:
    if grid[0]:
        kernel[grid](*arguments, **constants, num_warps=tiling.warps, num_stages=tiling.stages)


def _block(width: int) -> int:
    """Return the power of two, at least 16, that `tl.dot` needs for a width."""
    return max(16, 1 << (width - 1).bit_length())


def _make(plan: Plan, x: Tensor) -> Tensor:
    """Return what will hold a result like x; what no segment covers gets zeros."""
    return (torch.empty if plan.whole else torch.zeros)(x.shape, dtype=x.dtype, device=x.device)


def _column(x: Tensor) -> Tensor:
    return torch.empty(x.shape[:3], dtype=torch.float32, device=x.device)


def _or(x: Tensor | None, other: Tensor) -> Tensor:
    """Return x, or for a kernel that will not touch it some tensor of the right type."""
    return other if x is None else x
