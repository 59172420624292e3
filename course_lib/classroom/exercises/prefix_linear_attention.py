"""The exercises of lesson 07: the prefix by two products, its state handed to the target, and padding nobody sees."""

from functools import partial
from math import ceil

import torch
from torch import Tensor

from course_lib import masks
from course_lib.kernels import LinearState, prefix_linear_attention
from course_lib.kernels.feature_maps import elu_plus_one, identity, taylor_exp

from .engine import Untouched, Wrong, exercise
from .families import grid
from .sums import Slips, called, check_tensor, check_values, close, counts_of, of_pairs, tensors, told_pairs
from .watch import Watch

NOTEBOOK = "07_prefix_linear_attention"


# --- The prefix ---


def two_products(q, k, v):
    """All queries read one state, that of all keys. The state is what a target will go on from."""
    S = k.T @ v
    return q @ S, S


@exercise(
    "two_products",
    notebook=NOTEBOOK,
    heading="Two products",
    title="a prefix by two products",
    objective="prefix_linear_attention.two_products",
    minutes=2,
    difficulty=1,
    hint="S = kᵀ v holds all keys and values, and every query of a prefix sees all of them.",
    solution=two_products,
)
def _judge_two_products(fn):
    for sizes in ((7, 4, 4), (9, 3, 5), (6, 5, 2), (1, 3, 2), (0, 3, 2)):
        q, k, v = tensors(*sizes)
        told = "With T = {}, Dk = {} and Dv = {}".format(*sizes)
        pair = called(fn, q, k, v)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise Wrong("form", "Return two things: the outputs (T, Dv), and the state (Dk, Dv) that is left.")
        if any(one is ... for one in pair):
            raise Untouched
        out, state = pair
        right, S = two_products(q, k, v)
        if all(isinstance(one, Tensor) for one in pair) and close(out, S) and close(state, right) and len(q) > 1:
            raise Wrong("order", "The state comes first in what you return. Return the outputs first, then the state.")
        check_tensor(out, tuple(v.shape), told)
        lying = [q @ S.T] if k.shape == v.shape else []
        slips = {
            "transposed_state": (lying, "the state lies on its side: it is kᵀ v, (Dk, Dv), and q multiplies it"),
            "causal": (
                [(q @ k.T).tril() @ v],
                "it is causal. In a prefix every query sees every key, later ones too",
            ),
            "normalised": ([right / (q @ k.T).sum(1, keepdim=True)], "it is divided; here nothing is divided"),
        }
        check_values(out, right, slips, told)
        if not isinstance(state, Tensor) or tuple(state.shape) not in (S.shape, S.T.shape):
            shape = tuple(state.shape) if isinstance(state, Tensor) else type(state).__name__
            raise Wrong("state_shape", f"{told}, the state is {tuple(S.shape)}; yours is {shape}.")
        if close(state, S.T) and not close(state, S):
            raise Wrong("state_transposed", f"{told}, the outputs are right, but you return the state on its side.")
        if not close(state, S):
            raise Wrong("state", f"{told}, the outputs are right, but the state is not kᵀ v, the sum over all keys.")
    q, k, v = tensors(32, 3, 5)
    with Watch() as watch:
        fn(q, k, v)
    if watch.largest.numel() >= 32 * 32:
        raise Wrong(
            "quadratic",
            f"The numbers are right, but for T = 32 you made a tensor of shape {tuple(watch.largest)}. The outputs "
            "need only the state: q S.",
        )
    if watch.products > 2:
        raise Wrong(
            "many_products", f"The numbers are right, but you made {watch.products} products. Keep S, and use it twice."
        )
    return "Two products, no mask, no loop: in a prefix nobody has to wait for anybody."


# --- From the prefix to the target ---


def prefix_attention(q, k, v, P, chunk):
    """The prefix by two products; the target goes on from its state, chunk by chunk."""
    S = k[:P].T @ v[:P]
    out = [q[:P] @ S]
    for begin in range(P, len(q), chunk):
        own = slice(begin, begin + chunk)
        out.append(q[own] @ S + (q[own] @ k[own].T).tril() @ v[own])
        S = S + k[own].T @ v[own]
    return torch.cat(out)


def _prefix_slips(q: Tensor, k: Tensor, v: Tensor, P: int, chunk: int) -> Slips:
    i, j = grid(len(q))
    causal, target, prefix = j <= i, i >= P, j < P
    right = causal | prefix
    mine, theirs = (i - P).div(chunk, rounding_mode="floor"), (j - P).div(chunk, rounding_mode="floor")
    own, before = target & ~prefix & (theirs == mine), target & ~prefix & (theirs < mine)
    tile = own & causal
    slips = {
        "zero_state": (
            [(~target & prefix) | before | tile],
            "the target does not see the prefix: its state starts from zero. Start from the state that the prefix left",
        ),
        "causal_prefix": (
            [causal],
            "it is causal everywhere: the prefix does not read ahead. All its rows read the state of the whole prefix",
        ),
        "prefix_twice": (
            [
                right.long() + (target & prefix).long(),
                right.long() + (causal & prefix).long(),
                right.long() + (~target & causal).long(),
            ],
            "the prefix counts twice: it is in the state that you start from, and your chunks add it again. They begin "
            "at P",
        ),
        "own_twice": (
            [right.long() + own.long()],
            "the own chunk counts twice: the state that is read has it already, and the tile adds it again. Read the "
            "state first, then add the chunk to it",
        ),
        "leak": (
            [right | own],
            "a target query sees all of its own chunk, later tokens too. The tile q kᵀ needs its `.tril()`",
        ),
        "frozen_state": (
            [prefix | tile],
            "a chunk sees the prefix and itself, but no target chunk between: add each chunk to the state",
        ),
        "chunk_dropped": (
            [prefix | tile | (before & (theirs < mine - 1))],
            "each chunk misses the one before it, as in the printed formula of lesson 06. Add a chunk to the state "
            "before the next one reads it",
        ),
        "own_missing": ([prefix | before], "no target query sees its own chunk: the tile is missing"),
        "no_self": ([prefix | before | (own & (j < i))], "no target query sees its own key: the tile's diagonal stays"),
        "future": ([i >= 0], "every query sees every key, and the target must stay causal"),
        "prefix_sees_target": (
            [right | ~target],
            "the prefix sees the target: its rows read the last state. They read the state after P keys",
        ),
    }
    for other, slug, which in ((P + 1, "one_more", "long"), (P - 1, "one_less", "short")):
        if 0 <= other <= len(q):
            slips[slug] = (
                [causal | (j < other)],
                f"the prefix is one token too {which}. With indices from 0, its tokens are 0 to P - 1, and "
                "`k[:P]` has all of them",
            )
    return of_pairs(q, k, v, slips)


@exercise(
    "prefix_attention",
    notebook=NOTEBOOK,
    heading="Two products",
    title="prefix linear attention, whole",
    objective="prefix_linear_attention.hand_over",
    minutes=6,
    difficulty=3,
    hint="First the prefix, `q[:P]`, `k[:P]`, `v[:P]`, as in the exercise before. Then `for begin in range(P, len(q), "
    "chunk)`: read S, add the masked tile of the chunk, and only then add the chunk to S. `torch.cat` joins the parts.",
    solution=prefix_attention,
)
def _judge_prefix_attention(fn):
    cases = (
        (11, 4, 4, 4, 3),  # T, Dk, Dv, P, chunk: ragged
        (12, 3, 5, 4, 4),
        (9, 5, 2, 6, 2),
        (7, 3, 4, 0, 3),
        (7, 3, 4, 7, 3),
        (6, 2, 3, 2, 9),
        (5, 2, 3, 1, 1),
        (1, 3, 2, 0, 4),
        (1, 3, 2, 1, 4),
    )
    for total, key_dim, value_dim, P, chunk in cases:
        q, k, v = tensors(total, key_dim, value_dim)
        told = f"With T = {total}, P = {P} and chunks of {chunk}"
        try:
            out = called(fn, q, k, v, P, chunk)
        except Wrong as wrong:
            if wrong.slug == "raised" and P in (0, total):
                where = "no prefix" if P == 0 else "no target"
                raise Wrong("raised", f"{wrong.message} Here P = {P} and T = {total}: there is {where}.") from None
            raise
        whole = P + (total - P) // chunk * chunk
        if isinstance(out, Tensor) and out.dim() == 2 and len(out) != total:
            if len(out) == whole:
                raise Wrong("ragged", f"{told}, the last chunk is shorter than {chunk}, and you left it out.")
            if len(out) == total + P:
                raise Wrong("prefix_twice", f"{told}, you return {total + P} rows: the chunks must begin at P.")
            if len(out) == total - P:
                raise Wrong("target_only", f"{told}, you return the target's rows only. The prefix has outputs, too.")
        check_tensor(out, tuple(v.shape), told)
        mask = masks.prefix_mask(P, total)

        def more(q=q, k=k, mask=mask, rest=(P, chunk)):
            counts = counts_of(fn, q, k, *rest)
            return "" if counts is None else told_pairs(counts, mask)

        slips = _prefix_slips(q, k, v, P, chunk)
        if key_dim == value_dim:
            S = v[:P].T @ k[:P]
            slips["transposed_state"] = (
                [torch.cat([q[:P] @ S, (((q @ k.T) * mask) @ v)[P:]])],
                "in the prefix's rows the state lies on its side: it is kᵀ v, (Dk, Dv)",
            )
        check_values(out, ((q @ k.T) * mask) @ v, slips, told, more)
    _check_costs(fn)
    return (
        "Right for every split, and without a square. The prefix's rows cost two products, and the target goes on from "
        "the state that they left."
    )


def _check_costs(fn) -> None:
    """Refuse a square, tiles for rows of the prefix, and a target that goes token by token."""
    total, P, chunk, key_dim, value_dim = 64, 40, 8, 2, 3
    q, k, v = tensors(total, key_dim, value_dim)
    with Watch() as watch:
        fn(q, k, v, P, chunk)
    told = f"The numbers are right, but with T = {total}, P = {P} and chunks of {chunk}"
    target = total - P
    if watch.largest.numel() >= target**2:
        whose = {total: "all tokens", P: "the prefix", target: "the target"}.get(watch.largest[-1], "many tokens")
        raise Wrong(
            "square",
            f"{told} you made a tensor of shape {tuple(watch.largest)}, scores of {whose}. Tiles of {chunk} x {chunk} "
            "are enough.",
        )
    needed = 2 * total * key_dim * value_dim + target * chunk * (key_dim + value_dim)
    if watch.work >= needed + P * chunk * (key_dim + value_dim) / 2:
        raise Wrong(
            "prefix_tiles",
            f"{told} you made {watch.work} multiplications, and {needed} are enough. Rows of the prefix need no tile "
            "and no mask: they see what the state holds.",
        )
    if watch.products >= target:
        raise Wrong(
            "token_by_token",
            f"{told} you made {watch.products} products, one after the other: the target goes token by token. Take "
            f"{chunk} tokens at once, and {ceil(target / chunk)} steps will do.",
        )


# --- A cut ---


def resume(run, q, k, v, P, t):
    """The second part has no prefix of its own: all that it needs of the first is the state."""
    first, state = run(q[:t], k[:t], v[:t], P, None)
    second, _ = run(q[t:], k[t:], v[t:], 0, state)
    return torch.cat([first, second])


def _run(calls: list, q, k, v, prefix_len, state):
    """Run the library on one head, keep what was asked, and return the outputs and the state after the last key."""
    calls.append((len(q), prefix_len, state))
    if not isinstance(prefix_len, int) or not 0 <= prefix_len <= len(q):
        raise ValueError(f"prefix_len must be 0 to {len(q)}, for there are {len(q)} tokens; got {prefix_len}")
    if state is not None and (not isinstance(state, torch.Tensor) or state.shape != (k.shape[1], v.shape[1])):
        raise TypeError(f"state must be None or a tensor of shape {(k.shape[1], v.shape[1])}, got {state!r:.60}")
    initial = None if state is None else LinearState(state[None, None])
    out, last = prefix_linear_attention(
        *(x[None, None] for x in (q, k, v)), prefix_len, initial_state=initial, return_state=True
    )
    return out[0, 0], last.kv[0, 0]


@exercise(
    "resume",
    notebook=NOTEBOOK,
    heading="Two products",
    title="cut a text, and go on",
    objective="prefix_linear_attention.hand_over",
    minutes=3,
    difficulty=2,
    hint="Call `run` twice: on the first t tokens with P and None, then on the rest with the state that came back. How "
    "many prefix tokens are in the rest?",
    solution=resume,
    extra=True,
)
def _judge_resume(fn):
    for total, key_dim, value_dim, P, t in (
        (11, 4, 4, 3, 6), (9, 3, 5, 4, 4), (8, 2, 3, 0, 5), (6, 2, 3, 5, 5), (7, 3, 2, 2, 7), (1, 3, 2, 1, 1),
    ):  # fmt: skip
        q, k, v = tensors(total, key_dim, value_dim)
        told = f"With T = {total}, P = {P} and a cut at {t}"
        calls = []
        run = partial(_run, calls)
        try:
            out = called(fn, run, q, k, v, P, t)
        except Wrong as wrong:
            if wrong.slug == "raised" and len(calls) == 2 and calls[1][1] == P > 0:
                raise Wrong("prefix_again", f"{told}, {_PREFIX_AGAIN}. {wrong.message}") from None
            raise
        if isinstance(out, tuple | list) and len(out) == 2 and all(isinstance(one, Tensor) for one in out):
            raise Wrong("form", "Return the outputs of all tokens in one tensor: `torch.cat` joins the two parts.")
        if isinstance(out, Tensor) and out.dim() == 2 and len(out) in (total - t, t) and len(out) != total:
            which = "second" if len(out) == total - t else "first"
            raise Wrong("one_part", f"{told}, you return the outputs of the {which} part only. Join both.")
        check_tensor(out, tuple(v.shape), told)
        right = ((q @ k.T) * masks.prefix_mask(P, total)) @ v
        if not close(out, right) and len(calls) > 1 and t < total:
            _tell_cause(told, calls, k, v, P, t)
        slips = {"order": ([torch.cat([right[t:], right[:t]])], "the second part comes first: join them in order")}
        check_values(out, right, slips, told)
        lengths = [length for length, _, _ in calls if length]
        if lengths != [length for length in (t, total - t) if length]:
            raise Wrong(
                "no_cut",
                f"{told}, the numbers are right, but you called `run` on {' and '.join(map(str, lengths)) or 'no'} "
                f"tokens. Call it on {t}, and then on the {total - t} that are left, each once.",
            )
    return "Both parts give what one run gives, to rounding. All that the second needs of the first is Dk x Dv numbers."


_PREFIX_AGAIN = (
    "you gave P to the second part again. Its first tokens then see tokens that come after them. The prefix lies in "
    "the first part: give 0"
)


def _tell_cause(told: str, calls: list, k: Tensor, v: Tensor, P: int, t: int) -> None:
    """Say which argument of the calls was wrong, if one was."""
    (first, first_prefix, first_state), (length, prefix_len, state) = calls[0], calls[-1]
    if length != len(k) - t:
        raise Wrong("seam", f"{told}, the second part has {len(k) - t} tokens, from t on; you ran {length}.")
    if state is None:
        raise Wrong("no_state", f"{told}, the second part starts from nothing. Give it the state that `run` returned.")
    if isinstance(state, Tensor) and t > P and close(state, k[:P].T @ v[:P]):
        raise Wrong(
            "prefix_state",
            f"{told}, the second part gets the state after {P} tokens, the prefix alone. It must hold all {t} tokens "
            "before the cut.",
        )
    if prefix_len == P > 0:
        raise Wrong("prefix_again", f"{told}, {_PREFIX_AGAIN}.")
    if first == t and first_prefix != P:
        raise Wrong("no_prefix", f"{told}, the first part has the prefix, P = {P}; you gave {first_prefix}.")
    if first_state is not None:
        raise Wrong("first_state", f"{told}, no keys come before the first part: its state is None.")


# --- Padding ---


def pad_features(x, phi, real):
    """First the map, then the padding: only zeros add nothing to a sum."""
    return phi(x) * real[:, None]


@exercise(
    "pad_features",
    notebook=NOTEBOOK,
    heading="Where it does not help",
    title="padding that nobody sees",
    objective="prefix_linear_attention.padding",
    minutes=2,
    difficulty=2,
    hint="A key adds nothing to the state if its *features* are 0. What is phi of a vector of zeros?",
    solution=pad_features,
)
def _judge_pad_features(fn):
    rng = torch.Generator().manual_seed(7)
    maps = {"elu + 1": elu_plus_one, "the identity": identity, "the Taylor map": taylor_exp}
    for (name, phi), marks in [
        (one, marks) for marks in ("00110111", "1110", "000", "0", "1") for one in maps.items()
    ]:  # fmt: skip
        real = torch.tensor([mark == "1" for mark in marks])
        x = torch.randn(len(marks), 3, dtype=torch.float64, generator=rng)
        features, mark = phi(x), real[:, None]
        told = f"With {name} and {int((~real).sum())} of {len(marks)} keys padded"
        out = called(fn, x, phi, real)
        kept = int(real.sum())
        if isinstance(out, Tensor) and out.dim() == 2 and len(out) == kept < len(marks):
            raise Wrong("dropped", f"{told}, you return {kept} rows. Keep all {len(marks)}, and make features 0.")
        check_tensor(out, tuple(features.shape), told)
        zero = phi(torch.zeros_like(x[:1])).flatten()[0]
        slips = {
            "before": (
                [phi(x * mark)],
                f"you made x zero, and then applied phi. But phi(0) starts with {zero:.0f}: a padded key still has "
                "features, and every query sees it. Multiply after the map",
            ),
            "unmasked": ([features], "padded keys have their features still. Multiply by `real[:, None]`"),
            "inverted": (
                [features * ~mark, phi(x * ~mark)],
                "you made the real keys zero and left the padding. `real` is True for what counts",
            ),
            "minus_infinity": (
                [phi(x.masked_fill(~mark, -torch.inf))],
                "you put -inf under the map. With elu + 1 that gives 0, but not with every map. Zeros after the map do",
            ),
            "minus_infinity_after": (
                [features.masked_fill(~mark, -torch.inf)],
                "-inf hides in front of a softmax. Here features are summed: only 0 adds nothing",
            ),
        }
        check_values(out, features * mark, slips, told)
    return "Right with every map. A padded key is a row of zeros now: it adds nothing to the state, nor to z."
