"""Arguments are checked here and nowhere else, so that every part refuses the same things in the same words.

A length is a Python or NumPy integer; many of them are a list, a tuple, or a one-dimensional integer array or tensor.
A bool is not a length, nor is 3.0: each is far more often a slip than a wish. torch is imported only where a tensor is
made.
"""

import math
import reprlib
from numbers import Integral, Real

LARGEST = 2**63 - 1  # what a tensor can hold and be as long as
_MOST_BYTES = 2**40  # of one tensor: what asks for more is a slip, and torch would only say that it cannot allocate
_LONGEST_INT = 2**128  # a longer one is told by its length: Python itself refuses to print more than 4300 digits


def short(value) -> str:
    """Return a value in a few characters, whatever it is: nothing is executed by showing it, and no repr is trusted."""
    if isinstance(value, int) and abs(value) >= _LONGEST_INT:
        digits = int(value.bit_length() * 0.30103) + 1
        return f"{'-' if value < 0 else ''}(a number of about {digits:,} digits)"
    try:
        text = reprlib.repr(value)
    except Exception:  # a repr of somebody's own
        text = object.__repr__(value)
    return text if len(text) <= 120 else f"{text[:100]} ... {text[-10:]}"


def shown(value) -> str:
    """Return a value as an error message shows it: short, and a tensor by its shape."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        where = f" on {value.device}" if hasattr(value, "device") else ""
        return f"{type(value).__name__} of shape {_shape(value)} and type {short(value.dtype)}{where}"
    return f"{short(value)} ({type(value).__name__})"


def _shape(value) -> str:
    return short(tuple(value.shape) if isinstance(value.shape, tuple) else value.shape)


def whole_number(name: str, value, *, low: int = 0, high: int | None = None, high_name: str = "") -> int:
    """Return `value` as an int between `low` and `high`, both included; say what is wrong otherwise."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, got {shown(value)}")
    if high is None and value > LARGEST:
        raise ValueError(f"{name} must be at most {LARGEST}, got {short(value)}")
    if value < low or (high is not None and value > high):
        top = "" if high is None else f"{high_name} = {high}" if high_name else f"{high}"
        allowed = f"from {low} to {top}" if top else f"at least {low}"
        raise ValueError(f"{name} must be {allowed}, got {short(value)}")
    return int(value)


def whole_numbers(name: str, value, *, high: int | None = None, high_name: str = "", or_one: bool = False) -> list[int]:
    """Return a list, tuple, range, or one-dimensional integer array or tensor as a list of checked ints.

    or_one: for the error, that the caller takes a single number too. A tensor on an accelerator is copied to the host
    for this, which waits for the device once.
    """
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        value = _integers(name, value, 1)
    elif not isinstance(value, (list, tuple, range)):
        allowed = "a whole number, or a list or tensor of them" if or_one else "a list or tensor of whole numbers"
        raise TypeError(f"{name} must be {allowed}, got {shown(value)}")
    return [whole_number(f"{name}[{i}]", one, high=high, high_name=high_name) for i, one in enumerate(value)]


def one_or_each(name: str, value, batch: int, *, high: int | None = None, high_name: str = "") -> int | list[int]:
    """Return a length that all of `batch` examples share as an int, else a list of one for each of them."""
    if is_whole_number(value):
        return whole_number(name, value, high=high, high_name=high_name)
    numbers = whole_numbers(name, value, high=high, high_name=high_name, or_one=True)
    if len(numbers) != batch:
        raise ValueError(f"{name} must have one entry for each of the {batch} examples, got {len(numbers)}")
    return numbers[0] if len(set(numbers)) == 1 else numbers


def pairs(name: str, value) -> list[tuple[int, int]]:
    """Return a list or tuple of (start, end), or an integer array or tensor (N, 2), as a list of pairs of ints."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        value = _integers(name, value, 2)
    elif not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} must be a list of (start, end), got {shown(value)}")
    checked = [tuple(whole_numbers(f"{name}[{i}]", one)) for i, one in enumerate(value)]
    for i, pair in enumerate(checked):
        if len(pair) != 2:
            raise ValueError(f"{name} must be (start, end) each, got {short(pair)} as {name}[{i}]")
    return checked


def _integers(name: str, value, dimensions: int) -> list:
    """Return the values of an integer array or tensor."""
    if len(value.shape) != dimensions or not str(value.dtype).removeprefix("torch.").startswith(("int", "uint")):
        what = {1: "one-dimensional", 2: "two-dimensional"}[dimensions]
        error = ValueError if len(value.shape) != dimensions else TypeError
        one = f"; for one number write int({name})" if len(value.shape) == 0 else ""
        raise error(f"{name} must be {what} and hold integers, got {shown(value)}{one}")
    if str(getattr(value, "device", "")) == "meta":
        raise ValueError(f"{name} is on the meta device, which holds no values to read")
    if str(getattr(value, "layout", "torch.strided")) != "torch.strided":
        raise TypeError(f"{name} must be a dense tensor, got one of layout {value.layout}")
    return value.tolist()


def real_number(
    name: str, value, *, low: float | None = None, high: float | None = None, above: bool = False, below: bool = False
) -> float:
    """Return a finite number as a float, from `low` to `high`: both included, but `low` not with `above`, and `high`
    not with `below`. TypeError for what is no number, and for a bool; ValueError for one that is not allowed.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {shown(value)}")
    try:
        number = float(value)
    except OverflowError:  # a whole number or a fraction beyond what a float holds
        number = math.inf
    under = low is not None and (number < low or (above and number == low))
    over = high is not None and (number > high or (below and number == high))
    if under or over or not math.isfinite(number):
        limits = [] if high is not None and low is not None else ["finite"]
        limits += [] if low is None else [f"{'above' if above else 'at least'} {low}"]
        limits += [] if high is None else [f"{'below' if below else 'at most'} {high}"]
        raise ValueError(f"{name} must be {' and '.join(limits)}, got {short(value)}")
    return number


def one_of(name: str, value, allowed):
    """Return a choice that there is; refuse any other, whatever it is, and name those that there are."""
    if not isinstance(value, str) or value not in allowed:
        between = "; " if any("," in one for one in allowed) else ", "
        raise ValueError(f"{name} must be one of {between.join(allowed)}, got {short(value)}")
    return value


def room(name: str, value: int, wanted: int) -> None:
    """Refuse, before anything is allocated, an argument that asks for more than a TiB."""
    if wanted > _MOST_BYTES:
        raise ValueError(f"{name} = {short(value)} is too large: it asks for {wanted / 2**40:,.0f} TiB of memory")


def room_of_weight(**sizes: int) -> None:
    """Refuse, before it is made, a weight that fills more than a TiB in float32; its sizes are told by their names."""
    numbers = math.prod(sizes.values())
    room(" * ".join(sizes), numbers, 4 * numbers)


def check_generator(generator) -> None:
    """Refuse what is neither None nor a torch.Generator on the CPU, where all draws are made."""
    import torch

    if generator is not None and not (isinstance(generator, torch.Generator) and generator.device.type == "cpu"):
        raise TypeError(f"generator must be a torch.Generator on the CPU, or None, got {shown(generator)}")


def usable_device(name: str, value, *, in_use: bool = True):
    """Return None, or a device that torch can put a tensor on; refuse any other, with the reason that torch gives.

    in_use=False asks for the name of a device alone.
    """
    import torch

    if value is None or isinstance(value, torch.device):
        return value
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise TypeError(f'{name} must be a torch.device, or the name of one, such as "cpu", got {shown(value)}')
    try:
        return torch.empty(0, device=value).device if in_use else torch.device(value)
    except (RuntimeError, AssertionError, TypeError, ValueError, OverflowError) as error:  # torch raises each of them
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{name} must be a device that torch can use here, got {short(value)}: {reason:.150}"
        ) from None


def is_whole_number(value) -> bool:
    """Tell a single length from several of them; a bool is neither, and is refused by the checks above."""
    return isinstance(value, Integral)


def check_flag(name: str, value) -> bool:
    """Return True or False; nothing else is taken for one of them."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be True or False, got {shown(value)}")
    return value


def mixed_seed(seed, step) -> int:
    """Return the seed of one step of a run, 0..2**63 - 1: torch takes no longer one, however large the two are."""
    return (whole_number("seed", seed) * 1_000_003 + whole_number("step", step)) % 2**63


def check_device(name: str, value, device) -> None:
    """Refuse a tensor that is not on `device`; what is no tensor lies nowhere, and None is any device."""
    import torch

    if isinstance(value, torch.Tensor) and device is not None:
        wanted = torch.empty(0, device=device).device  # "cuda" becomes "cuda:0", so that the two can be compared
        if value.device != wanted:
            raise ValueError(f"{name} is on {value.device}, but {wanted} is needed: move it with .to({str(wanted)!r})")


def length_tensor(name: str, value, *, high: int | None = None, high_name: str = "", device=None, or_one: bool = False):
    """Return several lengths as an int64 tensor (B,) on `device`; or_one as in `whole_numbers`.

    A tensor must lie there already; a list goes there. `device=None` means where the tensor is, and the CPU for a list.
    """
    import torch

    check_device(name, value, device)
    numbers = whole_numbers(name, value, high=high, high_name=high_name, or_one=or_one)
    if isinstance(value, torch.Tensor):
        return value.to(torch.int64)
    return torch.tensor(numbers, dtype=torch.int64, device=device)
