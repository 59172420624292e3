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
import math
import time
from collections.abc import Callable
from statistics import median, quantiles

import torch

from ._check import one_of, real_number, short, shown, usable_device, whole_number
from ._files import file_path, write_whole
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
        """Return the median and the quartiles of some finite numbers, at least one; ValueError for none."""
        if not isinstance(values, (list, tuple)) or not values:
            raise ValueError(f"values must be a list of at least one number, got {shown(values)}")
        values = [real_number(f"values[{i}]", one) for i, one in enumerate(values)]
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high)

    def __str__(self) -> str:
        return "{} ({} to {})".format(*(_digits(one) for one in (self.median, self.low, self.high)))


def _digits(value: float) -> str:
    """Two decimals, which suit a ratio; three digits where that would be nothing, as of the seconds of a call."""
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"


@dataclasses.dataclass(frozen=True)
class Race:
    """The times of a race: for each contender the seconds of one call, one entry a round.

    ValueError or TypeError for times that are none: they are above 0, and as many for each contender, at least one.
    """

    times: dict[str, list[float]]
    machine: str
    date: str

    def __post_init__(self):
        if not isinstance(self.times, dict):
            raise TypeError(f"times must be a dict of names and lists of seconds, got {shown(self.times)}")
        checked = {}
        for name, seconds in self.times.items():
            if not isinstance(name, str):
                raise TypeError(f"times must have names that are str, got {shown(name)}")
            if not isinstance(seconds, (list, tuple)) or not seconds:
                raise ValueError(f"times of {short(name)} must be a list of seconds, got {shown(seconds)}")
            what = f"times of {short(name)}"
            checked[name] = [real_number(what, one, low=0, above=True) for one in seconds]
        if len({len(seconds) for seconds in checked.values()}) > 1:
            raise ValueError("times must be as many for each contender")
        object.__setattr__(self, "times", checked)  # a frozen dataclass sets its own fields so
        for name in ("machine", "date"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be a str, got {shown(getattr(self, name))}")

    @property
    def rounds(self) -> int:
        """How many rounds were run."""
        return len(next(iter(self.times.values()), []))

    def seconds(self, name: str) -> Spread:
        """Return how long a call of this contender took."""
        return Spread.of(self._of(name))

    def median(self, name: str) -> float:
        """Return the median of this contender's seconds."""
        return self.seconds(name).median

    def ratio(self, name: str, to: str) -> Spread:
        """Return how many times as long as `to` this contender took, round by round: below 1 is faster."""
        return Spread.of([own / other for own, other in zip(self._of(name), self._of(to, "to"), strict=True)])

    def verdict(self, name: str, to: str) -> str:
        """Return the ratio in a sentence: faster or slower only if three rounds of four say so, and no mere chance.

        Of two equals each round has one or the other ahead. So many rounds must agree that equals would do so in less
        than one race of twenty: 6 of 6, 8 of 9, 16 of 21. With fewer than 6 rounds nobody can tell.
        """
        ratio, rounds = self.ratio(name, to), list(zip(self.times[name], self.times[to], strict=True))
        enough = _rounds_that_tell(len(rounds))
        faster, slower = sum(own < other for own, other in rounds), sum(own > other for own, other in rounds)
        known = "faster" if faster >= enough else "slower" if slower >= enough else None
        few = "" if enough <= len(rounds) else f", of too few rounds ({len(rounds)}) to tell,"
        what = f"{name} is {known} here" if known else f"between {name} and {to} this race{few} shows no difference"
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
        write_whole(path, json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, path) -> "Race":
        """Read what `save` wrote; ValueError, naming the file, if it is anything else."""
        path = file_path(path)
        try:
            content = json.loads(path.read_text("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no JSON: {error}") from None
        if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"{path} is no race of format {FORMAT!r}, version {VERSION}")
        times = content.get("times")
        try:
            return cls(times or None, content.get("machine"), content.get("date"))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} must hold times of a race: {error}") from None

    def _of(self, name: str, argument: str = "name") -> list[float]:
        return self.times[one_of(argument, name, self.times)]


def _rounds_that_tell(rounds: int) -> float:
    """Return how many of these rounds must agree for a verdict (a sign test at 5 %); infinitely many if none can."""
    for agreeing in range(math.ceil(0.75 * rounds), rounds + 1):
        if 2 * sum(math.comb(rounds, n) for n in range(agreeing, rounds + 1)) <= 0.05 * 2**rounds:
            return agreeing
    return math.inf


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
    device        cpu, timed by `clock`; or a CUDA device, timed by its own events, from the first kernel to the last.
                  Any other needs a `timer`, for its calls may return before they are done.
    timer         another way to time: (function, calls) -> the seconds of one of so many calls. `clock` then only says
                  when `max_seconds` are over.

    TypeError or ValueError, before anything is timed, for an argument that is none of these; ValueError later on if a
    clock or a timer sees no time pass.

    Gradients are recorded if they are outside: wrap the race in `torch.no_grad()` to time inference.
    """
    if not isinstance(contenders, dict) or not contenders:
        raise ValueError(f"contenders must be a dict of names and functions, got {shown(contenders)}")
    for name, function in contenders.items():
        if not isinstance(name, str):
            raise TypeError(f"contenders must have names that are str, got {shown(name)}")
        if not callable(function):
            raise TypeError(f"contenders[{short(name)}] must be a function without arguments, got {shown(function)}")
    repeats, warmup = whole_number("repeats", repeats, low=1), whole_number("warmup", warmup, low=1)
    if max_seconds is not None:
        max_seconds = real_number("max_seconds", max_seconds, low=0)
    for name, value in (("clock", clock), ("timer", timer)):
        if not callable(value) and (name == "clock" or value is not None):
            raise TypeError(f"{name} must be a function, got {shown(value)}")
    device = usable_device("device", device, in_use=timer is None) or torch.device("cpu")
    if device.type not in ("cpu", "cuda") and timer is None:
        raise ValueError(f"device must be cpu or cuda if no timer is given, got {device}")

    def sample(function, calls: int) -> float:
        """Return the seconds of one call, the mean of so many."""
        if timer is not None:
            return real_number("what timer returns", timer(function, calls), low=0)
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

    def timed(name: str) -> float:
        try:
            return sample(contenders[name], calls.get(name, 1))
        except Exception as error:
            error.add_note(f"in the contender {name!r}")
            raise

    for name in contenders:
        first = warmup + (device.type == "cuda")  # the very first call on a card may compile, and tells nothing
        seconds = min(timed(name) for _ in range(first))
        calls[name] = max(1, round(LEAST_SAMPLE / max(seconds, 1e-7)))
    names, times, started = list(contenders), {name: [] for name in contenders}, clock()
    for done in range(repeats):
        if max_seconds is not None and done >= 3 and clock() - started > max_seconds:
            break
        turn = done % len(names)
        order = names[turn:] + names[:turn]
        for name in order[:: -1 if done // len(names) % 2 else 1]:  # else one would always follow the same other
            seconds = timed(name)
            if seconds <= 0:
                counted = "clock" if timer is None else "timer"
                raise ValueError(
                    f"{counted} must see time pass, got {seconds} seconds for {calls[name]} calls of {name}"
                )
            times[name].append(seconds)
    return Race(times, machine(device), today())
