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

from ._check import mixed_seed, one_of, short, shown, usable_device, whole_number
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

    An example of one text is taken, too. ValueError for an arm that there is not.
    """
    if not isinstance(example, Example):
        raise TypeError(f"example must be an Example, such as prefix_lm_batch returns, got {shown(example)}")
    if one_of("arm", arm, ARMS) == ARMS[2]:
        return example
    example = example._replace(prefix_len=0 * example.prefix_len)  # a number, or a tensor of one for each text
    if arm == ARMS[1]:
        return example
    everywhere = torch.ones_like(example.loss_mask)
    if example.lengths is not None:
        everywhere &= torch.arange(example.inputs.shape[1], device=everywhere.device) < example.lengths[:, None]
    return example._replace(loss_mask=everywhere)


def storyteller_run(seed: int, arm: str, *, changes: dict | None = None, steps: int | None = None, device=None) -> Run:
    """Return a run, not begun, that trains a model on the storyteller's stories, with the outline as the prefix.

    seed: of the initial weights and of the batches, which are the same for every arm. changes: to STORYTELLER, such as
    {"block": "parallel"}: its names, and those of `Config` but vocab_size. Evaluated are the "target loss" on held-out
    stories, in nats a token, and "cards kept": the share of the outline's cards that `follows` finds in the stories
    that the model writes, greedily, from held-out outlines. device: where the model trains, the CPU unless given; what
    it begins with and reads is the same anywhere.
    """
    vocabulary, sizes = story_vocabulary(), changed(STORYTELLER, changes)

    def batch(split: str, size: int, batch_seed: int, step: int) -> Example:
        stories = story_batch(vocabulary, size, batch_seed, step=step, split=split)
        return prefix_lm_batch(stories.tokens, stories.prefix_len, lengths=stories.lengths)

    held_out = _measured(batch("held_out", HELD_OUT, 0, 0), arm)
    return new_run(
        seed,
        sizes,
        len(vocabulary),
        lambda step: as_arm(batch("train", sizes["batch_size"], seed, step), arm),
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
    draws P from 1..L - 1 for each window of L tokens, as T5 does; an int is the P of all. changes: to TEXT, likewise.
    The seed and the device are as in `storyteller_run`. Evaluated is the "target loss" on held-out windows, with P
    drawn, the same for every arm.
    """
    sizes = changed(TEXT, changes)
    window_len = whole_number("window_len", sizes["window_len"], low=2)
    if not (isinstance(prefix, str) and prefix == "uniform"):
        prefix = whole_number("prefix", prefix, high=window_len - 1)
    vocabulary, ids, windows = corpus(text, window_len, whole_number("words", sizes["words"], low=1))

    def batch(step: int) -> Example:
        read = text_batch(ids, sizes["batch_size"], window_len, seed, step=step)
        drawn = torch.Generator().manual_seed(mixed_seed(seed, step))
        return prefix_lm_batch(read, None if prefix == "uniform" else prefix, generator=drawn)

    held_out = _measured(prefix_lm_batch(windows, generator=torch.Generator().manual_seed(0)), arm)
    return new_run(
        seed,
        sizes,
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


def corpus(text: str | None = None, window_len: int = TEXT["window_len"], max_words: int = TEXT["words"]) -> Corpus:
    """Return a text as a Corpus, its last tenth held out; None is the Python documentation, which has its own split.

    window_len: of the held-out windows, of which there must be 20 in the text. max_words: how many of its words have an
    id of their own.
    """
    if text is not None and not isinstance(text, str):
        raise TypeError(f"text must be a str, such as data.read_text returns, got {shown(text)}")
    window_len, max_words = whole_number("window_len", window_len, low=2), whole_number("max_words", max_words, low=1)
    return _corpus(text, window_len, max_words, HELD_OUT)


@functools.lru_cache(maxsize=4)  # a text of the learner's own is not kept for ever
def _corpus(text: str | None, window_len: int, max_words: int, most: int) -> Corpus:
    if text is None:
        train, held_out = python_docs("train"), python_docs("held_out")
    else:
        words, least = split_words(text), 20 * window_len
        if len(words) < least:
            raise ValueError(f"text must have at least {least} words, 20 windows of {window_len}, got {len(words)}")
        cut = len(words) - len(words) // 10
        train, held_out = join_words(words[:cut]), join_words(words[cut:])
    vocabulary = Vocabulary.from_texts([train], max_words=max_words)
    ids, rest = (torch.tensor(vocabulary.encode(part, unknown="unk")) for part in (train, held_out))
    windows = text_windows(rest, window_len)
    return Corpus(vocabulary, ids, windows[torch.linspace(0, len(windows) - 1, min(most, len(windows))).long()])


def _measured(example: Example, arm: str) -> Example:
    """Return the examples that an arm is measured on: its own mask, and the loss on targets, whatever it trains on."""
    return as_arm(example, ARMS[1] if one_of("arm", arm, ARMS) == ARMS[0] else arm)


CONFIG_NAMES = {field.name for field in dataclasses.fields(Config)} - {"vocab_size"}  # that is the vocabulary's


def changed(sizes: dict, changes: dict | None, name: str = "changes") -> dict:
    """Return the sizes of a run with these changes; TypeError if they are no dict, ValueError for a name of neither."""
    if changes is None:
        return sizes
    if not isinstance(changes, dict):
        raise TypeError(f'{name} must be a dict, such as {{"block": "parallel"}}, got {shown(changes)}')
    allowed = CONFIG_NAMES | sizes.keys()
    if unknown := [one for one in changes if one not in allowed]:
        raise ValueError(f"{name} must be of {', '.join(sorted(allowed))}; got {short(unknown)}")
    return sizes | changes


def new_run(
    seed: int,
    sizes: dict,
    vocab_size: int,
    batch_of,
    *,
    steps,
    evaluate,
    objective: str,
    device=None,
    rebuilt=None,
) -> Run:
    """Return a run, not begun, of a model of these sizes, its initial weights those of the seed.

    rebuilt(model) may change the model before the run is made; what it draws, it draws behind the weights.
    """
    seed, device = whole_number("seed", seed), usable_device("device", device)
    config = Config(vocab_size=vocab_size, **{name: sizes[name] for name in CONFIG_NAMES & sizes.keys()})
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = PrefixLM(config)
        if rebuilt is not None:
            rebuilt(model)
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
