"""What processes that share one long sequence send each other, counted and not measured, in two ways of attention.

Each of N processes holds a stretch of the tokens, in order. Prefix linear attention sends states, whose size does not
depend on how many tokens there are; ring attention sends every key and value to every process. No torch is needed.

Sources: Liu et al. 2023 (Ring Attention, arXiv 2310.01889), section 3; Patarasuk and Yuan 2009, section 3, for the
fewest bytes of an all-reduce.
"""

from itertools import accumulate

from ._check import check_flag, one_of, one_or_each, whole_number, whole_numbers

__all__ = ["METHODS", "reduced_bytes", "sequence_bytes", "shard_lengths"]

METHODS = ("linear", "ring")
MOST_PROCESSES = 2**20


def shard_lengths(total_len: int, processes: int) -> list[int]:
    """Return how many tokens each process holds if they are shared as evenly as can be, the longer shards first.

    >>> shard_lengths(10, 4)
    [3, 3, 2, 2]
    """
    total_len = whole_number("total_len", total_len)
    processes = whole_number("processes", processes, low=1, high=MOST_PROCESSES)
    return [total_len // processes + (rank < total_len % processes) for rank in range(processes)]


def reduced_bytes(size: int, processes: int) -> int:
    """Return what each process sends in an all-reduce of `size` bytes: 2 (N - 1) / N of them, rounded up.

    Each sends all but its own Nth to be added up, and then the sums, again but for one Nth.

    >>> reduced_bytes(1200, 4)
    1800
    """
    size, processes = whole_number("size", size), whole_number("processes", processes, low=1)
    return -(-2 * (processes - 1) * size // processes)


def sequence_bytes(
    method: str,
    prefix_len,
    lengths,
    *,
    heads: int,
    key_dim: int,
    value_dim: int,
    batch: int = 1,
    normalize: bool = False,
    training: bool = False,
    number_bytes: int = 4,
) -> list[int]:
    """Return how many bytes each process sends for one layer: one number for each of `lengths`.

    method      "linear"  prefix linear attention, as `sequence_parallel` computes it. Forward: an all-reduce of the
                          state of the prefix (none if P = 0), and from the first process that holds a token of the
                          target each hands a state on to the next. Backward: the same again, with gradients of states
                          and from the last process to the first.
                "ring"    ring attention. Forward: N - 1 times each process hands the keys and values that it has to
                          the next, so each sends all of them but one shard. Backward: K and V go round once more, and
                          with them dK and dV, which have one step more to go, back to their own process. (The
                          authors' own code also sends K and V this last step, of which nothing is made.)
    prefix_len  P, an int, or one for each of `batch` examples. Ring attention is counted as published: every block
                goes all the way, also where the mask hides it.
    lengths     the tokens that each process holds, in order; `shard_lengths` shares them evenly.
    training    forward and backward; otherwise forward alone.
    number_bytes  of an element of q, k and v, and of dK and dV. The numbers of a state have
                4 at least, for 16-bit inputs are summed in 32, and with normalize z is part of it.

    Not counted are the few numbers by which the processes of "linear" agree on their shapes, what a returned state
    adds, and the gradient of an initial one. The two compute different functions: ring attention is softmax attention.

    >>> shape = {"heads": 8, "key_dim": 64, "value_dim": 64, "normalize": True}
    >>> sequence_bytes("linear", 512, [512, 512], **shape), sequence_bytes("ring", 512, [512, 512], **shape)
    ([133120, 133120], [2097152, 2097152])
    """
    one_of("method", method, METHODS)
    check_flag("normalize", normalize)
    check_flag("training", training)
    lengths = whole_numbers("lengths", lengths)
    if not lengths:
        raise ValueError("lengths must have one entry for each process, got none")
    sizes = {"batch": batch, "heads": heads, "key_dim": key_dim, "value_dim": value_dim, "number_bytes": number_bytes}
    batch, heads, key_dim, value_dim, number_bytes = (whole_number(name, n, low=1) for name, n in sizes.items())
    limits = {"high": sum(lengths), "high_name": "the sum of lengths"}
    prefixes = one_or_each("prefix_len", prefix_len, batch, **limits)
    prefixes = [prefixes] if isinstance(prefixes, int) else prefixes
    count = len(lengths)
    if method == "ring":
        token = batch * heads * (key_dim + value_dim) * number_bytes  # of K and V
        once = [token * (sum(lengths) - lengths[(rank + 1) % count]) for rank in range(count)]
        home = token * sum(lengths) * (count > 1)  # of dK and dV: every shard passes through every process
        return [bytes_ * (1 + training) + home * training for bytes_ in once]
    state = batch * heads * key_dim * (value_dim + normalize) * max(number_bytes, 4)
    summed = reduced_bytes(state, count) if any(prefixes) else 0
    first = first_of_target(prefixes, lengths)
    sent = []
    for rank in range(count):
        on, back = state * (first <= rank < count - 1), state * (rank > first)
        sent.append(summed + on + training * (summed + back))
    return sent


def first_of_target(prefixes: list[int], lengths: list[int]) -> int:
    """Return the first process that holds a token behind the shortest prefix; one too many if none does."""
    ends = list(accumulate(lengths))
    return next((rank for rank, end in enumerate(ends) if end > min(prefixes, default=0)), len(lengths))
