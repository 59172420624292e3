"""Build notebooks/*.ipynb, with outputs, from the text that people edit: notebooks/source/NN_*.md (MyST, by jupytext).

    build_notebooks.py                     build what is stale
    build_notebooks.py --force 02          build the lessons whose name begins with 02, stale or not
    build_notebooks.py --check             build nothing, say what is stale; exit status 1 if anything is

Cells run in order on the CPU, in a kernel of their own, with the learner's progress kept out of it. A notebook stores a
hash of its source and one of course_lib, so that an output older than what made it is seen. Built twice from the same
text, a notebook is the same to the byte: ids come from the headings, what a kernel invents by chance is left out.
"""

import argparse
import hashlib
import os
import re
import sys
import tempfile
import time
import unicodedata
from pathlib import Path

import jupytext
import nbformat
import tables
from lesson_time import fill_placeholders, run_minutes_of
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from course_lib.classroom.glossary_terms import TERMS

ROOT = Path(__file__).resolve().parent.parent
SOURCE, BUILT, LIBRARY = ROOT / "notebooks" / "source", ROOT / "notebooks", ROOT / "course_lib"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"  # a random id, and without its kernel a dead one
LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python", "pygments_lexer": "ipython3"}
CELL_TIMEOUT = 120  # seconds; nbval gives a cell the same


class BuildError(Exception):
    """Why a notebook cannot be built, in words."""


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def library_hash(library: Path = LIBRARY) -> str:
    """Hash every file of course_lib that can change an output: code, styles, banks and recorded results."""
    total = hashlib.sha256()
    for path in sorted(library.rglob("*"), key=lambda path: path.relative_to(library).as_posix()):
        if path.suffix in {".py", ".js", ".css", ".json"} and "__pycache__" not in path.parts:
            total.update(path.relative_to(library).as_posix().encode() + b"\0")
            total.update(path.read_bytes().replace(b"\r\n", b"\n") + b"\0")
    return total.hexdigest()


def slug(text: str) -> str:
    """Turn a heading into letters, digits and hyphens, as a cell id needs them."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "section"


def headings(text: str) -> list[str]:
    """Return the headings of a text cell, code blocks left out."""
    return re.findall(
        r"^#{1,6} +(.+?)[ #]*$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )


def set_ids(name: str, cells) -> None:
    """Name each cell after the lesson's number, the nearest heading in or above it, and its place under that."""
    section, place, used = "top", 0, set()
    for cell in cells:
        for heading in headings(cell.source) if cell.cell_type == "markdown" else ():
            section, place = slug(heading), 0
            while section in used:  # the same heading again
                section += "-again"
            used.add(section)
        cell.id = f"{name.split('_')[0]}-{section}-{place}"[-64:]
        place += 1


def read_source(name: str, text: str) -> nbformat.NotebookNode:
    """Turn a lesson's text into a notebook without outputs; the placeholder is still in it."""
    try:
        read = jupytext.reads(text, fmt="md:myst")
    except Exception as error:  # jupytext passes on whatever its parsers raise
        raise BuildError(f"{name}: the text cannot be read as MyST: {error}") from error
    kernel = read.metadata.get("kernelspec")
    if not kernel:
        raise BuildError(f"{name}: the text needs a header that names the kernel (kernelspec)")
    notebook = nbformat.v4.new_notebook(cells=read.cells, metadata={"kernelspec": kernel, "language_info": LANGUAGE})
    set_ids(name, notebook.cells)
    return notebook


def words_of(name: str) -> str:
    """Return the glossary's words that a lesson teaches, each a link to its heading there.

    JupyterLab follows such a link only if nothing in it is quoted.
    """
    words = [f"[{term.name}](#{term.heading.replace(' ', '-')})" for term in TERMS if term.notebook == name]
    return ", ".join(words)


def notebook_client(notebook, folder: Path) -> NotebookClient:
    """Return what runs a notebook in a kernel of its own, in a folder."""
    return NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        store_widget_state=False,
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )


def run_cells(notebook, folder: Path, name: str, client: NotebookClient | None = None) -> float:
    """Run all cells in place, on the CPU and away from the learner's progress; return the seconds it took."""
    client = client or notebook_client(notebook, folder)
    with tempfile.TemporaryDirectory() as scratch:
        environment = {key: value for key, value in os.environ.items() if key != "COURSE_BUILD"}
        environment |= {"COURSE_DEVICE": "cpu", "COURSE_PROGRESS": str(Path(scratch) / "progress.json")}
        start = time.perf_counter()
        try:
            client.execute(env=environment)
        except CellExecutionError as error:
            last = max((c for c in notebook.cells if c.get("execution_count")), key=lambda c: c.execution_count)
            raise BuildError(f"{name}: cell {last.id} raised\n{error}") from None
        except (CellTimeoutError, DeadKernelError) as error:
            raise BuildError(f"{name}: {error}") from None
        return time.perf_counter() - start


def settle(notebook) -> None:
    """Leave out what differs from run to run or from machine to machine."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = LANGUAGE
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET_VIEW, None)
            if output.output_type == "error":
                output.traceback = [line.replace(f"{ROOT}{os.sep}", "") for line in output.traceback]


def build(name: str, source: Path, out: Path, library: str) -> Path:
    """Build one notebook and put it in its place as a whole."""
    text, target = source.read_text("utf-8"), out / f"{name}.ipynb"
    notebook = read_source(name, text)
    before = read_built(target)
    recorded = before.metadata.get("course", {}).get("run_minutes") if before else None
    run_minutes = run_minutes_of(run_cells(notebook, out, name), recorded)
    settle(notebook)
    try:
        fill_placeholders(notebook, run_minutes, words=words_of(name))
    except ValueError as error:
        raise BuildError(f"{name}: {error}") from None
    notebook.metadata.course = {"source": text_hash(text), "library": library, "run_minutes": run_minutes}
    nbformat.validate(notebook)
    temporary = target.with_suffix(".ipynb.tmp")
    temporary.write_text(nbformat.writes(notebook) + "\n", "utf-8")
    os.replace(temporary, target)
    return target


def read_built(path: Path):
    """Read a built notebook; None if there is none, or what is there is no notebook."""
    try:
        return nbformat.read(path, as_version=4)
    except Exception:  # nbformat raises whatever it stumbles over
        return None


def stale(name: str, source: Path, built: Path, library: str) -> str | None:
    """Say why a built notebook is not what its source would give, or None."""
    text, notebook = source.read_text("utf-8"), read_built(built)
    if notebook is None:
        return "is not built, or cannot be read"
    recorded = notebook.metadata.get("course", {})
    if recorded.get("source") != text_hash(text):
        return "its source has changed since it was built"
    if recorded.get("library") != library:
        return "course_lib has changed since it was built"
    expected = read_source(name, text)
    try:
        fill_placeholders(expected, recorded.get("run_minutes", 0), words=words_of(name))
    except ValueError as error:
        return str(error)
    if len(expected.cells) != len(notebook.cells):
        return f"it has {len(notebook.cells)} cells, its source {len(expected.cells)}"
    for wanted, cell in zip(expected.cells, notebook.cells, strict=True):
        for part in ("cell_type", "id", "source", "metadata"):
            if wanted[part] != cell[part]:
                return f"cell {wanted.id}: its {part} is not what the source says"
    return None


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description="Build the notebooks, with outputs, from their sources.")
    parser.add_argument("names", nargs="*", help="only lessons whose name begins so, for example 02")
    parser.add_argument("--source", type=Path, default=SOURCE, help="folder of the .md files")
    parser.add_argument("--out", type=Path, default=BUILT, help="folder of the .ipynb files")
    parser.add_argument("--force", action="store_true", help="build also what is not stale")
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    options = parser.parse_args(arguments)
    sources = {path.stem: path for path in sorted(options.source.glob("[0-9]*.md"))}
    chosen = {
        name: path for name, path in sources.items() if not options.names or name.startswith(tuple(options.names))
    }
    if not chosen:
        print(f"no source in {options.source} fits {' '.join(options.names) or 'NN_*.md'}", file=sys.stderr)
        return 1
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not one that the user has installed
    library, failures = library_hash(), 0
    for name, path in chosen.items():
        try:
            reason = stale(name, path, options.out / f"{name}.ipynb", library)
            if options.check:
                failures += reason is not None
                print(f"{name}: {reason or 'up to date'}")
            elif reason or options.force:
                print(f"{name}: {reason or 'forced'}: building", flush=True)
                build(name, path, options.out, library)
        except BuildError as error:
            failures += 1
            print(error, file=sys.stderr)
    orphans = {path.stem for path in options.out.glob("*.ipynb")} - sources.keys()
    for name in sorted(orphans):
        print(f"{name}: a notebook without a source", file=sys.stderr)
    if options.out == BUILT and not failures:
        try:
            for name in tables.write_all(check=options.check):
                print(f"{name}: its tables {'are out of date' if options.check else 'were written'}")
                failures += options.check
        except tables.TableError as error:
            failures += 1
            print(error, file=sys.stderr)
    return 1 if failures or orphans else 0


if __name__ == "__main__":
    sys.exit(main())
