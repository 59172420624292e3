"""What the explorer of a shared sequence counts and says. `static/shard_explorer.js` does the same; a test compares.

N processes, L tokens, of which P are prefix; forward alone, or training.
"""

from dataclasses import dataclass

from ..linear_costs import state_bytes
from ..sequence_costs import reduced_bytes, sequence_bytes, shard_lengths
from .number_words import brief, size

HEADS, FEATURES, NUMBER_BYTES = 8, 64, 4  # of one layer, in float32
SHAPE = {"heads": HEADS, "key_dim": FEATURES, "value_dim": FEATURES, "number_bytes": NUMBER_BYTES, "normalize": True}
STATE = state_bytes(heads=HEADS, key_dim=FEATURES, value_dim=FEATURES, number_bytes=NUMBER_BYTES)


@dataclass(frozen=True)
class Sent:
    """linear, ring: the bytes that the busiest process sends. first: the first process with a token of the target."""

    linear: int
    ring: int
    first: int


def sent(N: int, L: int, P: int, training: bool) -> Sent:
    shards = shard_lengths(L, N)
    linear, ring = (max(sequence_bytes(way, P, shards, **SHAPE, training=training)) for way in ("linear", "ring"))
    return Sent(linear, ring, P // (L // N))


def sentences(N: int, L: int, P: int, training: bool) -> list[str]:
    """Return who holds what, what prefix linear attention sends, what ring attention sends, and how they compare."""
    if N == 1:
        return [f"One process holds all {L:,} tokens.", "It has nobody to send to: choose more processes.", "", ""]
    count, shard = sent(N, L, P, training), L // N
    ring = f"Ring attention: each process hands keys and values of {shard:,} tokens on {times(N - 1)}"
    if training:
        ring += f"; backward {times(N - 1)} again, with their gradients beside them, which go once more to come home"
    return [
        f"{N} processes hold {shard:,} tokens each. {_prefix(N, L, P)}",
        f"Prefix linear attention: {_states(N, L, P, training)} A state takes {STATE:,} bytes, and a process sends at "
        f"most {in_full(count.linear)}.",
        f"{ring}: {in_full(count.ring)}.",
        f"That is {brief(count.ring / count.linear)} times as much. Twice the tokens would double it, and leave the "
        "states as they are.",
    ]


def _prefix(N: int, L: int, P: int) -> str:
    if P in (0, L):
        return "All of them are prefix." if P else "There is no prefix."
    process, into = divmod(P, L // N)
    return f"The prefix ends within process {process}." if into else f"The prefix ends with process {process - 1}."


def _states(N: int, L: int, P: int, training: bool) -> str:
    summed = "for the prefix one state is summed over all processes" if P else "no prefix, no sum"
    words = f"{summed}; {chain(N, L, P)}."
    if not training:
        return words
    if not P:
        return f"{words} Backward their gradients go in reverse."
    if P // (L // N) < N - 1:
        return f"{words} Backward their gradients go the same ways, the target's in reverse."
    return f"{words} Backward its gradient is summed the same way."


def chain(N: int, L: int, P: int) -> str:
    """Say who hands a state of the target on to whom."""
    first = P // (L // N)
    if P == L:
        return "no target, nothing to hand on"
    if first == N - 1:
        return f"the target is all in process {first}, and nothing is handed on"
    if first == N - 2:
        return f"for the target process {first} hands a state on to process {N - 1}"
    return f"for the target processes {first} to {N - 2} each hand a state on to the next"


def in_full(count: int) -> str:
    return f"{count:,} bytes ({size(count)})"


def times(count: int) -> str:
    return "once" if count == 1 else "twice" if count == 2 else f"{count} times"


def made_of(N: int, L: int, P: int, training: bool) -> tuple[str, str]:
    """Return how the two numbers come about, as products."""
    if N == 1:
        return "nobody to send to", "nobody to send to"
    summed = reduced_bytes(STATE, N) if P else 0
    handed = (sent(N, L, P, training).linear - summed * (1 + training)) // STATE
    terms = [f"sum {summed:,}{' × 2' if training else ''}"] if P else []
    terms += [f"handed on {STATE:,}{' × 2' if handed == 2 else ''}"] if handed else []
    rounds = f"({N - 1} + {N - 1} + {N})" if training else f"{N - 1}"
    return " + ".join(terms), f"{L // N:,} tokens × {HEADS * 2 * FEATURES * NUMBER_BYTES:,} bytes × {rounds}"
