"""The cache explorer: which rows of keys and values are written, read and kept, and which a new prefix makes stale."""

from dataclasses import dataclass, field, replace

import traitlets as t

from .._check import short
from ..cache import stale_rows
from . import cache_words, pictures
from .explorer_checks import check_number, read_tokens
from .explorer_pictures import draw_cache
from .widgets import ExplorerWidget, refused_in_words

MOST_TOKENS, MOST_LAYERS, MOST_TURNS = 24, 6, 10
PROMPT = ("Mara", "bat", "fox", "forest", ".")
NEW = ("Mara", "walks", "to", "the", "forest", ".")


@dataclass(frozen=True)
class CacheState:
    """What is shown, as numbers; `cache_words` counts and says the rest."""

    tokens: tuple[str, ...]
    prompt_len: int
    prefix_len: int
    layers: int
    step: int = 0
    prefill_len: int = 0
    re_encoded: list = field(default_factory=list)
    reader: int | None = None
    turns: int = 4

    @property
    def held(self) -> int:
        return cache_words.held(self.prompt_len, self.step)

    @property
    def cached_prefix_len(self) -> int:
        return self.re_encoded[-1][1] if self.re_encoded else self.prefill_len

    @property
    def stale(self) -> list[range]:
        return stale_rows(self.cached_prefix_len, self.prefix_len, self.held, self.layers) if self.step else []

    @property
    def reads_from(self) -> int | None:
        """The row whose reading is drawn: the chosen one, or the newest."""
        return self.held - 1 if self.reader is None or self.reader >= self.held else self.reader

    def history(self):
        """Yield the state after each thing that was done since the cache was empty."""
        for step in range(1, self.step + 1):
            before = [each for each in self.re_encoded if each[0] < step]
            P = before[-1][1] if before else self.prefill_len
            yield replace(self, step=step, prefix_len=P, re_encoded=before)
            for entry in (each for each in self.re_encoded if each[0] == step):
                before = [*before, entry]
                yield replace(self, step=step, prefix_len=entry[1], re_encoded=before)


class CacheExplorer(ExplorerWidget, source="cache_explorer"):
    """Show a key/value cache fill up token by token, and what goes stale in it when the prefix changes.

    prompt: what is read at once, a str or a list of str. new: what is then written token by token, likewise. Together
        at most 24 tokens, and at least one in the prompt.
    prefix_len: P, 0..the prompt's tokens; all of the prompt unless given. layers: 1..6.
    step: 0 is the empty cache, 1 the prefill, each further one a new token.
    turns: of the chat at the end, 1..10; a turn is a message as long as the prompt and an answer as long as `new`.

    `prefix_len`, `step`, `layers`, `reader` (the row whose reading is drawn, None for the newest) and `turns` are
    traits: read them, set them, observe them; the browser's changes arrive in them. From step 1 on, `prefix_len` may be
    0..the tokens held; other rows than before then count as stale (`stale`), and `re_encode()` mends them. Going on to
    another token before that is an error, as it is for `KVCache`; going back undoes what came after. A wrong value
    raises ValueError or TypeError here, and TraitError when a trait is set.
    """

    tokens = t.List(t.Unicode(), read_only=True).tag(sync=True)
    prompt_len = t.Int(0, read_only=True).tag(sync=True)
    prefix_len = t.Int(0).tag(sync=True)
    layers = t.Int(3).tag(sync=True)
    step = t.Int(0).tag(sync=True)
    reader = t.Int(None, allow_none=True).tag(sync=True)
    turns = t.Int(4).tag(sync=True)
    prefill_len = t.Int(0).tag(sync=True)  # P when the cache was filled; follows prefix_len until then
    re_encoded = t.List().tag(sync=True)  # [step, P] of each time that rows were mended

    def __init__(self, prompt=None, new=None, prefix_len=None, *, layers=3, step=0, turns=4):
        prompt = _read("prompt", PROMPT if prompt is None else prompt)
        new = _read("new", NEW if new is None else new)
        if not prompt:
            raise ValueError("prompt must have at least one token, got none")
        if len(prompt) + len(new) > MOST_TOKENS:
            raise ValueError(f"prompt and new must have at most {MOST_TOKENS} tokens, got {len(prompt)} + {len(new)}")
        prefix_len = len(prompt) if prefix_len is None else prefix_len
        check_number("prefix_len", prefix_len, 0, len(prompt), "the prompt's tokens")
        check_number("layers", layers, 1, MOST_LAYERS)
        check_number("step", step, 0, 1 + len(new), "the prefill and the new tokens")
        check_number("turns", turns, 1, MOST_TURNS)
        with self._given_whole():
            super().__init__()
            self.set_trait("tokens", [*prompt, *new])
            self.set_trait("prompt_len", len(prompt))
            self.prefix_len = self.prefill_len = prefix_len
            self.layers, self.step, self.turns = layers, step, turns

    # -- what the state means

    @property
    def state(self) -> CacheState:
        return CacheState(
            tuple(self.tokens), self.prompt_len, self.prefix_len, self.layers, self.step, self.prefill_len,
            [list(entry) for entry in self.re_encoded], self.reader, self.turns,
        )  # fmt: skip

    @property
    def held(self) -> int:
        """Tokens in the cache."""
        return self.state.held

    @property
    def cached_prefix_len(self) -> int:
        """The prefix length for which the rows in the cache are right."""
        return self.state.cached_prefix_len

    @property
    def stale(self) -> list[range]:
        """The rows that are wrong for `prefix_len`, layer by layer: `course_lib.cache.stale_rows` of this state."""
        return self.state.stale or [range(0)] * self.layers

    def re_encode(self) -> list[int]:
        """Mend the stale rows; return how many there were, layer by layer, as `KVCache.extend_prefix` does."""
        if not self.step:
            raise ValueError("the cache is empty (step = 0): there is nothing to re-encode")
        counts = [len(rows) for rows in self.stale]
        if self.prefix_len != self.cached_prefix_len:
            self.re_encoded = [*self.re_encoded, [self.step, self.prefix_len]]
        return counts

    def describe(self) -> str:
        """Return everything that the explorer shows, in sentences; the browser's text is the same."""
        return " ".join(cache_words.sentences(self.state))

    def fallback(self) -> dict[str, bytes]:
        """Return a picture of this state, for readers without a kernel."""
        return {"image/png": pictures.png(draw_cache(self.state))}

    # -- keeping the state whole

    @t.validate("prefix_len", "layers", "step", "reader", "turns", "prefill_len", "re_encoded")
    def _check(self, proposal):
        name, value = proposal.trait.name, proposal.value
        with refused_in_words():
            if name == "prefix_len":
                held = self.held or self.prompt_len
                check_number(name, value, 0, held, "the tokens in the cache" if self.step else "the prompt's tokens")
            elif name == "layers":
                check_number(name, value, 1, MOST_LAYERS)
            elif name == "turns":
                check_number(name, value, 1, MOST_TURNS)
            elif name == "reader" and value is not None:
                check_number(name, value, 0, len(self.tokens) - 1, "the last token")
            elif name == "prefill_len":
                check_number(name, value, 0, self.prompt_len, "the prompt's tokens")
            elif name == "re_encoded":
                _check_entries(value, self.step, self.prompt_len)
            elif name == "step":
                steps = len(self.tokens) - self.prompt_len + 1
                check_number(name, value, 0, steps, "the prefill and the new tokens")
                if not self._whole and value > self.step > 0 and self.prefix_len != self.cached_prefix_len:
                    raise ValueError(
                        f"step cannot go on to {value}: the cache was filled for P = {self.cached_prefix_len}, and "
                        f"prefix_len is {self.prefix_len}; call re_encode(), or set prefix_len back"
                    )
        return value

    @t.observe("step")
    def _step_set(self, change):
        if not self._whole:
            with self._given_whole():
                self.re_encoded = [entry for entry in self.re_encoded if entry[0] <= change.new]
                self.prefix_len = self.cached_prefix_len

    @t.observe("prefix_len")
    def _boundary_set(self, change):
        if not self._whole and not self.step:
            self.prefill_len = change.new


def _read(name: str, value) -> list[str]:
    try:
        return read_tokens(value)[1]
    except (TypeError, ValueError) as error:
        said = str(error).replace("text_or_tokens", name)
        raise type(error)(said if said.startswith(name) else f"{name}: {said}") from None


def _check_entries(entries: list, step: int, prompt_len: int) -> None:
    last = 1
    for entry in entries:
        if not isinstance(entry, (list, tuple)) or len(entry) != 2:
            raise ValueError(f"re_encoded must hold pairs of a step and a prefix length, got {short(entry)}")
        check_number("a step in re_encoded", entry[0], last, step, "the step that is shown")
        check_number("a prefix length in re_encoded", entry[1], 0, cache_words.held(prompt_len, entry[0]))
        last = entry[0]
