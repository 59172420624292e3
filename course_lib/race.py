"""Which of several functions is faster here? They run in turn, round after round, and the ratios within a round count.

A machine is never quiet: what slows one call down slows the next one too. So every contender runs once in each round,
each round begins with another one, now forwards and now backwards, for a call may find in the caches what the one
before it left there. Two contenders are compared by their times in the same round; the median of these ratios is the
result, and the middle half of them its spread. Times by themselves are worth little; ratios carry
over from one day to the next.

    result = race({"serial": lambda: serial(x), "parallel": lambda: parallel(x)})
    result.ratio("parallel", "serial")
"""

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

import torch

from ._check import short, shown, whole_number
from .training_record import machine, today

FORMAT, VERSION = "course_lib.race", 1
LEAST_SAMPLE = 2e-3  # seconds: below that, what is timed is the clock and the call


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median, and the quartiles around it: the middle half of what was seen lies from low to high."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> "Spread":
        """Return the median and the quartiles of some values, at least one."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high)

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclasses.dataclass(frozen=True)
class Race:
    """The times of a race: for each contender the seconds of one call, one entry a round."""

    times: dict[str, list[float]]
    machine: str
    date: str

    @property
    def rounds(self) -> int:
        return len(next(iter(self.times.values())))

    def seconds(self, name: str) -> Spread:
        """Return how long a call of this contender took."""
        return Spread.of(self._of(name))

    def median(self, name: str) -> float:
        """Return the median of this contender's seconds."""
        return self.seconds(name).median

    def ratio(self, name: str, to: str) -> Spread:
        """Return how many times as long as `to` this contender took, round by round: below 1 is faster."""
        return Spread.of([own / other for own, other in zip(self._of(name), self._of(to), strict=True)])

    def verdict(self, name: str, to: str) -> str:
        """Return the ratio in a sentence: faster or slower only if three rounds of four say so."""
        ratio = self.ratio(name, to)
        known = "faster" if ratio.high < 1 else "slower" if ratio.low > 1 else None
        what = f"{name} is {known} here" if known else f"between {name} and {to} this race shows no difference"
        return (
            f"{what}: {name} takes {ratio.median:.2f} times as long as {to} "
            f"(middle half of {self.rounds} rounds: {ratio.low:.2f} to {ratio.high:.2f})."
        )

    def __repr__(self) -> str:
        return f"Race({', '.join(self.times)}: {self.rounds} rounds)"

    def save(self, path, *, command: str) -> None:
        """Write the times as JSON, with the machine, the date, and the command that gives them again."""
        if not isinstance(command, str) or not command.strip():
            raise ValueError(f"command must say how to run this race again, got {shown(command)}")
        content = {"format": FORMAT, "version": VERSION, "command": command, **dataclasses.asdict(self)}
        part = Path(path).with_name(f".{Path(path).name}.part")
        part.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
        os.replace(part, path)

    @classmethod
    def load(cls, path) -> "Race":
        """Read what `save` wrote; ValueError, naming the file, if it is anything else."""
        try:
            content = json.loads(Path(path).read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no JSON: {error}") from None
        if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"{path} is no race of format {FORMAT!r}, version {VERSION}")
        times = content.get("times")
        lists = list(times.values()) if isinstance(times, dict) else []
        if not lists or any(not isinstance(one, list) or len(one) != len(lists[0]) or not one for one in lists):
            raise ValueError(f"{path} must hold times, as many for each contender")
        if any(not isinstance(one, float) or one <= 0 for seconds in lists for one in seconds):
            raise ValueError(f"{path} holds times that are no seconds above 0")
        return cls(times, str(content.get("machine")), str(content.get("date")))

    def _of(self, name: str) -> list[float]:
        if name not in self.times:
            raise ValueError(f"name must be one of {', '.join(self.times)}, got {short(name)}")
        return self.times[name]


def race(
    contenders: dict[str, Callable[[], object]],
    *,
    repeats: int = 21,
    warmup: int = 2,
    max_seconds: float | None = None,
    device: torch.device | str = "cpu",
    clock: Callable[[], float] = time.perf_counter,
    timer: Callable[[Callable[[], object], int], float] | None = None,
) -> Race:
    """Time functions of no arguments against each other, and return their times.

    contenders    name -> function. What it returns is dropped; whether all compute the same is yours to check.
    repeats       rounds; in each, every contender runs once, or so often that its sample lasts 2 ms.
    warmup        calls of each before the first round, at least 1.
    max_seconds   no round begins after that many seconds, once there are 3 rounds; None: all rounds are run.
    device        a CUDA device is timed by its own events, from the first kernel to the last; anything else by `clock`.
    timer         another way to time: (function, calls) -> the seconds of one of so many calls. `clock` then only says
                  when `max_seconds` are over.

    Gradients are recorded if they are outside: wrap the race in `torch.no_grad()` to time inference.
    """
    if not isinstance(contenders, dict) or not contenders:
        raise ValueError(f"contenders must be a dict of names and functions, got {shown(contenders)}")
    for name, function in contenders.items():
        if not callable(function):
            raise TypeError(f"contenders[{name!r}] must be a function without arguments, got {shown(function)}")
    whole_number("repeats", repeats, low=1)
    whole_number("warmup", warmup, low=1)
    device = torch.device(device)

    def sample(function, calls: int) -> float:
        """Return the seconds of one call, the mean of so many."""
        if timer is not None:
            return timer(function, calls)
        if device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            with torch.cuda.device(device):
                begin.record()
                for _ in range(calls):
                    function()
                end.record()
                end.synchronize()
            return begin.elapsed_time(end) / 1e3 / calls
        started = clock()
        for _ in range(calls):
            function()
        return (clock() - started) / calls

    calls = {}
    for name, function in contenders.items():
        first = warmup + (device.type == "cuda")  # the very first call on a card may compile, and tells nothing
        seconds = min(sample(function, 1) for _ in range(first))
        calls[name] = max(1, round(LEAST_SAMPLE / max(seconds, 1e-7)))
    names, times, started = list(contenders), {name: [] for name in contenders}, clock()
    for done in range(repeats):
        if max_seconds is not None and done >= 3 and clock() - started > max_seconds:
            break
        turn = done % len(names)
        order = names[turn:] + names[:turn]
        for name in order[:: -1 if done // len(names) % 2 else 1]:  # else one would always follow the same other
            times[name].append(sample(contenders[name], calls[name]))
    return Race(times, machine(device), today())
