"""Pictures of masks, drawn with matplotlib: what stands in for the explorer without a kernel, and in the lessons."""

import io
import sys
from functools import cache

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from .._check import shown
from .explorer_checks import KINDS, as_mask
from .palette import LIGHT
from .text import show

_MOST_LABELS = 32
_NAMES = {  # what an allowed cell is, in the legend
    "prefix": "reads the prefix",
    "target": "reads the target",
    "added": "added to causal: looks ahead",
    "cross": "cross-attention: target reads source",
}


def paper(width: float, height: float) -> Figure:
    """Return an empty figure on the course's paper, of so many inches, that draws itself without a screen."""
    figure = Figure(figsize=(width, height), dpi=100, facecolor=LIGHT["paper"], layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def draw_mask(
    mask, *, tokens=None, prefix_len=None, prefix_keys=None, kind="prefix", title=None, ax=None, legend=True
) -> Figure:
    """Draw a mask (T, T): rows are queries, columns are keys; a closed cell is hatched. Return the figure.

    mask: bool, or zeros and ones; a tensor, an array or a nested list. tokens: T labels for both axes, or None for
    indexes. prefix_len: where the boundary stands, and so which keys are prefix; without it all are target.
    prefix_keys: T bools in place of prefix_len, where a row holds several prefixes; no boundary is drawn then.
    kind: as in MaskExplorer; "encoder-decoder" colours the cross block apart. ax: draw there, not on a new figure.
    legend: say beneath it what the colours mean.
    Raises ValueError for a mask that is not square, or when tokens or prefix_len do not fit it.
    """
    cells = as_mask("mask", mask).numpy()
    T = len(cells)
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if tokens is not None and len(tokens) != T:
        raise ValueError(f"tokens must be {T}, one a row of the mask, got {len(tokens)}")
    if prefix_len is not None and not 0 <= prefix_len <= T:
        raise ValueError(f"prefix_len must be from 0 to {T}, got {prefix_len}")
    if ax is None:
        side = min(4.2 + T * 0.06, 6.0)
        figure = paper(side, side)
        ax = figure.add_subplot()
    if prefix_keys is None:
        prefix_keys = np.arange(T) < (0 if prefix_len is None else prefix_len)
    elif prefix_len is not None or len(prefix_keys) != T:
        raise ValueError(f"prefix_keys must be {T} bools, and stand in place of prefix_len, got {prefix_keys!r}")
    roles = _roles(cells, np.asarray(prefix_keys, dtype=bool), kind)
    picture = np.ones((T, T, 3))
    for role, where in roles.items():
        picture[where] = to_rgb(LIGHT[role])
    ax.set(xlim=(0, max(T, 1)), ylim=(max(T, 1), 0), aspect="equal", facecolor=LIGHT["paper"])
    ax.add_patch(Rectangle((0, 0), T, T, hatch="/" * 5, facecolor=LIGHT["paper"], edgecolor=LIGHT["hatch"], lw=0))
    if T:
        opaque = np.dstack([picture, cells])
        ax.imshow(opaque, extent=(0, T, T, 0), interpolation="nearest", zorder=2)
    else:
        ax.text(0.5, 0.5, "no tokens", ha="center", va="center", color=LIGHT["muted"])
    added = np.argwhere(roles["added"])
    if len(added) and T <= 64:
        ax.plot(added[:, 1] + 0.5, added[:, 0] + 0.5, ".", color=LIGHT["paper"], ms=max(2, 110 / (T + 8)), zorder=4)
    if T <= 64:
        for line in range(1, T):
            ax.plot([0, T, np.nan, line, line], [line, line, np.nan, 0, T], color=LIGHT["paper"], lw=0.8, zorder=3)
    if prefix_len is not None and kind not in ("encoder", "decoder"):
        ax.plot([prefix_len, prefix_len, np.nan, 0, T], [0, T, np.nan, prefix_len, prefix_len],
                color=LIGHT["ink"], lw=1.4, ls=(0, (4, 2)), zorder=5)  # fmt: skip
    _label(ax, T, tokens, prefix_keys, kind)
    if legend:
        _legend(ax, roles, cells)
    if title is not None:
        ax.set_title(title, fontsize=10, color=LIGHT["ink"], parse_math=False)
    return ax.figure


def png(fig) -> bytes:
    """Return a figure as PNG, on an opaque background, the same bytes at each call.

    Pictures of a few flat colours: with a table of the 256 that come nearest, a file is a third as large, and notebooks
    are full of them.
    """
    drawn, packed = io.BytesIO(), io.BytesIO()
    fig.savefig(drawn, format="png", facecolor=LIGHT["paper"])
    with Image.open(drawn) as picture:
        few = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(packed, format="PNG", optimize=True)
    return packed.getvalue()


def png_and_close(fig, name: str) -> bytes:
    """Return a figure as PNG, and close it, or a notebook would show it a second time; `name` is what gave it."""
    if not isinstance(fig, Figure):
        raise TypeError(f"{name} must be a matplotlib figure, got {shown(fig)}")
    try:
        return png(fig)
    finally:
        if pyplot := sys.modules.get("matplotlib.pyplot"):  # else there is nothing open
            pyplot.close(fig)


def _roles(cells: np.ndarray, prefix_keys: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    """Sort the allowed cells, (T, T) each: every allowed cell has one role."""
    query, key = np.indices(cells.shape)
    added = cells & (key > query)
    cross = cells & ~prefix_keys[query] & prefix_keys[key] & (kind == "encoder-decoder")
    if kind == "encoder-decoder":
        added = added & False  # both directions are what an encoder is: nothing is added to it
    everything = kind == "encoder"
    prefix = cells & ~added & ~cross & (prefix_keys[key] & (kind != "decoder") | everything)
    return {"prefix": prefix, "target": cells & ~added & ~cross & ~prefix, "added": added, "cross": cross}


def _label(ax, T: int, tokens, prefix_keys, kind: str) -> None:
    ax.set_xlabel("key: is read", color=LIGHT["muted"], fontsize=9)
    ax.set_ylabel("query: asks", color=LIGHT["muted"], fontsize=9)
    ax.xaxis.set_label_position("top")
    ax.tick_params(length=0, labelsize=9 if T <= 16 else 7, top=True, labeltop=True, bottom=False, labelbottom=False)
    if T > _MOST_LABELS:
        places = list(range(0, T, 8 if T <= 64 else 32))
        labels = [str(p) for p in places]
    else:
        places, labels = range(T), [_printable(token, i) for i, token in enumerate(tokens or map(str, range(T)))]
    named = tokens is not None and T <= _MOST_LABELS
    centres = [p + 0.5 for p in places]
    ax.set_xticks(centres, labels, rotation=90 if named else 0, parse_math=False)
    ax.set_yticks(centres, labels, parse_math=False)
    for labels_of_axis in (ax.get_xticklabels(), ax.get_yticklabels()):
        for place, label in zip(places, labels_of_axis, strict=True):
            read = prefix_keys[place] if kind not in ("encoder", "decoder") else kind == "encoder"
            label.set_color(LIGHT["prefix" if read else "target"])
    for spine in ax.spines.values():
        spine.set_color(LIGHT["line"])


def _legend(ax, roles: dict[str, np.ndarray], cells: np.ndarray) -> None:
    entries = [Patch(color=LIGHT[role], label=_NAMES[role]) for role, where in roles.items() if where.any()]
    if not cells.all():
        entries.append(Patch(fc=LIGHT["paper"], ec=LIGHT["hatch"], hatch="/" * 5, lw=0, label="may not read"))
    if entries:
        ax.legend(handles=entries, loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2, frameon=False, fontsize=8)


@cache
def _drawable() -> frozenset[int]:
    """The code points that matplotlib's own font can draw."""
    return frozenset(get_font(findfont("DejaVu Sans")).get_charmap())


def _printable(token: str, index: int) -> str:
    """A token as a tick label; its index where the font has not all of its letters."""
    token = show(token)
    if not token or any(ord(letter) not in _drawable() for letter in token):
        return str(index)
    return token if len(token) <= 12 else token[:11] + "…"
