"""The mask explorer: a sentence of the learner's own, a prefix boundary to drag, and the mask that follows it."""

from dataclasses import dataclass

import torch
import traitlets as t
from torch import Tensor

from .. import costs as counted
from .._check import check_flag
from ..masks import bidirectional_mask, causal_mask, prefix_mask
from . import pictures
from .explorer_checks import (
    as_mask,
    check_choice,
    check_kind,
    check_mask_bytes,
    check_number,
    check_selected,
    check_tokens,
    count_tiles,
    mask_bytes,
    read_tokens,
)
from .explorer_words import percent, sentences
from .text import MAX_TOKENS, split_text, well_formed
from .widgets import ExplorerWidget, refused_in_words

DEFAULT_TEXT = "The lantern is lost. Mara climbs the tower to relight it."
_TITLES = {
    "encoder": "Encoder-only",
    "decoder": "Decoder-only",
    "encoder-decoder": "Encoder–decoder",
    "prefix": "Prefix LM",
    "custom": "Your own mask",
}


@dataclass(frozen=True)
class MaskCosts:
    """What the meters show: pairs allowed, of all T * T, of the causal mask, and more (or fewer) than causal;
    `costs.Tiles`; and how many tokens the loss scores (None for a mask of the user's, which does not say)."""

    allowed: int
    total: int
    causal: int
    added: int
    tiles: counted.Tiles
    loss_tokens: int | None


class MaskExplorer(ExplorerWidget, source="mask_explorer"):
    """Show who may look at whom in a text, and let the learner move the boundary between prefix and target.

    text_or_tokens: a str, split by `split_text`'s rule (in the browser, with a dictionary for scripts without spaces);
        or a list of str, shown as given. None is a sentence of ours, or 0, 1, 2, ... beside a `mask`. At most 256.
    prefix_len: P, 0..T; None is a third of the tokens, rounded up.
    kind: "prefix", "encoder", "decoder", "encoder-decoder", or "custom", which needs `mask`.
    mask: any (T, T) mask of the user's, bool or of zeros and ones, as tensor, array or nested list; the kind becomes
        "custom", and the boundary only a line to compare with.
    tile: the side of a kernel's tile, 1..256. show_tiles: draw the tiles at once. selected: the query whose row is
        chosen, 0..T - 1; None for none; left out, the second token.

    All of these but `mask` are traits: read them, set them, observe them; the browser's changes arrive in them. Fewer
    tokens than `prefix_len` move the boundary, and `describe()` says so. A wrong value raises ValueError or TypeError
    here, and TraitError when a trait is set.
    """

    text = t.Unicode("").tag(sync=True)
    tokens = t.List(t.Unicode()).tag(sync=True)
    split_by = t.Unicode("list").tag(sync=True)  # who made `tokens` of `text`
    prefix_len = t.Int(0).tag(sync=True)
    kind = t.Unicode("prefix").tag(sync=True)
    selected = t.Int(None, allow_none=True).tag(sync=True)
    tile = t.Int(4).tag(sync=True)
    show_tiles = t.Bool(False).tag(sync=True)
    moved_from = t.Int(None, allow_none=True).tag(sync=True)  # where the boundary was before the text moved it
    custom_mask = t.Bytes(b"").tag(sync=True)  # T * T bytes of 0 and 1, row by row

    def __init__(
        self, text_or_tokens=None, prefix_len=None, *, kind=None, mask=None, tile=4, show_tiles=False, selected="second"
    ):
        own = None if mask is None else as_mask("mask", mask, most=MAX_TOKENS)
        if text_or_tokens is None:
            text_or_tokens = DEFAULT_TEXT if own is None else [str(i) for i in range(len(own))]
        text, tokens, split_by = read_tokens(text_or_tokens)
        T = len(tokens)
        if own is not None and len(own) != T:
            raise ValueError(f"mask is {len(own)} x {len(own)}, but there are {T} tokens: the two must agree")
        kind = kind if kind is not None else "prefix" if own is None else "custom"
        custom_mask = b"" if own is None else mask_bytes(own)
        if prefix_len is None:
            prefix_len = -(-T // 3)
        if isinstance(selected, str) and selected == "second":
            selected = min(1, T - 1) if T else None
        check_kind(kind, T, custom_mask)
        check_number("prefix_len", prefix_len, 0, T, "the number of tokens")
        check_number("tile", tile, 1, MAX_TOKENS)
        check_flag("show_tiles", show_tiles)
        check_selected(selected, T)
        with self._given_whole():
            super().__init__(
                text=text, tokens=tokens, split_by=split_by, prefix_len=prefix_len, kind=kind, selected=selected,
                tile=tile, show_tiles=show_tiles, custom_mask=custom_mask,
            )  # fmt: skip

    # -- what the state means

    @property
    def mask(self) -> Tensor:
        """The bool mask (T, T) of this state, from `course_lib.masks`; setting it makes the kind "custom"."""
        T = len(self.tokens)
        if self.kind == "custom":
            return torch.tensor(list(self.custom_mask), dtype=torch.bool).reshape(T, T)
        if self.kind == "encoder":
            return bidirectional_mask(T)
        return causal_mask(T) if self.kind == "decoder" else prefix_mask(self.prefix_len, T)

    @mask.setter
    def mask(self, value):
        own, T = as_mask("mask", value, most=MAX_TOKENS), len(self.tokens)
        if len(own) != T:
            raise ValueError(f"mask is {len(own)} x {len(own)}, but there are {T} tokens: set tokens first")
        with self.hold_sync():
            self.custom_mask = mask_bytes(own)
            self.kind = "custom"

    @property
    def blocks(self) -> dict[str, Tensor]:
        """The three masks of an encoder–decoder with this boundary, which the joint (T, T) mask holds as blocks:
        "source" (P, P), "target" (T - P, T - P), and "cross" (T - P, P), where target queries read source keys."""
        if self.kind != "encoder-decoder":
            raise ValueError(f"blocks needs kind 'encoder-decoder', got {self.kind!r}")
        P, mask = self.prefix_len, self.mask
        return {"source": mask[:P, :P], "target": mask[P:, P:], "cross": mask[P:, :P]}

    @property
    def costs(self) -> MaskCosts:
        """What the meters show."""
        P, T, tile = self.prefix_len, len(self.tokens), self.tile
        causal = counted.allowed_pairs(0, T)
        if self.kind == "custom":
            allowed, tiles, loss = int(self.mask.sum()), count_tiles(self.mask, tile), None
        else:
            seen = {"encoder": T, "decoder": 0}.get(self.kind, P)
            allowed, tiles = counted.allowed_pairs(seen, T), counted.tiles(seen, T, tile)
            loss = counted.loss_tokens(self.kind, P, T)
        return MaskCosts(allowed, T * T, causal, allowed - causal, tiles, loss)

    def describe(self) -> str:
        """Return everything that the explorer shows, in sentences; the browser's live text is the same."""
        return " ".join(sentences(self))

    def fallback(self) -> dict[str, bytes]:
        """Return a picture of this state, for readers without a kernel."""
        c, P, T = self.costs, self.prefix_len, len(self.tokens)
        boundary = f"P = {P} of T = {T}" if self.kind in ("prefix", "encoder-decoder", "custom") else f"T = {T}"
        share = f"{c.allowed} of {c.total} pairs allowed ({percent(c.allowed, c.total)} %)"
        title = f"{_TITLES[self.kind]}, {boundary}\n{share}"
        figure = pictures.draw_mask(self.mask, tokens=self.tokens, prefix_len=P, kind=self.kind, title=title)
        return {"image/png": pictures.png(figure)}

    # -- keeping the state whole

    @t.validate("text", "tokens", "kind", "prefix_len", "selected", "tile", "moved_from", "custom_mask", "split_by")
    def _check(self, proposal):
        name, value, T = proposal.trait.name, proposal.value, len(self.tokens)
        with refused_in_words():
            if name == "text":
                split_text(value)
                return well_formed(value)
            if name == "tokens":
                check_tokens(value)
                if self.kind == "custom":
                    check_kind("custom", len(value), self.custom_mask)
            elif name == "kind":
                check_kind(value, T, self.custom_mask)
            elif name == "prefix_len":
                check_number(name, value, 0, T, "the number of tokens")
            elif name == "selected":
                check_selected(value, T)
            elif name == "tile":
                check_number(name, value, 1, MAX_TOKENS)
            elif name == "split_by":
                check_choice(name, value, ("python", "browser", "list"))
            elif name == "moved_from":
                if value is not None:
                    check_number(name, value, 0, MAX_TOKENS)
            else:
                check_mask_bytes(value)
                if self.kind == "custom":
                    check_kind("custom", T, value)
        return value

    @t.observe("text")
    def _text_set(self, change):
        if not self._whole:
            self.split_by, self.tokens = "python", split_text(change.new)

    @t.observe("tokens")
    def _tokens_set(self, change):
        if self._whole:
            return
        T = len(change.new)
        if self.split_by != "python" or split_text(self.text) != change.new:
            with self._given_whole():
                self.split_by, self.text = "list", well_formed(" ".join(change.new))
        if self.prefix_len > T:
            moved_from, self.prefix_len = self.prefix_len, T
            self.moved_from = moved_from
        else:
            self.moved_from = None
        if self.selected is None or self.selected >= T:
            self.selected = (min(1, T - 1) if not change.old else T - 1) if T else None

    @t.observe("prefix_len", "kind")
    def _boundary_set(self, _):
        if not self._whole:
            self.moved_from = None
