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

import torch
from torch import Tensor
from torch import distributed as dist

from ._check import check_device, check_flag, one_or_each, shown
from ._group import Traffic, Wires
from ._sequence_states import Outside, joined
from .kernels._inputs import check_choices, check_qkv, check_state
from .kernels.linear import LinearState, prefix_linear_attention
from .sequence_costs import first_of_target

__all__ = ["Traffic", "sequence_parallel_prefix_linear_attention"]


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
        raise RuntimeError(
            "there is no process group: call torch.distributed.init_process_group, or use processes.launch"
        )
    wires = Wires(group, traffic if isinstance(traffic, dict) else {})
    said, trouble = {}, None
    try:  # what is wrong in one process alone is told to the others, who would wait for it
        if traffic is not None and not isinstance(traffic, dict):
            raise TypeError(f"traffic must be a dict or None, got {shown(traffic)}")
        check_qkv(q, k, v)
        choices = check_choices(scale, normalize, eps)
        check_flag("return_state", return_state)
        check_device("prefix_len", prefix_len, q.device)
        prefix_len = one_or_each("prefix_len", prefix_len, q.shape[0])  # how large it may be is not known yet
        if initial_state is not None:
            check_state("initial_state", initial_state, q, v, normalize)
        said = _said(q, k, v, prefix_len, initial_state, return_state, choices)
    except (TypeError, ValueError) as error:
        trouble = error
    lengths = wires.agree(said, q.shape[2] if said else 0, trouble)
    limits = {"high": sum(lengths), "high_name": "the tokens of all processes"}
    start, length = sum(lengths[: wires.rank]), lengths[wires.rank]
    prefix_len = one_or_each("prefix_len", prefix_len, q.shape[0], **limits)
    prefixes = [prefix_len] if isinstance(prefix_len, int) else prefix_len
    own = [min(max(one - start, 0), length) for one in prefixes]
    own = own[0] if isinstance(prefix_len, int) else own
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
