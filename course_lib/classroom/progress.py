"""What the learner has done, in one file that is never lost: quizzes answered, guesses made, exercises solved.

The file is $COURSE_PROGRESS, else `work/progress.json` of the checkout that this package lies in, else of the working
directory. Every change reads the file, changes one entry and replaces the file as a whole, under a lock: two notebooks
at once lose nothing, and a crash leaves the old file or the new one. Where nothing can be written, the lesson goes on
with what is in memory, says so once, and writes it all as soon as it can; in a file that is full, what has no room
waits in memory, and the rest is written. A file that cannot be understood is moved aside, never overwritten.

    progress                        in a cell: the panel, with Export, Restore and Reset
    progress.export("mine.json")    a copy, for another machine (Binder forgets everything)
    progress.restore("mine.json")   merged with what is here: the best of both
    progress.reset("forget")        start anew; what was there is kept beside, in progress.before-reset.json, merged
                                    with what an earlier reset left there
"""

import contextlib
import os
import threading
import warnings
import weakref
from datetime import UTC, datetime
from pathlib import Path

import filelock

from .._check import short, shown
from .progress_copies import keep_beside, read_copy, write_copy
from .progress_file import (
    MAX_BYTES,
    MAX_ENTRIES,
    SECTIONS,
    can_be_read,
    check_room,
    empty,
    fit,
    merge,
    parse,
    read,
    replace,
    to_text,
)

_PACKAGE = Path(__file__).resolve().parents[1]


class ProgressWarning(UserWarning):
    """Progress could not be read or written; the lesson goes on."""


class Progress:
    """The learner's record. One object, `progress`, serves every widget of a kernel, from any thread.

    `lock` guards it and every widget that keeps a part of it: one for all, so that two can never wait for each other.
    """

    def __init__(self):
        self.lock = threading.RLock()
        self._unsaved = empty()
        self._notices: dict[str, str] = {}
        self._listeners: weakref.WeakSet = weakref.WeakSet()

    @property
    def path(self) -> Path:
        """Where the record is kept."""
        if named := os.environ.get("COURSE_PROGRESS"):
            with contextlib.suppress(RuntimeError):  # a ~, and no home
                return Path(named).expanduser()
        checkout = _PACKAGE.parent
        return (checkout if (checkout / "pyproject.toml").exists() else Path.cwd()) / "work" / "progress.json"

    @property
    def notice(self) -> str:
        """What the learner should know about the file, in words; empty when all is well."""
        return " ".join(self._notices.values())

    def snapshot(self) -> dict:
        """Return the whole record: `questions`, `predictions`, `exercises`, each by id. A copy."""
        with self.lock:
            try:
                return merge(read(self.path), self._unsaved)
            except (OSError, ValueError):
                # look again under the lock, and move aside what cannot be understood
                return merge(self._guarded(self._read_or_set_aside) or empty(), self._unsaved)

    def record_question(self, question_id: str, *, status: str, tries: int, response) -> None:
        """Keep the state of one question: status new, missed, right or shown, after so many tries since it was new."""

        def change(entry: dict | None) -> dict:
            entry = entry or {"tries": 0, "right": False, "shown": False, "last": {"tries": 0}, "when": ""}
            return {
                "tries": entry["tries"] + max(0, tries - entry["last"]["tries"]),
                "right": entry["right"] or status == "right",
                "shown": entry["shown"] or status == "shown",
                "last": {"status": status, "tries": tries, "response": response},
                "when": _now(entry),
            }

        self._change("questions", question_id, change)

    def record_prediction(
        self, prediction_id: str, guess, *, revealed: bool = False, outdated: dict | None = None
    ) -> None:
        """Keep a guess; `revealed` when the truth has been seen beside it, after which it no longer changes.

        outdated: the kept entry that no longer fits what is asked. The guess takes its place, as revealed as it was.
        """

        def change(entry: dict | None) -> dict:
            was_revealed = entry is not None and entry["revealed"]  # perhaps in another notebook
            if was_revealed and entry != outdated:
                return entry
            return {"guess": guess, "revealed": revealed or was_revealed, "when": _now(entry)}

        self._change("predictions", prediction_id, change)

    def record_exercise(self, name: str, state: str) -> None:
        """Keep the outcome of a check: untouched (not recorded), wrong or right. What was right once stays right."""
        if not isinstance(state, str) or state not in ("untouched", "wrong", "right"):
            raise ValueError(f"state = {short(state)}: allowed are 'untouched', 'wrong' and 'right'")

        def change(entry: dict | None) -> dict:
            best = "right" if "right" in (state, (entry or {}).get("state")) else "wrong"
            return {"state": best, "tries": (entry or {}).get("tries", 0) + 1, "when": _now(entry)}

        if state != "untouched":
            self._change("exercises", name, change)

    def export_text(self) -> str:
        """Return the record as the text of a progress file."""
        return to_text(self.snapshot(), indent=1)

    def export(self, path: str | Path) -> str:
        """Write a copy. A file that is there already is replaced only if it is a progress file."""
        return f"Progress copied to {write_copy(path, self.export_text())}."

    def restore(self, path: str | Path) -> str:
        """Merge a progress file into this record, the best of both. ValueError says what is wrong with the file."""
        return self._restore(read_copy(path))

    def restore_text(self, text: str) -> str:
        """Merge the text of a progress file, as `restore` does."""
        return self._restore(parse(text))

    def reset(self, confirm: str = "") -> str:
        """Forget everything, if `confirm` is "forget". What was there is kept beside, and the text says where."""
        if not isinstance(confirm, str) or confirm != "forget":
            raise ValueError(f'confirm = {short(confirm)}: to forget all progress, call progress.reset("forget")')
        with self.lock:
            kept = self._guarded(self._forget)
        self._tell()
        if kept is None:
            return f"Nothing was forgotten. {self.notice}"
        return "Progress is empty again." + (f" What was there is kept in {' and '.join(kept)}." if kept else "")

    def watch(self, listener) -> None:
        """Call `listener.refresh(record)` after every change, for as long as the listener lives."""
        self._listeners.add(listener)

    def __repr__(self) -> str:
        from .panel import summary, words  # the panel needs widgets and banks; recording does not

        return words(summary(self.snapshot())) + (f" {self.notice}" if self.notice else "")

    def _repr_mimebundle_(self, **kwargs):
        from .panel import ProgressPanel

        return ProgressPanel(self)._repr_mimebundle_(**kwargs)

    def _restore(self, other: dict) -> str:
        with self.lock:
            mine = self.snapshot()
            check_room(mine, merge(mine, other))
            self._unsaved = merge(self._unsaved, other)
            self._save()
        self._tell()
        counts = ", ".join(f"{len(other[section])} {section}" for section in SECTIONS)
        return f"Restored {counts}; merged with what was here."

    def _change(self, section: str, name: str, change) -> None:
        with self.lock:
            entry = change(self.snapshot()[section].get(name) if isinstance(name, str) else None)
            if not isinstance(name, str) or not can_be_read({**empty(), section: {name: entry}}):
                raise ValueError(f"{section}: {shown(name)} with {short(entry)} is nothing that progress can keep")
            self._unsaved[section][name] = entry
            self._save()
        self._tell()

    def _save(self) -> None:
        def write() -> None:
            before = self._read_or_set_aside()
            data, left = fit(before, self._unsaved)
            if data != before:
                replace(self.path, to_text(data, separators=(",", ":")))
            self._unsaved = left
            if left == empty():
                self._notices.pop("write", None)
            else:
                self._say(
                    "write",
                    f"Some answers cannot be saved to {self.path}: it is full ({MAX_ENTRIES} entries of a kind, or "
                    f"{MAX_BYTES // 1_000_000} MB). They are kept until this kernel stops: move that file to another "
                    "place, and they go into a new one with your next answer.",
                )

        self._guarded(write)

    def _forget(self) -> list[str]:
        """Empty the file; return the names of the copies that everything is in before."""
        names = keep_beside(self.path, merge(self._read_or_set_aside(), self._unsaved))
        replace(self.path, to_text(empty()))
        self._unsaved = empty()
        return names

    def _guarded(self, action):
        """Do something under the file's lock. What the place refuses is said once in words, never raised: None then."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(f"{os.path.realpath(self.path)}.lock", timeout=5):  # a link's file has one lock
                return action()
        except filelock.Timeout:
            self._say("write", f"Another notebook has kept {self.path.name} busy; this is saved with your next answer.")
        except (OSError, NotImplementedError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._say(
                "write",
                f"Progress cannot be saved to {self.path} ({reason}). It is kept until this kernel stops: "
                "use Export in the progress panel.",
            )
        return None

    def _read_or_set_aside(self) -> dict:
        try:
            return read(self.path)
        except ValueError as error:
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
            aside = self.path.with_name(f"{self.path.stem}.kept-{stamp}.json")
            os.replace(self.path, aside)
            self._say("read", f"{self.path.name} could not be used: {error}. It is kept as {aside.name}.")
            return empty()

    def _say(self, topic: str, text: str) -> None:
        if self._notices.get(topic) != text:
            self._notices[topic] = text
            warnings.warn(text, ProgressWarning, stacklevel=2)

    def _tell(self) -> None:
        record = self.snapshot()
        for listener in list(self._listeners):
            listener.refresh(record)


def _now(entry: dict | None) -> str:
    """Return the time, but never one before the entry's own: a clock set back must not make the newest state lose."""
    return max(datetime.now(UTC).isoformat(timespec="seconds"), (entry or {}).get("when", ""))


progress = Progress()
