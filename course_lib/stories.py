"""The storyteller: outlines, and stories that follow them.

An outline is a row of cards; the story is told from them, in sentences of `story_words`:

    Mara, bat, fox, storm, forest, feast.

    Mara walks to the forest. A wild storm howls all day. There she finds a bat. It folds its wings and hangs upside
    down. Then the fox comes by. They watch it chase moths at dusk. The day ends with a feast of bread and plums.

The second card cannot be understood alone: in the forest a bat is an animal, at the market it is a club. So an early
card must be read together with a later one, which a reader who sees the whole outline can do at once.

An eighth of all outlines is held out: which ones is decided by the hero, the thing, the friend and the place together,
so that no story of the training part has the same four cards as one of the held-out part.
"""

import functools
import hashlib
import random
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from itertools import product
from string import Formatter

from ._check import one_of, short, shown, whole_number
from .story_words import (
    ENDINGS,
    FINDS,
    FRIENDS,
    HEROES,
    MEETINGS,
    OPENINGS,
    PLACES,
    PRONOUNS,
    THINGS,
    WEATHERS,
)
from .vocabulary import Vocabulary, split_words

CARDS = {
    "hero": tuple(HEROES),
    "thing": tuple(THINGS),
    "friend": FRIENDS,
    "weather": tuple(WEATHERS),
    "place": tuple(PLACES),
    "ending": tuple(ENDINGS),
}
OPTIONAL = ("weather", "ending")
SPLITS = ("train", "held_out")
_KIND = {word: kind for kind, words in CARDS.items() for word in words}
_CARD_SHARE = 0.75  # how often an optional card lies on the table


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The cards of one story, in their order on the table; weather and ending may be None, and the others may not.

    `str` is the text of the outline, which `read_outline` reads. A card that is not in CARDS[kind] is a ValueError.
    """

    hero: str
    thing: str
    friend: str
    weather: str | None = None
    place: str
    ending: str | None = None

    def __post_init__(self):
        for kind in CARDS:
            card = getattr(self, kind)
            if card is None and kind in OPTIONAL:
                continue
            if not isinstance(card, str):
                raise TypeError(f"{kind} must be one of {', '.join(CARDS[kind])}, got {shown(card)}")
            if card not in CARDS[kind]:
                raise ValueError(
                    f"{kind} must be one of {', '.join(CARDS[kind])}, got {short(card)}{_where_else(card)}"
                )

    def __str__(self) -> str:
        return ", ".join(card for card in astuple(self) if card is not None) + "."

    @property
    def side(self) -> str:
        """Where the story takes place, "wild" or "town": that decides what the thing is."""
        return PLACES[self.place]

    @property
    def split(self) -> str:
        """The part that this outline belongs to, "train" or "held_out"."""
        four = " ".join((self.hero, self.thing, self.friend, self.place))
        return "held_out" if hashlib.blake2b(four.encode(), digest_size=1).digest()[0] % 8 == 0 else "train"


def _where_else(card: str) -> str:
    kind = _KIND.get(card) or _KIND.get(card.lower()) or _KIND.get(card.capitalize())
    if kind is None:
        return ""
    right = next(word for word in (card, card.lower(), card.capitalize()) if word in _KIND)
    return f"; {card} is a {kind}" if right == card else f"; did you mean {right}, a {kind}?"


def read_outline(text: str) -> Outline:
    """Read an outline: one card of each kind, in any order, with commas, semicolons, full stops or spaces between.

    Raises a ValueError that names what is unknown, twice there, or missing, and what is allowed.

    >>> print(read_outline("Mara; forest; bat; fox"))
    Mara, bat, fox, forest.
    """
    cards, unknown = {}, []
    words = [word for word in split_words(text) if word not in (",", ";", ".")]
    for word in words:
        kind = _KIND.get(word)
        if kind is None:
            unknown.append(f"‘{word[:30]}’{_where_else(word)}")
        elif kind in cards:
            raise ValueError(f"outline has two cards for the {kind}, {cards[kind]} and {word}: leave one of them out")
        else:
            cards[kind] = word
    allowed = "\n".join(f"  {kind}: {', '.join(choices)}" for kind, choices in CARDS.items())
    if unknown:
        told = ", ".join(unknown[:12]) + (f", and {len(unknown) - 12} more" if len(unknown) > 12 else "")
        raise ValueError(f"outline has cards that the storyteller does not know: {told}.\n{allowed}")
    missing = [kind for kind in CARDS if kind not in cards and kind not in OPTIONAL]
    if missing:
        nothing = "is empty: it" if not words else "lacks cards: it still"
        raise ValueError(f"outline {nothing} needs a {' and a '.join(missing)}.\n{allowed}")
    return Outline(**cards)


def tell(outline: Outline | str, seed: int = 0) -> str:
    """Return a story that follows the outline, an Outline or its text; the seed chooses between ways to say the same.

    ValueError for a text that `read_outline` refuses.
    """
    return _tell(as_outline(outline), random.Random(whole_number("seed", seed)))


def storyteller(seed: int, split: str = "train") -> Iterator[tuple[str, str]]:
    """Return an endless iterator of (outline, story) texts, the same for the same seed on every machine."""
    seed = whole_number("seed", seed)
    return _endless(random.Random(seed), one_of("split", split, SPLITS))


def _endless(rng: random.Random, split: str) -> Iterator[tuple[str, str]]:
    while True:
        outline = Outline(**{kind: _draw(rng, kind) for kind in CARDS})
        if outline.split == split:
            yield str(outline), _tell(outline, rng)


def _draw(rng: random.Random, kind: str) -> str | None:
    return None if kind in OPTIONAL and rng.random() >= _CARD_SHARE else _one_of(rng, CARDS[kind])


def _one_of(rng: random.Random, choices: tuple) -> str:
    return choices[int(rng.random() * len(choices))]  # of all of random's methods, only random() is promised to stay


def _tell(outline: Outline, rng: random.Random) -> str:
    _, likeness, deed = THINGS[outline.thing][outline.side]
    sentences = [
        _one_of(rng, OPENINGS),
        WEATHERS.get(outline.weather),
        _one_of(rng, FINDS),
        likeness,
        _one_of(rng, MEETINGS),
        deed,
        ENDINGS.get(outline.ending),
    ]
    return fill(" ".join(sentence for sentence in sentences if sentence), outline)


def fill(sentence: str, outline: Outline) -> str:
    """Return a sentence of `story_words` with the outline's cards, and the hero's pronouns, in its slots."""
    she, capital, her = PRONOUNS[HEROES[outline.hero]]
    cards = {"hero": outline.hero, "thing": outline.thing, "friend": outline.friend, "place": outline.place}
    return sentence.format(**cards, she=she, She=capital, her=her)


def as_outline(outline: Outline | str) -> Outline:
    """Return an outline as it is, or read it from its text."""
    if not isinstance(outline, (Outline, str)):
        raise TypeError(f"outline must be an Outline, or the text of one, got {shown(outline)}")
    return outline if isinstance(outline, Outline) else read_outline(outline)


@functools.cache
def story_vocabulary() -> Vocabulary:
    """Return the vocabulary of all outlines and stories: every word that the storyteller knows, always the same."""
    return Vocabulary.from_texts([" ".join(all_sentences()), f"{', '.join(_KIND)}."])


@functools.cache
def all_sentences() -> tuple[str, ...]:
    """Return every sentence that any story can have, about a thousand, each once and always in the same order."""
    likenesses = [sentence for both in THINGS.values() for meaning in both.values() for sentence in meaning[1:]]
    templates = [*OPENINGS, *WEATHERS.values(), *FINDS, *likenesses, *MEETINGS, *ENDINGS.values()]
    forms = zip(*PRONOUNS.values(), strict=True)
    fillings = {**CARDS, **dict(zip(("she", "She", "her"), forms, strict=True))}
    sentences = []
    for template in templates:
        slots = [slot for _, slot, _, _ in Formatter().parse(template) if slot]
        for words in product(*(fillings[slot] for slot in slots)):
            sentences.append(template.format(**dict(zip(slots, words, strict=True))))
    return tuple(dict.fromkeys(sentences))
