"""The attention explorer: what a model looks at in a text, and what it expects next, while the boundary moves."""

import re
from contextlib import contextmanager

import torch
import traitlets as t
from torch import Tensor

from .._check import shown, whole_numbers
from ..generation import evaluating
from ..model import PrefixLM
from ..vocabulary import Vocabulary
from . import attention_words, pictures
from .explorer_checks import check_number, check_selected
from .explorer_pictures import draw_attention
from .text import well_formed
from .widgets import CourseWidget, refused_in_words

MAX_TOKENS = 96  # the longest story; all weights of all layers and heads go to the browser at once
SHOWN = 8  # next tokens


class AttentionExplorer(CourseWidget, source="attention_explorer"):
    """Show the attention weights of a model over its mask, and its next-token probabilities; the boundary can be moved.

    model: a PrefixLM, trained or not, on any device. vocabulary: the one it was trained with.
    text_or_tokens: a str, which the vocabulary reads behind [BOS], as the stories are; or the tokens themselves, a list
        of ids or of tokens as text ("[BOS]", "Mara", ...), or a one-dimensional tensor of ids. At most 96 tokens, and
        not more than the model's max_len. In a text, the name of a special token in brackets stands for that token.
        A learner's edit keeps the special tokens with which the tokens begin and end.
    prefix_len: P, 0..T, counted in tokens, [BOS] included (as `encode_story` counts).
    layer: 1..layers, the last unless given. head: 1..heads, or None, the mean over heads.
    selected: the query that is chosen, 0..T - 1; unless given the last prefix token (the first token if P = 0).

    `text`, `prefix_len`, `layer`, `head` and `selected` are traits: read them, set them, observe them; the browser's
    changes arrive in them. `tokens`, `weights` and `probs` are read only. The model is read whenever the text or the
    boundary settles, and on `refresh()`. A wrong value raises ValueError or TypeError here, and TraitError when a trait
    is set.
    """

    text = t.Unicode("").tag(sync=True)
    tokens = t.List(t.Unicode(), read_only=True).tag(sync=True)
    prefix_len = t.Int(0).tag(sync=True)
    layer = t.Int(1).tag(sync=True)
    head = t.Int(None, allow_none=True).tag(sync=True)
    selected = t.Int(None, allow_none=True).tag(sync=True)
    problem = t.Unicode("", read_only=True).tag(sync=True)  # why the learner's text cannot be read
    weight_bytes = t.Bytes(b"", read_only=True).tag(sync=True)  # float32, little-endian, (layers, heads, T, T)
    computed = t.Dict(read_only=True).tag(sync=True)  # what the weights are of, and the next tokens; set after them

    _settled = True

    def __init__(self, model, vocabulary, text_or_tokens, prefix_len, *, layer=None, head=None, selected="last prefix"):
        _check_model(model, vocabulary)
        self._model, self._vocabulary = model, vocabulary
        self._special = {vocabulary.token(i): i for i in range(vocabulary.first_word)}
        if isinstance(text_or_tokens, str):
            ids = [vocabulary.BOS, *self._encode(text_or_tokens)]
        else:
            ids = self._as_ids(text_or_tokens)
        self._check_length(len(ids))
        T, config = len(ids), model.config
        check_number("prefix_len", prefix_len, 0, T, "the number of tokens")
        layer = config.layers if layer is None else layer
        check_number("layer", layer, 1, config.layers, "the model's layers")
        if head is not None:
            check_number("head", head, 1, config.heads, "the model's heads")
        if isinstance(selected, str) and selected == "last prefix":
            selected = max(prefix_len - 1, 0) if T else None
        check_selected(selected, T)
        weights, probs = self._ask(ids, prefix_len)
        text = well_formed(text_or_tokens) if isinstance(text_or_tokens, str) else self._text_of(ids)
        with self._unsettled():
            super().__init__(layer=layer, head=head)
            self._take(ids, text, prefix_len, weights, probs, selected=selected)
        self.on_msg(self._receive)

    # -- what there is to read

    @property
    def weights(self) -> Tensor:
        """Who looks at whom, float32 (layers, heads, T, T); rows are queries."""
        return self._weights

    @property
    def probs(self) -> Tensor:
        """What the model expects after each token, float32 (T, V)."""
        return self._probs

    def refresh(self) -> None:
        """Ask the model again: its weights have changed."""
        self._show(self._ids, self.text, self.prefix_len)

    def describe(self) -> str:
        """Return what the explorer shows, in sentences; the browser's text is the same."""
        return " ".join(attention_words.sentences(self))

    def fallback(self) -> dict[str, bytes]:
        """Return a picture of this state, for readers without a kernel."""
        return {"image/png": pictures.png(draw_attention(self))}

    def row(self) -> list[float]:
        """Return how the chosen query's attention is spread over the T keys, in this layer and head."""
        of_layer = self._weights[self.layer - 1, :, self.selected].double()
        return (of_layer.sum(0) / len(of_layer) if self.head is None else of_layer[self.head - 1]).tolist()

    # -- reading text

    def _encode(self, text: str) -> list[int]:
        """Return the ids of a text, in which the name of a special token stands for it."""
        names = "|".join(re.escape(name) for name in self._special)
        pieces = re.split(f"({names})", well_formed(text))
        unknown = " ".join(piece for piece in pieces if piece not in self._special)
        self._vocabulary.encode(unknown)  # one error for all that is unknown
        of = self._vocabulary.encode
        return [i for piece in pieces for i in ([self._special[piece]] if piece in self._special else of(piece))]

    def _as_ids(self, tokens) -> list[int]:
        if isinstance(tokens, (list, tuple)) and any(isinstance(token, str) for token in tokens):
            known = {self._vocabulary.token(i): i for i in range(len(self._vocabulary))}
            for i, token in enumerate(tokens):
                if not isinstance(token, str):
                    raise TypeError(f"text_or_tokens[{i}] must be a str like the others, got {shown(token)}")
                if token not in known:
                    raise ValueError(f"text_or_tokens[{i}] must be a token of the vocabulary, got {shown(token)}")
            return [known[token] for token in tokens]
        last = {"high": len(self._vocabulary) - 1, "high_name": "the vocabulary's last id"}
        return whole_numbers("text_or_tokens", tokens, **last)

    def _edited(self, text: str) -> list[int]:
        """Return the ids of an edited text between the special tokens that now frame it."""
        first = next((n for n, i in enumerate(self._ids) if i >= self._vocabulary.first_word), len(self._ids))
        behind = len(self._ids)
        while behind > first and self._vocabulary.is_special(self._ids[behind - 1]):
            behind -= 1
        ids = [*self._ids[:first], *self._encode(text), *self._ids[behind:]]
        self._check_length(len(ids))
        return ids

    def _text_of(self, ids: list[int]) -> str:
        words = [n for n, i in enumerate(ids) if i >= self._vocabulary.first_word]
        return self._vocabulary.decode(ids[words[0] : words[-1] + 1]) if words else ""

    def _check_length(self, count: int) -> None:
        most = min(MAX_TOKENS, self._model.config.max_len)
        why = "the model's max_len" if most < MAX_TOKENS else "the most that can be shown"
        if count > most:
            raise ValueError(f"text must have at most {most} tokens ({why}), got {count}, special tokens included")

    # -- asking the model

    @torch.no_grad()
    def _ask(self, ids: list[int], prefix_len: int) -> tuple[Tensor, Tensor]:
        model, T = self._model, len(ids)
        if not T:
            config = model.config
            return torch.zeros(config.layers, config.heads, 0, 0), torch.zeros(0, config.vocab_size)
        tokens = torch.tensor([ids], device=next(model.parameters()).device)
        weights = torch.cat(model.attention_weights(tokens, prefix_len)).float().cpu()
        with evaluating(model):
            probs = model(tokens, prefix_len)[0][0].float().softmax(1).cpu()
        if not (weights.isfinite().all() and probs.isfinite().all()):
            raise ValueError("model gives numbers that are not finite (inf or NaN): did its training diverge?")
        return weights, probs

    def _show(self, ids: list[int], text: str, prefix_len: int, **changes) -> None:
        weights, probs = self._ask(ids, prefix_len)
        with self._unsettled():
            self._take(ids, text, prefix_len, weights, probs, **changes)

    def _take(self, ids, text, prefix_len, weights, probs, *, selected=None, request="", moved_from=None) -> None:
        """Make a whole new state of what the model said; the browser gets it as one message."""
        self._ids, self._weights, self._probs = list(ids), weights, probs
        T = len(ids)
        if selected is None and T:
            selected = 0 if self.selected is None else min(self.selected, T - 1)
        best = probs.topk(min(SHOWN, probs.shape[1]), dim=1)
        token = self._vocabulary.token
        expected = [
            [[token(i), p] for i, p in zip(*row, strict=True)]
            for row in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]
        follows = [probs[i, after].item() for i, after in enumerate(ids[1:])]
        with self.hold_sync():
            self.set_trait("tokens", [token(i) for i in ids])
            self.text, self.prefix_len, self.selected = text, prefix_len, selected
            self.set_trait("problem", "")
            self.set_trait("weight_bytes", weights.numpy().astype("<f4").tobytes())
            about = {"layers": weights.shape[0], "heads": weights.shape[1], "prefix_len": prefix_len}
            answer = {"next": expected, "follows": follows, "request": request, "moved_from": moved_from}
            self.set_trait("computed", {**about, **answer})

    def _receive(self, _, content, buffers) -> None:
        """The browser's wish: a boundary, and a text or None for the text as it is."""
        if not isinstance(content, dict) or content.get("type") != "compute":
            return
        request, text, prefix_len = (content.get(name) for name in ("request", "text", "prefix_len"))
        text = text if isinstance(text, str) else None
        if type(prefix_len) is not int or not 0 <= prefix_len <= len(self._ids):
            prefix_len = self.prefix_len  # another view has changed the text in the meantime
        problem, ids, moved_from = "", self._ids, None
        try:
            if text is not None:
                ids = self._edited(text)
                after = follow_edit(self._ids, prefix_len, ids)
                prefix_len, moved_from = after, None if after == prefix_len else prefix_len
        except ValueError as error:
            # of what the vocabulary proposes, the last sentence is for people who write Python
            problem, text = f"The {error}".partition(" Use words that it knows")[0], None
        try:
            self._show(ids, self.text if text is None else text, prefix_len, request=request, moved_from=moved_from)
        except ValueError as error:
            problem = f"The {error}"
            self.set_trait("computed", {**self.computed, "request": request})
        self.set_trait("problem", problem)

    # -- keeping the state whole

    @contextmanager
    def _unsettled(self):
        before, self._settled = self._settled, False
        try:
            yield
        finally:
            self._settled = before

    @t.validate("text", "prefix_len", "layer", "head", "selected")
    def _check(self, proposal):
        name, value, config = proposal.trait.name, proposal.value, self._model.config
        if not self._settled:
            return value
        with refused_in_words():
            if name == "text":
                self._edited(value)
            elif name == "prefix_len":
                check_number(name, value, 0, len(self._ids), "the number of tokens")
            elif name == "layer":
                check_number(name, value, 1, config.layers, "the model's layers")
            elif name == "head" and value is not None:
                check_number(name, value, 1, config.heads, "the model's heads")
            elif name == "selected":
                check_selected(value, len(self._ids))
        return value

    @t.observe("text")
    def _text_set(self, change):
        if self._settled:
            ids = self._edited(change.new)
            after = follow_edit(self._ids, self.prefix_len, ids)
            self._show(ids, change.new, after, moved_from=None if after == self.prefix_len else self.prefix_len)

    @t.observe("prefix_len")
    def _boundary_set(self, change):
        if self._settled:
            self._show(self._ids, self.text, change.new)


def follow_edit(old: list, boundary: int, new: list) -> int:
    """Return the boundary after an edit: between the same two tokens where they still are."""
    shorter = min(len(old), len(new))
    head = next((n for n in range(shorter) if old[n] != new[n]), shorter)
    tail = next((n for n in range(shorter - head) if old[-1 - n] != new[-1 - n]), shorter - head)
    if boundary <= head:
        return boundary
    if tail and boundary >= len(old) - tail:
        return boundary + len(new) - len(old)
    return min(boundary, len(new))


def _check_model(model, vocabulary) -> None:
    if not isinstance(model, PrefixLM):
        raise TypeError(f"model must be a PrefixLM, got {type(model).__name__}")
    if not isinstance(vocabulary, Vocabulary):
        raise TypeError(f"vocabulary must be a Vocabulary, got {type(vocabulary).__name__}")
    if len(vocabulary) != model.config.vocab_size:
        raise ValueError(
            f"vocabulary must be the model's own: it has {len(vocabulary)} tokens, and the model's vocab_size is "
            f"{model.config.vocab_size}"
        )
