"""One sentence under every objective: what is read, what is predicted, and who sees whom, row by row in plain text."""

import torch

from course_lib import blank_spans, glm, objectives
from course_lib._check import shown, whole_number
from course_lib.objectives import Example
from course_lib.vocabulary import Vocabulary, split_words

MOST_WORDS = 12  # that a line still fits a page
_SHORT = {"SENTINEL_": "", "MASK": "M", "START": "S", "END": "E"}


def objective_table(sentence: str, *, seed: int = 0) -> str:
    """Return a text table: each objective reads and predicts this sentence, with its own random choices.

    Two lines an objective: "reads", and below each token what it must predict, or a dot where no loss falls. P is the
    prefix length of its mask, T its rows. ValueError for a sentence of fewer than 4 or more than 12 words, or a
    negative seed.
    """
    if not isinstance(sentence, str):
        raise TypeError(f"sentence must be a str, got {shown(sentence)}")
    seed = whole_number("seed", seed)
    count = len(split_words(sentence))
    if not 4 <= count <= MOST_WORDS:
        raise ValueError(f"sentence must have 4 to {MOST_WORDS} words and marks, got {count}")
    vocabulary = Vocabulary.from_texts([sentence], sentinels=8)
    ids = vocabulary.encode(sentence)
    parts = []
    for name, example in _examples(ids, vocabulary, seed).items():
        rows = len(example.inputs)
        masked = "causal" if example.prefix_len == 0 else "all open" if example.prefix_len == rows else "prefix"
        loss = int(example.loss_mask.sum())
        parts.append(f"{name}: {masked} mask, P = {example.prefix_len} of {rows} rows, {loss} carry loss")
        parts += [f"  {line}" for line in _lines(example, vocabulary)]
    return "\n".join(parts)


def _examples(ids: list[int], vocabulary: Vocabulary, seed: int) -> dict[str, Example]:
    def rng() -> torch.Generator:
        return torch.Generator().manual_seed(seed)

    spans = blank_spans.sample_spans(len(ids), mask_ratio=0.3, mean_length=2, generator=rng())
    order = torch.randperm(len(spans), generator=rng()).tolist()
    marks = {"mask_id": vocabulary.MASK, "start_id": vocabulary.START, "end_id": vocabulary.END}
    blanks = glm.blank_infilling(ids, spans, order=order, **marks)
    return {
        "causal LM": objectives.causal_lm(ids),
        "prefix LM": objectives.prefix_lm(ids, generator=rng()),
        "masked LM (BERT)": objectives.masked_lm(ids, vocabulary, rate=0.3, generator=rng()),
        "span corruption (T5)": objectives.t5_span_corruption(
            ids, vocabulary, noise_density=0.3, mean_span=2.0, generator=rng()
        ),
        "fill-in-the-middle": objectives.fill_in_the_middle(ids, vocabulary, form="psm", generator=rng()),
        "UL2's X-denoiser": objectives.ul2(ids, vocabulary, mode="X", generator=rng()),
        "GLM": Example(blanks.tokens, blanks.targets, blanks.loss_mask, blanks.context_len),
    }


def _lines(example: Example, vocabulary: Vocabulary) -> tuple[str, str]:
    reads = [_word(vocabulary, id) for id in example.inputs.tolist()]
    predicts = [
        _word(vocabulary, id) if counts else "·"
        for id, counts in zip(example.targets.tolist(), example.loss_mask.tolist(), strict=True)
    ]
    widths = [max(map(len, pair)) for pair in zip(reads, predicts, strict=True)]
    return tuple(
        f"{name:9}" + " ".join(f"{word:{width}}" for word, width in zip(words, widths, strict=True)).rstrip()
        for name, words in (("reads", reads), ("predicts", predicts))
    )


def _word(vocabulary: Vocabulary, id: int) -> str:
    token = vocabulary.token(id)
    if not vocabulary.is_special(id):
        return token
    for long, short in _SHORT.items():
        token = token.replace(long, short)
    return token
