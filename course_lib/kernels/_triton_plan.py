"""How the kernels of `triton.py` find their work: a batch, cut in segments, as a table on the device."""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

TAIL, LAST, FIRST = 1, 2, 4  # flags: in a tail; the last of its tail; the first of a tail without a prefix
ROW, DOCUMENT = 5, 4  # numbers of a segment, and of a document


class Plan(NamedTuple):
    """The segments of a batch. A segment lies in the prefix or in the tail of one document.

    table      int32, on the device. Four numbers for each document: the rows of its tail, first and behind the last,
               and those of its prefix. Then a row for each segment, five numbers:

                   head    b * H, the first head of its example; the program adds its own
                   begin   its first token
                   count   how many tokens
                   state   the row of the states that it starts from: a prefix segment has that of the whole prefix
                   flags   see above

               Tails come first: they take longest, and prefix segments fill the gaps behind them.
    segments   the table without the documents
    rows       how many segments
    documents  how many documents, without empty ones
    heads      how many heads go through each of them: H, or B * H if all examples are alike
    whole      whether every token is in a segment
    """

    table: Tensor
    segments: Tensor
    rows: int
    documents: int
    heads: int
    whole: bool


@lru_cache(maxsize=64)
def make_plan(prefix_len, documents, batch, heads, total, segment, device, stream) -> Plan:
    """Cut a batch in segments and send the table to the device.

    The copy does not wait: it is small, so it is read before the call returns. One table serves every later call with
    the same lengths on that stream; on another stream it might be read before it is there, so that gets its own.
    """
    each = prefix_len if documents is None else documents
    alike = not isinstance(each, tuple) if documents is None else not (each and isinstance(each[0], tuple))
    tails, prefixes, bounds, covered = [], [], [], True
    for b in range(1 if alike and batch else batch):
        if documents is None:
            lengths, own = (total,), (prefix_len if alike else prefix_len[b],)
        else:
            lengths, own = (documents, prefix_len) if alike else (documents[b], prefix_len[b])
        start = 0
        for length, prefix in zip(lengths, own, strict=True):
            if length:
                first, first_prefix = len(tails), len(prefixes)
                split, stop = start + prefix, start + length
                for i in range(start, split, segment):
                    prefixes.append((b * heads, i, min(segment, split - i), first_prefix, 0))
                for i in range(split, stop, segment):
                    flags = TAIL | LAST * (i + segment >= stop) | FIRST * (i == start)
                    tails.append((b * heads, i, min(segment, stop - i), len(tails), flags))
                bounds.append((first, len(tails), first_prefix, len(prefixes)))
            start += length
        covered = covered and start == total
    behind = len(tails)
    rows = tails + [(head, i, count, state + behind, flags) for head, i, count, state, flags in prefixes]
    bounds = [(first, stop, prefix + behind, end + behind) for first, stop, prefix, end in bounds]
    numbers = [number for row in bounds + rows for number in row]
    table = torch.tensor(numbers, dtype=torch.int32).to(device, non_blocking=True)
    segments = table[DOCUMENT * len(bounds) :]  # as well aligned as the table: four numbers are 16 bytes
    return Plan(table, segments, len(rows), len(bounds), batch * heads if alike else heads, covered)
