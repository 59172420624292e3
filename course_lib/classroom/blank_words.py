"""What the blank explorer says, and which blanks it takes. `static/blank_rules.js` says the same; a test compares."""

from itertools import pairwise
from numbers import Integral

from .._check import short, shown
from .explorer_checks import check_tokens
from .explorer_words import percent, plural, ranges
from .text import quote

MOST_TOKENS = 24
SPECIAL = ("[MASK]", "[START]", "[END]")  # ids n, n + 1 and n + 2 of the layout, behind the n tokens of the text
_NAMED = 3  # so many blanks are quoted; a sentence that quotes a dozen is not read


# -- what is allowed


def check_text(name: str, tokens) -> None:
    check_tokens(tokens)
    if not 1 <= len(tokens) <= MOST_TOKENS:
        raise ValueError(f"{name} must have from 1 to {MOST_TOKENS} tokens, got {len(tokens)}")


def check_blanks(blanks, n: int) -> list[list[int]]:
    """Return blanks as [start, end] in the order of the text, or say what is wrong with them."""
    if not isinstance(blanks, (list, tuple)):
        raise TypeError(f"blanks must be a list of (start, end) pairs, got {shown(blanks)}")
    allowed = f"(start, end) with 0 <= start < end <= {n}, the number of tokens"
    pairs = []
    for i, blank in enumerate(blanks):
        got = f"got {short(blank)} as blanks[{i}]"
        if not isinstance(blank, (list, tuple)) or not all(_is_index(one) for one in blank):
            raise TypeError(f"blanks must be pairs of whole numbers, {allowed}; {got}")
        if len(blank) != 2 or not 0 <= blank[0] < blank[1] <= n:
            raise ValueError(f"blanks must be {allowed}; {got}")
        pairs.append([int(one) for one in blank])
    pairs.sort()
    for one, other in pairwise(pairs):
        if other[0] <= one[1]:
            how = "touch: write them as one blank" if other[0] == one[1] else "overlap"
            raise ValueError(f"blanks must lie at least one token apart, but {tuple(one)} and {tuple(other)} {how}")
    return pairs


def check_order(order, count: int) -> list[int]:
    """Return the order of `count` blanks as a list of their indexes, or say what is wrong with it."""
    if not isinstance(order, (list, tuple)) or not all(_is_index(one) for one in order):
        raise TypeError(f"order must be a list of indexes into blanks, got {short(order)}")
    if sorted(order) != list(range(count)):
        each = f"name each of the {count} blanks once, from 0 to {count - 1}" if count > 1 else "be [0], for one blank"
        raise ValueError(f"order must {each if count else 'be [], for no blank'}, got {short(order)}")
    return [int(one) for one in order]


def _is_index(value) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


# -- what is said. `state` has tokens, blanks, order, selected and layout, as a BlankExplorer has.


def sentences(state) -> list[str]:
    """Return everything that a BlankExplorer shows, as sentences."""
    n, count, hidden = len(state.tokens), len(state.blanks), sum(end - start for start, end in state.blanks)
    A, T = state.layout.context_len, len(state.layout.tokens)
    mask = f"Its mask is prefix_mask({A}, {T}): every column sees all of Part A"
    if not count:
        return [
            f"The text has {plural(n, 'token')} and no blank: Part B is empty, and nothing is to be predicted.",
            f"Part A is the whole text, {plural(A, 'column')}: this is the context, and the prefix of length P = {A}.",
            f"In all that is T = {plural(T, 'column')}, and none of them carries loss.",
            f"{mask}.",
            *column_words(state),
        ]
    verb, place = ("hides", "the blank") if count == 1 else ("hide", "each blank")
    named = [f"blank {k} is {_places(state, k - 1)}" for k in range(1, min(count, _NAMED) + 1)]
    more = f"; and {count - _NAMED} more" if count > _NAMED else ""
    in_turn = "blank 1 after a [START]"
    if count > 1:
        in_turn = f"the blanks in the order {', '.join(str(k + 1) for k in state.order)}, each after a [START]"
    return [
        f"{plural(count, 'blank')} {verb} {hidden} of {plural(n, 'token')} ({percent(hidden, n)}\u00a0%): "
        f"{'; '.join(named)}{more}.",
        f"Part A is the text with one [MASK] for {place}, {plural(A, 'column')}: this is the context, and the prefix "
        f"of length P = {A}.",
        f"Part B writes {in_turn}: {T - A} columns.",
        f"In all that is T = {T} columns, and {T - A} of them carry loss, all of Part B: they must predict "
        f"{plural(hidden, 'hidden token')} and {count} × [END].",
        f"{mask}, and a column of Part B also sees Part B up to itself.",
        *column_words(state),
    ]


def column_words(state) -> list[str]:
    """Return what is to be said of the selected column, if there is one."""
    if state.selected is None:
        return []
    c, layout, n, A = state.selected, state.layout, len(state.tokens), state.layout.context_len
    token, target = int(layout.tokens[c]), int(layout.targets[c])
    position, block = int(layout.positions[c]), int(layout.block_positions[c])
    stands = f"It stands at position {position}"
    if c < A:
        if token < n:
            who = f"{quote(state.tokens[token])}, token {token} of the text"
        else:
            k = int((layout.tokens[:c] == n).sum())
            who = f"[MASK], in the place of blank {k + 1}, {_words(state, k)}"
        rest = ", and nothing of Part B" if state.blanks else ""
        return [
            f"Column {c} reads {who}. {stands}, with block position 0, and predicts nothing. It sees all of "
            f"Part A{rest}."
        ]
    k = state.order[int((layout.tokens[A : c + 1] == n + 1).sum()) - 1]
    start, end = state.blanks[k]
    if token == n + 1:
        who = f"[START], which opens blank {k + 1}"
    else:
        who = f"{quote(state.tokens[token])}, {_which(token - start, end - start)} blank {k + 1}"
    predicts = quote(state.tokens[target]) if target < n else "[END], which closes the blank"
    seen = f"and Part B up to itself: columns {ranges(list(range(A, c + 1)))}" if c > A else "and of Part B only itself"
    return [
        f"Column {c} reads {who}. {stands}, where the [MASK] of blank {k + 1} stands, with block position {block}, and "
        f"must predict {predicts}. It sees all of Part A, {seen}."
    ]


def _which(i: int, length: int) -> str:
    if length == 1:
        return "the only token of"
    return {0: "the first token of", length - 1: "the last token of"}.get(i, f"token {i + 1} of {length} in")


def _words(state, k: int) -> str:
    start, end = state.blanks[k]
    first, last = quote(state.tokens[start]), quote(state.tokens[end - 1])
    return first if end == start + 1 else f"{first} {'and' if end == start + 2 else 'to'} {last}"


def _places(state, k: int) -> str:
    start, end = state.blanks[k]
    return f"{_words(state, k)} (token{'' if end == start + 1 else 's'} {ranges(list(range(start, end)))})"
