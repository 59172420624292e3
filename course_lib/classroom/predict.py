"""Predictions: the learner commits to a guess, and the next cell's picture is drawn with it.

    guess = predict("prefix_mask.count"); guess
    guess.reveal(draw, truth=31, alt="...")      # draw(value) returns a matplotlib figure; value is None if untaken

A guess can be changed until it has been seen beside the truth. Without one (Run All) the picture comes all the same,
and is drawn anew when a guess is taken. Guesses are kept in `progress`.
"""

import html
import threading
from collections.abc import Callable

import traitlets

from .._check import short
from . import rich
from .banks import load_banks
from .grading import RefusedError
from .guesses import check_truth, compare, validate
from .progress import progress
from .quiz import link, unknown
from .widgets import OURS, CourseWidget

__all__ = ["Prediction", "Reveal", "predict"]

NO_GUESS = "No guess yet: take one above and it will be drawn here."


def predict(name: str) -> "Prediction":
    """Return the prediction with this id ("prefix_mask.count"), to be shown in a cell.

    Raises TypeError for anything but a string, ValueError for an id that no bank has; it lists what there is.
    """
    predictions = load_banks().predictions
    if not isinstance(name, str):
        raise TypeError(f"name = {short(name)}: a prediction is named by a string such as 'prefix_mask.count'")
    if name not in predictions:
        raise ValueError(unknown("name", name, {"predictions": predictions}))
    return Prediction(predictions[name])


class Prediction(CourseWidget, source="predict"):
    """A question whose answer the next picture shows. `value` is the guess: a number, an option, or one value an x."""

    asked = traitlets.Dict().tag(**OURS)
    guess = traitlets.Any().tag(**OURS)
    locked = traitlets.Bool().tag(**OURS)
    reply = traitlets.Dict().tag(**OURS)  # the browser's last message answered: its number, and a note in words
    draft = traitlets.Any().tag(sync=True)  # the browser's own: what is set but not committed
    notice = traitlets.Unicode().tag(**OURS)

    def __init__(self, entry: dict):
        self._entry, self._value, self._locked = entry, None, False
        self._outdated: dict | None = None  # what is kept of this prediction and no longer fits it
        self._reveals: list[Reveal] = []
        asked = {name: value for name, value in entry.items() if name != "taught"}
        super().__init__(asked={**asked, "prompt": rich.parse(entry["prompt"])})
        self.refresh(progress.snapshot())
        progress.watch(self)
        self.on_msg(self._receive)

    @property
    def value(self):
        """The guess, or None while there is none."""
        return self._value

    def reveal(self, draw: Callable, *, alt: str, truth=None) -> "Reveal":
        """Return the picture, to be shown in the next cell; it is drawn anew when a guess is taken later.

        draw: called with the guess or None, returns a matplotlib figure. alt: the picture in one sentence, at least 20
        characters. truth: if given, a sentence compares the guess with it; of the kind of the guess.
        """
        if not callable(draw):
            raise TypeError(f"draw = {short(draw)}: must be a function of the guess that returns a matplotlib figure")
        if not isinstance(alt, str) or len(alt.strip()) < 20:
            raise ValueError(f"alt = {short(alt)}: describe the picture in one sentence, at least 20 characters")
        if truth is not None:
            truth = check_truth(self._entry, truth)
        shown = Reveal(self, draw, alt.strip(), truth)
        self._reveals.append(shown)
        self._lock_if_seen()
        return shown

    def refresh(self, record: dict) -> None:
        """Take over what `record` says of this prediction; Restore, Reset or another cell may have changed it."""
        with progress.lock:
            kept = record["predictions"].get(self._entry["id"])
            try:
                value = None if kept is None else validate(self._entry, kept["guess"])
            except RefusedError:  # the prediction was edited since
                value = None
            changed = value != self._value
            self._value, self._locked = value, value is not None and kept["revealed"]
            self._outdated = kept if value is None else None
            self._show()
        if changed:
            for shown in self._reveals:
                shown.redraw()

    def describe(self) -> str:
        return f"Prediction: {rich.plain(self._entry['prompt'])}"

    def fallback(self) -> dict[str, str | bytes]:
        options = "".join(f"<li>{html.escape(option)}</li>" for option in self._entry.get("options", []))
        taught = self._entry["taught"]
        where = f'<a href="{html.escape(link(taught))}">{html.escape(taught["heading"])}</a>'
        return {
            "text/html": f"<div><p><strong>Before you look.</strong> {rich.to_html(self._entry['prompt'])}</p>"
            f"{f'<ul>{options}</ul>' if options else ''}"
            f"<p>Take a guess before you read on. ({where})</p></div>"
        }

    def _receive(self, _, content, buffers) -> None:
        if not isinstance(content, dict) or content.get("type") != "guess":
            return
        number, note, taken = content.get("number"), "", False
        with progress.lock:
            try:
                if not self._locked:
                    value = validate(self._entry, content.get("value"))
                    progress.record_prediction(self._entry["id"], value, outdated=self._outdated)
                    taken = self._value == value  # not if another notebook has shown the truth beside its own
                if not taken:
                    raise RefusedError("This guess has been seen beside the truth; it stays as it is.")
            except RefusedError as refusal:
                note = str(refusal)
            self._show()
            self.reply = {"number": number if isinstance(number, int) else 0, "note": note}
        self._lock_if_seen()

    def _lock_if_seen(self) -> None:
        with progress.lock:
            if self._reveals and self._value is not None and not self._locked:
                progress.record_prediction(self._entry["id"], self._value, revealed=True)

    def _show(self) -> None:
        self.guess, self.locked, self.notice = self._value, self._locked, progress.notice


class Reveal(CourseWidget, source="predict"):
    """The picture that follows a prediction."""

    picture = traitlets.Bytes().tag(**OURS)
    alt = traitlets.Unicode().tag(**OURS)
    line = traitlets.Unicode().tag(**OURS)

    def __init__(self, prediction: Prediction, draw: Callable, alt: str, truth):
        self._prediction, self._draw, self._truth = prediction, draw, truth
        self._plain = self._png(None) if prediction.value is not None else b""  # for readers without a kernel
        super().__init__(alt=alt, picture=self._png(prediction.value), line=self._line())

    def redraw(self) -> None:
        """Draw again, in the kernel's main thread when it is free: matplotlib is not for two threads at once."""
        self.line = self._line()
        _on_main_thread(self._redraw)

    def describe(self) -> str:
        return self.alt

    def fallback(self) -> dict[str, str | bytes]:
        """The picture without a guess: a notebook's outputs do not depend on who ran it."""
        return {"image/png": self._plain or self.picture}

    def _redraw(self) -> None:
        try:
            self.picture = self._png(self._prediction.value)
        except Exception as error:  # the lesson's or the learner's own function, called long after its cell
            self.line = f"{self._line()} It could not be drawn: {type(error).__name__}: {error}"

    def _png(self, value) -> bytes:
        from .pictures import png_and_close  # matplotlib, only where something is drawn

        return png_and_close(self._draw(value), "what draw returns")

    def _line(self) -> str:
        value = self._prediction.value
        if value is None:
            return NO_GUESS
        return compare(self._prediction._entry, value, self._truth)


def _on_main_thread(callback: Callable[[], None]) -> None:
    """JupyterLab delivers a widget's messages in a thread of their own, while a cell may be running in the main one."""
    if threading.current_thread() is threading.main_thread():
        callback()
        return
    from IPython import get_ipython

    loop = getattr(getattr(get_ipython(), "kernel", None), "io_loop", None)
    if loop is None:
        callback()
    else:
        loop.add_callback(callback)
