"""Lay the lessons out in `work/`, the learner's own folder, and open JupyterLab there.

A learner's copy is never overwritten. What the course laid is known by a hash of its cells (`work/.course.json`), so:
- a lesson that is not there is copied;
- a copy that the learner never changed is replaced when the course has a newer one (saving outputs is a change);
- a changed copy stays, and the newer lesson is laid beside it, once, as `NAME.new.ipynb`.
Anything odd (a link, a folder, a file that cannot be read or is write-protected) is left as it is, and said.
"""

import contextlib
import hashlib
import json
import os
import stat
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ".course.json"
START = "00_start_here.ipynb"
NO_NEWS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
CLOSING_ENDS = {"@jupyterlab/notebook-extension:tracker": {"kernelShutdown": True}}  # a closed notebook holds no memory


def digest(content: bytes) -> str:
    """Hash a notebook's cells, outputs included: JupyterLab changes the rest when a notebook is merely opened."""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # no notebook: every byte counts
        content = json.dumps(json.loads(content)["cells"], sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()


def put(path: Path, content: bytes) -> None:
    """Write a file as a whole, or not at all."""
    handle, temporary = tempfile.mkstemp(prefix=".laying-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def read_record(work: Path) -> dict[str, list[str]]:
    """Return, for each lesson, the hashes of all that was ever laid. Without a readable record, nothing is known."""
    try:
        record = json.loads((work / RECORD).read_text("utf-8"))["laid"]
        return {str(name): [str(one) for one in hashes] for name, hashes in record.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def untouched(path: Path, laid: list[str]) -> bool:
    """Is this exactly a file that the course laid, and free to be replaced?"""
    if path.is_symlink() or not path.is_file() or not path.stat().st_mode & stat.S_IWUSR:
        return False
    return digest(path.read_bytes()) in laid


def lay_beside(work: Path, name: str, content: bytes, laid: list[str]) -> Path:
    """Lay a newer lesson under the first free name; an offer that was never touched gives way to it."""
    stem = name.removesuffix(".ipynb")
    for number in range(1, 1000):
        path = work / (f"{stem}.new.ipynb" if number == 1 else f"{stem}.new-{number}.ipynb")
        if not os.path.lexists(path) or untouched(path, [*laid, digest(content)]):
            put(path, content)
            return path
    raise OSError(f"there are too many copies beside {name}")


def lay(lesson: Path, work: Path, laid: list[str]) -> str | None:
    """Bring one lesson to the learner; extend `laid` by what was laid. Return what there is to say, or None."""
    name, content = lesson.name, lesson.read_bytes()
    mine, new = work / name, digest(content)
    known, message = new in laid, None
    if not os.path.lexists(mine):
        put(mine, content)
    elif not mine.is_symlink() and mine.is_file() and digest(mine.read_bytes()) == new:
        pass
    elif untouched(mine, laid):
        put(mine, content)
        message = f"{name}: the course has a new version; yours was unchanged and has been replaced"
    elif not known:
        beside = lay_beside(work, name, content, laid)
        message = f"{name}: the course has a new version, laid beside yours as {beside.name}; yours is as you left it"
    if not known:
        laid.append(new)
    return message


def lay_all(lessons: Path, work: Path) -> list[str]:
    """Lay every lesson; return what there is to say. OSError if `work` cannot be used at all."""
    work.mkdir(exist_ok=True)
    record, messages = read_record(work), []
    if not record and os.path.lexists(work / RECORD):
        messages.append(f"{RECORD} cannot be read; every lesson of yours counts as changed, and stays")
    before = json.dumps(record)
    for lesson in sorted(lessons.glob("*.ipynb")):
        try:
            message = lay(lesson, work, record.setdefault(lesson.name, []))
        except OSError as error:
            message = f"{lesson.name}: left as it is ({error})"
        if message:
            messages.append(message)
    if json.dumps(record) != before:
        text = json.dumps({"about": "hashes of the lessons as laid by make lab", "laid": record}, indent=1)
        put(work / RECORD, text.encode() + b"\n")
    return messages


def override(prefix: Path, settings: dict) -> None:
    """Set what JupyterLab in this environment begins with, by plugin. Other settings there stay."""
    path = prefix / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    try:
        before = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        before = {}
    if not isinstance(before, dict):
        before = {}
    after = dict(before)
    for plugin, ours in settings.items():
        theirs = before.get(plugin)
        after[plugin] = {**(theirs if isinstance(theirs, dict) else {}), **ours}
    if after != before:
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path, json.dumps(after, indent=1).encode() + b"\n")


def lab_command(root: Path, arguments: list[str]) -> list[str]:
    """JupyterLab sees the whole checkout, so that the library can be read and changed, and opens the first lesson."""
    return [
        sys.executable,
        "-m",
        "jupyterlab",
        f"--ServerApp.root_dir={root}",
        f"--LabApp.default_url=/lab/tree/work/{START}",
        *arguments,
    ]


def main(arguments: list[str]) -> int | None:
    lessons, work = ROOT / "notebooks", ROOT / "work"
    if not (lessons / START).is_file():
        print(f"{lessons} has no {START}: `make notebooks` builds the lessons", file=sys.stderr)
        return 1
    try:
        for message in lay_all(lessons, work):
            print(message)
    except OSError as error:
        print(f"{work} cannot be used for your copies of the lessons: {error}", file=sys.stderr)
        return 1
    if not (work / START).is_file():
        print(f"work/{START} is no file that can be opened; move it away and run this again", file=sys.stderr)
        return 1
    override(Path(sys.prefix), NO_NEWS)
    print(f"Opening work/{START}. Stop with Ctrl-C.", flush=True)
    command = lab_command(ROOT, arguments)
    os.chdir(ROOT)
    # in place of this process, so that Ctrl-C reaches JupyterLab alone and it can end its kernels
    os.execve(command[0], command, {"JUPYTER_PREFER_ENV_PATH": "1", **os.environ})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
