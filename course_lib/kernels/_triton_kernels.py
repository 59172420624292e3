"""The device code of the backend "triton": three kernels, launched by `triton.py`, where the algorithm is told.

Importing this file imports triton, so it is imported at the first use and not before.

All tensors are contiguous, (B * H, T, D) to the kernels. A program works on one segment of one head, which it reads
from the table (`_triton_plan.py`). Its id is row * heads + head, and so is its place among the states.

A state is W floats: Dk * Dv of the sum of k^T v, and with Z another Dk of the sum of k.

Names: D* is a width; B* is that width, or the part of it that a program does, as a power of two of at least 16, because
`tl.arange` and `tl.dot` want it so. Columns beyond D* are masked. C is the tokens of a chunk. UP says that tiles are
turned into float32 as they are loaded. Offsets within a segment fit 32 bits; where it lies is counted in 64.
"""

import triton
import triton.language as tl

from ._triton_plan import DOCUMENT, ROW, TAIL

INTERPRETED = triton.knobs.runtime.interpret  # TRITON_INTERPRET as it was when triton made these kernels

OUT, DQ, DK, DV = 0, 1, 2, 3  # what `attend_rows` makes

_TAIL, _ROW, _DOCUMENT = tl.constexpr(TAIL), tl.constexpr(ROW), tl.constexpr(DOCUMENT)
_OUT, _DQ, _DK, _DV = tl.constexpr(OUT), tl.constexpr(DQ), tl.constexpr(DK), tl.constexpr(DV)


@triton.jit
def _place(table, heads, T):
    """Return where the program's segment begins, in tokens of the whole tensor; its length; its state; its flags."""
    program = tl.program_id(0)
    row, head = table + program // heads * _ROW, program % heads
    begin = (tl.load(row) + head).to(tl.int64) * T + tl.load(row + 1)
    state = tl.load(row + 3).to(tl.int64) * heads + head
    return begin, tl.load(row + 2), state, tl.load(row + 4)


@triton.jit
def _tile(x, i, count, rows, columns, D: tl.constexpr, B: tl.constexpr, UP: tl.constexpr):
    """Return rows i.. of x (count, D), and B of its columns; zeros outside."""
    mask = (i + rows < count)[:, None]
    if D % B != 0:  # no mask that is not needed: it would cost the asynchronous copy
        mask = mask & (columns < D)[None, :]
    tile = tl.load(x + (i + rows)[:, None] * D + columns[None, :], mask=mask, other=0.0)
    return tile.to(tl.float32) if UP else tile


@triton.jit
def _put(x, i, count, rows, columns, tile, D: tl.constexpr, B: tl.constexpr):
    mask = (i + rows < count)[:, None]
    if D % B != 0:
        mask = mask & (columns < D)[None, :]
    tl.store(x + (i + rows)[:, None] * D + columns[None, :], tile.to(x.dtype.element_ty), mask=mask)


@triton.jit
def _factor(x, dtype: tl.constexpr, DROP: tl.constexpr):
    """Return x, float32, as it is multiplied with tiles of that dtype; with DROP rounded so that its last bits are 0.

    In a product of TF32 the tensor core cuts off the last 13 bits of what it gets. A float16 value has none there, but
    x has: rounded first, it is half as wrong, and not always to one side. Without 16 bits it is a bfloat16.
    """
    if DROP > 0:
        bits = (x.to(tl.int32, bitcast=True) + (1 << (DROP - 1))) & -(1 << DROP)
        return tl.where(x == x, bits.to(tl.float32, bitcast=True), x)  # a NaN's bits could wrap around
    return x.to(dtype)


@triton.jit(do_not_specialize=["heads", "T"])
def sum_states(
    x,
    y,
    out,
    factor,
    dots,
    states,
    table,
    heads,
    T,
    scale,
    DX: tl.constexpr,
    DY: tl.constexpr,
    BX: tl.constexpr,
    BY: tl.constexpr,
    W: tl.constexpr,
    C: tl.constexpr,
    Z: tl.constexpr,
    NORM: tl.constexpr,
    SCALED: tl.constexpr,
    BACKWARD: tl.constexpr,
    SKIP: tl.constexpr,
    UP: tl.constexpr,
    DROP: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write BX rows of what a segment adds to the state.

    Forward: x = k, y = v. Backward: x = q, y = dout, times the factor of each row, or if SCALED all times scale. With
    NORM the backward also writes dots = sum(dout * out), which the other kernels need row by row.
    """
    begin, count, _, flags = _place(table, heads, T)
    if (flags & SKIP) != 0:  # nobody reads this one
        return
    rows, ys = tl.arange(0, C), tl.arange(0, BY)
    xs = tl.program_id(1) * BX + tl.arange(0, BX)
    x += begin * DX
    y += begin * DY
    out += begin * DY
    factor += begin
    dots += begin
    total = tl.zeros([BX, BY], tl.float32)
    z = tl.zeros([BX], tl.float32)
    for i in range(0, count, C):
        left = _tile(x, i, count, rows, xs, DX, BX, UP)
        right = _tile(y, i, count, rows, ys, DY, BY, UP)
        if BACKWARD and NORM:
            given = _tile(out, i, count, rows, ys, DY, BY, True)
            live = i + rows < count
            weight = tl.load(factor + i + rows, mask=live, other=0.0)
            dot = tl.sum(right.to(tl.float32) * given, 1)
            tl.store(dots + i + rows, dot, mask=live & (tl.program_id(1) == 0))
            z -= tl.sum(left.to(tl.float32) * (weight * dot)[:, None], 0)
            right = _factor(right.to(tl.float32) * weight[:, None], right.dtype, DROP)
        elif Z and not BACKWARD:
            z += tl.sum(left.to(tl.float32), 0)
        total = tl.dot(tl.trans(left), right, total, input_precision=PRECISION)
    if SCALED:
        total *= scale
    states += tl.program_id(0).to(tl.int64) * W
    mask = (xs < DX)[:, None] & (ys < DY)[None, :]
    tl.store(states + xs[:, None] * DY + ys[None, :], total, mask=mask)
    if Z:
        tl.store(states + DX * DY + xs, z, mask=xs < DX)


@triton.jit
def _sum_rows(states, acc, first, stop, heads, head, columns, W: tl.constexpr, GROUP: tl.constexpr):
    """Return acc plus rows first..stop of the states."""
    steps = tl.arange(0, GROUP)
    for i in range(0, stop - first, GROUP):
        at = (first + i + steps).to(tl.int64) * heads + head
        mask = (first + i + steps < stop)[:, None] & (columns < W)[None, :]
        acc += tl.sum(tl.load(states + at[:, None] * W + columns[None, :], mask=mask, other=0.0), 0)
    return acc


@triton.jit(do_not_specialize=["heads"])
def scan_states(
    states,
    given,
    last,
    table,
    heads,
    W: tl.constexpr,
    GIVEN: tl.constexpr,
    LAST_WANTED: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Turn what the segments add into what they start from, in place; a program does BLOCK numbers of one document.

    Forward: the prefix gets the given state and all of its own; a tail segment that, and all tail segments before.
    Reverse: a tail segment gets what is given and all tail segments after it; the prefix everything. The whole prefix
    has one state, in its first row. `last` is what comes out at the other end.
    """
    document, head = tl.program_id(0) // heads, tl.program_id(0) % heads
    bounds = table + document * _DOCUMENT
    first, stop = tl.load(bounds), tl.load(bounds + 1)
    prefix, prefix_stop = tl.load(bounds + 2), tl.load(bounds + 3)
    columns = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    own = tl.program_id(0).to(tl.int64) * W + columns
    shared = states + (prefix.to(tl.int64) * heads + head) * W + columns
    shared_mask = (columns < W) & (prefix < prefix_stop)
    acc = tl.load(given + own, mask=columns < W, other=0.0) if GIVEN else tl.zeros([BLOCK], tl.float32)
    if not REVERSE:
        acc = _sum_rows(states, acc, prefix, prefix_stop, heads, head, columns, W, GROUP)
        tl.store(shared, acc, mask=shared_mask)
    steps = tl.arange(0, GROUP)
    earlier = (steps[None, :] < steps[:, None])[:, :, None]
    for i in range(0, stop - first, GROUP):
        row = stop - 1 - i - steps if REVERSE else first + i + steps
        mask = (i + steps < stop - first)[:, None] & (columns < W)[None, :]
        at = states + (row.to(tl.int64) * heads + head)[:, None] * W + columns[None, :]
        part = tl.load(at, mask=mask, other=0.0)
        # Summed, not taken from a running sum by subtraction: a large segment would blur what comes before it.
        before = tl.sum(tl.where(earlier, part[None, :, :], 0.0), 1)
        tl.store(at, acc[None, :] + before, mask=mask)
        acc += tl.sum(part, 0)
    if REVERSE:
        acc = _sum_rows(states, acc, prefix, prefix_stop, heads, head, columns, W, GROUP)
        tl.store(shared, acc, mask=shared_mask)
    if LAST_WANTED:
        tl.store(last + own, acc, mask=columns < W)


@triton.jit(do_not_specialize=["heads", "T"])
def attend_rows(
    a,
    b,
    c,
    result,
    factor,
    dots,
    states,
    table,
    heads,
    T,
    scale,
    eps,
    DA: tl.constexpr,
    DC: tl.constexpr,
    BA: tl.constexpr,
    BC: tl.constexpr,
    W: tl.constexpr,
    C: tl.constexpr,
    MODE: tl.constexpr,
    TRANSPOSED: tl.constexpr,
    REVERSE: tl.constexpr,
    Z: tl.constexpr,
    NORM: tl.constexpr,
    SCALED: tl.constexpr,
    UP: tl.constexpr,
    DROP: tl.constexpr,
    PRECISION: tl.constexpr,
):
    """Write BC columns of the rows a S + (the seen part of a b^T) c, S being the state that the chunk starts from.

    MODE  OUT  a, b, c = q, k, v        with NORM writes the factors, too
          DQ   a, b, c = dout, v, k     S is TRANSPOSED
          DK   a, b, c = v, dout, q     for S, R TRANSPOSED; in REVERSE, from right to left
          DV   a, b, c = k, q, dout     for S, R; in REVERSE
    """
    begin, count, state, flags = _place(table, heads, T)
    rows, tall = tl.arange(0, C), tl.arange(0, BA)
    wide = tl.program_id(1) * BC + tl.arange(0, BC)
    a += begin * DA
    b += begin * DA
    c += begin * DC
    result += begin * DC
    factor += begin
    dots += begin
    states += state * W
    at = tall[:, None] + wide[None, :] * DA if TRANSPOSED else tall[:, None] * DC + wide[None, :]
    S = tl.load(states + at, mask=(tall < DA)[:, None] & (wide < DC)[None, :], other=0.0)
    if MODE == _OUT and NORM:
        z = tl.load(states + DA * DC + tall, mask=tall < DA, other=0.0)
    elif (MODE == _DQ and NORM) or (MODE == _DK and Z):
        z = tl.load(states + DA * DC + wide, mask=wide < DC, other=0.0)
    if (flags & _TAIL) != 0:  # two loops and no branch in either: a branch would stop the loads from running ahead
        for step in range(0, count, C):
            i = (count - 1) // C * C - step if REVERSE else step
            live = i + rows < count
            query = _tile(a, i, count, rows, tall, DA, BA, UP)
            key = _tile(b, i, count, rows, tall, DA, BA, UP)
            value = _tile(c, i, count, rows, wide, DC, BC, UP)
            weights = tl.dot(query, tl.trans(key), input_precision=PRECISION)
            if MODE != _OUT and NORM:
                own = tl.load(factor + i + rows, mask=live, other=0.0)
                dot = tl.load(dots + i + rows, mask=live, other=0.0)
            if MODE == _DQ and NORM:
                weights -= dot[:, None]
            elif MODE == _DK and NORM:
                weights -= dot[None, :]
                z_next = z - tl.sum(value.to(tl.float32) * (own * dot)[:, None], 0)
            if REVERSE:  # the columns are the queries: theirs are factor and scale
                seen = rows[:, None] <= rows[None, :]
                if NORM:
                    value = _factor(value.to(tl.float32) * own[:, None], value.dtype, DROP)
                elif SCALED:
                    value = _factor(value.to(tl.float32) * scale, value.dtype, DROP)
            else:
                seen = rows[:, None] >= rows[None, :]
            weights = tl.where(seen, weights, 0.0)
            acc = tl.dot(query, _factor(S, query.dtype, DROP), input_precision=PRECISION)
            acc = tl.dot(_factor(weights, value.dtype, DROP), value, acc, input_precision=PRECISION)
            S = tl.dot(tl.trans(key), value, S, input_precision=PRECISION)
            if MODE == _OUT and NORM:
                below = tl.sum(weights, 1) + tl.sum(query.to(tl.float32) * z[None, :], 1)
                own = scale / (scale * below + eps)
                tl.store(factor + i + rows, own, mask=live & (tl.program_id(1) == 0))
                acc *= own[:, None]
                z += tl.sum(key.to(tl.float32), 0)
            elif MODE == _DQ and NORM:
                acc = (acc - dot[:, None] * z[None, :]) * own[:, None]
                z += tl.sum(value.to(tl.float32), 0)
            elif MODE == _DK and Z:
                acc += z[None, :]
                if NORM:
                    z = z_next
            elif SCALED and not REVERSE:
                acc *= scale
            _put(result, i, count, rows, wide, acc, DC, BC)
    else:
        for i in range(0, count, C):
            live = i + rows < count
            query = _tile(a, i, count, rows, tall, DA, BA, UP)
            acc = tl.dot(query, _factor(S, query.dtype, DROP), input_precision=PRECISION)
            if MODE == _OUT and NORM:
                own = scale / (scale * tl.sum(query.to(tl.float32) * z[None, :], 1) + eps)
                tl.store(factor + i + rows, own, mask=live & (tl.program_id(1) == 0))
                acc *= own[:, None]
            elif MODE == _DQ and NORM:
                own = tl.load(factor + i + rows, mask=live, other=0.0)
                dot = tl.load(dots + i + rows, mask=live, other=0.0)
                acc = (acc - dot[:, None] * z[None, :]) * own[:, None]
            elif MODE == _DK and Z:
                acc += z[None, :]
            elif SCALED and not REVERSE:
                acc *= scale
            _put(result, i, count, rows, wide, acc, DC, BC)
