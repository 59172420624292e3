"""The states that processes with a sequence between them make of their keys, and what each needs of the others'.

A part of the keys is the sum of k_j^T v_j over it, with z beside it as one more column where somebody needs it.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .kernels.reference import state_dtype


class Outside(torch.autograd.Function):
    """From k and v of each process to the sum of all keys outside that its rows see, and to that of all keys.

    given       the state before all keys, or None.
    own         how many of this process's tokens are prefix: an int, or one for each example.
    wires, first  the group, and the first of its processes that holds a token of the target.
    reduced     whether there is anything to reduce: a prefix, or a state to return.
    return_state  otherwise the second result is None.

    The kernel sums this process's keys once more: it cannot begin before it knows the state outside, for which others
    need these sums now.
    """

    @staticmethod
    def forward(ctx, k, v, given, own, keep_z, wires, first, reduced, return_state):
        # the last one's target is nobody else's business
        early, late = _sums(k, v, own, keep_z, return_state or wires.rank < wires.world - 1)
        outside, last = wires.scan("forward", late, first), None
        if reduced:
            total = wires.sum("forward", torch.stack([early, late]) if return_state else early[None])
            outside += total[0] - early  # the kernel adds the own part of the prefix
            last = total.sum(0) if return_state else None
        if given is not None:
            outside += given
            last = last + given if return_state else None
        ctx.save_for_backward(k, v)
        ctx.plan = own, wires, first, reduced, return_state
        return outside, last

    @staticmethod
    @once_differentiable
    def backward(ctx, doutside, dlast):
        own, wires, first, reduced, return_state = ctx.plan
        dlate, dearly, dgiven = wires.scan("backward", doutside, first, -1), torch.zeros_like(doutside), None
        if reduced or ctx.needs_input_grad[2]:
            total = wires.sum("backward", torch.stack([doutside, dlast]) if return_state else doutside[None])
            dearly = total.sum(0) - doutside
            dgiven = total.sum(0) if ctx.needs_input_grad[2] else None
            if return_state:
                dlate += total[1]
        dk = dv = None
        if any(ctx.needs_input_grad[:2]):
            dk, dv = _sums_gradients(*ctx.saved_tensors, own, dearly, dlate)
        return dk, dv, dgiven, *[None] * 6


def joined(kv: Tensor, z: Tensor | None, keep_z: bool) -> Tensor:
    """Return kv (B, H, Dk, Dv), and with keep_z also z (B, H, Dk), as its last column: (B, H, Dk, Dv + 1)."""
    return torch.cat([kv, z[..., None]], dim=-1) if keep_z else kv


def _sums(k: Tensor, v: Tensor, own: int | list[int], keep_z: bool, hands_on: bool) -> tuple[Tensor, Tensor]:
    """Return the sums over the keys in the prefix, and, if it hands them on, over those in the target."""

    def state(keys, values):
        keys, values = keys.to(dtype), values.to(dtype)
        return joined(keys.mT @ values, keys.sum(2), keep_z)

    dtype = state_dtype(k.dtype)
    if isinstance(own, int):
        stop = k.shape[2] if hands_on else own
        return state(k[:, :, :own], v[:, :, :own]), state(k[:, :, own:stop], v[:, :, own:stop])
    in_prefix = _in_prefix(k, own)
    return state(k.masked_fill(~in_prefix, 0), v), state(k.masked_fill(in_prefix, 0), v)


def _sums_gradients(k: Tensor, v: Tensor, own: int | list[int], dearly: Tensor, dlate: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of k and v from those of their sums."""

    def gradients(keys, values, dstate):
        keys, values = keys.to(dstate.dtype), values.to(dstate.dtype)
        dkv = dstate[..., : v.shape[3]]
        dkeys = values @ dkv.mT
        if dstate.shape[3] > v.shape[3]:
            dkeys += dstate[..., None, :, -1]
        return dkeys.to(k.dtype), (keys @ dkv).to(v.dtype)

    if not isinstance(own, int):
        in_prefix, early, late = _in_prefix(k, own), gradients(k, v, dearly), gradients(k, v, dlate)
        return tuple(torch.where(in_prefix, a, b) for a, b in zip(early, late, strict=True))
    if own in (0, k.shape[2]):
        return gradients(k, v, dearly if own else dlate)
    early = gradients(k[:, :, :own], v[:, :, :own], dearly)
    late = gradients(k[:, :, own:], v[:, :, own:], dlate)
    return tuple(torch.cat(parts, dim=2) for parts in zip(early, late, strict=True))


def _in_prefix(k: Tensor, own: list[int]) -> Tensor:
    return torch.arange(k.shape[2], device=k.device)[:, None] < torch.tensor(own, device=k.device).view(-1, 1, 1, 1)
