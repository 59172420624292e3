"""What a fast form has to go through: runs of tokens that share a prefix, in the examples that have them alike."""

from typing import NamedTuple

from torch import Tensor


class Segment(NamedTuple):
    """Tokens start..stop of some examples, of which the first `prefix` see each other; it keeps to itself.

    examples is a slice where they are neighbours, so that nothing is copied, else a list.
    """

    examples: slice | list[int]
    start: int
    stop: int
    prefix: int

    def of(self, x: Tensor | None) -> Tensor | None:
        """Return this part of x (B, H, T, D) as (examples * H, tokens, D): a view wherever that can be."""
        return None if x is None else x[self.examples, :, self.start : self.stop].flatten(0, 1)

    def put(self, tensors, parts) -> None:
        """Write back into each contiguous tensor what `of` returned of it, if that was a copy."""
        if isinstance(self.examples, list):
            for x, part in zip(tensors, parts, strict=True):
                if x is not None:
                    x[self.examples, :, self.start : self.stop] = part.unflatten(0, (-1, x.shape[1]))


def segments(prefix_len, documents, batch: int, total_len: int, most: int | None = None) -> list[Segment]:
    """Return the segments of a batch, equal ones of up to `most` examples together; none for no tokens.

    prefix_len  without documents, an int or one for each example; with them, shaped like documents.
    documents   None, or a tuple of document lengths for all examples, or one such tuple for each.
    """
    rows = prefix_len if isinstance(prefix_len, (list, tuple)) else [prefix_len] * batch
    alike: dict[tuple, list[int]] = {}
    for b in range(batch):
        if documents is None:
            lengths, prefixes = [total_len], [rows[b]]
        elif documents and isinstance(documents[0], tuple):
            lengths, prefixes = documents[b], prefix_len[b]
        else:
            lengths, prefixes = documents, prefix_len
        start = 0
        for length, prefix in zip(lengths, prefixes, strict=True):
            if length:
                alike.setdefault((start, start + length, prefix), []).append(b)
            start += length
    most = most or max(1, batch)
    return [
        Segment(_neighbours(examples[i : i + most]), *where)
        for where, examples in alike.items()
        for i in range(0, len(examples), most)
    ]


def _neighbours(examples: list[int]) -> slice | list[int]:
    first, last = examples[0], examples[-1]
    return slice(first, last + 1) if last - first == len(examples) - 1 else examples
