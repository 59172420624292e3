"""What a story made of its outline, told in words: so that "it wrote the story that I asked for" can be counted."""

import functools
from dataclasses import astuple, dataclass

from ._check import shown
from .stories import CARDS, Outline, all_sentences, as_outline
from .story_words import HEROES, PRONOUNS, THINGS
from .vocabulary import split_words

_SENTENCE_ENDS = (".", "!")


@dataclass(frozen=True)
class Followed:
    """What a story made of its outline. `str` says it in words.

    kept, lost      what is right and what is wrong, by kind ("hero", "thing", ..., and "meaning": what the thing is)
    sentences       how many sentences the story has
    well_made       how many of them are sentences of the storyteller, word for word
    """

    kept: dict[str, str]
    lost: dict[str, str]
    sentences: int
    well_made: int

    @property
    def score(self) -> float:
        """The kept part of all that the outline asks for, from 0 to 1."""
        return len(self.kept) / (len(self.kept) + len(self.lost))

    def __str__(self) -> str:
        return "\n".join(
            [
                f"The story keeps {len(self.kept)} of {len(self.kept) + len(self.lost)}.",
                *(f"  kept {kind}: {why}" for kind, why in self.kept.items()),
                *(f"  LOST {kind}: {why}" for kind, why in self.lost.items()),
                f"{self.well_made} of {self.sentences} sentences are well made.",
            ]
        )


def follows(outline: Outline | str, story: str) -> Followed:
    """Say which cards of the outline a story keeps.

    A card is kept if the story names it, and no other card of its kind. The hero's pronouns must fit; a card that the
    outline leaves out must not turn up. The meaning is kept if the sentences about the thing are those of the place
    that the outline names: the animal for a bat in the forest, the club for one at the market.

    outline: an Outline, or a text that `read_outline` reads. story: any text, an empty one included.
    """
    outline = as_outline(outline)
    if not isinstance(story, str):
        raise TypeError(f"story must be a str, got {shown(story)}")
    words = split_words(story)
    kept, lost = {}, {}
    for kind, card in zip(CARDS, astuple(outline), strict=True):
        others = dict.fromkeys(word for word in words if word in CARDS[kind] and word != card)
        if others:
            wanted = f"the outline says {card}" if card else f"the outline has no {kind}"
            lost[kind] = f"{wanted}, the story says {' and '.join(others)}"
        elif card in words:
            kept[kind] = card
        elif card:
            lost[kind] = f"the outline says {card}, the story names no {kind}"
    wrong = [word for word in words if word in _forms_of_others(outline.hero)]
    if "hero" in kept and wrong:
        del kept["hero"]
        lost["hero"] = f"{outline.hero} is a {HEROES[outline.hero]}, the story says {wrong[0]}"
    right, why = _meaning(outline, words)
    (kept if right else lost)["meaning"] = why
    sentences = _sentences(words)
    return Followed(kept, lost, len(sentences), sum(sentence in _known() for sentence in sentences))


def _forms_of_others(hero: str) -> tuple[str, ...]:
    return tuple(form for she, forms in PRONOUNS.items() if she != HEROES[hero] for form in forms)


def _meaning(outline: Outline, words: list[str]) -> tuple[bool, str]:
    """Return whether the story tells of the right meaning of the right thing, and why."""
    asked = f"{outline.thing} ({THINGS[outline.thing][outline.side][0]})"
    told = [meaning for meaning, marks in _marks().items() if len(marks & set(words)) >= len(marks) / 2]
    if not told:
        return False, f"{asked} is asked for, the story does not tell what it is"
    if told == [(outline.thing, outline.side)]:
        return True, asked
    found = " and of a ".join(f"{thing} ({THINGS[thing][side][0]})" for thing, side in told)
    return False, f"{asked} is asked for, the story tells of a {found}"


@functools.cache
def _marks() -> dict[tuple[str, str], frozenset[str]]:
    """Return, for each meaning of each thing, the words of its sentences that no other meaning has."""
    all_words = {
        (thing, side): set(split_words(" ".join(meaning[1:])))
        for thing, both in THINGS.items()
        for side, meaning in both.items()
    }
    others = {key: set().union(*(words for other, words in all_words.items() if other != key)) for key in all_words}
    return {key: frozenset(words - others[key]) for key, words in all_words.items()}


def _sentences(words: list[str]) -> list[tuple[str, ...]]:
    """Cut words behind each full stop; what follows the last one is a sentence too, though an unfinished one."""
    ends = [i + 1 for i, word in enumerate(words) if word in _SENTENCE_ENDS]
    starts = [0, *ends]
    return [tuple(words[start:end]) for start, end in zip(starts, [*ends, len(words)], strict=True) if start < end]


@functools.cache
def _known() -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(split_words(sentence)) for sentence in all_sentences())
