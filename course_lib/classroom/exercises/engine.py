"""Exercises: the learner fills in a function, and `check.NAME(function)` answers untouched, wrong or right.

An exercise is a judge (what is wrong with this function, if anything), a solution, a hint, and how hard and how long it
is. A judge names each mistake it knows by a slug, so that a test can hold the diagnosis of every known wrong answer.
"""

import inspect
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from ..._check import short
from ..progress import progress
from ..show import show, show_source, words

EXERCISES: dict[str, "Exercise"] = {}
MOST_SAID = 2000  # characters of a verdict


class Untouched(Exception):  # noqa: N818 - a state, not an error
    """The function still holds its dots."""


class Wrong(Exception):  # noqa: N818 - an answer, not an error
    """What is wrong: a slug for the tests, words for the learner, and, if it helps, a way to draw it.

    `draw` is a function without arguments that returns a matplotlib figure; `alt` says the figure in one line.
    """

    def __init__(self, slug: str, message: str, *, draw: Callable[[], Any] | None = None, alt: str = ""):
        super().__init__(message)
        self.slug, self.message, self.draw, self.alt = slug, message, draw, alt


@dataclass(frozen=True)
class Verdict:
    """The answer of a check: `state` is untouched, wrong or right; `slug` names the mistake when it is a known one."""

    exercise: str
    state: str
    message: str
    slug: str = ""
    draw: Callable[[], Any] | None = field(default=None, compare=False, repr=False)
    alt: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.exercise}: {self.state}. {self.message}"

    __repr__ = __str__

    def _ipython_display_(self):
        sign = {"untouched": "○", "wrong": "✗", "right": "✓"}[self.state]
        words(f"**{sign} {self.exercise}: {self.state}.** {_as_text(self.message)}", plain=str(self))
        if self.draw is not None:
            show(self.draw(), alt=self.alt)


@dataclass(frozen=True)
class Exercise:
    """One exercise. Call it with the learner's function to have it judged.

    heading: the one under which the lesson sets it.
    judge: called with a guarded function; raises `Wrong`, or returns words of praise (or None).
    extra: outside the minutes that the lesson promises.
    """

    name: str
    notebook: str
    heading: str
    title: str
    objective: str
    minutes: int
    difficulty: int
    hint_text: str
    solution_function: Callable
    judge: Callable[[Callable], str | None]
    extra: bool = False

    def __call__(self, function: Callable) -> Verdict:
        verdict = self._judge(function)
        if verdict.state != "untouched":
            progress.record_exercise(self.name, verdict.state)
        return verdict

    def _judge(self, function: Callable) -> Verdict:
        if not callable(function):
            raise TypeError(
                f"check.{self.name} takes a function, got {type(function).__name__}: pass its name without ()"
            )
        try:
            praise = self.judge(partial(_guarded, function))
        except Untouched as state:
            clue = str(state) or "Replace the dots, then run the cell again."
            return Verdict(self.name, "untouched", f"{clue} `check.{self.name}.hint()` helps.")
        except Wrong as wrong:
            message = wrong.message if len(wrong.message) <= MOST_SAID else f"{wrong.message[:MOST_SAID]} ..."
            return Verdict(self.name, "wrong", message, wrong.slug, wrong.draw, wrong.alt)
        except Exception as error:  # a judge reads whatever a learner's function returns, and some things bite
            message = f"What your function returned cannot be compared with what is asked for: {_said(error)}."
            return Verdict(self.name, "wrong", message, "unreadable")
        return Verdict(self.name, "right", praise or "Every case agrees.")

    def hint(self) -> None:
        """Show the hint."""
        words(f"**Hint.** {self.hint_text}")

    def solution(self) -> None:
        """Show one solution, as the source that the course's own tests run."""
        show_source(self.solution_function)

    def __repr__(self) -> str:
        stars = "★" * self.difficulty + "☆" * (3 - self.difficulty)
        return (
            f"check.{self.name}: {self.title} ({stars}, about {self.minutes} minutes). "
            f"Call it with your function; .hint() and .solution() help."
        )


def quoted(text: object) -> str:
    """Return foreign text as a Markdown code span, where neither Markdown nor HTML is read."""
    try:
        text = str(text)
    except Exception:  # of somebody's own
        text = short(text)
    return "`" + " ".join(text[:3000].replace("`", "'").split())[:300] + "`"


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {quoted(error)}"


def _as_text(message: str) -> str:
    """Return a message in Markdown in which nothing outside a code span is read as HTML."""
    parts = message.split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)


def _meets_dots(error: BaseException) -> bool:
    """Tell whether it is about a `...` that was not replaced, and not about dots in the text of an einsum."""
    said = quoted(error)
    if isinstance(error, (TypeError, AttributeError)):
        return "ellipsis" in said
    return any(words in said for words in ("dtype of ellipsis", "but got ellipsis"))  # torch's RuntimeErrors


def _where(function: Callable, error: BaseException) -> str:
    """Return the last line of the learner's own that was running; what it called may be anybody's code."""
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own]
    return f" (line {lines[-1]})" if lines else ""


def _guarded(function: Callable, *arguments):
    """Call the learner's function, and turn what it raises or forgets into words."""
    name = getattr(function, "__name__", "your function")
    try:
        signature = inspect.signature(function)
        signature.bind(*arguments)
    except (TypeError, ValueError) as error:
        raise Wrong(
            "arguments", f"{quoted(name)} cannot be called with {len(arguments)} arguments: {quoted(error)}."
        ) from None
    shown = ", ".join(str(a) if isinstance(a, int) else f"<{type(a).__name__}>" for a in arguments)
    try:
        result = function(*arguments)
    except NotImplementedError:
        raise Untouched from None
    except (Exception, SystemExit) as error:  # whatever a learner's code raises is an answer to be put into words
        if _meets_dots(error):
            raise Untouched from None
        message = f"{quoted(f'{name}({shown})')} raised {_said(error)}{_where(function, error)}."
        if "ambiguous" in message:
            message += " With tensors, write `|` and `&` for or and and, and put each comparison in brackets."
        raise Wrong("raised", message) from None
    if result is ...:
        raise Untouched
    if result is None:
        raise Wrong("returns_none", f"{quoted(f'{name}({shown})')} returned None. Is the `return` missing?")
    if isinstance(result, Iterator):  # it may never end
        raise Wrong("iterator", f"{quoted(f'{name}({shown})')} returned {quoted(short(result))}: make a list of it.")
    if isinstance(result, int) and abs(result) >= 2**128:
        raise Wrong("too_large", f"{quoted(f'{name}({shown})')} returned {short(result)}: that is too large by far.")
    return result


def exercise(
    name: str, *, notebook: str, heading: str, title: str, objective: str, minutes: int, difficulty: int, hint: str,
    solution: Callable, extra: bool = False,
):  # fmt: skip
    """Register the decorated judge as `check.NAME`."""

    def register(judge: Callable) -> Callable:
        if name in EXERCISES:
            raise ValueError(f"exercise {name!r} is registered twice")
        EXERCISES[name] = Exercise(
            name, notebook, heading, title, objective, minutes, difficulty, hint, solution, judge, extra
        )  # fmt: skip
        return judge

    return register


class Check:
    """`check.NAME(function)` judges an exercise; `check` alone lists them."""

    def __getattr__(self, name: str) -> Exercise:
        if name in EXERCISES:
            return EXERCISES[name]
        raise AttributeError(f"there is no exercise {name!r}; there are: {', '.join(sorted(EXERCISES))}")

    def __dir__(self):
        return sorted(EXERCISES)

    def __repr__(self) -> str:
        return "\n".join(repr(one) for one in EXERCISES.values())


check = Check()
