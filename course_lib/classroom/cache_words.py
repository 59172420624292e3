"""What the cache explorer counts and says. `static/cache_rules.js` does the same; a test compares the two."""

from ..cache import stale_rows
from ..costs import allowed_pairs
from .explorer_words import plural, ranges, series
from .text import quote


def held(prompt_len: int, step: int) -> int:
    """Return how many tokens the cache holds: none, the prompt after step 1, one more after each further step."""
    return prompt_len + step - 1 if step else 0


def action(state) -> str:
    """Return what is shown: "empty", "prefill", "decode", "moved" (the boundary, so that rows are stale), "mended"."""
    if not state.step:
        return "empty"
    if state.prefix_len != state.cached_prefix_len:
        return "moved"
    if state.re_encoded and state.re_encoded[-1][0] == state.step:
        return "mended"
    return "prefill" if state.step == 1 else "decode"


def written(state) -> list[int]:
    """Return how many rows the last action wrote, layer by layer."""
    done = action(state)
    if done == "mended":
        before = state.re_encoded[-2][1] if len(state.re_encoded) > 1 else state.prefill_len
        return [len(rows) for rows in stale_rows(before, state.prefix_len, state.held, state.layers)]
    return [{"prefill": state.prompt_len, "decode": 1}.get(done, 0)] * state.layers


def products(state) -> tuple[int, int]:
    """Return the query-key products that the last action took, and those of computing all held tokens anew."""
    done, P, n, layers = action(state), state.prefix_len, state.held, state.layers
    if done in ("empty", "moved"):
        return 0, 0
    everything = layers * allowed_pairs(P, n)
    if done != "mended":
        return (everything if done == "prefill" else layers * max(n, P)), everything
    # A layer's queries make the rows of the next one; of the last layer only the last token's answer is wanted.
    rows = [range(count) for count in written(state)[1:]]
    return sum(max(i + 1, P) for of in [*rows, range(n - 1, n)] for i in of) if any(written(state)) else 0, everything


def so_far(state) -> tuple[int, int]:
    """Return the same two numbers, summed over all that was done since the cache was empty."""
    with_cache = without = 0
    for past in state.history():
        used, everything = products(past)
        with_cache, without = with_cache + used, without + everything
    return with_cache, without


def chat_rows(turns: int, message_len: int, answer_len: int, layers: int) -> tuple[int, int]:
    """Return the rows that a chat writes once each, and those it must write again if each turn extends the prefix.

    A turn is a message and an answer. A prefix chat makes all that was said so far, and the message, its prefix: the
    rows that were cached then see more than before, all of them. A causal chat writes nothing again.
    """
    new = message_len + answer_len
    cached_at_turns = [turn * new for turn in range(turns)]
    return layers * turns * new, (layers - 1) * sum(cached_at_turns)


def sentences(state) -> list[str]:
    """Return everything that a CacheExplorer shows, as sentences."""
    turn = f"{state.prompt_len} + {len(state.tokens) - state.prompt_len} tokens"
    once, again = chat_rows(state.turns, state.prompt_len, len(state.tokens) - state.prompt_len, state.layers)
    chat = (
        f"In a chat of {plural(state.turns, 'turn')} of {turn}, {plural(once, 'row')} are written; a causal chat "
        f"writes each once. A prefix chat, whose prefix grows with every turn, writes {again} more, in place of those "
        "that went stale."
    )
    return [done_words(state), *reading_words(state), *cost_words(state), *why_words(state), chat]


def done_words(state) -> str:
    done, n, P, layers = action(state), state.held, state.prefix_len, state.layers
    if done == "empty":
        return (
            f"The cache of {plural(layers, 'layer')} is empty; {plural(state.prompt_len, 'prompt token')} will be "
            f"read with P = {P}."
        )
    if done == "prefill":
        return (
            f"Prefill with P = {P}: {plural(n, 'prompt token')} went through {plural(layers, 'layer')} together and "
            f"wrote {plural(n * layers, 'row')} of keys and values."
        )
    if done == "decode":
        count = f"{n - state.prompt_len} of {len(state.tokens) - state.prompt_len}"
        return (
            f"Decoding, new token {count}: {quote(state.tokens[n - 1])} wrote {plural(layers, 'row')}, one in each "
            f"layer; the other {(n - 1) * layers} are kept."
        )
    if done == "moved":
        stale = [len(rows) for rows in state.stale]
        return (
            f"The boundary moved from P = {state.cached_prefix_len} to P = {P} with {n} tokens cached: "
            f"{sum(stale)} of {n * layers} rows are stale, {by_layer(stale)}."
        )
    rows = written(state)
    return f"Re-encoded for P = {P}: {sum(rows)} of {n * layers} rows were written anew, {by_layer(rows)}."


def by_layer(counts: list[int]) -> str:
    return series([f"{count} in layer {layer}" for layer, count in enumerate(counts, 1)])


def reading_words(state) -> list[str]:
    if not state.held:
        return []
    i = state.reads_from
    rows = max(i + 1, state.prefix_len)
    if rows == 1:
        return [f"{quote(state.tokens[i])} (row {i}) reads only its own row in each layer."]
    return [f"{quote(state.tokens[i])} (row {i}) reads {rows} rows in each layer: {ranges(list(range(rows)))}."]


def cost_words(state) -> list[str]:
    done = action(state)
    if done in ("empty", "moved"):
        return []
    used, everything = products(state)
    if done == "prefill":
        return [f"This takes {used} query–key products, with a cache or without."]
    return [
        f"This takes {plural(used, 'query–key product')}; without a cache all {state.held} tokens would be computed "
        f"anew, with {everything}: {everything - used} are saved."
    ]


def why_words(state) -> list[str]:
    if action(state) != "moved":
        return []
    P, before, layers = state.prefix_len, state.cached_prefix_len, state.layers
    stale = state.stale
    if max(P, 1) == max(before, 1):
        return ["P = 0 and P = 1 are the same mask, so no row goes stale."]
    why = ["Layer 1 stays right: its keys and values come from the embeddings, which saw nobody."]
    if layers > 1:
        rows = list(stale[1])
        which = f"row{'' if len(rows) == 1 else 's'} {ranges(rows)}"
        sees = f"{'it sees' if len(rows) == 1 else 'they see'} {'less' if before > P else 'more'} than before"
        why.append(f"In layer 2 {which} {'is' if len(rows) == 1 else 'are'} stale: in layer 1 {sees}.")
    if layers > 2:
        why.append("From layer 3 on every row is stale: each sees row 0, which is stale in layer 2.")
    return why
