"""Does the prefix mask help? Training runs that differ in one thing at a time, and measures that treat them alike.

The arms, each from the same initial weights, on the same batches, for the same steps:

    causal, loss everywhere       prefix_len 0; every token teaches
    causal, loss on targets       prefix_len 0; the targets teach
    prefix, loss on targets       prefix_len P; the targets teach

So from each arm to the next, one thing changes: first where the loss lies, then who sees whom. All are measured on the
targets of the same held-out texts, each under the mask that it was trained with.
"""

import dataclasses
import functools
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from ._check import one_of, shown, usable_device, whole_number
from .data import (
    encode_story,
    follows,
    join_words,
    python_docs,
    split_words,
    story_batch,
    story_vocabulary,
    storyteller,
    text_batch,
    text_windows,
)
from .model import Config, PrefixLM
from .objectives import Example, prefix_lm_batch
from .packing import pad_rows
from .training import Run, target_loss
from .vocabulary import Vocabulary

ARMS = ("causal, loss everywhere", "causal, loss on targets", "prefix, loss on targets")
# Of a step's time, 80 % is spent in matrix products and attention (`make bench` shows it): hence gelu, LayerNorm and
# learned positions, which torch computes in one pass each.
SIZES = {"dim": 192, "layers": 2, "heads": 4, "positions": "learned", "norm": "layernorm", "mlp": "gelu"}
STORYTELLER = SIZES | {"batch_size": 20, "steps": 300, "learning_rate": 8e-3}
TEXT = SIZES | {"batch_size": 20, "steps": 300, "learning_rate": 1e-3, "window_len": 64, "words": 2000}
FIXED_PREFIX = TEXT["window_len"] // 2
HELD_OUT = 64  # texts that every arm is measured on, at most


def as_arm(example: Example, arm: str) -> Example:
    """Return a batch of prefix LM examples as an arm reads it: the same tokens, with the arm's mask and the arm's loss.

    ValueError for an arm that there is not.
    """
    if one_of("arm", arm, ARMS) == ARMS[2]:
        return example
    example = example._replace(prefix_len=torch.zeros_like(example.prefix_len))
    if arm == ARMS[1]:
        return example
    rows = torch.arange(example.inputs.shape[1])
    return example._replace(loss_mask=rows < example.lengths[:, None])


def storyteller_run(seed: int, arm: str, *, changes: dict | None = None, steps: int | None = None, device=None) -> Run:
    """Return a run, not begun, that trains a model on the storyteller's stories, with the outline as the prefix.

    seed: of the initial weights and of the batches, which are the same for every arm. changes: to STORYTELLER, such as
    {"block": "parallel"}. Evaluated are the "target loss" on held-out stories, in nats a token, and "cards kept": the
    share of the outline's cards that `follows` finds in the stories that the model writes, greedily, from held-out
    outlines. device: where the model trains, the CPU unless given; what it begins with and reads is the same anywhere.
    """
    vocabulary = story_vocabulary()

    def batch(split: str, size: int, batch_seed: int, step: int) -> Example:
        stories = story_batch(vocabulary, size, batch_seed, step=step, split=split)
        return prefix_lm_batch(stories.tokens, stories.prefix_len, lengths=stories.lengths)

    held_out = _measured(batch("held_out", HELD_OUT, 0, 0), arm)
    return new_run(
        seed,
        STORYTELLER | (changes or {}),
        len(vocabulary),
        lambda step: as_arm(batch("train", STORYTELLER["batch_size"], seed, step), arm),
        steps=steps,
        evaluate=lambda model: {
            "target loss": target_loss(model, held_out),
            "cards kept": _cards_kept(model, vocabulary, arm),
        },
        objective=f"stories: {arm}",
        device=device,
    )


def text_run(
    seed: int,
    arm: str,
    *,
    text: str | None = None,
    prefix: str | int = "uniform",
    changes: dict | None = None,
    steps: int | None = None,
    device=None,
) -> Run:
    """Return a run, not begun, that trains a model on windows of a text.

    text: of at least 20 windows, as `data.read_text` returns one; None is the Python documentation. prefix: "uniform"
    draws P from 1..L - 1 for each window of L tokens, as T5 does; an int is the P of all. changes: to TEXT. The seed
    and the device are as in `storyteller_run`. Evaluated is the "target loss" on held-out windows, with P drawn, the
    same for every arm.
    """
    if not (isinstance(prefix, str) and prefix == "uniform"):
        prefix = whole_number("prefix", prefix, high=TEXT["window_len"] - 1)
    vocabulary, ids, windows = corpus(text)

    def batch(step: int) -> Example:
        read = text_batch(ids, TEXT["batch_size"], TEXT["window_len"], seed, step=step)
        drawn = torch.Generator().manual_seed(seed * 1_000_003 + step)
        return prefix_lm_batch(read, None if prefix == "uniform" else prefix, generator=drawn)

    held_out = _measured(prefix_lm_batch(windows, generator=torch.Generator().manual_seed(0)), arm)
    return new_run(
        seed,
        TEXT | (changes or {}),
        len(vocabulary),
        lambda step: as_arm(batch(step), arm),
        steps=steps,
        evaluate=lambda model: {"target loss": target_loss(model, held_out)},
        objective=f"{'Python documentation' if text is None else 'a text'}, prefix {prefix}: {arm}",
        device=device,
    )


class Corpus(NamedTuple):
    """A text, read for training: its commonest words (UNK is any other), its training part, and held-out windows.

    vocabulary, train int64 (N,), held_out int64 (at most HELD_OUT, window_len), spread evenly over the held-out part
    """

    vocabulary: Vocabulary
    train: Tensor
    held_out: Tensor


def corpus(text: str | None = None) -> Corpus:
    """Return a text as a Corpus, its last tenth held out; None is the Python documentation, which has its own split."""
    if text is not None and not isinstance(text, str):
        raise TypeError(f"text must be a str, such as data.read_text returns, got {shown(text)}")
    return _corpus(text)


@functools.lru_cache(maxsize=4)  # a text of the learner's own is not kept for ever
def _corpus(text: str | None) -> Corpus:
    if text is None:
        train, held_out = python_docs("train"), python_docs("held_out")
    else:
        words, least = split_words(text), 20 * TEXT["window_len"]
        if len(words) < least:
            raise ValueError(
                f"text must have at least {least} words, 20 windows of {TEXT['window_len']}, got {len(words)}"
            )
        cut = len(words) - len(words) // 10
        train, held_out = join_words(words[:cut]), join_words(words[cut:])
    vocabulary = Vocabulary.from_texts([train], max_words=TEXT["words"])
    ids, rest = (torch.tensor(vocabulary.encode(part, unknown="unk")) for part in (train, held_out))
    windows = text_windows(rest, TEXT["window_len"])
    return Corpus(vocabulary, ids, windows[torch.linspace(0, len(windows) - 1, min(HELD_OUT, len(windows))).long()])


def _measured(example: Example, arm: str) -> Example:
    """Return the examples that an arm is measured on: its own mask, and the loss on targets, whatever it trains on."""
    return as_arm(example, ARMS[1] if one_of("arm", arm, ARMS) == ARMS[0] else arm)


def new_run(seed: int, sizes: dict, vocab_size: int, batch_of, *, steps, evaluate, objective: str, device=None) -> Run:
    """Return a run, not begun, of a model of these sizes, its initial weights those of the seed."""
    seed, device = whole_number("seed", seed), usable_device("device", device)
    names = {field.name for field in dataclasses.fields(Config)}
    if unknown := sizes.keys() - names - {"batch_size", "steps", "learning_rate", "window_len", "words"}:
        raise ValueError(f"there is no setting {', '.join(sorted(unknown))}; there are {', '.join(sorted(names))}")
    config = Config(vocab_size=vocab_size, **{name: value for name, value in sizes.items() if name in names})
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = PrefixLM(config)
    return Run(
        model.to(device),
        batch_of,
        steps=sizes["steps"] if steps is None else steps,
        learning_rate=sizes["learning_rate"],
        seed=seed,
        evaluate=evaluate,
        objective=objective,
    )


def _cards_kept(model: PrefixLM, vocabulary: Vocabulary, arm: str) -> float:
    """Return the mean share of cards that the model's own stories keep, over held-out outlines."""
    outlines = [outline for outline, _ in islice(storyteller(5, "held_out"), HELD_OUT // 2)]
    prompts = [encode_story(vocabulary, outline)[0] for outline in outlines]
    lengths = [len(prompt) for prompt in prompts]
    tokens = pad_rows(prompts, vocabulary.PAD).to(model.embedding.weight.device)
    prefix_len = None if arm == ARMS[2] else 0
    room = {"temperature": 0, "stop_id": vocabulary.EOS, "lengths": lengths, "prefix_len": prefix_len}
    written = torch.stack([step.ids for step in model.generate(tokens, 90, **room)], 1)
    stories = [vocabulary.decode(row.tolist(), specials=False) for row in written]
    return sum(follows(outline, story).score for outline, story in zip(outlines, stories, strict=True)) / len(outlines)
