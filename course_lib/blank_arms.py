"""What is each part of GLM's blank infilling good for? Training runs on stories, each with one part left out.

    GLM                                   blanks shuffled, one MASK for all, position and block position
    blanks in the order of the text       not shuffled: a blank never sees one that stands behind it
    a mask of its own for each blank      SENTINEL_0, SENTINEL_1, ... in the order of the text, as T5 marks them
    no block positions                    block positions are all 0
    positions of the original text        a span's tokens stand where they stood, and so the gap tells its length

All begin with the same weights, and read the same texts with the same blanks. The paper has the first four (Du et al.
2022, table 6, on other tasks); the last is an error that is often made in telling of GLM.
"""

import torch

from ._check import mixed_seed, one_of, pairs, whole_number
from .arms import HELD_OUT, SIZES, TEXT, corpus, new_run
from .blank_spans import sample_spans
from .data import story_batch, story_vocabulary, text_batch
from .generation import evaluating
from .glm import BlankInfilling, blank_infilling, collate_blanks
from .span_corruption import one_text
from .training import Run
from .vocabulary import Vocabulary, check_vocabulary

BLANK_ARMS = (
    "GLM",
    "blanks in the order of the text",
    "a mask of its own for each blank",
    "no block positions",
    "positions of the original text",
)
BLANKS = SIZES | {"positions": "glm", "batch_size": 20, "steps": 400, "learning_rate": 1.5e-3}
GLM = BLANKS | {"positions": "glm_rotary", "steps": 240, "learning_rate": 3e-3}  # rotary learns more in half a minute
MASK_RATIO = 0.3  # of a text's words; GLM blanks 0.15, but trains for longer than half a minute
LONG_SHARE = 0.4  # of the texts of `glm_run` have the whole story as one blank


def lay_out(ids, spans, order, arm: str, vocabulary: Vocabulary) -> BlankInfilling:
    """Return a text with these blanks as an arm reads it; order as in `blank_infilling`. ValueError for no such arm."""
    one_of("arm", arm, BLANK_ARMS)
    check_vocabulary(vocabulary)
    ids, spans = one_text(ids, 1, "to read"), sorted(pairs("spans", spans))
    marks = {"mask_id": vocabulary.MASK, "start_id": vocabulary.START, "end_id": vocabulary.END}
    example = blank_infilling(ids, spans, order=order, **marks)
    tokens, positions, blocks = (one.clone() for one in (example.tokens, example.positions, example.block_positions))
    if arm == BLANK_ARMS[2]:
        masks = (tokens[: example.context_len] == vocabulary.MASK).nonzero()[:, 0]
        tokens[masks] = torch.tensor([vocabulary.sentinel(i) for i in range(len(masks))], dtype=tokens.dtype)
    elif arm == BLANK_ARMS[3]:
        blocks.zero_()
    elif arm == BLANK_ARMS[4]:
        starts = [start for start, _ in spans]
        kept = [i for i in range(len(ids)) if i in starts or not any(start <= i < end for start, end in spans)]
        written = [
            spans[i][0] + max(within - 1, 0)
            for i in (range(len(spans)) if order is None else order)
            for within in range(spans[i][1] - spans[i][0] + 1)
        ]
        positions = torch.tensor(kept + written)
    targets = torch.where(example.loss_mask, example.targets, tokens)
    return example._replace(tokens=tokens, targets=targets, positions=positions, block_positions=blocks)


def blank_arm_run(seed: int, arm: str, *, steps: int | None = None, device=None) -> Run:
    """Return a run, not begun, that trains a model to fill short blanks in stories, as one of BLANK_ARMS.

    seed: of the initial weights, the texts and the blanks. Evaluated, on held-out stories, with the blanks filled in
    the order of the text and in reverse: "loss", in nats a token, and "filled", the share of blanks of which every
    word and the END would be written right, if those before it were. device: where it trains, the CPU unless given.
    """
    vocabulary = story_vocabulary()
    held_out = _texts(vocabulary, 0, 0, HELD_OUT, "held_out")
    generator = torch.Generator().manual_seed(0)
    blanked = [(ids, _short_blanks(ids, generator)) for ids in held_out]

    def measure(model) -> dict[str, float]:
        values = {}
        for name, step in (("in order", 1), ("reversed", -1)):
            examples = [lay_out(ids, spans, list(range(len(spans)))[::step], arm, vocabulary) for ids, spans in blanked]
            values[f"loss {name}"], values[f"filled {name}"] = _filled(model, collate_blanks(examples, vocabulary.PAD))
        return values

    def batch(step: int) -> dict:
        texts = _texts(vocabulary, seed, step, BLANKS["batch_size"], "train")
        drawn = torch.Generator().manual_seed(mixed_seed(seed, step))
        examples = []
        for ids in texts:
            spans = _short_blanks(ids, drawn)
            shuffled = torch.randperm(len(spans), generator=drawn).tolist()  # drawn for every arm, that all draw alike
            examples.append(lay_out(ids, spans, None if arm == BLANK_ARMS[1] else shuffled, arm, vocabulary))
        return collate_blanks(examples, vocabulary.PAD).arguments()

    lay_out([vocabulary.UNK], [], None, arm, vocabulary)  # refuses an arm that there is not, before anything is drawn
    about = {"objective": f"blanks: {arm}", "device": device}
    return new_run(seed, BLANKS, len(vocabulary), batch, steps=steps, evaluate=measure, **about)


def glm_run(seed: int, *, text: str | None = None, steps: int | None = None, device=None) -> Run:
    """Return a run, not begun, that trains one model to read and to write: short blanks, MASK, in three fifths of the
    texts, and one long blank, GMASK, in the others.

    text: None for stories, of which the long blank is all behind the outline; or a text of at least 20 windows, such as
    `data.python_docs()` or `data.read_text` return, cut into windows, of which it is the second half. Evaluated on
    held-out texts: the loss and the share "filled" of short blanks, in the order of the text, and the long ones' loss.
    device: where it trains, the CPU unless given.
    """
    if text is None:
        vocabulary, held_out = story_vocabulary(), _texts(story_vocabulary(), 0, 0, HELD_OUT, "held_out")
    else:
        vocabulary, ids, windows = corpus(text)
        held_out = [_framed(window, vocabulary) for window in windows]

    def texts(step: int) -> list:
        if text is None:
            return _texts(vocabulary, seed, step, GLM["batch_size"], "train")
        batch = text_batch(ids, GLM["batch_size"], TEXT["window_len"], seed, step=step)
        return [_framed(window, vocabulary) for window in batch]

    def long(one) -> BlankInfilling:
        start = _outline_len(one, vocabulary) if text is None else len(one) // 2
        marks = {"mask_id": vocabulary.GMASK, "start_id": vocabulary.START, "end_id": vocabulary.END}
        return blank_infilling(one, [(start, len(one) - 1)], **marks)

    generator = torch.Generator().manual_seed(0)
    short = collate_blanks([_short(one, vocabulary, generator, shuffled=False) for one in held_out], vocabulary.PAD)
    whole = collate_blanks([long(one) for one in held_out], vocabulary.PAD)

    def measure(model) -> dict[str, float]:
        loss, filled = _filled(model, short)
        return {"short blanks, loss": loss, "filled": filled, "long blank, loss": _filled(model, whole)[0]}

    def batch(step: int) -> dict:
        drawn = torch.Generator().manual_seed(mixed_seed(seed, step))
        examples = []
        for one in texts(step):
            writes = float(torch.rand((), generator=drawn)) < LONG_SHARE
            examples.append(long(one) if writes else _short(one, vocabulary, drawn))
        return collate_blanks(examples, vocabulary.PAD).arguments()

    objective = f"short blanks and long ones in {'stories' if text is None else 'a text'}"
    return new_run(seed, GLM, len(vocabulary), batch, steps=steps, evaluate=measure, objective=objective, device=device)


def _texts(vocabulary: Vocabulary, seed: int, step: int, count: int, split: str) -> list:
    """Return stories as ids, each BOS, outline, story, EOS."""
    stories = story_batch(vocabulary, count, whole_number("seed", seed), step=step, split=split)
    return [row[:length] for row, length in zip(stories.tokens, stories.lengths.tolist(), strict=True)]


def _short_blanks(ids, generator) -> list[tuple[int, int]]:
    """Draw short blanks among the words of a story, its BOS and EOS left alone."""
    spans = sample_spans(len(ids) - 2, mask_ratio=MASK_RATIO, generator=generator)
    return [(start + 1, end + 1) for start, end in spans]


def _short(ids, vocabulary: Vocabulary, generator, *, shuffled: bool = True) -> BlankInfilling:
    spans = _short_blanks(ids, generator)
    order = torch.randperm(len(spans), generator=generator).tolist() if shuffled else None
    return lay_out(ids, spans, order, BLANK_ARMS[0], vocabulary)


def _framed(window, vocabulary: Vocabulary):
    """Return a window of a text between BOS and EOS."""
    return torch.cat([torch.tensor([vocabulary.BOS]), window, torch.tensor([vocabulary.EOS])])


def _outline_len(ids, vocabulary: Vocabulary) -> int:
    """Return where a story begins: behind its BOS and its outline, which the first full stop ends."""
    return next(i for i, id in enumerate(ids.tolist()) if vocabulary.token(id) == ".") + 1


def _filled(model, batch: BlankInfilling) -> tuple[float, float]:
    """Return the mean loss of a batch's targets, and the share of its blanks that are right from START to END."""
    device = next(model.parameters(), torch.empty(0)).device
    batch = batch.to(device)
    with evaluating(model):
        logits, loss = model(**batch.arguments())
    right = logits.argmax(-1) == batch.targets
    start = story_vocabulary().START
    blank = ((batch.tokens == start) & batch.loss_mask).cumsum(1)  # the number of each row's blank, from 1
    whole = [
        bool(row_right[(row_blank == number) & counts].all())
        for row_right, row_blank, counts in zip(right, blank, batch.loss_mask, strict=True)
        for number in range(1, int(row_blank.max()) + 1)
    ]
    return float(loss), sum(whole) / max(len(whole), 1)
