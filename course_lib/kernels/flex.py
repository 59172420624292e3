"""Softmax attention under a prefix mask by FlexAttention: torch writes and compiles a kernel for the block mask."""

import functools
import importlib.util
import os
import shutil
import sys

import torch
from torch import Tensor

from ..block_mask import prefix_block_mask

_SHAPES = 64  # compiled and kept at the same time; torch's own limit is 8, behind which it goes on without compiling
_CPU_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def flex_attention(q: Tensor, k: Tensor, v: Tensor, prefix_lens: list[int], scale: float) -> Tensor:
    """Return softmax attention under the prefix mask of one length per example, (B, H, T, Dv).

    q, k (B, H, T, D), v (B, H, T, Dv), nothing of them empty; len(prefix_lens) = B. Each new shape is compiled, which
    takes seconds; prefix lengths are data, and another length compiles nothing. On the CPU: no float64 and no gradient.

    Source: Dong et al. 2024 (FlexAttention), section 3.
    """
    _check(q, k, v)
    from torch._dynamo import config
    from torch._dynamo.exc import TorchDynamoException

    blocks = prefix_block_mask(torch.tensor(prefix_lens, device=q.device), q.shape[2])
    try:
        with config.patch(recompile_limit=_SHAPES):
            return _compiled()(q, k, v, block_mask=blocks, scale=scale)
    except TorchDynamoException as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RuntimeError(
            f'backend "flex" could not be compiled for q of shape {tuple(q.shape)} on {q.device} ({reason}): '
            f"use {_others(q)}"
        ) from error


@functools.cache
def _compiled():
    """Return the compiled function, made once. Shapes are constants in it: with free ones its C++ does not build."""
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


def missing_tool(device_type: str) -> str | None:
    """Return what torch.compile lacks to compile for this kind of device, or None."""
    if device_type != "cpu":
        return None if importlib.util.find_spec("triton") else "the package triton"
    compiler = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    return None if shutil.which(compiler) else f"a C++ compiler ({compiler} is not on the PATH; CXX names another)"


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    on_cpu = q.device.type == "cpu"
    if on_cpu and q.dtype not in _CPU_DTYPES:
        raise ValueError(
            f'backend "flex" takes float32, bfloat16 or float16 on the CPU, got q of {q.dtype}: use {_others(q)}'
        )
    if on_cpu and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        raise ValueError(
            'backend "flex" has no gradient on the CPU, and q, k or v asks for one: '
            f"use {_others(q)}, or call it under torch.no_grad()"
        )
    missing = missing_tool(q.device.type)
    if missing:
        raise RuntimeError(f'backend "flex" is compiled, and {missing} is missing: use {_others(q)}')


def _others(q: Tensor) -> str:
    return 'backend="split" or "sdpa"' if q.device.type == "cpu" else 'backend="sdpa"'
