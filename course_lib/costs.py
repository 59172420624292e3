"""What a mask costs, counted and not measured: pairs, tiles, multiplications, and the tokens that carry loss.

P is the prefix length and T the total length, as everywhere: P = 0 (or 1) is causal attention, P = T is bidirectional.

Causal attention allows T(T + 1)/2 pairs. The prefix mask adds the pairs above the diagonal inside the prefix,
P(P - 1)/2 of them, and nothing else. Divided by the causal count, that tends to

    allowed_pairs(P, T) / allowed_pairs(0, T)  ->  1 + (P/T)^2        as T grows,

so a prefix mask costs at most twice what a causal one does, and reaches that only when everything is prefix.
Everything here is a closed form in plain integers; the module needs no torch.
"""

from dataclasses import dataclass

from ._check import one_of, whole_number

KINDS = ("encoder", "decoder", "encoder-decoder", "prefix")
MOST_LISTED = 2**20  # indexes that are written down one by one


def _lengths(prefix_len: int, total_len: int) -> tuple[int, int]:
    total_len = whole_number("total_len", total_len)
    return whole_number("prefix_len", prefix_len, high=total_len, high_name="total_len"), total_len


def allowed_pairs(prefix_len: int, total_len: int) -> int:
    """Return how many (query, key) pairs the prefix mask allows: its number of ones.

    >>> allowed_pairs(0, 7), allowed_pairs(3, 7), allowed_pairs(7, 7)  # causal, prefix, bidirectional
    (28, 31, 49)
    """
    prefix_len, total_len = _lengths(prefix_len, total_len)
    return total_len * (total_len + 1) // 2 + prefix_len * (prefix_len - 1) // 2


def added_pairs(prefix_len: int) -> int:
    """Return how many pairs a prefix adds to causal attention: those above the diagonal of its own block.

    >>> added_pairs(3)
    3
    """
    prefix_len = whole_number("prefix_len", prefix_len)
    return prefix_len * (prefix_len - 1) // 2


@dataclass(frozen=True)
class Tiles:
    """The tiles of a T x T mask, by what a tiled kernel does with each.

    skipped: no pair is allowed, so the tile is never touched. partial: computed, then masked pair by pair.
    full: computed, and needs no mask.
    """

    skipped: int
    partial: int
    full: int

    @property
    def visited(self) -> int:
        """Tiles that are computed, in whole: partial + full."""
        return self.partial + self.full


def tiles(prefix_len: int, total_len: int, block_size: int) -> Tiles:
    """Count the tiles of block_size x block_size pairs that a tiled kernel skips, masks, and computes without a mask.

    Seen from afar, a prefix mask is a prefix mask: the visited tiles are those of prefix ceil(P / block) and length
    ceil(T / block). A tile that reaches past the end of the sequence is never full, for its edge must be masked; this
    is how FlexAttention's BlockMask sorts them too.

    tiles(3, 7, 2), where # is full, + is partial and . is skipped:

        # + . .
        # + . .
        # # + .
        + + + +     rows 6 and 7, and there is no row 7

    >>> tiles(3, 7, 2)
    Tiles(skipped=5, partial=7, full=4)
    """
    prefix_len, total_len = _lengths(prefix_len, total_len)
    block_size = whole_number("block_size", block_size, low=1)
    side = -(-total_len // block_size)
    visited = allowed_pairs(-(-prefix_len // block_size), side)
    whole, whole_prefix = total_len // block_size, prefix_len // block_size  # blocks that T or P does not cut short
    if block_size == 1:
        full = allowed_pairs(whole_prefix, whole)
    else:  # the diagonal's own tiles are cut by it, except in the prefix
        full = whole * (whole - 1) // 2 + whole_prefix * (whole_prefix + 1) // 2
    return Tiles(skipped=side * side - visited, partial=visited - full, full=full)


def attention_flops(
    prefix_len: int, total_len: int, *, heads: int, head_dim: int, block_size: int | None = None
) -> int:
    """Return the floating-point operations of one forward pass of attention, for one example.

    A multiplication and its addition are 2 operations. Counted are the two products, q·k and weight·v: 4 * head_dim for
    each allowed pair and head. The softmax, the projections and the backward pass (2.5 times this in FlashAttention's
    own count, because it computes q·k again) are not.

    With `block_size`, count what a tiled kernel really computes: every visited tile in whole, masked pairs included.

    >>> attention_flops(3, 7, heads=2, head_dim=4), attention_flops(3, 7, heads=2, head_dim=4, block_size=2)
    (992, 1408)
    """
    heads = whole_number("heads", heads, low=1)
    head_dim = whole_number("head_dim", head_dim, low=1)
    if block_size is None:
        pairs = allowed_pairs(prefix_len, total_len)
    else:
        block_size = whole_number("block_size", block_size, low=1)
        pairs = tiles(prefix_len, total_len, block_size).visited * block_size * block_size
    return 4 * heads * head_dim * pairs


def loss_tokens(kind: str, prefix_len: int, total_len: int) -> int:
    """Return how many of the T tokens are predicted in one training step, that is, carry loss.

    - "decoder": every token but the first, T - 1: each is predicted by the one before it.
    - "prefix": the targets, T - P: the last prefix token predicts the first; with P = 0 nobody predicts token 0.
    - "encoder-decoder": the targets, T - P: a start symbol predicts the first of them.
    - "encoder": masked language modelling at BERT's rate, 15 % of the tokens, rounded, and at least one.

    >>> [loss_tokens(kind, 3, 7) for kind in KINDS]
    [1, 6, 4, 4]
    """
    prefix_len, total_len = _lengths(prefix_len, total_len)
    if one_of("kind", kind, KINDS) == "encoder":
        return max((15 * total_len + 50) // 100, min(total_len, 1))
    return max(total_len - _first_predicted(kind, prefix_len), 0)


def loss_positions(kind: str, prefix_len: int, total_len: int) -> list[int]:
    """Return the indexes of the tokens that `loss_tokens` counts, in order.

    For the encoder, which tokens are masked is a matter of chance; here they are spread evenly, the same at every call.
    More than 2**20 indexes are a ValueError.

    >>> loss_positions("prefix", 3, 7), loss_positions("encoder", 3, 7)
    ([3, 4, 5, 6], [3])
    """
    prefix_len, total_len = _lengths(prefix_len, total_len)
    count = loss_tokens(kind, prefix_len, total_len)
    if count > MOST_LISTED:
        raise ValueError(f"total_len must leave at most {MOST_LISTED} tokens to list, got {total_len}, with {count}")
    if kind == "encoder":
        return [(2 * i + 1) * total_len // (2 * count) for i in range(count)]
    return list(range(_first_predicted(kind, prefix_len), total_len))


def _first_predicted(kind: str, prefix_len: int) -> int:
    return {"decoder": 1, "prefix": max(prefix_len, 1), "encoder-decoder": prefix_len}[kind]
