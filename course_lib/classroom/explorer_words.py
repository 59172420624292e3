"""The mask explorer in words. `static/mask_words.js` says the same in the browser, and a test compares the two."""

from itertools import pairwise

from torch import Tensor

from ..masks import prefix_mask
from .text import quote


def sentences(explorer) -> list[str]:
    """Return everything that a MaskExplorer shows, as sentences."""
    tokens, P, kind = explorer.tokens, explorer.prefix_len, explorer.kind
    T = len(tokens)
    note = [_moved(explorer.moved_from, P, T)] if explorer.moved_from is not None else []
    c, mask = explorer.costs, explorer.mask  # also of no tokens: a boundary behind them is refused here
    if T == 0:
        return [*note, "There is no token yet: type a sentence, and its mask appears."]
    looking = _custom(tokens, P, mask) if kind == "custom" else _looking(kind, tokens, P)
    versus = f"{abs(c.added)} {'more' if c.added > 0 else 'fewer'} than causal" if c.added else "as many as causal"
    tile, tiles = explorer.tile, c.tiles
    result = [
        *note,
        looking,
        f"{c.allowed} of {c.total} pairs {'is' if c.allowed == 1 else 'are'} allowed "
        f"({percent(c.allowed, c.total)}\u00a0%), {versus}.",
        f"In tiles of {tile} × {tile}, a kernel visits {tiles.visited} of {tiles.visited + tiles.skipped} "
        f"and skips {tiles.skipped}.",
        _loss(kind, P, T, c.loss_tokens),
    ]
    if explorer.selected is not None:
        i = explorer.selected
        keys = mask[i].nonzero()[:, 0].tolist()
        which = f"all {T} keys" if T > 1 else "itself"
        which = f"{len(keys)} of {T} keys: {ranges(keys)}" if 0 < len(keys) < T else which
        result.append(f"{quote(tokens[i])} (query {i}) may read {which if keys else 'nothing at all'}.")
    return result


def percent(part: int, whole: int) -> int:
    """Return the share in whole per cent, halves rounded up."""
    return (200 * part + whole) // (2 * whole) if whole else 0


def ranges(keys: list[int]) -> str:
    """Return rising numbers as ranges: "0 to 4, 7"; what comes after the third range is only counted."""
    starts = [key for i, key in enumerate(keys) if i == 0 or keys[i - 1] != key - 1]
    ends = [a for a, b in pairwise(keys) if b != a + 1] + keys[-1:]
    found = list(zip(starts, ends, strict=True))
    words = [str(a) if a == b else f"{a} and {b}" if b == a + 1 else f"{a} to {b}" for a, b in found[:3]]
    rest = sum(b - a + 1 for a, b in found[3:])
    return ", ".join(words) + (f", and {rest} more" if rest else "")


def plural(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def series(parts: list[str]) -> str:
    """List parts as a sentence does.

    >>> series(["a"]), series(list("abc"))
    ('a', 'a, b and c')
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _moved(before: int, now: int, T: int) -> str:
    why = f"because the text now has {plural(T, 'token')}" if before > T else "with the words that it stands between"
    return f"The boundary moved from {before} to {now}, {why}."


def _looking(kind: str, tokens: list[str], P: int) -> str:
    T = len(tokens)
    if kind == "encoder":
        return f"Encoder-only, T = {T}: every token reads every token; the boundary plays no part."
    if kind == "decoder":
        return f"Decoder-only, T = {T}: every token reads itself and what stands before it; the boundary plays no part."
    if kind == "encoder-decoder":
        source = f"a source of {plural(P, 'token')}, up to {quote(tokens[P - 1])}," if P else "no source"
        target = f"a target of {T - P}, from {quote(tokens[P])} on" if P < T else "no target"
        reads = ["the source reads itself in both directions"] if P else []
        reads += ["the target reads itself from left to right"] if P < T else []
        reads += ["and reads the source by cross-attention"] if 0 < P < T else []
        return f"Encoder–decoder with {source} and {target}: {', '.join(reads)}."
    if P == 0:
        return (
            f"Prefix LM with P = 0 of T = {T}: there is no prefix, so every token reads itself and what stands "
            "before it, as in a decoder."
        )
    if P == T:
        return f"Prefix LM with P = T = {T}: everything is prefix, so every token reads every token, as in an encoder."
    return (
        f"Prefix LM with P = {P} of T = {T}: the prefix, up to {quote(tokens[P - 1])}, reads itself in both "
        f"directions; the target, from {quote(tokens[P])} on, reads the prefix, and itself from left to right."
    )


def _custom(tokens: list[str], P: int, mask: Tensor) -> str:
    T = len(tokens)
    expected = prefix_mask(P, T)
    changes = []
    for verb, where in (("opens", mask & ~expected), ("closes", expected & ~mask)):
        if pairs := where.nonzero().tolist():
            i, j = pairs[0]
            first = f"{quote(tokens[i])} (query {i}) to {quote(tokens[j])} (key {j})"
            changes.append(f"{verb} {plural(len(pairs), 'pair')}, first {first}")
    against = f"against the prefix mask of P = {P} it {', and '.join(changes)}."
    blind = (~mask.any(dim=1)).nonzero()[:, 0].tolist()
    nothing = ""
    if blind:
        first = f"{quote(tokens[blind[0]])} (query {blind[0]})"
        nothing = f" {plural(len(blind), 'query', 'queries')} may read nothing at all, first {first}."
    return f"Your own mask, T = {T}: {against if changes else f'it is exactly the prefix mask of P = {P}.'}{nothing}"


def _loss(kind: str, P: int, T: int, count: int | None) -> str:
    if count is None:
        return "A mask alone does not say which tokens the loss scores."
    n = plural(count, "token")
    if kind == "encoder":
        return f"The loss scores {n} out of {T}, masked at random at a rate of 15\u00a0%."
    if count == 0:
        return "The loss scores no token: nothing is predicted."
    if kind == "decoder" or (kind == "prefix" and P == 0):
        return f"The loss scores {n}, all but the first, which nothing predicts."
    by = "the last prefix token" if kind == "prefix" else "a start symbol"
    return f"The loss scores {n}, the target; {by} predicts the first of them."
