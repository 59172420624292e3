"""The exercises of lesson 03: which rows carry loss, one step of decoding, what goes stale, and how P is drawn."""

import math

import torch
from torch.nn import functional as F

from course_lib import cache

from ..._check import short
from ..cache_words import plural
from .engine import Wrong, exercise

NOTEBOOK = "03_prefix_lm"


# --- Which rows carry loss ---


def loss_mask(prefix_len, rows):
    """Row i predicts token i + 1: the last token of the prefix predicts the first target."""
    return torch.arange(rows) >= prefix_len - 1


# slug -> (which rows of `rows`, i = 0, 1, ..., are marked for a prefix p, and why that is wrong)
_ROW_SLIPS = {
    "one_late": (
        lambda i, p, rows: i >= p,
        "the first target is predicted by the last token of the prefix, row P - 1, and you left that row out. "
        "The model would never learn how a story begins",
    ),
    "two_late": (lambda i, p, rows: i > p, "two rows too late: row P - 1 predicts the first target"),
    "one_early": (lambda i, p, rows: i >= p - 2, "row P - 2 predicts token P - 1, which is still in the prefix"),
    "everywhere": (lambda i, p, rows: i >= 0, "every row carries loss, and the model would learn to copy its prefix"),
    "inverted": (lambda i, p, rows: i < p - 1, "you marked the prefix, and left out the target"),
    "inverted_late": (lambda i, p, rows: i < p, "you marked the prefix, and left out the target"),
    "last_left_out": (
        lambda i, p, rows: (i >= p - 1) & (i < rows - 1),
        "the last row is missing. It predicts the text's last token, which is a target, though no row reads it",
    ),
    "slice_from_minus_one": (
        lambda i, p, rows: i >= (p - 1) % rows,
        "with P = 0, `P - 1` is -1, and a slice from -1 begins at the last row: trap 3 of lesson 02",
    ),
}


@exercise(
    "loss_mask",
    notebook=NOTEBOOK,
    heading="Only the story is scored",
    title="Which rows carry loss?",
    objective="prefix_lm.loss",
    minutes=3,
    difficulty=2,
    hint="Row i predicts token i + 1. Which row predicts the first target, token P?",
    solution=loss_mask,
)
def judge_loss_mask(fn) -> str:
    cases = [(prefix_len, rows) for rows in range(1, 8) for prefix_len in range(rows + 1)]
    cases.sort(key=lambda case: case != (3, 7))
    yours = {}
    for case in cases:
        marked = fn(*case)
        if not isinstance(marked, torch.Tensor) or marked.dtype != torch.bool or tuple(marked.shape) != (case[1],):
            raise Wrong("not_rows", f"Return a bool tensor of shape (rows,), here ({case[1]},): True or False a row.")
        yours[case] = marked
    wrong = [case for case in cases if not torch.equal(yours[case], loss_mask(*case))]
    if not wrong:
        return "Every split agrees. The boundary row is the one that is forgotten most easily."
    prefix_len, rows = wrong[0]
    told = f"With P = {prefix_len} and {rows} rows you mark {_list(yours[wrong[0]])}"
    for slug, (slip, reason) in _ROW_SLIPS.items():
        if all(torch.equal(yours[p, n], slip(torch.arange(n), p, n)) for p, n in cases):
            raise Wrong(slug, f"{told}: {reason}.")
    raise Wrong("rows", f"{told}; right are {_list(loss_mask(prefix_len, rows))}.")


def _list(rows: torch.Tensor) -> str:
    marked = [str(int(row)) for row in rows.nonzero()]
    return f"row{'' if len(marked) == 1 else 's'} {', '.join(marked)}" if marked else "none"


# --- One step of decoding with a cache ---


def decode_step(q, k, v, kept):
    """One query looks at every key that is kept, and at its own: no mask is needed."""
    if kept is not None:
        k, v = torch.cat([kept[0], k], dim=2), torch.cat([kept[1], v], dim=2)
    return F.scaled_dot_product_attention(q, k, v), (k, v)


@exercise(
    "decode_step",
    notebook=NOTEBOOK,
    heading="The cache, and what goes stale",
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
    outputs, kept = [], None
    for t in range(6):
        out, after = _one_step(fn, *(part[:, :, t : t + 1] for part in (q, k, v)), kept)
        lengths = [part.shape[2] for part in after]
        if lengths != [t + 1, t + 1]:
            raise Wrong(
                "length",
                f"After token {t} the cache holds {lengths[0]} keys and {lengths[1]} values; right are {t + 1} each. "
                "Time is the third dimension, `dim=2`.",
            )
        outputs.append(out)
        kept = after
    for t in (0, 2, 3, 4, 5, 1):  # token 1 last: there, who sees key 0 alone may have made either of two mistakes
        _judge_output(outputs[t], t, q, k, v)
    if not all(map(torch.equal, kept, (k, v))):
        raise Wrong(
            "order",
            "The output is right, for attention does not care about the order of keys. But the cache's rows are not in "
            "the order of the tokens, so row 0 is no longer token 0: put the new one last.",
        )
    return "Six steps with the cache equal one pass over six tokens, to nine digits."


def _one_step(fn, q, k, v, kept):
    """Call the learner's function, and see that its answer has the right form and that it left `kept` alone."""
    before = None if kept is None else tuple(part.clone() for part in kept)
    try:
        answer = fn(q, k, v, kept)
    except Wrong as wrong:
        if kept is None and "NoneType" in wrong.message:
            raise Wrong("first", "At the first token `kept` is None: there is nothing to append to yet.") from None
        if "Sizes of tensors must match" in wrong.message:
            raise Wrong("dim", "The parts do not fit side by side. Time is the third dimension, `dim=2`.") from None
        raise
    if not isinstance(answer, tuple) or len(answer) != 2 or not isinstance(answer[1], tuple) or len(answer[1]) != 2:
        raise Wrong("form", "Return two things: the output, and the cache as a pair (keys, values).")
    if before is not None and not all(map(torch.equal, before, kept)):
        raise Wrong(
            "overwrote",
            "You wrote into the cache that was given. Return a new pair; the old one may still be needed.",
        )
    out = answer[0]
    if not isinstance(out, torch.Tensor) or out.shape != q.shape:
        what = tuple(out.shape) if isinstance(out, torch.Tensor) else f"a {type(out).__name__}"
        raise Wrong("shape", f"One query gives one row, {tuple(q.shape)}; your output is {what}.")
    return answer


def _judge_output(out, t: int, q, k, v) -> None:
    """Compare the output of token t with attention over all tokens so far; a slip is known by what it gives."""

    def seen(keys: slice, **options):
        return F.scaled_dot_product_attention(q[:, :, t : t + 1], k[:, :, keys], v[:, :, keys], **options)

    slips = {
        "only_itself": (
            seen(slice(t, t + 1)),
            "your query sees only itself: attend to the cache, not to the new key alone",
        ),
        "top_left": (
            seen(slice(0, 1)),
            "your query sees key 0 alone. Was it `is_causal=True`? That lines up query 0 with key 0, so one query gets "
            "the first row of the triangle. A last token may see all: leave the mask out",
        ),
        "no_self": (seen(slice(0, max(t, 1))), "your query misses its own key. Append first, then look"),
        "no_scale": (
            seen(slice(0, t + 1), scale=1.0),
            "the scores are too large: divide them by the square root of D, as in lesson 02",
        ),
    }
    right = seen(slice(0, t + 1))
    if torch.allclose(out, right, rtol=0, atol=1e-9):
        return
    for slug, (slip, reason) in slips.items():
        if torch.allclose(out, slip, rtol=0, atol=1e-9):
            raise Wrong(slug, f"At token {t}, {reason}.")
    raise Wrong(
        "values",
        f"Token {t} is off by {(out - right).abs().max():.2f}, against one pass over all. Do keys meet queries, and "
        "values the weights?",
    )


# --- What goes stale ---


def stale(old_len, new_len, total_len, layers):
    """Layer 1 keeps all; layer 2 loses the rows whose view changed; from layer 3 on all is lost."""
    if max(old_len, 1) == max(new_len, 1):
        return [0] * layers
    return [0, max(old_len, new_len) - 1, *[total_len] * (layers - 2)][:layers]


# slug -> (the rows of layers 1, 2, and each later one when P grows from o to n with t tokens, and why that is wrong)
_STALE_SLIPS = {
    "everything": (
        lambda o, n, t: (t, t, t),
        "the first layer's keys and values come from embeddings, which nobody's view can change",
    ),
    "all_of_layer_two": (
        lambda o, n, t: (0, t, t),
        "in layer 2 a row that sees what it saw before stays right",
    ),
    "new_rows": (
        lambda o, n, t: (0, n - o, t),
        "rows that were in the prefix before see more now, too: they looked up to the old boundary, now to the new",
    ),
    "last_too": (
        lambda o, n, t: (0, n, t),
        "the last row of the longer prefix sees the same before and after: as a target it saw all that came before it",
    ),
    "like_layer_two": (
        lambda o, n, t: (0, n - 1, n - 1),
        "in layer 3 the later rows are stale as well: they see row 0, and row 0 has changed",
    ),
    "only_layer_two": (
        lambda o, n, t: (0, n - 1, 0),
        "layer 3 reads what layer 2 made of its stale rows, and every row sees row 0",
    ),
    "nothing": (lambda o, n, t: (0, 0, 0), "some rows now see tokens that they did not see before"),
}


@exercise(
    "stale",
    notebook=NOTEBOOK,
    heading="The cache, and what goes stale",
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
    # first what the lesson speaks of, a prefix that grows; then one that shrinks; then masks that stay the same
    same = {case for case in cases if max(case[0], 1) == max(case[1], 1)}
    cases.sort(key=lambda case: (case in same, case[1] < case[0], case != (3, 6, 8, 3)))
    grows = [case for case in cases if case not in same and case[0] < case[1]]
    yours = {}
    for case in cases:
        answer = fn(*case)
        try:
            counts = list(answer)
            yours[case] = [int(count) for count in counts]
        except (TypeError, ValueError):
            raise Wrong("not_counts", "Return a list with one number of rows for each layer.") from None
        if broken := [count for count, whole in zip(counts, yours[case], strict=True) if not count == whole]:
            raise Wrong("not_counts", f"Rows are counted in whole numbers, and you returned {short(broken[0])}.")
        if len(yours[case]) != case[3]:
            raise Wrong(
                "not_counts",
                f"There {'is' if case[3] == 1 else 'are'} {plural(case[3], 'layer')}, and you returned "
                f"{plural(len(yours[case]), 'number')}.",
            )
    truth = {case: [len(rows) for rows in cache.stale_rows(*case)] for case in cases}
    wrong = [case for case in cases if yours[case] != truth[case]]
    if not wrong:
        return "Every change of P up to 8 tokens and 4 layers agrees with what really changes in a model."
    told = "From P = {} to {} with {} tokens and {} layers".format(*wrong[0])
    message = f"{told} you say {yours[wrong[0]]}, and {truth[wrong[0]]} rows are stale"
    if wrong[0] in same:
        raise Wrong("same_mask", f"{message}: the two are the same mask, so nothing changes. So are P = 0 and P = 1.")
    if wrong[0] not in grows:
        raise Wrong("shrinks", f"{message}: P may shrink, too. Then the same rows see less than before.")
    for slug, (slip, reason) in _STALE_SLIPS.items():
        if all(yours[case] == _counts(slip, *case) for case in grows):
            raise Wrong(slug, f"{message}: {reason}.")
    raise Wrong("counts", f"{message}.")


def _counts(slip, old_len: int, new_len: int, total_len: int, layers: int) -> list[int]:
    first, second, later = slip(old_len, new_len, total_len)
    return [first, second, *[later] * layers][:layers]


# --- Draw P ---


def sample_prefix(total_len, generator):
    """Uniform over 1..L-1: something is given, and something is left to write."""
    return int(torch.randint(1, total_len, (), generator=generator))


def _seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@exercise(
    "sample_prefix",
    notebook=NOTEBOOK,
    heading="P is one more thing to choose",
    title="Draw a prefix length as T5 does",
    objective="prefix_lm.choose",
    minutes=2,
    difficulty=1,
    hint="`torch.randint(low, high, (), generator=generator)` includes low and leaves out high.",
    solution=sample_prefix,
)
def judge_sample_prefix(fn) -> str:
    total_len, draws = 9, 4000
    seen, again = ([fn(total_len, rng) for _ in range(draws)] for rng in (_seeded(), _seeded()))
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
    if seen != again:
        raise Wrong("unseeded", "The same seed gave other draws: the `generator` is not used. Pass it on.")
    counts = torch.bincount(torch.tensor(seen), minlength=total_len)[1:]
    if missing := (counts == 0).nonzero()[:, 0].tolist():
        raise Wrong("missing", f"In {draws} draws P = {missing[0] + 1} never came. All of 1 to {total_len - 1} should.")
    expected = draws / (total_len - 1)
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    if chi_square > 40 or not math.isfinite(chi_square):  # 7 degrees of freedom: chance exceeds 40 once in a million
        ends = counts[[0, -1]].sum() / counts[1:-1].sum() * (total_len - 3) / 2
        why = " The two ends came half as often as the others: that is what rounding does." if 0.4 < ends < 0.6 else ""
        raise Wrong("uneven", f"Every length should be equally likely; yours came {counts.tolist()} times.{why}")
    return f"In {draws} draws each of 1 to {total_len - 1} came about equally often."
