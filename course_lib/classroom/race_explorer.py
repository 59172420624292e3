"""Softmax and linear attention under a prefix: counted, raced on this machine, and beside a race that was recorded."""

import contextlib
import threading
import time
from collections.abc import Callable
from numbers import Real

import torch
import traitlets as t

from .._check import shown
from ..device import get_device
from ..kernels.linear import prefix_linear_attention
from ..kernels.softmax import prefix_softmax_attention
from ..race import Race, race
from . import pictures, race_words
from .explorer_checks import check_number, check_one_of
from .race_pictures import draw_race
from .race_words import DIM, EIGHTHS, FORMS, HEADS, TILE, key, place
from .widgets import OURS, ExplorerWidget, HeardWhileBusy, refused_in_words

LENGTHS = race_words.LENGTHS
PROBE = LENGTHS[1]  # from here, the time of a longer softmax is estimated
MAX_SECONDS = 6.0
SLICE = 3  # rounds that are kept together; the fewest that a result has
MOST_ROUNDS = 30


def contenders(total_len: int, eighths: int, device: torch.device) -> dict[str, Callable[[], torch.Tensor]]:
    """Return the four forms as functions of no arguments, all of the same random q, k and v."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, HEADS, total_len, DIM, generator=generator).to(device)
    prefix_len = total_len * eighths // EIGHTHS
    return {
        "softmax causal": lambda: prefix_softmax_attention(q, k, v, 0, backend="auto"),
        "softmax prefix": lambda: prefix_softmax_attention(q, k, v, prefix_len, backend="auto"),
        "linear causal": lambda: prefix_linear_attention(q, k, v, 0, backend="auto"),
        "linear prefix": lambda: prefix_linear_attention(q, k, v, prefix_len, backend="auto"),
    }


def more_rounds(before: Race | None, functions: dict[str, Callable], device: torch.device) -> Race:
    """Race a few rounds more and return all.

    A form finds its inputs in the cache if a kindred form ran just before. So prefix follows causal in one race, and
    causal follows prefix in the next; and who begins goes on in turn.
    """
    done = before.rounds if before else 0
    names = list(functions)
    if done // SLICE % 2:
        names = [name for pair in zip(names[1::2], names[::2], strict=True) for name in pair]
    turn = done % len(names)
    in_turn = {name: functions[name] for name in names[turn:] + names[:turn]}
    more = race(in_turn, repeats=SLICE, warmup=1, device=device)
    times = {name: (before.times[name] if before else []) + more.times[name] for name in functions}
    return Race(times, more.machine, more.date)


class KernelRaceExplorer(HeardWhileBusy, ExplorerWidget, source="race_explorer"):
    """Show what a prefix does to the cost of softmax and of linear attention: counted, measured here, and recorded.

    total_len: T, 1024, 4096 or 16384. prefix_eighths: how many eighths of it are prefix, 0 to 8. Both are traits: read
    them, set them, observe them; the browser's changes arrive in them. A wrong value raises ValueError or TypeError
    here, and TraitError when a trait is set.

    measured: what was measured on this machine, by "T:eighths": rounds, and low, median and high of the seconds of each
    form and of each prefix form's ratio to its causal form. busy: a race is being run. said: how it stands, in words.
    """

    total_len = t.Int(4096).tag(sync=True)
    prefix_eighths = t.Int(4).tag(sync=True)
    measured = t.Dict().tag(**OURS)
    busy = t.Bool(False).tag(**OURS)
    said = t.Unicode("").tag(**OURS)
    setting = t.Dict(read_only=True).tag(sync=True)  # sizes and the recorded race, which the browser draws

    def __init__(self, total_len=4096, prefix_eighths=4):
        given = {"total_len": total_len, "prefix_eighths": prefix_eighths}
        for name, value in given.items():
            _check(name, value)
        self._lock, self._stop = threading.RLock(), threading.Event()
        super().__init__(**given)
        self.on_msg(self._receive)

    @t.default("setting")
    def _sizes_and_record(self):
        sizes = {"lengths": list(LENGTHS), "eighths": EIGHTHS, "heads": HEADS, "dim": DIM, "tile": TILE}
        return {**sizes, "seconds": MAX_SECONDS, "recorded": race_words.load(race_words.RECORDING)}

    @property
    def counted(self) -> dict[str, int]:
        """The operations of each of the four forms."""
        return race_words.counted(self.total_len, self.prefix_eighths)

    def describe(self) -> str:
        """Return what was counted, and where the recorded race was run; live times differ, and are not in it."""
        return " ".join(race_words.sentences(self.total_len, self.prefix_eighths))

    def fallback(self) -> dict[str, bytes]:
        """Return a picture of what was counted and recorded, for readers without a kernel."""
        return {"image/png": pictures.png(draw_race(self.total_len, self.prefix_eighths))}

    # -- the race

    def measure(self, P_eighths=None, max_seconds=MAX_SECONDS) -> Race | None:
        """Race the four forms here and now, and return the race; it is shown, too.

        P_eighths: the prefix; what the slider shows unless given. max_seconds: no three rounds begin after that, but
        the first three. Stop and the kernel's Interrupt end the race; what was measured by then in three rounds or more
        is kept, and None is returned if there are fewer. Raises RuntimeError while another race is being run.
        """
        eighths = self.prefix_eighths if P_eighths is None else P_eighths
        check_number("P_eighths", eighths, 0, EIGHTHS)
        if isinstance(max_seconds, bool) or not isinstance(max_seconds, Real):
            raise TypeError(f"max_seconds must be a number, got {shown(max_seconds)}")
        if not max_seconds > 0:
            raise ValueError(f"max_seconds must be above 0, got {max_seconds}")
        if not self._begin(eighths):
            raise RuntimeError("a race is being run already: wait for its end, or press Stop")
        return self._measure(self.total_len, eighths, max_seconds)

    def _begin(self, eighths: int) -> bool:
        with self._lock:
            if self.busy:
                return False
            self._stop.clear()
            self._show(f"Measuring at {place(self.total_len, eighths)}: the first {SLICE} rounds …", busy=True)
            return True

    def _measure(self, total_len: int, eighths: int, max_seconds: float) -> Race | None:
        where, started = place(total_len, eighths), time.monotonic()
        result, finished, left_out, said = None, False, "", ""
        try:
            device = get_device()
            with torch.inference_mode(), contextlib.suppress(KeyboardInterrupt, _StoppedError):
                functions = self._heard(contenders(total_len, eighths, device))
                round_seconds = self._softmax_seconds(total_len, eighths, device)
                if round_seconds > max_seconds:
                    functions = {name: one for name, one in functions.items() if name.startswith("linear")}
                    left_out = (
                        f" Softmax is left out: about {round_seconds:.0f} s a round (estimated from {PROBE:,} tokens), "
                        f"over the limit of {max_seconds:g} s."
                    )
                while result is None or (time.monotonic() - started < max_seconds and result.rounds < MOST_ROUNDS):
                    result = more_rounds(result, functions, device)
                    self._show(f"Measuring at {where}: {result.rounds} rounds so far …", (total_len, eighths, result))
                finished = True
            took = f"{result.rounds} rounds in {time.monotonic() - started:.0f} s" if result else ""
            if result is None:
                said = f"Stopped before {SLICE} rounds were done: nothing new is kept at {where}."
            else:
                said = f"{'Measured' if finished else 'Stopped; kept'} at {where}: {took}.{left_out}"
        except Exception as error:
            said = f"The race at {where} failed: {type(error).__name__}: {error}"
            raise
        finally:
            self._show(said, busy=False)
        return result

    def _softmax_seconds(self, total_len: int, eighths: int, device: torch.device) -> float:
        """Estimate a round of softmax, both forms, from a shorter one; 0 where it need not be."""
        if total_len <= PROBE:
            return 0.0
        known = self.measured.get(key(PROBE, eighths), {}).get("seconds", {})
        if "softmax prefix" not in known:
            short_ones = self._heard(contenders(PROBE, eighths, device))
            short_ones = {name: one for name, one in short_ones.items() if name.startswith("softmax")}
            known = race_words.point(race(short_ones, repeats=1, warmup=1, device=device))["seconds"]
        return sum(known[form][1] for form in FORMS[:2]) * (total_len / PROBE) ** 2

    def _heard(self, functions: dict) -> dict:
        """Return functions that will not begin once Stop was pressed."""

        def heard(function):
            def call():
                if self._stop.is_set():
                    raise _StoppedError
                return function()

            return call

        return {name: heard(function) for name, function in functions.items()}

    def _show(self, said: str, found: tuple[int, int, Race] | None = None, busy: bool | None = None) -> None:
        """Tell the browser, in one message."""
        with self._lock, self.hold_sync():
            self.said = said
            if found is not None:
                total_len, eighths, result = found
                self.measured = {**self.measured, key(total_len, eighths): race_words.point(result)}
            if busy is not None:
                self.busy = busy

    # -- the browser's messages

    def _receive(self, _, content, buffers) -> None:
        """Take the buttons. A race that a button begins has a thread of its own, so that Stop is heard."""
        asked = content.get("type") if isinstance(content, dict) else None
        if asked == "stop":
            self._stop.set()
        elif asked == "measure":
            total_len, eighths = self.total_len, self.prefix_eighths
            if self._begin(eighths):
                threading.Thread(target=self._quietly, args=(total_len, eighths, MAX_SECONDS), daemon=True).start()

    def _quietly(self, *arguments) -> None:
        with contextlib.suppress(Exception):  # `said` has told it
            self._measure(*arguments)

    def set_state(self, sync_data):
        with self._lock:
            super().set_state(sync_data)

    @t.validate("total_len", "prefix_eighths")
    def _checked(self, proposal):
        with refused_in_words():
            _check(proposal.trait.name, proposal.value)
        return proposal.value


class _StoppedError(Exception):
    """Stop was pressed."""


def _check(name: str, value) -> None:
    if name == "prefix_eighths":
        check_number(name, value, 0, EIGHTHS)
        return
    check_one_of(name, value, LENGTHS)
