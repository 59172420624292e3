"""Who takes part in a race on a GPU, and whether all compute what they should. It runs on any device.

Linear contenders compute the sum over the keys j that query i may see (j <= i or j < P) of (q_i . k_j) v_j, with
scale 1 and not normalised; flash-linear-attention's defaults are others, so both are given. The two softmax contenders
are another function, and are named so. Nothing is timed whose rows differ from the definition in float64.
"""

import dataclasses
import importlib.metadata
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from course_lib.gpu_record import CHUNKED, FEATURES, FLA, FLEX, PREFIXES, PRODUCTS, SDPA
from course_lib.kernels import flex, prefix_linear_attention
from course_lib.masks import prefix_block_mask

MOST_ERROR = 1e-2  # relative, of 16-bit operands; another scale or normaliser would be off by more than 0.5
_SHAPES = 64  # shapes that the compiler keeps


@dataclasses.dataclass(frozen=True)
class Contender:
    """One that takes part: what it runs on (q, k, v), which function that is, and in which layout it wants them."""

    run: Callable[[Tensor, Tensor, Tensor], Tensor]
    prefix: int
    softmax: bool = False
    tokens_first: bool = False  # (B, T, H, D) in place of (B, H, T, D)


def inputs(batch: int, heads: int, length: int, device, dtype, tensors: int = 3) -> list[Tensor]:
    """Return q, k, v, and an upstream gradient if asked for: random, q and k positive as features are."""
    rng = torch.Generator(device).manual_seed(0)
    shape, made = (batch, heads, length, FEATURES), []
    for i in range(tensors):
        draw = torch.rand if i < 2 else torch.randn
        made.append((draw(shape, generator=rng, device=device) + (0.1 if i < 2 else 0)).to(dtype))
    return made


def contenders(length: int, device, backend: str) -> tuple[dict[str, Contender], dict[str, str]]:
    """Return who takes part at this length, and who does not and why."""
    found, absent = {}, {}
    for name, share in PREFIXES.items():
        prefix = int(share * length)
        found[name] = Contender(_ours(prefix, backend), prefix)
        if backend != "chunked":
            found[f"{CHUNKED}, {name}"] = Contender(_ours(prefix, "chunked"), prefix)
    found[PRODUCTS] = Contender(lambda q, k, v: q @ (k.mT @ v), length)
    found[SDPA] = Contender(_sdpa, 0, softmax=True)
    missing = flex.missing_tool(torch.device(device).type)
    if missing:
        absent[FLEX] = f"{missing} is missing"
    else:
        found[FLEX] = Contender(_flex(length // 2, length, device), length // 2, softmax=True)
    try:
        from fla.ops.linear_attn import chunk_linear_attn, fused_chunk_linear_attn
    except Exception as error:  # whatever goes wrong in another library's import, the race goes on without it
        absent |= {name: f"cannot be imported ({type(error).__name__}: {error})" for name in FLA}
    else:
        for name, function in zip(FLA, (chunk_linear_attn, fused_chunk_linear_attn), strict=True):
            found[name] = Contender(_fla(function), 0, tokens_first=True)
    return found, absent


def peer_version() -> str:
    """Return the version of flash-linear-attention that would take part."""
    try:
        return f"fla-core {importlib.metadata.version('fla-core')}"
    except importlib.metadata.PackageNotFoundError:
        return "no fla-core"


def _ours(prefix: int, backend: str):
    return lambda q, k, v: prefix_linear_attention(q, k, v, prefix, backend=backend)


def _sdpa(q, k, v):
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def _fla(function):
    return lambda q, k, v: function(q, k, v, scale=1.0, normalize=False)[0]


def _flex(prefix: int, length: int, device):
    from torch._dynamo import config
    from torch.nn.attention.flex_attention import flex_attention

    compiled, blocks = (
        torch.compile(flex_attention, dynamic=False),
        prefix_block_mask(prefix, length, device=device),
    )

    def run(q, k, v):
        with config.patch(recompile_limit=_SHAPES):
            return compiled(q, k, v, block_mask=blocks)

    return run


# --- What they compute ---


def by_definition(q, k, v, rows: Tensor, visible: Tensor, softmax: bool = False) -> Tensor:
    """Return some rows of attention of one head (T, D) in float64; visible is (rows, T)."""
    q, k, v = q[rows].double(), k.double(), v.double()
    weights = q @ k.mT
    if softmax:
        weights = (weights * q.shape[-1] ** -0.5).masked_fill(~visible, -torch.inf).softmax(-1)
    else:
        weights = weights * visible
    return weights @ v


def some_rows(length: int, prefix: int, device) -> Tensor:
    """Return rows to look at: the ends, those around P, and some others."""
    wanted = {0, 1, prefix - 1, prefix, prefix + 1, length - 1}
    drawn = torch.randint(length, (58,), generator=torch.Generator().manual_seed(length + prefix)).tolist()
    return torch.tensor(sorted({row for row in (*wanted, *drawn) if 0 <= row < length}), device=device)


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found.double() - wanted).norm() / wanted.norm())


def _heads(x: Tensor) -> list[tuple[int, int]]:
    return list(dict.fromkeys([(0, 0), (x.shape[0] - 1, x.shape[1] - 1)]))


def output_error(out: Tensor, q, k, v, one: Contender) -> float:
    """Return the relative error of the first and the last head; inf if anything anywhere is not finite."""
    if not bool(out.isfinite().all()):
        return float("inf")
    rows, columns = some_rows(q.shape[2], one.prefix, q.device), torch.arange(q.shape[2], device=q.device)
    visible = (columns <= rows[:, None]) | (columns < one.prefix)
    found = [
        _relative(out[at][rows], by_definition(q[at], k[at], v[at], rows, visible, one.softmax)) for at in _heads(q)
    ]
    return max(found)


def gradient_error(gradients, q, k, v, upstream, one: Contender) -> float:
    """Return the relative error of dq, dk and dv of linear attention, likewise."""
    if not all(bool(x.isfinite().all()) for x in gradients):
        return float("inf")
    rows, columns = some_rows(q.shape[2], one.prefix, q.device), torch.arange(q.shape[2], device=q.device)
    seen = (columns <= rows[:, None]) | (columns < one.prefix)  # by these queries
    seeing = (columns >= rows[:, None]) | (rows[:, None] < one.prefix)  # these keys
    found = []
    for at in _heads(q):
        a, b, c, g = q[at], k[at], v[at], upstream[at]
        wanted = (
            by_definition(g, c, b, rows, seen),
            by_definition(c, g, a, rows, seeing),
            by_definition(b, a, g, rows, seeing),
        )
        found += [_relative(x[at][rows], y) for x, y in zip(gradients, wanted, strict=True)]
    return max(found)


def reason_of(problem: Exception) -> str:
    """Return what went wrong, in one line."""
    words = (str(problem).strip() or "no reason given").splitlines()[0]
    return f"{type(problem).__name__}: {words[:200]}"


def tried(function, error_of) -> tuple[float | None, str | None]:
    """Return the error of what a contender computes, and why it is left out, if it is."""
    try:
        error = error_of(function())
    except Exception as problem:  # a peer may fail in any way; the others still race, and this one is named
        return None, reason_of(problem)
    if not error <= MOST_ERROR:
        return error, f"computes something else: relative error {error:.1e}"
    return error, None
