"""What there is to read: stories in batches, the Python documentation, and a text file of the learner's own.

The words come from `vocabulary`, the stories from `stories` and `story_check`, other texts from `real_text`; all of it
can be imported from here. Here it becomes batches. A batch is a function of its seed and step alone, so that a training
run that was interrupted reads on where it stopped.
"""

import hashlib
import random
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from ._check import shown, usable_device, whole_number, whole_numbers
from .packing import pad_rows
from .real_text import python_docs, read_text
from .stories import CARDS, Outline, as_outline, read_outline, story_vocabulary, storyteller, tell
from .story_check import Followed, follows
from .vocabulary import UnknownWordsError, Vocabulary, check_vocabulary, join_words, split_words

__all__ = [
    "CARDS",
    "Followed",
    "Outline",
    "StoryBatch",
    "UnknownWordsError",
    "Vocabulary",
    "encode_story",
    "follows",
    "join_words",
    "python_docs",
    "read_outline",
    "read_text",
    "split_words",
    "story_batch",
    "story_vocabulary",
    "storyteller",
    "tell",
    "text_batch",
    "text_windows",
]


def encode_story(vocabulary: Vocabulary, outline: Outline | str, story: str | None = None) -> tuple[list[int], int]:
    """Return the ids of BOS, the outline, the story, EOS, and the prefix length: BOS and the outline.

    Without a story, the ids are the prefix alone, from which a model can write one.
    """
    outline = as_outline(outline)
    if story is not None and not isinstance(story, str):
        raise TypeError(f"story must be a str, or None, got {shown(story)}")
    check_vocabulary(vocabulary)
    prefix = [vocabulary.BOS, *vocabulary.encode(str(outline))]
    return prefix + ([] if story is None else [*vocabulary.encode(story), vocabulary.EOS]), len(prefix)


class StoryBatch(NamedTuple):
    """B stories side by side: example b has lengths[b] tokens, of which the first prefix_len[b] are the outline.

    tokens      int64 (B, L), L the longest of them; behind each example comes PAD
    prefix_len  int64 (B,)
    lengths     int64 (B,)
    """

    tokens: Tensor
    prefix_len: Tensor
    lengths: Tensor


def story_batch(
    vocabulary: Vocabulary, batch_size: int, seed: int, *, step: int = 0, split: str = "train", device=None
) -> StoryBatch:
    """Return the batch of this seed and step: B stories of the split, "train" or "held_out", encoded and padded.

    vocabulary: usually `story_vocabulary()`; it must know every word of the stories.
    """
    batch_size, device = whole_number("batch_size", batch_size, low=1), usable_device("device", device)
    check_vocabulary(vocabulary)
    teller = storyteller(_mixed(seed, step), split)
    rows = [encode_story(vocabulary, outline, story) for outline, story in islice(teller, batch_size)]
    tokens = pad_rows([ids for ids, _ in rows], vocabulary.PAD)
    prefix_len = torch.tensor([prefix for _, prefix in rows])
    lengths = torch.tensor([len(ids) for ids, _ in rows])
    return StoryBatch(*(one.to(device) for one in (tokens, prefix_len, lengths)))


def _mixed(seed: int, step: int) -> int:
    """Return one seed made of two, such that neighbours have nothing in common."""
    both = f"{whole_number('seed', seed)} {whole_number('step', step)}"
    return int.from_bytes(hashlib.blake2b(both.encode(), digest_size=7).digest(), "big")


def text_windows(ids, window_len: int) -> Tensor:
    """Cut a text into windows that lie side by side, int64 (N, window_len); a rest that fills no window is left out.

    ids: a list or a one-dimensional integer tensor, at least window_len long.
    """
    ids, window_len = _text(ids, window_len)
    return ids[: len(ids) // window_len * window_len].view(-1, window_len)


def text_batch(ids, batch_size: int, window_len: int, seed: int, *, step: int = 0) -> Tensor:
    """Return the batch of this seed and step: windows from anywhere in the text, int64 (batch_size, window_len).

    ids: at least window_len of them; give a tensor in a training loop, for a list is checked and copied at every call.
    """
    ids, window_len = _text(ids, window_len)
    rng = random.Random(_mixed(seed, step))
    last = len(ids) - window_len
    starts = [int(rng.random() * (last + 1)) for _ in range(whole_number("batch_size", batch_size, low=1))]
    return torch.stack([ids[start : start + window_len] for start in starts])


def _text(ids, window_len: int) -> tuple[Tensor, int]:
    window_len = whole_number("window_len", window_len, low=2)  # one token to read, and one to predict
    if not (isinstance(ids, Tensor) and ids.dim() == 1 and ids.dtype == torch.int64):
        ids = torch.tensor(whole_numbers("ids", ids), dtype=torch.int64)
    if len(ids) < window_len:
        raise ValueError(f"ids must be at least window_len = {window_len} tokens long, got {len(ids)}")
    return ids, window_len
