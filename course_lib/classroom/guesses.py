"""What a guess may be, and what is said of it beside the truth. Nothing here shows or stores anything."""

import math
from fractions import Fraction

from .._check import short
from .grading import RefusedError, parse_number


def validate(entry: dict, value):
    """Return a guess as it is kept: a number (int where it is whole), an option, or a list of numbers, one for each x.

    Raises RefusedError, in words, for anything else; nothing is clamped or rounded.
    """
    if entry["kind"] == "choice":
        if not isinstance(value, str) or value not in entry["options"]:
            raise RefusedError("Choose one of the answers first.")
        return value
    if entry["kind"] == "number":
        return _in_range(entry, value)
    if not isinstance(value, list) or len(value) != len(entry["xs"]):
        raise RefusedError(f"Give a value for each of the {len(entry['xs'])} places.")
    return [_in_range(entry, each) for each in value]


def compare(entry: dict, value, truth) -> str:
    """Say a guess beside the truth, or alone where `truth` is None."""
    if entry["kind"] == "choice":
        said = f"Your guess: {value.rstrip('.')}."
        return said if truth is None else f"{said} That is right." if value == truth else f"{said} It is: {truth}"
    unit = f" {entry['unit']}" if "unit" in entry else ""
    if entry["kind"] == "number":
        said = f"Your guess: {_say(value)}{unit}."
        if truth is None or value == truth:
            return said if truth is None else f"{said} Exactly right."
        return (
            f"{said} It is {_say(truth)}{unit}: your guess is {_say(abs(value - truth))} too "
            f"{'large' if value > truth else 'small'}."
        )
    if truth is None:
        return f"Your guess: {', '.join(map(_say, value))}{unit}."
    off = [abs(guess - true) for guess, true in zip(value, truth, strict=True)]
    if not any(off):
        return "Your guess is exactly right everywhere."
    worst, best = off.index(max(off)), off.index(min(off))
    x_label, xs = entry["x_label"], entry["xs"]
    return (
        f"Your guess is closest at {x_label} = {_say(xs[best])} (off by {_say(off[best])}{unit}) "
        f"and furthest at {x_label} = {_say(xs[worst])}: {_say(value[worst])}{unit}, "
        f"where it is {_say(truth[worst])}{unit}."
    )


def _in_range(entry: dict, value):
    number = parse_number(value, entry.get("unit", "")) if isinstance(value, str) else value
    whole = isinstance(number, int | Fraction) and not isinstance(number, bool)
    if not whole and not (isinstance(number, float) and math.isfinite(number)):
        raise RefusedError("A finite number is wanted here.")
    low, high, step = (Fraction(str(entry[name])) for name in ("min", "max", "step"))
    if not low <= number <= high:
        raise RefusedError(f"Between {_say(entry['min'])} and {_say(entry['max'])}, please.")
    exact = number if isinstance(number, Fraction) else Fraction(str(number))
    if ((exact - low) / step).denominator != 1:
        raise RefusedError(f"In steps of {_say(entry['step'])} from {_say(entry['min'])}, please.")
    return int(exact) if exact.denominator == 1 else float(exact)


def check_truth(entry: dict, truth):
    """Check the truth that a lesson gives; it may lie between steps, but must be of the guess's kind."""
    if entry["kind"] == "choice":
        if not isinstance(truth, str) or truth not in entry["options"]:
            raise ValueError(
                f"truth = {short(truth)}: must be one of the options, {', '.join(map(repr, entry['options']))}"
            )
        return truth
    try:
        numbers = [float(each) for each in ([truth] if entry["kind"] == "number" else truth)]
    except (TypeError, ValueError, OverflowError, RuntimeError):
        numbers = [math.nan]
    wanted = 1 if entry["kind"] == "number" else len(entry["xs"])
    if len(numbers) != wanted or not all(map(math.isfinite, numbers)):
        raise ValueError(
            f"truth = {short(truth)}: must be {'a number' if wanted == 1 else f'{wanted} numbers'}, finite"
        )
    return numbers[0] if entry["kind"] == "number" else numbers


def _say(number: float) -> str:
    return f"{number:,.6g}" if number != int(number) else f"{int(number):,}"
