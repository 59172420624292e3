"""Spans cut out of a text, T5's way: which ones, and what is left of the text and of them."""

from typing import NamedTuple

import torch
from torch import Tensor

from ._check import check_generator, pairs, real_number, short, shown, whole_number, whole_numbers
from .vocabulary import check_vocabulary

MOST_TOKENS = 2**20  # of a text in which spans are drawn: each draw takes its time


class Corruption(NamedTuple):
    """A text with spans cut out, each an int64 tensor: what is left, with a sentinel for each span, and the answer."""

    inputs: Tensor
    targets: Tensor


def noise_spans(
    length: int, *, noise_density: float = 0.15, mean_span: float = 3.0, generator=None
) -> list[tuple[int, int]]:
    """Choose the spans that T5 cuts out of a text of `length` tokens: a list of (start, end), half open, in order.

    round(length * noise_density) tokens are noise, at least 1 and at most length - 1; they lie in
    round(noise / mean_span) spans, at least 1; .5 is rounded to the even number. Noise and the rest are each cut into
    so many pieces at random, every way to cut being as likely, and laid down in turn: rest, noise, rest, noise. So a
    text never begins with noise, always ends with it, and two spans never touch. ValueError where they do not fit.

    length: 2 to 2**20. noise_density: above 0 and below 1. mean_span: at least 1.

    Source: the function `random_spans_noise_mask` of T5's preprocessors; Raffel et al. 2020, section 3.3.4.
    """
    length = whole_number("length", length, low=2, high=MOST_TOKENS)
    noise_density = share("noise_density", noise_density)
    mean_span = real_number("mean_span", mean_span, low=1)
    check_generator(generator)
    noise = min(max(round(length * noise_density), 1), length - 1)
    spans = max(round(noise / mean_span), 1)
    if spans > length - noise:
        raise ValueError(
            f"noise_density = {noise_density} and mean_span = {mean_span} ask for {spans} spans of {noise} tokens in a "
            f"text of {length}, whose other {length - noise} tokens cannot keep them apart; lower noise_density, or "
            "raise mean_span"
        )
    rests, noises = (_cut(items, spans, generator) for items in (length - noise, noise))
    result, end = [], 0
    for rest, span in zip(rests, noises, strict=True):
        result.append((end + rest, end + rest + span))
        end += rest + span
    return result


def _cut(items: int, pieces: int, generator) -> list[int]:
    """Cut a row of items into non-empty pieces, every way to do so being as likely; return their lengths."""
    cuts = torch.randperm(items - 1, generator=generator)[: pieces - 1].sort().values + 1
    return torch.diff(cuts, prepend=cuts.new_zeros(1), append=cuts.new_full((1,), items)).tolist()


def corrupt_spans(ids, spans, vocabulary) -> Corruption:
    """Cut spans out of a text: a sentinel stands for each in the inputs, and before each in the targets.

    spans: a list of (start, end), half open, in order, none empty, at least one token apart; the vocabulary must have
    one sentinel more than there are spans, because the targets close with one.

        ids      Thank you for inviting me to your party last week .      spans (2, 4), (8, 9)
        inputs   Thank you <0> me to your party <1> week .
        targets  <0> for inviting <1> last <2>

    Source: Raffel et al. 2020 (T5), section 3.1.4 and figure 2. (The spans of T5's code always end with the text, so
    that nothing is left for the closing sentinel to stand for, and it does not write one. Here there always is one.)
    """
    ids, spans = one_text(ids, 1, "to cut from"), pairs("spans", spans)
    check_vocabulary(vocabulary)
    end_before = -1
    for i, span in enumerate(spans):
        if not end_before < span[0] < span[1] <= len(ids):
            raise ValueError(
                f"spans must be (start, end) in order, none empty, at least one token apart, within {len(ids)} tokens; "
                f"got {short(span)} as spans[{i}]"
            )
        end_before = span[1]
    if len(spans) >= vocabulary.sentinels:
        raise ValueError(
            f"spans are {len(spans)} and need {len(spans) + 1} sentinels, but the vocabulary has "
            f"{vocabulary.sentinels}: take a shorter text, or a Vocabulary with more sentinels"
        )
    sentinels = [ids.new_tensor([vocabulary.sentinel(n)]) for n in range(len(spans) + 1)]
    inputs, targets, end_before = [], [], 0
    for sentinel, (start, end) in zip(sentinels, spans, strict=False):
        inputs += [ids[end_before:start], sentinel]
        targets += [sentinel, ids[start:end]]
        end_before = end
    return Corruption(torch.cat([*inputs, ids[end_before:]]), torch.cat([*targets, sentinels[-1]]))


def one_text(ids, least: int, why: str, name: str = "ids") -> Tensor:
    """Return the ids of one text as an int64 tensor (L,) on the CPU, checked to have at least `least` of them."""
    if isinstance(ids, Tensor) and ids.dim() == 2:
        raise ValueError(f"{name} must be one text, (L,), got {shown(ids)}; take one row at a time")
    numbers = whole_numbers(name, ids)
    if len(numbers) < least:
        raise ValueError(f"{name} must be at least {least} token{'s' if least > 1 else ''} ({why}), got {len(numbers)}")
    return torch.tensor(numbers, dtype=torch.int64)


def share(name: str, value) -> float:
    """Return a share of the tokens, checked to lie strictly between 0 and 1."""
    return real_number(name, value, low=0, above=True, high=1, below=True)
