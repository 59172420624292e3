"""Race prefix linear attention on a GPU against its peers, print ratios beside their targets, and record them.

    python tools/bench_gpu.py [--json FILE] [--quick] [--rounds 15] [--seconds 6] [--backend triton]

bfloat16, 64 features. The rate of a copy is measured first, and again at the end. Each contender is first compared with
the definition in float64; one that computes something else is named and not timed, and the exit status is 1. Then all
run in turn, round after round. A sample is as many queued calls as last 2 ms, each between two CUDA events; before each
call a buffer larger than the L2 cache is read, so that no input is found there (written, it would be written back in
the time of the call). What a call writes last may still lie in L2 when it ends: that matters at small sizes, so a copy
of as many bytes takes part in each forward race. Below 4,096 tokens the calls are timed a second time as replays of a
CUDA graph, for there launching costs as much as computing.

flash-linear-attention takes part if it is installed: pip install --no-deps fla-core==0.6.0, and einops.
Without a CUDA device it says so and ends with status 2.
"""

import argparse
import importlib
import importlib.metadata
import platform
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from statistics import mean

import gpu_contenders
import torch
from gpu_contenders import contenders, gradient_error, inputs, output_error, reason_of, tried
from gpu_targets import WITH_BACKWARD, rows, table_text

from course_lib.gpu_record import CHUNKED, COPY, FLA, FLEX, PREFIXES, PRODUCTS, SDPA, save
from course_lib.kernels import prefix_linear_attention
from course_lib.race import race
from course_lib.training_record import today

DRIVER_FILE = Path("/proc/driver/nvidia/version")
GRAPH_BELOW = 4096
COPY_BYTES = 2**30  # of one buffer
LENGTHS = (512, 2048, 4096, 8192, 16384, 32768)  # at B = 16; JRT-RNN's table has those from 2048 on
BATCHES = (2, 4, 8, 32, 64)  # at 16,384 tokens; JRT-RNN's table has them, and 16, which is above
SERIES = ("P = 0", "P = L/2", *FLA, SDPA)
BACKWARD = ("P = 0", "P = L/2", "P = L", *FLA, PRODUCTS, f"{CHUNKED}, P = L")


def plan(quick: bool) -> list[dict]:
    """List the races: their kind and shape."""
    shape = {"batch": 16, "heads": 16}
    lengths = (2048, 8192) if quick else LENGTHS
    races = [{"kind": "forward", **shape, "length": length} for length in lengths]
    races.append({"kind": "forward", "batch": 1, "heads": 16, "length": 131072})
    if not quick:
        races += [{"kind": "batches", "batch": batch, "heads": 16, "length": 16384} for batch in BATCHES]
    races.append({"kind": "backward", **shape, "length": 8192})
    return races if quick else [*races, {"kind": "backward", "batch": 1, "heads": 16, "length": 131072}]


class CudaTimer:
    """Times queued calls by CUDA events, with the inputs driven out of the L2 cache before each."""

    def __init__(self, device):
        self.device, self.cache = device, torch.cuda.get_device_properties(device).L2_cache_size
        self.buffer = torch.zeros(max(4 * self.cache, 2**28) // 4, device=device)

    @property
    def words(self) -> str:
        return f"a buffer of {self.buffer.nbytes >> 20} MiB read before each call, L2 {self.cache >> 20} MiB"

    def __call__(self, function, calls: int) -> float:
        events = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(calls)]
        for begin, end in events:
            self.buffer.sum()
            begin.record()
            function()
            end.record()
        torch.cuda.synchronize(self.device)
        return mean(begin.elapsed_time(end) for begin, end in events) / 1e3

    def graph(self, function):
        """Return a function that replays one call as a CUDA graph."""
        aside = torch.cuda.Stream(self.device)
        aside.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(aside):
            for _ in range(3):
                function()
        torch.cuda.current_stream(self.device).wait_stream(aside)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            function()
        return captured.replay


def _functions(one: dict, taking_part: dict, device, dtype) -> tuple[dict, dict, dict]:
    """Return the functions to race that are right, their errors, and who is left out and why."""
    backward = one["kind"] == "backward"
    q, k, v, *upstream = inputs(one["batch"], one["heads"], one["length"], device, dtype, 3 + backward)
    functions, errors, left_out, given = {}, {}, {}, {}
    if one["kind"] == "forward":
        source = torch.stack([q, k])
        target = torch.empty_like(source)
        functions[COPY] = lambda: target.copy_(source)
    for name, contender in taking_part.items():
        turned = contender.tokens_first
        if turned not in given:
            held = [x.transpose(1, 2).contiguous() if turned else x for x in (q, k, v, *upstream)]
            given[turned] = [x.detach().requires_grad_(backward) for x in held[:3]], held[3:]
        leaves, gradient = given[turned]

        def forward(run=contender.run, leaves=leaves):
            return run(*leaves)

        def both(run=contender.run, leaves=leaves, gradient=gradient):
            return torch.autograd.grad(run(*leaves), leaves, gradient)

        def usual(x, turned=turned):
            return x.transpose(1, 2) if turned else x

        if backward:
            error, reason = tried(
                both, lambda found, one=contender: gradient_error([*map(usual, found)], q, k, v, *upstream, one)
            )
        else:
            error, reason = tried(forward, lambda out, one=contender: output_error(usual(out), q, k, v, one))
        if error is not None:
            errors[name] = float(f"{error:.2g}")
        if reason:
            left_out[name] = reason
        else:
            functions[name] = forward
            if backward:
                functions[name + WITH_BACKWARD] = both
    return functions, errors, left_out


def run_race(one: dict, taking_part: dict, device, dtype, timer, options) -> list[dict]:
    """Run one race, as calls and, if it is short and can be, as graphs; return an entry of the record for each."""
    entries = []
    with torch.set_grad_enabled(one["kind"] == "backward"):
        functions, errors, left_out = _functions(one, taking_part, device, dtype)
        queues = ["calls"]
        if one["kind"] == "forward" and one["length"] < GRAPH_BELOW and timer.graph is not None:
            queues.append("graph")
        for queue in queues:
            chosen, without = dict(functions), dict(left_out)
            if queue == "graph":
                for name, function in functions.items():
                    try:
                        chosen[name] = timer.graph(function)
                    except Exception as problem:  # some contenders cannot be captured, and are named
                        del chosen[name]
                        without[name] = f"cannot be captured: {reason_of(problem)}"
            times = {}
            if chosen:
                found = race(chosen, repeats=options.rounds, max_seconds=options.seconds, device=device, timer=timer)
                times = {name: [float(f"{second:.4g}") for second in seconds] for name, seconds in found.times.items()}
            entries.append({**one, "queue": queue, "errors": errors, "left_out": without, "times": times})
    return entries


def taking_part(one: dict, device, backend: str, quick: bool) -> tuple[dict, dict]:
    """Return the contenders of one race, and who is absent from all races and why."""
    found, absent = contenders(one["length"], device, backend)
    if quick and FLEX in found:
        del found[FLEX]
        absent[FLEX] = "left out by --quick"
    names = {"forward": list(found), "batches": SERIES, "backward": BACKWARD}[one["kind"]]
    return {name: found[name] for name in names if name in found}, absent


def copy_times(device, timer, rounds: int, size: int) -> list[float]:
    """Return the seconds of a copy from one buffer to another, round by round."""
    source, target = (torch.empty(size // 2, dtype=torch.bfloat16, device=device).normal_() for _ in range(2))
    found = race({"copy": lambda: target.copy_(source)}, repeats=rounds, device=device, timer=timer).times["copy"]
    return [float(f"{second:.4g}") for second in found]


def measure(races: list[dict], device, timer, options, *, machine: str, command: str, size: int | None = None) -> dict:
    """Run everything and return the record."""
    dtype, entries, absent = getattr(torch, options.dtype), [], {}
    size = COPY_BYTES if size is None else size
    copy = {"bytes": 2 * size, "seconds": copy_times(device, timer, options.rounds, size)}
    for one in races:
        started = time.monotonic()
        found, missing = taking_part(one, device, options.backend, options.quick)
        absent |= missing
        try:
            entries += run_race(one, found, device, dtype, timer, options)
        except Exception as problem:  # such as inputs that do not fit: what was measured before is not lost
            reason = reason_of(problem)
            entries.append(
                {**one, "queue": "calls", "errors": {}, "left_out": dict.fromkeys(found, reason), "times": {}}
            )
        if device.type == "cuda":
            torch.cuda.empty_cache()
        shape = " ".join(f"{name}={one[name]}" for name in ("kind", "batch", "heads", "length"))
        print(f"{shape}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    copy["again"] = copy_times(device, timer, options.rounds, size)
    settings = {"backend": options.backend, "dtype": options.dtype, "at most": f"{options.rounds} rounds"}
    settings |= {"cache": timer.words, "peers": gpu_contenders.peer_version()}
    record = {"machine": machine, "date": today(), "command": command, "settings": settings, "copy": copy}
    record |= {"absent": absent, "races": entries}
    return record | {"table": [row.as_json() for row in rows(record)]}


def defects(record: dict) -> list[str]:
    """Return who computed something else, and where one of ours was left out: a run to look into."""
    return [
        f"B={one['batch']} L={one['length']} {one['kind']}: {name}: {why}"
        for one in record["races"]
        for name, why in one["left_out"].items()
        if name in PREFIXES or why.startswith("computes")
    ]


def driver_version() -> str:
    """Return the version of the card's driver, from the kernel's own file or from nvidia-smi."""
    try:
        told = DRIVER_FILE.read_text("utf-8")
    except OSError:
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            told = f"Kernel Module {subprocess.run(command, capture_output=True, text=True, timeout=60).stdout} "
        except (OSError, subprocess.SubprocessError):
            told = ""
    found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)\s", told)
    return found[1] if found else "unknown"


def machine_line(device) -> str:
    """Return what computes: the card, its driver, and the versions."""
    try:
        triton = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        triton = "absent"
    return (
        f"{torch.cuda.get_device_name(device)}, driver {driver_version()}, CUDA {torch.version.cuda}, "
        f"torch {torch.__version__}, triton {triton}, Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}"
    )


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the record here")
    parser.add_argument("--quick", action="store_true", help="four shapes, without FlexAttention")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=6.0, help="no round of a race begins later")
    parser.add_argument("--backend", default="triton", help="which of ours")
    parser.add_argument("--dtype", choices=["bfloat16", "float16"], default="bfloat16")
    given = sys.argv[1:] if arguments is None else [str(one) for one in arguments]
    options = parser.parse_args(given)
    if not torch.cuda.is_available():
        print(
            f"bench_gpu: torch {torch.__version__} sees no CUDA device, so nothing is measured and nothing is written. "
            "It needs an NVIDIA card, its driver, and a CUDA build of torch (make setup TORCH_INDEX=URL).",
            file=sys.stderr,
        )
        return 2
    device = torch.device("cuda", torch.cuda.current_device())
    try:
        prefix_linear_attention(*inputs(1, 1, 64, device, getattr(torch, options.dtype)), 32, backend=options.backend)
    except Exception as error:
        print(f"bench_gpu: backend {options.backend!r} does not run here: {error}", file=sys.stderr)
        return 2
    timer = CudaTimer(device)
    command = shlex.join(["python", "tools/bench_gpu.py", *given])
    record = measure(plan(options.quick), device, timer, options, machine=machine_line(device), command=command)
    print(table_text(record))
    if options.json:
        save(options.json, record)
    for one in (wrong := defects(record)):
        print(f"look into this: {one}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
