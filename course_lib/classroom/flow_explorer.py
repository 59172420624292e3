"""The data-flow explorer: the serial and the parallel block side by side, operation by operation and step by step."""

import textwrap

import traitlets as t
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

from .._check import check_flag, short, shown, whole_number
from ..block_costs import BlockShape
from . import flow_words, pictures
from .explorer_checks import check_number
from .palette import LIGHT
from .widgets import ExplorerWidget, refused_in_words

SHAPE = BlockShape(dim=512, heads=8, head_dim=64, hidden=2048, kv_heads=1)
COLOURS = {"norm": "cross", "product": "prefix", "attention": "target", "elementwise": "added", "all-reduce": "bad"}


class DataFlowExplorer(ExplorerWidget, source="flow_explorer"):
    """Show a serial and a parallel Transformer block as operations, and step through both at once.

    shape: a `course_lib.block_costs.BlockShape` whose heads and hidden are even, so that two devices can share them.
    tokens: how many go through the block, at least 1; they change the operations that are counted, not the picture.
    step: 0 is before the first, and in step s the operations of the s-th of `block_costs.stages` run. The last step is
        that of the longer block. fused: products that share an input are one. devices: 1, or 2 with all-reduces.

    `step`, `fused`, `devices` and `selected` (the name of an operation that is told about, or "") are traits: read
    them, set them, observe them; the browser's changes arrive in them. Where another variant has fewer steps, or no
    operation of the selected name, `step` and `selected` follow. A wrong value raises ValueError or TypeError here, and
    TraitError when a trait is set. `graphs` is what the browser draws.
    """

    graphs = t.Dict(read_only=True).tag(sync=True)
    step = t.Int(0).tag(sync=True)
    fused = t.Bool(False).tag(sync=True)
    devices = t.Int(1).tag(sync=True)
    selected = t.Unicode("").tag(sync=True)

    def __init__(self, shape=SHAPE, *, tokens=128, step=0, fused=False, devices=1):
        if not isinstance(shape, BlockShape):
            raise TypeError(f"shape must be a BlockShape, got {shown(shape)}")
        for name in ("heads", "hidden"):
            if getattr(shape, name) % 2:
                raise ValueError(f"shape must divide over 2 devices: {name} must be even, got {getattr(shape, name)}")
        whole_number("tokens", tokens, low=1)
        check_flag("fused", fused)
        check_number("devices", devices, 1, 2)
        graphs = flow_words.everything(shape, tokens)
        last = len(graphs[flow_words.variant(fused, devices)]["said"]) - 1
        check_number("step", step, 0, last, "the serial block's last step")
        self.shape, self.tokens = shape, tokens
        with self._given_whole():
            super().__init__()
            self.set_trait("graphs", graphs)
            self.fused, self.devices, self.step = fused, devices, step

    @property
    def shown(self) -> dict:
        """What `graphs` has for this `fused` and these `devices`."""
        return self.graphs[flow_words.variant(self.fused, self.devices)]

    @property
    def last_step(self) -> int:
        return len(self.shown["said"]) - 1

    def states(self, block: str) -> dict[str, str]:
        """Return what each operation of a block is in this step: "done", "running" or "waiting"."""
        return {node["name"]: _state(node, self.step) for node in self.shown[block]["nodes"]}

    def describe(self) -> str:
        """Return everything that the explorer shows, in sentences; the browser's text is the same."""
        fused = "products that share an input fused" if self.fused else "nothing fused"
        now = f"A serial and a parallel block, {fused}, on {flow_words.plural(self.devices, 'device')}."
        table = "; ".join(f"{name}: {one} and {other}" for name, one, other in self.shown["rows"])
        told = [self.shown["told"][self.selected]] if self.selected else []
        return " ".join([now, self.shown["said"][self.step], *told, f"{table}.", flow_words.NOTE])

    def fallback(self) -> dict[str, bytes]:
        """Return a picture of this state, for readers without a kernel."""
        return {"image/png": pictures.png(draw_flow(self))}

    @t.validate("step", "devices", "selected")
    def _check(self, proposal):
        name, value = proposal.trait.name, proposal.value
        with refused_in_words():
            if name == "step":
                check_number(name, value, 0, self.last_step, "the serial block's last step")
            elif name == "devices":
                check_number(name, value, 1, 2)
            elif value and value not in self.shown["told"]:
                names = ", ".join(f"{each!r}" for each in self.shown["told"])
                raise ValueError(f"selected must be '' or one of {names}, got {short(value)}")
        return value

    @t.observe("fused", "devices")
    def _variant_set(self, change):
        if not self._whole:
            self.step = min(self.step, self.last_step)
            self.selected = self.selected if self.selected in self.shown["told"] else ""


def _state(node: dict, step: int) -> str:
    return "done" if node["stage"] < step else "running" if node["stage"] == step else "waiting"


# -- without a kernel: the same places, in units of a column and of a step

_COLUMN, _TALL, _SPINE, _FIRST = 0.78, 0.66, 0.7, 1.35  # the width of a column, and where spine and columns begin


def draw_flow(explorer: DataFlowExplorer) -> Figure:
    """Draw a data-flow explorer's two blocks side by side, on one scale."""
    blocks = [explorer.shown[block] for block in flow_words.BLOCKS]
    rows = max(block["steps"] for block in blocks)
    figure = pictures.paper(9.2, 0.4 * rows + 1.5)
    for axis, (name, block) in zip(figure.subplots(1, 2), zip(flow_words.BLOCKS, blocks, strict=True), strict=True):
        axis.set_title(f"{name}:  {block['formula']}", fontsize=11, loc="left", color=LIGHT["ink"], parse_math=False)
        draw_block(axis, block, explorer.step, rows)
    words = textwrap.fill(explorer.shown["said"][explorer.step], 120)
    figure.supxlabel(words, fontsize=9, color=LIGHT["ink"], parse_math=False)
    return figure


def draw_block(axis, block: dict, step: int, rows: int) -> None:
    """Draw one block there, as it stands at a step: a row a step, what runs beside what, and what waits for what.

    rows: for how many there is room, so that two blocks have one scale.
    """
    axis.set(xlim=(0, _FIRST + flow_words.WIDTH * _COLUMN + 0.1), ylim=(rows + 0.95, -0.5))
    axis.axis("off")
    for region in block["regions"]:
        left, right = (_FIRST + end * _COLUMN for end in region["span"])
        top, tall = region["first"] - 0.62, region["last"] - region["first"] + 1.06
        axis.add_patch(Rectangle((left - 0.04, top), right - left + 0.08, tall, fc=_mix("muted", 0.1), lw=0))
        axis.text(left, top + 0.02, region["letter"], fontsize=9, style="italic", va="top", color=LIGHT["ink"])
    if 0 < step <= block["steps"]:
        axis.add_patch(Rectangle((0, step - 0.44), 0.26, 0.88, fc=LIGHT["ink"], lw=0))
    for number in range(1, block["steps"] + 1):
        colour = LIGHT["paper" if number == step else "muted"]
        axis.text(0.13, number, str(number), ha="center", va="center", fontsize=8, color=colour)
    places = {"x": (_SPINE - 0.3, _SPINE + 0.3, 0)}
    for node in block["nodes"]:
        ends = [_FIRST + end * _COLUMN for end in node["span"]] or places["x"][:2]
        places[node["name"]] = (ends[0] + 0.03, ends[1] - 0.03, node["stage"])
    for node in block["nodes"]:
        for name in node["waits_for"]:
            _draw_edge(axis, places[name], places[node["name"]], strong=node["stage"] <= step)
    axis.text(_SPINE, 0, "x", ha="center", va="center", fontsize=10, style="italic", color=LIGHT["ink"])
    for node in block["nodes"]:
        _draw_node(axis, node, *places[node["name"]], _state(node, step))


def _draw_edge(axis, a, b, *, strong: bool) -> None:
    (a0, a1, above), (b0, b1, below) = a, b
    onto, of = b1 < _FIRST, a1 < _FIRST  # the residual stream
    down = min(a, b, key=lambda each: each[1] - each[0])
    x = (down[0] + down[1]) / 2
    if onto and not of:
        points = [((a0 + a1) / 2, above + _TALL / 2), ((a0 + a1) / 2, below), (b1, below)]
    elif of and not onto:
        points = [(_SPINE, above + _TALL / 2), (_SPINE, below), (b0, below)]
    else:
        points = [(x, above + _TALL / 2), (x, below - _TALL / 2)]
    look = {"color": LIGHT["ink" if strong else "muted"], "lw": 2.4 if of and onto else 1.1, "zorder": 2}
    axis.plot(*zip(*points, strict=True), alpha=1 if strong else 0.55, solid_joinstyle="round", **look)
    head = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "color": look["color"], "lw": 0, "mutation_scale": 8}
    (x0, y0), (x1, y1) = points[-2:]
    near = (x1 - 0.12 * (x1 > x0) + 0.12 * (x1 < x0), y1 - 0.12 * (y1 > y0))
    axis.annotate("", (x1, y1), near, arrowprops=head, zorder=2)


def _draw_node(axis, node: dict, left: float, right: float, y: int, state: str) -> None:
    colour, kind = COLOURS[node["kind"]], node["kind"]
    fill = {"running": LIGHT[colour], "done": _mix(colour, 0.2), "waiting": LIGHT["paper"]}[state]
    edge = LIGHT["paper" if kind == "all-reduce" and state == "running" else colour]  # also the hatch's
    look = {"fc": fill, "ec": edge, "lw": 1.2, "zorder": 3, "ls": "--" if kind == "all-reduce" else "-"}
    top, bottom, tip = y - _TALL / 2, y + _TALL / 2, 0.16
    if kind == "elementwise":
        round_ = f"round,pad=0,rounding_size={_TALL / 2}"
        axis.add_patch(FancyBboxPatch((left, top), right - left, _TALL, boxstyle=round_, mutation_aspect=1, **look))
    elif kind == "attention":
        upper = [(left, y), (left + tip, top), (right - tip, top), (right, y)]
        axis.add_patch(Polygon([*upper, (right - tip, bottom), (left + tip, bottom)], **look))
    elif kind == "all-reduce":
        half = [(left, y), (left + 0.2, top), (left + 0.2, top + 0.1), (right - 0.2, top + 0.1), (right - 0.2, top)]
        axis.add_patch(Polygon([*half, (right, y), *((x, 2 * y - at) for x, at in half[:0:-1])], hatch="////", **look))
    else:
        axis.add_patch(Rectangle((left, top), right - left, _TALL, **look))
    if kind == "norm":
        for x in (left + 0.1, right - 0.1):
            axis.plot([x, x], [top, bottom], color=look["ec"], lw=1.2, zorder=4)
    ink = {"running": "paper", "done": "ink", "waiting": "muted"}[state]
    behind = {"fc": fill, "ec": "none", "pad": 1} if kind == "all-reduce" else None
    axis.text((left + right) / 2, y, node["name"], ha="center", va="center", fontsize=8.5, zorder=5, parse_math=False,
              color=LIGHT[ink], weight="bold" if state == "running" else "normal", bbox=behind)  # fmt: skip


def _mix(colour: str, share: float) -> tuple:
    pairs = zip(to_rgb(LIGHT[colour]), to_rgb(LIGHT["paper"]), strict=True)
    return tuple(share * one + (1 - share) * paper for one, paper in pairs)
