"""How the classroom splits a learner's text into tokens: one written rule, the same here and in the browser.

1. Text is read grapheme by grapheme (what a reader calls one character); a grapheme is never broken. The first code
   point of a grapheme says what it is.
2. White space, control characters and ZERO WIDTH SPACE stand between tokens and are dropped. A format character (soft
   hyphen, direction mark, byte order mark) that is a grapheme by itself is skipped, and does not end a word.
3. Letters, marks, numbers and the underscore make words. An apostrophe (' or ’) between two letters and a point or a
   comma between two digits stay inside the word.
4. Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar are written without spaces. Here, where there is no
   dictionary, each grapheme of theirs is a token; the browser has one, and joins them into words.
5. Every other grapheme (punctuation, an emoji, a symbol) is a token.

A lone surrogate counts as U+FFFD. `static/text_rules.js` is the same rule in JavaScript; a shared fixture of texts in
many scripts holds the two together. Source for graphemes: Unicode Standard Annex 29.
"""

import regex

from .._check import shown

MAX_TOKENS = 256
MAX_CHARACTERS = 20_000

_UNSPACED = "".join(rf"\p{{scx={script}}}" for script in ("Han", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr"))
_GRAPHEME = regex.compile(
    r"(?P<gap>(?=[\p{White_Space}\p{Cc}\p{Zl}\p{Zp}\u200B])\X)"
    r"|(?P<format>(?=\p{Cf})\X)"
    rf"|(?P<unspaced>(?=[\p{{L}}\p{{M}}\p{{N}}])(?=[{_UNSPACED}])\X)"
    r"|(?P<letter>(?=\p{L})\X)|(?P<digit>(?=\p{Nd})\X)|(?P<word>(?=[\p{M}\p{N}_])\X)"
    r"|(?P<other>\X)"
)
_FORMAT = regex.compile(r"\p{Cf}+")
_SHOWN = str.maketrans({"\n": "↵", "\r": "↵", "\t": "⇥", "\u2028": "↵", "\u2029": "↵"})
_RIGHT_TO_LEFT = regex.compile(r"[\u0590-\u08FF\uFB1D-\uFDFF\uFE70-\uFEFE\U00010800-\U00010FFF\U0001E800-\U0001EFFF]")
_LONGEST_QUOTE = 24


def well_formed(text: str) -> str:
    """Return `text` with surrogate pairs joined and each lone surrogate replaced by U+FFFD, as a browser would."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def split_text(text: str) -> list[str]:
    """Split a text into tokens by the rule above. An empty text has none.

    Raises TypeError for anything but a str, ValueError for more than 20000 characters (code points) or 256 tokens.

    >>> split_text("The lantern isn't lost: 3.5 km away.")
    ['The', 'lantern', "isn't", 'lost', ':', '3.5', 'km', 'away', '.']
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {shown(text)}")
    text = well_formed(text)
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"text must have at most {MAX_CHARACTERS} characters, got {len(text)}")
    tokens = list(_tokens(text))
    if len(tokens) > MAX_TOKENS:
        raise ValueError(f"text must have at most {MAX_TOKENS} tokens, got {len(tokens)}")
    return tokens


def _tokens(text: str):
    """Yield the tokens of a well-formed text."""
    pieces = [(match.lastgroup, match.group()) for match in _GRAPHEME.finditer(text)]
    pieces = [(kind, grapheme) for kind, grapheme in pieces if kind != "format" or not _FORMAT.fullmatch(grapheme)]
    word = ""
    for i, (kind, grapheme) in enumerate(pieces):
        before = pieces[i - 1][0] if i else "gap"
        after = pieces[i + 1][0] if i + 1 < len(pieces) else "gap"
        joins = (grapheme in ("'", "’") and before == after == "letter") or (
            grapheme in (".", ",") and before == after == "digit"
        )
        if joins or kind in ("letter", "digit", "word"):
            word += grapheme
            continue
        if word:
            yield word
            word = ""
        if kind != "gap":
            yield grapheme
    if word:
        yield word


def quote(token: str) -> str:
    """Return a token as a sentence quotes it: in ‘ ’, what is invisible made visible, cut at 24 graphemes.

    It is also cut at 240 code points, for marks can be piled up on one letter.
    A token with right-to-left letters stands in an isolate, so that it cannot turn the sentence around it.
    """
    token = show(token)
    if len(token) > _LONGEST_QUOTE:
        graphemes = regex.findall(r"\X", token[: 10 * _LONGEST_QUOTE])
        if len(graphemes) > _LONGEST_QUOTE or len(token) > 10 * _LONGEST_QUOTE:
            token = "".join(graphemes[:_LONGEST_QUOTE]) + "…"
    return f"‘\u2068{token}\u2069’" if _RIGHT_TO_LEFT.search(token) else f"‘{token}’"


def show(token: str) -> str:
    """Return a token with spaces at its ends, line ends, tabs, other control characters and emptiness made visible."""
    if not token:
        return "∅"
    token = well_formed(token).translate(_SHOWN)
    token = regex.sub(r"\p{Cc}", "·", token)
    return regex.sub(r"^ +| +$", lambda match: "␣" * len(match.group()), token)
