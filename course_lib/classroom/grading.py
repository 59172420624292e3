"""The quiz engine: an answer from the browser goes in, what to say comes out. Nothing here shows or stores anything.

A response is what the browser sends, so it may be anything: `grade` raises `RefusedError`, in words for the learner,
for whatever is no answer at all; that does not count as a try. Responses by kind:

choice: the option's index. choices: the indexes chosen. number: the text typed. mask: T rows of T zeros and ones.
order: a permutation of the indexes *as shown* (see `shown_order`). words: {"text": ..., "ticks": indexes ticked}.
"""

import hashlib
import re
from dataclasses import dataclass, field
from fractions import Fraction

MAX_WORDS = 4000


class RefusedError(ValueError):
    """This cannot be graded; the message tells the learner why."""


@dataclass(frozen=True)
class Grade:
    """`feedback` is a list of rich texts, one a paragraph."""

    right: bool
    feedback: list = field(default_factory=list)


def grade(question: dict, response) -> Grade:
    """Grade one response to one question of a bank."""
    return _GRADERS[question["kind"]](question, response)


def reveal(question: dict) -> dict:
    """Return the right answer, as the view needs it."""
    kind = question["kind"]
    if kind in ("choice", "choices"):
        return {"right": [i for i, option in enumerate(question["options"]) if option.get("right")]}
    if kind == "number":
        return {"text": " ".join(filter(None, [_number_text(_exact(question["answer"])), question.get("unit")]))}
    if kind == "mask":
        return {"rows": target_rows(question["target"])}
    if kind == "order":
        shown = shown_order(question)
        return {"order": sorted(range(len(shown)), key=shown.__getitem__)}
    return {"model": question["model"], "checklist": question["checklist"]}


def shown_order(question: dict) -> list[int]:
    """Return which item stands at each place when an order question is new: always the same, never already right."""
    items = list(range(len(question["items"])))
    shuffled = sorted(items, key=lambda i: hashlib.sha256(f"{question['id']}/{i}".encode()).digest())
    return shuffled if shuffled != items else shuffled[1:] + shuffled[:1]


def target_rows(target: dict) -> list[list[int]]:
    """Return a mask question's target as rows of zeros and ones, from the library's own masks."""
    from .. import masks  # brings torch: only where a mask is graded

    kind, total = target.get("kind", "prefix"), target.get("total_len")
    if kind == "packed":
        mask = masks.packed_prefix_mask(target["prefix_lens"], target["document_lens"])
    elif kind == "prefix":
        mask = masks.prefix_mask(target["prefix_len"], total)
    else:
        mask = masks.causal_mask(total) if kind == "decoder" else masks.bidirectional_mask(total)
    return mask.int().tolist()


_NUMBER = r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d*)?(?:[eE][+-]?\d{1,2})?"


def parse_number(text: str, unit: str = "") -> Fraction:
    """Read a number exactly as typed: 31, 31.0, 1,024 (commas between thousands), 1e3, 9/16, or with the unit after it.

    Raises RefusedError for anything else: words, nan, infinity, more than 40 characters, 10^15 and more.
    """
    if not isinstance(text, str) or not text.strip():
        raise RefusedError("Type a number first.")
    if len(text) > 40:
        raise RefusedError("That is too long for a number: at most 40 characters.")
    text = text.strip().replace("\u2212", "-")
    if unit and text.lower().endswith(unit.lower()):
        text = text[: -len(unit)].strip()
    if re.fullmatch(r"[+-]?(nan|inf(inity)?|\u221e)", text, re.IGNORECASE):
        raise RefusedError("A finite number is wanted here.")
    if re.fullmatch(r"[+-]?\d+,\d+", text) and not re.fullmatch(_NUMBER, text, re.ASCII):
        raise RefusedError(
            f"Write decimals with a point, {text.replace(',', '.')}; commas only part thousands, as in 1,024."
        )
    parts = [part.strip() for part in text.split("/")]
    if len(parts) > 2 or not all(re.fullmatch(_NUMBER, part, re.ASCII) and re.search(r"\d", part) for part in parts):
        raise RefusedError("That is not a number. Digits are understood, as in 31, 0.5, 1,024 or 9/16.")
    try:
        values = [Fraction(part.replace(",", "")) for part in parts]
        value = values[0] / values[1] if len(values) == 2 else values[0]
    except ValueError:
        raise RefusedError("That is not a number. Digits are understood, as in 31, 0.5, 1,024 or 9/16.") from None
    except ZeroDivisionError:
        raise RefusedError("Nothing can be divided by 0.") from None
    if abs(value) >= 10**15:
        raise RefusedError("That number is too large to be meant.")
    return value


def _grade_choice(question: dict, response) -> Grade:
    options = question["options"]
    if response is None:
        raise RefusedError("Choose an answer first.")
    (chosen,) = _indexes([response], len(options))
    return Grade(bool(options[chosen].get("right")), [options[chosen]["feedback"]])


def _grade_choices(question: dict, response) -> Grade:
    options = question["options"]
    if response is None or response == []:
        raise RefusedError("Choose at least one answer first.")
    chosen = sorted(_indexes(response, len(options)))
    right = [i for i in chosen if options[i].get("right")]
    if len(right) == len(chosen) == sum(bool(option.get("right")) for option in options):
        return Grade(True)
    if len(right) == len(chosen):
        is_right = "The one you chose is right" if len(chosen) == 1 else f"All {len(chosen)} you chose are right"
        return Grade(False, [f"{is_right}, but there is more to choose."])
    if len(chosen) == 1:
        count = "The one you chose is not right."
    else:
        count = f"{len(right) or 'None'} of the {len(chosen)} you chose {'is' if len(right) == 1 else 'are'} right."
    wrong = [_said_of(options[i]) for i in chosen if i not in right]
    return Grade(False, [count, *wrong])


def _grade_number(question: dict, response) -> Grade:
    value = parse_number(response, question.get("unit", ""))
    tolerance = _exact(question.get("tolerance", 0))
    answer = _exact(question["answer"])
    if abs(value - answer) <= tolerance:
        return Grade(True)
    for miss in question.get("near_misses", []):
        if abs(value - _exact(miss["value"])) <= tolerance:
            return Grade(False, [miss["feedback"]])
    return Grade(False, [f"{_number_text(value)} is too {'small' if value < answer else 'large'}."])


def _grade_mask(question: dict, response) -> Grade:
    target = target_rows(question["target"])
    total = len(target)
    bits = (0, 1)
    if (
        not isinstance(response, list)
        or len(response) != total
        or any(not isinstance(row, list) or len(row) != total for row in response)
        or any(type(cell) is not int or cell not in bits for row in response for cell in row)
    ):
        raise RefusedError(f"That is not a grid of {total} by {total} cells.")
    wrong = [(i, j) for i in range(total) for j in range(total) if response[i][j] != target[i][j]]
    if not wrong:
        return Grade(True)
    (i, j), tokens = wrong[0], question.get("tokens")
    who = f"token {i} ({tokens[i]})" if tokens else f"token {i}"
    whom = f"token {j} ({tokens[j]})" if tokens else f"token {j}"
    may = "may look at" if target[i][j] else "may not look at"
    count = "1 cell differs" if len(wrong) == 1 else f"{len(wrong)} cells differ"
    first = "It is" if len(wrong) == 1 else "The first is"
    return Grade(False, [_plain(f"{count}. {first} row {i}, column {j}: {who} {may} {whom}.")])


def _grade_order(question: dict, response) -> Grade:
    shown = shown_order(question)
    order = _indexes(response, len(shown)) if isinstance(response, list) else []
    if len(order) != len(shown):
        raise RefusedError("That is not an order of these items.")
    items = [shown[i] for i in order]
    first = next((place for place, item in enumerate(items) if item != place), None)
    if first is None:
        return Grade(True)
    held = "" if first == 0 else "The first is in place. " if first == 1 else f"The first {first} are in place. "
    text = f"{held}Something else comes {'first' if first == 0 else 'next'}, not \u201c"
    said = question["items"][items[first]]
    return Grade(False, [[text, *([said] if isinstance(said, str) else said), "\u201d."]])


def _grade_words(question: dict, response) -> Grade:
    text, ticks = written(response), response.get("ticks", [])
    ticked = _indexes(ticks, len(question["checklist"]))
    return Grade(bool(text) and len(ticked) == len(question["checklist"]))


def written(response) -> str:
    """Return the text of a response to a `words` question; RefusedError when it is empty or too long."""
    text = response.get("text") if isinstance(response, dict) else None
    if not isinstance(text, str) or not text.strip():
        raise RefusedError("Write your own answer first; then compare it.")
    if len(text) > MAX_WORDS:
        raise RefusedError(
            f"That is {len(text):,} characters; at most {MAX_WORDS:,} are kept. Shorten it; nothing is lost."
        )
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a pair is no character


def _indexes(values, count: int) -> list[int]:
    if not isinstance(values, list) or any(type(i) is not int or not 0 <= i < count for i in values):
        raise RefusedError("That is not one of the choices shown.")
    if len(set(values)) < len(values):
        raise RefusedError("One of the choices came twice.")
    return values


def _said_of(option: dict) -> list:
    """An option's feedback, with the option named in front: several may be spoken of at once."""
    text, feedback = (part if isinstance(part, list) else [part] for part in (option["text"], option["feedback"]))
    return ["\u201c", *text, "\u201d: ", *feedback]


def _exact(number: float) -> Fraction:
    return Fraction(str(number))  # the decimal that was written, not the nearest binary one


def _number_text(value: Fraction) -> str:
    if value.denominator == 1:
        return f"{value.numerator:,}"
    decimal = f"{float(value):,.10g}"
    return decimal if Fraction(decimal.replace(",", "")) == value else f"{value.numerator}/{value.denominator}"


def _plain(text: str) -> str:
    return re.sub(r"([`*\\])", r"\\\1", text)


_GRADERS = {
    "choice": _grade_choice,
    "choices": _grade_choices,
    "number": _grade_number,
    "mask": _grade_mask,
    "order": _grade_order,
    "words": _grade_words,
}
