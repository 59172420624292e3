"""Files are named and written here, so that every part refuses the same names, and writes whole or not at all."""

import os
import re
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ._check import short, shown


def file_path(path) -> Path:
    """Return a path that can name a file, with ~ for home; TypeError or ValueError for any other."""
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        raise TypeError(f"path must be the name of a file, got {shown(path)}")
    name = os.path.expanduser(path)
    if "\0" in name or not name.strip() or len(name) > 4000 or re.search("[\ud800-\udc7f\udd00-\udfff]", name):
        raise ValueError(f"path = {short(name)}: must be the name of a file, from 1 to 4000 characters")
    if name.startswith("~"):
        raise ValueError(f"path = {short(name)}: there is no such home folder; write the whole path")
    return Path(name)


def write_whole(path, content: str | Callable[[BinaryIO], None]) -> None:
    """Write a text, as UTF-8, or what a function writes, to a file: beside it first, then in its place.

    So an interruption leaves the old file, if there is one, and never half of the new one. A link goes on leading where
    it led, and a file keeps its permissions. ValueError, and nothing is written, where something else than a file is,
    such as a folder or a device; OSError, naming the path, for what cannot be written.
    """
    path = file_path(path)
    target = Path(os.path.realpath(path))  # of a link, what it leads to
    part = target.with_name(f".{target.name}.part")
    try:
        mode = target.stat().st_mode if os.path.lexists(target) else None
        if mode is not None and not stat.S_ISREG(mode):
            raise ValueError(f"path = {short(str(path))}: must be the name of a file, but what is there is none")
        with open(part, "wb") as file:
            if mode is not None:
                os.chmod(part, stat.S_IMODE(mode))  # before there is anything in it to read
            if callable(content):
                content(file)
            else:
                file.write(content.encode())
        os.replace(part, target)
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__  # torch tells of a full disk in riddles
        if isinstance(cause, OSError) and cause.errno is not None:
            raise OSError(cause.errno, cause.strerror, str(path)) from error  # the part's name would tell nobody
        raise
    finally:
        with suppress(OSError):  # it was never made, or is in place by now
            part.unlink()
