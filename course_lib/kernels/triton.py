"""Prefix linear attention on a CUDA device: four Triton kernels, parallel over the length, and a backward by hand.

The formulas are those of `chunked.py`: the prefix by two dense products, the tail in chunks from the prefix state S.
There a head goes from left to right. A device has more processors than a batch has heads, so here a document is cut in
segments, first its prefix, then its tail, and three launches follow each other:

    sum      every segment adds up its own k^T v: all segments at once;
    scan     for each document, the sums become states: S of the whole prefix, and for each tail segment what precedes
             it. This alone goes from left to right, over segments and not tokens, a state's numbers side by side;
    attend   every segment writes its rows: all segments at once. In a prefix segment a row is q S, with no keys, no
             values and no mask; in a tail segment the chunks follow each other, and S stays on the chip.

The backward does the same with R, the sum of q^T g over later queries; g is what reaches q S. The sums are of q^T g, the
scan goes from right to left and gives the prefix the R of all queries. Then dq is the forward's own kernel with dout, v,
k and S transposed in place of q, k, v and S; a last kernel makes dk and dv together, from right to left.

The normaliser stays in the chunk's tile: its rows are summed, and q z is added, z being the sum of the keys. The forward
keeps each row's factor, scale / (scale * sum + eps). With it, and with dout . out row by row, a weight's slope is
factor * (dout . v - dout . out), and nothing of length T beside q, k, v and out is kept but these two columns.

What is kept for the backward is q, k, v, a state for each segment, and with normalize out and the factors.

Precision. Sums and states are float32. bfloat16 is multiplied as it is; a state is rounded to it for a product, never in
its sum. float16 goes into the products as TF32, which holds each of its values exactly, and has the range that a sum
over a long text needs. float32 goes as three TF32 products, whose error is about that of float32.

Nothing is added atomically, and every order of summation is fixed: same inputs, same bits.

Source: Hua et al. 2022 (FLASH, arXiv 2202.10447), section 3.3, for the chunks; Yang et al. 2024 (GLA, arXiv 2312.06635),
section 4, for states first and rows after them, both parallel; Blelloch 1990 (Prefix sums and their applications),
section 1, for reduce and scan; Dao et al. 2022 (FlashAttention, arXiv 2205.14135), appendix B, for dout . out.
"""

from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDEST = 128  # features: a state of 128 x 128 float32 still fits the registers of a program
OTHERS = "use backend='chunked', or 'auto', which does so by itself"
SCAN_BLOCK, SCAN_GROUP = 128, 8  # numbers of a state to a program of the scan, and segments that it reads at once


class Config(NamedTuple):
    """How a kernel is cut: tokens of a chunk, warps of a program, chunks under way to it."""

    chunk: int
    warps: int
    stages: int


# By kernel, type and width. Chosen from what the compiler says for sm_90 (tests/test_triton_compile.py): no spilled
# registers, and room for two programs on a multiprocessor where that can be. tools/sweep_triton.py times others.
CONFIGS = {
}


class Plan(NamedTuple):
    """The segments of a batch as the kernels read them.

    table      int32, on the device: five numbers for each segment and then four for each document, as told in
               `_triton_kernels.py`. Tails come first: they take longest, and prefix segments fill the gaps behind them.
    rows       how many segments
    documents  how many documents
    heads      how many heads go through each of them: H, or B * H if all examples are alike
    whole      whether every token is in a segment
    """

    table: Tensor
    rows: int
    documents: int
    heads: int
    whole: bool


def missing(q: Tensor, v: Tensor) -> str | None:
    """Say in words why this backend cannot do q and v, or return None if it can. Imports triton only if all else fits."""
    if q.dtype not in DTYPES:
        return f"takes float32, bfloat16 and float16, got q of {q.dtype}: {OTHERS}"
    for name, width in (("q", q.shape[3]), ("v", v.shape[3])):
        if width > WIDEST:
            return f"takes up to {WIDEST} features, got {width} in {name}: {OTHERS}"
    if find_spec("triton") is None:
        return f"needs the package triton, which is not installed: pip install triton, or {OTHERS}"
    if q.device.type not in ("cpu", "cuda"):
        return f"needs a CUDA device, got q on {q.device}: {OTHERS}"
    if _kernels().INTERPRETED:
        return None
    if q.device.type == "cpu":
        return (
            f"needs a CUDA device, or TRITON_INTERPRET=1 in the environment before triton is imported, which is slow "
            f"and for tests; got q on {q.device}: {OTHERS}"
        )
    if torch.version.cuda is None or torch.cuda.get_device_capability(q.device) < (8, 0):
        return f"needs a CUDA device of compute capability 8.0 or more, got q on {_name(q.device)}: {OTHERS}"
    return None


def is_automatic(q: Tensor, v: Tensor) -> bool:
    """Tell whether "auto" takes this backend: on a CUDA device, compiled, for what it supports."""
    return q.device.type == "cuda" and missing(q, v) is None and not _kernels().INTERPRETED


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

    The other arguments are those of `prefix_linear_attention`, checked. z tells whether states hold the sum of the keys;
    normalize needs it. A state is then (B, H, Dk * Dv + Dk), else (B, H, Dk * Dv); None is an empty one. With documents
    every one starts from an empty state, and there is no last one.
    """
    reason = missing(q, v)
    if reason is not None:
        raise ValueError(f"backend 'triton' {reason}")
    batch, heads, total, _ = q.shape
    prefix_len = tuple(prefix_len) if isinstance(prefix_len, list) else prefix_len
    stream = torch.cuda.current_stream(q.device).cuda_stream if q.device.type == "cuda" else 0
    plan = _plan(prefix_len, documents, batch, heads, total, _segment(batch * heads, total, q.device), q.device, stream)
    return _Attend.apply(q, k, v, state, plan, scale, normalize, eps, z, last)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, given, plan, scale, normalize, eps, z, last_wanted):
        q, k, v = (x.contiguous() for x in (q, k, v))
        out, factor = _make(plan, v), _column(q) if normalize else None
        with torch.cuda.device_of(q):
            states = _sum(plan, k, v, z=z, skip=0 if last_wanted else _kernels().LAST)
            last = _scan(plan, q, v, states, given, z, last_wanted)
            _attend(plan, (q, k, v), out, factor, None, states, z, scale, eps)
        ctx.save_for_backward(q, k, v, states, *((out, factor) if normalize else (None, None)))
        ctx.plan, ctx.scale, ctx.z = plan, scale, z
        ctx.set_materialize_grads(False)
        return out, last

    @staticmethod
    def backward(ctx, dout, dlast):
        gradients = _Gradient.apply(dout, dlast, ctx.plan, ctx.scale, ctx.z, ctx.needs_input_grad[3], *ctx.saved_tensors)
        return *gradients, None, None, None, None, None, None


class _Gradient(torch.autograd.Function):
    """The backward, as a function of its own, so that a second backward is refused in words."""

    @staticmethod
    def forward(ctx, dout, dlast, plan, scale, z, first_wanted, q, k, v, states, out, factor):
        dout = torch.zeros_like(v) if dout is None else dout.contiguous()
        dq, dk, dv = (_make(plan, x) for x in (q, k, v))
        dots = None if factor is None else _column(q)
        with torch.cuda.device_of(q):
            skip = 0 if first_wanted or factor is not None else _kernels().FIRST  # with a factor, dots are wanted of all
            slopes = _sum(plan, q, dout, z=z, skip=skip, backward=(out, factor, dots, scale))
            dgiven = _scan(plan, q, v, slopes, dlast, z, first_wanted, reverse=True)
            _attend(plan, (dout, v, k), dq, factor, dots, states, z, scale, 0.0, backward=True)
            _differentiate(plan, (q, k, v, dout), (dk, dv), factor, dots, slopes, z, scale)
        return dq, dk, dv, dgiven

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError("backend 'triton' cannot be differentiated twice: call it with backend='reference'")


def _sum(plan, x, y, *, z, skip, backward=None) -> Tensor:
    """Return what every segment adds to the state, (rows * heads, W); rows whose flags are in `skip` are not written."""
    out, factor, dots, scale = backward or (None, None, None, 1.0)
    sizes = {"DX": x.shape[3], "DY": y.shape[3], "BX": _block(x), "BY": _block(y), "W": _width(x, y, z)}
    states = torch.empty((plan.rows * plan.heads, sizes["W"]), dtype=torch.float32, device=x.device)
    _launch(
        "sum_states",
        plan,
        x,
        [x, y, _or(out, x), _or(factor, states), _or(dots, states), states, plan.table],
        [plan.heads, x.shape[2], scale],
        {**sizes, "Z": z, "NORM": factor is not None, "BACKWARD": backward is not None, "SKIP": skip},
        max(sizes["BX"], sizes["BY"]),
    )
    return states


def _scan(plan, q, v, states, given, z, last_wanted, reverse=False) -> Tensor | None:
    """Turn the sums into states, in place, and return the one after all keys, (B, H, W), if it is wanted."""
    width = _width(q, v, z)
    last = torch.empty((*q.shape[:2], width), dtype=torch.float32, device=q.device) if last_wanted else None
    given = None if given is None else given.contiguous()
    if plan.documents * plan.heads == 0:  # no tokens
        if last_wanted:
            last.zero_() if given is None else last.copy_(given)
        return last
    kernel = _kernels().scan_states
    kernel[(plan.documents * plan.heads, -(-width // SCAN_BLOCK))](
        states,
        _or(given, states),
        _or(last, states),
        plan.table[plan.rows * _kernels().ROW :],
        plan.heads,
        W=width,
        GIVEN=given is not None,
        LAST_WANTED=last_wanted,
        REVERSE=reverse,
        BLOCK=SCAN_BLOCK,
        GROUP=SCAN_GROUP,
        num_warps=4,
    )
    return last


def _attend(plan, inputs, result, factor, dots, states, z, scale, eps, backward=False) -> None:
    """Fill result, and going forward the factors, row by row."""
    a, _, c = inputs
    sizes = {"DA": a.shape[3], "DC": c.shape[3], "BA": _block(a), "BC": _block(c), "W": _width(a, c, False)}
    sizes["W"] = states.shape[1]
    _launch(
        "attend_rows",
        plan,
        a,
        [*inputs, result, _or(factor, states), _or(dots, states), states, plan.table],
        [plan.heads, a.shape[2], scale, eps],
        {**sizes, "NORM": factor is not None, "BACKWARD": backward},
        max(sizes["BA"], sizes["BC"]),
    )


def _differentiate(plan, inputs, results, factor, dots, slopes, z, scale) -> None:
    """Fill dk and dv."""
    q, _, v, _ = inputs
    sizes = {"DK": q.shape[3], "DV": v.shape[3], "BK": _block(q), "BV": _block(v), "W": slopes.shape[1]}
    _launch(
        "differentiate_keys",
        plan,
        q,
        [*inputs, *results, _or(factor, slopes), _or(dots, slopes), slopes, plan.table],
        [plan.heads, q.shape[2], scale],
        {**sizes, "Z": z, "NORM": factor is not None},
        max(sizes["BK"], sizes["BV"]),
    )
