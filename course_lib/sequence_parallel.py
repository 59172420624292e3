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
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from ._check import check_device, is_whole_number, whole_number, whole_numbers
from ._group import AGREEMENT_BYTES, agree
from .kernels._inputs import check_eps, check_flag, check_qkv, check_scale, check_state
from .kernels.linear import LinearState, prefix_linear_attention
from .kernels.reference import state_dtype
from .sequence_costs import first_of_target, reduced_bytes

__all__ = ["Traffic", "sequence_parallel_prefix_linear_attention"]


@dataclass
class Traffic:
    """What this process has sent and received so far, in bytes, in how many calls, and the seconds that they took.

    An all-reduce counts 2 (N - 1) / N of its bytes each way, the least that there is; a process cannot see what really
    went over the wire. The seconds include waiting for the others. On an accelerator they say little.
    """

    calls: int = 0
    sent: int = 0
    received: int = 0
    seconds: float = 0.0


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
    group          of torch.distributed; all processes unless given. gloo for tensors on the CPU, nccl for those on GPUs.
    initial_state  `LinearState` of earlier keys, which all L queries see: the same values in every process, which is
                   not checked. Its gradient is the whole one in every process.
    return_state   also return the state after all L keys, the same in every process. The all-reduce is then of two
                   states. What the processes make of it adds up in its gradient.
    traffic        a dict that gets a `Traffic` each for "agreement", "forward" and "backward", or adds to it.

    Forward: three numbers of each process are gathered, by which they see that they agree; then an all-reduce, unless
    prefix_len is 0, and the chain. Backward: the same without the first. Every process must run the backward, also one
    without tokens (`out.sum()` will do). It can run once: for second derivatives use one process. Packed documents are
    not offered.

    RuntimeError if there is no process group. ValueError or TypeError for what `prefix_linear_attention` refuses, and in
    every process if they do not agree. If only one process's inputs are wrong, the others raise RuntimeError. Nobody
    waits for a process that never calls this longer than the group's timeout.

    Sources: see the module.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise RuntimeError("there is no process group: call torch.distributed.init_process_group, or use launch")
    wires = _Wires(group, {} if traffic is None else traffic)
    said, trouble = {}, None
    try:
        check_qkv(q, k, v)
        choices = {"scale": check_scale(scale), "normalize": check_flag("normalize", normalize), "eps": check_eps(eps)}
        check_flag("return_state", return_state)
        prefix_len = _checked_prefix(prefix_len, q)
        if initial_state is not None:
            check_state("initial_state", initial_state, q, v, normalize)
        said = _said(q, k, v, prefix_len, initial_state, return_state, choices)
    except (TypeError, ValueError) as error:
        trouble = error
    lengths = wires.timed("agreement", lambda: agree(said, q.shape[2] if said else 0, trouble, group))
    wires.count("agreement", AGREEMENT_BYTES * (wires.world - 1))
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
        given = None if initial_state is None else _joined(initial_state.kv, initial_state.z, keep_z)
        hands_on = return_state or wires.rank < wires.world - 1  # the last one's target is nobody else's business
        early, late = _own_states(k, v, own, keep_z, hands_on)
        reduced = any(prefixes) or return_state
        first = first_of_target(prefixes, lengths)
        outside, last = _Exchange.apply(early, late, given, wires, first, reduced, return_state)
        outside = LinearState(outside[..., :-1], outside[..., -1]) if keep_z else LinearState(outside)
    out = prefix_linear_attention(q, k, v, own, initial_state=outside, **choices)
    if not return_state:
        return out
    whole = LinearState(last[..., :-1].contiguous(), last[..., -1].contiguous()) if keep_z else LinearState(last)
    return out, whole


class _Exchange(torch.autograd.Function):
    """From each process's sums of its keys to the sum of all keys outside that its rows see, and after all of them."""

    @staticmethod
    def forward(ctx, early, late, given, wires, first, reduced, return_state):
        ctx.plan = wires, first, reduced, return_state
        outside, last = wires.scan("forward", late, first), None
        if reduced:
            total = wires.sum("forward", torch.stack([early, late]) if return_state else early[None])
            outside = outside + (total[0] - early)  # the own part of the prefix is added by the kernel
            last = total.sum(0) if return_state else None
        if given is not None:
            outside = outside + given
            last = last + given if return_state else None
        return outside, last

    @staticmethod
    @once_differentiable
    def backward(ctx, doutside, dlast):
        wires, first, reduced, return_state = ctx.plan
        dlate, dearly, dgiven = wires.scan("backward", doutside, first, -1), None, None
        if reduced or ctx.needs_input_grad[2]:
            total = wires.sum("backward", torch.stack([doutside, dlast]) if return_state else doutside[None])
            dgiven, dearly = total.sum(0), total.sum(0) - doutside
            if return_state:
                dlate = dlate + total[1]
        return dearly, dlate, dgiven, None, None, None, None


class _Wires:
    """What travels between the processes of a group, counted under a name."""

    def __init__(self, group, traffic: dict[str, Traffic]):
        self.group, self.traffic = group, traffic
        self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)

    def count(self, name: str, sent: int, received: int | None = None) -> None:
        tally = self.traffic.setdefault(name, Traffic())
        tally.calls += 1
        tally.sent += sent
        tally.received += sent if received is None else received

    def timed(self, name: str, call):
        started = time.perf_counter()
        result = call()
        self.traffic.setdefault(name, Traffic()).seconds += time.perf_counter() - started
        return result

    def sum(self, name: str, share: Tensor) -> Tensor:
        """Return the sum of all processes' shares."""
        whole = share.clone(memory_format=torch.contiguous_format)
        if self.world > 1 and whole.numel():
            self.timed(name, lambda: dist.all_reduce(whole, group=self.group))
            self.count(name, reduced_bytes(whole.nbytes, self.world))
        return whole

    def scan(self, name: str, share: Tensor, first: int, step: int = 1) -> Tensor:
        """Return the sum of the shares of those before this process, or with step -1 of those after it.

        Processes before `first` take no part: they get zeros.
        """
        before = torch.zeros_like(share, memory_format=torch.contiguous_format)
        if self.rank < first or not share.numel():
            return before
        source, target = self.rank - step, self.rank + step
        if first <= source < self.world:
            self.timed(name, lambda: dist.recv(before, group=self.group, group_src=source))
            self.count(name, 0, before.nbytes)
        if first <= target < self.world:
            on = (before + share).contiguous()
            self.timed(name, lambda: dist.send(on, group=self.group, group_dst=target))
            self.count(name, on.nbytes, 0)
        return before


def _checked_prefix(prefix_len, q: Tensor) -> int | list[int]:
    """Return an int if all examples share it, else B of them; how large they may be is not known yet."""
    if is_whole_number(prefix_len):
        return whole_number("prefix_len", prefix_len)
    check_device("prefix_len", prefix_len, q.device)
    prefixes = whole_numbers("prefix_len", prefix_len)
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


def _own_states(k: Tensor, v: Tensor, own: int | list[int], keep_z: bool, hands_on: bool) -> tuple[Tensor, Tensor]:
    """Return the sums over this process's keys in the prefix, and, for one that hands it on, over those in the target.

    The kernel will sum them again: it cannot begin before it knows the state outside, and others wait for this one.
    """
    dtype = state_dtype(k.dtype)
    if isinstance(own, int):
        stop = k.shape[2] if hands_on else own
        halves = [(k[:, :, a:b], v[:, :, a:b]) for a, b in ((0, own), (own, stop))]
    else:
        in_prefix = torch.arange(k.shape[2], device=k.device)[:, None] < torch.tensor(own, device=k.device).view(
            -1, 1, 1, 1
        )
        halves = [(k.masked_fill(~in_prefix, 0), v), (k.masked_fill(in_prefix, 0), v)]
    halves = [(keys.to(dtype), values.to(dtype)) for keys, values in halves]
    return tuple(_joined(keys.mT @ values, keys.sum(2), keep_z) for keys, values in halves)


def _joined(kv: Tensor, z: Tensor | None, keep_z: bool) -> Tensor:
    return torch.cat([kv, z[..., None]], dim=-1) if keep_z else kv
