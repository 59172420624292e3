"""The exercises of lesson 03: which rows carry loss, one step of decoding, what goes stale, and how P is drawn."""

import math

import torch
from torch.nn import functional as F

from course_lib import cache

from .engine import Wrong, exercise

NOTEBOOK = "03_prefix_lm"


# --- Which rows carry loss ---


def loss_mask(prefix_len, total_len):
    """Row i predicts token i + 1: the last token of the prefix predicts the first target."""
    return torch.arange(total_len) >= prefix_len - 1


@exercise(
    "loss_mask",
    notebook=NOTEBOOK,
    title="Which rows carry loss?",
    objective="prefix_lm.loss",
    minutes=3,
    difficulty=2,
    hint="Row i predicts token i + 1. Which row predicts the first target, token P?",
    solution=loss_mask,
)
def judge_loss_mask(fn) -> str:
    slips = {
        "one_late": (
            lambda i, p: i >= p,
            "the first target is predicted by the last token of the prefix, row P - 1, and you left that row out. "
            "The model would never learn how a story begins",
        ),
        "two_late": (lambda i, p: i > p, "two rows too late: row P - 1 predicts the first target"),
        "one_early": (lambda i, p: i >= p - 2, "row P - 2 predicts token P - 1, which is still in the prefix"),
        "everywhere": (
            lambda i, p: i >= 0,
            "every row carries loss, but the prefix has seen the very token that it would have to predict",
        ),
        "inverted": (lambda i, p: i < p - 1, "you marked the prefix, and left out the target"),
    }
    cases = [(prefix_len, total_len) for total_len in range(1, 8) for prefix_len in range(total_len + 1)]
    cases.sort(key=lambda case: case != (3, 7))
    yours = {}
    for case in cases:
        rows = fn(*case)
        if not isinstance(rows, torch.Tensor) or rows.dtype != torch.bool or tuple(rows.shape) != (case[1],):
            raise Wrong(
                "not_rows", f"Return a bool tensor of shape (total_len,), here ({case[1]},): one True or False a row."
            )
        yours[case] = rows
    wrong = [case for case in cases if not torch.equal(yours[case], loss_mask(*case))]
    if not wrong:
        return "Every split agrees. The boundary row is the one that is forgotten most."
    for slug, (slip, reason) in slips.items():
        if all(torch.equal(yours[case], slip(torch.arange(case[1]), case[0])) for case in cases):
            raise Wrong(slug, f"With P = 3 and T = 7 you mark rows {_list(yours[3, 7])}: {reason}.")
    prefix_len, total_len = wrong[0]
    raise Wrong(
        "rows",
        f"With P = {prefix_len} and T = {total_len} you mark rows {_list(yours[wrong[0]])}; "
        f"right are rows {_list(loss_mask(*wrong[0]))}.",
    )


def _list(rows: torch.Tensor) -> str:
    return ", ".join(str(int(row)) for row in rows.nonzero()) or "none"


# --- One step of decoding with a cache ---


def decode_step(q, k, v, kept):
    """One query looks at every key that is kept, and at its own: no mask is needed."""
    if kept is not None:
        k, v = torch.cat([kept[0], k], dim=2), torch.cat([kept[1], v], dim=2)
    return F.scaled_dot_product_attention(q, k, v), (k, v)


@exercise(
    "decode_step",
    notebook=NOTEBOOK,
    title="One step of decoding with a cache",
    objective="prefix_lm.cache",
    minutes=5,
    difficulty=2,
    hint="Append the new key and value along the third dimension, then let the one query look at all of them. "
    "Which of them would a mask have to hide?",
    solution=decode_step,
    extra=True,
)
def judge_decode_step(fn) -> str:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 6, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    right = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    kept = None
    for t in range(6):
        before = None if kept is None else tuple(part.clone() for part in kept)
        answer = fn(*(part[:, :, t : t + 1] for part in (q, k, v)), kept)
        if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], tuple) or len(answer[1]) != 2:
            raise Wrong("form", "Return two things: the output, and the cache as a pair (keys, values).")
        out, after = answer
        if before is not None and not all(map(torch.equal, before, kept)):
            raise Wrong(
                "overwrote",
                "You wrote into the cache that was given. Return a new pair; the old one may still be needed.",
            )
        lengths = [part.shape[2] for part in after]
        if lengths != [t + 1, t + 1]:
            raise Wrong(
                "length",
                f"After token {t} the cache holds {lengths[0]} keys and {lengths[1]} values; right are {t + 1} each. "
                "Time is the third dimension, `dim=2`.",
            )
        if tuple(out.shape) != (2, 3, 1, 4):
            raise Wrong("shape", f"One query gives one row, (2, 3, 1, 4); your output is {tuple(out.shape)}.")
        if not torch.allclose(out, right[:, :, t : t + 1], rtol=0, atol=1e-9):
            first_value = v[:, :, :1].expand_as(out)
            if torch.allclose(out, first_value, rtol=0, atol=1e-9):
                raise Wrong(
                    "top_left",
                    f"At token {t} your query sees key 0 alone. `is_causal=True` lines up query 0 with key 0, so one "
                    "query gets the first row of the triangle. A last token may see all: leave the mask out.",
                )
            if torch.allclose(out, v[:, :, t : t + 1], rtol=0, atol=1e-9):
                raise Wrong(
                    "only_itself", f"Token {t} sees only itself: attend to the cache, not to the new key alone."
                )
            raise Wrong(
                "values",
                f"Token {t} is off by {(out - right[:, :, t : t + 1]).abs().max():.2f}, against one pass over all.",
            )
        kept = after
    return "Six steps with the cache equal one pass over six tokens, to nine digits."


# --- What goes stale ---


def stale(old_len, new_len, total_len, layers):
    """Layer 1 keeps all; layer 2 loses the rows whose view changed; from layer 3 on all is lost."""
    if max(old_len, 1) == max(new_len, 1):
        return [0] * layers
    return [0, max(old_len, new_len) - 1, *[total_len] * (layers - 2)][:layers]


def _slip(rows_of):
    """Return a wrong `stale` from a function of (old, new, total) to the rows of layers 1, 2, and each later one."""

    def counts(old_len, new_len, total_len, layers):
        first, second, later = rows_of(old_len, new_len, total_len) if max(old_len, 1) != max(new_len, 1) else (0, 0, 0)
        return [first, second, *[later] * layers][:layers]

    return counts


_STALE_SLIPS = {
    "everything": (
        lambda o, n, t: (t, t, t),
        "the first layer's keys and values come from embeddings, which nobody's view can change",
    ),
    "new_rows": (
        lambda o, n, t: (0, abs(n - o), t),
        "rows that were in the prefix before see more now, too: they looked up to the old boundary, now to the new",
    ),
    "last_too": (
        lambda o, n, t: (0, max(o, n), t),
        "the last row of the longer prefix sees the same before and after: as a target it saw all that came before it",
    ),
    "only_layer_two": (
        lambda o, n, t: (0, max(o, n) - 1, 0),
        "layer 3 reads what layer 2 made of its stale rows, and every row sees row 0",
    ),
    "nothing": (lambda o, n, t: (0, 0, 0), "some rows now see tokens that they did not see before"),
}


@exercise(
    "stale",
    notebook=NOTEBOOK,
    title="How many cached rows go stale in each layer?",
    objective="prefix_lm.cache",
    minutes=5,
    difficulty=3,
    hint="Layer 1 caches what it makes of embeddings. Layer 2 caches what it makes of layer 1's outputs: which "
    "of these changed? From layer 3 on, think of row 0, whom everybody sees.",
    solution=stale,
    extra=True,
)
def judge_stale(fn) -> str:
    cases = [
        (old, new, total, layers)
        for total in range(1, 9)
        for old in range(total + 1)
        for new in range(total + 1)
        for layers in (1, 2, 3, 4)
    ]
    cases.sort(key=lambda case: case != (3, 6, 8, 3))
    slips = {slug: (_slip(count), reason) for slug, (count, reason) in _STALE_SLIPS.items()}
    yours = {}
    for case in cases:
        answer = fn(*case)
        try:
            yours[case] = [int(count) for count in answer]
        except (TypeError, ValueError):
            raise Wrong("not_counts", "Return a list with one number of rows for each layer.") from None
        if len(yours[case]) != case[3]:
            raise Wrong("not_counts", f"There are {case[3]} layers, and you returned {len(yours[case])} numbers.")
    truth = {case: [len(rows) for rows in cache.stale_rows(*case)] for case in cases}
    wrong = [case for case in cases if yours[case] != truth[case]]
    if not wrong:
        return "Every change of P up to 8 tokens and 4 layers agrees with what really changes in a model."
    told = "From P = {} to {} with {} tokens and {} layers".format(*wrong[0])
    message = f"{told} you say {yours[wrong[0]]}, and {truth[wrong[0]]} rows are stale"
    for slug, (slip, reason) in slips.items():
        if all(yours[case] == slip(*case) for case in cases):
            raise Wrong(slug, f"{message}: {reason}.")
    raise Wrong("counts", f"{message}.")


# --- Draw P ---


def sample_prefix(total_len, generator):
    """Uniform over 1..L-1: something is given, and something is left to write."""
    return int(torch.randint(1, total_len, (), generator=generator))


@exercise(
    "sample_prefix",
    notebook=NOTEBOOK,
    title="Draw a prefix length as T5 does",
    objective="prefix_lm.choose",
    minutes=2,
    difficulty=1,
    hint="`torch.randint(low, high, (), generator=generator)` includes low and leaves out high.",
    solution=sample_prefix,
)
def judge_sample_prefix(fn) -> str:
    total_len, draws = 9, 4000
    generator = torch.Generator().manual_seed(0)
    seen = [fn(total_len, generator) for _ in range(draws)]
    if any(isinstance(one, bool) or not isinstance(one, int) for one in seen):
        raise Wrong(
            "not_int", f"A length is an int; you returned a {type(seen[0]).__name__}. `int(...)` makes one of a tensor."
        )
    if total_len in seen:
        raise Wrong(
            "too_long", f"For a text of {total_len} tokens you once drew P = {total_len}: nothing is left to write."
        )
    if 0 in seen:
        raise Wrong("empty", "You once drew P = 0: then there is no prefix, and nobody predicts the first token.")
    if outside := [one for one in seen if not 1 <= one < total_len]:
        raise Wrong("outside", f"You drew P = {outside[0]}; allowed are 1 to {total_len - 1}.")
    counts = torch.bincount(torch.tensor(seen), minlength=total_len)[1:]
    if missing := (counts == 0).nonzero()[:, 0].tolist():
        raise Wrong("missing", f"In {draws} draws P = {missing[0] + 1} never came. All of 1 to {total_len - 1} should.")
    expected = draws / (total_len - 1)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    if chi_square > 40 or not math.isfinite(chi_square):  # 7 degrees of freedom: chance exceeds 40 once in a million
        raise Wrong("uneven", f"Every length should be equally likely; yours came {counts.tolist()} times.")
    return f"In {draws} draws each of 1 to {total_len - 1} came about equally often."
