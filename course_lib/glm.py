"""Autoregressive blank infilling, GLM's objective: spans are cut out of a text, and written again behind it.

    text     x1 x2 x3 x4 x5 x6        spans (2, 3) and (4, 6), the second one first

    Part A   x1 x2 M  x4 M            the text, one MASK for each span: everyone sees everyone
    Part B   S x5 x6  S x3            each span behind a START: each sees Part A, and Part B up to itself

    tokens           x1 x2 M  x4 M  | S  x5 x6 | S  x3
    targets          x1 x2 M  x4 M  | x5 x6 E  | x3 E       E is END
    loss_mask        0  0  0  0  0  | 1  1  1  | 1  1
    positions        0  1  2  3  4  | 4  4  4  | 2  2       in Part A; a span stands where its MASK stands
    block_positions  0  0  0  0  0  | 1  2  3  | 1  2       within the span, START included
    context_len      5

So GLM's mask is the ordinary prefix mask, `prefix_mask(context_len, T)`: all that is new lies in the layout. Positions
tell where a span belongs and not how long it is: only END does.

Source: Du et al. 2022 (GLM), section 2.1 and figure 2; the numbers are those of its code (`make_block_data`), where the
block positions begin with START.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from ._check import short, whole_number, whole_numbers
from .span_corruption import one_text, share

__all__ = [
    "BlankInfilling",
    "blank_infilling",
    "collate_blanks",
    "glm_130b",
    "sample_document_span",
    "sample_sentences",
    "sample_spans",
]

_TRIES = 100  # draws of span lengths before a text is called too short for them
MOST_MEAN = 1_000_000  # of the length of a span; far larger ones overflow when they are drawn


class BlankInfilling(NamedTuple):
    """A text as GLM reads it, T tokens, or a batch of B of them.

    tokens           int64 (T,), or (B, T): Part A, then Part B
    targets          the same shape: what row i should predict in Part B; in Part A, the token itself
    loss_mask        bool, the same shape: True in Part B
    positions        int64, the same shape: where in Part A
    block_positions  int64, the same shape: where in the span, 1 at START; 0 in Part A
    context_len      int, or int64 (B,): the length of Part A, which is the prefix length
    lengths          None, or int64 (B,): example b has so many tokens, then padding
    """

    tokens: Tensor
    targets: Tensor
    loss_mask: Tensor
    positions: Tensor
    block_positions: Tensor
    context_len: int | Tensor
    lengths: Tensor | None = None

    def arguments(self) -> dict:
        """Return the arguments of `PrefixLM.forward`, for a batch; `training.Run` takes them too."""
        arguments = self._asdict()
        return {"prefix_len": arguments.pop("context_len"), **arguments}

    def to(self, device) -> "BlankInfilling":
        """Return the same example with its tensors on a device."""
        return self._make(one.to(device) if isinstance(one, Tensor) else one for one in self)


def blank_infilling(tokens, spans, *, mask_id: int, start_id: int, end_id: int, order=None) -> BlankInfilling:
    """Lay out a text with these spans blanked, as above.

    tokens   ids, a list or an integer tensor (L,), L >= 1.
    spans    (start, end) pairs, half open, in any order; none empty, any two at least one token apart. None at all is
             legal, and leaves nothing to learn; (0, L) is the whole text, and leaves one MASK to read.
    order    in which order Part B writes them: indexes into the spans sorted by start. None writes them as they stand
             in the text; GLM shuffles them (`torch.randperm(len(spans))`), so that each learns to see any others.
    """
    ids = one_text(tokens, 1, "to read")
    spans = _sorted_spans(spans, len(ids))
    mask, start, end = (
        ids.new_tensor([whole_number(name, value)])
        for name, value in (("mask_id", mask_id), ("start_id", start_id), ("end_id", end_id))
    )
    order = list(range(len(spans))) if order is None else whole_numbers("order", order)
    if sorted(order) != list(range(len(spans))):
        raise ValueError(
            f"order must name each of the {len(spans)} spans once, 0..{len(spans) - 1}, got {short(order)}"
        )

    context, places, end_before = [], [], 0  # places: where each span's MASK stands in Part A
    for first, last in spans:
        context += [ids[end_before:first], mask]
        places.append(sum(map(len, context)) - 1)
        end_before = last
    context = torch.cat([*context, ids[end_before:]])

    parts = [(context, context, torch.arange(len(context)), torch.zeros(len(context), dtype=torch.int64))]
    for i in order:
        span = ids[slice(*spans[i])]
        inputs, targets = torch.cat([start, span]), torch.cat([span, end])
        parts.append((inputs, targets, torch.full_like(inputs, places[i]), torch.arange(1, len(inputs) + 1)))
    inputs, targets, positions, block_positions = (torch.cat(one) for one in zip(*parts, strict=True))
    loss_mask = torch.arange(len(inputs)) >= len(context)
    return BlankInfilling(inputs, targets, loss_mask, positions, block_positions, len(context))


def _sorted_spans(spans, length: int) -> list[tuple[int, int]]:
    """Return spans in the order of the text, checked."""
    checked = []
    for i, span in enumerate(spans):
        pair = tuple(whole_numbers(f"spans[{i}]", list(span) if isinstance(span, tuple) else span))
        if len(pair) != 2 or not pair[0] < pair[1] <= length:
            raise ValueError(
                f"spans must be (start, end) with 0 <= start < end <= {length}, the length of the text; "
                f"got {short(pair)} as spans[{i}]"
            )
        checked.append(pair)
    checked.sort()
    for one, other in pairwise(checked):
        if other[0] <= one[1]:
            how = "touch" if other[0] == one[1] else "overlap"
            raise ValueError(f"spans must lie at least one token apart, but {one} and {other} {how}")
    return checked


def sample_spans(
    length: int, *, mask_ratio: float = 0.15, mean_length: float = 3.0, generator=None
) -> list[tuple[int, int]]:
    """Draw the spans that GLM blanks in a text of `length` tokens: (start, end), half open, in order, a token apart.

    Lengths are drawn from a Poisson distribution of mean `mean_length`, 0 left out, until they cover at least
    mask_ratio of the text. (Leaving out 0 raises their mean to mean_length / (1 - exp(-mean_length)): 3.157 for 3.)
    Then they are laid down at random, every way to do so being as likely. Lengths that do not fit are drawn anew.

    Source: Du et al. 2022 (GLM), section 2.1; its code keeps the spans one token apart, and leaves 0 out.
    """
    length = whole_number("length", length, low=1)
    ratio = share("mask_ratio", mask_ratio)
    if isinstance(mean_length, bool) or not isinstance(mean_length, (int, float)) or not 0 < mean_length < math.inf:
        raise ValueError(f"mean_length must be a number above 0, got {short(mean_length)}")
    if mean_length > MOST_MEAN:
        raise ValueError(f"mean_length must be at most {MOST_MEAN}, got {short(mean_length)}")
    for _ in range(_TRIES):
        lengths = []
        while sum(lengths) < ratio * length:
            lengths.append(_poisson(mean_length, generator))
        if sum(lengths) + len(lengths) - 1 <= length:
            return _laid_down(lengths, length, generator)
    raise ValueError(
        f"length = {length} is too short: spans of about {mean_length:g} tokens, one token apart, that cover "
        f"{ratio:.0%} of it do not fit; take a longer text, or lower mask_ratio or mean_length"
    )


def _poisson(mean: float, generator) -> int:
    """Draw from a Poisson distribution without its 0."""
    while True:
        if drawn := int(torch.poisson(torch.tensor(float(mean)), generator=generator)):
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
    length = whole_number("length", length, low=1)
    if not all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in (low, high)):
        raise TypeError(f"low and high must be numbers, got {short(low)} and {short(high)}")
    if not 0 <= low <= high <= 1 or high == 0:
        raise ValueError(
            f"low and high must be shares with 0 <= low <= high <= 1 and high > 0, got {short(low)} and {high}"
        )
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
    pairs = [tuple(whole_numbers(f"sentences[{i}]", list(one))) for i, one in enumerate(sentences)]
    ends = [0, *(pair[-1] for pair in pairs)]
    for i, pair in enumerate(pairs):
        if len(pair) != 2 or not ends[i] <= pair[0] < pair[1]:
            raise ValueError(
                f"sentences must be (start, end) in order, none empty, got {short(pair)} as sentences[{i}]"
            )
    ratio, total = share("mask_ratio", mask_ratio), sum(end - start for start, end in pairs)
    chosen, covered = set(), 0
    for i in torch.randperm(len(pairs), generator=generator).tolist():
        if covered >= ratio * total:
            break
        if not {i - 1, i + 1} & chosen:
            chosen.add(i)
            covered += pairs[i][1] - pairs[i][0]
    if not chosen or covered < ratio * total:
        raise ValueError(
            f"sentences are {len(pairs)}, too few: no two neighbours may be chosen, and so at most {covered} of their "
            f"{total} tokens were, under {ratio:.0%}; take more sentences, or lower mask_ratio"
        )
    return [pairs[i] for i in sorted(chosen)]


def glm_130b(ids, vocabulary, *, kind: str | None = None, generator=None) -> BlankInfilling:
    """Lay out a text as GLM-130B was trained: short blanks, marked MASK, or one long one at the end, marked GMASK.

        "short"  `sample_spans`, shuffled: reading               30 % of the texts
        "long"   the end, of any length from 1 token: writing    70 %

    kind None draws it. In a text too short for short blanks, that is a ValueError.

    Source: Zeng et al. 2022 (GLM-130B), section 2.2.
    """
    if kind is None:
        kind = "short" if float(torch.rand((), generator=generator)) < 0.3 else "long"
    if kind not in ("short", "long"):
        raise ValueError(f'kind must be "short" or "long", got {short(kind)}')
    length = len(one_text(ids, 1, "to read"))
    ends = {"start_id": vocabulary.START, "end_id": vocabulary.END}
    if kind == "long":
        spans = sample_document_span(length, low=0.0, generator=generator)
        return blank_infilling(ids, spans, mask_id=vocabulary.GMASK, **ends)
    spans = sample_spans(length, generator=generator)
    order = torch.randperm(len(spans), generator=generator)
    return blank_infilling(ids, spans, mask_id=vocabulary.MASK, order=order, **ends)


def collate_blanks(examples, pad_id: int) -> BlankInfilling:
    """Lay examples side by side as a batch, with padding behind the shorter ones, where no loss counts.

    examples: a list of B BlankInfillings of one text each, at least one. The mask of the batch is
    `prefix_mask(context_len, T)` with the padding closed: `Visibility(context_len, lengths)`.
    """
    examples, pad_id = list(examples), whole_number("pad_id", pad_id)
    if not examples or not all(isinstance(one, BlankInfilling) and one.tokens.dim() == 1 for one in examples):
        raise ValueError("examples must be a list of BlankInfillings of one text each, and hold at least one")
    fillers = {"tokens": pad_id, "targets": pad_id, "loss_mask": False, "positions": 0, "block_positions": 0}
    rows = {
        name: torch.nn.utils.rnn.pad_sequence(
            [getattr(one, name) for one in examples], batch_first=True, padding_value=filler
        )
        for name, filler in fillers.items()
    }
    context_len = torch.tensor([one.context_len for one in examples])
    return BlankInfilling(**rows, context_len=context_len, lengths=torch.tensor([len(one.tokens) for one in examples]))
