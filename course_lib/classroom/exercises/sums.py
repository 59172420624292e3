"""What the judges of linear attention share, in lessons 06 and 07: an answer is compared with sums over pairs.

Linear attention without a normaliser is a sum over pairs, each counted some number of times: `(q k^T * counts) v`. So a
slip is mostly a matrix of counts, and with the identity matrix for v an answer shows its own.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .engine import Untouched, Wrong
from .watch import Watch

Slips = dict[str, tuple[list[Tensor], str]]  # slug -> the outputs that show it, and what went wrong


def tensors(total_len: int, key_dim: int, value_dim: int, seed: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, k (T, Dk) and v (T, Dv), as a feature map may have left them; float64."""
    rng = torch.Generator().manual_seed(seed)
    shapes = ((total_len, key_dim), (total_len, key_dim), (total_len, value_dim))
    return tuple(torch.randn(shape, dtype=torch.float64, generator=rng) for shape in shapes)


def close(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors of one shape are equal but for rounding; NaN equals NaN."""
    return a.shape == b.shape and torch.allclose(a, b, equal_nan=True)


def called(fn: Callable, *arguments):
    """Call fn with copies of the tensors; speak of mixed dtypes, and of arguments that were changed."""
    copies = [one.clone() if isinstance(one, Tensor) else one for one in arguments]
    try:
        result = fn(*copies)
    except Wrong as wrong:
        if wrong.slug == "raised" and ("dtype" in wrong.message or "scalar type" in wrong.message):
            raise Wrong("dtype", f"{wrong.message} {_ZEROS}") from None
        raise
    for given, copy in zip(arguments, copies, strict=True):
        if isinstance(given, Tensor) and not close(given, copy):
            raise Wrong("changes_input", "Your function writes into the tensors it is given. Make new ones.")
    return result


_ZEROS = (
    "q, k and v are float64 here, and plain `torch.zeros` makes float32: write `q.new_zeros(...)`, which takes the "
    "dtype of q."
)


def check_tensor(out, shape: tuple[int, ...], told: str) -> None:
    """Refuse what is no float64 tensor of this shape."""
    if out is ...:
        raise Untouched
    if isinstance(out, list | tuple):
        if any(one is ... for one in out):
            raise Untouched
        if len(out) == shape[0] and all(isinstance(one, Tensor) for one in out):
            raise Wrong("list", f"You return {shape[0]} rows apart from each other: `torch.stack` makes one tensor.")
    if not isinstance(out, Tensor):
        raise Wrong("shape", f"{told}, return one tensor of shape {shape}; you return a {type(out).__name__}.")
    if tuple(out.shape) == (math.prod(shape),) and out.dim() < len(shape) and shape[0] > 1:
        raise Wrong("joined", "The rows are joined to one long row. `torch.stack` puts them one below the other.")
    if tuple(out.shape) == shape[1:]:
        raise Wrong("last_row", "You return one row alone, and each token has its own. Collect them, then stack them.")
    if tuple(out.shape) != shape:
        raise Wrong("shape", f"{told}, the output has the shape {shape}; yours is {tuple(out.shape)}.")
    if out.dtype != torch.float64:
        raise Wrong("dtype", f"Your output is {str(out.dtype).removeprefix('torch.')}. {_ZEROS}")


def check_values(out: Tensor, right: Tensor, slips: Slips, told: str, more: Callable[[], str] = str) -> None:
    """Refuse an output that is not right; say which slip it is, or where it is off, and more if that is known."""
    if close(out, right):
        return
    for slug, (outputs, why) in slips.items():
        if any(close(out, one) for one in outputs):
            raise Wrong(slug, f"{told}, your output is a known one: {why}.")
    row = int((out - right).abs().nan_to_num(math.inf).amax(1).argmax())
    words = more() or f"Its row {row} is off by up to {(out - right)[row].abs().max():.2f}."
    raise Wrong("values", f"{told}, the output is not right. {words}")


def of_pairs(q: Tensor, k: Tensor, v: Tensor, slips: dict[str, tuple[list[Tensor], str]]) -> Slips:
    """Return what each matrix of counts (T, T) makes of q, k and v."""
    return {slug: ([(q @ k.T * one) @ v for one in counts], why) for slug, (counts, why) in slips.items()}


def counts_of(fn: Callable, q: Tensor, k: Tensor, *rest) -> Tensor | None:
    """Return how often each key counts for each query, (T, T) whole numbers; None if the output is no such sum."""
    try:
        weights = called(fn, q, k, torch.eye(len(q), dtype=q.dtype), *rest)
    except Wrong:  # with values of another width it fails: what went wrong is told of the learner's own case
        return None
    if not isinstance(weights, Tensor) or weights.shape != (len(q), len(q)):
        return None
    counts = weights / (q @ k.T)
    return counts.round().long() if torch.allclose(counts, counts.round(), atol=1e-6) else None


def told_pairs(counts: Tensor, right: Tensor) -> str:
    """Say of the query that differs most (the last of them) which keys it sees, misses, must not see, counts twice."""
    off = (counts != right).sum(1)
    if not off.any():
        return ""
    query = len(off) - 1 - int(off.flip(0).argmax())
    mine, wanted = counts[query], right[query].long()
    seen, missed = _runs(mine != 0), _runs((mine == 0) & (wanted != 0))
    words = f"the query at {query} sees {seen or 'no key'}"
    if missed:
        words += f", but not {missed.split(' ', 1)[1]}"
    if hidden := _runs((mine != 0) & (wanted == 0)):
        words += f"; {hidden} must stay hidden from it"
    if double := _runs(mine > wanted.clamp(min=1)):
        words += f"; {double} counted more than once"
    return f"{words[0].upper()}{words[1:]}."


def _runs(chosen: Tensor) -> str:
    """Return "keys 0 to 3 and 8", "key 2", or nothing."""
    places = chosen.nonzero()[:, 0].tolist()
    starts = [i for i in places if i - 1 not in places]
    stops = [i for i in places if i + 1 not in places]
    runs = [f"{a} to {b}" if b > a else f"{a}" for a, b in zip(starts, stops, strict=True)]
    return f"{'key' if len(places) == 1 else 'keys'} {' and '.join(runs)}" if runs else ""


def check_no_square(fn: Callable, q: Tensor, k: Tensor, v: Tensor, *rest) -> Watch:
    """Refuse a T x T tensor, or its entries computed some other way; T is far above Dk and Dv here."""
    with Watch() as watch:
        fn(q, k, v, *rest)
    total = len(q)
    if watch.largest.numel() >= total**2:
        raise Wrong(
            "quadratic",
            f"The numbers are right, but for T = {total} you made a tensor of shape {tuple(watch.largest)}. Add the "
            f"keys and values up instead: the sum has Dk x Dv entries, here {k.shape[1] * v.shape[1]}, whatever T is.",
        )
    return watch
