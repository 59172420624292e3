"""Training to watch: a progress bar, a loss curve that grows, and a Stop button, in the cell that trains.

    train_live(run)          # run is a course_lib.training.Run; running the cell again goes on where it stopped

The browser draws; Python sends it the numbers, about ten times a second. Stop and the kernel's Interrupt do the same:
the step that is being taken is finished, and the cell ends without an error.
"""

import threading
import time
from collections.abc import Callable

import numpy as np
import traitlets
from IPython.display import display

from course_lib._check import shown
from course_lib.training import Record, Run

from .widgets import OURS, HeardWhileBusy

__all__ = ["TrainingPanel", "train_live"]

PAUSE = 0.1  # seconds between two updates of the browser
MOST_POINTS = 2000  # of the curve; a longer one is sent as means


def train_live(run: Run, *, title: str | None = None, until: int | None = None) -> None:
    """Train in this cell, with a panel to watch; returns when the run is finished, or was stopped.

    title: what is trained, in a few words; the run's objective unless given. until: as in `Run.train`. What happened
    is in `run.record`. Raises what `Run.train` raises; the panel then says so, too.
    """
    panel = TrainingPanel(run, title=title)
    display(panel)
    panel.train(until)


class TrainingPanel(HeardWhileBusy, source="training_panel"):
    """The panel of one run. `train` trains and shows it; a panel that is only shown tells how far the run is."""

    title = traitlets.Unicode().tag(**OURS)
    state = traitlets.Unicode().tag(**OURS)  # ready, running, stopping, stopped, finished or failed
    steps = traitlets.Int().tag(**OURS)
    step = traitlets.Int().tag(**OURS)
    losses = traitlets.Bytes().tag(**OURS)  # float32; each the mean of `every` steps
    every = traitlets.Int(1).tag(**OURS)
    tokens_read = traitlets.Int().tag(**OURS)
    tokens_taught = traitlets.Int().tag(**OURS)
    seconds = traitlets.Float().tag(**OURS)
    measured = traitlets.Unicode().tag(**OURS)  # the last evaluation, in words
    message = traitlets.Unicode().tag(**OURS)  # what happened, and what to do now
    log = traitlets.Bool(False).tag(sync=True)  # the browser's own: the scale of the curve

    def __init__(self, run: Run, *, title: str | None = None):
        if not isinstance(run, Run):
            raise TypeError(f"run must be a course_lib.training.Run, got {shown(run)}")
        if title is not None and not isinstance(title, str):
            raise TypeError(f"title must be a str, got {shown(title)}")
        self._run, self._lock, self._shown_at = run, threading.RLock(), -np.inf
        super().__init__(title=title or run.record.objective or "Training", steps=run.steps)
        self._show("finished" if run.finished else "stopped" if run.step else "ready")
        self.on_msg(self._receive)

    def train(self, until: int | None = None, *, on_step: Callable[[Run], None] | None = None) -> Record:
        """Train as `Run.train` does, and show it."""
        if self._run.finished:
            self._show("finished", f"{_ended(self._run)} It was finished already; for another, make a new run.")
            return self._run.record

        def follow(run: Run) -> None:
            if time.monotonic() - self._shown_at >= PAUSE:
                self._show(self.state)
            if on_step is not None:
                on_step(run)

        self._show("running")
        try:
            record = self._run.train(until, on_step=follow)
        except KeyboardInterrupt:  # behind the last step, where the run itself no longer listens
            record = self._run.record
        except Exception as error:
            diverged = isinstance(error, FloatingPointError)
            self._show("failed", f"{error}." if diverged else f"{type(error).__name__}: {error}. {_kept(self._run)}")
            raise
        self._show("finished" if self._run.finished else "stopped")
        return record

    def describe(self) -> str:
        record, done = self._run.record, f"{self._run.step} of {self._run.steps} steps"
        loss = f" The loss is {record.losses[-1]:.3g}." if record.losses else ""
        return f"Training, {self.title}: {done} are done.{loss}"

    def fallback(self) -> dict[str, str | bytes]:
        """The curve so far; nothing where there is none yet."""
        if not self._run.step:
            return {}
        from .pictures import png  # matplotlib, only where something is drawn
        from .training_pictures import loss_curve

        return {"image/png": png(loss_curve(self._run.record, title=self.title))}

    def _receive(self, _, content, buffers) -> None:
        """Take the Stop button. JupyterLab delivers this in a thread of its own, while the cell trains."""
        if not isinstance(content, dict) or content.get("type") != "stop":
            return
        with self._lock:
            if self.state != "running":
                return
            self._run.stop()
            self._show("stopping")

    def _show(self, state: str, message: str | None = None) -> None:
        """Send everything to the browser, in one message."""
        run, record = self._run, self._run.record
        with self._lock, self.hold_sync():
            if not (self.state == "stopping" and state == "running"):
                self.state = state
            self.every, self.losses = _points(record.losses)
            self.step, self.seconds = len(record.losses), record.seconds
            self.tokens_read, self.tokens_taught = sum(record.tokens_read), sum(record.tokens_taught)
            self.measured = _measured(record)
            self.message = _MESSAGES[self.state](run) if message is None else message
            self._shown_at = time.monotonic()


def _points(losses: list[float]) -> tuple[int, bytes]:
    """Return how many steps a point of the curve stands for, and the points as float32; the last may be of fewer."""
    every = max(-(-len(losses) // MOST_POINTS), 1)
    starts = np.arange(0, len(losses), every)
    if every == 1:
        return 1, np.asarray(losses, dtype=np.float32).tobytes()
    sums = np.add.reduceat(np.asarray(losses), starts)
    return every, (sums / np.diff(starts, append=len(losses))).astype(np.float32).tobytes()


def _measured(record: Record) -> str:
    """Say the last evaluation."""
    if not record.evaluations:
        return ""
    last = record.evaluations[-1]
    return ", ".join(f"{name} {value:.3g}" for name, value in last.items() if name != "step") + (
        f" (after {last['step']:,} steps)"
    )


def _kept(run: Run) -> str:
    return f"The weights are those after step {run.step:,} of {run.steps:,}; running the cell again goes on from there."


def _ended(run: Run) -> str:
    return f"Finished: all {run.steps:,} steps are done."


_MESSAGES = {
    "ready": lambda run: "Not begun yet.",
    "running": lambda run: "",
    "stopping": lambda run: "Stopping after this step …",
    "stopped": lambda run: f"Stopped after step {run.step:,} of {run.steps:,}. Run the cell again to go on from there.",
    "finished": _ended,
    "failed": _kept,
}
