"""One sequence on several processes: what travels between them, in two ways of attention."""

from itertools import pairwise
from math import log10

import traitlets as t
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .._check import check_flag
from . import pictures
from .explorer_checks import check_eighths, check_power
from .number_words import size
from .palette import LIGHT
from .shard_words import Sent, sent, sentences
from .widgets import ExplorerWidget, refused_in_words

PROCESSES = [2**n for n in range(7)]
LENGTHS = [2**n for n in range(10, 21)]
SCALE = (4, 11)  # powers of ten, in bytes


class ShardExplorer(ExplorerWidget, source="shard_explorer"):
    """Show processes that share a sequence, what travels between them, and how many bytes each sends.

    processes: N, a power of two from 1 to 64. total_len: T, a power of two from 1024 to 1048576. prefix_len: P, a
    multiple of T / 8 from 0 to T; half of T unless given. training: forward and backward, otherwise forward alone. The
    model is one layer of 8 heads with 64 features, in float32.

    All four are traits: read them, set them, observe them; the browser's changes arrive in them. When T changes, the
    prefix stays the same part of it. A wrong value raises ValueError or TypeError here, and TraitError when a trait is
    set.
    """

    processes = t.Int(4).tag(sync=True)
    total_len = t.Int(65536).tag(sync=True)
    prefix_len = t.Int(32768).tag(sync=True)
    training = t.Bool(False).tag(sync=True)

    def __init__(self, processes=4, *, total_len=65536, prefix_len=None, training=False):
        _check("total_len", total_len, total_len)
        prefix_len = total_len // 2 if prefix_len is None else prefix_len
        given = {"processes": processes, "total_len": total_len, "prefix_len": prefix_len, "training": training}
        for name, value in given.items():
            _check(name, value, total_len)
        with self._given_whole():
            super().__init__(**given)

    @property
    def _state(self) -> tuple[int, int, int, bool]:
        return self.processes, self.total_len, self.prefix_len, self.training

    @property
    def sent(self) -> Sent:
        """The bytes that the busiest process sends, by `sequence_costs.sequence_bytes`."""
        return sent(*self._state)

    def describe(self) -> str:
        """Return what the explorer shows, in sentences; the browser's text is the same."""
        return " ".join(filter(None, sentences(*self._state)))

    def fallback(self) -> dict[str, bytes]:
        """Return a picture of this state, for readers without a kernel."""
        return {"image/png": pictures.png(_draw(self))}

    # -- keeping the state whole

    @t.validate("processes", "total_len", "prefix_len", "training")
    def _checked(self, proposal):
        with refused_in_words():
            _check(proposal.trait.name, proposal.value, self.total_len)
        return proposal.value

    @t.observe("total_len")
    def _length_set(self, change):
        if not self._whole:
            self.prefix_len = self.prefix_len * change.new // change.old


def _check(name: str, value, total_len: int) -> None:
    if name == "training":
        check_flag(name, value)
    elif name == "prefix_len":
        check_eighths(value, total_len)
    else:
        powers = PROCESSES if name == "processes" else LENGTHS
        check_power(name, value, powers[0], powers[-1])


# -- without a kernel: the same boxes, and the two numbers on the same scale


def _draw(explorer: ShardExplorer) -> Figure:
    figure = pictures.paper(8.6, 4.3)
    paper, scale = figure.subplots(2, 1, height_ratios=[2.4, 1])
    _draw_shards(paper, *explorer._state[:3])
    _draw_scale(scale, explorer.sent)
    return figure


def _draw_shards(axis, N: int, L: int, P: int) -> None:
    axis.axis("off")
    axis.set(xlim=(-0.01, 1.01), ylim=(8.2, -1.1))
    pitch, shard, first = 1 / N, L // N, P // (L // N)
    middles = [(n + 0.5) * pitch for n in range(N)]

    def box(x, y, width, edge, fill, height=1.0):
        if width > 0:
            axis.add_patch(Rectangle((x, y), width, height, fc=LIGHT[fill], ec=LIGHT[edge], lw=0.8))

    def word(x, y, text, colour="muted", **look):
        axis.text(x, y, text, va="center", fontsize=10, color=LIGHT[colour], **look)

    def arrow(x, to, y, colour, to_y=None):
        look = {"arrowstyle": "-|>", "color": LIGHT[colour], "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8}
        axis.annotate("", (to, y if to_y is None else to_y), (x, y), arrowprops=look)

    if P:
        word(0, -0.7, f"prefix, {P:,}", "prefix")
    if P < L:
        word(1, -0.7, f"target, {L - P:,}", "target", ha="right")
    for n in range(N):
        left, wide = (n + 0.1) * pitch, 0.8 * pitch
        read = min(max(P - n * shard, 0), shard) / shard * wide
        box(left, 0, read, "prefix", "prefix-soft")
        box(left + read, 0, wide - read, "target", "target-soft")
        if N <= 16 or n in (0, N - 1):
            word(middles[n], 1.5, f"process {n}" if N <= 8 else str(n), ha="center")
    side = min(0.012, 0.6 * pitch)
    word(0, 2.5, "Prefix linear attention", "ink", weight="bold")
    if N > 1 and P:
        axis.plot([middles[0], middles[-1]], [4.3, 4.3], color=LIGHT["prefix"], lw=3)
        for n, x in enumerate(middles):
            if n * shard < P:
                axis.plot([x, x], [4.3, 3.5], color=LIGHT["prefix"], lw=1)
                box(x - side / 2, 3.1, side, "prefix", "prefix", 0.5)
            else:
                arrow(x, x, 4.3, "prefix", 3.2)
    summed = "one sum of states, which all get" if P else "no prefix: no sum"
    word(0, 4.8 if P else 3.4, summed if N > 1 else "nothing travels")
    if first < N - 1:
        for x, to in pairwise(middles[first:]):
            arrow(x + side / 2, to - side / 2, 5.5, "target")
        for x in middles[first:]:
            box(x - side / 2, 5.25, side, "target", "target", 0.5)
        word(min(middles[first], 0.8), 6.05, "states, handed on")
    word(0, 6.6, "Ring attention", "ink", weight="bold")
    if N > 1:
        half = max(side, 0.2 * pitch) / 2
        for x, to in pairwise(middles):
            arrow(x + half, to - half, 7.4, "muted")
        axis.plot([middles[-1], middles[-1], middles[0]], [7.65, 8.1, 8.1], color=LIGHT["muted"], lw=1)
        arrow(middles[0], middles[0], 8.1, "muted", 7.6)
        for x in middles:
            box(x - half, 7.15, 2 * half, "muted", "hatch", 0.5)


def _draw_scale(axis, count: Sent) -> None:
    axis.set(xlim=SCALE, ylim=(1.6, -0.6), xticks=range(SCALE[0], SCALE[1] + 1), yticks=[0, 1])
    axis.set_xticklabels([size(10**n).replace(".00", "").replace(".0", "") for n in range(SCALE[0], SCALE[1] + 1)])
    axis.set_yticklabels(["Prefix linear attention", "Ring attention"])
    axis.set_title("A process sends at most (each line: ten times the one before)", fontsize=10, loc="left")
    axis.tick_params(length=0, colors=LIGHT["ink"])
    axis.grid(axis="x", color=LIGHT["line"])
    for side in axis.spines.values():
        side.set_visible(False)
    for y, (number, look) in enumerate(((count.linear, {"fc": LIGHT["prefix"], "marker": "o"}),
                                        (count.ring, {"fc": LIGHT["paper"], "marker": "s"}))):  # fmt: skip
        if number:
            edge = LIGHT["ink" if y else "prefix"]
            axis.scatter(log10(number), y, s=60, ec=edge, lw=2, zorder=3, **look)
        words = size(number) if number else "none"
        axis.text(
            log10(number) + 0.15 if number else SCALE[0] + 0.1, y, words, va="center", fontsize=10, color=LIGHT["ink"]
        )
