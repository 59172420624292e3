"""Copies of progress: a learner's export, what is restored from one, and what a reset keeps beside the file."""

import contextlib
import itertools
from pathlib import Path

from .._check import short
from .._files import file_path
from .progress_file import empty, fit, read, replace, to_text


def write_copy(path: str | Path, text: str) -> Path:
    """Write a record's text there. A file that is there already is replaced only if it is a progress file."""
    path = file_path(path)
    with _in_words(path, "written"):
        there = path.exists()
    if there:
        try:
            read(path)
        except (OSError, ValueError):
            raise FileExistsError(
                f"path = {short(str(path))}: is something else than progress; choose another name"
            ) from None
    with _in_words(path, "written"):
        replace(path, text)
    return path


def read_copy(path: str | Path) -> dict:
    """Read the record that is there. ValueError or OSError says what is wrong with it, or with the path."""
    path = file_path(path)
    with _in_words(path, "read"):
        there = path.is_file()
    if not there:
        raise FileNotFoundError(f"path = {short(str(path))}: there is no such file")
    with _in_words(path, "read"):
        return read(path)


def keep_beside(path: Path, record: dict) -> list[str]:
    """Merge a record into the copies beside `path`, so that all of it can be read again; return their names.

    It is one copy, NAME.before-reset.json, unless that is damaged or has no room: then others are numbered from 2.
    """
    left, names = record, []
    for number in itertools.count(1):
        if left == empty():
            return names
        kept = path.with_suffix(f".before-reset{f'-{number}' if number > 1 else ''}.json")
        try:
            before = read(kept)
        except ValueError:  # damaged since: it stays as it is
            continue
        copied, rest = fit(before, left)
        if rest != left:
            replace(kept, to_text(copied))
            names.append(kept.name)
            left = rest


@contextlib.contextmanager
def _in_words(path: Path, told: str):
    """Say of what the system refuses which path it was."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise type(error)(f"path = {short(str(path))}: cannot be {told} ({reason}); choose another") from None
