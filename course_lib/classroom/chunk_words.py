"""What the explorer of linear attention counts and says. `static/chunk_explorer.js` does the same; a test compares.

T tokens, of which P are prefix; chunks of C; D features of a key, and as many of a value.
"""

from functools import cache
from math import floor

from ..linear_costs import LinearCost, linear_cost
from .number_words import brief, plural, short

WAYS = ("quadratic", "reordered", "chunks")


@cache
def cost_of(way: str, T: int, C: int, P: int, D: int) -> LinearCost:
    """Return what a way costs. Reordered products are the chunked form of a text that is all prefix."""
    form, prefix = {"quadratic": ("quadratic", P), "reordered": ("chunked", T), "chunks": ("chunked", P)}[way]
    return linear_cost(form, prefix, T, key_dim=D, value_dim=D, chunk=C)


def tile_side(T: int, C: int, P: int) -> int:
    """Return the side of the largest tile; 0 where no chunk is left."""
    return min(C, T - P)


def held(way: str, T: int, C: int, P: int, D: int) -> tuple[int, str]:
    """Return how many numbers the largest thing has that is held at once, and what there is."""
    tile, state = tile_side(T, C, P), f"state {D} × {D}"
    if way == "quadratic":
        return T * T, f"the square, {T:,} × {T:,}"
    if way == "reordered" or not tile:
        return D * D, f"the {state}"
    return max(D * D, tile * tile), f"{state}, tile {tile:,} × {tile:,}"


def sentences(way: str, T: int, C: int, P: int, D: int) -> list[str]:
    """Return what is drawn, what it costs, and what that trades for what."""
    cost = cost_of(way, T, C, P, D)
    most, what = held(way, T, C, P, D)
    counts = (
        f"{cost.flops:,} operations ({short(cost.flops)}): state {cost.state:,}, read {cost.read:,}, "
        f"pairs {cost.pairs:,}; {steps(cost.steps)}; at most {most:,} numbers held at once ({what})."
    )
    return [_drawn(way, T, C, P, D), counts, _trade(way, T, C, P, D)]


def _drawn(way: str, T: int, C: int, P: int, D: int) -> str:
    if way == "quadratic":
        return f"Q times Kᵀ gives {T:,} × {T:,} pairs, those too that the mask hides; times V, the output."
    if way == "reordered":
        return f"Kᵀ times V gives one state of {D} × {D}; Q times the state, the output. No mask, and no T × T square."
    if P == T:
        return f"The prefix is everything: one state of {D} × {D}, one reading of it, no mask, and no chunk is left."
    tile, count = tile_side(T, C, P), -(-(T - P) // C)
    prefix = f"A prefix of {P:,} tokens: one state, one reading, no mask. Then " if P else ""
    tiles = f"{count:,} tiles" if count > 1 else "one tile" if P else "One tile"
    last = ", the last one smaller" if (T - P) % tile else ""
    before = f"what lies before is read from a state of {D} × {D}" if P or count > 1 else "nothing lies before it"
    return f"{prefix}{tiles} on the diagonal, of {tile:,} × {tile:,} pairs{last}; {before}."


def _trade(way: str, T: int, C: int, P: int, D: int) -> str:
    def flops(one: str, chunk: int = C) -> int:
        return cost_of(one, T, chunk, P, D).flops

    if way == "quadratic":
        words = f"One step, and {compared(flops(way), flops('reordered'))} the reordered products (T / D)"
        if P < T:
            after = f" after a prefix of {P:,}" if P else ""
            words += f", {compared(flops(way), flops('chunks'))} chunks of {C:,}{after}"
        return words + ". Twice the tokens take four times the operations."
    if way == "reordered":
        return (
            f"One step, and {compared(flops(way), flops('quadratic'))} the quadratic form (D / T). "
            "But no mask fits in: the state holds all tokens, those to come too."
        )
    if P == T:
        return "These are the reordered products: one step, whatever C is."
    fewest = flops(way, 1)
    words = (
        f"C = 1: token by token, {steps(cost_of(way, T, 1, P, D).steps)}, the fewest operations, {short(fewest)}. "
        f"C = T: {'the target as one tile' if P else 'the quadratic form'}, with a state beside it; "
        f"{steps(cost_of(way, T, T, P, D).steps)}, {short(flops(way, T))}."
    )
    between = C if 1 < C < T - P else D
    if between >= T - P:
        return words
    cost = cost_of(way, T, between, P, D)
    return (
        f"{words} In between, C = {between:,}: {steps(cost.steps)}, {short(cost.flops)}, {ratio(cost.flops, fewest)} "
        f"times the fewest; {floor(100 * cost.pairs / cost.flops + 0.5)}\u00a0% of it for pairs."
    )


def compared(one: int, other: int) -> str:
    if one == other:
        return "as many operations as"
    return f"{ratio(one, other)} {'of' if one < other and not other % one else 'times'} the operations of"


def ratio(one: int, other: int) -> str:
    """Return a quotient in full where it is whole or one over a whole, and else in three digits or so.

    >>> ratio(48, 3), ratio(3, 48), ratio(2, 3)
    ('16', '1/16', '0.67')
    """
    if one % other == 0:
        return f"{one // other:,}"
    return f"1/{other // one:,}" if other % one == 0 else brief(one / other)


def steps(count: int) -> str:
    return f"{plural(count, 'step')} in turn"
