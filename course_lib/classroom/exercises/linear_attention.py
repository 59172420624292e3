"""The exercises of lesson 06: reorder the products, keep a running sum, divide, and mend two printed formulas."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from course_lib import masks

from .engine import Untouched, Wrong, exercise
from .families import grid
from .prefix_mask import judge_masked_attention, masked_attention
from .sums import (
    Slips,
    called,
    check_no_square,
    check_tensor,
    check_values,
    close,
    counts_of,
    of_pairs,
    tensors,
    told_pairs,
)
from .watch import Watch

NOTEBOOK = "06_linear_attention"


# --- Another order ---


def reordered(q, k, v):
    """First what all keys say together, (Dk, Dv); then each query reads it."""
    return q @ (k.T @ v)


@exercise(
    "reordered",
    notebook=NOTEBOOK,
    heading="The order of three matrices",
    title="the same product without the square",
    objective="linear_attention.order",
    minutes=2,
    difficulty=1,
    hint="Products may be taken in any order: (q kᵀ) v = q (kᵀ v). What is the shape of kᵀ v?",
    solution=reordered,
)
def _judge_reordered(fn):
    for sizes in ((7, 4, 4), (9, 3, 5), (6, 5, 2), (1, 3, 2), (5, 1, 1)):
        q, k, v = tensors(*sizes)
        told = "With T = {}, Dk = {} and Dv = {}".format(*sizes)
        out, scores = called(fn, q, k, v), q @ k.T
        check_tensor(out, tuple(v.shape), told)
        everyone = scores @ v
        phi = [F.elu(x) + 1 for x in (q, k)]
        slips = {
            "transposed_state": (
                [q @ (v.T @ k)] if k.shape == v.shape else [],
                "the state lies on its side. With Dk = Dv no shape tells you. It is kᵀ v, (Dk, Dv): q multiplies its "
                "rows, the features of the keys",
            ),
            "swapped": (
                [k @ (q.T @ v)],
                "q and k have changed places: the keys and values are summed, and the queries read the sum",
            ),
            "normalised": (
                [everyone / scores.sum(1, keepdim=True), everyone / (scores.sum(1, keepdim=True) + 1e-6)],
                "you divided by the sum of the weights. That normaliser comes later; here nothing is divided",
            ),
            "softmax": (
                [scores.softmax(-1) @ v, (scores / math.sqrt(sizes[1])).softmax(-1) @ v],
                "this is softmax attention. Without the softmax, the products can change their order",
            ),
            "scaled": (
                [everyone / math.sqrt(sizes[1]), everyone / sizes[1]],
                "it is scaled by Dk; here nothing is scaled",
            ),
            "mean": ([everyone / sizes[0]], "you took the mean over the keys; take their sum"),
            "causal": ([scores.tril() @ v], "it is causal. Here every query sees every key"),
            "mapped": (
                [phi[0] @ phi[1].T @ v],
                "you applied a feature map. q and k are mapped already",
            ),
        }
        check_values(out, everyone, slips, told)
    q, k, v = tensors(64, 3, 5)
    watch = check_no_square(fn, q, k, v)
    if watch.work >= 64 * 64 * 3:
        raise Wrong(
            "row_by_row",
            "The numbers are right, and you never hold the whole square. But you still compute its entries, a row at a "
            "time. Sum up the keys and values once, for all queries.",
        )
    return "Same numbers, and no square: all that the queries need of the keys is kᵀ v, Dk x Dv numbers, whatever T is."


# --- A running sum ---


def running_sum(q, k, v):
    """At each token: first add its key and value to the state, then let its query read."""
    S = q.new_zeros(q.shape[1], v.shape[1])
    out = []
    for q_t, k_t, v_t in zip(q, k, v, strict=True):
        S = S + torch.outer(k_t, v_t)
        out.append(q_t @ S)
    return torch.stack(out)


def _causal_slips(q: Tensor, k: Tensor, v: Tensor) -> Slips:
    i, j = grid(len(q))
    return of_pairs(
        q,
        k,
        v,
        {
            "read_before_add": ([j < i], "you read before you add, so that a query misses its own key. Add first"),
            "reset": (
                [j == i],
                "each query sees its own key alone: the state starts anew at every step. Make it once, before the "
                "loop, and add to it",
            ),
            "future": (
                [i >= 0],
                "every query sees every key. Each must read before the next key is added",
            ),
            "reversed": ([j >= i], "each query sees itself and the *later* keys: the sum runs from the wrong end"),
        },
    )


@exercise(
    "running_sum",
    notebook=NOTEBOOK,
    heading="A running sum",
    title="causal linear attention, token by token",
    objective="linear_attention.state",
    minutes=4,
    difficulty=2,
    hint="Start from `S = q.new_zeros(q.shape[1], v.shape[1])`. At each token: `S = S + torch.outer(k[t], v[t])`, then "
    "`q[t] @ S`. At the end, `torch.stack`.",
    solution=running_sum,
)
def _judge_running_sum(fn):
    for sizes in ((7, 4, 4), (9, 3, 5), (6, 5, 2), (1, 3, 2), (5, 1, 1)):
        q, k, v = tensors(*sizes)
        told = "With T = {}, Dk = {} and Dv = {}".format(*sizes)
        with Watch() as watch:
            out = called(fn, q, k, v)
        check_tensor(out, tuple(v.shape), told)
        right = (q @ k.T).tril() @ v
        slips = _causal_slips(q, k, v)
        if sizes[0] > 1 and watch.added_in_place >= sizes[0] and close(out, slips["future"][0][0]):
            raise Wrong(
                "aliased",
                f"{told}, every query sees every key. You keep the states for later, and `+=` changes S in place: all "
                "that you kept are one tensor, the last state. `S = S + ...` makes a new one.",
            )
        if k.shape == v.shape:
            slips["transposed_state"] = (
                [(q @ v.T).tril() @ k],
                "the state lies on its side: `torch.outer(k_t, v_t)` is (Dk, Dv), and q_t @ S reads it. With Dk = Dv "
                "no shape tells you",
            )
            slips["scalar"] = (
                [q.sum(1, keepdim=True) * (k * v).sum(1, keepdim=True).cumsum(0).expand_as(v)],
                "`k_t` has one dimension, so `k_t.T @ v_t` is a single number. `torch.outer(k_t, v_t)` is (Dk, Dv)",
            )
            slips["elementwise"] = (
                [q.sum(1, keepdim=True) * (k * v).cumsum(0)],
                "`k_t * v_t` multiplies entry by entry. `torch.outer(k_t, v_t)` is (Dk, Dv)",
            )
        slips["normalised"] = (
            [right / (q @ k.T).tril().sum(1, keepdim=True)],
            "it is divided by the sum of the weights; here nothing is divided",
        )
        check_values(out, right, slips, told, lambda q=q, k=k: _pairs_off(fn, q, k))
    check_no_square(fn, *tensors(64, 3, 5))
    return (
        "Right for every size. Each step costs the same, however many tokens came before: their keys and values are "
        "in S, Dk x Dv numbers."
    )


def _pairs_off(fn: Callable, q: Tensor, k: Tensor) -> str:
    counts = counts_of(fn, q, k)
    return "" if counts is None else told_pairs(counts, masks.causal_mask(len(q)))


def normalised(q, k, v):
    """A second sum, of the keys alone, gives the sum of the weights."""
    S = q.new_zeros(q.shape[1], v.shape[1])
    z = q.new_zeros(q.shape[1])
    out = []
    for q_t, k_t, v_t in zip(q, k, v, strict=True):
        S = S + torch.outer(k_t, v_t)
        z = z + k_t
        out.append(q_t @ S / (q_t @ z))
    return torch.stack(out)


@exercise(
    "normalised",
    notebook=NOTEBOOK,
    heading="The normaliser",
    title="the running sum, normalised",
    objective="linear_attention.state",
    minutes=3,
    difficulty=2,
    hint="Keep a second sum beside S: z, of the keys alone. `q_t @ z` is one number, the sum of the weights so far.",
    solution=normalised,
    extra=True,
)
def _judge_normalised(fn):
    for sizes in ((7, 4, 4), (9, 3, 5), (6, 5, 2), (1, 3, 2), (5, 1, 1)):
        q, k, v = tensors(*sizes)
        q, k = F.elu(q) + 1, F.elu(k) + 1  # positive, as a normaliser needs them
        told = "With T = {}, Dk = {} and Dv = {}".format(*sizes)
        out = called(fn, q, k, v)
        check_tensor(out, tuple(v.shape), told)
        weights = (q @ k.T).tril()
        total, everyone = weights.sum(1, keepdim=True), (q @ k.T).sum(1, keepdim=True)
        above = weights @ v
        square = k.shape == v.shape
        slips = {
            "unnormalised": ([above], "nothing is divided. Divide each row by q_t · z_t"),
            "constant": (
                [above / everyone],
                "z holds all keys, so it is the same for every query, as in the article's formula. Then the weights of "
                "an early row no longer sum to 1. z must run along with S",
            ),
            "z_late": (
                [above / (total - weights.diagonal()[:, None]), above / weights.tril(-1).sum(1, keepdim=True)],
                "z misses the query's own key: the first row is divided by 0. Add to z before you divide",
            ),
            "own_key_only": (
                [above / weights.diagonal()[:, None]],
                "you divide by q_t · k_t alone. z is a running sum, too",
            ),
            "sum_of_values": (
                [above / v.cumsum(0)] + ([above / (q * v.cumsum(0)).sum(1, keepdim=True)] if square else []),
                "you divide by a sum of the values. z is the sum of the keys",
            ),
            "one_number": (
                [above / total[-1], above / total.sum(), above / everyone.sum()],
                "all rows are divided by one and the same number. Each query has its own: q_t · z_t",
            ),
            "no_query": (
                [above / k.cumsum(0)] if square else [],
                "you divide by z itself, feature by feature. The sum of the weights is one number a row: q_t · z_t",
            ),
            "mean": (
                [above / torch.arange(1, len(q) + 1)[:, None]],
                "you divide by the number of keys. Divide by the sum of their weights: q_t · z_t",
            ),
            "read_before_add": (
                [weights.tril(-1) @ v / weights.tril(-1).sum(1, keepdim=True), weights.tril(-1) @ v / total],
                "you read before you add, so that a query misses its own key. Add first",
            ),
            "future": ([q @ (k.T @ v) / everyone, q @ (k.T @ v) / total], "S holds all keys, later ones too"),
        }
        check_values(out, above / total, slips, told)
    q, k, v = tensors(64, 3, 5)
    check_no_square(fn, F.elu(q) + 1, F.elu(k) + 1, v)
    return "Every row is a weighted mean of the values it may see. The first one is the first value itself."


# --- Two printed formulas ---


def suspect_chunks(q, k, v, chunk):
    Q, K, V = q.split(chunk), k.split(chunk), v.split(chunk)
    S = [q.new_zeros(q.shape[1], v.shape[1])]  # S[c]: what comes before chunk c
    out = [(Q[0] @ K[0].T).tril() @ V[0]]
    for c in range(len(Q) - 1):
        out.append(Q[c + 1] @ S[c] + (Q[c + 1] @ K[c + 1].T).tril() @ V[c + 1])
        S.append(S[c] + K[c].T @ V[c])
    return torch.cat(out)


def mended_chunks(q, k, v, chunk):
    """Chunk c + 1 reads S[c + 1], in which chunk c is."""
    Q, K, V = q.split(chunk), k.split(chunk), v.split(chunk)
    S = [q.new_zeros(q.shape[1], v.shape[1])]  # S[c]: what comes before chunk c
    out = [(Q[0] @ K[0].T).tril() @ V[0]]
    for c in range(len(Q) - 1):
        S.append(S[c] + K[c].T @ V[c])
        out.append(Q[c + 1] @ S[c + 1] + (Q[c + 1] @ K[c + 1].T).tril() @ V[c + 1])
    return torch.cat(out)


def _chunk_slips(q: Tensor, k: Tensor, v: Tensor, chunk: int) -> Slips:
    i, j = grid(len(q))
    mine, theirs = i // chunk, j // chunk
    own, before, causal = theirs == mine, theirs < mine, j <= i
    tile = own & causal
    return of_pairs(
        q,
        k,
        v,
        {
            "leak": (
                [before | own],
                "every query sees all of its own chunk, later keys too. The tile q kᵀ needs its `.tril()`",
            ),
            "own_twice": (
                [before.long() + own.long() + tile.long()],
                "the own chunk counts twice: the state that is read has it already, later keys and all, and the tile "
                "adds it again. Read the state first, then add the chunk to it",
            ),
            "updated_twice": (
                [2 * before.long() + tile.long(), 2 * before.long() + own.long() + tile.long()],
                "earlier chunks count twice: each is added to the state two times. Once is enough",
            ),
            "first_missing": (
                [causal & ((theirs > 0) | (mine == 0))],
                "nobody sees the first chunk but itself: it never gets into the state",
            ),
            "previous_only": (
                [causal & (theirs >= mine - 1)],
                "each chunk sees itself and the chunk before it, no more. The state must add up, not start anew",
            ),
            "own_missing": ([before], "no query sees its own chunk. The state has the chunks before; add the tile"),
            "own_only": ([tile], "each chunk sees only itself: the state is not read"),
            "no_self": ([before | (own & (j < i))], "no query sees its own key: the tile's diagonal belongs to it"),
            "transposed_tile": (
                [before | (own & (j >= i))],
                "the tile lies on its side: keep what is below its diagonal",
            ),
            "future": ([i >= 0], "every query sees every key, later ones too"),
        },
    )


@exercise(
    "suspect_chunks",
    notebook=NOTEBOOK,
    heading="Chunks",
    title="a printed formula, to the letter",
    objective="linear_attention.errata",
    minutes=5,
    difficulty=2,
    hint="Say in words what S[c] holds when chunk c + 1 reads it. Which chunks come before chunk c + 1?",
    solution=mended_chunks,
)
def _judge_suspect_chunks(fn):
    cases = ((10, 4, 4, 4), (12, 3, 5, 4), (9, 5, 2, 3), (1, 3, 2, 4), (5, 2, 3, 8), (6, 3, 4, 1))
    given = [(*tensors(*case[:3]), case[3]) for case in cases]
    outputs = []
    for q, k, v, chunk in given:
        out, told = called(fn, q, k, v, chunk), _told_chunks(q, chunk)
        full = len(q) // chunk * chunk
        if isinstance(out, Tensor) and len(q) > full > 0 and tuple(out.shape) == (full, v.shape[1]):
            raise Wrong("ragged", f"{told} the last chunk is shorter than {chunk}, and you left it out.")
        check_tensor(out, tuple(v.shape), told.removesuffix(","))
        outputs.append(out)
    q, k, _, chunk = given[0]
    if all(close(out, suspect_chunks(*case)) for out, case in zip(outputs, given, strict=True)):
        counts = counts_of(fn, q, k, chunk)
        words = told_pairs(counts if counts is not None else _literal(len(q), chunk), masks.causal_mask(len(q)))
        words = words[0].lower() + words[1:]
        raise Untouched(f"{_told_chunks(q, chunk)} {words} Which line loses them?")
    for (q, k, v, chunk), out in zip(given, outputs, strict=True):

        def more(q=q, k=k, chunk=chunk):
            counts = counts_of(fn, q, k, chunk)
            return "" if counts is None else told_pairs(counts, masks.causal_mask(len(q)))

        told = _told_chunks(q, chunk).removesuffix(",")
        check_values(out, (q @ k.T).tril() @ v, _chunk_slips(q, k, v, chunk), told, more)
    check_no_square(fn, *tensors(64, 2, 3), 8)
    return (
        "Every query sees all keys up to its own, each once. S[c] is what comes before chunk c, so chunk c + 1 has to "
        "read S[c + 1]. The letter was off by one, and no shape and no error told."
    )


def _literal(total_len: int, chunk: int) -> Tensor:
    """Return the pairs that the printed formula counts."""
    i, j = grid(total_len)
    return ((j <= i) & (j // chunk != i // chunk - 1)).long()


def _told_chunks(q: Tensor, chunk: int) -> str:
    return f"With T = {len(q)} and chunks of {chunk},"


def suspect_softmax(q, k, v, mask):
    return ((q @ k.T) * mask).softmax(-1) @ v


def mended_softmax(q, k, v, mask):
    """What is hidden has the score minus infinity, for exp(-inf) = 0."""
    return (q @ k.T).masked_fill(~mask, -math.inf).softmax(-1) @ v


@exercise(
    "suspect_softmax",
    notebook=NOTEBOOK,
    heading="The mask stands in the way",
    title="a printed formula that hides nothing",
    objective="linear_attention.errata",
    minutes=2,
    difficulty=1,
    hint="The mask makes a hidden score 0. What is exp(0), and which score would give 0?",
    solution=mended_softmax,
    extra=True,
)
def _judge_suspect_softmax(fn):
    cases = [(*tensors(*sizes), masks.causal_mask(sizes[0])) for sizes in ((4, 3, 3), (6, 2, 5), (1, 3, 2))]
    outputs = []
    for case in cases:
        outputs.append(called(fn, *case))
        check_tensor(outputs[-1], tuple(case[2].shape), f"With T = {len(case[2])}")
    if all(close(out, suspect_softmax(*case)) for out, case in zip(outputs, cases, strict=True)):
        q, k, _, mask = cases[0]
        weights = ((q @ k.T) * mask).softmax(-1)[0]
        raise Untouched(
            f"Of four tokens, the query at 0 gives {weights[1:].sum():.0%} of its weight to the three keys that it "
            "must not see. You know this leak from lesson 02. Why does the mask not hide them?"
        )
    scaled = close(outputs[0], masked_attention(*cases[0]))  # divided by the root, as in lesson 02: as good
    if not scaled:
        judge_masked_attention(lambda q, k, v, mask: called(fn, q / math.sqrt(q.shape[1]), k, v, mask))
    for case, out in zip(cases, outputs, strict=True):
        right = masked_attention(*case) if scaled else mended_softmax(*case)
        check_values(out, right, {}, f"With T = {len(out)}")
    return (
        "With -inf a hidden key gets no weight at all. Linear attention has no softmax between the mask and the "
        "values: there, times 0 does hide."
    )
