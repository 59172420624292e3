"""Run each lesson in a fresh kernel, as Run All does, and measure its seconds and its peak memory. Needs Linux.

    python tools/bench_lessons.py [--json benchmarks/lessons.json] [02 03]

"seconds" are those on the clock, from the start of the kernel to the last output. "kernel_mib" is the most memory that
the kernel's process ever had (VmHWM, as Linux counts it). "all_mib" is the most that it and the processes that it
started had together, looked at five times a second; memory that they share counts once for each. "open_mib" is what
the kernels of all lessons hold together if nobody ends them (Pss: memory that several share counts once). A learner's
progress is not touched. The README's table is written from the record.
"""

import argparse
import re
import sys
import threading
from pathlib import Path

import nbformat
import tables
from build_notebooks import BUILT, BuildError, notebook_client, run_cells
from jupyter_core.utils import run_sync

PROC = Path("/proc")


def memory_mib(pid: int, field: str, file: str = "status") -> float:
    """Return a field of /proc/PID/status in MiB: VmHWM is the most a process ever had, VmRSS what it has."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", (PROC / str(pid) / file).read_text(), re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0  # a process that has just ended has no memory


def family(pid: int) -> list[int]:
    """Return a process, its children, theirs, and so on."""
    found = [pid]
    for one in found:
        for children in (PROC / str(one)).glob("task/*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


class Watch(threading.Thread):
    """Looks at the memory of a process and of all that it starts, until told to stop."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self.pid, self.peak_mib, self._done = pid, 0.0, threading.Event()

    def look(self) -> None:
        total = 0.0
        try:
            for one in family(self.pid):
                total += memory_mib(one, "VmRSS")
        except (FileNotFoundError, ProcessLookupError):
            return  # one of them ended meanwhile
        self.peak_mib = max(self.peak_mib, total)

    def run(self) -> None:
        while not self._done.wait(0.2):
            self.look()

    def stop(self) -> float:
        self._done.set()
        self.join()
        return self.peak_mib


def measure(path: Path, left_open: list) -> dict[str, float]:
    """Run one notebook; return its seconds and its peak memory. BuildError says which cell failed.

    The kernel is not ended: its manager is put into `left_open`.
    """
    notebook = nbformat.read(path, as_version=4)
    client, watches, peaks = notebook_client(notebook, path.parent), [], []
    left_open.append(client.create_kernel_manager())
    client.owns_km = False

    def begin(**_):
        watches.append(Watch(client.km.provisioner.pid))
        watches[0].start()

    def look(**_):  # after each cell, because at the notebook's end the kernel is gone already
        peaks.append(memory_mib(watches[0].pid, "VmHWM"))

    client.on_notebook_start, client.on_cell_executed = begin, look
    try:
        seconds = run_cells(notebook, path.parent, path.stem, client)
    finally:
        together = max((watch.stop() for watch in watches), default=0.0)
    return {"seconds": round(seconds, 1), "kernel_mib": round(peaks[-1]), "all_mib": round(max(together, peaks[-1]))}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="only lessons whose name begins so, for example 02")
    parser.add_argument("--json", type=Path, help="write the record here; only with all lessons")
    parser.add_argument("--notebooks", type=Path, default=BUILT, help="folder of the notebooks")
    options = parser.parse_args(arguments)
    if options.names and options.json:
        parser.error("a record holds all lessons: leave out the names, or --json")
    if not (PROC / "self" / "status").is_file():
        parser.error("memory is read from /proc, which this system does not have")
    paths = [
        path
        for path in sorted(options.notebooks.glob("[0-9]*.ipynb"))
        if not options.names or path.stem.startswith(tuple(options.names))
    ]
    if not paths:
        parser.error(f"no notebook in {options.notebooks} fits {' '.join(options.names) or 'NN_*.ipynb'}")
    lessons, left_open = {}, []
    try:
        for path in paths:
            lessons[path.stem] = found = measure(path, left_open)
            print(
                f"{path.stem:28} {found['seconds']:6.1f} s  kernel {found['kernel_mib']:5} MiB  "
                f"with what it starts {found['all_mib']:5} MiB",
                flush=True,
            )
        open_mib = round(sum(memory_mib(one.provisioner.pid, "Pss", "smaps_rollup") for one in left_open))
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for one in left_open:
            run_sync(one.shutdown_kernel)(now=True)
    print(f"left open, all together {open_mib} MiB")
    if options.json:
        command = " ".join(["python tools/bench_lessons.py", *(sys.argv[1:] if arguments is None else arguments)])
        tables.write_record(options.json, command, lessons=lessons, open_mib=open_mib)
    return 0


if __name__ == "__main__":
    sys.exit(main())
