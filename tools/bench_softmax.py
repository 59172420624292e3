"""Race the backends of softmax attention under a prefix mask on this machine, forward, and forward with backward.

    python tools/bench_softmax.py [--lengths 1024 4096] [--backward-lengths 1024 2048] [--threads 1] [--clock cpu]
                                  [--json PATH]
    python tools/bench_softmax.py --crossover --clock cpu

Contenders: "causal" and "full" need no mask; "mask" is backend "sdpa", with a mask of all pairs; "split"; and "flex",
forward only, where a C++ compiler is found. Each ratio is the median over rounds of a time to that of "mask" in the
same round, with the middle half of the rounds. --crossover races "split" against "mask" at lengths around the one from
which "auto" takes it, for a short, a middle and a long prefix. --clock cpu counts processor time, the steadier measure
on a busy machine with one thread; with several threads it adds up what they spend, waiting included.
"""

import argparse
import dataclasses
import json
import shlex
import sys
import time
from pathlib import Path

import torch
from torch.nn import functional as F

from course_lib._files import write_whole
from course_lib.kernels import flex, prefix_softmax_attention
from course_lib.race import race
from course_lib.training_record import machine, today

SHARES = (0.5, 0.9)
CROSSOVER_LENGTHS = (256, 512, 768, 1024, 1536)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def contenders(qkv, prefix: int, names) -> dict:
    """Return the functions to race: forward alone, or with backward if the tensors ask for gradients."""

    def masked(backend):
        return lambda: prefix_softmax_attention(*qkv, prefix, backend=backend)

    forward = {
        "causal": lambda: F.scaled_dot_product_attention(*qkv, is_causal=True),
        "full": lambda: F.scaled_dot_product_attention(*qkv),
        "mask": masked("sdpa"),
        "split": masked("split"),
        "flex": masked("flex"),
    }

    def with_backward(function):
        def run():
            out = function()
            torch.autograd.grad(out, qkv, out.detach())  # some upstream gradient, ready-made

        return run

    differentiable = qkv[0].requires_grad
    return {name: with_backward(forward[name]) if differentiable else forward[name] for name in names}


def measure(options, total: int, prefix: int, backward: bool, names) -> dict:
    """Race once, print a line, and return what was raced, with its times."""
    torch.manual_seed(0)
    shape = (options.batch, options.heads, total, options.width)
    qkv = [torch.randn(shape).to(DTYPES[options.dtype]).requires_grad_(backward) for _ in range(3)]
    raced = race(
        contenders(qkv, prefix, names),
        repeats=options.repeats,
        warmup=1,
        max_seconds=options.seconds,
        clock=CLOCKS[options.clock],
    )
    kind = "forward+backward" if backward else "forward"
    ratios = ", ".join(f"{name} {raced.ratio(name, 'mask')}" for name in names if name != "mask")
    print(
        f"T={total:<6} P={prefix:<6} {kind:16}  mask {1e3 * raced.median('mask'):.1f} ms; {ratios}; "
        f"{raced.rounds} rounds",
        flush=True,
    )
    described = {"total_len": total, "prefix_len": prefix, "kind": kind}
    return {
        **described,
        "ratios_to_mask": {name: dataclasses.asdict(raced.ratio(name, "mask")) for name in names},
        "times": raced.times,
    }


def plan(options):
    """List the races as (T, P, with backward, contenders)."""
    if options.crossover:
        for total in CROSSOVER_LENGTHS:
            for prefix in (2, total // 2, total - 1):
                for backward in (False, True):
                    yield total, prefix, backward, ["mask", "split"]
        return
    missing = flex.missing_tool("cpu")
    if missing:
        print(f"flex is left out: {missing} is missing")
    elif options.dtype == "float64":
        print("flex is left out: on the CPU it takes no float64")
    with_flex = [] if missing or options.dtype == "float64" else ["flex"]
    for backward, lengths in ((False, options.lengths), (True, options.backward_lengths)):
        for total in lengths:
            for share in SHARES:
                names = ["causal", "full", "mask", "split", *([] if backward else with_flex)]
                yield total, int(share * total), backward, names


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="*", default=[1024, 2048], help="T, forward")
    parser.add_argument("--backward-lengths", type=int, nargs="*", default=[1024], help="T, forward and backward")
    parser.add_argument("--crossover", action="store_true", help="race split against mask at lengths around 1024")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--width", type=int, default=64, help="features of a head")
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--repeats", type=int, default=15, help="rounds of a race")
    parser.add_argument("--seconds", type=float, default=6, help="no round begins later, on the clock chosen")
    parser.add_argument("--json", type=Path, help="write the times here")
    given = sys.argv[1:] if arguments is None else [str(one) for one in arguments]
    options = parser.parse_args(given)
    torch.set_num_threads(options.threads)
    where = machine(torch.device("cpu"))
    print(f"{where}, {today()}")
    print(
        f"B={options.batch} H={options.heads} D={options.width} {options.dtype}, {options.clock} clock; "
        "each ratio is to mask: below 1 is faster than a mask of all pairs"
    )
    races = [measure(options, *one) for one in plan(options)]
    if options.json:
        command = shlex.join(["python", "tools/bench_softmax.py", *given])
        settings = {name: getattr(options, name) for name in ("batch", "heads", "width", "dtype", "threads", "clock")}
        content = {"command": command, "date": today(), "machine": where, **settings, "races": races}
        write_whole(options.json, json.dumps(content, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
