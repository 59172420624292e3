"""The exercises of lesson 02: write the mask three ways, attend under it, and mend four masks of real projects."""

import math

import torch

from course_lib import masks, probe

from .engine import Untouched, Wrong, exercise, quoted
from .families import diagnose

NOTEBOOK = "02_prefix_mask"


# --- Write the mask three ways ---


def prefix_mask(prefix_len, total_len):
    """By the rule: compare every row index with every column index at once."""
    i = torch.arange(total_len)[:, None]
    j = torch.arange(total_len)[None, :]
    return (j < prefix_len) | (j <= i)


def prefix_mask_blocks(prefix_len, total_len):
    """By blocks: a lower triangle, then one square of ones."""
    mask = torch.ones(total_len, total_len, dtype=torch.bool).tril()
    mask[:prefix_len, :prefix_len] = True
    return mask


def prefix_mask_cumsum(prefix_len, total_len):
    """By counting: the prefix is group 0, each target token opens a group; look at your own group and earlier ones."""
    group = (torch.arange(total_len) >= prefix_len).cumsum(0)
    return group[:, None] >= group[None, :]


def judge_mask(fn) -> str:
    def mask_of(prefix_len: int, total_len: int) -> torch.Tensor:
        mask = fn(prefix_len, total_len)
        if not isinstance(mask, torch.Tensor):
            raise Wrong("not_a_tensor", f"A mask is a torch tensor; you returned a {type(mask).__name__}.")
        if tuple(mask.shape) != (total_len, total_len):
            raise Wrong(
                "shape",
                f"For T = {total_len} the mask is ({total_len}, {total_len}); yours is {tuple(mask.shape)}. "
                "Rows need shape (T, 1), columns (1, T): `[:, None]` and `[None, :]`; half of the rule has only one.",
            )
        if mask.dtype != torch.bool:
            raise Wrong(
                "not_bool",
                f"Your mask is {quoted(mask.dtype)}. Return bool: a float mask of ones and zeros is *added* by "
                "PyTorch's attention, and hides nothing (the first trap below).",
            )
        return mask

    diagnose(mask_of)
    return "Every split of every length from 0 to 7 agrees with the library's mask."


for _name, _title, _hint, _minutes, _extra in [
    (
        "prefix_mask",
        "Write the mask by its rule",
        "`(j < prefix_len) | (j <= i)`, with i as a column of row numbers and j as a row of column numbers.",
        3,
        False,
    ),
    (
        "prefix_mask_blocks",
        "Write the mask as a triangle and a square",
        "`torch.ones(T, T, dtype=torch.bool).tril()` is the triangle. One assignment with slices makes the square.",
        2,
        True,
    ),
    (
        "prefix_mask_cumsum",
        "Write the mask by counting",
        "Give each token a group number that never falls: 0 in the prefix, then 1, 2, 3. A running sum makes it.",
        4,
        True,
    ),
]:
    exercise(
        _name,
        notebook=NOTEBOOK,
        heading="In code, three ways",
        title=_title,
        objective="prefix_mask.write",
        minutes=_minutes,
        difficulty=2 if _name.endswith("cumsum") else 1,
        hint=_hint,
        solution=globals()[_name],
        extra=_extra,
    )(judge_mask)


# --- Attention under the mask ---


def masked_attention(q, k, v, mask):
    """One solution: scores, mask, softmax, mix."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(~mask, -math.inf)
    return scores.softmax(dim=-1) @ v


def _attention_slips(q, k, v, mask) -> dict[str, tuple[torch.Tensor, str]]:
    """Return the outputs of the usual wrong attentions, each with its reason."""
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    ones = mask.to(q.dtype)
    right = scores.masked_fill(~mask, -math.inf)
    return {
        "product_before_softmax": (
            (scores * ones).softmax(-1) @ v,
            "you multiplied the scores by 0 and 1. A hidden score becomes 0, and exp(0) = 1 still gets weight. "
            "Hide with minus infinity",
        ),
        "added": (
            (scores + ones).softmax(-1) @ v,
            "you added ones and zeros to the scores: that favours allowed keys a little and hides nothing",
        ),
        "masked_after": (
            (scores.softmax(-1) * ones) @ v,
            "you masked after the softmax, so the weights of a row no longer sum to 1. Hide before it",
        ),
        "no_mask": (scores.softmax(-1) @ v, "the mask is not used at all"),
        "mask_inverted": (
            scores.masked_fill(mask, -math.inf).softmax(-1).nan_to_num() @ v,
            "you hid what is allowed: fill where the mask is *not* True",
        ),
        "mask_transposed": (
            scores.masked_fill(~mask.T, -math.inf).softmax(-1) @ v,
            "the mask lies on its side: rows are queries, columns are keys, as in the scores",
        ),
        "no_scale": (
            (right * math.sqrt(q.shape[-1])).softmax(-1) @ v,
            "the scores are not divided by the square root of the head's size, `q.shape[-1] ** 0.5`",
        ),
        "no_root": (
            (right / math.sqrt(q.shape[-1])).softmax(-1) @ v,
            "you divided by the head's size; divide by its square root, `q.shape[-1] ** 0.5`",
        ),
        "wrong_axis": (
            right.softmax(-2).nan_to_num() @ v,
            "the softmax runs over the queries. Each row's weights over its keys must sum to 1: `dim=-1`",
        ),
    }


@exercise(
    "masked_attention",
    notebook=NOTEBOOK,
    heading="Attention under the mask",
    title="Attention under a mask, in five lines",
    objective="prefix_mask.attend",
    minutes=4,
    difficulty=2,
    hint="Scores are q @ k.T divided by the root of the head's size. Fill the hidden ones with -inf, softmax over "
    "the last dimension, then mix v.",
    solution=masked_attention,
)
def judge_masked_attention(fn) -> str:
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(7, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    v = torch.randn(7, 3, generator=generator, dtype=torch.float64)
    mask = masks.prefix_mask(3, 7)
    out, right = fn(q, k, v, mask), masked_attention(q, k, v, mask)
    if not isinstance(out, torch.Tensor) or tuple(out.shape) != (7, 3):
        shape = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise Wrong(
            "shape", f"With q, k (7, 4) and v (7, 3) the output is (7, 3), a mix of values a row; yours is {shape}."
        )
    slips = _attention_slips(q, k, v, mask)
    if out.isnan().any():
        inverted, reason = slips["mask_inverted"]
        if torch.allclose(out.nan_to_num(), inverted, rtol=0, atol=1e-9):
            raise Wrong("mask_inverted", f"There is NaN in your output: {reason}.")
        reason = "a whole row was hidden, and 0/0 is not a number. Which row sees nothing?"
        raise Wrong("nan", f"There is NaN in your output: {reason}")
    if torch.allclose(out, right, rtol=0, atol=1e-9):
        return "It agrees with the definition to nine digits, for prefix and target rows alike."
    for slug, (wrong, reason) in slips.items():
        if torch.allclose(out, wrong, rtol=0, atol=1e-9):
            raise Wrong(slug, f"The output is off by up to {(out - right).abs().max():.2f}: {reason}.")
    row = int((out - right).abs().max(dim=1).values.argmax())
    raise Wrong(
        "values",
        f"The output is off by up to {(out - right).abs().max():.2f}, most in row {row}. Compare the steps one by one.",
    )


# --- The bug hunt: masks found in real projects, the probe is the judge ---


def seen_through(mask: torch.Tensor) -> torch.Tensor:
    """Return what one attention layer under this bool (T, T) mask really reads, by the probe."""

    def layer(x):
        return torch.nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    return probe.visible_inputs(layer, mask.shape[-1])


def suspect_a(prefix_len, total_len):
    """Prefix rows open, target rows causal among themselves."""
    q = torch.arange(total_len)[:, None]
    k = torch.arange(total_len)[None, :]
    return (q < prefix_len) | ((k >= prefix_len) & (q >= k))


def suspect_b(prefix_len, total_len):
    """Fine when the whole input is a prompt; used for training as well."""
    return torch.ones(total_len, total_len, dtype=torch.bool)


def suspect_c(prefix_len, total_len):
    """Token types: 1 marks what is read at once. The answer was marked too."""
    is_prompt = torch.ones(total_len, dtype=torch.bool)
    i = torch.arange(total_len)
    return is_prompt[None, :] | (i[None, :] <= i[:, None])


def suspect_d(prefix_len, total_len, pads):
    """Left padding: columns below `pads` are empty. First the padding, then the prefix."""
    i = torch.arange(total_len)
    mask = (i[None, :] <= i[:, None]) & (i >= pads)[None, :]
    mask[:, :prefix_len] = True
    return mask


def mended_a(prefix_len, total_len):
    """The key decides: a key in the prefix is open to all, any other key only to later queries."""
    return prefix_mask(prefix_len, total_len)


def mended_b(prefix_len, total_len):
    """Training shows the answer, so the answer must be causal."""
    return prefix_mask(prefix_len, total_len)


def mended_c(prefix_len, total_len):
    """Only the prompt is read at once: the first `prefix_len` tokens have type 1."""
    i = torch.arange(total_len)
    is_prompt = i < prefix_len
    return is_prompt[None, :] | (i[None, :] <= i[:, None])


def mended_d(prefix_len, total_len, pads):
    """Open the prefix first, close the padding last."""
    i = torch.arange(total_len)
    mask = i[None, :] <= i[:, None]
    mask[:, :prefix_len] = True
    return mask & (i >= pads)[None, :]


def _judge_bug(suspect, arguments: list[tuple[int, ...]], fn) -> str:
    """Judge a mended mask by what an attention layer under it really sees, against what was claimed."""
    for case in arguments:
        prefix_len, total_len, pads = (*case, 0)[:3]
        mask = fn(*case)
        if (
            not isinstance(mask, torch.Tensor)
            or mask.dtype != torch.bool
            or tuple(mask.shape) != (total_len, total_len)
        ):
            raise Wrong("not_a_mask", f"Return a bool tensor of shape ({total_len}, {total_len}).")
        claimed = masks.prefix_mask(prefix_len, total_len) & (torch.arange(total_len) >= pads)
        seen = seen_through(mask)
        claimed[:pads] = seen[:pads]  # a pad's own output goes nowhere, so it may be anything
        report = probe.compare(seen, claimed)
        if report.ok:
            continue
        where = f"P = {prefix_len}, T = {total_len}" + (f", {pads} pads on the left" if len(case) > 2 else "")
        if all(torch.equal(fn(*c), suspect(*c)) for c in arguments):
            raise Untouched(f"The bug is still in. The probe, at {where}: {report}")
        raise Wrong("leaks" if report.leaks else "blind", f"At {where} the probe still objects: {report}")
    return "The probe sees what the mask promises, and nothing else."


_SPLITS = [(3, 7), (0, 5), (5, 5), (1, 4), (4, 6)]
_PADDED = [(4, 7, 2), (3, 6, 0), (5, 5, 1), (4, 8, 3)]

for _letter, _suspect, _mended, _cases, _title, _hint in [
    (
        "a", suspect_a, mended_a, _SPLITS, "A serving engine's mask",
        "Both halves of the rule ask about the *key*: is it in the prefix, or is it not later than the query?",
    ),
    (
        "b", suspect_b, mended_b, _SPLITS, "A fine-tuning script's mask",
        "Who may see the answer while it is being learnt?",
    ),
    (
        "c", suspect_c, mended_c, _SPLITS, "A data pipeline's token types",
        "`is_prompt` must be True for the first `prefix_len` tokens only.",
    ),
    (
        "d", suspect_d, mended_d, _PADDED, "A padded batch's mask",
        "The last line wins. Which of the two, prefix or padding, must have the last word?",
    ),
]:  # fmt: skip
    exercise(
        f"bug_{_letter}",
        notebook=NOTEBOOK,
        heading="The bug hunt",
        title=_title,
        objective="prefix_mask.hunt",
        minutes=3,
        difficulty=2,
        hint=_hint,
        solution=_mended,
        extra=_letter != "a",
    )(lambda fn, suspect=_suspect, cases=_cases: _judge_bug(suspect, cases, fn))
