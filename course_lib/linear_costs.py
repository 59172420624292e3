"""What linear attention costs, counted and not measured, in each of its forms.

All compute the same sums over the pairs that a prefix mask allows, with feature-mapped keys of Dk features and values
of Dv. P is the prefix length, T the total length, C the length of a chunk.

    quadratic    scores of all T x T pairs, masked, times the values             2 T T (Dk + Dv)
    recurrent    token by token: add to the state, then read from it             4 T Dk Dv
    chunked      prefix: one state, one reading of it;                           4 P Dk Dv
                 then chunk by chunk: read the state, add the own C x C tile,
                 masked, and update the state                                    4 (T-P) Dk Dv + 2 (T-P) C (Dk + Dv)

A multiplication and its addition are 2 operations. A tile is counted in whole, its masked half too, as it is computed.
Sources: Katharopoulos et al. 2020, section 3; Yang et al. 2024 (GLA), algorithm 1, for the chunks. No torch is needed.
"""

from dataclasses import dataclass

from ._check import one_of, whole_number

__all__ = ["FORMS", "LinearCost", "chunks", "linear_cost", "state_bytes"]

FORMS = ("quadratic", "recurrent", "chunked")
MOST_CHUNKS = 2**20  # that are written down one by one


@dataclass(frozen=True)
class LinearCost:
    """The operations of one forward pass of one head on one example, and how many steps wait for each other.

    state: building states from keys and values. read: queries that read a state. pairs: scores of pairs, and pairs
    times values. steps: how many of these in turn wait for the one before; each may be wide.
    """

    state: int
    read: int
    pairs: int
    steps: int

    @property
    def flops(self) -> int:
        """All operations: of the state, of reading it, and of pairs."""
        return self.state + self.read + self.pairs


def chunks(prefix_len: int, total_len: int, chunk: int) -> list[tuple[int, int]]:
    """Return the chunks of the target, (begin, end) each, end not included; the last may be shorter.

    >>> chunks(3, 10, 4)
    [(3, 7), (7, 10)]
    """
    prefix_len, total_len = _lengths(prefix_len, total_len)
    chunk = whole_number("chunk", chunk, low=1)
    if total_len - prefix_len > MOST_CHUNKS * chunk:
        least = -(-(total_len - prefix_len) // MOST_CHUNKS)
        raise ValueError(f"chunk must be at least {least} for so long a text (total_len = {total_len}), got {chunk}")
    return [(begin, min(begin + chunk, total_len)) for begin in range(prefix_len, total_len, chunk)]


def linear_cost(
    form: str, prefix_len: int, total_len: int, *, key_dim: int, value_dim: int, chunk: int = 64
) -> LinearCost:
    """Count one of FORMS. `chunk` is the length of a chunk, at least 1, and of no meaning to the other forms.

    >>> linear_cost("chunked", 512, 1024, key_dim=64, value_dim=64).flops
    25165824
    >>> linear_cost("quadratic", 512, 1024, key_dim=64, value_dim=64).flops
    268435456
    """
    one_of("form", form, FORMS)
    prefix_len, total_len = _lengths(prefix_len, total_len)
    sizes = {"key_dim": key_dim, "value_dim": value_dim, "chunk": chunk}
    key_dim, value_dim, chunk = (whole_number(name, size, low=1) for name, size in sizes.items())
    target = total_len - prefix_len
    once = 2 * total_len * key_dim * value_dim  # every token is added to a state once, and every query reads one once
    if form == "quadratic":
        return LinearCost(0, 0, 2 * total_len**2 * (key_dim + value_dim), 1 if total_len else 0)
    if form == "recurrent":
        return LinearCost(once, once, 0, (prefix_len > 0) + target)
    whole, rest = divmod(target, chunk)
    pairs = 2 * (whole * chunk**2 + rest**2) * (key_dim + value_dim)
    return LinearCost(once, once, pairs, (prefix_len > 0) + whole + (rest > 0))


def _lengths(prefix_len, total_len) -> tuple[int, int]:
    total_len = whole_number("total_len", total_len)
    return whole_number("prefix_len", prefix_len, high=total_len, high_name="total_len"), total_len


def state_bytes(*, heads: int, key_dim: int, value_dim: int, layers: int = 1, number_bytes: int = 4) -> int:
    """Return what the states of one sequence take, whatever its length: kv and the normaliser's z, in all layers.

    number_bytes: 4, for the library keeps states in float32 for 16-bit inputs, too; 8 for float64.

    >>> state_bytes(heads=8, key_dim=64, value_dim=64)
    133120
    """
    sizes = {"heads": heads, "key_dim": key_dim, "value_dim": value_dim, "layers": layers, "number_bytes": number_bytes}
    heads, key_dim, value_dim, layers, number_bytes = (whole_number(name, n, low=1) for name, n in sizes.items())
    return layers * heads * key_dim * (value_dim + 1) * number_bytes
