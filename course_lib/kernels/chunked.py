"""Prefix linear attention as dense products: the prefix by two, the tail in chunks, and a backward written by hand.

Write S for the sum of k_j^T v_j. All rows of the prefix see the same keys, so S is summed over the prefix once and read
once for each row: two products and no mask. The tail goes on from this S. It is cut in chunks; a row sees the chunks
before its own through S, and its own chunk through a small masked tile:

    out = q S + tril(q k^T) v,   and then   S <- S + k^T v.

The backward runs from right to left with R, the sum of q_i^T g_i over later queries; g is what reaches q S:

    dq = g S^T + tril(g v^T) k,   dk = v R^T + tril(g v^T)^T q,   dv = k R + tril(q k^T)^T g,   then   R <- R + q^T g.

In the prefix there is no tile, and R is that of all queries. The forward keeps S before every SPAN tokens of the tail;
within a span the backward sums it again.

The normaliser is one more column of v, all ones: then q S is numerator and denominator, and S holds both sums.

Source: Hua et al. 2022 (FLASH, arXiv 2202.10447), section 3.3, for the chunks; Yang et al. 2024 (GLA, arXiv
2312.06635), section 2.2 and algorithm 1, for their order.
"""

from itertools import pairwise

import torch
from torch import Tensor

from ._segments import segments

SPAN = 2048  # tokens between two kept states: 16 KiB a head at Dk = Dv = 64, where q, k and v are 1.5 MiB


def chunked_linear_attention(
    q: Tensor, k: Tensor, v: Tensor, prefix_len, state: Tensor, *, scale: float, normalize: bool, eps: float, documents
) -> tuple[Tensor, Tensor]:
    """Return (B, H, T, Dv) and the state after all keys.

    The arguments are those of `prefix_linear_attention`, checked. state is (B, H, Dk, Dv), or with normalize
    (B, H, Dk, Dv + 1), z being its last column. With documents, every one starts from an empty state.
    """
    on_cpu = q.device.type == "cpu"
    together = 16 * max(1, 256 // max(1, q.shape[2]))  # heads: more of them, or longer ones, would leave the cache
    most = max(1, together // max(1, q.shape[1])) if on_cpu else q.shape[0]
    plan = segments(prefix_len, documents, q.shape[0], q.shape[2], most) if q.numel() else []
    make = torch.empty if documents is None else torch.zeros  # documents may leave a rest of the row, which gets zeros
    return _Chunked.apply(q, k, v, state, plan, make, scale, normalize, eps)


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, q, k, v, state, plan, make, scale, normalize, eps):
        out, last, kept = make(v.shape, dtype=v.dtype, device=v.device), state.clone(), []
        factor = make((*q.shape[:3], 1), dtype=state.dtype, device=q.device) if normalize else None
        for part in plan:
            inputs, results = [part.of(x) for x in (q, k, v)], [part.of(x) for x in (out, factor)]
            last[part.examples], states = _attend(
                inputs, results, part.prefix, state[part.examples], scale, eps, any(ctx.needs_input_grad)
            )
            part.put((out, factor), results)
            kept.append(states)
        ctx.save_for_backward(q, k, v, out if normalize else None, factor, *kept)
        ctx.plan, ctx.make, ctx.scale = plan, make, scale
        return out, last

    @staticmethod
    def backward(ctx, dout, dlast):
        gradients = _Gradient.apply(dout, dlast, ctx.plan, ctx.make, ctx.scale, *ctx.saved_tensors)
        return *gradients, None, None, None, None, None


class _Gradient(torch.autograd.Function):
    """The backward, as a function of its own, so that a second backward is refused in words."""

    @staticmethod
    def forward(ctx, dout, dlast, plan, make, scale, q, k, v, out, factor, *kept):
        gradients, dstate = [make(x.shape, dtype=x.dtype, device=x.device) for x in (q, k, v)], dlast.clone()
        with torch.autocast(q.device.type, enabled=False):
            for part, states in zip(plan, kept, strict=True):
                inputs, results = [part.of(x) for x in (q, k, v, dout, out, factor)], [part.of(x) for x in gradients]
                dstate[part.examples] = _differentiate(
                    inputs, results, part.prefix, states, dlast[part.examples], scale
                )
                part.put(gradients, results)
        return *gradients, dstate

    @staticmethod
    def backward(ctx, *_):
        raise RuntimeError("backend 'chunked' cannot be differentiated twice: call it with backend='reference'")


def _attend(inputs, results, prefix, state, scale, eps, keep) -> tuple[Tensor, Tensor]:
    """Fill out, and with normalize the factor of its rows, of one segment; return its last state, and those to keep."""
    (q, k, v), (out, factor) = inputs, results
    column = None if factor is None else 1.0
    total, first, state = q.shape[1], state.shape, state.flatten(0, 1).clone()  # it is added to in place

    def write(a, b, chunks, rows):
        if column is None:
            _paste(out, a, b, chunks, rows, None if scale == 1 else scale)
        else:
            own = scale / (scale * rows[..., -1:] + eps)
            _paste(factor, a, b, chunks, own)
            _paste(out, a, b, chunks, rows[..., :-1], own)

    plain = column is None and q.dtype == state.dtype
    for a, b in _tiles(prefix, q, plain):
        state.baddbmm_(_cut(k, a, b, 1, state.dtype).mT, _cut(v, a, b, 1, state.dtype, column))
    for a, b in _tiles(prefix, q, plain):
        rows = _cut(q, a, b, 1, state.dtype)
        if column is None:
            _multiply(out, a, b, rows, state if scale == 1 else scale * state)
        else:
            write(a, b, 1, torch.bmm(rows, state))
    starts = range(
        prefix, max(total, prefix + 1), SPAN
    )  # without a tail still one, for the prefix needs its state, too
    kept = torch.empty((len(starts) if keep else 0, *state.shape), dtype=state.dtype, device=state.device)
    for i, start in enumerate(starts):
        if keep:
            kept[i] = state
        for a, b, chunks in _blocks(start, min(start + SPAN, total), q):
            rows, keys = (_cut(x, a, b, chunks, state.dtype) for x in (q, k))
            values = _cut(v, a, b, chunks, state.dtype, column)
            before = state
            if chunks > 1:
                before, state = _running(state, keys, values, chunks)
            tile = torch.bmm(rows, keys.mT).tril_()
            write(a, b, chunks, torch.bmm(tile, values).baddbmm_(rows, before))
            if chunks == 1:  # in place, once it has been read: `_running` would copy it for every chunk
                state.baddbmm_(keys.mT, values)
    return state.view(first), kept


def _differentiate(inputs, results, prefix, states, after, scale) -> Tensor:
    """Fill dq, dk and dv of one segment; `after` is the gradient of its last state, that of its first is returned."""
    (q, k, v, dout, out, factor), (dq, dk, dv) = inputs, results
    column, weight = (None, scale) if factor is None else (1.0, 1.0)
    total, first, dtype, after = q.shape[1], after.shape, after.dtype, after.flatten(0, 1)
    plain = column is None and q.dtype == dtype

    def upstream(a, b, chunks):
        """Return what reaches q S, but for the factor `weight`."""
        if column is None:
            return _cut(dout, a, b, chunks, dtype)
        g = _cut(dout, a, b, chunks, dtype, 0.0)
        g *= _cut(factor, a, b, chunks, dtype)
        torch.sum(g[..., :-1] * _cut(out, a, b, chunks, dtype), -1, out=g[..., -1])
        g[..., -1].neg_()  # what reaches the denominator
        return g

    for start in reversed(range(prefix, total, SPAN)):
        state = states[(start - prefix) // SPAN]
        blocks = []
        for a, b, chunks in _blocks(start, min(start + SPAN, total), q):
            before, state = _running(state, _cut(k, a, b, chunks, dtype), _cut(v, a, b, chunks, dtype, column), chunks)
            blocks.append((a, b, chunks, before))
        while blocks:
            a, b, chunks, before = blocks.pop()  # and its states with it
            rows, keys = (_cut(x, a, b, chunks, dtype) for x in (q, k))
            values, g = _cut(v, a, b, chunks, dtype, column), upstream(a, b, chunks)
            g = g if weight == 1 else weight * g
            later, after = _running(after, rows, g, chunks, reverse=True)
            tile = torch.bmm(g, values.mT).tril_()
            _paste(dq, a, b, chunks, torch.bmm(tile, keys).baddbmm_(g, before.mT))
            _paste(dk, a, b, chunks, torch.bmm(tile.mT, rows).baddbmm_(values, later.mT))
            tile = torch.bmm(rows, keys.mT).tril_()
            dim = v.shape[-1]  # without the column of ones, which is no one's
            _paste(dv, a, b, chunks, torch.bmm(tile.mT, g[..., :dim]).baddbmm_(keys, later[..., :dim]))
    for a, b in _tiles(prefix, q, plain):
        g = upstream(a, b, 1)
        after = after.baddbmm(_cut(q, a, b, 1, dtype).mT, g, alpha=weight)
        _multiply(dq, a, b, g, weight * states[0].mT)
    for a, b in _tiles(prefix, q, plain):
        _multiply(dk, a, b, _cut(v, a, b, 1, dtype, column), after.mT)
        _multiply(dv, a, b, _cut(k, a, b, 1, dtype), after[..., : v.shape[-1]])
    return after.view(first)


def _running(given: Tensor, left: Tensor, right: Tensor, chunks: int, reverse: bool = False) -> tuple[Tensor, Tensor]:
    """Return, for each chunk, `given` and the left^T right of all chunks before it (reverse: after it), and the total.

    given is (N, Dk, D), left (chunks * N, C, Dk) and right (chunks * N, C, D), as `_cut` cuts them.
    """
    if chunks == 1:
        return given, torch.baddbmm(given, left.mT, right)
    sums = torch.empty((chunks + 1, *given.shape), dtype=given.dtype, device=given.device)
    others, own = (sums[1:], sums[:-1]) if reverse else (sums[:-1], sums[1:])
    torch.bmm(left.mT, right, out=own.flatten(0, 1))
    steps = sums.unbind()[:: -1 if reverse else 1]
    steps[0].copy_(given)
    for one, following in pairwise(steps):
        following += one
    return others.flatten(0, 1), steps[-1]


def _cut(x: Tensor, a: int, b: int, chunks: int, dtype: torch.dtype, column: float | None = None) -> Tensor:
    """Return tokens a..b of x (N, T, D) as (chunks * N, C, D): a view if it can be, with one more column if given."""
    x = _view(x, a, b, chunks)
    if column is not None:
        wide = torch.full((*x.shape[:-1], x.shape[-1] + 1), column, dtype=dtype, device=x.device)
        wide[..., :-1] = x
        x = wide
    elif x.dtype != dtype:
        x = x.to(dtype, memory_format=torch.contiguous_format)
    return x if chunks == 1 else x.flatten(0, 1)


def _paste(x: Tensor, a: int, b: int, chunks: int, tile: Tensor, factor: Tensor | float | None = None) -> None:
    """Write factor * tile, which is cut as by `_cut`, into tokens a..b of x."""
    target = _view(x, a, b, chunks)
    if chunks > 1:
        tile = tile.view(target.shape)
        factor = factor.view(*target.shape[:-1], 1) if isinstance(factor, Tensor) else factor
    target.copy_(tile) if factor is None else torch.mul(tile, factor, out=target)


def _multiply(x: Tensor, a: int, b: int, left: Tensor, right: Tensor) -> None:
    """Write left right into tokens a..b of x (N, T, D)."""
    x = x[:, a:b]
    if x.dtype == left.dtype and x.is_contiguous():
        torch.bmm(left, right, out=x)
    elif x.dtype == left.dtype and b - a >= 256:  # one by one: a batched product cannot go into part of a tensor
        for target, one, other in zip(x, left, right, strict=True):
            torch.mm(one, other, out=target)
    else:
        x.copy_(torch.bmm(left, right))


def _view(x: Tensor, a: int, b: int, chunks: int) -> Tensor:
    """Return tokens a..b of x (N, T, D) as a view (chunks, N, C, D), or (N, C, D) for a single chunk."""
    x = x[:, a:b]
    return x if chunks == 1 else x.unflatten(1, (chunks, -1)).transpose(0, 1)


def _tiles(prefix: int, q: Tensor, plain: bool) -> list[tuple[int, int]]:
    """Cut the prefix, (a, b): not at all if the tensors are multiplied as they are, else so that copies are small."""
    size = max(1, prefix) if plain else max(64, 8192 // q.shape[0])
    return [(a, min(a + size, prefix)) for a in range(0, prefix, size)]


def _blocks(start: int, stop: int, q: Tensor) -> list[tuple[int, int, int]]:
    """Cut a span of the tail in blocks of equal chunks, (a, b, chunks); what is left over is one shorter chunk."""
    chunk, most = _sizes(q)
    whole = stop - (stop - start) % chunk
    blocks = [(a, min(a + most * chunk, whole)) for a in range(start, whole, most * chunk)]
    return [(a, b, (b - a) // chunk) for a, b in blocks] + [(whole, stop, 1)] * (whole < stop)


def _sizes(q: Tensor) -> tuple[int, int]:
    """Return the tokens of a chunk, and how many chunks go through every product together.

    A small chunk wastes little on the masked half of its tile, but leaves little to do in one product. One thread can
    live with that, several cannot.
    """
    if q.device.type != "cpu":
        return 64, SPAN // 64
    chunk, tokens = (32, 256) if torch.get_num_threads() == 1 else (64, 4096)
    return chunk, max(1, tokens // (q.shape[0] * chunk))
