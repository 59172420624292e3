"""Filling blanks with a model that was trained on blank infilling (`glm`): one blank after the other, word by word.

filling = infill(model, vocabulary, "The ___ is lost. ___ climbs the stairs.", order=[1, 0])
for step in filling:                # each step is a token more, as soon as there is one
    print(filling.text)             # the text as it is by then
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ._check import short, shown, whole_number, whole_numbers
from .cache import KVCache
from .generation import check_sampling, evaluating, next_token_probs
from .masks import Visibility
from .model import PrefixLM
from .state_cache import StateCache
from .vocabulary import Vocabulary, join_words

BLANK = "___"


class BlankStep(NamedTuple):
    """One token more: in which blank, its id (END closes the blank), and what it was drawn from, (V,)."""

    blank: int
    id: int
    probs: Tensor


class Filling:
    """A text on its way to having no blanks; `infill` makes it. Iterate over it to fill, once.

    text     the text so far, each blank that is still empty as ___
    answers  what was written in each blank so far, a list of ids a blank, without END
    closed   for each blank, whether the model itself ended it, and not max_tokens
    """

    def __init__(self, vocabulary: Vocabulary, parts: list[list[int]], steps: Iterator[BlankStep]):
        self._vocabulary, self._parts, self._steps = vocabulary, parts, steps
        self.answers: list[list[int]] = [[] for _ in parts[1:]]
        self.closed = [False] * len(self.answers)

    def __iter__(self) -> Iterator[BlankStep]:
        return self

    def __next__(self) -> BlankStep:
        step = next(self._steps)
        if step.id == self._vocabulary.END:
            self.closed[step.blank] = True
        else:
            self.answers[step.blank].append(step.id)
        return step

    def fill(self) -> str:
        """Fill what is still to be filled, and return the text."""
        for _ in self:
            pass
        return self.text

    @property
    def text(self) -> str:
        """The text so far, each blank that is still empty as ___."""
        words = [self._vocabulary.token(id) for id in self._parts[0]]
        for answer, closed, part in zip(self.answers, self.closed, self._parts[1:], strict=True):
            words += [self._vocabulary.token(id) for id in answer] if answer or closed else [BLANK]
            words += [self._vocabulary.token(id) for id in part]
        return join_words(words)


def infill(
    model: PrefixLM,
    vocabulary: Vocabulary,
    text: str,
    *,
    order=None,
    mask_id: int | None = None,
    max_tokens: int = 16,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
) -> Filling:
    """Return the Filling of a text in which each ___ (three underscores or more) is a blank.

    model       a PrefixLM with block positions (positions="glm" or "glm_rotary"), trained on texts between BOS and EOS.
    order       in which order the blanks are filled, each number of 0..blanks - 1 once; as in the text unless given.
                A blank that is filled later sees those that were filled before.
    mask_id     what stands for a blank, MASK unless given; GMASK asks for a long one.
    max_tokens  the most words in a blank; one that is not closed by then stays so.
    temperature, top_k, top_p, seed   as in `PrefixLM.generate`; temperature 0 always takes the likeliest token.

    Of the special tokens none but END is ever written into a blank.

    All is checked at once. ValueError for a text without a blank, or a vocabulary of another size than the model's;
    UnknownWordsError for words that are not known.
    """
    if not isinstance(model, PrefixLM):
        raise TypeError(f"model must be a PrefixLM, got {shown(model)}")
    model.check_vocabulary(vocabulary)
    if not model.config.has_blocks:
        raise ValueError(f"model must have block positions, but its positions are {model.config.positions!r}")
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {shown(text)}")
    pieces = re.split(r"(?<!\w)_{3,}(?!\w)", text)
    if len(pieces) < 2:
        raise ValueError(
            f"text must have at least one blank, {BLANK}, got {short(text)}: a blank is three underscores or more, "
            "with no letter, digit or underscore beside them"
        )
    parts = [vocabulary.encode(piece) for piece in pieces]
    for i, between in enumerate(parts[1:-1]):
        if not between:  # `blank_infilling` never lays out two marks side by side: no model has seen them
            raise ValueError(
                f"text must have a word between any two blanks, but blanks {i} and {i + 1} touch; "
                f"write one {BLANK} for both"
            )
    mask_id = vocabulary.MASK if mask_id is None else whole_number("mask_id", mask_id, high=len(vocabulary) - 1)
    blanks = len(parts) - 1
    order = list(range(blanks)) if order is None else whole_numbers("order", order)
    if sorted(order) != list(range(blanks)):
        raise ValueError(f"order must name each of the {blanks} blanks once, 0..{blanks - 1}, got {short(order)}")
    max_tokens = whole_number("max_tokens", max_tokens, low=1)
    check_sampling(temperature, top_k, top_p, model.config.vocab_size)
    context_len = sum(map(len, parts)) + blanks + 2
    need = context_len + blanks * (max_tokens + 1)
    if need > model.config.max_len:
        raise ValueError(
            f"text and answers may take {need} tokens, more than max_len = {model.config.max_len}: {context_len} of "
            f"text, and {max_tokens} words and a START in each of {blanks} blanks; shorten the text or lower max_tokens"
        )
    context, places = [vocabulary.BOS, *parts[0]], []
    for part in parts[1:]:
        places.append(len(context))
        context += [mask_id, *part]
    context.append(vocabulary.EOS)
    device = model.embedding.weight.device
    rng = None if seed is None else torch.Generator(device).manual_seed(whole_number("seed", seed))
    choose = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    banned = torch.arange(len(vocabulary), device=device) < vocabulary.first_word
    banned[vocabulary.END] = False

    def steps() -> Iterator[BlankStep]:
        cache = KVCache(model, 1, capacity=need) if model.config.attention == "softmax" else StateCache(model, 1)
        seen = Visibility(len(context))

        def read(ids: list[int], positions: list[int], block_positions: list[int]) -> None:
            row, at, within = (torch.tensor([one], device=device) for one in (ids, positions, block_positions))
            with evaluating(model):
                model.hidden(row, seen, positions=at, block_positions=within, cache=cache)

        read(context, list(range(len(context))), [0] * len(context))
        for blank in order:
            token = vocabulary.START
            for within in range(1, max_tokens + 2):
                read([token], [places[blank]], [within])
                if within > max_tokens:
                    break  # the blank is full; its last word was read for the blanks that come later
                probs = next_token_probs(cache.next_logits().masked_fill(banned, -torch.inf), **choose)
                token = int(probs.argmax() if temperature == 0 else torch.multinomial(probs, 1, generator=rng))
                yield BlankStep(blank, token, probs[0])
                if token == vocabulary.END:
                    break

    return Filling(vocabulary, parts, steps())
