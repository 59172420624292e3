"""Files are named and written here, so that every part refuses the same names, and writes whole or not at all."""

import os
import re
from collections.abc import Callable
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

    So an interruption leaves the old file, if there is one, and never half of the new one.
    """
    path = file_path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        with open(part, "wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
