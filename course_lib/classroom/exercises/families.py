"""The usual wrong masks, each with its name and its reason: what a judge compares a learner's mask with."""

from collections.abc import Callable

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from course_lib import masks

from ..palette import LIGHT
from ..pictures import draw_mask
from .engine import Wrong

MaskOf = Callable[[int, int], torch.Tensor]


def grid(total_len: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places of queries, the rows (T, 1), and of keys, the columns (1, T)."""
    index = torch.arange(total_len)
    return index[:, None], index[None, :]


def _by_rule(rule: Callable) -> MaskOf:
    return lambda prefix_len, total_len: torch.as_tensor(
        rule(*grid(total_len), prefix_len) & torch.ones(total_len, total_len, dtype=torch.bool)
    )


# slug -> (the wrong mask, what went wrong). The first that agrees with the learner's mask everywhere is the diagnosis.
FAMILIES: dict[str, tuple[MaskOf, str]] = {
    "causal": (
        _by_rule(lambda i, j, p: j <= i),
        "this is the causal mask: nobody reads ahead, not even inside the prefix. The block of ones is missing",
    ),
    "all_ones": (
        _by_rule(lambda i, j, p: i >= 0),
        "everybody sees everything, the target's future too: training would let the model copy the answer",
    ),
    "transposed": (
        _by_rule(lambda i, j, p: (i < p) | (i <= j)),
        "you swapped the two: the first index is the query, who looks (row); the second the key, who is seen (column)",
    ),
    "inverted": (
        _by_rule(lambda i, j, p: ~((j < p) | (j <= i))),
        "it is the opposite: in this course True means *may look*, as in PyTorch's attention",
    ),
    "compared_query": (
        _by_rule(lambda i, j, p: (i < p) | (j <= i)),
        "you compared the query with P, not the key, so the prefix looks all the way into the target",
    ),
    "prefix_only": (
        _by_rule(lambda i, j, p: j < p),
        "the target sees the prefix but nothing of itself: the causal part is missing",
    ),
    "block_only": (
        _by_rule(lambda i, j, p: (i < p) & (j < p)),
        "only the prefix sees anything: the target is blind",
    ),
    "two_islands": (
        _by_rule(lambda i, j, p: ((i < p) & (j < p)) | ((i >= p) & (j >= p) & (j <= i))),
        "the target cannot see the prefix: the storyteller has lost the outline",
    ),
    "no_self": (
        _by_rule(lambda i, j, p: (j < p) | (j < i)),
        "a target token cannot see itself: you wrote < where <= is meant",
    ),
    "one_more": (
        _by_rule(lambda i, j, p: (j < p + 1) | (j <= i)),
        "the prefix is one token too long: with indices from 0, the prefix is j < P, not j <= P",
    ),
    "one_less": (
        _by_rule(lambda i, j, p: (j < p - 1) | (j <= i)),
        "the prefix is one token too short",
    ),
    "own_group": (
        _by_rule(lambda i, j, p: ((i < p) & (j < p)) | ((i == j) & (i >= p))),
        "a token sees its own group alone: the earlier groups are lost",
    ),
    "two_groups": (
        _by_rule(lambda i, j, p: (j < p) | (i >= p)),
        "all target tokens share a group, so they see ahead",
    ),
    "both_and": (
        _by_rule(lambda i, j, p: (j < p) & (j <= i)),
        "you asked for both conditions at once; one of the two is enough",
    ),
}


def diagnose(
    mask_of: MaskOf,
    claimed: MaskOf = masks.prefix_mask,
    *,
    sizes=range(8),
    say: Callable | None = None,
    reasons: dict[str, str] | None = None,
) -> None:
    """Compare a mask function with the claimed one for every P <= T in `sizes`; raise `Wrong` with the diagnosis.

    mask_of(prefix_len, total_len) must give a bool (T, T) tensor already checked for type and shape. `say(row, column,
    may)` puts one wrong cell into words; `reasons` are a lesson's own words for a slug, in place of those of FAMILIES.
    """
    cases = [(prefix_len, total_len) for total_len in sizes for prefix_len in range(total_len + 1)]
    # the picture shows a middling case, not the empty one in which a mask first goes wrong
    cases.sort(key=lambda case: (case != (3, 7), abs(case[1] - 7), abs(2 * case[0] - case[1])))
    yours = {case: mask_of(*case) for case in cases}
    wrong = [case for case in cases if not torch.equal(yours[case], claimed(*case))]
    if not wrong:
        return
    case = prefix_len, total_len = wrong[0]
    target = claimed(*case)
    row, column = (int(x) for x in (yours[case] != target).nonzero()[0])
    may = bool(target[row, column])
    cell = (say or _say_cell)(row, column, may)
    slug, reason = next(
        (
            (s, (reasons or {}).get(s, why))
            for s, (family, why) in FAMILIES.items()
            if all(torch.equal(yours[c], family(*c)) for c in cases)
        ),
        (None, None),
    )
    where = f"With P = {prefix_len} and T = {total_len}"
    if slug is None and (3, 7) not in wrong:
        slug = "special_case"
        message = f"P = 3 and T = 7 is right, but other sizes are not. {where}, {cell}."
    elif slug is None:
        slug = "cells"
        count = int((yours[case] != target).sum())
        message = f"{where}, {count} of {total_len**2} cells differ. First: {cell}."
    else:
        message = f"{where}, {cell}: {reason}."
    raise Wrong(
        slug,
        message,
        draw=lambda: draw_comparison(yours[case], target, prefix_len),
        alt=f"Your mask beside the one asked for, P = {prefix_len}, T = {total_len}; the cells that differ are ringed.",
    )


def _say_cell(row: int, column: int, may: bool) -> str:
    return f"row {row} cannot see column {column}" if may else f"row {row} sees column {column}, and must not"


def draw_comparison(yours: torch.Tensor, target: torch.Tensor, prefix_len: int) -> Figure:
    """Draw the learner's mask beside the one asked for, both bool (T, T); the cells that differ are ringed."""
    figure = Figure(figsize=(8.6, 4.4), layout="constrained", facecolor=LIGHT["paper"])
    left, right = figure.subplots(1, 2)
    draw_mask(yours, prefix_len=prefix_len, title="yours", ax=left)
    draw_mask(target, prefix_len=prefix_len, title="asked for", ax=right)
    for row, column in (yours != target).nonzero().tolist():
        ring = {"fill": False, "edgecolor": LIGHT["bad"], "linewidth": 2, "zorder": 6}
        left.add_patch(Rectangle((column + 0.1, row + 0.1), 0.8, 0.8, **ring))
    return figure
