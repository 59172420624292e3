"""Several processes on this machine as a group of torch.distributed, started for one call and gone after it.

They talk over the loopback interface and meet by a file, so it works without a network.
"""

import json
import os
import pickle
import sys
import tempfile
import time
import traceback
from datetime import timedelta
from pathlib import Path

import torch
from torch import distributed as dist
from torch import multiprocessing as mp

from ._check import real_number, short, shown, whole_number

__all__ = ["in_group", "launch"]

MOST_PROCESSES = 256  # each of them imports torch anew
MOST_SECONDS = 86_400  # a day; far longer ones overflow in the operating system


def launch(work, *, world: int = 2, timeout: float = 60.0, **settings):
    """Call work(**settings) in `world` new processes, which are a group, and return what the first one's call does.

    work        a function that a new process can import, so not one of a notebook's own; what it returns is turned to
                JSON and back.
    world       how many processes, 1..256.
    timeout     in seconds, above 0 and at most a day, for everything, starting Python and importing torch included.

    Each process computes with one thread. Whatever happens, none is left running. A script that calls this has to do so
    under `if __name__ == "__main__":`, as for all of multiprocessing with new processes.

    Raises TypeError or ValueError for what cannot be done so; TimeoutError, and RuntimeError where torch has no gloo,
    or with the traceback of the first process to fail, or if one leaves before `work` returns.
    """
    world = whole_number("world", world, low=1, high=MOST_PROCESSES)
    timeout = real_number("timeout", timeout, low=0, high=MOST_SECONDS, above=True)
    try:
        importable = callable(work) and pickle.dumps((work, settings))
    except Exception:  # whatever somebody's own objects raise
        importable = False
    if not importable:
        told = f"{shown(work)} with {short(settings)}"
        raise TypeError(f"work must be a function that a new process can import, with settings that can, got {told}")
    if not (dist.is_available() and dist.is_gloo_available()):
        raise RuntimeError("this torch was built without torch.distributed or its gloo, by which the processes talk")
    end = time.monotonic() + timeout
    with tempfile.TemporaryDirectory(prefix="processes-", ignore_cleanup_errors=True) as folder:
        arguments = (world, folder, timeout, work, settings)
        running = mp.spawn(_spawned, arguments, nprocs=world, join=False, daemon=True)
        try:
            while not running.join(timeout=max(end - time.monotonic(), 0)):
                if time.monotonic() >= end:
                    raise TimeoutError(f"{world} processes did not finish within timeout = {timeout} seconds")
        except (mp.ProcessRaisedException, mp.ProcessExitedException) as failed:
            raise RuntimeError(_first_words(folder) or str(failed)) from None
        finally:
            for process in running.processes:
                process.kill()
                process.join()
        result = Path(folder, "result.json")
        if (words := _first_words(folder)) or not result.exists():
            raise RuntimeError(words or f"process 0 of {world} ended before work returned")
        return json.loads(result.read_text("utf-8"))


def _spawned(rank: int, world: int, folder: str, timeout: float, work, settings: dict) -> None:
    try:
        result = in_group(rank, world, Path(folder, "rendezvous"), timeout, work, settings)
    except (Exception, SystemExit):
        words = f"process {rank} of {world} failed:\n{traceback.format_exc()}"
        unfinished = Path(folder, f"unfinished-{rank}")
        unfinished.write_text(words, "utf-8", "backslashreplace")
        unfinished.rename(Path(folder, f"failed-{time.monotonic_ns():024}-{rank}"))  # so it is whole, or not there
        raise
    if rank == 0:
        Path(folder, "result.json").write_text(json.dumps(result), "utf-8")


def _first_words(folder: str) -> str | None:
    """Return what the first process to fail said, if any did: those that fail next only say that they lost it."""
    first = min(Path(folder).glob("failed-*"), default=None)
    return first and first.read_text("utf-8")


def in_group(rank: int, world: int, rendezvous: Path, timeout: float, work, settings: dict):
    """Return work(**settings) in this process, as number `rank` of a group that meets at the file `rendezvous`."""
    torch.set_num_threads(1)
    if os.name == "posix":  # gloo would look up this machine's name, which nobody knows without a network
        os.environ["GLOO_SOCKET_IFNAME"] = "lo0" if sys.platform == "darwin" else "lo"
    store = dist.FileStore(str(rendezvous), world)
    wait = timedelta(seconds=timeout)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=world, timeout=wait)
    result = work(**settings)
    dist.destroy_process_group()
    return result
