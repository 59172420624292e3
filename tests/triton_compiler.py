"""Compile the Triton kernels for devices that need not be there, and say as JSON what came out, a line for each kernel.

    python tests/triton_compiler.py

What is compiled is what the host side would launch: its launches are caught, not copied. A kernel is a matter of types
and sizes, so tensors on the CPU do. Needs a run of its own, without TRITON_INTERPRET.
"""

import contextlib
import io
import json
import os
import re
import sys

os.environ.pop("TRITON_INTERPRET", None)

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from course_lib.kernels import _triton_choices
from course_lib.kernels import triton as backend

TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16", torch.float16: "*fp16", torch.int32: "*i32"}
ALL, HEAVY = ("sum", "scan", "out", "sum backward", "scan backward", "dq", "dk", "dv"), ("sum backward", "out", "dk")
CASES = (  # capability, dtype, widths of q and v, normalize, and which kernels: all, or those that need most
    (90, torch.bfloat16, 64, 64, True, ALL),
    (90, torch.bfloat16, 128, 128, True, HEAVY),
    (90, torch.bfloat16, 48, 100, False, HEAVY),
    (90, torch.float32, 64, 64, True, HEAVY),
    (90, torch.float16, 64, 64, True, HEAVY),
    (80, torch.bfloat16, 64, 64, True, HEAVY),
)


def launches(dtype, width, value_width, normalize):
    """What a call with everything in it launches, forward and backward: (name, what was caught)."""
    caught = []

    def catch(kernel, grid, arguments, tiling, **constants):
        caught.append((kernel, arguments, constants, tiling))

    backend._launch, backend.missing = catch, lambda q, v: None
    sizes = (width, width, value_width)
    q, k, v = (torch.zeros(1, 2, 256, size, dtype=dtype, requires_grad=True) for size in sizes)
    state = torch.zeros(1, 2, width * value_width + width, requires_grad=True)
    choices = {"scale": 0.5, "normalize": normalize, "eps": 1e-6, "documents": None, "z": True, "last": True}
    out, last = backend.triton_linear_attention(q, k, v, 100, state, **choices)
    (out.float().sum() + last.sum()).backward()
    return zip(ALL, caught, strict=True)


def compile_for(capability, kernel, arguments, constants, tiling):
    """Return what the compiler made of one launch; pointers are said to be aligned, as those of whole tensors are."""
    signature, aligned = {}, {}
    for i, (name, value) in enumerate(zip(kernel.arg_names, arguments, strict=False)):
        signature[name] = TYPES[value.dtype] if torch.is_tensor(value) else "i32" if isinstance(value, int) else "fp32"
        if torch.is_tensor(value):
            aligned[i,] = [["tt.divisibility", 16]]
    signature.update(dict.fromkeys(constants, "constexpr"))
    source = ASTSource(
        kernel, signature, {(kernel.arg_names.index(name),): x for name, x in constants.items()}, aligned
    )
    options = {"num_warps": tiling.warps, "num_stages": tiling.stages}
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    ptx, said = made.asm["ptx"], log.getvalue()
    return {
        "registers": int(re.search(r"Used (\d+) registers", said)[1]),
        "spilled": int(re.search(r"(\d+) bytes spill stores", said)[1]),
        "shared": made.metadata.shared,
        "wgmma": len(re.findall(r"wgmma\.mma_async", ptx)),
        "mma": len(re.findall(r"mma\.sync", ptx)),
        "copies": len(re.findall(r"cp\.async\.c[ag]", ptx)),
    }


def main():
    triton.knobs.nvidia.dump_ptxas_log = True  # where it tells of registers and spills
    triton.knobs.compilation.always_compile = True  # what is taken from a cache tells nothing
    hopper = _triton_choices.HOPPER
    for capability, dtype, width, value_width, normalize, names in CASES:
        _triton_choices.HOPPER = hopper if capability == 90 else _triton_choices.OTHERS
        case = {"capability": capability, "dtype": str(dtype).removeprefix("torch."), "widths": [width, value_width]}
        for name, launch in launches(dtype, width, value_width, normalize):
            if name in names:
                sys.stdout.write(json.dumps({"kernel": name, **case, **compile_for(capability, *launch)}) + "\n")


if __name__ == "__main__":
    main()
