"""How linear attention is computed, as shapes in true proportion, and what each way costs."""

import traitlets as t
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle

from ..linear_costs import LinearCost, chunks
from . import pictures
from .chunk_words import WAYS, cost_of, held, sentences
from .explorer_checks import check_choice, check_eighths, check_one_of, check_power
from .number_words import short
from .palette import LIGHT
from .widgets import ExplorerWidget, refused_in_words

LENGTHS = [2**n for n in range(4, 17)]
FEATURES = [16, 32, 64, 128, 256]
PARTS = {
    "state": ("prefix", "prefix", ""),
    "read": ("added", "added-soft", "----"),
    "pairs": ("target", "target-soft", ""),
}
MOST_TILES = 64


class ChunkExplorer(ExplorerWidget, source="chunk_explorer"):
    """Show how the products of linear attention can be ordered, drawn on one scale, and what each order costs.

    way: "quadratic", all pairs; "reordered", one state and no mask; "chunks", tiles on the diagonal and a state that
    is handed on. total_len: T, a power of two from 16 to 65536. chunk: C, a power of two from 1 to T; None is 64, or T
    where that is less. prefix_len: P, a multiple of T / 8 from 0 to T. features: of a key and of a value, 16, 32, 64,
    128 or 256.

    All five are traits: read them, set them, observe them; the browser's changes arrive in them. When T changes, the
    prefix stays the same part of it, and a chunk that has become too long is as long as T. A wrong value raises
    ValueError or TypeError here, and TraitError when a trait is set.
    """

    way = t.Unicode("chunks").tag(sync=True)
    total_len = t.Int(1024).tag(sync=True)
    chunk = t.Int(64).tag(sync=True)
    prefix_len = t.Int(0).tag(sync=True)
    features = t.Int(64).tag(sync=True)

    def __init__(self, way="chunks", *, total_len=1024, chunk=None, prefix_len=0, features=64):
        _check("total_len", total_len, total_len)
        chunk = min(64, total_len) if chunk is None else chunk
        given = {
            "way": way, "total_len": total_len, "chunk": chunk, "prefix_len": prefix_len, "features": features,
        }  # fmt: skip
        for name, value in given.items():
            _check(name, value, total_len)
        with self._given_whole():
            super().__init__(**given)

    @property
    def _sizes(self) -> tuple[int, int, int, int]:
        return self.total_len, self.chunk, self.prefix_len, self.features

    @property
    def cost(self) -> LinearCost:
        """What this way costs."""
        return cost_of(self.way, *self._sizes)

    @property
    def held(self) -> int:
        """How many numbers the largest thing held at once has, besides queries, keys, values and output."""
        return held(self.way, *self._sizes)[0]

    def describe(self) -> str:
        """Return what the explorer shows, in sentences; the browser's text is the same."""
        return " ".join(sentences(self.way, *self._sizes))

    def fallback(self) -> dict[str, bytes]:
        """Return a picture of this state, for readers without a kernel."""
        return {"image/png": pictures.png(_draw(self))}

    # -- keeping the state whole

    @t.validate("way", "total_len", "chunk", "prefix_len", "features")
    def _checked(self, proposal):
        with refused_in_words():
            _check(proposal.trait.name, proposal.value, self.total_len)
        return proposal.value

    @t.observe("total_len")
    def _length_set(self, change):
        if not self._whole:
            self.chunk = min(self.chunk, change.new)
            self.prefix_len = self.prefix_len * change.new // change.old


def _check(name: str, value, total_len: int) -> None:
    if name == "way":
        check_choice(name, value, WAYS)
    elif name == "features":
        check_one_of(name, value, FEATURES)
    elif name == "prefix_len":
        check_eighths(value, total_len)
    elif name == "total_len":
        check_power(name, value, LENGTHS[0], LENGTHS[-1])
    else:
        check_power(name, value, 1, total_len, "total_len")


# -- without a kernel: the same shapes, in units of a token


def _draw(explorer: ChunkExplorer) -> Figure:
    figure = pictures.paper(9.2, 4.2)
    paper, bars = figure.subplots(1, 2, width_ratios=[1, 1])
    for axis in (paper, bars):
        axis.axis("off")
    draw_shapes(paper, explorer)
    _draw_bars(bars, explorer)
    return figure


def draw_shapes(axis, explorer: ChunkExplorer) -> None:
    """Draw the matrices of a way to compute linear attention there, to scale, and which of their parts are computed."""
    T, C, P, D = explorer._sizes
    gap = 0.05 * (T + D)
    axis.set_aspect("equal")
    axis.invert_yaxis()

    def box(x, y, width, height, name="", edge="muted", fill="paper", hatch="", line=1.0):
        look = {"fc": LIGHT[fill], "ec": LIGHT[edge], "hatch": hatch, "lw": line}
        axis.add_patch(Rectangle((x, y), width, height, **look))
        if name:
            axis.text(x + width / 2, y - gap / 5, name, ha="center", va="bottom", fontsize=10, color=LIGHT["ink"])

    def word(x, y, text, colour="ink"):
        axis.text(x, y, text, ha="center", va="center", fontsize=10, color=LIGHT[colour])

    def pairs(begin, side):  # computed, and its upper half hidden
        left = top = corner + begin
        box(left, top, side, side, edge="target", fill="target-soft")
        if side > 1:
            half = [(left + 1, top), (left + side, top), (left + side, top + side - 1)]
            axis.add_patch(Polygon(half, fc=LIGHT["paper"], ec=LIGHT["target"], hatch="/////", lw=0))

    corner, state = D + gap, {"edge": "prefix", "fill": "prefix"}
    if explorer.way == "reordered":
        box(0, T + gap, T, D, "Kᵀ")
        box(T + gap, 0, D, T, "V")
        box(T + gap, T + gap, D, D, **state)
        word(T + 1.8 * gap + D, T + gap + D / 2, "S")
        word(T / 2, T / 2, "no T × T square", "muted")
        q = T + 4 * gap + D
        box(q, 0, D, T, "Q")
        box(q + D + 2 * gap, (T - D) / 2, D, D, "S", **state)
        word(q + D + gap, T / 2, "×")
        word(q + 2 * D + 3 * gap, T / 2, "=")
        box(q + 2 * D + 4 * gap, 0, D, T, "out", edge="ink", line=1.5)
    else:
        v, middle = corner + T + 2 * gap, corner + T / 2
        box(0, corner, D, T, "Q")
        box(corner, 0, T, D, "Kᵀ")
        box(v, corner, D, T, "V")
        word(v - gap, middle, "×")
        word(v + D + gap, middle, "=")
        box(v + D + 2 * gap, corner, D, T, "out", edge="ink", line=1.5)
        box(corner, corner, T, T)
    if explorer.way == "quadratic":
        pairs(0, T)
    elif explorer.way == "chunks":
        pieces = chunks(P, T, C)
        read = {"edge": "added", "fill": "added-soft", "hatch": "--", "line": 0.6}
        if len(pieces) > MOST_TILES:
            box(corner, corner + P, T, T - P, **read)
            above = [(corner + P, corner + P), (corner + T, corner + P), (corner + T, corner + T)]
            axis.add_patch(Polygon(above, fc=LIGHT["paper"], ec=LIGHT["muted"], lw=1))
            thick = max(C, 0.008 * T) / 2
            band = [(P, P), (P + thick, P), (T, T - thick), (T, T), (T - thick, T), (P, P + thick)]
            axis.add_patch(Polygon([(corner + x, corner + y) for x, y in band], fc=LIGHT["target"], lw=0))
        else:
            for begin, end in pieces:
                if begin:
                    box(corner, corner + begin, begin, end - begin, **read)
                pairs(begin, end - begin)
        if P:
            box(corner, corner, P, P, edge="prefix", fill="prefix-soft", hatch="--", line=1.5)
        _draw_states(box, axis, len(pieces) + bool(P), corner, corner + T + gap, T + 2 * D + 4 * gap, D, gap)
    axis.autoscale_view()


def _draw_states(box, axis, count: int, left: float, top: float, room: float, side: float, gap: float) -> None:
    """Draw as many states as there is room for; dots stand for the others."""
    fit = min(count, max(1, int(room / (side + 2 * gap))), 8)
    for n in range(fit):
        box(left, top, side, side, edge="prefix", fill="prefix")
        left += side + 2 * gap
        if n + 1 < count:
            head = {"arrowstyle": "-|>", "color": LIGHT["ink"], "shrinkA": 2, "shrinkB": 2}
            axis.annotate("", (left, top + side / 2), (left - 2 * gap, top + side / 2), arrowprops=head)
    if fit < count:
        axis.text(left, top + side / 2, "…", va="center", fontsize=10, color=LIGHT["ink"])


def _draw_bars(axis, explorer: ChunkExplorer) -> None:
    costs = {way: cost_of(way, *explorer._sizes) for way in WAYS}
    longest = max(cost.flops for cost in costs.values())
    axis.set(xlim=(-0.002 * longest, 1.02 * longest), ylim=(3.0, -0.9))
    for y, (way, cost) in enumerate(costs.items()):
        left = 0
        for part, (edge, fill, hatch) in PARTS.items():
            look = {"color": LIGHT[fill], "edgecolor": LIGHT[edge], "hatch": hatch, "lw": 0.8}
            count = getattr(cost, part)
            axis.barh(y, count, left=left, height=0.4, **look if count else {})
            left += count
        shown = way == explorer.way
        name = f"{way}: {short(cost.flops)} operations, {cost.steps:,} step{'' if cost.steps == 1 else 's'}"
        axis.text(0, y - 0.26, name, fontsize=10, va="bottom", color=LIGHT["ink"], weight="bold" if shown else "normal")
    axis.text(0, -0.85, f"T = {explorer.total_len:,}, C = {explorer.chunk:,}, P = {explorer.prefix_len:,}, "
              f"Dk = Dv = {explorer.features}", fontsize=10, va="top", color=LIGHT["muted"])  # fmt: skip
    note = "blue: state; green, lined: read; pale orange: pairs (linear scale)"
    axis.text(0, 2.75, note, fontsize=9, va="center", color=LIGHT["muted"])
