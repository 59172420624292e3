"""Which spans of a text become blanks: GLM's three objectives, by which one layout (`glm`) is for reading or writing.

    sample_spans            many short blanks, anywhere: reading
    sample_sentences        whole sentences
    sample_document_span    one long blank, at the end: writing

Each returns a list of (start, end), half open, in order, at least a token apart, as `glm.blank_infilling` takes them.
What is random comes from a torch.Generator on the CPU, or from torch's own if none is given. TypeError or ValueError,
naming the argument, for what is no text length, share or span.

Source: Du et al. 2022 (GLM), sections 2.1 and 2.2.
"""

import math

import torch

from ._check import check_flag, check_generator, pairs, real_number, short, whole_number
from .span_corruption import MOST_TOKENS, share

__all__ = ["sample_document_span", "sample_sentences", "sample_spans"]

_TRIES = 100  # draws of span lengths before a text is called too short for them
_MOST_DRAWS = 2**20  # of single lengths, in all tries: in a long text one try tells as much as a hundred
LEAST_MEAN, MOST_MEAN = 0.1, 1_000_000  # of the length of a span; a 0 is drawn anew, and far larger ones overflow


def sample_spans(
    length: int, *, mask_ratio: float = 0.15, mean_length: float = 3.0, generator=None
) -> list[tuple[int, int]]:
    """Draw the spans that GLM blanks in a text of `length` tokens: (start, end), half open, in order, a token apart.

    Lengths are drawn from a Poisson distribution of mean `mean_length`, 0 left out, until they cover at least
    mask_ratio of the text. (Leaving out 0 raises their mean to mean_length / (1 - exp(-mean_length)): 3.157 for 3.)
    Then they are laid down at random, every way to do so being as likely. Lengths that do not fit are drawn anew; if
    they never do, that is a ValueError.

    length: 1 to 2**20. mask_ratio: above 0 and below 1. mean_length: 0.1 to 1,000,000.

    Source: Du et al. 2022 (GLM), section 2.1; its code keeps the spans one token apart, and leaves 0 out.
    """
    length = whole_number("length", length, low=1, high=MOST_TOKENS)
    ratio = share("mask_ratio", mask_ratio)
    mean_length = real_number("mean_length", mean_length, low=LEAST_MEAN, high=MOST_MEAN)
    check_generator(generator)
    mean, drawn = torch.tensor(mean_length), 0
    for _ in range(_TRIES):
        lengths, covered = [], 0
        while covered < ratio * length:
            lengths.append(_poisson(mean, generator))
            covered += lengths[-1]
        if covered + len(lengths) - 1 <= length:
            return _laid_down(lengths, length, generator)
        drawn += len(lengths)
        if drawn > _MOST_DRAWS:
            break
    raise ValueError(
        f"length = {length} is too short: spans of about {mean_length:g} tokens, one token apart, that cover "
        f"{ratio:.0%} of it do not fit; take a longer text, or lower mask_ratio or mean_length"
    )


def _poisson(mean: torch.Tensor, generator) -> int:
    """Draw from a Poisson distribution without its 0."""
    while True:
        if drawn := int(torch.poisson(mean, generator=generator)):
            return drawn


def _laid_down(lengths: list[int], length: int, generator) -> list[tuple[int, int]]:
    """Lay spans of these lengths into a text, in this order, with at least a token between any two.

    Each begins in front of another one of the tokens that stay, or behind the last of them.
    """
    kept = length - sum(lengths)
    before = torch.randperm(kept + 1, generator=generator)[: len(lengths)].sort().values.tolist()
    spans, masked = [], 0
    for stay, span in zip(before, lengths, strict=True):
        spans.append((stay + masked, stay + masked + span))
        masked += span
    return spans


def sample_document_span(
    length: int, *, low: float = 0.5, high: float = 1.0, at_end: bool = True, generator=None
) -> list[tuple[int, int]]:
    """Draw the one long span of GLM's document objective: writing. Its length is uniform on low..high of the text.

    at_end   the span ends with the text, as in GLM's code; else it lies anywhere, each place being as likely.

    Source: Du et al. 2022 (GLM), section 2.2, "Document-level"; 50 % to 100 %.
    """
    length = whole_number("length", length, low=1, high=MOST_TOKENS)
    low = real_number("low", low, low=0, high=1)
    high = real_number("high", high, low=0, above=True, high=1)
    if low > high:
        raise ValueError(f"low must be at most high = {high}, got {low}")
    check_flag("at_end", at_end)
    check_generator(generator)
    shortest, longest = max(math.ceil(low * length), 1), max(math.floor(high * length), 1)
    span = int(torch.randint(shortest, max(longest, shortest) + 1, (), generator=generator))
    start = length - span if at_end else int(torch.randint(0, length - span + 1, (), generator=generator))
    return [(start, start + span)]


def sample_sentences(sentences, *, mask_ratio: float = 0.15, generator=None) -> list[tuple[int, int]]:
    """Draw whole sentences to blank, until they cover mask_ratio of the text: GLM's sentence objective.

    sentences: (start, end) of each sentence, half open, in order, none empty. Chosen ones are never neighbours, since
    spans may not touch. If no further sentence may be chosen before the ratio is reached, that is a ValueError.

    Source: Du et al. 2022 (GLM), section 2.2, "Sentence-level"; 15 %.
    """
    spans, ratio = pairs("sentences", sentences), share("mask_ratio", mask_ratio)
    check_generator(generator)
    ends = [0, *(end for _, end in spans)]
    for i, (start, end) in enumerate(spans):
        if not ends[i] <= start < end:
            raise ValueError(
                f"sentences must be (start, end) in order, none empty, got {short((start, end))} as sentences[{i}]"
            )
    total = sum(end - start for start, end in spans)
    chosen, covered = set(), 0
    for i in torch.randperm(len(spans), generator=generator).tolist():
        if covered >= ratio * total:
            break
        if not {i - 1, i + 1} & chosen:
            chosen.add(i)
            covered += spans[i][1] - spans[i][0]
    if not chosen or covered < ratio * total:
        raise ValueError(
            f"sentences are {len(spans)}, too few: no two neighbours may be chosen, and so at most {covered} of their "
            f"{total} tokens were, under {ratio:.0%}; take more sentences, or lower mask_ratio"
        )
    return [spans[i] for i in sorted(chosen)]
