"""Time the Triton kernels of prefix linear attention under many configurations, on the GPU of this machine.

    .venv/bin/python tools/sweep_triton.py                              forward, bfloat16, 64 features
    .venv/bin/python tools/sweep_triton.py --backward --dtype float32 --width 128 --prefix 8192

Prints a line for each configuration that compiles and fits, the fastest last; HOPPER and OTHERS in
course_lib/kernels/_triton_choices.py are where the winners go. One kernel varies at a time, the others stay as they
are. The time is of a whole call, the median of many between CUDA events. Beside it stands the time that reading and
writing the bytes of q, k, v and the output once would take, as a share of it. Calls do not sweep: they look up what is
chosen.
"""

import argparse
import itertools
import sys

import torch

from course_lib.kernels import _triton_choices, prefix_linear_attention
from course_lib.kernels import triton as backend

CHUNKS, WARPS, STAGES, COLUMNS = (16, 32, 64, 128), (4, 8), (1, 2, 3, 4), (16, 32, 64, 128)
SEGMENTS = (256, 512, 1024, 2048, 4096, 8192)


def time_call(options, backward) -> float:
    """Return milliseconds of one call: forward, or forward and backward."""
    from triton.testing import do_bench

    dtype = getattr(torch, options.dtype)
    shape = (options.batch, options.heads, options.length, options.width)
    q, k, v = (torch.rand(shape, dtype=dtype, device="cuda", requires_grad=backward) for _ in range(3))
    upstream = torch.rand(shape, dtype=dtype, device="cuda")

    def call():
        out = prefix_linear_attention(q, k, v, options.prefix, normalize=options.normalize, backend="triton")
        if backward:
            torch.autograd.grad(out, (q, k, v), upstream)

    return do_bench(call, warmup=50, rep=200, return_mode="median")


def time_copy(options) -> float:
    """Return milliseconds to read and write as many bytes as q, k, v and the output have."""
    from triton.testing import do_bench

    shape = (2, options.batch, options.heads, options.length, options.width)
    source = torch.rand(shape, device="cuda").to(getattr(torch, options.dtype))
    target = torch.empty_like(source)
    return do_bench(lambda: target.copy_(source), warmup=50, rep=200, return_mode="median")


def configurations(kernel, options):
    """Return what to try for one kernel, as changes to the modules: (words, function that makes them)."""
    if kernel == "segment":
        return [
            (f"{size} tokens", lambda size=size: setattr(backend, "segment_length", lambda *_: size))
            for size in SEGMENTS
        ]
    table = _triton_choices.HOPPER if torch.cuda.get_device_capability()[0] == 9 else _triton_choices.OTHERS
    key = kernel, getattr(torch, options.dtype), 128 if options.width > 64 else 64
    several = itertools.starmap(_triton_choices.Tiling, itertools.product(CHUNKS, WARPS, STAGES, COLUMNS))
    return [(str(one), lambda one=one: table.__setitem__(key, one)) for one in several if one.columns <= options.width]


def sweep(kernel, options) -> None:
    """Time every configuration of one kernel and print them, the fastest last."""
    found = []
    before = backend.segment_length, dict(_triton_choices.HOPPER), dict(_triton_choices.OTHERS)
    for words, change in configurations(kernel, options):
        change()
        try:
            found.append((time_call(options, options.backward), words))
        except Exception as error:  # too much shared memory, or what the compiler does not like: not a candidate
            print(f"{kernel}: {words}: {type(error).__name__}", file=sys.stderr)
        backend.segment_length = before[0]
        _triton_choices.HOPPER.update(before[1])
        _triton_choices.OTHERS.update(before[2])
    copy = time_copy(options)
    for milliseconds, words in sorted(found, reverse=True):
        print(f"{kernel}: {milliseconds:8.3f} ms, {copy / milliseconds:5.1%} of copying: {words}")


def main():
    parser = argparse.ArgumentParser(description="Time the Triton kernels under many configurations.")
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    for name, value in (("width", 64), ("batch", 1), ("heads", 8), ("length", 65536), ("prefix", 0)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--normalize", action="store_true")
    parser.add_argument("--backward", action="store_true")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("needs a CUDA device: torch sees none")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {vars(options)}")
    for kernel in ("segment", "sum_states", "attend_rows"):
        sweep(kernel, options)


if __name__ == "__main__":
    main()
