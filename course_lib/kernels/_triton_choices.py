"""What the backend "triton" decides before it launches: whether it can serve these inputs, and how kernels are cut."""

from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDEST = 128  # features: a state of 128 x 128 float32 still fits the registers of a program
INSTEAD = "use backend='chunked', or 'auto', which does so by itself"


class Tiling(NamedTuple):
    """How a kernel is cut: tokens of a chunk, warps of a program, chunks under way to it, columns to a program."""

    chunk: int
    warps: int
    stages: int
    columns: int


# By kernel, type and width, for compute capability 9 and for any other. Chosen by what the compiler says of registers
# (none spilled, but for some of three TF32 products of 128 features) and of shared memory (tests/test_triton.py), not
# by the clock: tools/sweep_triton.py is for that.
HOPPER = {
    ("sum_states", torch.bfloat16, 64): Tiling(64, 4, 3, 64),
    ("sum_states", torch.bfloat16, 128): Tiling(64, 8, 2, 128),
    ("sum_states", torch.float16, 64): Tiling(64, 4, 2, 64),
    ("sum_states", torch.float16, 128): Tiling(64, 8, 2, 64),
    ("sum_states", torch.float32, 64): Tiling(32, 4, 2, 64),
    ("sum_states", torch.float32, 128): Tiling(32, 8, 2, 64),
    ("attend_rows", torch.bfloat16, 64): Tiling(64, 4, 3, 64),
    ("attend_rows", torch.bfloat16, 128): Tiling(64, 8, 2, 64),
    ("attend_rows", torch.float16, 64): Tiling(64, 8, 2, 64),
    ("attend_rows", torch.float16, 128): Tiling(32, 8, 2, 32),
    ("attend_rows", torch.float32, 64): Tiling(16, 4, 2, 64),
    ("attend_rows", torch.float32, 128): Tiling(16, 8, 2, 32),
}
OTHERS = {
    ("sum_states", torch.bfloat16, 64): Tiling(64, 4, 3, 64),
    ("sum_states", torch.bfloat16, 128): Tiling(64, 8, 2, 64),
    ("sum_states", torch.float16, 64): Tiling(64, 4, 2, 64),
    ("sum_states", torch.float16, 128): Tiling(32, 8, 2, 64),
    ("sum_states", torch.float32, 64): Tiling(32, 4, 2, 64),
    ("sum_states", torch.float32, 128): Tiling(32, 8, 2, 64),
    ("attend_rows", torch.bfloat16, 64): Tiling(32, 4, 3, 64),
    ("attend_rows", torch.bfloat16, 128): Tiling(32, 4, 2, 32),
    ("attend_rows", torch.float16, 64): Tiling(32, 4, 2, 32),
    ("attend_rows", torch.float16, 128): Tiling(32, 8, 2, 32),
    ("attend_rows", torch.float32, 64): Tiling(16, 4, 2, 32),
    ("attend_rows", torch.float32, 128): Tiling(16, 8, 2, 32),
}


def missing(q: Tensor, v: Tensor) -> str | None:
    """Say in words why this backend cannot do q and v, or return None if it can."""
    if q.dtype not in DTYPES:
        return f"takes float32, bfloat16 and float16, got q of {q.dtype}: {INSTEAD}"
    for name, width in (("q", q.shape[3]), ("v", v.shape[3])):
        if width > WIDEST:
            return f"takes up to {WIDEST} features, got {width} in {name}: {INSTEAD}"
    if find_spec("triton") is None:
        return f"needs the package triton, which is not installed: pip install triton, or {INSTEAD}"
    if kernels().INTERPRETED and q.device.type in ("cpu", "cuda"):
        return None
    if q.device.type != "cuda":
        return (
            f"needs a CUDA device, or TRITON_INTERPRET=1 in the environment before triton is imported, which is slow "
            f"and for tests; got q on {q.device}: {INSTEAD}"
        )
    if torch.version.cuda is None or _capability(q.device) < (8, 0):
        return f"needs a CUDA device of compute capability 8.0 or more, q is on another: {INSTEAD}"
    return None


def is_automatic(q: Tensor, v: Tensor) -> bool:
    """Tell whether "auto" takes this backend: on a CUDA device, compiled, for what it supports."""
    return q.device.type == "cuda" and missing(q, v) is None and not kernels().INTERPRETED


def precision(dtype: torch.dtype) -> dict:
    """Return how tiles are multiplied, and what is rounded for it.

    The interpreter multiplies bfloat16 as if it were integers: there it is float32, rounded where a device rounds.
    """
    up = kernels().INTERPRETED or dtype == torch.float16
    drop = 13 if dtype == torch.float16 else 16 if up and dtype == torch.bfloat16 else 0
    return {"UP": up, "DROP": drop, "PRECISION": "tf32x3" if dtype == torch.float32 else "tf32"}


def tiling_of(kernel: str, x: Tensor, y: Tensor) -> Tiling:
    """Return how to cut a kernel for inputs as wide as x and y."""
    width = 128 if max(x.shape[3], y.shape[3]) > 64 else 64
    tilings = HOPPER if x.device.type == "cpu" or _capability(x.device)[0] == 9 else OTHERS
    return tilings[kernel, x.dtype, width]


def segment_length(heads: int, total: int, device: torch.device) -> int:
    """Return how many tokens a segment has: so few that four times as many programs run as there are multiprocessors.

    Fewer tokens cost more states to write and read. If the heads alone keep the device busy, a tail is one segment, and
    its sum is never made.
    """
    processors = _processors(device) if device.type == "cuda" else 1
    if heads >= 2 * processors:
        return max(1, total)
    wanted = heads * total // (4 * processors)
    return min(max(512, 1 << max(0, wanted - 1).bit_length()), 4096)


@lru_cache(maxsize=1)
def kernels():
    """Import the device code, and with it triton, at the first use."""
    from . import _triton_kernels

    return _triton_kernels


@lru_cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


@lru_cache
def _capability(device: torch.device) -> tuple[int, int]:
    return torch.cuda.get_device_capability(device)
