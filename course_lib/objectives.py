"""Training objectives: ids in, an example out, which says what a model reads, what it should predict, and what counts.

One stack can be trained in many ways. Each function here turns a text of L ids, a list or an integer tensor (L,), into
an `Example` of T positions: T = L - 1 where each token predicts the next, T = L where each predicts itself (masked_lm).
Nothing is shifted later on: the logits at position i are scored against targets[i] where loss_mask[i] is True. Mask and
objective are separate choices; `prefix_len` is the one that the objective was published with.

What is random comes from a torch.Generator on the CPU, or from torch's own if none is given.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ._check import (
    check_generator,
    is_whole_number,
    length_tensor,
    one_of,
    short,
    shown,
    whole_number,
    whole_numbers,
)
from .costs import loss_tokens
from .packing import pad_rows
from .span_corruption import corrupt_spans, noise_spans, one_text, share
from .vocabulary import check_vocabulary

__all__ = [
    "Example",
    "causal_lm",
    "collate",
    "corrupt_spans",
    "fill_in_the_middle",
    "masked_lm",
    "noise_spans",
    "prefix_lm",
    "prefix_lm_batch",
    "t5_span_corruption",
    "ul2",
]


class Example(NamedTuple):
    """One training example of T positions, or a batch of them.

    inputs      int64 (T,), or (B, T): what the model reads
    targets     the same shape: what position i should predict
    loss_mask   bool, the same shape: whether position i counts
    prefix_len  int 0..T, or int64 (B,): the first so many inputs see each other; 0 is causal, T bidirectional
    lengths     None, or int64 (B,): example b has so many positions, then padding, which no loss counts
    """

    inputs: Tensor
    targets: Tensor
    loss_mask: Tensor
    prefix_len: int | Tensor
    lengths: Tensor | None = None

    def arguments(self) -> dict:
        """Return the arguments of `PrefixLM.forward`, for a batch."""
        arguments = self._asdict()
        return {"tokens": arguments.pop("inputs"), **arguments}

    def to(self, device) -> "Example":
        """Return the same example with its tensors on a device."""
        return self._make(one.to(device) if isinstance(one, Tensor) else one for one in self)


def causal_lm(ids) -> Example:
    """Predict every token from those before it: all of the text carries loss.

        inputs  A B C D        targets  B C D E        loss  1 1 1 1        prefix_len 0

    ids: at least 2.
    """
    ids = one_text(ids, 2, "one to read and one to predict")
    return _next_token(ids, 0)


def prefix_lm(ids, prefix_len: int | None = None, *, start_id: int | None = None, generator=None) -> Example:
    """Read the first part of a text, predict the rest of it; only the rest carries loss.

    prefix_len P, 0..L-1, is how many tokens of the text are prefix; None draws it evenly from 1..L-1, as T5 does: each
    side has at least one token. L - P targets carry loss, the first of which the last prefix token predicts.

        P = 2   inputs  A B C D        targets  B C D E        loss  0 1 1 1        prefix_len 2

    P = 0 is `causal_lm`, and nobody predicts the first token. With a `start_id`, as in T5, the inputs are the text
    shifted right behind a start token S, which is prefix too. That is the off-by-one in T5's code: a split at 2 leaves
    the loss to positions >= 2, but opens the mask for positions <= 2, so the prefix has 3 of them:

        P = 2   inputs  S A B C D      targets  A B C D E      loss  0 0 1 1 1      prefix_len 3

    Both count the same tokens, C D E, and in both the loss begins at position prefix_len - 1.

    Source: Raffel et al. 2020 (T5), section 3.2.1, "prefix LM"; the code is `pack_prefix_lm_decoder_only` of its
    preprocessors.
    """
    ids = one_text(ids, 2, "one for the prefix and one to predict")
    check_generator(generator)
    if prefix_len is None:
        prefix_len = _draw(1, len(ids) - 1, generator)
    prefix_len = whole_number("prefix_len", prefix_len, high=len(ids) - 1, high_name="number of ids - 1")
    if start_id is None:
        return _next_token(ids, prefix_len)
    return _next_token(torch.cat([torch.tensor([whole_number("start_id", start_id)]), ids]), prefix_len + 1)


def prefix_lm_batch(tokens, prefix_len=None, *, lengths=None, generator=None) -> Example:
    """Make a prefix LM batch of texts side by side: `prefix_lm` of each row, with the same P or with one each.

    tokens      int64 (B, L), padded behind each text with anything
    prefix_len  int, or a list or integer tensor (B,), each 0..lengths[b] - 1; None draws each evenly, as `prefix_lm`
    lengths     None (all are L long), or a list or integer tensor (B,): each 2..L

    Returns an Example of T = L - 1 positions, on the device of tokens; its lengths are one less than the texts'.
    """
    if not isinstance(tokens, Tensor) or tokens.dim() != 2 or tokens.dtype != torch.int64:
        raise TypeError(f"tokens must be an int64 tensor (B, L), got {shown(tokens)}")
    check_generator(generator)
    batch_size, total_len = tokens.shape
    if lengths is None:
        lengths = torch.full((batch_size,), total_len, device=tokens.device)
    lengths = length_tensor("lengths", lengths, high=total_len, high_name="L", device=tokens.device)
    _same_batch("lengths", lengths, batch_size)
    if batch_size == 0 or lengths.min() < 2:
        raise ValueError(f"tokens must hold texts of at least 2 tokens, got lengths {lengths.tolist()[:10]}")
    if prefix_len is None:
        prefix = torch.tensor([_draw(1, length - 1, generator) for length in lengths.tolist()], device=tokens.device)
    elif is_whole_number(prefix_len):
        prefix = torch.full((batch_size,), whole_number("prefix_len", prefix_len), device=tokens.device)
    else:
        prefix = length_tensor("prefix_len", prefix_len, device=tokens.device, or_one=True)
        _same_batch("prefix_len", prefix, batch_size)
    late = (prefix >= lengths).nonzero()
    if len(late):
        b = int(late[0])
        raise ValueError(
            f"prefix_len must leave a token to predict: example {b} has {int(lengths[b])} tokens, and a prefix of "
            f"{int(prefix[b])}; allowed are 0 to {int(lengths[b]) - 1}"
        )
    position = torch.arange(total_len - 1, device=tokens.device)
    counts = (position >= prefix[:, None] - 1) & (position < lengths[:, None] - 1)
    return Example(tokens[:, :-1], tokens[:, 1:], counts, prefix, lengths - 1)


def masked_lm(ids, vocabulary, *, rate: float = 0.15, generator=None) -> Example:
    """Hide some tokens and guess them, each from both sides and all at once. Only the chosen tokens carry loss.

    15 % of the words are chosen, rounded (half up) and at least one. Of these about 80 % become MASK, 10 % a word drawn
    from the vocabulary, 10 % stay as they are, so that a model cannot trust what it reads. Special tokens are neither
    chosen nor drawn. Position i predicts token i itself, and prefix_len is T: everyone sees everyone.

        inputs  A # C D E        targets  A B C D E        loss  0 1 0 0 0        prefix_len 5

    Source: Devlin et al. 2019 (BERT), section 3.1, "Task #1: Masked LM".
    """
    ids = one_text(ids, 1, "to hide")
    rate = share("rate", rate)
    check_vocabulary(vocabulary)
    check_generator(generator)
    words = (ids >= vocabulary.first_word).nonzero()[:, 0]
    if not len(words):
        raise ValueError("ids must hold at least one word, got special tokens only: there is nothing to hide")
    # 15 % is counted in whole numbers, as course_lib.costs counts it: 0.15 has no exact binary form
    number = loss_tokens("encoder", 0, len(words)) if rate == 0.15 else max(int(rate * len(words) + 0.5), 1)
    chosen = words[torch.randperm(len(words), generator=generator)[:number]]
    fate = torch.rand(number, generator=generator)
    drawn = torch.randint(vocabulary.first_word, len(vocabulary), (number,), generator=generator)
    inputs = ids.clone()
    inputs[chosen] = torch.where(fate < 0.8, vocabulary.MASK, torch.where(fate < 0.9, drawn, ids[chosen]))
    loss_mask = torch.zeros(len(ids), dtype=torch.bool)
    loss_mask[chosen] = True
    return Example(inputs, ids, loss_mask, len(ids))


def t5_span_corruption(
    ids, vocabulary, *, noise_density: float = 0.15, mean_span: float = 3.0, generator=None
) -> Example:
    """Cut spans out of a text and write them down: T5's objective, as one row for a prefix LM.

    The prefix is the text with a sentinel for each span; then come the targets, sentinels and spans in turn, which all
    carry loss. The last token of the prefix predicts the first sentinel. The pieces, before they are laid end to end,
    are `corrupt_spans(ids, noise_spans(len(ids)), vocabulary)`; an encoder-decoder would read one and write the other.

    ids: at least 2. Source: Raffel et al. 2020 (T5), sections 3.1.4 and 3.3.4; as one row, section 3.2.1.
    """
    ids = one_text(ids, 2, "one to keep and one to cut out")
    spans = noise_spans(len(ids), noise_density=noise_density, mean_span=mean_span, generator=generator)
    inputs, targets = corrupt_spans(ids, spans, vocabulary)
    return _next_token(torch.cat([inputs, targets]), len(inputs))


def fill_in_the_middle(
    ids, vocabulary, *, form: str | None = None, cuts: tuple[int, int] | None = None, generator=None
) -> Example:
    """Move the middle of a text to its end, and predict all of it from left to right.

        "psm"   PRE prefix SUF suffix MID middle EOS
        "spm"   PRE SUF suffix MID prefix middle EOS      suffix first: it stays as it is while the prefix grows

    cuts (a, b), 0 <= a <= b <= L, are where the middle begins and ends; None draws both evenly and sorts them, so that
    a part may be empty. form None tosses a coin. The mask stays causal, prefix_len 0, and all three parts carry loss: a
    plain causal language model learns to look ahead from the order of its data alone. (The paper does this to half of
    the texts, and leaves the others in order: `causal_lm`.)

    Source: Bavarian et al. 2022 (FIM), section 3; "spm" is variant 2 of its appendix D. The paper cuts between
    characters; here the cuts lie between tokens, which are words.
    """
    ids = one_text(ids, 1, "to move")
    check_vocabulary(vocabulary)
    check_generator(generator)
    if cuts is None:
        cuts = sorted(_draw(0, len(ids), generator) for _ in range(2))
    cuts = whole_numbers("cuts", cuts, high=len(ids), high_name="number of ids")
    if len(cuts) != 2 or cuts[0] > cuts[1]:
        raise ValueError(
            f"cuts must be two numbers in order, where the middle begins and where it ends, got {short(cuts)}"
        )
    if form is None:
        form = ("psm", "spm")[_draw(0, 1, generator)]
    one_of("form", form, ("psm", "spm"))
    prefix, middle, suffix = ids[: cuts[0]], ids[cuts[0] : cuts[1]], ids[cuts[1] :]
    pre, suf, mid, eos = (
        ids.new_tensor([id]) for id in (vocabulary.PRE, vocabulary.SUF, vocabulary.MID, vocabulary.EOS)
    )
    if form == "psm":
        return _next_token(torch.cat([pre, prefix, suf, suffix, mid, middle, eos]), 0)
    return _next_token(torch.cat([pre, suf, suffix, mid, prefix, middle, eos]), 0)


def ul2(ids, vocabulary, *, mode: str | None = None, generator=None) -> Example:
    """Mix three denoisers, each announced to the model by a mode token in front, which is prefix too.

        "R"   NLU   regular: span corruption, 15 % in spans of about 3
        "S"   S2S   sequential: a prefix LM, split evenly at random
        "X"   NLG   extreme: span corruption, half the time 50 % in spans of about 3, else 15 % in spans of about 32

    mode None draws S for half of the texts, R and X for a quarter each. As T5's, all targets carry loss. In a text of
    fewer than about 200 tokens the spans of 32 are shorter, because 15 % of it is less than 32.

    ids: at least 2. Source: Tay et al. 2022 (UL2), section 3, for the three denoisers and the mode tokens; their
    settings and shares are those of Tay et al. 2022 (UL2R, "Transcending Scaling Laws"), with which PaLM became U-PaLM.
    """
    ids = one_text(ids, 2, "one to read and one to predict")
    check_vocabulary(vocabulary)
    check_generator(generator)
    if mode is None:
        mode = ("S", "S", "R", "X")[_draw(0, 3, generator)]
    one_of("mode", mode, ("R", "S", "X"))
    token = ids.new_tensor([{"R": vocabulary.NLU, "S": vocabulary.S2S, "X": vocabulary.NLG}[mode]])
    if mode == "S":
        return _next_token(torch.cat([token, ids]), 1 + _draw(1, len(ids) - 1, generator))
    extremes = ((0.5, 3.0), (0.15, 32.0))
    density, mean = (0.15, 3.0) if mode == "R" else extremes[_draw(0, 1, generator)]
    spans = noise_spans(len(ids), noise_density=density, mean_span=mean, generator=generator)
    inputs, targets = corrupt_spans(ids, spans, vocabulary)
    return _next_token(torch.cat([token, inputs, targets]), 1 + len(inputs))


def collate(examples, pad_id: int) -> Example:
    """Lay examples side by side as a batch, with padding behind the shorter ones, where no loss counts.

    examples: a list of B Examples of one text each, at least one. Returns an Example of (B, T), T the longest of them.
    """
    pad_id = whole_number("pad_id", pad_id)
    if (
        not isinstance(examples, (list, tuple))
        or not examples
        or not all(
            isinstance(one, Example) and isinstance(one.inputs, Tensor) and one.inputs.dim() == 1 for one in examples
        )
    ):
        raise ValueError(
            f"examples must be a list of Examples of one text each, and hold at least one, got {shown(examples)}"
        )
    inputs, targets, loss_mask = (
        pad_rows([one[i] for one in examples], filler) for i, filler in enumerate((pad_id, pad_id, False))
    )
    prefix_len = torch.tensor([one.prefix_len for one in examples])
    return Example(inputs, targets, loss_mask, prefix_len, torch.tensor([len(one.inputs) for one in examples]))


def _next_token(row: Tensor, prefix_len: int) -> Example:
    """Return the example in which each token predicts the next; the loss begins at the last token of the prefix."""
    loss_mask = torch.arange(len(row) - 1) >= prefix_len - 1
    return Example(row[:-1], row[1:], loss_mask, prefix_len)


def _draw(low: int, high: int, generator) -> int:
    """Return a whole number from low to high, both included, each as likely."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def _same_batch(name: str, value: Tensor, batch_size: int) -> None:
    if len(value) != batch_size:
        raise ValueError(f"{name} must have one number for each of the {batch_size} examples, got {len(value)}")
