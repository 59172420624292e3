"""What sharing work between processes gains and costs on this machine: blocks, and sequences, measured.

Both measurements are functions for `processes.launch`. Their processes talk over the loopback interface, so that two of
them play two devices. Blocks also by hand, with torchrun or without:

    torchrun --standalone --nproc-per-node 2 -m course_lib.parallel_measure --rendezvous "$(mktemp -u)" --json
    python -m course_lib.parallel_measure --json
"""

import argparse
import copy
import json
import os
import sys
import time
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch import distributed as dist

from . import processes
from .kernels import prefix_linear_attention
from .layers import BLOCKS
from .masks import prefix_mask
from .sequence_costs import sequence_bytes, shard_lengths
from .sequence_parallel import sequence_parallel_prefix_linear_attention
from .tensor_parallel import TensorParallel, shard

__all__ = ["measure_blocks", "measure_sequences"]


def measure_blocks(
    *,
    dim: int = 256,
    heads: int = 8,
    head_dim: int = 32,
    hidden: int = 1024,
    kv_heads: int | None = None,
    fused: bool = True,
    lengths: tuple[int, ...] = (128, 512),
    repeats: int = 7,
) -> list[dict]:
    """Share the serial and the parallel block between the processes of a group, and compare with one process.

    One example of each length, the first half of it prefix. Returns a row for each block, length, and pass (forward
    alone; training, that is forward and backward):

    block, length, training     which one
    difference                  from the one process, the largest of all processes: max |a - b| / max |b|, of the output
                                and in training also of the gradients of x and of each weight
    forward, backward, weights  how many all-reduces, by `TensorParallel.reductions`
    sent                        bytes that this process sent for them
    ms, reduce_ms               of this process, and of that in all-reduces, waiting included; share: the second's part
    whole_ms                    the whole block, on one process while the others wait

    Times are medians of `repeats` rounds, in each of which everything has its turn, after one to warm up.
    """
    torch.manual_seed(0)
    shape = {"heads": heads, "head_dim": head_dim, "hidden": hidden, "kv_heads": kv_heads, "fused": fused}
    cases = []
    for length in lengths:
        x, pull = torch.randn(2, 1, length, dim)
        mask = prefix_mask(length // 2, length)
        for name, made in BLOCKS.items():
            whole = made(dim, **shape)
            layer = TensorParallel(whole, check=False)  # nothing but what is measured goes over the wires
            for training in (False, True):
                run = (x, mask, pull if training else None)
                row = {"block": name, "length": length, "training": training}
                row["difference"] = _difference(layer, whole, *run)
                cases.append((row, layer, whole, run, []))
    for _ in range(1 + repeats):
        for row, layer, whole, run, times in cases:
            layer.forget()
            _, spent = _run_block(layer, *run)
            dist.barrier()
            alone = _run_block(whole, *run)[1] if dist.get_rank() == 0 else 0.0
            dist.barrier()
            reductions = layer.reductions
            times.append((spent, sum(one.seconds for one in reductions.values()), alone))
            row |= {name: one.calls for name, one in reductions.items()}
            row["sent"] = sum(one.sent for one in reductions.values())
    for row, *_, times in cases:
        times = times[1:]
        row["ms"], row["reduce_ms"], row["whole_ms"] = (1e3 * median(column) for column in zip(*times, strict=True))
        row["share"] = median(reduce / spent for spent, reduce, _ in times)
    return [row for row, *_ in cases]


def measure_sequences(
    *,
    heads: int = 8,
    key_dim: int = 64,
    value_dim: int = 64,
    normalize: bool = True,
    lengths: tuple[int, ...] = (1024, 4096, 16384),
    repeats: int = 5,
) -> list[dict]:
    """Share sequences between the processes of a group, and compare with one process.

    One example of each length in float32, the first half of it prefix, shared evenly. Returns a row for each length and
    pass (forward alone; training, that is forward and backward):

    length, prefix_len, training  which one
    difference            from the one process, the largest of all processes: max |a - b| / max |b|, of the output and
                          in training also of the gradients of q, k and v
    sent                  bytes that the busiest process sent, counted while it ran
    ring                  those that ring attention would send, by `sequence_bytes`; it is not run
    ms                    of this process, waiting included; whole_ms: one process while the others wait

    Times are medians of `repeats` rounds, after one to warm up.
    """
    rank, world = dist.get_rank(), dist.get_world_size()
    shape, rows = {"heads": heads, "key_dim": key_dim, "value_dim": value_dim, "normalize": normalize}, []
    for length in lengths:
        prefix, shards, rng = length // 2, shard_lengths(length, world), torch.Generator().manual_seed(0)
        q, k = torch.rand(2, 1, heads, length, key_dim, generator=rng)  # as a feature map leaves them: positive
        v, pull = torch.randn(2, 1, heads, length, value_dim, generator=rng)
        *inputs, own_pull = (x.split(shards, dim=2)[rank].contiguous() for x in (q, k, v, pull))
        for training in (False, True):
            times, traffic, choices = [], {}, {"prefix_len": prefix, "normalize": normalize}
            shared = partial(sequence_parallel_prefix_linear_attention, traffic=traffic, **choices)
            for _ in range(1 + repeats):
                traffic.clear()
                dist.barrier()
                found, spent = _run(shared, inputs, own_pull if training else None)
                dist.barrier()
                if rank == 0 or not times:  # alone, as far as times go
                    alone = partial(prefix_linear_attention, **choices)
                    wanted, alone_spent = _run(alone, (q, k, v), pull if training else None)
                times.append((spent, alone_spent))
            row = {"length": length, "prefix_len": prefix, "training": training}
            pairs = [(a, b.split(shards, dim=2)[rank], b.abs().max()) for a, b in zip(found, wanted, strict=True)]
            row["difference"] = _largest(*((a - b).abs().max() / most for a, b, most in pairs))
            row["sent"] = int(_largest(sum(traffic[name].sent for name in ("forward", "backward") if name in traffic)))
            row["ring"] = max(sequence_bytes("ring", prefix, shards, **shape, training=training))
            row["ms"], row["whole_ms"] = (1e3 * median(column) for column in zip(*times[1:], strict=True))
            rows.append(row)
    return rows


def _run(call, inputs, pull: Tensor | None) -> tuple[list[Tensor], float]:
    """Return the output of call(*inputs), and the seconds that it took.

    With `pull`, which is what reaches the output, also the gradients of the inputs, and the seconds include backward.
    """
    inputs = [x.detach().clone().requires_grad_(pull is not None) for x in inputs]
    started = time.perf_counter()
    with torch.set_grad_enabled(pull is not None):
        out = call(*inputs)
    if pull is not None:
        out.backward(pull)
    spent = time.perf_counter() - started
    return [out.detach(), *(x.grad for x in inputs if pull is not None)], spent


def _run_block(layer: nn.Module, x: Tensor, mask: Tensor, pull: Tensor | None) -> tuple[list[Tensor], float]:
    """Return what `_run` does; with `pull`, the weights' gradients are left on them."""
    layer.zero_grad()
    return _run(partial(layer, mask=mask), [x], pull)


def _difference(layer: TensorParallel, whole: nn.Module, *run) -> float:
    """Return the largest difference of output and gradients, relative to the largest entry, over all processes."""
    (found, _), (wanted, _) = _run_block(layer, *run), _run_block(whole, *run)
    if len(found) > 1:  # in training
        found += [weight.grad for weight in layer.parameters()]
        gradients = copy.deepcopy(whole)  # a block of gradients: they are cut as the weights are
        for held, weight in zip(gradients.parameters(), whole.parameters(), strict=True):
            held.data = weight.grad
        wanted += shard(gradients, dist.get_rank(), dist.get_world_size()).parameters()
    return _largest(*((a - b).abs().max() / b.abs().max() for a, b in zip(found, wanted, strict=True)))


def _largest(*values) -> float:
    """Return the largest of these numbers in all processes."""
    largest = torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in values]).max()
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.item()


def main(arguments=None) -> int:
    """Measure blocks with the settings of a command line, `sys.argv` unless given; print the rows and return 0."""
    parser = argparse.ArgumentParser(description="A serial and a parallel block on several processes.")
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    parser.add_argument("--rendezvous", type=Path, help="under torchrun: a path where there is no file yet")
    parser.add_argument("--world", type=int, default=2, help="processes, unless torchrun says how many")
    parser.add_argument("--timeout", type=float, default=60.0, help="in seconds")
    for name, default in measure_blocks.__kwdefaults__.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(default, bool):
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default)
        else:
            parser.add_argument(flag, type=int, default=default, nargs="+" if isinstance(default, tuple) else None)
    options = vars(parser.parse_args(arguments))
    as_json, rendezvous, world, timeout = (options.pop(name) for name in ("json", "rendezvous", "world", "timeout"))
    if "RANK" in os.environ:  # torchrun started this
        if rendezvous is None:
            parser.error('under torchrun, --rendezvous must be given, such as --rendezvous "$(mktemp -u)"')
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        rows = processes.in_group(rank, world, rendezvous, timeout, measure_blocks, options)
        if rank > 0:
            return 0
    else:
        rows = processes.launch(measure_blocks, world=world, timeout=timeout, **options)
    if as_json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print(
            f"{row['block']:8} T = {row['length']:5} {'training' if row['training'] else 'forward':8} "
            f"{row['ms']:7.2f} ms, {row['share']:4.0%} of it in {row['forward']} + {row['backward']} all-reduces "
            f"(+ {row['weights']} for weights); one process {row['whole_ms']:7.2f} ms; off by {row['difference']:.0e}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
