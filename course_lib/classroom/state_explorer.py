"""The state explorer: linear attention as a memory of fixed size, which fills as facts arrive."""

import torch
import traitlets as t
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from .._check import check_flag
from . import pictures
from .explorer_checks import check_choice, check_number, check_one_of
from .palette import LIGHT
from .state_words import DIGITS, NOUNS, REFUSED, VALUES, number, sentences, size
from .widgets import ExplorerWidget, refused_in_words

FEATURES = (2, 4, 8, 16, 32, 64)
MAPS = ("identity", "elu+1")
MOST_FACTS = len(NOUNS)


def draw_world(seed: int) -> dict:
    """Return the numbers that keys are made of, a row for each fact, and the facts' values, as indexes.

    The draws are rounded, so that they are the same on every machine. Of 16 facts two have the same value.
    """
    generator = torch.Generator().manual_seed(seed)
    draws = torch.randn(MOST_FACTS, FEATURES[-1], generator=generator).double().tolist()
    values = torch.cat([torch.randperm(2 * VALUES, generator=generator) for _ in range(MOST_FACTS // 2 // VALUES)])
    rounded = [[round(one, 4) for one in row] for row in draws]
    return {"draws": rounded, "values": (values % VALUES).tolist(), "nouns": NOUNS, "digits": DIGITS}


class StateExplorer(ExplorerWidget, source="state_explorer"):
    """Show the state S of linear attention as facts, key → value, are added to it, and what a query still recalls.

    facts: how many there are, 1 to 32. features: the size of a key, a random unit vector: 2, 4, 8, 16, 32 or 64.
    feature_map: "identity" or "elu+1", taken of keys and queries. normalize: divide what is read by φ(q)·z; only with
    "elu+1". prefix_len: the first so many facts arrive at once, in one step; the others one by one. step: 0 is before
    the first. seed: of the keys and the values.

    All are traits, and `selected`, the fact that is asked for: read them, set them, observe them; the browser's changes
    arrive in them. With another number of facts or another prefix, as many facts stay stored as can; with "identity",
    `normalize` ends. A wrong value raises ValueError or TypeError here, and TraitError when a trait is set.
    """

    facts = t.Int(12).tag(sync=True)
    features = t.Int(8).tag(sync=True)
    feature_map = t.Unicode("identity").tag(sync=True)
    normalize = t.Bool(False).tag(sync=True)
    prefix_len = t.Int(0).tag(sync=True)
    step = t.Int(0).tag(sync=True)
    selected = t.Int(0).tag(sync=True)
    seed = t.Int(0).tag(sync=True)
    world = t.Dict(read_only=True).tag(sync=True)  # what draw_world returns; the browser counts for itself

    def __init__(self, facts=12, *, features=8, feature_map="identity", normalize=False, prefix_len=0, step=0, seed=0):
        given = {"facts": facts, "features": features, "feature_map": feature_map, "normalize": normalize,
                 "prefix_len": prefix_len, "step": step, "seed": seed}  # fmt: skip
        for name, value in given.items():
            _check(name, value, given)
        with self._given_whole():
            super().__init__(**given)

    @t.default("world")
    def _first_world(self):
        return draw_world(self.seed)

    # -- the facts

    @property
    def last_step(self) -> int:
        return _last_step(self.facts, self.prefix_len)

    @property
    def stored(self) -> int:
        """How many facts have arrived."""
        return _stored(self.step, self.prefix_len)

    def value(self, fact: int) -> str:
        return DIGITS[self.world["values"][fact]]

    def fact(self, fact: int) -> str:
        return f"{NOUNS[fact]} → {self.value(fact)}"

    # -- the numbers, float64

    @property
    def mapped_keys(self) -> Tensor:
        """φ of the keys, (facts, features). A query for a fact is its key."""
        draws = torch.tensor(self.world["draws"], dtype=torch.float64)[: self.facts, : self.features]
        unit = draws / draws.norm(dim=1, keepdim=True)
        return unit if self.feature_map == "identity" else torch.nn.functional.elu(unit) + 1

    @property
    def state(self) -> Tensor:
        """S at this step, (features, 8): the sum of φ(k)ᵀ v over the facts that have arrived."""
        return self._states()[self.stored]

    def read(self, fact: int) -> Tensor:
        """Return v̂ = φ(q) S (8) for a fact's key, divided by φ(q)·z with `normalize`; zeros while S is empty."""
        check_number("fact", fact, 0, self.facts - 1, "the last fact")
        keys = self.mapped_keys
        read = keys[fact] @ self.state
        return read / (keys[fact] @ keys[: self.stored].sum(dim=0)) if self.normalize and self.stored else read

    @property
    def recalled(self) -> list[bool]:
        """Is a stored fact's value the largest that its key reads? One bool for each stored fact."""
        return [int(self.read(fact).argmax()) == self.world["values"][fact] for fact in range(self.stored)]

    def _states(self) -> Tensor:
        """S after 0, 1, ... and all facts: (facts + 1, features, 8)."""
        values = torch.eye(VALUES, dtype=torch.float64)[self.world["values"][: self.facts]]
        added = self.mapped_keys[:, :, None] * values[:, None, :]
        return torch.cat([torch.zeros_like(added[:1]), added.cumsum(dim=0)])

    # -- the words and the picture

    def describe(self) -> str:
        """Return what the explorer shows, in sentences; the browser's text is the same."""
        return " ".join(sentences(self))

    def fallback(self) -> dict[str, bytes]:
        """Return a picture of this state, for readers without a kernel."""
        return {"image/png": pictures.png(draw_state(self))}

    # -- keeping the state whole

    @t.validate("facts", "features", "feature_map", "normalize", "prefix_len", "step", "selected", "seed")
    def _checked(self, proposal):
        names = ("facts", "feature_map", "prefix_len")
        with refused_in_words():
            _check(proposal.trait.name, proposal.value, {name: getattr(self, name) for name in names})
        return proposal.value

    @t.observe("facts", "prefix_len")
    def _facts_or_prefix_set(self, change):
        if self._whole:
            return
        P = min(self.prefix_len, self.facts)
        stored = _stored(self.step, change.old if change.name == "prefix_len" else self.prefix_len)
        with self._given_whole():
            self.prefix_len = P
            self.step = _step_of(min(stored, self.facts), P)
            self.selected = min(self.selected, self.facts - 1)

    @t.observe("feature_map")
    def _map_set(self, change):
        if not self._whole and change.new == "identity":
            self.normalize = False

    @t.observe("seed")
    def _seed_set(self, change):
        self.set_trait("world", draw_world(change.new))


def _last_step(facts: int, prefix_len: int) -> int:
    return facts + 1 - max(prefix_len, 1)


def _stored(step: int, prefix_len: int) -> int:
    return step and max(prefix_len, 1) + step - 1


def _step_of(stored: int, prefix_len: int) -> int:
    """The step after which so many facts are stored, or the first that has them."""
    return stored and max(stored - max(prefix_len, 1), 0) + 1


def _check(name: str, value, given: dict) -> None:
    if name == "features":
        check_one_of(name, value, FEATURES)
    elif name == "feature_map":
        check_choice(name, value, MAPS)
    elif name == "normalize":
        check_flag(name, value)
        if value and given["feature_map"] == "identity":
            raise ValueError(REFUSED)
    elif name == "step":
        check_number(name, value, 0, _last_step(given["facts"], given["prefix_len"]), "the last step")
    elif name == "prefix_len":
        check_number(name, value, 0, given["facts"], "the facts")
    elif name == "selected":
        check_number(name, value, 0, given["facts"] - 1, "the last fact")
    else:
        check_number(name, value, *((1, MOST_FACTS) if name == "facts" else (0, 2**31 - 1)))


# -- without a kernel


def draw_state(explorer: StateExplorer) -> Figure:
    """Draw a state explorer's facts, its S, what the selected key reads, and the size, side by side."""
    figure = pictures.paper(9.2, 4.9)
    facts, state, read = figure.subplots(1, 3, width_ratios=(1.15, 1.6, 1.35))
    draw_facts(facts, explorer)
    colours = LinearSegmentedColormap.from_list("state", [LIGHT["target"], LIGHT["paper"], LIGHT["prefix"]])
    most = max(float(explorer._states().abs().max()), 1e-9)
    drawn = state.imshow(explorer.state.numpy(), cmap=colours, vmin=-most, vmax=most, aspect="auto")
    state.set_xticks(range(VALUES), DIGITS)
    state.set_yticks([])
    state.set_title(f"S: {explorer.features} features × {VALUES} values", fontsize=10, loc="left", color=LIGHT["ink"])
    if explorer.features <= 16:
        for at, one in enumerate(explorer.state.flatten().tolist()):
            ink = LIGHT["paper" if abs(one) > 0.7 * most else "ink"]
            state.text(at % VALUES, at // VALUES, number(one), ha="center", va="center", fontsize=7.5, color=ink)
    scale = figure.colorbar(drawn, ax=state, location="bottom", shrink=0.8, aspect=30)
    scale.outline.set_edgecolor(LIGHT["line"])
    _draw_read(read, explorer)
    figure.supxlabel(size(explorer), fontsize=9, color=LIGHT["ink"])
    return figure


def draw_facts(axis, explorer: StateExplorer) -> None:
    """List the facts there, with a sign for each that is stored: is it read right?"""
    right, rows = explorer.recalled, MOST_FACTS // 2
    axis.set(xlim=(0, 2), ylim=(rows - 0.4, -0.6))
    axis.axis("off")
    axis.set_title(f"recall {sum(right)} of {len(right)}", fontsize=10, loc="left", color=LIGHT["ink"])
    for fact in range(explorer.facts):
        column, row = divmod(fact, rows)
        if fact < explorer.prefix_len:
            axis.add_patch(Rectangle((column, row - 0.42), 0.04, 0.84, fc=LIGHT["prefix"], lw=0))
        mark, hue = ("✓ ", "good") if fact < len(right) and right[fact] else ("✗ ", "bad")
        mark, hue = (mark, hue) if fact < len(right) else ("", "muted")
        axis.text(column + 0.09, row, mark + explorer.fact(fact), va="center", fontsize=8.5, color=LIGHT[hue],
                  weight="bold" if fact == explorer.selected else "normal")  # fmt: skip


def _draw_read(axis, explorer: StateExplorer) -> None:
    read = explorer.read(explorer.selected).tolist()
    true, best = explorer.world["values"][explorer.selected], read.index(max(read))
    is_right, known = best == true, explorer.selected < explorer.stored
    for at, one in enumerate(read):
        hue = ("good" if is_right else "bad") if at == best and known else "hatch"
        axis.barh(at, one, height=0.6, color=LIGHT[hue], hatch="////" if hue == "bad" else "", lw=0)
    axis.barh(true, read[true], height=0.6, fc="none", ec=LIGHT["ink"], lw=1.6, ls="-" if known else "--")
    axis.axvline(0, color=LIGHT["muted"], lw=0.8)
    axis.set_yticks(range(VALUES), [f"▸ {digit}" if at == true else digit for at, digit in enumerate(DIGITS)])
    axis.set_ylim(VALUES - 0.4, -0.6)
    axis.locator_params(axis="x", nbins=4)
    axis.tick_params(length=0, labelsize=9)
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)
    axis.set_title(f"v̂ for {NOUNS[explorer.selected]}; its value is ▸", fontsize=10, loc="left", color=LIGHT["ink"])
