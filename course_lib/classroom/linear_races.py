"""The races and counts of lessons 06 and 07: the order of three products, chunks of every length, short texts."""

import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from course_lib.cache import KVCache
from course_lib.device import get_device
from course_lib.kernels import prefix_linear_attention
from course_lib.linear_costs import linear_cost
from course_lib.model import PrefixLM
from course_lib.race import Race, race
from course_lib.state_cache import StateCache

from .evidence import axes_of
from .palette import LIGHT

LENGTH, HEADS, DIM = 2048, 4, 64
CHUNKS = (1, 4, 16, 64, 256, LENGTH)
LIBRARY = "the library"
TEXTS = (16, 64, 256, 1024, 4096)


def _qkv(length: int | None = None) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(1, HEADS, length or LENGTH, DIM, generator=rng).to(get_device()) for _ in range(3)]


# --- The order of the products ---


def orders_picture(total_len: int, dim: int, guess=None) -> Figure:
    """Draw how many operations each order takes, and where the guess would put the second."""
    sizes = {"key_dim": dim, "value_dim": dim}
    pairs = linear_cost("quadratic", 0, total_len, **sizes).flops
    state = linear_cost("chunked", total_len, total_len, **sizes).flops
    figure, (axis,) = axes_of(8, 2.2)
    axis.barh([0, 1], [pairs / 1e9, state / 1e9], color=[LIGHT["target"], LIGHT["prefix"]], height=0.6)
    for row, flops in enumerate((pairs, state)):
        axis.annotate(f" {flops / 1e9:,.2f}", (flops / 1e9, row), va="center", fontsize=10, color=LIGHT["ink"])
    axis.set_yticks([0, 1], ["(Q Kᵀ) V", "Q (Kᵀ V)"], fontsize=11)
    axis.set(ylim=(1.6, -0.6), xlim=(0, 1.15 * pairs / 1e9), xlabel="billion operations of one head")
    if guess:
        axis.plot([pairs / guess / 1e9] * 2, [0.6, 1.4], color=LIGHT["bad"], lw=2, ls=(0, (4, 2)))
        axis.annotate("  your guess", (pairs / guess / 1e9, 1.5), fontsize=9, color=LIGHT["bad"])
    return figure


def race_orders(max_seconds: float = 2.0) -> Race:
    """Race softmax attention and both orders of the products, unmasked, without gradients."""
    q, k, v = _qkv()
    contenders = {
        "softmax": lambda: F.scaled_dot_product_attention(q, k, v),
        "(Q Kᵀ) V": lambda: (q @ k.mT) @ v,
        "Q (Kᵀ V)": lambda: q @ (k.mT @ v),
    }
    with torch.inference_mode():
        return race(contenders, repeats=21, max_seconds=max_seconds, device=get_device())


def orders_in_words(found: Race) -> str:
    """Return the race in lines: the time of each, and how many times that of the reordered form."""
    lines = [f"{LENGTH:,} tokens, {HEADS} heads of {DIM}: the time, and how many times that of Q (Kᵀ V)"]
    for name in found.times:
        ratio = found.ratio(name, "Q (Kᵀ V)").median
        lines.append(f"{name:10}{1e3 * found.median(name):8.2f} ms{ratio:8.1f} times")
    return "\n".join(lines)


# --- What is kept ---


def kept_bytes(model: PrefixLM, tokens: int) -> int:
    """Return the bytes that a model's cache takes after it has read so many tokens; the tokens are read for it."""
    if model.config.attention == "softmax":
        cache = KVCache(model, 1, capacity=tokens)
        return sum(one.nbytes for one in (*cache.keys, *cache.values))
    cache = StateCache(model, 1)
    model(torch.zeros(1, tokens, dtype=torch.int64, device=cache.last.device), 0, cache=cache)
    return sum(one.nbytes for state in cache.states for one in state)


# --- Chunks ---


def chunk_loop(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, chunk: int) -> torch.Tensor:
    """Return causal linear attention of (B, H, T, D) tensors by the plain loop of the lesson."""
    state, out = torch.zeros_like(k[:, :, :1].mT @ v[:, :, :1]), torch.empty_like(v)
    for start in range(0, q.shape[2], chunk):
        part = slice(start, start + chunk)
        own = q[:, :, part] @ k[:, :, part].mT
        out[:, :, part] = q[:, :, part] @ state + own.tril() @ v[:, :, part]
        state = state + k[:, :, part].mT @ v[:, :, part]
    return out


def race_chunks(max_seconds: float = 5.0) -> Race:
    """Race the plain loop at every length of CHUNKS, and the library's own form, without gradients."""
    q, k, v = _qkv()
    contenders = {str(chunk): (lambda chunk=chunk: chunk_loop(q, k, v, chunk)) for chunk in CHUNKS}
    contenders[LIBRARY] = lambda: prefix_linear_attention(q, k, v, 0)
    with torch.inference_mode():
        return race(contenders, repeats=21, max_seconds=max_seconds, device=get_device())


def best_chunk(found: Race) -> str:
    """Return the length whose loop took least time."""
    return min((str(chunk) for chunk in CHUNKS), key=found.median)


def chunks_picture(found: Race, guess=None) -> Figure:
    """Draw time and operations at every chunk length, each as a share of its largest; the guess is marked."""
    figure, (axis,) = axes_of(8, 3.4, grid="y")
    at = range(len(CHUNKS))
    spreads = [found.seconds(str(chunk)) for chunk in CHUNKS]
    flops = [linear_cost("chunked", 0, LENGTH, key_dim=DIM, value_dim=DIM, chunk=chunk).flops for chunk in CHUNKS]
    axis.plot(at, [1e3 * one.median for one in spreads], "o-", color=LIGHT["prefix"], lw=2.2, ms=8, label="time")
    for place, one in zip(at, spreads, strict=True):
        axis.plot([place, place], [1e3 * one.low, 1e3 * one.high], color=LIGHT["prefix"], lw=2.5)
    axis.set(yscale="log", ylabel="milliseconds", xlabel="tokens in a chunk")
    axis.set_xticks(at, [str(chunk) for chunk in CHUNKS])
    other = axis.twinx()
    other.plot(at, [HEADS * one / 1e9 for one in flops], "s--", color=LIGHT["target"], lw=1.8, ms=7, label="operations")
    other.set(yscale="log", ylabel="billion operations")
    other.spines["top"].set_visible(False)
    if guess is not None:
        axis.axvline(CHUNKS.index(int(guess)), color=LIGHT["bad"], lw=1.8, ls=(0, (4, 2)))
        axis.annotate(" your guess", (CHUNKS.index(int(guess)), axis.get_ylim()[0]), fontsize=9, color=LIGHT["bad"])
    figure.legend(frameon=False, loc="outside upper center", ncols=2)
    return figure


def library_in_words(found: Race) -> str:
    """Return how the library compares with the best plain loop."""
    best = best_chunk(found)
    ratio = found.ratio(LIBRARY, best)
    return f"The library takes {ratio} of the time of the best plain loop, that with chunks of {best}."


# --- Short texts ---


def race_texts(max_seconds: float = 3.0) -> dict[int, Race]:
    """Race all prefix against causal, by the library, on texts of each length of TEXTS, without gradients."""
    found = {}
    for length in TEXTS:
        q, k, v = _qkv(length)
        contenders = {
            "causal": lambda q=q, k=k, v=v: prefix_linear_attention(q, k, v, 0),
            "all prefix": lambda q=q, k=k, v=v: prefix_linear_attention(q, k, v, q.shape[2]),
        }
        with torch.inference_mode():
            found[length] = race(contenders, repeats=31, max_seconds=max_seconds / len(TEXTS), device=get_device())
    return found


def texts_in_words(found: dict[int, Race]) -> str:
    """Return the races in lines: both times in microseconds, and their ratio."""
    lines = [f"{'tokens':>7}{'causal':>12}{'all prefix':>13}   all prefix against causal"]
    for length, one in found.items():
        causal, prefix = (f"{1e6 * one.median(name):,.0f} µs" for name in ("causal", "all prefix"))
        lines.append(f"{length:7,}{causal:>12}{prefix:>13}   {one.ratio('all prefix', 'causal')}")
    return "\n".join(lines)
