"""Time variations of a kernel's configuration on a GPU: `bench_gpu.py --sweep MODULE:NAME`. Nothing is recorded."""

import torch
from gpu_contenders import Contender, inputs, output_error, tried

from course_lib.gpu_record import PREFIXES
from course_lib.kernels import prefix_linear_attention
from course_lib.race import race


def variations(value: tuple) -> list[tuple]:
    """Return a configuration, and those with one of its whole numbers doubled or halved."""
    found = [value]
    for i, one in enumerate(value):
        if isinstance(one, int) and not isinstance(one, bool):
            found += [(*value[:i], other, *value[i + 1 :]) for other in (2 * one, one // 2) if other]
    return found


def sweep(table: dict, device, timer, options, shape=(16, 16, 8192)) -> list[str]:
    """Time variations of the entry of `table` for (dtype, 64, 64), which is put back; return lines, fastest first.

    The backend must read `table` at every call.
    """
    dtype = getattr(torch, options.dtype)
    keys = [key for key in table if key[1:] == (64, 64) and options.dtype in str(key[0])]
    if len(keys) != 1:
        raise SystemExit(f"the table has {len(keys)} entries for ({options.dtype}, 64, 64), not one: {list(table)}")
    (key,), lines, given = keys, [], inputs(*shape, device, dtype)
    before = table[key]
    with torch.no_grad():
        for name, share in PREFIXES.items():
            contender, chosen = Contender(None, int(share * shape[2])), {}
            for one in variations(before):

                def run(one=one, prefix=contender.prefix):
                    table[key] = one
                    return prefix_linear_attention(*given, prefix, backend=options.backend)

                _, reason = tried(run, lambda out, contender=contender: output_error(out, *given, contender))
                if reason:
                    lines.append(f"{name}: {one} left out: {reason}")
                else:
                    chosen[str(one)] = run
            if chosen:
                raced = race(chosen, repeats=options.rounds, max_seconds=options.seconds, device=device, timer=timer)
                for one in sorted(chosen, key=raced.median):
                    mark = ", as it is" if one == str(before) else ""
                    lines.append(f"{name}: {one} {1e3 * raced.median(one):.4f} ms{mark}")
            table[key] = before
    return lines
