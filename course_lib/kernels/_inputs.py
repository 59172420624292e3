"""What every kernel asks of its tensors, checked once and in words, before anything is computed."""

import torch
from torch import Tensor

from .._check import check_device, check_flag, one_or_each, real_number, shown
from ..masks import Visibility
from .reference import LinearState, state_dtype

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def check_qkv(q: Tensor, k: Tensor, v: Tensor, *, meta: bool = False) -> None:
    """Check that q and k are (B, H, T, D) and v is (B, H, T, Dv), of one dtype, on one device; nothing is broadcast.

    meta: whether that device may be the one that holds no numbers.
    """
    for name, value in (("q", q), ("k", k), ("v", v)):
        check_heads_of(name, value)
    if k.shape != q.shape:
        raise ValueError(f"k must have the shape of q, {tuple(q.shape)}, got {tuple(k.shape)}")
    if v.shape[:3] != q.shape[:3]:
        raise ValueError(f"v must begin with the shape {tuple(q.shape[:3])} of q, got {tuple(v.shape)}")
    for name, value in (("k", k), ("v", v)):
        if value.dtype != q.dtype:
            raise TypeError(f"{name} must have the dtype of q, {q.dtype}, got {value.dtype}")
        if value.device != q.device:
            raise ValueError(f"{name} must be on the device of q, {q.device}, got {value.device}")
    if q.is_meta and not meta:
        raise ValueError("q, k and v are on the meta device, which holds no values to read")


def check_heads_of(name: str, value) -> None:
    """Check that one of q, k and v is (B, H, T, D), dense and of a dtype that a kernel takes."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {shown(value)}")
    if value.dim() != 4 or value.shape[-1] < 1:
        raise ValueError(f"{name} must be (batch, heads, length, features >= 1), got shape {tuple(value.shape)}")
    if value.dtype not in DTYPES:
        names = ", ".join(str(one).removeprefix("torch.") for one in DTYPES)
        raise TypeError(f"{name} must be one of {names}, got {value.dtype}")
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got one of layout {value.layout}")


def check_choices(scale: float, normalize: bool, eps: float) -> dict[str, float | bool]:
    """Return what a linear kernel is told besides its tensors, by name."""
    return {
        "scale": real_number("scale", scale),
        "normalize": check_flag("normalize", normalize),
        "eps": real_number("eps", eps, low=0),
    }


def check_prefix_len(prefix_len, q: Tensor, name: str = "q") -> int | list[int]:
    """Return the prefix length as an int if all examples share it, else as B ints on the host, each 0..T.

    name: that under which the caller knows q.
    """
    check_device("prefix_len", prefix_len, q.device)
    return one_or_each("prefix_len", prefix_len, q.shape[0], high=q.shape[2], high_name=f"the length T of {name}")


def check_packed(prefix_len, document_lens, q: Tensor) -> tuple[tuple, tuple]:
    """Return the prefix lengths and the lengths of packed documents, as `Visibility` keeps them, if they fit q."""
    check_device("prefix_len", prefix_len, q.device)
    check_device("document_lens", document_lens, q.device)
    seen = Visibility(prefix_len, document_lens=document_lens)
    if seen.batch_size not in (None, q.shape[0]):
        raise ValueError(
            f"document_lens must have one list for each of the {q.shape[0]} examples, got {seen.batch_size}"
        )
    for row in [seen.document_lens] if seen.batch_size is None else seen.document_lens:
        if sum(row) > q.shape[2]:
            raise ValueError(f"document_lens add up to {sum(row)}, more than the length T of q = {q.shape[2]}")
    return seen.prefix_len, seen.document_lens


def check_state(name: str, state, q: Tensor, v: Tensor, normalize: bool) -> LinearState:
    """Check that a state fits q and v: kv (B, H, Dk, Dv), z (B, H, Dk) or, if nothing is normalised, None."""
    if not isinstance(state, LinearState):
        raise TypeError(f"{name} must be a LinearState, got {shown(state)}")
    shapes = {"kv": (*q.shape[:2], q.shape[3], v.shape[3]), "z": (*q.shape[:2], q.shape[3])}
    for part, value in state._asdict().items():
        if part == "z" and value is None:
            if normalize:
                raise ValueError(f"{name}.z must be given with normalize=True, got None")
            continue
        if not isinstance(value, Tensor):
            raise TypeError(f"{name}.{part} must be a tensor, got {shown(value)}")
        if value.shape != shapes[part]:
            raise ValueError(f"{name}.{part} must have shape {shapes[part]}, got {tuple(value.shape)}")
        if value.dtype != state_dtype(q.dtype):
            raise TypeError(f"{name}.{part} must be {state_dtype(q.dtype)} for q of {q.dtype}, got {value.dtype}")
        check_device(f"{name}.{part}", value, q.device)
    return state
