"""How the probe calls a function it knows nothing about: what it feeds it, in which shape, and what it refuses."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ._check import short
from .generation import evaluating

SIZES = (1.0, 1 / 16)  # standard deviations of the vectors: small ones find what is saturated at the usual size
MOVE = 16.0  # length of a move, in those: far enough to wake a ReLU from almost anywhere
BUDGET = 2**24  # numbers that one call may hold, roughly: bounds memory, not the result
AGREE = 1e-3  # relative: two ways of calling a function agree if they differ by less; float noise is far below


def module_of(fn) -> nn.Module:
    """Return the Module that fn is, or whose method it is, else an empty one."""
    for one in (fn, getattr(fn, "__self__", None)):
        if isinstance(one, nn.Module):
            return one
    return nn.Module()


@contextmanager
def undisturbed(fn, device: torch.device):
    """Put a Module in eval mode and take no gradients; afterwards all is as before, the random state too."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), evaluating(module_of(fn)):
        yield


def vector_draws(rng, shape: tuple[int, int], dtype: torch.dtype, device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (base, replacement) for ever, each (T, dim): token j is to be moved from base[j] to replacement[j]."""
    while True:
        for size in SIZES:
            base, move = (size * torch.randn(shape, generator=rng, dtype=torch.float64) for _ in range(2))
            here = base.to(device, dtype)
            yield here, (base + MOVE * move).to(device, dtype)
            yield here, (base - MOVE * move).to(device, dtype)


def token_draws(rng, length: int, vocab_size: int, device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (base, replacement) for ever, each (T,): every id is to be replaced by another one."""
    while True:
        base = torch.randint(vocab_size, (length,), generator=rng)
        here = base.to(device)
        for _ in range(2):
            step = torch.randint(1, vocab_size, (length,), generator=rng)
            yield here, ((base + step) % vocab_size).to(device)


class _NoTensorError(ValueError):
    """What fn answered is no tensor."""


class _WrongShapeError(ValueError):
    """What fn answered is a tensor, but not one output per input."""


def as_batch(fn, base: Tensor, other: Tensor, batched: bool | None, tolerance: float) -> tuple[Callable, int]:
    """Return fn as a function of a batch, and how many examples one call of it takes; refuse what cannot be probed.

    base and other are two inputs of one example. A function of one example becomes one of a batch of 1.
    """
    forms = {True: lambda xs: _answer(fn, xs, 1), False: lambda xs: _answer(fn, xs[0], 0)[None]}
    shapes = {form: tuple(base[None].shape if form else base.shape) for form in forms}
    answers, errors = {}, {}
    for form in forms if batched is None else (batched,):
        try:
            with warnings.catch_warnings(action="ignore"):  # one form is likely not what fn was written for
                answers[form] = [forms[form](base[None]) for _ in range(3)]
        except Exception as error:  # whatever it is: fn is unknown, and the other form may work
            errors[form] = error
    for form, error in errors.items():
        if isinstance(error, _WrongShapeError):  # it ran; that the other form fits may be chance
            raise ValueError(str(error) + _ways_out(shapes, answers, errors, form)) from error
    if not answers:
        for error in errors.values():
            if isinstance(error, _NoTensorError):
                raise error
        told = "; ".join(f"of {shapes[form]}: {type(error).__name__}: {error}" for form, error in errors.items())
        raise ValueError(
            f"fn could not be called with a tensor {told} (dim, vocab_size, dtype and device say what it takes)"
        ) from next(iter(errors.values()))
    for first, *again in answers.values():
        for other_time in again:
            check_same(first, other_time, tolerance)
    if len(answers) == 2 and not _agree(answers[True][0], answers[False][0]):
        check_numbers(answers[True][0])
        check_numbers(answers[False][0])
        raise ValueError(
            f"fn answers {tuple(base.shape)} and {tuple(base[None].shape)} differently: pass batched=False if it takes "
            "one example, length first, or batched=True if it takes a batch of them, batch first"
        )
    call = forms[True in answers]
    if True not in answers or not _takes_two(call, base, other, tolerance):
        return call, 1
    length = len(base)
    size = max(answers[True][0].numel(), base.numel(), 8 * length * length)  # 8: heads, whose scores may be largest
    return call, max(1, min(length, BUDGET // size))


def _ways_out(shapes: dict, answers: dict, errors: dict, misshapen: bool) -> str:
    """Return what to add to the error of one form, from what became of the other: it fits, it failed, or neither."""
    other = not misshapen
    if other in answers:
        taken = "a batch, batch first" if other else "one example, length first"
        return f"; if it takes {taken}, pass batched={other}"
    if other in errors and not isinstance(errors[other], (_WrongShapeError, _NoTensorError)):
        return f"; with {shapes[other]} it raises {type(errors[other]).__name__}: {errors[other]}"
    return ""


def _answer(fn, x: Tensor, batch_dims: int) -> Tensor:
    out = fn(x.clone())  # a function that writes into its input spoils a copy only
    if isinstance(out, (tuple, list)) and len(out) > 0:
        out = out[0]
    wanted = tuple(x.shape[: batch_dims + 1])
    if not isinstance(out, Tensor):
        what = "None" if out is None else f"an object of type {type(out).__name__}"
        raise _NoTensorError(f"fn returned {what}; return a tensor{_way_in(out, x)}")
    if tuple(out.shape[: batch_dims + 1]) != wanted:
        raise _WrongShapeError(f"fn answers {tuple(x.shape)} with {tuple(out.shape)}, not one output per input")
    return out.detach().clone()  # and one that returns the same buffer again writes into that only


def _way_in(out, x: Tensor) -> str:
    """Return how the tensor may be reached that is in what a model answered, as an example in words; "" if unknown."""
    if hasattr(out, "logits"):
        path = ".logits"
    elif isinstance(out, dict) and (keys := [key for key, value in out.items() if isinstance(value, Tensor)]):
        path = f"[{short('logits' if 'logits' in keys else keys[0])}]"
    else:
        return ""
    name = "x" if x.is_floating_point() else "ids"
    return f", for example lambda {name}: model({name}){path}"


def _agree(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape or (one.isnan() != two.isnan()).any():
        return False
    one, two = one.double(), two.double()
    size = max((x[x.isfinite()].abs().max().item() for x in (one, two) if x.isfinite().any()), default=0.0)
    return not ((one - two).abs() > AGREE * size).any()  # inf - inf is NaN, and no more than anything


def _takes_two(call: Callable, base: Tensor, other: Tensor, tolerance: float) -> bool:
    """Tell whether fn takes two examples at once; refuse it if they see each other."""
    try:
        same = call(torch.stack([base, base]))
    except Exception:  # a mask or a cache made for one example; then it gets one at a time
        return False
    for changed, pair in ((1, [base, other]), (0, [other, base])):
        if differ(call(torch.stack(pair)), same, tolerance)[1 - changed].any():
            raise ValueError(
                f"the examples of a batch see each other: example {1 - changed} moved when only example {changed} did. "
                "Is the layout of fn (length, batch, features)? It must be batch first; or probe a function of one "
                "example, with batched=False"
            )
    return True


def differ(one: Tensor, two: Tensor, tolerance: float) -> Tensor:
    """Return where two answers (N, T, ...) differ by more than the tolerance, as bool (N, T); NaN tells nothing."""
    apart = (one != two) & ~one.isnan() & ~two.isnan()  # a far move may overflow: inf - inf is no sign of sight
    if tolerance > 0:
        apart &= ~((one.double() - two.double()).abs() <= tolerance)
    return apart.flatten(2).any(-1) if apart.dim() > 2 else apart


def check_numbers(answer: Tensor) -> None:
    """Refuse an answer (N, T, ...) that has NaN in it, which would hide whatever moves."""
    nan = answer.isnan().flatten(2).any(-1) if answer.dim() > 2 else answer.isnan()
    if nan.any():
        place = int(nan.any(0).nonzero()[0])
        raise ValueError(f"output {place} of fn is NaN, which tells nothing: is it a softmax over no keys?")


def check_same(one: Tensor, two: Tensor, tolerance: float) -> None:
    """Refuse a function that answers the same input in two ways."""
    if differ(one, two, tolerance).any():
        gap = (one.double() - two.double()).abs().nan_to_num().max()
        raise ValueError(
            f"fn answers the same input differently, by up to {gap:.2g}. It is random, as dropout is in training mode "
            "(call .eval() on the model in it), or it remembers earlier calls, as a cache does. Where that is float "
            "noise, pass a tolerance above it"
        )
