"""One block on several processes: tensor parallelism, for real, over torch.distributed.

Each process holds part of a block's heads and of its hidden features, and adds up its share of what the block adds to
x; an all-reduce makes the sum whole. A serial block waits for two all-reduces, a parallel block for one, forward and
backward. `launch` starts the processes on this machine; they talk over its loopback interface and by a file, so it
works without a network. By hand, with torchrun or without:

    torchrun --standalone --nproc-per-node 2 -m course_lib.tensor_parallel --rendezvous "$(mktemp -u)" --json
    python -m course_lib.tensor_parallel --json

Sources: Shoeybi et al. 2019 (Megatron-LM), section 3; Wang and Komatsuzaki 2021 (GPT-J, the code), for one instead of
two.
"""

import argparse
import copy
import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from . import processes
from ._check import short, shown, whole_number
from .layers import BLOCKS, ParallelBlock, SerialBlock
from .masks import prefix_mask

__all__ = ["Tally", "TensorParallel", "launch", "measure", "shard"]


def shard(block: SerialBlock | ParallelBlock, rank: int, world: int) -> SerialBlock | ParallelBlock:
    """Return the part of `block` that process `rank` of `world` holds: a block of the same class, fused if it is.

    Query, key, value, up and gate are cut by output features (heads, hidden features), output and down by the input
    features that match; so what the parts' branches make adds up to what the block's makes. Norms stay whole, and so
    do key and value if kv_heads is 1: the queries of every part read them. The weights are copies.

    ValueError if heads or hidden is no multiple of world, if kv_heads is neither a multiple of it nor 1, or if the
    block has dropout.

    Sources: Shoeybi et al. 2019, section 3, figure 3; Shazeer 2019 (multi-query), section 3.
    """
    if not isinstance(block, (SerialBlock, ParallelBlock)):
        raise TypeError(f"block must be a SerialBlock or a ParallelBlock, got {shown(block)}")
    whole_number("world", world, low=1)
    whole_number("rank", rank, high=world - 1, high_name="world - 1")
    settings = block.settings
    if settings["dropout"]:
        raise ValueError(f"dropout must be 0, for each process would drop others, got {settings['dropout']}")
    for name in ("heads", "hidden"):
        if settings[name] % world:
            raise ValueError(f"{name} must be a multiple of world = {world}, got {settings[name]}")
    kv_heads = settings["kv_heads"] or settings["heads"]
    if kv_heads % world and kv_heads != 1:
        raise ValueError(f"kv_heads must be 1 or a multiple of world = {world}, got {short(kv_heads)}")
    narrow = {"heads": settings["heads"] // world, "hidden": settings["hidden"] // world}
    narrow["kv_heads"] = max(kv_heads // world, 1)
    with torch.device("meta"):
        part = type(block)(**{**settings, **narrow, "fused": False})
    state = {}
    for name, weight in block.unfuse().state_dict().items():
        sizes = part.get_parameter(name).shape  # where these are smaller, that is where the weight is cut
        for axis, size in enumerate(sizes):
            if size < weight.shape[axis]:
                weight = weight.narrow(axis, rank * size, size)
        state[name] = weight.clone(memory_format=torch.contiguous_format)  # keeps nothing of the rest alive
    part.load_state_dict(state, assign=True)
    return (part.fuse() if settings["fused"] else part).train(block.training)


@dataclass
class Tally:
    """All-reduces so far: how many, the bytes of the tensors that they added up, the seconds that they took.

    The seconds of this process, with those in which it waited for the others to arrive. On an accelerator a call
    returns before the sum is there, and its seconds say little.
    """

    count: int = 0
    bytes: int = 0
    seconds: float = 0.0


class _Enter(torch.autograd.Function):
    """Where each process takes the same input: nothing forward, the sum of the gradients backward. Megatron-LM's f."""

    @staticmethod
    def forward(ctx, x: Tensor, added) -> Tensor:
        ctx.added = added
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        return ctx.added("backward", gradient), None


class _Leave(torch.autograd.Function):
    """Where each process has a share of a sum: the sum forward, nothing backward. Megatron-LM's g."""

    @staticmethod
    def forward(ctx, share: Tensor, added) -> Tensor:
        return added("forward", share)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        return gradient, None


class TensorParallel(nn.Module):
    """A block whose work the processes of a group share; each calls it with the same x and gets the same result.

    block       the whole block, with the same weights in each process. It is not kept.
    group       of torch.distributed; all processes unless given.

    `block` is this process's part, see `shard`. Its weights' gradients are those of the whole block's, cut alike, after
    `backward()` and with nothing else to call: norms stand before the point where the processes part, so that their
    gradients are whole. Not so for weights which every process holds and uses for its own part only: key and value of
    multi-query attention, and the norms of a ParallelBlock with two, which enter together so that one all-reduce does
    for both. Such a weight's gradient is summed by a hook on it.

    `reductions` has one Tally each for "forward", "backward", and "weights", those hooks.

    RuntimeError if there is no process group; ValueError if the processes' weights differ, or as in `shard`.

    Source: Shoeybi et al. 2019, section 3, figures 3 and 4.
    """

    def __init__(self, block: SerialBlock | ParallelBlock, group=None):
        super().__init__()
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError("there is no process group: call torch.distributed.init_process_group, or use launch")
        self.group = group
        world = dist.get_world_size(group)
        self.block = shard(block, dist.get_rank(group), world)
        self._check_same(block)
        self.forget()
        self.two_norms = not block.settings.get("shared_norm", True)
        if not self.two_norms:
            for norm in (child for name, child in self.block.named_children() if name.endswith("norm")):
                norm.register_forward_hook(lambda norm, args, normed: _Enter.apply(normed, self._added))
        # what the block adds to x passes through its dropout, which does nothing here: each time, a sum to make whole
        self.block.dropout.register_forward_hook(lambda dropout, args, share: _Leave.apply(share, self._added))
        if world > 1:
            for weight, rows in self._held_by_all(block):
                weight.register_hook(lambda gradient, rows=rows: self._added_rows(gradient, rows))

    def forward(self, x: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Return (B, T, dim), what the whole block makes of x; mask and positions are those of `Attention`."""
        if self.two_norms:
            entered = _Enter.apply(x, self._added)
            return x + self.block.dropout(self.block.branches(entered, mask, positions=positions))
        return self.block(x, mask, positions=positions)

    def forget(self) -> None:
        """Count the all-reduces from 0 again."""
        self.reductions = {name: Tally() for name in ("forward", "backward", "weights")}

    def _added(self, name: str, share: Tensor) -> Tensor:
        whole = share.clone(memory_format=torch.contiguous_format)  # autograd's tensors are not ours to change
        started = time.perf_counter()
        dist.all_reduce(whole, group=self.group)
        tally = self.reductions[name]
        tally.seconds += time.perf_counter() - started
        tally.count += 1
        tally.bytes += whole.nbytes
        return whole

    def _added_rows(self, gradient: Tensor, rows: slice) -> Tensor:
        gradient = gradient.clone()
        gradient[rows] = self._added("weights", gradient[rows])
        return gradient

    def _held_by_all(self, block) -> list[tuple[nn.Parameter, slice]]:
        """Return each weight whose gradient is a sum over the processes, and the rows of it that are."""
        weights = dict(self.block.named_parameters())
        found = [(weights[f"{name}.weight"], slice(None)) for name in ("norm", "mlp_norm") if self.two_norms]
        if block.settings["kv_heads"] != 1:
            return found
        joined = weights.get("in_proj.weight", weights.get("attention.qkv.weight"))
        if joined is None:
            return found + [(weights[f"attention.{name}.weight"], slice(None)) for name in ("key", "value")]
        query, key, value = getattr(self.block, "attention", getattr(self.block, "heads", None)).widths
        return [*found, (joined, slice(query, query + key + value))]

    def _check_same(self, block) -> None:
        mark = hashlib.sha256()
        for weight in block.parameters():
            mark.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
        marks = [None] * dist.get_world_size(self.group)
        dist.all_gather_object(marks, mark.hexdigest(), group=self.group)
        if len(set(marks)) > 1:
            raise ValueError("block must have the same weights in every process: seed each alike, or load them")


def measure(
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
    """Compare the serial and the parallel block with themselves on one process; for `launch`, in a process of a group.

    One example of each length, the first half of it prefix. Returns a row for each block, length, and pass (forward
    alone; training, that is forward and backward):

    block, length, training     which one
    difference                  from the one process, the largest of all processes: max |a - b| / max |b|, of the output
                                and in training also of the gradients of x and of each weight
    forward, backward, weights  how many all-reduces, by `TensorParallel.reductions`; bytes: of all of them
    ms, reduce_ms               of this process, and of that in all-reduces, waiting included; share: the second's part
    whole_ms                    the whole block, on one process while the others wait

    Times are medians of `repeats` rounds, in each of which everything has its turn.
    """
    torch.manual_seed(0)
    shape = {"heads": heads, "head_dim": head_dim, "hidden": hidden, "kv_heads": kv_heads, "fused": fused}
    cases = []
    for length in lengths:
        x, pull = torch.randn(2, 1, length, dim)
        mask = prefix_mask(length // 2, length)
        for name, made in BLOCKS.items():
            whole = made(dim, **shape)
            layer = TensorParallel(whole)
            for training in (False, True):
                run = (x, mask, pull if training else None)
                row = {"block": name, "length": length, "training": training}
                row["difference"] = _difference(layer, whole, *run)
                cases.append((row, layer, whole, run, []))
    for _ in range(1 + repeats):
        for row, layer, whole, run, times in cases:
            layer.forget()
            spent = _seconds(layer, *run)
            dist.barrier()
            alone = _seconds(whole, *run) if dist.get_rank() == 0 else 0.0
            dist.barrier()
            tallies = layer.reductions
            times.append((spent, sum(tally.seconds for tally in tallies.values()), alone))
            row |= {name: tally.count for name, tally in tallies.items()}
            row["bytes"] = sum(tally.bytes for tally in tallies.values())
    for row, *_, times in cases:
        times = times[1:]  # the first round warms up
        row["ms"], row["reduce_ms"], row["whole_ms"] = (1e3 * median(column) for column in zip(*times, strict=True))
        row["share"] = median(reduce / spent for spent, reduce, _ in times)
    return [row for row, *_ in cases]


def _seconds(layer: nn.Module, x: Tensor, mask: Tensor, pull: Tensor | None) -> float:
    """Run forward, and backward from `pull` if there is one; gradients are left on x and the weights."""
    layer.zero_grad()
    x.grad = None
    started = time.perf_counter()
    with torch.set_grad_enabled(pull is not None):
        out = layer(x.requires_grad_(pull is not None), mask)
    if pull is not None:
        out.backward(pull)
    return time.perf_counter() - started


def _difference(layer: TensorParallel, whole: nn.Module, x: Tensor, mask: Tensor, pull: Tensor | None) -> float:
    """Return the largest difference of output and gradients, relative to the largest entry, over all processes."""
    pairs = []
    with torch.no_grad():
        pairs.append((layer(x, mask), whole(x, mask)))
    if pull is not None:
        _seconds(layer, x, mask, pull)
        mine = [x.grad, *(weight.grad for weight in layer.parameters())]
        _seconds(whole, x, mask, pull)
        gradients = copy.deepcopy(whole)  # a block of gradients: they are cut as the weights are
        for held, weight in zip(gradients.parameters(), whole.parameters(), strict=True):
            held.data = weight.grad
        cut = shard(gradients, dist.get_rank(), dist.get_world_size()).parameters()
        pairs += zip(mine, [x.grad, *cut], strict=True)
    largest = torch.stack([(a - b).abs().max() / b.abs().max() for a, b in pairs]).max()
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.item()


def launch(work=measure, *, world: int = 2, timeout: float = 60.0, **settings):
    """Call work(**settings), `measure` unless given, in `world` new processes: see `processes.launch`."""
    return processes.launch(work, world=world, timeout=timeout, **settings)


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description="A serial and a parallel block on several processes.")
    parser.add_argument("--json", action="store_true", help="print what was measured as JSON")
    parser.add_argument("--rendezvous", type=Path, help="under torchrun: a path where there is no file yet")
    parser.add_argument("--world", type=int, default=2, help="processes, unless torchrun says how many")
    parser.add_argument("--timeout", type=float, default=60.0, help="in seconds")
    for name, default in measure.__kwdefaults__.items():
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
        rows = processes.in_group(rank, world, rendezvous, timeout, measure, options)
        if rank > 0:
            return 0
    else:
        rows = launch(world=world, timeout=timeout, **options)
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
