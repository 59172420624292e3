"""What stands in for the attention explorer and the cache explorer without a kernel, drawn with matplotlib."""

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure

from ..masks import prefix_mask
from . import attention_words
from .palette import LIGHT
from .pictures import draw_mask
from .text import show


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=100, facecolor=LIGHT["paper"], layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _short(token: str) -> str:
    token = show(token)
    return token if len(token) <= 14 else token[:13] + "…"


def draw_attention(explorer) -> Figure:
    """Draw an AttentionExplorer: the weights over the mask, where the chosen query looks, and what it expects next."""
    tokens, P, T, i = explorer.tokens, explorer.prefix_len, len(explorer.tokens), explorer.selected
    figure = _figure(9.6, 5.4)
    if not T:
        figure.text(0.5, 0.5, "no tokens", ha="center", color=LIGHT["muted"])
        return figure
    places = figure.add_gridspec(2, 2, width_ratios=[1.5, 1])
    grid = figure.add_subplot(places[:, 0])
    heads = explorer.computed["heads"]
    where = f"mean over {heads} heads" if explorer.head is None else f"head {explorer.head}"
    draw_mask(prefix_mask(P, T), tokens=tokens, prefix_len=P, ax=grid, legend=False,
              title=f"Attention weights, layer {explorer.layer}, {where}, P = {P} of T = {T}")  # fmt: skip
    of_layer = explorer.weights[explorer.layer - 1]
    weights = (of_layer.mean(0) if explorer.head is None else of_layer[explorer.head - 1]).numpy()
    scale = LinearSegmentedColormap.from_list("weights", [to_rgb(LIGHT["paper"]), to_rgb(LIGHT["cross"])])
    picture = np.dstack([scale(np.sqrt(weights))[:, :, :3], prefix_mask(P, T).numpy().astype(float)])
    grid.imshow(picture, extent=(0, T, T, 0), interpolation="nearest", zorder=4.5)
    grid.plot([0, T, T, 0, 0], [i, i, i + 1, i + 1, i], color=LIGHT["ink"], lw=1.6, zorder=6)
    row = explorer.row()
    keys = sorted(range(T), key=lambda j: (-row[j], j))[:6]
    reads = [(f"{_short(tokens[j])} ({j})", row[j], attention_words.decimal(row[j])) for j in keys]
    expects = [(_short(word), p, attention_words.percentage(p)) for word, p in explorer.computed["next"][i]]
    bars = [(f"‘{_short(tokens[i])}’ (query {i}) looks at", reads, "cross"),
            (f"after ‘{_short(tokens[i])}’ the model expects", expects, "target")]  # fmt: skip
    for n, (title, values, colour) in enumerate(bars):
        axis = figure.add_subplot(places[n, 1])
        axis.barh(range(len(values)), [value for _, value, _ in values], color=LIGHT[colour])
        axis.set_yticks(range(len(values)), [word for word, _, _ in values], parse_math=False)
        axis.set(xlim=(0, 1.3), ylim=(len(values) - 0.4, -0.6), xticks=[], facecolor=LIGHT["paper"])
        for y, (_, value, words) in enumerate(values):
            axis.text(value + 0.02, y, words, va="center", fontsize=8, color=LIGHT["ink"])
        axis.set_title(title, fontsize=10, loc="left", color=LIGHT["ink"], parse_math=False)
        axis.tick_params(length=0, labelsize=9)
        axis.spines[:].set_visible(False)
    return figure
