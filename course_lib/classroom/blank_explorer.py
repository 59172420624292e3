"""The blank explorer: a sentence of the learner's own, blanks to drag over it, and the row that GLM makes of them."""

import traitlets as t
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from ..glm import BlankInfilling, blank_infilling
from ..masks import prefix_mask
from . import blank_words, pictures
from .explorer_checks import check_number, read_tokens
from .palette import LIGHT
from .text import split_text, well_formed
from .widgets import ExplorerWidget, refused_in_words

DEFAULT_TEXT = "The lantern is lost. Mara climbs the stairs."
DEFAULT_BLANKS = ((1, 3), (8, 9))


class BlankExplorer(ExplorerWidget, source="blank_explorer"):
    """Show how GLM lays out a text with blanks: Part A, which is read, and Part B, which writes the blanks again.

    text_or_tokens: a str, split by `split_text`'s rule (in the browser, with a dictionary for scripts without spaces);
        or a list of str, shown as given. None is a sentence of ours. From 1 to 24 tokens.
    blanks: (start, end) pairs, half open, in any order; none empty, any two at least one token apart. None is two
        blanks in our sentence, and in any other text tokens 1 and 2, as far as it has them.
    order: in which order Part B writes the blanks: indexes into them, sorted by start. None is the order of the text.

    `tokens`, `text`, `blanks` (a sorted list of [start, end]), `order` and `selected` (a column of the row, or None)
    are traits: read them, set them, observe them; the browser's changes arrive in them. Another number of blanks puts
    `order` back to the order of the text, and a shorter text cuts the blanks that it no longer holds. A wrong value
    raises ValueError or TypeError here, and TraitError when a trait is set.
    """

    text = t.Unicode("").tag(sync=True)
    tokens = t.List(t.Unicode()).tag(sync=True)
    blanks = t.List().tag(sync=True)
    order = t.List().tag(sync=True)
    selected = t.Int(None, allow_none=True).tag(sync=True)

    def __init__(self, text_or_tokens=None, blanks=None, order=None):
        text, tokens, _ = read_tokens(DEFAULT_TEXT if text_or_tokens is None else text_or_tokens)
        blank_words.check_text("text_or_tokens", tokens)
        n = len(tokens)
        if blanks is None:
            blanks = DEFAULT_BLANKS if text_or_tokens is None else [(1, min(3, n))] if n > 1 else []
        blanks = blank_words.check_blanks(blanks, n)
        order = list(range(len(blanks))) if order is None else blank_words.check_order(order, len(blanks))
        with self._given_whole():
            super().__init__(text=text, tokens=tokens, blanks=blanks, order=order)

    # -- what the state means

    @property
    def layout(self) -> BlankInfilling:
        """The row: `blank_infilling` of this state, with n tokens as ids 0..n-1, MASK n, START n + 1 and END n + 2."""
        n = len(self.tokens)
        return blank_infilling(
            list(range(n)), self.blanks, mask_id=n, start_id=n + 1, end_id=n + 2, order=list(self.order)
        )

    @property
    def mask(self) -> Tensor:
        """The bool mask (T, T) of the row, `prefix_mask(context_len, T)`."""
        layout = self.layout
        return prefix_mask(layout.context_len, len(layout.tokens))

    def describe(self) -> str:
        """Return everything that the explorer shows, in sentences; the browser's text is the same."""
        return " ".join(blank_words.sentences(self))

    def fallback(self) -> dict[str, bytes]:
        """Return a picture of this state, for readers without a kernel."""
        return {"image/png": pictures.png(draw_blanks(self))}

    # -- keeping the state whole

    @t.validate("text", "tokens", "blanks", "order", "selected")
    def _check(self, proposal):
        name, value = proposal.trait.name, proposal.value
        with refused_in_words():
            if name == "text":
                tokens = split_text(value)
                if not self._whole:  # the browser, which has a dictionary, may count fewer
                    blank_words.check_text(name, tokens)
                return well_formed(value)
            if name == "tokens":
                blank_words.check_text(name, value)
                return [well_formed(token) for token in value]
            if name == "blanks":
                return blank_words.check_blanks(value, len(self.tokens))
            if name == "order":
                return blank_words.check_order(value, len(self.blanks))
            if value is not None:
                check_number(name, value, 0, len(self.layout.tokens) - 1, "the last column")
        return value

    @t.observe("text")
    def _text_set(self, change):
        if not self._whole:
            self.tokens = split_text(change.new)

    @t.observe("tokens")
    def _tokens_set(self, change):
        if self._whole:
            return
        n = len(change.new)
        if split_text(self.text) != change.new:
            with self._given_whole():
                self.text = " ".join(change.new)
        self.blanks = [[start, min(end, n)] for start, end in self.blanks if start < n]
        self._let_go()

    @t.observe("blanks")
    def _blanks_set(self, change):
        if self._whole:
            return
        if len(self.order) != len(change.new):
            self.order = list(range(len(change.new)))
        self._let_go()

    def _let_go(self):
        if self.selected is not None and self.selected >= len(self.layout.tokens):
            self.selected = None


def draw_blanks(explorer: BlankExplorer) -> Figure:
    """Draw a BlankExplorer: the text with its blanks, the row with what each column predicts, and the row's mask."""
    tokens, layout = explorer.tokens, explorer.layout
    n, A, T = len(tokens), layout.context_len, len(layout.tokens)
    figure = pictures.paper(max(9.0, 0.62 * T), 8.6)
    row, grid = figure.subplots(2, 1, height_ratios=[1, 2.1])
    row.set(xlim=(-2.2, max(T, n)), ylim=(7.6, -0.4))
    row.axis("off")
    names = [_short(one, i) for i, one in enumerate((*tokens, *blank_words.SPECIAL))]

    def put(x, y, words, colour="ink", **options):
        row.text(x, y, words, ha="center", va="center", fontsize=8, color=LIGHT[colour], parse_math=False, **options)

    def box(x, y, role):
        row.add_patch(Rectangle((x + 0.04, y - 0.4), 0.92, 0.8, fc=LIGHT[f"{role}-soft"], ec=LIGHT[role], lw=0.8,
                                ls="--" if role == "target" else "-"))  # fmt: skip

    for i in range(n):
        blanked = any(start <= i < end for start, end in explorer.blanks)
        box(i, 0.1, "target" if blanked else "prefix")
        put(i + 0.5, 0.1, names[i], style="italic" if blanked else "normal")
    headers = ("text", "column", "input token", "target", "loss", "position", "block position")
    for y, words in zip((0.1, 1.9, 2.8, 3.7, 4.6, 5.5, 6.4), headers, strict=True):
        row.text(-0.15, y, words, ha="right", va="center", fontsize=9, color=LIGHT["muted"])
    for c in range(T):
        box(c, 2.8, "prefix" if c < A else "target")
        predicts = "–" if c < A else names[int(layout.targets[c])]
        values = (str(c), names[int(layout.tokens[c])], predicts, "–" if c < A else "●",
                  str(int(layout.positions[c])), str(int(layout.block_positions[c])))  # fmt: skip
        for y, words in zip((1.9, 2.8, 3.7, 4.6, 5.5, 6.4), values, strict=True):
            put(c + 0.5, y, words, "muted" if words == "–" or y == 1.9 else "ink")
    row.plot([A, A], [1.2, 6.9], color=LIGHT["ink"], lw=1.6)
    row.text(A / 2, 1.2, "Part A: read", ha="center", fontsize=9, color=LIGHT["prefix"])
    if T > A:
        row.text((A + T) / 2, 1.2, "Part B: written", ha="center", fontsize=9, color=LIGHT["target"])
    labels = [names[int(one)] for one in layout.tokens]
    title = f"The row's mask: prefix_mask({A}, {T})"
    pictures.draw_mask(explorer.mask, tokens=labels, prefix_len=A, ax=grid, title=title)
    return figure


def _short(token: str, index: int) -> str:
    token = pictures._printable(token, index)  # what matplotlib's font lacks is named by its number
    return token if len(token) <= 9 else token[:8] + "…"
