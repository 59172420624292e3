"""What stands in for the attention explorer and the cache explorer without a kernel, drawn with matplotlib."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ..masks import prefix_mask
from . import attention_words, cache_words
from .palette import LIGHT
from .pictures import draw_mask, paper
from .text import show


def _short(token: str) -> str:
    token = show(token)
    return token if len(token) <= 14 else token[:13] + "…"


def draw_attention(explorer) -> Figure:
    """Draw an AttentionExplorer: the weights over the mask, where the chosen query looks, and what it expects next.

    Without a chosen query there are only the weights.
    """
    tokens, P, T, i = explorer.tokens, explorer.prefix_len, len(explorer.tokens), explorer.selected
    figure = paper(9.6, 5.4)
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
    if i is None:
        return figure
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


_CELLS = {  # colour, hatch and words of a cell
    "empty": ("paper", "", "still empty"),
    "kept": ("prefix-soft", "", "kept"),
    "written": ("added", "", "written in this step"),
    "stale": ("paper", "xxxx", "stale"),
}


def cell_states(state) -> list[list[str]]:
    """Return what each row of keys and values is, layer by layer: empty, kept, written (by the last step), or stale."""
    rows, stale, done = cache_words.written(state), state.stale, cache_words.action(state)
    found = []
    for layer in range(state.layers):
        new = range(state.held - 1, state.held) if done == "decode" else range(rows[layer])
        found.append(
            [
                "empty" if i >= state.held
                else "stale" if i in stale[layer]
                else "written" if i in new
                else "kept"
                for i in range(len(state.tokens))
            ]
        )  # fmt: skip
    return found


def draw_cache(state) -> Figure:
    """Draw a cache explorer's state: tokens are rows, layers are columns, each cell a row of keys and values."""
    figure = paper(2.6 + 1.5 * state.layers, 1.6 + 0.3 * len(state.tokens))
    draw_cache_rows(figure.add_subplot(), state)
    legend = [Patch(fc=LIGHT[c], ec=LIGHT["bad" if k == "stale" else "muted"], hatch=hatch, label=words)
              for k, (c, hatch, words) in _CELLS.items()]  # fmt: skip
    figure.legend(handles=legend, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(cache_words.done_words(state).partition(":")[0].rstrip("."), fontsize=10, color=LIGHT["ink"])
    return figure


def draw_cache_rows(axis, state) -> None:
    """Draw the rows and layers of a cache explorer's state there, without a legend."""
    T, layers, P = len(state.tokens), state.layers, state.prefix_len
    axis.set(xlim=(-1.6, 1.5 * layers), ylim=(T + 0.1, -0.9))
    axis.axis("off")
    for layer, column in enumerate(cell_states(state)):
        x = 1.5 * layer
        axis.text(x + 0.5, -0.45, f"layer {layer + 1}", ha="center", fontsize=10, color=LIGHT["muted"])
        for i, kind in enumerate(column):
            colour, hatch, _ = _CELLS[kind]
            edge = {"stale": "bad", "empty": "line"}.get(kind, "prefix" if kind == "kept" else "added")
            axis.add_patch(Rectangle((x, i + 0.08), 1, 0.84, fc=LIGHT[colour], ec=LIGHT[edge], hatch=hatch, lw=1,
                                     ls=":" if kind == "empty" else "-"))  # fmt: skip
    if state.held:
        reader, reads = state.reads_from, max(state.reads_from + 1, P)
        for layer in range(layers):
            for j in range(reads):
                axis.plot([1.5 * layer + 1, 1.5 * layer + 1.3], [j + 0.5, reader + 0.5], color=LIGHT["muted"], lw=0.7)
            end = 1.5 * layer + (1.5 if layer < layers - 1 else 1.48)
            arrow = {"arrowstyle": "-|>", "color": LIGHT["ink"], "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
            axis.annotate("", (end, reader + 0.5), (1.5 * layer + 1.3, reader + 0.5), arrowprops=arrow)
    for i, token in enumerate(state.tokens):
        axis.text(-0.15, i + 0.5, _short(token), ha="right", va="center", fontsize=10, parse_math=False,
                  color=LIGHT["prefix" if i < P else "target"], alpha=1 if i < state.held else 0.55)  # fmt: skip
    axis.plot([-1.5, 1.5 * layers], [P, P], color=LIGHT["ink"], lw=1.4, ls=(0, (4, 2)))
    axis.text(-1.55, P - 0.1, f"P = {P}", fontsize=9, va="bottom", color=LIGHT["ink"])
