"""Race prefix linear attention on the CPU against plain products and plain chunks; print ratios beside their limits.

    python tools/bench_linear.py [--json FILE] [--lengths 4096 16384] [--threads 1 2] [--repeats 15]

float32, B = 1, H = 8, Dk = Dv = 64. Each number of threads has a process of its own. One thread is timed by its CPU
time, which other programs disturb less; several by the clock on the wall, so leave the machine alone meanwhile.
"""

import argparse
import ctypes
import dataclasses
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import torch

from course_lib.kernels import prefix_linear_attention
from course_lib.kernels.chunked import SPAN
from course_lib.race import Race, race
from course_lib.training_record import machine, today

HEADS, DIM = 8, 64
MEMORY_LENGTH = 131072
LOOPS = {"loop of 32": 32, "loop of 64": 64, "loop of 128": 128}
CAUSAL = ("causal", "batched chunks", *LOOPS)


def two_products(q, k, v):
    return q @ (k.mT @ v)


def chunk_loop(q, k, v, chunk):
    """The plain causal form: one chunk after another."""
    out, state = torch.empty_like(v), q.new_zeros(*q.shape[:2], DIM, DIM).flatten(0, 1)
    q, k, v, rows = (x.flatten(0, 1) for x in (q, k, v, out))
    for a in range(0, q.shape[1], chunk):
        now = slice(a, a + chunk)
        tile = torch.bmm(q[:, now], k[:, now].mT).tril_()
        rows[:, now] = torch.bmm(tile, v[:, now]).baddbmm_(q[:, now], state)
        state.baddbmm_(k[:, now].mT, v[:, now])
    return out


def batched_chunks(q, k, v, chunk=64):
    """The plain causal form with all chunks at once, and a state for every chunk."""
    q, k, v = (x.unflatten(2, (-1, chunk)) for x in (q, k, v))
    states = k.mT @ v
    states = states.cumsum(2) - states
    return ((q @ k.mT).tril_() @ v + q @ states).flatten(2, 3)


def races(length: int, repeats: int, clock) -> dict[str, Race]:
    """Run the forward, and the forward and backward, of every contender."""
    rng = torch.Generator().manual_seed(0)
    q, k = (torch.rand(1, HEADS, length, DIM, generator=rng) + 0.1 for _ in range(2))
    v, upstream = (torch.randn(1, HEADS, length, DIM, generator=rng) for _ in range(2))
    prefixes = {"causal": 0, "P = L/2": length // 2, "P = 0.9 L": int(0.9 * length), "P = L": length}
    leaves = [x.clone().requires_grad_() for x in (q, k, v)]

    def gradients(attend):
        return lambda: torch.autograd.grad(attend(*leaves), leaves, upstream)

    forward = {
        "two products": lambda: two_products(q, k, v),
        "batched chunks": lambda: batched_chunks(q, k, v),
        **{name: lambda c=chunk: chunk_loop(q, k, v, c) for name, chunk in LOOPS.items()},
        **{name: lambda p=p: prefix_linear_attention(q, k, v, p) for name, p in prefixes.items()},
        **{
            f"{name}, /": lambda p=p: prefix_linear_attention(q, k, v, p, normalize=True)
            for name, p in prefixes.items()
        },
    }
    both = {
        "two products": gradients(two_products),
        **{name: gradients(lambda q, k, v, p=p: prefix_linear_attention(q, k, v, p)) for name, p in prefixes.items()},
        **{
            f"{name} forward": lambda p=p: prefix_linear_attention(*(x.detach() for x in leaves), p)
            for name, p in prefixes.items()
        },
    }
    with torch.no_grad():
        first = race(forward, repeats=repeats, clock=clock)
    return {"forward": first, "both": race(both, repeats=repeats, clock=clock)}


def rows(length: int, threads: int, forward: Race, both: Race) -> list[tuple[str, float, float]]:
    """Return (what, ratio, limit): the project's limits, none of which has to hold on another machine."""
    long, alone = length > 8192, threads == 1
    best = min(CAUSAL, key=forward.median)
    loop = min(LOOPS, key=forward.median)

    def law(name, share):
        return forward.median(name) / (share * forward.median("P = L") + (1 - share) * forward.median("causal"))

    table = [
        ("law, P = L/2", law("P = L/2", 0.5), 1.10),
        ("law, P = 0.9 L", law("P = 0.9 L", 0.9), 1.10),
        ("P = L / two products", forward.ratio("P = L", "two products").median, 1.15 if long or alone else 1.25),
        (
            f"P = 0.9 L / best causal ({best})",
            forward.ratio("P = 0.9 L", best).median,
            (0.65 if long else 0.58) if alone else (0.60 if long else 0.53),
        ),
        (f"P = L/2 / best causal ({best})", forward.ratio("P = L/2", best).median, 0.82),
        (f"causal / {loop}", forward.ratio("causal", loop).median, 1.05),
    ]
    if long:
        table.append(
            ("causal / batched chunks", forward.ratio("causal", "batched chunks").median, 0.35 if alone else 0.45)
        )
    for name in ("causal", "P = L/2", "P = 0.9 L", "P = L"):
        table.append((f"normalised / not, {name}", forward.ratio(f"{name}, /", name).median, 1.4 if long else 1.6))
    table.append(("with backward: P = L / two products", both.ratio("P = L", "two products").median, 1.15))
    for name, limit in (("causal", 4.2), ("P = L/2", 4.0), ("P = 0.9 L", 4.0)):
        table.append((f"with backward / forward, {name}", both.ratio(name, f"{name} forward").median, limit))
    for name, limit in (("P = L/2", 0.78), ("P = 0.9 L", 0.58), ("P = L", 0.48)):
        table.append((f"with backward: {name} / causal", both.ratio(name, "causal").median, limit))
    return table


def peak_beyond_results(prefix: int, backward: bool) -> float:
    """Return by how many MiB a call goes beyond its inputs and results at the highest (Linux only)."""
    leaves = [torch.rand(1, HEADS, MEMORY_LENGTH, DIM).requires_grad_(backward) for _ in range(3)]
    upstream = torch.rand(1, HEADS, MEMORY_LENGTH, DIM)
    warm = [x[:, :, :4096].detach().requires_grad_(backward) for x in leaves]

    def run(leaves, upstream, prefix):
        out = prefix_linear_attention(*leaves, prefix, normalize=True)
        return [out, *(torch.autograd.grad(out, leaves, upstream) if backward else ())]

    run(warm, upstream[:, :, :4096], min(prefix, 2048))
    ctypes.CDLL(None).malloc_trim(0)  # what was freed and not given back would be used again unseen
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    results = run(leaves, upstream, prefix)
    return (_status("VmHWM") - before) / 1024 - sum(x.nbytes for x in results) / 2**20


def _status(name: str) -> int:
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith(name + ":"))
    return int(line.split()[1])


def measure(threads: int, lengths: list[int], repeats: int) -> dict:
    """Do all of it in this process."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    found = {
        "threads": threads,
        "clock": clock.__name__,
        "machine": machine(torch.device("cpu")),
        "tables": {},
        "races": {},
    }
    limit = 16 + 8 * HEADS * MEMORY_LENGTH / 2**20  # and what is kept for the backward: one state a span of the tail
    state = 4 * HEADS * DIM * (DIM + 1) / 2**20
    found["tables"][f"MiB beyond the results, L = {MEMORY_LENGTH}, normalised"] = [
        (
            f"{'with backward' if backward else 'forward'}, P = {prefix}",
            peak_beyond_results(prefix, backward),
            limit + backward * state * (MEMORY_LENGTH - prefix) / SPAN,
        )
        for backward in (False, True)
        for prefix in (0, MEMORY_LENGTH // 2, MEMORY_LENGTH)
    ]
    for length in lengths:
        run = races(length, repeats, clock)
        found["tables"][f"L = {length}"] = rows(length, threads, **run)
        found["races"][str(length)] = {name: dataclasses.asdict(one) for name, one in run.items()}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", default=[4096, 16384])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        json.dump(measure(options.threads[0], options.lengths, options.repeats), sys.stdout)
        return
    runs = []
    for threads in options.threads:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
        command = [sys.executable, __file__, "--inside", "--threads", str(threads), "--repeats", str(options.repeats)]
        command += ["--lengths", *map(str, options.lengths)]
        run = json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)
        runs.append(run)
        print(f"\n{run['machine']}; threads: {threads}, {run['clock']}")
        for title, table in run["tables"].items():
            print(f"  {title}")
            for what, value, limit in table:
                print(f"    {value:7.2f}  {'' if value <= limit else 'over '}{limit:g}".ljust(28) + what)
    if options.json:
        content = {"command": shlex.join(["python", *sys.argv]), "date": today(), "runs": runs}
        options.json.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
