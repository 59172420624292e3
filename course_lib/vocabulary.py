"""Text to ids and back: a vocabulary of words, and the special tokens that the objectives need.

A word is a run of letters, marks, digits and underscores, with apostrophes inside it (isn't); a character of a script
that is written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Myanmar) is a word by itself, and so is every other
character that is not white space. White space is dropped. Upper and lower case differ.
"""

import functools
import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import ClassVar

from ._check import check_flag, one_of, short, shown, whole_number, whole_numbers
from ._files import file_path, write_whole

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_CLOSING = frozenset(".,;:!?)]}%’”»…")  # stands right behind what comes before it
_OPENING = frozenset("([{“«")  # stands right before what comes after it
_FORMAT = "course_lib vocabulary"
_MOST_SENTINELS = 2**16  # each is an attribute


@functools.cache
def _word_pattern() -> re.Pattern:
    # Python's \w knows no combining marks; without them most scripts of India, and accents written apart, fall to bits.
    points = [c for c in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)) if unicodedata.category(chr(c))[0] == "M"]
    starts = [c for c, before in zip(points, [0, *points], strict=False) if c != before + 1]
    ends = [c for c, after in zip(points, [*points[1:], 0], strict=True) if after != c + 1]
    marks = "".join(f"{chr(start)}-{chr(end)}" for start, end in zip(starts, ends, strict=True))
    letters = rf"[^\W{_UNSPACED}][^\W{_UNSPACED}]*(?:[{marks}]+[^\W{_UNSPACED}]*)*"
    return re.compile(rf"{letters}(?:['’]{letters})*|\S[{marks}]*")


def split_words(text: str) -> list[str]:
    """Split a text into words and punctuation marks by the rule above.

    >>> split_words("Mara's bat isn't here, is it?")
    ["Mara's", 'bat', "isn't", 'here', ',', 'is', 'it', '?']
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, got {shown(text)}")
    return _word_pattern().findall(unicodedata.normalize("NFC", text))


def join_words(words: Iterable[str]) -> str:
    """Write words as a line of text, with the spaces that English has; `split_words` gives the same words again.

    >>> join_words(["“", "A", "bat", "(", "or", "two", ")", "?", "”"])
    '“A bat (or two)?”'
    """
    text, last = "", ""
    for word in _texts("words", words):
        glued = word in _CLOSING or last in _OPENING or (_is_unspaced(word) and _is_unspaced(last))
        text += word if not last or (glued and not _is_mark(word)) else f" {word}"
        last = word
    return text


def _texts(name: str, value) -> Iterator[str]:
    """Give texts one by one, each a str; one str alone is refused, for its letters are no words."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name} must be a list of str, got {shown(value)}")
    for i, one in enumerate(value):
        if not isinstance(one, str):
            raise TypeError(f"{name}[{i}] must be a str, got {shown(one)}")
        yield one


def _is_unspaced(word: str) -> bool:
    return re.match(f"[{_UNSPACED}]", word) is not None


def _is_mark(word: str) -> bool:
    # A text may begin with a combining mark; anywhere else it would merge with the word before it.
    return word != "" and unicodedata.category(word[0])[0] == "M"


class UnknownWordsError(ValueError):
    """A text has words that the vocabulary lacks. `words` lists them, each once, in the order of the text."""

    def __init__(self, words: list[str], vocabulary: "Vocabulary"):
        self.words = tuple(words)
        told = ", ".join(_told(word, vocabulary) for word in words[:12])
        more = f", and {len(words) - 12} more" if len(words) > 12 else ""
        super().__init__(
            f"text has {len(words)} word{'' if len(words) == 1 else 's'} that this vocabulary of "
            f"{len(vocabulary.words)} words does not know: {told}{more}. "
            'Use words that it knows, or encode(text, unknown="unk") to put [UNK] in their place.'
        )


def _told(word: str, vocabulary: "Vocabulary") -> str:
    """Return an unknown word as the error shows it, with a near one that is known."""
    import difflib

    shown_word = word if len(word) <= 30 else word[:29] + "…"
    other_case = [one for one in (word.lower(), word.capitalize()) if one in vocabulary]
    near = other_case or difflib.get_close_matches(word, vocabulary.words, 1, 0.75)
    return f"‘{shown_word}’" + (f" (did you mean ‘{near[0]}’?)" if near else "")


class Vocabulary:
    """Words with an id each, behind the special tokens, whose ids are the same in every vocabulary.

    words       the words, in the order of their ids; each is one word of `split_words`, and none occurs twice
    sentinels   how many sentinel tokens there are, at most 2**16: SENTINEL_0, SENTINEL_1, ... (also `sentinel(n)`)

    PAD fills up a batch, BOS and EOS begin and end a text, UNK stands for an unknown word. MASK: BERT and GLM. GMASK,
    START, END: GLM. PRE, SUF, MID: fill in the middle. NLU, S2S, NLG: UL2's modes R, S and X, under their names as
    tokens. SENTINEL_n: T5. No text is ever read as a special token: "[MASK]" in a text is three words.

    Their ids are attributes of the class: `Vocabulary.BOS`, `Vocabulary.MASK`. GLM's objective needs MASK, START, END:
    `glm.blank_infilling` of the spans that `blank_spans.sample_spans` draws, and `glm.collate_blanks` for a batch.

    `len` counts all ids, special ones included; equal vocabularies compare equal.
    """

    SPECIALS: ClassVar[tuple[str, ...]] = (
        *("PAD", "BOS", "EOS", "UNK", "MASK", "GMASK", "START", "END", "PRE", "SUF", "MID", "NLU", "S2S", "NLG"),
    )
    PAD, BOS, EOS, UNK, MASK, GMASK, START, END, PRE, SUF, MID, NLU, S2S, NLG = range(14)

    def __init__(self, words: Iterable[str], *, sentinels: int = 32):
        if isinstance(words, str):
            raise TypeError("words must be a list of words, got one str; Vocabulary.from_texts([text]) takes a text")
        self.words = tuple(_texts("words", words))
        self.sentinels = whole_number("sentinels", sentinels, high=_MOST_SENTINELS)
        names = [*self.SPECIALS, *(f"SENTINEL_{n}" for n in range(self.sentinels))]
        self.first_word = len(names)  # ids from here on are words, those below are special
        for n in range(self.sentinels):
            setattr(self, f"SENTINEL_{n}", len(self.SPECIALS) + n)
        self._tokens = (*(f"[{name}]" for name in names), *self.words)
        self._ids = {word: self.first_word + i for i, word in enumerate(self.words)}
        if len(self._ids) < len(self.words):
            twice = next(word for word, count in Counter(self.words).items() if count > 1)
            raise ValueError(f"words must differ from each other, got {short(twice)} more than once")
        for word in self.words:
            if split_words(word) != [word]:
                raise ValueError(f"words must hold one word each, got {shown(word)}")

    @classmethod
    def from_texts(
        cls, texts: Iterable[str], *, max_words: int | None = None, min_count: int = 1, sentinels: int = 32
    ) -> "Vocabulary":
        """Collect the words of texts, the most frequent first, equally frequent ones in the order of their letters.

        max_words keeps only so many; min_count drops words that occur less often. The order of the texts is no matter.
        """
        if isinstance(texts, str):
            raise TypeError("texts must be a list of texts, got one str; write [text]")
        min_count = whole_number("min_count", min_count, low=1)
        max_words = None if max_words is None else whole_number("max_words", max_words, low=1)
        counts = Counter()
        for text in _texts("texts", texts):
            counts.update(split_words(text))
        words = sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
        if not words:
            raise ValueError(f"texts have no word that occurs at least {min_count} times, so there is nothing to learn")
        return cls(words[:max_words], sentinels=sentinels)

    def __len__(self) -> int:
        return len(self._tokens)

    def __contains__(self, word) -> bool:
        return isinstance(word, str) and word in self._ids

    def __eq__(self, other) -> bool:
        return isinstance(other, Vocabulary) and self._tokens == other._tokens

    def __hash__(self) -> int:
        return hash(self._tokens)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self.words)} words, {self.first_word} special tokens)"

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that differ between vocabularies: keep them beside weights trained with this one."""
        return hashlib.sha256("\n".join(self._tokens).encode()).hexdigest()[:16]

    def sentinel(self, n: int) -> int:
        """Return the id of SENTINEL_n, 0 <= n < sentinels."""
        if self.sentinels == 0:
            raise ValueError("this vocabulary was made with sentinels=0, so it has no sentinel token")
        return len(self.SPECIALS) + whole_number("n", n, high=self.sentinels - 1, high_name="sentinels - 1")

    def is_special(self, id: int) -> bool:
        """Tell a special token from a word."""
        return whole_number("id", id, high=len(self) - 1, high_name="len(vocabulary) - 1") < self.first_word

    def token(self, id: int) -> str:
        """Return one token as text: a word, or a special token in brackets, [PAD]."""
        return self._tokens[whole_number("id", id, high=len(self) - 1, high_name="len(vocabulary) - 1")]

    def encode(self, text: str, *, unknown: str = "error") -> list[int]:
        """Return the ids of a text's words; an empty text has none.

        unknown="error" raises UnknownWordsError, a ValueError that lists the unknown words; "unk" writes UNK for each.
        """
        one_of("unknown", unknown, ("error", "unk"))
        words = split_words(text)
        ids = [self._ids.get(word, self.UNK) for word in words]
        if unknown == "error" and self.UNK in ids:
            raise UnknownWordsError(list(dict.fromkeys(word for word in words if word not in self._ids)), self)
        return ids

    def decode(self, ids, *, specials: bool = True) -> str:
        """Return the text of ids, a list or a one-dimensional integer tensor; specials=False leaves special tokens out.

        Words come back as they were; the white space between them is written anew.
        """
        check_flag("specials", specials)
        numbers = whole_numbers("ids", ids, high=len(self) - 1, high_name="len(vocabulary) - 1")
        return join_words(self._tokens[id] for id in numbers if specials or id >= self.first_word)

    def save(self, path) -> None:
        """Write the vocabulary to a JSON file, which `load` reads; an interruption leaves the old file."""
        content = {"format": _FORMAT, "version": 1, "sentinels": self.sentinels, "words": self.words}
        write_whole(path, json.dumps(content, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, path) -> "Vocabulary":
        """Read a vocabulary that `save` wrote; a file that is none, or a damaged one, is a ValueError."""
        path = file_path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or nested without end
            raise ValueError(f"path {str(path)!r} is no vocabulary, or a damaged one: {error}") from None
        if not isinstance(content, dict) or content.get("format") != _FORMAT or content.get("version") != 1:
            raise ValueError(f"path {str(path)!r} is no vocabulary of this course (format {_FORMAT!r}, version 1)")
        words = content.get("words")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise ValueError(f"path {str(path)!r} is a damaged vocabulary: its words are no list of words")
        try:
            return cls(words, sentinels=content.get("sentinels"))
        except (TypeError, ValueError) as error:
            raise ValueError(f"path {str(path)!r} is a damaged vocabulary: {error}") from None


def check_vocabulary(value) -> Vocabulary:
    """Return a Vocabulary; refuse anything else."""
    if not isinstance(value, Vocabulary):
        raise TypeError(f"vocabulary must be a Vocabulary, got {shown(value)}")
    return value
