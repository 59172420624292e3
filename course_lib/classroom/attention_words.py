"""The attention explorer in words. `static/attention_words.js` says the same; a test compares the two."""

from math import floor

from .explorer_words import series
from .text import quote

MOST_KEYS = 3


def sentences(explorer) -> list[str]:
    """Return what an AttentionExplorer shows, as sentences."""
    tokens, P, i = explorer.tokens, explorer.prefix_len, explorer.selected
    if not tokens:
        return ["There is no token yet: type a text, and the model reads it."]
    layers, heads = explorer.computed["layers"], explorer.computed["heads"]
    where = f"mean over {heads} heads" if explorer.head is None else f"head {explorer.head} of {heads}"
    said = [boundary(tokens, P)]
    if i is None:
        return said
    row = explorer.row()
    gives = [f"{decimal(row[j])} to {quote(tokens[j])} (key {j})" for j in largest(row)]
    gives[0] = gives[0].replace(" to ", " of its attention to ", 1)
    said.append(f"Layer {explorer.layer} of {layers}, {where}: {quote(tokens[i])} (query {i}) gives {series(gives)}.")
    said.append(ahead(row, i, P))
    said.append(expects(explorer.computed["next"][i], explorer.computed["follows"], tokens, i, P))
    return said


def boundary(tokens: list[str], P: int) -> str:
    T = len(tokens)
    count = f"{T} token{'' if T == 1 else 's'}"
    if P == 0:
        return f"{count}, no prefix: each reads itself and what stands before it."
    if P == T:
        return f"{count}, all prefix: each reads every token."
    return f"{count}, the first {P} prefix, up to {quote(tokens[P - 1])}; the target begins with {quote(tokens[P])}."


def ahead(row: list[float], i: int, P: int) -> str:
    if i >= P - 1:
        return "It sees nothing that comes after it."
    return f"Of its attention {decimal(sum(row[i + 1 : P]))} goes ahead, to prefix tokens that come after it."


def expects(next_tokens: list, follows: list[float], tokens: list[str], i: int, P: int) -> str:
    first = series([f"{quote(word)} ({percentage(p)})" for word, p in next_tokens[:MOST_KEYS]])
    said = f"After {quote(tokens[i])} the model expects {first}"
    said += (
        f"; the text goes on with {quote(tokens[i + 1])} ({percentage(follows[i])})." if i + 1 < len(tokens) else "."
    )
    return said + (" No loss falls on this row: it lies inside the prefix, and sees what follows." if i < P - 1 else "")


def largest(row: list[float]) -> list[int]:
    """Return the keys with the largest weights, at most three, those below 0.005 left out but for the first."""
    order = sorted(range(len(row)), key=lambda j: (-row[j], j))[:MOST_KEYS]
    return [j for n, j in enumerate(order) if n == 0 or row[j] >= 0.005]


def decimal(weight: float) -> str:
    """Return a weight with two digits, halves rounded up; a small one is not rounded to nothing."""
    return "under 0.01" if 0 < weight < 0.005 else f"{floor(100 * weight + 0.5) / 100:.2f}"


def percentage(p: float) -> str:
    if p < 0.005:
        return "under 1\u00a0%"
    return "over 99\u00a0%" if p >= 0.995 else f"{floor(100 * p + 0.5)}\u00a0%"
