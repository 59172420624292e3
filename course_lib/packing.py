"""Several texts in one tensor: side by side, padded, or as documents end to end in one row, each with its own prefix.

Short texts are packed so that no part of a row is wasted on padding. A row's mask is then block diagonal, with a prefix
mask in each block: each document keeps to itself.
"""

import torch
from torch import Tensor

from ._check import check_device, is_whole_number, room, short, usable_device, whole_number, whole_numbers


def packed_prefix_mask(prefix_lens, document_lens, *, device=None) -> Tensor:
    """Return the mask (T, T) of documents laid end to end in one row, each with a prefix of its own; T is their sum.

    prefix_lens, document_lens: equally long lists or integer tensors; each prefix is 0..its document's length.
    Documents never see each other.

    packed_prefix_mask([2, 1], [3, 2])      key 0 1 2 3 4
                                    query 0     1 1 0 0 0
                                          1     1 1 0 0 0
                                          2     1 1 1 0 0
                                          3     0 0 0 1 0
                                          4     0 0 0 1 1
    """
    device = usable_device("device", device)
    for value in (document_lens, prefix_lens):
        if device is None and isinstance(value, Tensor):
            device = value.device
    check_device("document_lens", document_lens, device)
    check_device("prefix_lens", prefix_lens, device)
    documents = tuple(whole_numbers("document_lens", document_lens))
    prefixes = tuple(whole_numbers("prefix_lens", prefix_lens))
    check_documents("prefix_lens", prefixes, "document_lens", documents)
    room("the sum of document_lens", sum(documents), sum(documents) ** 2)
    return packed_mask(prefixes, documents, sum(documents), device)


def packed_mask(prefixes: tuple[int, ...], documents: tuple[int, ...], total_len: int, device) -> Tensor:
    """Return the mask (T, T) of documents laid end to end; what is left of the row belongs to none of them."""
    total_len = whole_number("total_len", total_len)
    if sum(documents) > total_len:
        raise ValueError(f"document_lens add up to {sum(documents)}, more than total_len = {total_len}")
    room("total_len", total_len, total_len**2)
    lens = torch.tensor((*documents, total_len - sum(documents)), dtype=torch.int64, device=device)
    prefix_end = lens.cumsum(0) - lens + torch.tensor((*prefixes, 0), dtype=torch.int64, device=device)
    owner = torch.repeat_interleave(torch.arange(len(lens), device=device), lens, output_size=total_len)
    position = torch.arange(total_len, device=device)
    open_to = (position <= position[:, None]) | (position < prefix_end[owner])  # the prefix of the key's own document
    return open_to & (owner == owner[:, None]) & (owner < len(documents))


def pad_rows(rows, filler) -> Tensor:
    """Lay lists or tensors (N,) of different lengths side by side, (B, T), with the filler behind the shorter ones."""
    tensors = [torch.as_tensor(row) for row in rows]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=filler)


def row_or_rows(name: str, value, *, or_one: bool = False) -> tuple:
    """Return one list of lengths as a tuple, or a list of lists, one per example, as a tuple of tuples.

    or_one as in `whole_numbers`.
    """
    rows = getattr(value, "ndim", None) == 2 or (
        isinstance(value, (list, tuple)) and len(value) > 0 and not is_whole_number(value[0])
    )
    if rows:
        return tuple(tuple(whole_numbers(f"{name}[{b}]", row)) for b, row in enumerate(value))
    return tuple(whole_numbers(name, value, or_one=or_one))


def is_rows(value: tuple) -> bool:
    """Tell a list of lists, as `row_or_rows` returns it, from one list."""
    return len(value) > 0 and isinstance(value[0], tuple)


def filled(shape: tuple, number: int) -> tuple:
    """Return `number` in place of every number of one row, or of several rows."""
    return tuple(filled(one, number) if isinstance(one, tuple) else number for one in shape)


def check_documents(prefix_name: str, prefixes: tuple, document_name: str, documents: tuple) -> None:
    """Check that each document has a prefix and that it fits into it, for one row or for a row per example."""
    if len(prefixes) != len(documents) or is_rows(prefixes) != is_rows(documents):
        raise ValueError(
            f"{prefix_name} must be shaped like {document_name}, got {short(prefixes)} for {short(documents)}"
        )
    for i, (prefix, document) in enumerate(zip(prefixes, documents, strict=True)):
        if is_rows(documents):
            check_documents(f"{prefix_name}[{i}]", prefix, f"{document_name}[{i}]", document)
        else:
            whole_number(f"{prefix_name}[{i}]", prefix, high=document, high_name=f"{document_name}[{i}]")
