"""The race of lesson 05: serial and parallel blocks, unfused and fused, at several widths, on this machine."""

import torch
from matplotlib.figure import Figure

from course_lib.device import get_device
from course_lib.layers import ParallelBlock, SerialBlock
from course_lib.race import Race, race

from .evidence import axes_of
from .palette import LIGHT

WIDTHS = (128, 512, 1024)
TOKENS = 256
WORK = {"prefill": f"{TOKENS} tokens at once", "decode": f"one token after {TOKENS}"}
SERIAL, PARALLEL = "serial", "parallel, fused"
LOOKS = {"serial, fused": ("target", "s"), "parallel": ("muted", "D"), PARALLEL: ("prefix", "o")}
HEAD_DIM = 64


def race_blocks(width: int, work: str, *, max_seconds: float = 3.0) -> Race:
    """Race four blocks of one size, on the course's device: both forms, each unfused and fused, without gradients.

    work   "prefill" reads 256 tokens causally; "decode" reads one, and its query sees 256 cached keys and its own.
    """
    if work not in WORK:
        raise ValueError(f"work must be one of {', '.join(WORK)}, got {work!r}")
    device, generator = get_device(), torch.Generator().manual_seed(0)
    sizes = {"heads": max(1, width // HEAD_DIM), "head_dim": HEAD_DIM, "hidden": 4 * width, "kv_heads": 1}
    serial, parallel = (
        SerialBlock(width, **sizes, norm="layernorm").to(device),
        ParallelBlock(width, **sizes).to(device),
    )
    blocks = {SERIAL: serial, "serial, fused": serial.fuse(), "parallel": parallel.unfuse(), PARALLEL: parallel}
    held = torch.randn(2, 1, 1, TOKENS, HEAD_DIM, generator=generator).to(device)
    if work == "prefill":
        x, given = torch.randn(1, TOKENS, width, generator=generator), {}
    else:
        x = torch.randn(1, 1, width, generator=generator)
        mask = torch.ones(1, TOKENS + 1, dtype=torch.bool, device=device)
        given = {"mask": mask, "positions": torch.tensor([TOKENS], device=device), "cache": _Cached(*held)}
    x = x.to(device)
    with torch.inference_mode():
        contenders = {name: (lambda block=block: block(x, **given)) for name, block in blocks.items()}
        return race(contenders, repeats=41, max_seconds=max_seconds, device=device)


class _Cached:
    """The same 256 rows at every call, and the new one behind them."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor):
        self.keys, self.values = keys, values

    def write(self, keys: torch.Tensor, values: torch.Tensor):
        return torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2)


def picture(races: dict[tuple[str, int], Race], guess=None) -> Figure:
    """Draw each form's time as a share of the serial block's, at each width; the guess is for the last prefill."""
    figure, axes = axes_of(10, 3.6, len(WORK), grid="y")
    widths = sorted({width for _, width in races})
    for axis, (work, told) in zip(axes, WORK.items(), strict=True):
        axis.axhline(1, color=LIGHT["ink"], lw=1.2)
        for step, (name, (role, marker)) in enumerate(LOOKS.items()):
            for place, width in enumerate(widths):
                ratio, at = races[work, width].ratio(name, SERIAL), place + 0.18 * (step - 1)
                label = name if place == 0 and axis is axes[0] else None
                axis.plot([at, at], [ratio.low, ratio.high], color=LIGHT[role], lw=2.5, solid_capstyle="butt")
                axis.plot(at, ratio.median, marker, color=LIGHT[role], ms=8, mec=LIGHT["paper"], label=label)
        if work == "prefill" and guess is not None:
            last = len(widths) - 1
            axis.plot([last - 0.4, last + 0.4], [guess] * 2, color=LIGHT["bad"], lw=1.8, ls=(0, (4, 2)))
            axis.annotate("your guess", (last - 0.4, guess), va="bottom", fontsize=9, color=LIGHT["bad"])
        axis.set_xticks(range(len(widths)), [f"width {width}" for width in widths])
        axis.set_title(f"{work}: {told}", fontsize=11, color=LIGHT["ink"])
        seen = [one.ratio(name, SERIAL).median for (kind, _), one in races.items() if kind == work for name in LOOKS]
        axis.set_ylim(min(0.7, *seen) - 0.05, max(1.3, *seen) + 0.05)  # a spread may leave the picture; no median does
    axes[0].set_ylabel("time / time of the serial block")
    figure.legend(frameon=False, fontsize=9, loc="outside lower center", ncols=3)
    return figure


def in_words(races: dict[tuple[str, int], Race]) -> str:
    """Return what the race says, a line a size: the whole gain, and what of it remains against a fused serial block."""
    lines = [f"{'':22}{'serial':>10}   {'parallel, fused / serial':26}/ serial, fused"]
    for (work, width), one in races.items():
        whole, fair = (one.ratio(PARALLEL, to) for to in (SERIAL, "serial, fused"))
        lines.append(f"{work}, width {width:>4}   {1e3 * one.median(SERIAL):7.2f} ms   {whole!s:26}{fair}")
    return "\n".join(lines)


def conclusion(races: dict[tuple[str, int], Race]) -> str:
    """Return one sentence for each kind of work: at which widths the fused parallel block is faster here."""
    said = []
    for work in WORK:
        found = {"faster": [], "slower": [], "no different, as far as this race can show": []}
        for (kind, width), one in races.items():
            if kind == work:
                ratio = one.ratio(PARALLEL, SERIAL)
                faster, slower, same = found
                found[faster if ratio.high < 1 else slower if ratio.low > 1 else same].append(str(width))
        parts = [f"{word} at width {' and '.join(widths)}" for word, widths in found.items() if widths]
        said.append(f"{work}: parallel, fused is {'; '.join(parts)}")
    return ". ".join(one[0].upper() + one[1:] for one in said) + "."
