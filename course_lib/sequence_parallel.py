"""Prefix linear attention over a sequence that several processes share: sequence parallelism over torch.distributed.

Each process holds a stretch of the tokens and computes their rows. What it needs of all the other tokens is one state:

    the prefix, wherever it lies, for every row reads its sum    -> an all-reduce of the processes' sums
    the target before this stretch, and not what comes after     -> a scan: each process adds its own and hands it on

So a state for each head travels, however many tokens there are. Backward the gradients of these states do, the same way
round for the prefix and the other way for the target. `sequence_costs` counts the bytes.

The scan is a chain of N - 1 messages in turn, and each process sends one state. Gathering all states everywhere takes a
single call, but each process would send N - 1 of them; doubling strides, log2 N. Messages of so few bytes are waited
for rather than transferred: on a great many processes in one machine, gathering may be the faster. Processes that
only hold prefix have nothing to hand on, and the chain starts after them.

Sources: Katharopoulos et al. 2020 (arXiv 2006.16236) for the sums; Sun et al. 2024 (LASP, arXiv 2404.02882) for handing
them on between processes, causal there; Sun et al. 2025 (LASP-2, arXiv 2502.07563) for gathering them.
"""

import time
from statistics import median

import torch
from torch import Tensor
from torch import distributed as dist

from ._check import check_device, is_whole_number, real_number, shown, whole_number, whole_numbers
from ._group import Traffic, Wires
from ._sequence_states import Outside, joined
from .kernels._inputs import check_flag, check_qkv, check_state
from .kernels.linear import LinearState, prefix_linear_attention
from .sequence_costs import first_of_target, sequence_bytes, shard_lengths

__all__ = ["Traffic", "measure", "sequence_parallel_prefix_linear_attention"]


def sequence_parallel_prefix_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prefix_len=0,
    *,
    group=None,
    scale: float = 1.0,
    normalize: bool = False,
    eps: float = 1e-6,
    initial_state: LinearState | None = None,
    return_state: bool = False,
    traffic: dict[str, Traffic] | None = None,
) -> Tensor | tuple[Tensor, LinearState]:
    """Return this process's rows (B, H, T, Dv) of `prefix_linear_attention` over the tokens of all processes.

    Every process of the group calls this, each with its own stretch of the tokens; the stretches follow each other by
    rank. The rows, the gradients and the meaning of scale, normalize and eps are those of one process with all tokens.

    q, k           (B, H, T, Dk), and v (B, H, T, Dv): T may differ between processes, and be 0. All else is the same.
    prefix_len     in tokens of the whole sequence, 0..L with L the sum of all T; it may end within any stretch. An int,
                   or a list or integer tensor (B,); the same in every process.
    group          of torch.distributed; all processes unless given. gloo for tensors on the CPU, nccl on GPUs.
    initial_state  `LinearState` of earlier keys, which all L queries see: the same values in every process, which is
                   not checked. Its gradient is the whole one in every process.
    return_state   also return the state after all L keys, the same in every process. The all-reduce is then of two
                   states. What the processes make of it adds up in its gradient.
    traffic        a dict that gets a `Traffic` each for "agreement", "forward" and "backward", or adds to it.

    Forward: three numbers of each process are gathered, by which they see that they agree; then an all-reduce, unless
    prefix_len is 0, and the chain. Backward: the same without the first. Every process must run the backward, also one
    without tokens (`out.sum()` will do). It cannot itself be differentiated: for second derivatives use one process.
    Packed documents are not offered.

    RuntimeError if there is no process group. ValueError or TypeError for what `prefix_linear_attention` refuses, and
    in every process if they do not agree. If only one process's inputs are wrong, the others raise RuntimeError. Nobody
    waits for a process that never calls this longer than the group's timeout.

    Sources: see the module.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError("there is no process group: call torch.distributed.init_process_group, or use launch")
    if traffic is not None and not isinstance(traffic, dict):
        raise TypeError(f"traffic must be a dict or None, got {shown(traffic)}")
    wires = Wires(group, {} if traffic is None else traffic)
    said, trouble = {}, None
    try:
        check_qkv(q, k, v)
        choices = {
            "scale": real_number("scale", scale),
            "normalize": check_flag("normalize", normalize),
            "eps": real_number("eps", eps, low=0),
        }
        check_flag("return_state", return_state)
        prefix_len = _checked_prefix(prefix_len, q)
        if initial_state is not None:
            check_state("initial_state", initial_state, q, v, normalize)
        said = _said(q, k, v, prefix_len, initial_state, return_state, choices)
    except (TypeError, ValueError) as error:
        trouble = error
    lengths = wires.agree(said, q.shape[2] if said else 0, trouble)
    limits = {"high": sum(lengths), "high_name": "the tokens of all processes"}
    start, length = sum(lengths[: wires.rank]), lengths[wires.rank]
    if isinstance(prefix_len, int):
        prefixes = [whole_number("prefix_len", prefix_len, **limits)]
        own = min(max(prefix_len - start, 0), length)
    else:
        prefixes = whole_numbers("prefix_len", prefix_len, **limits)
        own = [min(max(one - start, 0), length) for one in prefixes]
    keep_z = normalize or (return_state and (initial_state is None or initial_state.z is not None))
    with torch.autocast(q.device.type, enabled=False):
        given = None if initial_state is None else joined(*initial_state, keep_z)
        first, reduced = first_of_target(prefixes, lengths), any(prefixes) or return_state
        outside, last = Outside.apply(k, v, given, own, keep_z, wires, first, reduced, return_state)
        outside = LinearState(outside[..., :-1], outside[..., -1]) if keep_z else LinearState(outside)
    out = prefix_linear_attention(q, k, v, own, initial_state=outside, **choices)
    if not return_state:
        return out
    whole = LinearState(last[..., :-1].contiguous(), last[..., -1].contiguous()) if keep_z else LinearState(last)
    return out, whole


def _checked_prefix(prefix_len, q: Tensor) -> int | list[int]:
    """Return an int if all examples share it, else B of them; how large they may be is not known yet."""
    if is_whole_number(prefix_len):
        return whole_number("prefix_len", prefix_len)
    check_device("prefix_len", prefix_len, q.device)
    prefixes = whole_numbers("prefix_len", prefix_len, or_one=True)
    if len(prefixes) != q.shape[0]:
        raise ValueError(f"prefix_len must have one entry for each of the {q.shape[0]} examples, got {len(prefixes)}")
    return prefixes[0] if len(set(prefixes)) == 1 else prefixes


def _said(q, k, v, prefix_len, state, return_state, choices) -> dict:
    """Return what must be the same in every process, by the names under which errors speak of it."""
    tracked = torch.is_grad_enabled()
    parts = () if state is None else [x for x in state if x is not None]
    return {
        "batch": q.shape[0],
        "heads": q.shape[1],
        "features of q and k": q.shape[3],
        "features of v": v.shape[3],
        "dtype": str(q.dtype),
        "prefix_len": prefix_len,
        **choices,
        "return_state": return_state,
        "parts of initial_state": len(parts),
        "requires_grad of k or v": tracked and (k.requires_grad or v.requires_grad),
        "requires_grad of initial_state": tracked and any(x.requires_grad for x in parts),
    }


def measure(
    *,
    heads: int = 8,
    key_dim: int = 64,
    value_dim: int = 64,
    normalize: bool = True,
    lengths: tuple[int, ...] = (1024, 4096, 16384),
    repeats: int = 5,
) -> list[dict]:
    """Share sequences between the processes of a group, and compare with one process; for `launch`.

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
        for training in (False, True):
            times, traffic = [], {}
            for _ in range(1 + repeats):
                traffic.clear()
                dist.barrier()
                mine = [x.split(shards, dim=2)[rank].contiguous() for x in (q, k, v, pull)]
                found, spent = _run(
                    sequence_parallel_prefix_linear_attention,
                    mine,
                    training,
                    prefix,
                    normalize=normalize,
                    traffic=traffic,
                )
                dist.barrier()
                if rank == 0 or not times:  # alone, as far as times go
                    wanted, alone = _run(
                        prefix_linear_attention, (q, k, v, pull), training, prefix, normalize=normalize
                    )
                times.append((spent, alone))
            row = {"length": length, "prefix_len": prefix, "training": training}
            pairs = [(a, b.split(shards, dim=2)[rank], b.abs().max()) for a, b in zip(found, wanted, strict=True)]
            row["difference"] = _largest(*((a - b).abs().max() / most for a, b, most in pairs))
            row["sent"] = int(_largest(sum(traffic[name].sent for name in ("forward", "backward") if name in traffic)))
            row["ring"] = max(sequence_bytes("ring", prefix, shards, **shape, training=training))
            row["ms"], row["whole_ms"] = (1e3 * median(column) for column in zip(*times[1:], strict=True))
            rows.append(row)
    return rows


def _run(attend, tensors, training: bool, prefix_len: int, **choices) -> tuple[list[Tensor], float]:
    """Return the output, in training also the gradients of q, k and v, and the seconds that it took."""
    *inputs, pull = (x.detach().clone().requires_grad_(training) for x in tensors)
    started = time.perf_counter()
    with torch.set_grad_enabled(training):
        out = attend(*inputs, prefix_len, **choices)
    if training:
        out.backward(pull)
    spent = time.perf_counter() - started
    return [out.detach(), *(x.grad for x in inputs if training)], spent


def _largest(*values) -> float:
    """Return the largest of these numbers in all processes."""
    largest = torch.stack([torch.as_tensor(value, dtype=torch.float64) for value in values]).max()
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return largest.item()
