"""What a model can really see: move one input at a time, and watch which outputs move.

A mask is a promise. Between it and the output may lie an inverted convention, a transposed matrix, a float mask that is
added where a bool one was meant, or a norm over the wrong axis, and none of these raises an error. So look.

To audit a model of your own, in five lines:

    from course_lib import masks, probe
    model.eval()                                               # dropout is noise
    logits = lambda ids: model(ids)                            # token ids (1, T) in, (1, T, anything) out
    seen = probe.visible_inputs(logits, 12, vocab_size=100)    # (12, 12), True where input j moves output i
    print(probe.compare(seen, masks.prefix_mask(5, 12)))       # "LEAK: output 0 is moved by input 5, which ..."

A layer on vectors is probed in the same way, with `dim=` in place of `vocab_size=`.

Over several layers an output sees what its neighbours saw. Prefix, causal and packed masks stay as they are; another (a
sliding window, say) reaches further with each layer: compare with `mask.double().matrix_power(layers) > 0`.
So a mask that is kept is kept by all layers together. Which layers have it cannot be seen: a prefix mask in the first
layer alone, and causal masks after it, look like prefix masks throughout.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from ._check import real_number, room, short, shown, usable_device, whole_number, whole_numbers
from ._probing import as_batch, check_numbers, check_same, differ, module_of, token_draws, undisturbed, vector_draws
from .masks import Visibility


def visible_inputs(
    fn: Callable[[Tensor], Tensor],
    length: int,
    *,
    dim: int | None = None,
    vocab_size: int | None = None,
    batched: bool | None = None,
    trials: int = 8,
    seed: int = 0,
    tolerance: float = 0.0,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return which inputs move which outputs of fn: bool (T, T) on the CPU, [i, j] = True if input j moves output i.

    fn          any function or nn.Module of one tensor: vectors (T, dim) or, with vocab_size, token ids (T,); or a
                batch of them, (B, T, dim) or (B, T). It returns (T, ...) or (B, T, ...); of a tuple, the first entry
                counts. A Module is probed in eval mode, and left as it was.
    length      T, the number of tokens.
    dim         features of a vector, 8 unless given.
    vocab_size  the ids are 0..vocab_size - 1.
    batched     whether fn takes a batch. None tries both ways, and asks you (a ValueError) if both run and disagree, or
                if one runs but does not return one output per input.
    trials      how often each token is moved. Vectors go one way and back the other, at two sizes, so that a ReLU that
                is dead or a unit that is saturated in one place hides no input.
    tolerance   the largest absolute change that counts as none, at most 1e18. 0 is right where equal inputs give equal
                bits, and on a CPU they do: outputs are compared only between calls of one shape, each row with the same
                row.
    dtype, device   of the vectors; a Module's own unless given, else float32 on the CPU.

    A move that is seen is certain. One that is not may be too small for the dtype, or meet parts of fn that were dead
    in every trial: more trials and float64 tell. A trial costs T + 1 calls of one example, or as much in batches; a few
    calls come before. The result depends on the seed alone; the random state and all gradients stay as they are.

    Raises ValueError, in words, if fn is random or remembers earlier calls, if the examples of a batch see each other,
    if an output is NaN, if fn takes or returns other shapes than these, or is on the meta device.
    """
    length, trials = whole_number("length", length), whole_number("trials", trials, low=1)
    seed, device = whole_number("seed", seed), usable_device("device", device)
    tolerance = real_number("tolerance", tolerance, low=0, high=1e18)
    _check_options(fn, dim, vocab_size, batched, dtype)
    room("length", length, length**2)
    room("length" if dim is None else "dim", dim or length, 8 * length * (dim or 8))
    seen = torch.zeros(length, length, dtype=torch.bool)
    if length == 0:
        return seen
    own = next((p for p in module_of(fn).parameters() if p.is_floating_point()), torch.empty(0))
    device = torch.empty(0, device=own.device if device is None else device).device
    if "meta" in (device.type, own.device.type):
        raise ValueError("fn and device must be where tensors hold numbers, got the meta device, which has none")

    def draws():
        rng = torch.Generator().manual_seed(seed)
        if vocab_size is not None:
            return token_draws(rng, length, vocab_size, device)
        return vector_draws(rng, (length, dim or 8), own.dtype if dtype is None else dtype, device)

    with undisturbed(fn, device):
        call, rows = as_batch(fn, *next(draws()), batched, tolerance)
        last_base = last_still = None
        for base, replacement in islice(draws(), trials):
            still = call(base.expand(rows, *base.shape))  # the base in each row, so that like is compared with like
            check_numbers(still)
            if base is last_base:
                check_same(last_still, still, tolerance)
            last_base, last_still = base, still
            for start in range(0, length, rows):
                moved = torch.arange(start, min(start + rows, length), device=device)
                batch = base.expand(rows, *base.shape).clone()
                batch[moved - start, moved] = replacement[moved]  # each example differs from the base in one token
                seen[:, start : start + rows] |= differ(call(batch), still, tolerance)[: len(moved)].T.cpu()
    return seen


@dataclass(frozen=True, repr=False)
class Report:
    """How what was seen differs from what was claimed; printed, it says so in words.

    leaks   (output, input) pairs that were seen but not claimed, by output, then by input.
    blind   pairs that were claimed but not seen.
    length  T, the number of tokens.
    rows    the outputs that were compared, in order; None for all of them.
    ahead   whether the first leak is of what comes later in the same text, not of padding or another document.
    """

    leaks: tuple[tuple[int, int], ...]
    blind: tuple[tuple[int, int], ...]
    length: int
    rows: tuple[int, ...] | None = None
    ahead: bool = False

    @property
    def ok(self) -> bool:
        """Whether the claim holds for every pair."""
        return not self.leaks and not self.blind

    @property
    def first_leak(self) -> tuple[int, int] | None:
        """The first leaking (output, input), or None."""
        return self.leaks[0] if self.leaks else None

    @property
    def first_blind(self) -> tuple[int, int] | None:
        """The first blind (output, input), or None."""
        return self.blind[0] if self.blind else None

    def __str__(self) -> str:
        if self.ok:
            compared = f"{self.length} outputs" if self.rows is None else f"{len(self.rows)} outputs compared"
            return f"The mask is kept: each of the {compared} is moved by all that it may see, and no more."
        lines = []
        if self.first_leak:
            i, j = self.first_leak
            meaning = (
                "It is told what comes later: trained so, it copies the answer and never learns to predict it."
                if self.ahead
                else "It reads what it should not know, such as padding or another document."
            )
            place = f"LEAK: output {i} is moved by input {j}, which the mask hides from it"
            lines.append(f"{place}{_of(self.leaks)}. {meaning}")
        if self.first_blind:
            i, j = self.first_blind
            lines.append(
                f"BLIND: output {i} is not moved by input {j}, which the mask shows it{_of(self.blind)}. "
                "What that input says is lost to it."
            )
        return "\n".join(lines)

    __repr__ = __str__  # a notebook shows the last value of a cell by its repr


def compare(seen: Tensor, claimed: Tensor | Visibility, *, rows=None) -> Report:
    """Compare what `visible_inputs` saw with the mask that was claimed; both bool (T, T), rows are outputs.

    claimed     may be a `Visibility` of one example, too. A mask may have leading dimensions of 1: (1, 1, T, T).
    rows        the outputs that count: None for all, or a list, range or integer tensor of some of 0..T - 1. The output
                of a padding token is of no use to anyone, but its own input moves it, past the attention; and a mask
                may say that it looks at the text, or at nothing.

    Seven tokens, of which the last two are padding:

    >>> claimed = Visibility(3, lengths=[5])
    >>> attend = torch.nn.functional.scaled_dot_product_attention
    >>> seen = visible_inputs(lambda x: x + attend(x, x, x, attn_mask=claimed.mask(7)[0]), 7)
    >>> compare(seen, claimed).first_leak
    (5, 5)
    >>> print(compare(seen, claimed, rows=range(5)))
    The mask is kept: each of the 5 outputs compared is moved by all that it may see, and no more.

    That a mask is kept says nothing of each layer: see the module.

    TypeError or ValueError for what is no such mask, for masks of two sizes, and for rows that are none.
    """
    seen = _one_mask("seen", seen)
    if isinstance(claimed, Visibility):
        claimed.check(len(seen), "the length of seen")
        claimed = claimed.mask(len(seen))
    claimed = _one_mask("claimed", claimed)
    if seen.shape != claimed.shape:
        raise ValueError(f"claimed must have the shape of seen, {tuple(seen.shape)}, got {tuple(claimed.shape)}")
    wrong = seen ^ claimed
    if rows is not None:
        rows = tuple(sorted(set(whole_numbers("rows", rows, high=len(seen) - 1))))
        if not rows:
            raise ValueError("rows must name at least one output: a comparison of none would always be right")
        wrong &= torch.zeros(len(seen), 1, dtype=torch.bool).index_fill(0, torch.tensor(rows), value=True)
    leaks, blind = (tuple(map(tuple, pairs.nonzero().tolist())) for pairs in (wrong & seen, wrong & claimed))
    return Report(leaks, blind, len(seen), rows, bool(leaks) and _ahead(claimed, *leaks[0]))


def _ahead(claimed: Tensor, i: int, j: int) -> bool:
    """Tell whether input j comes after output i in the same text, as far as the mask says: else it is padding, which no
    output may see, or there is a place between the two that nothing looks across.
    """
    apart = any(not (claimed[p:, :p].any() or claimed[:p, p:].any()) for p in range(i + 1, j + 1))
    return j > i and bool(claimed[:, j].any()) and not apart


def _one_mask(name: str, value) -> Tensor:
    """Return a mask as bool (T, T) on the CPU, without leading dimensions of 1."""
    if not isinstance(value, Tensor) or value.dtype != torch.bool:
        also = ", or a Visibility" if name == "claimed" else ""
        raise TypeError(f"{name} must be a bool tensor (T, T){also}, got {shown(value)}")
    one = value
    while one.dim() > 2 and len(one) == 1:
        one = one[0]
    if one.dim() != 2 or one.shape[0] != one.shape[1]:
        raise ValueError(f"{name} must be (T, T), got shape {tuple(value.shape)}; of a batch, compare one by one")
    return one.cpu()


def _of(pairs: tuple) -> str:
    return f" (the first of {len(pairs)} such pairs)" if len(pairs) > 1 else ""


def _check_options(fn, dim, vocab_size, batched, dtype) -> None:
    if not callable(fn):
        raise TypeError(f"fn must be a function or an nn.Module, got {shown(fn)}")
    if dim is not None and vocab_size is not None:
        raise ValueError(
            f"give dim for vectors or vocab_size for token ids, not both: got {short(dim)} and {short(vocab_size)}"
        )
    if dim is not None:
        whole_number("dim", dim, low=1)
    if vocab_size is not None:
        whole_number("vocab_size", vocab_size, low=2)
    if not (batched is None or isinstance(batched, bool)):
        raise TypeError(f"batched must be True, False or None, got {shown(batched)}")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise TypeError(f"dtype must be a floating-point torch.dtype, got {short(dtype)}")
