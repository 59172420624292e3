"""What a mask explorer accepts, and what it says of the rest."""

from math import isqrt
from numbers import Integral

import torch
from torch import Tensor

from .. import costs
from .._check import short, shown
from .text import MAX_TOKENS, split_text, well_formed

KINDS = (*costs.KINDS, "custom")
EIGHTHS = 8  # the counting explorers' prefix is so many of the text


def as_mask(name: str, value, *, most: int | None = None) -> Tensor:
    """Return a (T, T) mask of bools or of zeros and ones (a tensor, an array or a nested list) as a bool tensor.

    most: the largest T that is allowed. Raises TypeError for what is no matrix of numbers, ValueError for one that
    is not square, too large, or holds anything but zeros and ones.
    """
    try:
        mask = torch.as_tensor(value).detach().to_dense().cpu()
    except (TypeError, ValueError, RuntimeError, RecursionError, NotImplementedError) as error:
        raise TypeError(f"{name} must be a (T, T) tensor, array or nested list, got {shown(value)}") from error
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1]:
        if mask.numel() == 0 and mask.ndim == 1:
            return torch.zeros(0, 0, dtype=torch.bool)
        raise ValueError(f"{name} must be square, (T, T), got shape {tuple(mask.shape)}")
    if most is not None and len(mask) > most:
        raise ValueError(f"{name} must be at most {most} x {most}, got {len(mask)} x {len(mask)}")
    wrong = (mask != 0) & (mask != 1)
    if wrong.any():
        i, j = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"{name} must hold only bools, or zeros and ones, got {mask[i, j].item()} at query {i}, key {j}; "
            "an additive mask of 0 and -inf becomes one by `mask == 0`"
        )
    return mask.bool()


def mask_bytes(mask: Tensor) -> bytes:
    """Return a bool mask as one byte of 0 or 1 for each pair, row by row."""
    return bytes(mask.flatten().tolist())


def count_tiles(mask: Tensor, tile: int) -> costs.Tiles:
    """Count the tiles of any mask; `costs.tiles` knows those of a prefix mask without one."""
    side = -(-len(mask) // tile)
    padded = torch.zeros(side * tile, side * tile, dtype=torch.int64)
    padded[: len(mask), : len(mask)] = mask
    open_pairs = padded.reshape(side, tile, side, tile).sum(dim=(1, 3))
    full, skipped = int((open_pairs == tile * tile).sum()), int((open_pairs == 0).sum())
    return costs.Tiles(skipped=skipped, partial=side * side - full - skipped, full=full)


def read_tokens(text_or_tokens) -> tuple[str, list[str], str]:
    """Return the text, its tokens, and who split it."""
    if isinstance(text_or_tokens, str):
        text = well_formed(text_or_tokens)
        return text, split_text(text), "python"
    if not isinstance(text_or_tokens, (list, tuple)):
        raise TypeError(f"text_or_tokens must be a str, or a list of str, got {shown(text_or_tokens)}")
    check_tokens(text_or_tokens)
    tokens = [well_formed(token) for token in text_or_tokens]
    return " ".join(tokens), tokens, "list"


def check_tokens(tokens) -> None:
    for i, token in enumerate(tokens):
        if not isinstance(token, str):
            raise TypeError(f"tokens[{i}] must be a str, got {shown(token)}")
    if len(tokens) > MAX_TOKENS:
        raise ValueError(f"tokens must be at most {MAX_TOKENS}, got {len(tokens)}")
    try:
        split_text(" ".join(tokens))  # the field shows them so
    except ValueError as error:
        raise ValueError(f"tokens: their {error}") from None


def check_mask_bytes(value: bytes) -> None:
    if set(value) - {0, 1} or isqrt(len(value)) ** 2 != len(value):
        raise ValueError(f"custom_mask must be T * T bytes of 0 and 1, got {short(value)}: set mask instead")


def check_kind(kind, T: int, custom_mask: bytes) -> None:
    check_choice("kind", kind, KINDS)
    if kind == "custom" and (len(custom_mask) != T * T or not set(custom_mask) <= {0, 1}):
        side = f"is {isqrt(len(custom_mask))} x {isqrt(len(custom_mask))}" if custom_mask else "is not set"
        raise ValueError(f"kind 'custom' needs a mask of {T} x {T} for {T} tokens, but the mask {side}")


def check_choice(name: str, value, allowed) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{name} must be a str, got {shown(value)}; allowed are {', '.join(allowed)}")
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {short(value)}")


def check_number(name: str, value, low: int, high: int, high_name: str = "") -> None:
    top = f"{high} ({high_name})" if high_name else f"{high}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number from {low} to {top}, got {shown(value)}")
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {top}, got {short(value)}")


def check_one_of(name: str, value, numbers: list[int]) -> None:
    check_number(name, value, numbers[0], numbers[-1])
    if value not in numbers:
        raise ValueError(f"{name} must be one of {', '.join(map(str, numbers))}, got {value}")


def check_power(name: str, value, low: int, high: int, high_name: str = "") -> None:
    check_number(name, value, low, high, high_name)
    if value & (value - 1):
        raise ValueError(f"{name} must be a power of two from {low} to {high}, got {value}")


def check_eighths(value, total_len: int) -> None:
    """A prefix of so many eighths of the text."""
    check_number("prefix_len", value, 0, total_len, "total_len")
    if value % (total_len // EIGHTHS):
        raise ValueError(
            f"prefix_len must be a multiple of total_len / {EIGHTHS} = {total_len // EIGHTHS}, got {value}"
        )


def check_selected(value, T: int) -> None:
    if value is None:
        return
    if not T:
        raise ValueError(f"selected must be None, because there are no tokens, got {short(value)}")
    check_number("selected", value, 0, T - 1, "the last token")
