"""The course in odd places: any working directory, no home, other systems' rules for names and line ends."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).parent.parent
LEFTOVERS = {"work", "build", "dist", "shots", "shared"}
RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
SHORT = ("00", "01", "02", "08")
RUN = """
import pathlib, sys, nbformat
short = sys.argv[1].split()
for path in map(pathlib.Path, sys.argv[2:]):
    cells = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    names = {"__name__": "__main__"}
    for cell in cells if path.name[:2] in short else cells[:1]:
        exec(compile(cell, path.name, "exec"), names)
    print("has run", path.name)
"""


def test_lessons_run_in_any_order_anywhere_and_without_a_home(tmp_path):
    """The short ones whole, and of the others what they need from outside: the first cell."""
    folder = tmp_path / "a folder, \u00e9\u00df \u706f"
    folder.mkdir()
    lessons = sorted((ROOT / "notebooks").glob("*.ipynb"))
    environment = {
        **{name: value for name, value in os.environ.items() if name not in ("HOME", "COURSE_PROGRESS")},
        **{"HOME": "/proc/nowhere", "PYTHONPATH": str(ROOT), "COURSE_DEVICE": "cpu"},
    }
    strict = ["-X", "warn_default_encoding", "-W", "error::EncodingWarning:course_lib"]
    done = subprocess.run(
        [sys.executable, *strict, "-c", RUN, " ".join(SHORT), *map(str, reversed(lessons))],
        cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("has run") == len(lessons)
    assert list(folder.iterdir()) == []


def test_no_lesson_reads_or_writes_files_so_their_order_is_no_matter():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                assert not re.search(r"\bopen\(|\bPath\(|\bos\.|chdir|\.save\(|read_text|write_text", cell.source), (
                    path.name
                )


def every_path() -> list[Path]:
    found = []
    for folder, folders, names in os.walk(ROOT):
        skip = LEFTOVERS if Path(folder) == ROOT else set()
        folders[:] = [
            name for name in folders
            if name not in skip and not name.startswith((".", "__pycache__")) and not name.endswith(".egg-info")
        ]  # fmt: skip
        found += [Path(folder, name).relative_to(ROOT) for name in names]
    return found


def test_every_name_can_be_one_on_windows_and_on_a_mac():
    paths = every_path()
    assert len(paths) > 100
    for path in paths:
        assert str(path).isascii(), path
        assert len(str(path)) < 150, path
        for part in path.parts:
            assert not re.search(r'[<>:"|?*\\\x00-\x1f]', part), path
            assert not part.endswith((" ", ".")), path
            assert part.lower().split(".")[0] not in RESERVED, path
    folded = [str(path).lower() for path in paths]
    assert len(set(folded)) == len(folded)  # their folders know no capitals


def test_line_ends_stay_as_they_are_written():
    """A script of Binder's with other line ends does not run, and a lesson's source would count as changed."""
    assert "* text=auto eol=lf" in (ROOT / ".gitattributes").read_text("utf-8").splitlines()
    for path in every_path():
        if path.suffix in (".py", ".md", ".js", ".css", ".json", ".yml", ".toml", ".ipynb", ""):
            assert b"\r\n" not in (ROOT / path).read_bytes(), path
