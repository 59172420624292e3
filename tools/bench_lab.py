"""Time `make lab` in a copy of this checkout: from nothing until JupyterLab answers, and once more.

    python tools/bench_lab.py [--json benchmarks/lab.json]

From nothing means without .venv and without pip's cache, so that everything is downloaded: the first number depends on
the network at least as much as on the machine. The copy is deleted afterwards.
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import tables

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "work", "build", "dist", "__pycache__", "*.egg-info")


class LabError(Exception):
    """Why JupyterLab did not come up, in words."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def seconds_until_answer(command: list[str], folder: Path, address: str, limit: float) -> float:
    """Start a command in a folder, wait until an address answers, stop the command; return the seconds it took."""
    log, reason = folder / "bench_lab.log", f"no answer from {address} within {limit:.0f} s"
    environment = os.environ | {"PIP_NO_CACHE_DIR": "1"}
    environment.pop("VIRTUAL_ENV", None)
    with log.open("w") as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while time.perf_counter() - start < limit:
                with contextlib.suppress(urllib.error.URLError, OSError):
                    urllib.request.urlopen(address, timeout=5).close()
                    return time.perf_counter() - start
                if process.poll() is not None:
                    reason = f"ended with status {process.returncode} before {address} answered"
                    break
                time.sleep(0.1)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    said = "\n".join(log.read_text("utf-8", "replace").splitlines()[-10:])
    raise LabError(f"{' '.join(command)}: {reason}\n{said}")


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.add_argument("--limit", type=float, default=1800, help="seconds to wait for JupyterLab")
    options = parser.parse_args(arguments)
    port, found = free_port(), {}
    command = ["make", "lab", f"LAB_ARGS=--no-browser --allow-root --port={port} --ServerApp.port_retries=0"]
    with tempfile.TemporaryDirectory(prefix="bench-lab-") as scratch:
        copy = Path(scratch) / "course"
        shutil.copytree(ROOT, copy, symlinks=True, ignore=LEFT_OUT)
        for name in ("first", "again"):
            try:
                seconds = seconds_until_answer(command, copy, f"http://127.0.0.1:{port}/api", options.limit)
            except LabError as error:
                print(error, file=sys.stderr)
                return 1
            found[f"{name}_seconds"] = round(seconds, 1)
            print(f"make lab, {name}: {seconds:.1f} s", flush=True)
    if options.json:
        command = " ".join(["python tools/bench_lab.py", *(sys.argv[1:] if arguments is None else arguments)])
        tables.write_record(options.json, command, **found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
