"""Time variations of a kernel's configuration on a GPU: `bench_gpu.py --sweep MODULE:NAME`. Nothing is recorded."""

import torch
from gpu_contenders import Contender, inputs, output_error, tried

from course_lib.gpu_record import FEATURES, PREFIXES
from course_lib.kernels import prefix_linear_attention
from course_lib.race import race


def variations(value: tuple) -> list[tuple]:
    """Return a configuration, and those with one of its whole numbers doubled or halved."""
    found, make = [value], getattr(type(value), "_make", type(value))  # a named tuple is made in its own way
    for i, one in enumerate(value):
        if isinstance(one, int) and not isinstance(one, bool):
            found += [make([*value[:i], other, *value[i + 1 :]]) for other in (2 * one, one // 2) if other]
    return found


def sweep(table: dict, device, timer, options, shape=(16, 16, 8192)) -> list[str]:
    """Time variations of the entries of `table` for this dtype and 64 features; return lines, fastest first.

    A key is a tuple that ends in the two widths and names the dtype before; a value is a tuple. The backend must read
    `table` at every call. What was there is put back. Only the forward is timed, at every prefix of the bench.
    """
    keys = [key for key in table if key[-2:] == (FEATURES, FEATURES) and options.dtype in str(key)]
    if not keys:
        raise SystemExit(f"the table has no entry for {options.dtype} and {FEATURES} features: {list(table)}")
    given = inputs(*shape, device, getattr(torch, options.dtype))
    with torch.no_grad():
        return [
            line
            for key in keys
            for name, share in PREFIXES.items()
            for line in _of_key(table, key, name, int(share * shape[2]), given, device, timer, options)
        ]


def _of_key(table: dict, key, name: str, prefix: int, given, device, timer, options) -> list[str]:
    before, chosen, lines = table[key], {}, []
    contender = Contender(None, prefix)

    def with_configuration(one):
        def run():
            table[key] = one
            return prefix_linear_attention(*given, prefix, backend=options.backend)

        return run

    try:
        for one in variations(before):
            run = with_configuration(one)
            _, reason = tried(run, lambda out: output_error(out, *given, contender))
            if reason:
                lines.append(f"{key} {name}: {one} left out: {reason}")
            else:
                chosen[str(one)] = run
        if chosen:
            raced = race(chosen, repeats=options.rounds, max_seconds=options.seconds, device=device, timer=timer)
            for one in sorted(chosen, key=raced.median):
                mark = ", as it is" if one == str(before) else ""
                lines.append(f"{key} {name}: {one} {1e3 * raced.median(one):.4f} ms{mark}")
    finally:
        table[key] = before
    return lines
