"""Find the system's Chromium: for the measurements, the picture of the demo, and the browser tests."""

import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")


def find() -> str:
    """Return the path of Chromium: what COURSE_CHROMIUM names, else the first that is installed.

    Raises FileNotFoundError, in words, where there is none.
    """
    if named := os.environ.get("COURSE_CHROMIUM"):
        if not Path(named).is_file():
            raise FileNotFoundError(f"COURSE_CHROMIUM={named!r} is no file")
        return named
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    raise FileNotFoundError(
        "no chromium on this machine: install it with the system's package manager, or set COURSE_CHROMIUM"
    )
