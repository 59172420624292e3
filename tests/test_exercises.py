"""Every exercise: its solution is right, its dots are untouched, and every known mistake gets its own diagnosis."""

import math
from importlib import import_module

import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from torch.nn import functional as F

from course_lib import masks
from course_lib.classroom.banks import load_banks
from course_lib.classroom.exercises import (
    EXERCISES,
    check,
    glm,
    linear_attention,
    palm_parallel,
    prefix_linear_attention,
    prefix_lm,
    prefix_mask,
)


@pytest.fixture(autouse=True)
def _own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))


def rule(condition):
    """Return a vectorised mask function from a condition on row i, column j and prefix p."""

    def mask(prefix_len, total_len):
        i, j = torch.arange(total_len)[:, None], torch.arange(total_len)[None, :]
        return condition(i, j, prefix_len) & torch.ones(total_len, total_len, dtype=torch.bool)

    return mask


WRONG_MASKS = {
    "causal": rule(lambda i, j, p: j <= i),
    "all_ones": rule(lambda i, j, p: i >= 0),
    "transposed": lambda p, t: masks.prefix_mask(p, t).T,
    "inverted": lambda p, t: ~masks.prefix_mask(p, t),
    "compared_query": rule(lambda i, j, p: (i < p) | (j <= i)),
    "prefix_only": rule(lambda i, j, p: j < p),
    "block_only": rule(lambda i, j, p: (i < p) & (j < p)),
    "two_islands": lambda p, t: masks.packed_prefix_mask([p, 0], [p, t - p]),
    "no_self": rule(lambda i, j, p: (j < p) | (j < i)),
    "one_more": rule(lambda i, j, p: (j <= p) | (j <= i)),
    "one_less": rule(lambda i, j, p: (j < p - 1) | (j <= i)),
    "both_and": rule(lambda i, j, p: (j < p) & (j <= i)),
    "special_case": lambda p, t: masks.prefix_mask(3, t) if t >= 3 else masks.prefix_mask(p, t),
    "own_group": lambda p, t: masks.packed_prefix_mask([p, *[0] * (t - p)], [p, *[1] * (t - p)]),
    "two_groups": rule(lambda i, j, p: (j < p) | (i >= p)),
    "cells": rule(lambda i, j, p: (j < p) | (j <= i) | ((i == 0) & (j == 6))),
    "not_bool": lambda p, t: masks.create_prefix_mask(p, t),
    "not_a_tensor": lambda p, t: masks.prefix_mask(p, t).tolist(),
    "shape": lambda p, t: torch.arange(t) < p,
    "returns_none": lambda p, t: None,
    "arguments": lambda p: None,
    "raised": lambda p, t: 1 / 0,
}


def mix(weights_of):
    """Return an attention from a function of (scores, mask) to weights."""
    return lambda q, k, v, mask: weights_of(q @ k.T / math.sqrt(q.shape[-1]), mask) @ v


WRONG_ATTENTION = {
    "product_before_softmax": mix(lambda s, m: (s * m).softmax(-1)),
    "added": mix(lambda s, m: (s + m.double()).softmax(-1)),
    "masked_after": mix(lambda s, m: s.softmax(-1) * m),
    "no_mask": mix(lambda s, m: s.softmax(-1)),
    "mask_inverted": mix(lambda s, m: s.masked_fill(m, -math.inf).softmax(-1)),
    "no_root": lambda q, k, v, m: (q @ k.T / q.shape[-1]).masked_fill(~m, -math.inf).softmax(-1) @ v,
    "mask_transposed": mix(lambda s, m: s.masked_fill(~m.T, -math.inf).softmax(-1)),
    "no_scale": lambda q, k, v, m: (q @ k.T).masked_fill(~m, -math.inf).softmax(-1) @ v,
    "wrong_axis": mix(lambda s, m: s.masked_fill(~m, -math.inf).softmax(0)),
    "nan": mix(lambda s, m: s.masked_fill(s > -9, -math.inf).softmax(-1)),
    "shape": lambda q, k, v, m: (q @ k.T).masked_fill(~m, -math.inf).softmax(-1),
    "values": mix(lambda s, m: (2.5 * s).masked_fill(~m, -math.inf).softmax(-1)),
}

WRONG_RULES = {
    "causal": lambda i, j, p: j <= i,
    "compared_query": lambda i, j, p: i < p or j <= i,
    "transposed": lambda i, j, p: i < p or i <= j,
    "prefix_only": lambda i, j, p: j < p,
    "no_self": lambda i, j, p: j < p or j < i,
    "one_more": lambda i, j, p: j <= p or j <= i,
    "both_and": lambda i, j, p: j < p and j <= i,
    "all_ones": lambda i, j, p: True,
    "not_bool": lambda i, j, p: 1,
}

WRONG_COUNTS = {
    "sum": lambda t: t + t,
    "no_self": lambda t: t * (t - 1),
    "unordered": lambda t: t * (t + 1) // 2,
    "unordered_no_self": lambda t: t * (t - 1) // 2,
    "constant": lambda t: 36,
    "not_a_count": lambda t: float(t * t),
    "count": lambda t: t**3,
}


def rows(condition):
    """Return a loss mask function from a condition on row i and prefix p."""
    return lambda p, t: condition(torch.arange(t), p) & torch.ones(t, dtype=torch.bool)


WRONG_ROWS = {
    "one_late": rows(lambda i, p: i >= p),
    "two_late": rows(lambda i, p: i >= p + 1),
    "one_early": rows(lambda i, p: i >= p - 2),
    "everywhere": rows(lambda i, p: i >= 0),
    "inverted": rows(lambda i, p: i < p - 1),
    "inverted_late": rows(lambda i, p: i < p),
    "last_left_out": lambda p, t: (torch.arange(t) >= p - 1) & (torch.arange(t) < t - 1),
    "rows": rows(lambda i, p: (i >= p - 1) & (i < 6)),
    "not_rows": lambda p, t: [i >= p - 1 for i in range(t)],
    "slice_from_minus_one": lambda p, t: sliced(p, t),
}


def sliced(p, t):
    mask = torch.zeros(t, dtype=torch.bool)
    mask[p - 1 :] = True
    return mask


def decode(attend, keep=lambda old, new: torch.cat([old, new], 2)):
    """Return a decode step from how it attends, (q, own k, own v, all k, all v), and how it keeps."""

    def step(q, k, v, kept):
        pair = (k, v) if kept is None else (keep(kept[0], k), keep(kept[1], v))
        return attend(q, k, v, *pair), pair

    return step


def in_place(q, k, v, kept):
    """Write over the oldest row of what was given, after all else is right."""
    out, pair = prefix_lm.decode_step(q, k, v, kept)
    if kept is not None:
        kept[0][:, :, 0] = 0
    return out, pair


SDPA = F.scaled_dot_product_attention
WRONG_STEPS = {
    "top_left": decode(lambda q, k, v, K, V: SDPA(q, K, V, is_causal=True)),
    "only_itself": decode(lambda q, k, v, K, V: SDPA(q, k, v)),
    "length": decode(lambda q, k, v, K, V: SDPA(q, K, V), keep=lambda old, new: new),
    "shape": decode(lambda q, k, v, K, V: SDPA(q, K, V).transpose(1, 2)),
    "no_scale": decode(lambda q, k, v, K, V: SDPA(q, K, V, scale=1.0)),
    "no_self": decode(lambda q, k, v, K, V: SDPA(q, *((K, V) if K.shape[2] == 1 else (K[:, :, :-1], V[:, :, :-1])))),
    "values": decode(lambda q, k, v, K, V: SDPA(q, K, K)),
    "order": decode(lambda q, k, v, K, V: SDPA(q, K, V), keep=lambda old, new: torch.cat([new, old], 2)),
    "dim": decode(lambda q, k, v, K, V: SDPA(q, K, V), keep=lambda old, new: torch.cat([old, new[:, :1]], 2)),
    "first": lambda q, k, v, kept: (SDPA(q, kept[0], kept[1]), kept),
    "form": lambda q, k, v, kept: SDPA(q, k, v),
    "overwrote": in_place,
}


def counts(rows_of):
    """Return a `stale` from a function of (old, new, total) to the rows of layers 1, 2, and each later one."""

    def stale(old, new, total, layers):
        first, second, later = rows_of(old, new, total)
        return ([first, second] + [later] * layers)[:layers]

    return stale


WRONG_COUNTS_OF_STALE = {  # as a learner would write them, with no thought of a prefix that shrinks or stays
    "everything": counts(lambda o, n, t: (t, t, t)),
    "all_of_layer_two": counts(lambda o, n, t: (0, t, t)),
    "new_rows": counts(lambda o, n, t: (0, n - o, t)),
    "last_too": counts(lambda o, n, t: (0, n, t)),
    "like_layer_two": counts(lambda o, n, t: (0, n - 1, n - 1)),
    "only_layer_two": counts(lambda o, n, t: (0, n - 1, 0)),
    "nothing": counts(lambda o, n, t: (0, 0, 0)),
    "shrinks": counts(lambda o, n, t: (0, n - 1, t)),
    "same_mask": counts(lambda o, n, t: (0, max(o, n) - 1, t)),
    "counts": counts(lambda o, n, t: (0, 5, t)),
    "not_counts": lambda o, n, t, layers: 3,
}

WRONG_DRAWS = {
    "too_long": lambda t, g: int(torch.randint(1, t + 1, (), generator=g)),
    "empty": lambda t, g: int(torch.randint(0, t, (), generator=g)),
    "outside": lambda t, g: -1,
    "missing": lambda t, g: int(torch.randint(1, t - 1, (), generator=g)),
    "uneven": lambda t, g: min(int(torch.randint(1, t + 3, (), generator=g)), t - 1),
    "unseeded": lambda t, g: int(torch.randint(1, t, ())),
    "not_int": lambda t, g: torch.randint(1, t, (), generator=g),
}


def blanks(change):
    """Return wrong layouts of one and of several blanks: the right four lists, changed."""

    def one(words, start, end):
        return change([list(field) for field in glm.one_blank(words, start, end)], words, [(start, end)])

    def many(words, spans):
        return change([list(field) for field in glm.many_blanks(words, spans)], words, spans)

    return one, many


def put(place, value):
    """Return a change that puts value(fields, words, spans) in the place of one of the four fields."""

    def change(fields, words, spans):
        fields[place] = value(fields, words, spans)
        return fields

    return change


def part_a(fields):
    return [block for block in fields[3] if block == 0]


WRONG_LAYOUTS = {
    "mask_a_word": put(0, lambda f, w, s: [glm.MASK if any(a <= i < b for a, b in s) else x for i, x in enumerate(w)]),
    "no_start": put(0, lambda f, w, s: [x for x in f[0] if x != glm.START]),
    "end_is_read": put(0, lambda f, w, s: [*f[0], glm.END]),
    "inputs": put(0, lambda f, w, s: f[0][::-1]),
    "targets": put(1, lambda f, w, s: [*f[0][1:], glm.END]),
    "original_positions": put(2, lambda f, w, s: f[2][: len(part_a(f))] + [i for a, b in s for i in (a, *range(a, b))]),
    "goes_on": put(2, lambda f, w, s: [p + max(b - 1, 0) for p, b in zip(f[2], f[3], strict=True)]),
    "plain_positions": put(2, lambda f, w, s: list(range(len(f[2])))),
    "positions": put(2, lambda f, w, s: [0] * len(f[2])),
    "blocks_from_zero": put(3, lambda f, w, s: [max(block - 1, 0) for block in f[3]]),
    "blocks": put(3, lambda f, w, s: [block + 1 for block in f[3]]),
    "form": lambda f, w, s: f[0],
}
WRONG_LAYOUTS_OF_MANY = {
    **WRONG_LAYOUTS,
    "not_shrunk": put(2, lambda f, w, s: f[2][: len(part_a(f))] + [a for a, b in s for _ in range(b - a + 1)]),
    "blocks_go_on": put(3, lambda f, w, s: part_a(f) + list(range(1, len(f[3]) - len(part_a(f)) + 1))),
}


WRONG_PIECES = {
    "glm_loss": {
        "inverted": lambda c, t: torch.arange(t) < c,
        "no_start": lambda c, t: torch.arange(t) > c,
        "last_left_out": lambda c, t: (torch.arange(t) >= c) & (torch.arange(t) < t - 1),
        "everything": lambda c, t: torch.arange(t) >= 0,
        "rows": lambda c, t: torch.arange(t) >= c + 1 - t % 2,
        "not_rows": lambda c, t: [i >= c for i in range(t)],
    },
    "glm_positions": {
        "not_shrunk": lambda s: [a for a, b in s for _ in range(b - a + 1)],
        "shrunk_too_far": lambda s: [
            a - sum(d - c for c, d in s[:i]) for i, (a, b) in enumerate(s) for _ in range(b - a + 1)
        ],
        "goes_on": lambda s: [a + i for a, b in s for i in range(b - a + 1)],
        "positions": lambda s: [0 for a, b in s for _ in range(b - a + 1)],
        "form": lambda s: [a for a, b in s],
    },
    "glm_order": {
        "missing": lambda s, g: [[0, 1, 2], [2, 1, 0]][int(torch.randint(2, (), generator=g))],
        "uneven": lambda s, g: (
            torch.randperm(3, generator=g).tolist() if torch.rand((), generator=g) < 0.5 else [0, 2, 1]
        ),
        "unseeded": lambda s, g: torch.randperm(len(s)).tolist(),
        "not_an_order": lambda s, g: [0, 0, 1],
        "tensor": lambda s, g: torch.randperm(len(s), generator=g),
    },
    "glm_rows": {
        "no_end": lambda s: ([glm.START, *s[:-1]], s),
        "end_is_read": lambda s: ([glm.START, *s, glm.END], [*s, glm.END, glm.END]),
        "start_is_predicted": lambda s: ([glm.START, *s], [glm.START, *s]),
        "first_word": lambda s: ([glm.START, *s], [*s[1:], glm.END]),
        "lengths": lambda s: ([glm.START, *s], s),
        "rows": lambda s: ([glm.MASK, *s], [*s, glm.END]),
        "form": lambda s: [glm.START, *s],
    },
}


def in_place_but_right(x, norm, attention, mlp):
    h = norm(x)
    x += attention(h)
    x += mlp(h)
    return x


WRONG_BLOCKS = {
    "serial": lambda x, n, a, m: x + a(n(x)) + m(n(x + a(n(x)))),
    "no_residual": lambda x, n, a, m: a(n(x)) + m(n(x)),
    "no_norm": lambda x, n, a, m: x + a(x) + m(x),
    "one_norm": lambda x, n, a, m: x + a(n(x)) + m(x),
    "mlp_of_attention": lambda x, n, a, m: x + m(a(n(x))),
    "serial_raw": lambda x, n, a, m: x + a(n(x)) + m(x + a(n(x))),
    "twice": lambda x, n, a, m: (x + a(n(x))) + (x + m(n(x))),
    "normed_residual": lambda x, n, a, m: n(x) + a(n(x)) + m(n(x)),
    "serial_in_norm": lambda x, n, a, m: x + a(n(x)) + m(n(a(n(x)))),
    "values": lambda x, n, a, m: x + a(n(x)) - m(n(x)),
    "shape": lambda x, n, a, m: x[0],
    "changes_input": in_place_but_right,
}

WRONG_FUSED = {
    "not_split": lambda x, ws: x @ torch.cat(ws).T,
    "count": lambda x, ws: list((x @ torch.cat(ws).T).split(1, -1)),
    "widths": lambda x, ws: list((x @ torch.cat(ws).T).tensor_split(len(ws), -1)),
    "values": lambda x, ws: list((x @ torch.cat(ws).flip(0).T).split([len(w) for w in ws], -1)),
    "many_products": lambda x, ws: [x @ w.T for w in ws],
}

WRONG_FUSED_OUT = {
    "order": lambda s, w, o, d: torch.cat([w, s], -1) @ torch.cat([o, d], 1).T,
    "shape": lambda s, w, o, d: torch.cat([s @ o.T, w @ d.T], -1),
    "values": lambda s, w, o, d: s @ o.T,
    "many_products": lambda s, w, o, d: s @ o.T + w @ d.T,
}

WRONG_BYTES = {
    "one_of_two": lambda n, h, d, b: n * h * d * b,
    "one_layer": lambda n, h, d, b: 2 * h * d * b,
    "one_head": lambda n, h, d, b: 2 * n * d * b,
    "numbers": lambda n, h, d, b: 2 * n * h * d,
    "values": lambda n, h, d, b: 2 * n * h * d * d * b,
    "form": lambda n, h, d, b: "many",
}


def causal(q, k):
    return (q @ k.T).tril()


def divided(q, k, v):
    return causal(q, k) @ v / causal(q, k).sum(1, keepdim=True)


def row_by_row(q, k, v):
    return torch.stack([(one @ k.T) @ v for one in q])


def writes(fn):
    """Return fn, which at the end writes into its first argument."""

    def spoilt(q, *rest):
        out = fn(q, *rest)
        q += 1
        return out

    return spoilt


WRONG_REORDERED = {
    "quadratic": lambda q, k, v: (q @ k.T) @ v,
    "row_by_row": row_by_row,
    "transposed_state": lambda q, k, v: q @ (v.T @ k),
    "swapped": lambda q, k, v: k @ (q.T @ v),
    "normalised": lambda q, k, v: q @ (k.T @ v) / (q @ k.sum(0))[:, None],
    "softmax": lambda q, k, v: (q @ k.T).softmax(-1) @ v,
    "scaled": lambda q, k, v: q @ (k.T @ v) / math.sqrt(q.shape[1]),
    "mean": lambda q, k, v: q @ (k.T @ v) / len(k),
    "causal": lambda q, k, v: (q @ k.T).tril() @ v,
    "mapped": lambda q, k, v: (F.elu(q) + 1) @ ((F.elu(k) + 1).T @ v),
    "values": lambda q, k, v: q @ (k.T @ v) + 1,
    "shape": lambda q, k, v: k.T @ v,
    "changes_input": writes(lambda q, k, v: q @ (k.T @ v)),
    "dtype": lambda q, k, v: (q @ (k.T @ v)).float(),
}


def running(step, finish=torch.stack):
    """Return a running sum from step(S, q, k, v) -> (S, row), and how the rows become one."""

    def run(q, k, v):
        S, rows = q.new_zeros(q.shape[1], v.shape[1]), []
        for one in zip(q, k, v, strict=True):
            S, row = step(S, *one)
            rows.append(row)
        return finish(rows)

    return run


def kept_in_a_list(q, k, v):
    S, states = q.new_zeros(q.shape[1], v.shape[1]), []
    for t in range(len(q)):
        S += torch.outer(k[t], v[t])
        states.append(S)
    return torch.stack([q[t] @ states[t] for t in range(len(q))])


def added(S, q, k, v):
    return S + torch.outer(k, v), q @ (S + torch.outer(k, v))


def summed(q, k, v, product):
    """The running sum, with another product than the outer one."""
    state, out = q.new_zeros(q.shape[1], v.shape[1]), []
    for q_t, k_t, v_t in zip(q, k, v, strict=True):
        state = state + product(k_t, v_t)
        out.append(q_t @ state)
    return torch.stack(out)


WRONG_SUMS = {
    "read_before_add": running(lambda S, q, k, v: (S + torch.outer(k, v), q @ S)),
    "reset": running(lambda S, q, k, v: (S, q @ (S + torch.outer(k, v)))),
    "transposed_state": running(lambda S, q, k, v: (S + torch.outer(v, k), q @ (S + torch.outer(v, k)))),
    "future": lambda q, k, v: q @ (k.T @ v),
    "aliased": kept_in_a_list,
    "reversed": lambda q, k, v: linear_attention.running_sum(q.flip(0), k.flip(0), v.flip(0)).flip(0),
    "scalar": lambda q, k, v: summed(q, k, v, lambda k_t, v_t: k_t @ v_t),
    "elementwise": lambda q, k, v: summed(q, k, v, lambda k_t, v_t: k_t * v_t),
    "list": running(added, finish=list),
    "joined": running(added, finish=torch.cat),
    "last_row": running(added, finish=lambda rows: rows[-1]),
    "normalised": divided,
    "quadratic": lambda q, k, v: (q @ k.T).tril() @ v,
    "dtype": lambda q, k, v: q[0] @ torch.zeros(q.shape[1], v.shape[1]),
    "values": running(lambda S, q, k, v: (S / 2 + torch.outer(k, v), q @ (S / 2 + torch.outer(k, v)))),
}

WRONG_NORMALISED = {
    "unnormalised": lambda q, k, v: causal(q, k) @ v,
    "constant": lambda q, k, v: causal(q, k) @ v / (q @ k.sum(0))[:, None],
    "z_late": lambda q, k, v: causal(q, k) @ v / (q * (k.cumsum(0) - k)).sum(1, keepdim=True),
    "own_key_only": lambda q, k, v: causal(q, k) @ v / (q * k).sum(1, keepdim=True),
    "sum_of_values": lambda q, k, v: causal(q, k) @ v / v.cumsum(0),
    "one_number": lambda q, k, v: causal(q, k) @ v / (q[-1] @ k.sum(0)),
    "no_query": lambda q, k, v: causal(q, k) @ v / k.cumsum(0),
    "mean": lambda q, k, v: causal(q, k) @ v / torch.arange(1, len(q) + 1)[:, None],
    "read_before_add": lambda q, k, v: causal(q, k).tril(-1) @ v / causal(q, k).sum(1, keepdim=True),
    "future": lambda q, k, v: q @ (k.T @ v) / (q @ k.sum(0))[:, None],
    "quadratic": divided,
    "values": lambda q, k, v: causal(q, k) @ v / causal(q, k).norm(dim=1, keepdim=True),
}


def chunked(read, add=lambda S, K, V: S + K.T @ V, add_first=False):
    """Return chunked attention from how a chunk reads, (Q, K, V, S) -> rows, and how the state adds it."""

    def run(q, k, v, chunk):
        S, rows = q.new_zeros(q.shape[1], v.shape[1]), []
        for Q, K, V in zip(q.split(chunk), k.split(chunk), v.split(chunk), strict=True):
            S = add(S, K, V) if add_first else S
            rows.append(read(Q, K, V, S))
            S = S if add_first else add(S, K, V)
        return torch.cat(rows)

    return run


def tile(Q, K, V, S, diagonal=0):
    return Q @ S + (Q @ K.T).tril(diagonal) @ V


def without_the_first(q, k, v, chunk):
    """Give the state the key of the chunk that reads, in place of the one before."""
    Q, K, V = q.split(chunk), k.split(chunk), v.split(chunk)
    S, out = q.new_zeros(q.shape[1], v.shape[1]), [(Q[0] @ K[0].T).tril() @ V[0]]
    for c in range(len(Q) - 1):
        out.append(tile(Q[c + 1], K[c + 1], V[c + 1], S))
        S = S + K[c + 1].T @ V[c + 1]
    return torch.cat(out)


WRONG_CHUNKS = {
    "leak": chunked(lambda Q, K, V, S: Q @ S + Q @ K.T @ V),
    "own_twice": chunked(tile, add_first=True),
    "updated_twice": chunked(tile, add=lambda S, K, V: S + K.T @ V + K.T @ V),
    "first_missing": without_the_first,
    "previous_only": chunked(tile, add=lambda S, K, V: K.T @ V),
    "own_missing": chunked(lambda Q, K, V, S: Q @ S),
    "own_only": chunked(lambda Q, K, V, S: (Q @ K.T).tril() @ V),
    "no_self": chunked(lambda Q, K, V, S: tile(Q, K, V, S, -1)),
    "transposed_tile": chunked(lambda Q, K, V, S: Q @ S + (Q @ K.T).triu() @ V),
    "future": lambda q, k, v, chunk: q @ (k.T @ v),
    "ragged": lambda q, k, v, chunk: linear_attention.mended_chunks(
        *(x[: max(chunk, len(q) // chunk * chunk)] for x in (q, k, v)), chunk
    ),
    "quadratic": lambda q, k, v, chunk: causal(q, k) @ v,
    "values": chunked(tile, add=lambda S, K, V: S + K[:-1].T @ V[:-1]),
    "shape": lambda q, k, v, chunk: [q, k],
}

WRONG_SOFTMAX = {  # the scores are not divided here
    slug: lambda q, k, v, m, wrong=wrong: wrong(q * math.sqrt(q.shape[1]), k, v, m)
    for slug, wrong in WRONG_ATTENTION.items()
    if slug not in ("product_before_softmax", "no_root", "no_scale", "values")
}
WRONG_SOFTMAX["values"] = lambda q, k, v, m: linear_attention.mended_softmax(2.5 * q, k, v, m)

WRONG_TWO_PRODUCTS = {
    "form": lambda q, k, v: q @ (k.T @ v),
    "order": lambda q, k, v: (k.T @ v, q @ (k.T @ v)),
    "transposed_state": lambda q, k, v: (q @ (v.T @ k), v.T @ k),
    "causal": lambda q, k, v: (causal(q, k) @ v, k.T @ v),
    "normalised": lambda q, k, v: (q @ (k.T @ v) / (q @ k.sum(0))[:, None], k.T @ v),
    "values": lambda q, k, v: (2 * q @ (k.T @ v), k.T @ v),
    "state_shape": lambda q, k, v: (q @ (k.T @ v), k.sum(0)),
    "state_transposed": lambda q, k, v: (q @ (k.T @ v), v.T @ k),
    "state": lambda q, k, v: (q @ (k.T @ v), k[:-1].T @ v[:-1]),
    "quadratic": lambda q, k, v: (q @ k.T @ v, k.T @ v),
    "many_products": lambda q, k, v: (q @ (k.T @ v), k.T @ v),
}


def prefixed(read=tile, add=lambda S, K, V: S + K.T @ V, start=lambda S: S, head=lambda P: P, add_first=False):
    """Return prefix linear attention, with one part of it changed."""

    def run(q, k, v, P, chunk):
        own = head(P)
        S = k[:own].T @ v[:own]
        target = chunked(read, add, add_first) if len(q) > own else lambda *_: v[:0]
        rest = target(q[own:], k[own:], v[own:], chunk) + (q[own:] @ start(S) if len(q) > own else 0)
        return torch.cat([q[:own] @ S, rest])

    return run


def prefix_again(q, k, v, P, chunk):
    """Let the chunks run over everything, from the state of the prefix."""
    return chunked(tile)(q, k, v, chunk) + q @ (k[:P].T @ v[:P])


def prefix_again_in_the_target(q, k, v, P, chunk):
    return torch.cat([q[:P] @ (k[:P].T @ v[:P]), prefix_again(q, k, v, P, chunk)[P:]])


def tiles_for_the_prefix(q, k, v, P, chunk):
    """Right, but each chunk of the prefix gets a tile, unmasked, as if its rows had to be treated apart."""
    S, rows = k[:P].T @ v[:P], []
    for begin in range(0, P, chunk):
        own = slice(begin, min(begin + chunk, P))
        rows.append(q[own] @ (S - k[own].T @ v[own]) + q[own] @ k[own].T @ v[own])
    return torch.cat([*rows, prefix_linear_attention.prefix_attention(q, k, v, P, chunk)[P:]])


def target_square(q, k, v, P, chunk):
    S = k[:P].T @ v[:P]
    return torch.cat([q[:P] @ S, tile(q[P:], k[P:], v[P:], S)])


WRONG_PREFIX = {
    "zero_state": prefixed(start=torch.zeros_like),
    "causal_prefix": lambda q, k, v, P, chunk: linear_attention.mended_chunks(q, k, v, chunk),
    "prefix_twice": prefix_again,
    "own_twice": prefixed(add_first=True),
    "leak": prefixed(read=lambda Q, K, V, S: Q @ S + Q @ K.T @ V),
    "frozen_state": prefixed(add=lambda S, K, V: S),
    "chunk_dropped": lambda q, k, v, P, chunk: torch.cat(
        [
            q[:P] @ (k[:P].T @ v[:P]),
            linear_attention.suspect_chunks(q[P:], k[P:], v[P:], chunk) + q[P:] @ (k[:P].T @ v[:P]),
        ]
    ),
    "own_missing": prefixed(read=lambda Q, K, V, S: Q @ S),
    "no_self": prefixed(read=lambda Q, K, V, S: tile(Q, K, V, S, -1)),
    "future": lambda q, k, v, P, chunk: q @ (k.T @ v),
    "prefix_sees_target": lambda q, k, v, P, chunk: torch.cat(
        [q[:P] @ (k.T @ v), prefix_linear_attention.prefix_attention(q, k, v, P, chunk)[P:]]
    ),
    "one_more": prefixed(head=lambda P: P + 1),
    "one_less": prefixed(head=lambda P: max(P - 1, 0)),
    "transposed_state": lambda q, k, v, P, chunk: torch.cat(
        [q[:P] @ (v[:P].T @ k[:P]), prefix_linear_attention.prefix_attention(q, k, v, P, chunk)[P:]]
    ),
    "ragged": lambda q, k, v, P, chunk: prefix_linear_attention.prefix_attention(
        *(x[: P + (len(q) - P) // chunk * chunk] for x in (q, k, v)), P, chunk
    ),
    "target_only": lambda q, k, v, P, chunk: target_square(q, k, v, P, chunk)[P:],
    "square": target_square,
    "token_by_token": lambda q, k, v, P, chunk: prefix_linear_attention.prefix_attention(q, k, v, P, 1),
    "prefix_tiles": tiles_for_the_prefix,
    "values": prefixed(add=lambda S, K, V: S / 2 + K.T @ V),
}


def resumed(first=lambda P, t: P, second=lambda P, t: 0, state=lambda S: S, keep=torch.cat):
    """Return a `resume` with one part of it changed."""

    def resume(run, q, k, v, P, t):
        a, S = run(q[:t], k[:t], v[:t], first(P, t), None)
        b, _ = run(q[t:], k[t:], v[t:], second(P, t), state(S))
        return keep([a, b])

    return resume


def prefix_handed_over(run, q, k, v, P, t):
    _, S = run(q[:P], k[:P], v[:P], P, None)
    a, _ = run(q[:t], k[:t], v[:t], P, None)
    b, _ = run(q[t:], k[t:], v[t:], 0, S)
    return torch.cat([a, b])


def overlapping(run, q, k, v, P, t):
    a, S = run(q[:t], k[:t], v[:t], P, None)
    b, _ = run(q[P:], k[P:], v[P:], 0, S)
    return torch.cat([a, b[t - P :]])


def state_first(run, q, k, v, P, t):
    S = k.T @ v
    a, _ = run(q[:t], k[:t], v[:t], P, S)
    return torch.cat([a, run(q[t:], k[t:], v[t:], 0, S)[0]])


WRONG_RESUMES = {
    "prefix_again": resumed(second=lambda P, t: P),
    "no_state": resumed(state=lambda S: None),
    "prefix_state": prefix_handed_over,
    "no_prefix": resumed(first=lambda P, t: 0),
    "seam": overlapping,
    "first_state": state_first,
    "order": resumed(keep=lambda parts: torch.cat(parts[::-1])),
    "one_part": resumed(keep=lambda parts: parts[1]),
    "form": resumed(keep=lambda parts: parts),
    "no_cut": lambda run, q, k, v, P, t: run(q, k, v, P, None)[0],
    "raised": resumed(second=lambda P, t: P - t),
    "values": resumed(second=lambda P, t: min(P, 1), state=lambda S: S / 2),
}

WRONG_PADS = {
    "before": lambda x, phi, real: phi(x * real[:, None]),
    "unmasked": lambda x, phi, real: phi(x),
    "inverted": lambda x, phi, real: phi(x) * ~real[:, None],
    "minus_infinity": lambda x, phi, real: phi(x.masked_fill(~real[:, None], -math.inf)),
    "minus_infinity_after": lambda x, phi, real: phi(x).masked_fill(~real[:, None], -math.inf),
    "dropped": lambda x, phi, real: phi(x[real]),
    "values": lambda x, phi, real: phi(x) * real[:, None] / 2,
    "shape": lambda x, phi, real: phi(x).sum(),
    "raised": lambda x, phi, real: phi(x) * real,
    "changes_input": writes(prefix_linear_attention.pad_features),
}

LEFT_OPEN = lambda p, t: torch.ones(t, t, dtype=torch.bool)  # noqa: E731
KNOWN_WRONG = [
    *(("count_pairs", slug, fn) for slug, fn in WRONG_COUNTS.items()),
    *(("may_look", slug, fn) for slug, fn in WRONG_RULES.items()),
    *(
        (name, slug, fn)
        for name in ("prefix_mask", "prefix_mask_blocks", "prefix_mask_cumsum")
        for slug, fn in WRONG_MASKS.items()
    ),
    *(("masked_attention", slug, fn) for slug, fn in WRONG_ATTENTION.items()),
    ("bug_a", "leaks", LEFT_OPEN),
    ("bug_a", "blind", lambda p, t: masks.causal_mask(t)),
    ("bug_b", "blind", lambda p, t: masks.causal_mask(t)),
    ("bug_b", "leaks", lambda p, t: masks.prefix_mask(min(p + 1, t), t)),
    ("bug_c", "blind", lambda p, t: masks.causal_mask(t)),
    ("bug_c", "leaks", lambda p, t: masks.prefix_mask(p, t) | (torch.arange(t) == 0)[:, None]),
    ("bug_d", "blind", lambda p, t, pads: masks.causal_mask(t) & (torch.arange(t) >= pads)),
    ("bug_d", "leaks", lambda p, t, pads: masks.prefix_mask(p, t) & (torch.arange(t) >= min(pads, 1))),
    ("bug_d", "not_a_mask", lambda p, t, pads: masks.create_prefix_mask(p, t)),
    *(("loss_mask", slug, fn) for slug, fn in WRONG_ROWS.items()),
    *(("decode_step", slug, fn) for slug, fn in WRONG_STEPS.items()),
    *(("stale", slug, fn) for slug, fn in WRONG_COUNTS_OF_STALE.items()),
    *(("sample_prefix", slug, fn) for slug, fn in WRONG_DRAWS.items()),
    *(("one_blank", slug, blanks(change)[0]) for slug, change in WRONG_LAYOUTS.items()),
    *(("many_blanks", slug, blanks(change)[1]) for slug, change in WRONG_LAYOUTS_OF_MANY.items()),
    *((name, slug, fn) for name in ("parallel_block", "really_serial") for slug, fn in WRONG_BLOCKS.items()),
    *(("fused", slug, fn) for slug, fn in WRONG_FUSED.items()),
    *(("fused_out", slug, fn) for slug, fn in WRONG_FUSED_OUT.items()),
    *(("cache_bytes", slug, fn) for slug, fn in WRONG_BYTES.items()),
    *((name, slug, fn) for name, wrong in WRONG_PIECES.items() for slug, fn in wrong.items()),
    *(("reordered", slug, fn) for slug, fn in WRONG_REORDERED.items()),
    *(("running_sum", slug, fn) for slug, fn in WRONG_SUMS.items()),
    *(("normalised", slug, fn) for slug, fn in WRONG_NORMALISED.items()),
    *(("suspect_chunks", slug, fn) for slug, fn in WRONG_CHUNKS.items()),
    *(("suspect_softmax", slug, fn) for slug, fn in WRONG_SOFTMAX.items()),
    *(("two_products", slug, fn) for slug, fn in WRONG_TWO_PRODUCTS.items()),
    *(("prefix_attention", slug, fn) for slug, fn in WRONG_PREFIX.items()),
    ("prefix_attention", "prefix_twice", prefix_again_in_the_target),
    ("prefix_attention", "square", lambda q, k, v, P, chunk: (q @ k.T * masks.prefix_mask(P, len(q))) @ v),
    *(("resume", slug, fn) for slug, fn in WRONG_RESUMES.items()),
    *(("pad_features", slug, fn) for slug, fn in WRONG_PADS.items()),
]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_is_right(name):
    verdict = EXERCISES[name](EXERCISES[name].solution_function)
    assert verdict.state == "right", str(verdict)


@pytest.mark.parametrize(("name", "slug", "wrong"), KNOWN_WRONG, ids=[f"{n}-{s}" for n, s, _ in KNOWN_WRONG])
def test_a_known_mistake_gets_its_diagnosis(name, slug, wrong):
    verdict = EXERCISES[name](wrong)
    assert (verdict.state, verdict.slug) == ("wrong", slug), str(verdict)
    if verdict.draw is not None:
        assert len(verdict.draw().axes) == 2  # yours, and the one asked for
        assert len(verdict.alt) > 20


def test_every_exercise_has_known_mistakes():
    assert {name for name, _, _ in KNOWN_WRONG} == set(EXERCISES)


@pytest.mark.parametrize("name", [name for name in EXERCISES if not name.startswith(("bug", "glm"))])
def test_dots_are_untouched_and_not_recorded(name, tmp_path):
    assert EXERCISES[name](lambda *a: ...).state == "untouched"
    assert EXERCISES[name](lambda *a: 1 + ...).state == "untouched"
    assert not (tmp_path / "progress.json").exists()


def test_a_slip_in_an_einsum_is_no_dots():
    verdict = check.reordered(lambda q, k, v: torch.einsum("..ij,jk->ik", q, k.T @ v))
    assert (verdict.state, verdict.slug) == ("wrong", "raised")
    for unfinished in (lambda q, k, v: q @ (...).T, lambda q, k, v: torch.tensor(...), lambda q, k, v: q @ ...):
        assert check.reordered(unfinished).state == "untouched"


def test_the_line_that_is_named_is_the_learners_own():
    linear = torch.nn.Linear(3, 3)

    def helped(prefix_len, total_len):
        one = linear(torch.zeros(prefix_len, 5))  # fails in torch's own code
        return one

    line = helped.__code__.co_firstlineno + 1
    assert f"(line {line})." in check.prefix_mask(helped).message
    assert "(line" not in check.prefix_mask(torch.ones).message  # nothing of it is written in Python


@pytest.mark.parametrize("letter", "abcd")
def test_an_unmended_suspect_is_untouched_and_the_probe_says_why(letter):
    verdict = EXERCISES[f"bug_{letter}"](getattr(prefix_mask, f"suspect_{letter}"))
    assert verdict.state == "untouched"
    assert "The probe" in verdict.message


@pytest.mark.parametrize("name", ["loss", "positions", "order", "rows"])
def test_an_unmended_piece_is_untouched_and_told_what_is_wrong(name):
    verdict = EXERCISES[f"glm_{name}"](getattr(glm, f"suspect_{name}"))
    assert verdict.state == "untouched"
    assert len(verdict.message) > 90


def test_the_suspect_block_is_untouched_and_told_what_it_does():
    verdict = check.really_serial(palm_parallel.suspect_block)
    assert verdict.state == "untouched"
    assert "that of the *serial* block" in verdict.message
    assert check.parallel_block(palm_parallel.suspect_block).slug == "serial"


def test_the_printed_formulas_are_untouched_and_told_what_they_do():
    verdict = check.suspect_chunks(linear_attention.suspect_chunks)
    assert verdict.state == "untouched"
    assert "the query at 9 sees keys 0 to 3 and 8 to 9, but not 4 to 7." in verdict.message
    verdict = check.suspect_softmax(linear_attention.suspect_softmax)
    assert verdict.state == "untouched"
    assert "of its weight to the three keys that it must not see" in verdict.message


def test_a_query_that_counts_wrong_is_named_with_its_keys():
    verdict = check.suspect_chunks(WRONG_CHUNKS["values"])
    assert "The query at 9 sees keys 0 to 2 and 4 to 6 and 8 to 9, but not 3 and 7." in verdict.message
    counts = torch.tensor([[1, 0, 0], [2, 1, 1], [1, 1, 1]])
    assert (
        linear_attention.told_pairs(counts, masks.causal_mask(3))
        == "The query at 1 sees keys 0 to 2; key 2 must stay hidden from it; key 0 counted more than once."
    )


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("running_sum", lambda q, k, v: torch.einsum("td,tde->te", q, (k[:, :, None] * v[:, None, :]).cumsum(0))),
        ("suspect_chunks", chunked(tile)),
        ("suspect_softmax", lambda q, k, v, mask: (q @ k.T + mask.log()).softmax(-1) @ v),
        ("suspect_softmax", prefix_mask.masked_attention),
        ("may_look", lambda i, j, prefix_len: np.bool_(j < prefix_len or j <= i)),
        ("stale", lambda *case: torch.tensor(prefix_lm.stale(*case))),
        ("stale", lambda *case: np.array(prefix_lm.stale(*case), dtype=float)),
        ("prefix_attention", prefixed(start=lambda S: S)),
        ("pad_features", lambda x, phi, real: torch.where(real[:, None], phi(x), 0)),
    ],
)
def test_another_way_is_right_as_well(name, other):
    verdict = EXERCISES[name](other)
    assert verdict.state == "right", str(verdict)


def test_the_right_cell_is_named():
    verdict = check.may_look(WRONG_RULES["causal"])
    assert "token 0 may look at token 1" in verdict.message
    verdict = check.prefix_mask(WRONG_MASKS["compared_query"])
    assert "row 0 sees column 3, and must not" in verdict.message


def test_a_learners_own_words_stay_words():
    def nasty(prefix_len, total_len):
        raise ValueError("<img src=x onerror=alert(1)> `**bold**`")

    verdict = check.prefix_mask(nasty)
    assert verdict.slug == "raised"
    # everything foreign stands inside one code span, where neither HTML nor Markdown is read
    outside = "".join(verdict.message.split("`")[0::2])
    assert "<img" not in outside
    assert "bold" not in outside


def test_a_verdict_shows_words_and_a_picture(monkeypatch):
    shown = []
    monkeypatch.setattr(import_module("course_lib.classroom.show"), "display", shown.append)
    DisplayFormatter().format(check.prefix_mask(WRONG_MASKS["causal"]))
    kinds = [set(bundle._repr_mimebundle_()) for bundle in shown]
    assert kinds == [{"text/markdown", "text/plain"}, {"image/png", "text/plain"}, {"text/markdown", "text/plain"}]


def test_rounding_and_too_few_numbers_are_spoken_of():
    rounded = check.sample_prefix(lambda t, g: 1 + round(float(torch.rand((), generator=g)) * (t - 2)))
    assert "that is what rounding does" in rounded.message
    assert "There are 3 layers, and you returned 2 numbers" in check.stale(lambda *a: [0, 1]).message
    halves = check.stale(lambda *case: [count + 0.5 for count in prefix_lm.stale(*case)])
    assert (halves.slug, "whole numbers" in halves.message) == ("not_counts", True)


def test_unknown_names_and_wrong_arguments_are_answered():
    with pytest.raises(AttributeError, match=r"no exercise 'nonsense'; there are: .*prefix_mask"):
        _ = check.nonsense
    with pytest.raises(TypeError, match=r"check\.prefix_mask takes a function, got Tensor"):
        check.prefix_mask(masks.prefix_mask(3, 7))
    assert "prefix_mask" in dir(check)
    assert "Write the mask by its rule (★☆☆, about 3 minutes)" in repr(check)


@pytest.mark.parametrize("name", EXERCISES)
def test_objectives_exist_and_help_is_there(name):
    one = EXERCISES[name]
    assert one.objective in load_banks().objectives
    assert one.objective.split(".")[0] == one.notebook[3:]
    assert len(one.hint_text) > 20
    assert 1 <= one.difficulty <= 3
    assert one.minutes >= 1
