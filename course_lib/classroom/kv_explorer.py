"""The memory of a cache's keys and values in PaLM's three shapes, as key/value heads, context and sequences change."""

from dataclasses import replace

import traitlets as t
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .. import block_costs
from ..block_costs import PALM, BlockShape
from . import pictures
from .explorer_checks import check_choice, check_number, check_power
from .number_words import brief, plural, size
from .palette import LIGHT
from .widgets import ExplorerWidget, refused_in_words

NUMBER_BYTES = 2  # bfloat16
CONTEXTS = [2**n for n in range(8, 18)]
SEQUENCES = [2**n for n in range(10)]
HUES = ("prefix", "target", "added")  # of the groups, one after the other
MOST_HEADS = max(shape.heads for _, shape in PALM.values())
SIZES = {
    model: {"layers": layers, "dim": s.dim, "heads": s.heads, "head_dim": s.head_dim, "hidden": s.hidden}
    for model, (layers, s) in PALM.items()
}


def divisors(heads: int) -> list[int]:
    return [n for n in range(1, heads + 1) if heads % n == 0]


def nearest(heads: int, kv_heads: int) -> int:
    """Return the divisor of `heads` that is nearest to `kv_heads`; of two, the smaller."""
    return min(divisors(heads), key=lambda n: (abs(n - kv_heads), n))


class KVExplorer(ExplorerWidget, source="kv_explorer"):
    """Show how many bytes the keys and values of a cache take, beside the weights of the model.

    model: a shape of PaLM's, "8B", "62B" or "540B". kv_heads: key/value heads, a divisor of the model's query heads.
    context: tokens of a sequence, a power of two from 256 to 131072. sequences: served at once, a power of two from 1
    to 512. Numbers are bfloat16, 2 bytes.

    All four are traits: read them, set them, observe them; the browser's changes arrive in them. When the model
    changes and its query heads cannot be divided by kv_heads, the nearest divisor is taken. A wrong value raises
    ValueError or TypeError here, and TraitError when a trait is set.
    """

    model = t.Unicode("540B").tag(sync=True)
    kv_heads = t.Int(1).tag(sync=True)
    context = t.Int(2048).tag(sync=True)
    sequences = t.Int(64).tag(sync=True)
    sizes = t.Dict(SIZES, read_only=True).tag(sync=True)  # the browser counts for itself

    def __init__(self, model="540B", *, kv_heads=1, context=2048, sequences=64):
        given = {"model": model, "kv_heads": kv_heads, "context": context, "sequences": sequences}
        for name, value in given.items():
            _check(name, value, model)
        with self._given_whole():
            super().__init__(**given)

    # -- the numbers

    @property
    def layers(self) -> int:
        return PALM[self.model][0]

    @property
    def shape(self) -> BlockShape:
        """The model's shape with this many key/value heads; PaLM itself has one."""
        return replace(PALM[self.model][1], kv_heads=self.kv_heads)

    @property
    def bytes_per_token(self) -> int:
        return block_costs.kv_bytes(self.layers, self.shape, number_bytes=NUMBER_BYTES)

    @property
    def cache_bytes(self) -> int:
        """Of all tokens of all sequences."""
        return self.bytes_per_token * self.context * self.sequences

    @property
    def weight_bytes(self) -> int:
        """Of the matrices in all layers; the table of the tokens is not counted."""
        return self.layers * self.shape.weights * NUMBER_BYTES

    # -- the words

    def describe(self) -> str:
        """Return what the explorer shows, in sentences; the browser's text is the same."""
        heads, n = self.shape.heads, self.kv_heads
        keep = "keeps" if self.sequences == 1 else "keep"
        other = f"With {heads} key/value heads the cache would be {heads // n} times as large."
        if n == heads:
            other = f"With 1 key/value head the cache would be 1/{n} as large."
        return (
            f"{self._sharing()} A token takes {self.bytes_per_token:,} bytes. "
            f"{plural(self.sequences, 'sequence')} of {self.context:,} tokens {keep} {size(self.cache_bytes)}, "
            f"{times(self.cache_bytes, self.weight_bytes)} the weights ({size(self.weight_bytes)}). {other}"
        )

    def _sharing(self) -> str:
        heads, n = self.shape.heads, self.kv_heads
        shared = f"each shared by {heads // n} query heads (grouped-query)"
        if n == 1:
            shared = f"shared by all {heads} query heads (multi-query)"
        elif n == heads:
            shared = "one for each query head (multi-head)"
        return f"{self.model} with {plural(n, 'key/value head')}, {shared}."

    def fallback(self) -> dict[str, bytes]:
        """Return a picture of this state, for readers without a kernel."""
        return {"image/png": pictures.png(self._draw())}

    def _draw(self) -> Figure:
        figure = pictures.paper(8.4, 3)
        top, bottom = figure.subplots(2, 1, height_ratios=[1, 3.6])
        top.axis("off")
        bottom.axis("off")
        top.set(xlim=(0, MOST_HEADS), ylim=(1.7, -0.05))
        share = self.shape.heads // self.kv_heads
        for group in range(self.kv_heads):
            hue, left, width = HUES[group % len(HUES)], group * share + 0.07, share - 0.14
            soft = {"fc": LIGHT[f"{hue}-soft"], "ec": LIGHT[hue], "lw": 1}
            top.add_patch(Rectangle((left, 0), width, 1, hatch="////" if group % 2 else "", **soft))
            top.vlines([group * share + n for n in range(1, share)], 0, 1, color=LIGHT[hue], lw=1)
            top.add_patch(Rectangle((left, 1.15), width, 0.5, fc=LIGHT[hue], ec=LIGHT[hue], lw=1))
        top.set_title(self._sharing(), fontsize=10, loc="left", color=LIGHT["ink"])
        bars = [(f"cache of {self.sequences} × {self.context:,} tokens", self.cache_bytes, "prefix", ""),
                ("weights of all layers", self.weight_bytes, "hatch", "////")]  # fmt: skip
        longest = max(self.cache_bytes, self.weight_bytes)
        bottom.set(xlim=(-0.002 * longest, 1.12 * longest), ylim=(1.9, -0.7))
        for y, (name, value, hue, hatch) in enumerate(bars):
            bottom.barh(y, value, height=0.4, color=LIGHT[hue], hatch=hatch, edgecolor=LIGHT["muted"], lw=0.8)
            bottom.text(0, y - 0.28, name, fontsize=10, color=LIGHT["ink"], va="bottom")
            bottom.text(value + longest / 90, y, size(value), fontsize=10, color=LIGHT["ink"], va="center")
        note = f"{self.bytes_per_token:,} bytes a token; bfloat16, 2 bytes a number; 1 GB is 10⁹ bytes"
        bottom.text(0, 1.6, note, fontsize=9, color=LIGHT["muted"], va="center")
        return figure

    # -- keeping the state whole

    @t.validate("model", "kv_heads", "context", "sequences")
    def _checked(self, proposal):
        with refused_in_words():
            _check(proposal.trait.name, proposal.value, self.model)
        return proposal.value

    @t.observe("model")
    def _model_set(self, change):
        if not self._whole:
            self.kv_heads = nearest(PALM[change.new][1].heads, self.kv_heads)


def _check(name: str, value, model: str) -> None:
    if name == "model":
        check_choice(name, value, PALM)
    elif name == "kv_heads":
        heads = PALM[model][1].heads
        check_number(name, value, 1, heads, f"the query heads of {model}")
        if heads % value:
            allowed = ", ".join(map(str, divisors(heads)))
            raise ValueError(f"kv_heads must divide the {heads} query heads of {model} ({allowed}), got {value}")
    else:
        powers = CONTEXTS if name == "context" else SEQUENCES
        check_power(name, value, powers[0], powers[-1])


def times(part: int, whole: int) -> str:
    return "less than 0.001 times" if part / whole < 0.001 else f"{brief(part / whole)} times"
