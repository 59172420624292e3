"""One block on several processes: tensor parallelism, for real, over torch.distributed.

Each process holds part of a block's heads and of its hidden features, and adds up its share of what the block adds to
x; an all-reduce makes the sum whole. A serial block waits for two all-reduces, a parallel block for one, forward and
backward. `processes.launch` starts processes on this machine, and `parallel_measure` tells what it takes there.

Sources: Shoeybi et al. 2019 (Megatron-LM), section 3; Wang and Komatsuzaki 2021 (GPT-J, the code), for one instead of
two.
"""

import hashlib

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.autograd.function import once_differentiable

from ._check import check_flag, short, shown, whole_number
from ._group import Traffic, Wires
from .attention import check_x
from .layers import ParallelBlock, SerialBlock

__all__ = ["TensorParallel", "Traffic", "shard"]


def shard(block: SerialBlock | ParallelBlock, rank: int, world: int) -> SerialBlock | ParallelBlock:
    """Return the part of `block` that process `rank` of `world` holds: a block of the same class, fused if it is.

    Query, key, value, up and gate are cut by output features (heads, hidden features), output and down by the input
    features that match; so what the parts' branches make adds up to what the block's makes. Norms stay whole, and so
    do key and value if kv_heads is 1: the queries of every part read them. The weights are copies, frozen where the
    block's are.

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
    for name, weight in block.unfuse().named_parameters():
        # where these sizes are smaller, that is where the weight is cut
        sizes = part.get_parameter(name).requires_grad_(weight.requires_grad).shape
        for axis, size in enumerate(sizes):
            if size < weight.shape[axis]:
                weight = weight.narrow(axis, rank * size, size)
        state[name] = weight.detach().clone(memory_format=torch.contiguous_format)  # keeps nothing of the rest alive
    part.load_state_dict(state, assign=True)
    return (part.fuse() if settings["fused"] else part).train(block.training)


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
    check       compare x, mask and positions in all processes before each call, to the last bit: by a hash, which waits
                for an accelerator, and one all-gather of three numbers that `reductions` does not count. False trusts
                the caller: other values then give a wrong result, and no error.

    `block` is this process's part, see `shard`. Its weights' gradients are those of the whole block's, cut alike, after
    `backward()` and with nothing else to call: norms stand before the point where the processes part, so that their
    gradients are whole. Not so for weights which every process holds and uses for its own part only: key and value of
    multi-query attention, and the norms of a ParallelBlock with two, which enter together so that one all-reduce does
    for both. Such a weight's gradient is summed by a hook on it.

    `reductions` has a `Traffic` each for "forward", "backward", and "weights", those hooks. One process alone, and a
    tensor without numbers, need no all-reduce, and none is counted.

    RuntimeError if there is no process group; ValueError if the processes' weights differ, or what they are called
    with, or as in `shard`. If only one process's x is wrong, the others raise RuntimeError.

    Source: Shoeybi et al. 2019, section 3, figures 3 and 4.
    """

    def __init__(self, block: SerialBlock | ParallelBlock, group=None, *, check: bool = True):
        super().__init__()
        self.check = check_flag("check", check)
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError(
                "there is no process group: call torch.distributed.init_process_group, or use processes.launch"
            )
        self.reductions: dict[str, Traffic] = {}
        self.wires = Wires(group, self.reductions)
        self.forget()
        self.block = shard(block, self.wires.rank, self.wires.world)
        self._check_same(block)
        self.two_norms = not block.settings.get("shared_norm", True)
        if not self.two_norms:
            for norm in (child for name, child in self.block.named_children() if name.endswith("norm")):
                norm.register_forward_hook(lambda norm, args, normed: _Enter.apply(normed, self.wires.sum))
        # what the block adds to x passes through its dropout, which does nothing here: each time, a sum to make whole
        self.block.dropout.register_forward_hook(lambda dropout, args, share: _Leave.apply(share, self.wires.sum))
        if self.wires.world > 1:
            for weight, rows in self._held_by_all(block):
                trained = weight.requires_grad
                weight.requires_grad_()  # a frozen one may be trained later; only then the hook is called
                weight.register_hook(lambda gradient, rows=rows: self._added_rows(gradient, rows))
                weight.requires_grad_(trained)

    def forward(self, x: Tensor, mask=None, *, positions: Tensor | None = None) -> Tensor:
        """Return (B, T, dim), what the whole block makes of x; mask and positions are those of `Attention`."""
        if self.check:
            self._agree(x, mask, positions)
        if self.two_norms:
            entered = _Enter.apply(x, self.wires.sum)
            return x + self.block.dropout(self.block.branches(entered, mask, positions=positions))
        return self.block(x, mask, positions=positions)

    def forget(self) -> None:
        """Count the all-reduces from 0 again."""
        self.reductions.update({name: Traffic() for name in ("forward", "backward", "weights")})

    def _agree(self, x, mask, positions) -> None:
        """Refuse, in every process, what is not the same in all of them."""
        said, trouble = {}, None
        try:
            check_x(x, self.block.settings["dim"])
            said = {
                "shape of x": tuple(x.shape),
                "dtype of x": str(x.dtype),
                "requires_grad of x": torch.is_grad_enabled() and x.requires_grad,
                "values of x (by their hash)": _mark(x),
            }
            for name, value in (("mask", mask), ("positions", positions)):
                said[name] = (tuple(value.shape), _mark(value)) if isinstance(value, Tensor) else value
        except (TypeError, ValueError) as error:
            trouble = error
        Wires(self.wires.group, {}).agree(said, 0, trouble)

    def _added_rows(self, gradient: Tensor, rows: slice) -> Tensor:
        gradient = gradient.clone()
        gradient[rows] = self.wires.sum("weights", gradient[rows])
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
        mine = [_mark(*block.parameters()), [weight.requires_grad for weight in block.parameters()]]
        all_of_them = [None] * self.wires.world
        dist.all_gather_object(all_of_them, mine, group=self.wires.group)
        marks, trained = zip(*all_of_them, strict=True)
        if len(set(marks)) > 1:
            raise ValueError("block must have the same weights in every process: seed each alike, or load them")
        if any(one != trained[0] for one in trained):
            raise ValueError("block must have the same weights frozen in every process: requires_grad differs")


def _mark(*tensors: Tensor) -> str:
    """Return a hash of the tensors' bytes: equal values, equal marks."""
    mark = hashlib.sha256()
    for one in tensors:
        mark.update(one.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
    return mark.hexdigest()
