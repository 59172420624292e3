"""Outlines and stories: the grammar says what it should, and no held-out outline is ever told in training."""

import hashlib
import random
from dataclasses import astuple
from itertools import islice, product

import pytest

from course_lib.data import (
    CARDS,
    Outline,
    encode_story,
    follows,
    read_outline,
    split_words,
    story_vocabulary,
    storyteller,
    tell,
)
from course_lib.stories import OPTIONAL, all_sentences
from course_lib.story_words import HEROES, MEETINGS, PLACES, PRONOUNS, THINGS

EXAMPLE = Outline(hero="Mara", thing="bat", friend="fox", weather="storm", place="forest", ending="feast")


def told(seed: int, number: int, split: str = "train") -> list[tuple[str, str]]:
    return list(islice(storyteller(seed, split), number))


def four(outline: str) -> tuple:
    """The cards that decide which part an outline belongs to."""
    cards = read_outline(outline)
    return cards.hero, cards.thing, cards.friend, cards.place


def test_an_outline_and_its_story_by_hand():
    assert str(EXAMPLE) == "Mara, bat, fox, storm, forest, feast."
    story = (
        "Mara walks to the forest. A wild storm howls all day. There she finds a bat. It folds its wings and hangs "
        "upside down. “What is it?” asks the fox. They watch it chase moths at dusk. The day ends with a feast of "
        "bread and plums."
    )
    assert story in {tell(EXAMPLE, seed) for seed in range(200)}
    short = Outline(hero="Tom", thing="bat", friend="fox", place="market")
    assert str(short) == "Tom, bat, fox, market."
    assert (
        "One day Tom goes to the market. Look, there is a bat! It is carved of wood and fits both hands. "
        "Then the fox comes by. They hit a ball over the roof."
    ) in {tell(short, seed) for seed in range(200)}


def test_a_later_card_decides_what_an_earlier_one_means():
    stories = {place: tell(Outline(hero="Tom", thing="bat", friend="owl", place=place)) for place in PLACES}
    for place, story in stories.items():
        assert ("wings" in story) == (PLACES[place] == "wild")
        assert ("carved of wood" in story) == (PLACES[place] == "town")
    order = list(CARDS)
    assert order.index("thing") < order.index("place")


def test_no_outline_of_one_part_comes_up_in_the_other():
    parts = {split: {four(outline) for outline, _ in told(0, 3000, split)} for split in ("train", "held_out")}
    assert len(parts["train"]) > 2500  # else the next line would say little
    assert not parts["train"] & parts["held_out"]


def test_an_eighth_of_all_outlines_is_held_out_and_every_card_is_in_both_parts():
    names = ("hero", "thing", "friend", "place")
    all_fours = list(product(*(CARDS[name] for name in names)))
    held_out = [cards for cards in all_fours if Outline(**dict(zip(names, cards, strict=True))).split == "held_out"]
    assert len(held_out) / len(all_fours) == pytest.approx(1 / 8, abs=0.01)
    for i, name in enumerate(names):
        counts = [sum(cards[i] == card for cards in held_out) for card in CARDS[name]]
        assert min(counts) > 0.8 * len(held_out) / len(counts)
    # whether a card that may be missing is there does not decide
    assert {Outline(**{**cards_of(EXAMPLE), kind: None}).split for kind in OPTIONAL} == {EXAMPLE.split}


def cards_of(outline: Outline) -> dict:
    return dict(zip(CARDS, astuple(outline), strict=True))


def test_every_meaning_of_every_thing_is_told_in_training():
    seen = {(outline.thing, outline.side) for outline in (read_outline(text) for text, _ in told(0, 2000))}
    assert seen == {(thing, side) for thing in THINGS for side in ("wild", "town")}


def test_a_seed_tells_the_same_stories_on_every_machine():
    assert told(3, 50) == told(3, 50)
    assert told(3, 50) != told(4, 50)
    # A change of these stories changes every result that was ever recorded with them: then say so in the results.
    text = "\n".join(f"{outline} {story}" for outline, story in told(0, 100))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "18e69cf0d8a83a62"


def test_outlines_do_not_end_and_hardly_repeat():
    outlines = [outline for outline, _ in told(1, 3000)]
    assert len(set(outlines)) > 2950


def test_each_card_is_drawn_evenly_and_some_may_be_missing():
    outlines = [read_outline(outline) for outline, _ in told(2, 4000)]
    for kind, cards in CARDS.items():
        drawn = [getattr(outline, kind) for outline in outlines]
        there = 0.75 if kind in OPTIONAL else 1
        assert drawn.count(None) / 4000 == pytest.approx(1 - there, abs=0.03)
        for card in cards:
            assert drawn.count(card) / 4000 == pytest.approx(there / len(cards), abs=0.03)


def test_outlines_differ_in_length():
    assert {len(split_words(outline)) for outline, _ in told(0, 100)} == {8, 10, 12}


def test_a_story_says_the_same_in_several_ways():
    assert len({tell(EXAMPLE, seed) for seed in range(100)}) == 27
    assert all(follows(EXAMPLE, tell(EXAMPLE, seed)).score == 1 for seed in range(100))


def test_pronouns_are_the_heros():
    for outline, story in told(5, 300):
        she = HEROES[read_outline(outline).hero]
        others = {form for key, forms in PRONOUNS.items() if key != she for form in forms}
        assert not others & set(split_words(story))


def test_no_card_turns_up_where_it_is_not_meant():
    # A checker that looks for cards by name, and a model, would both be led astray.
    cards = {card for cards in CARDS.values() for card in cards}
    assert sum(map(len, CARDS.values())) == len(cards)  # no card is of two kinds
    for sentence in all_sentences():
        named = [word for word in split_words(sentence) if word in cards]
        assert len(named) <= 2, sentence
        if sentence.startswith(("It ", "They ")) and not any(card in sentence for card in CARDS["ending"]):
            assert not named, sentence


def test_every_sentence_that_is_told_is_one_of_all_sentences_and_in_the_vocabulary():
    vocabulary, known = story_vocabulary(), set(all_sentences())
    for outline, story in told(6, 150):
        assert vocabulary.decode(vocabulary.encode(outline)) == outline
        assert vocabulary.decode(vocabulary.encode(story)) == story
        rest = story
        while rest:
            first = next((sentence for sentence in known if rest.startswith(sentence)), None)
            assert first, rest
            rest = rest.removeprefix(first).strip()


def test_a_few_hundred_words_and_stories_that_fit_into_seventy():
    assert 200 < len(story_vocabulary().words) < 500
    longest = max(len(split_words(outline)) + len(split_words(story)) for outline, story in told(7, 2000))
    assert longest <= 76


def test_a_friend_is_met_in_every_way():
    stories = " ".join(story for _, story in told(8, 200))
    assert all(meeting.format(friend="owl") in stories for meeting in MEETINGS)


def test_an_outline_is_read_in_any_order_with_any_mark_between():
    cards = split_words(str(EXAMPLE).replace(",", " ").replace(".", " "))
    rng = random.Random(0)
    for mark in (" ", ", ", "; ", "\n"):
        rng.shuffle(cards)
        assert read_outline(mark.join(cards)) == EXAMPLE
    assert str(read_outline("fox bat Mara forest")) == "Mara, bat, fox, forest."


BAD = [
    (lambda: read_outline(""), ValueError, "outline is empty: it needs a hero and a thing and a friend and a place"),
    (lambda: read_outline(" , ; . "), ValueError, "outline is empty"),
    (lambda: read_outline("Mara bat"), ValueError, "still needs a friend and a place.\n.*hero: Mara, Nell"),
    (lambda: read_outline("Mara Tom bat fox lake"), ValueError, "two cards for the hero, Mara and Tom"),
    (lambda: read_outline("Mara dragon fox lake"), ValueError, "does not know: ‘dragon’"),
    (
        lambda: read_outline("mara bat Fox lake"),
        ValueError,
        "‘mara’; did you mean Mara, a hero.*‘Fox’; did you mean fox",
    ),
    (lambda: read_outline(None), TypeError, "text must be a str"),
    (lambda: Outline(hero="fox", thing="bat", friend="fox", place="lake"), ValueError, "got 'fox'; fox is a friend"),
    (lambda: Outline(hero="Mara", thing="bat", friend=None, place="lake"), TypeError, "friend must be one of fox, owl"),
    (lambda: storyteller(0, "test"), ValueError, "split must be one of train, held_out, got 'test'"),
    (lambda: storyteller(-1), ValueError, "seed must be at least 0"),
    (lambda: storyteller("0"), TypeError, "seed must be a whole number"),
    (lambda: tell(EXAMPLE, 1.5), TypeError, "seed must be a whole number"),
    (lambda: tell("Mara"), ValueError, "lacks cards"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=f"(?s){words}"):
        call()


@pytest.mark.parametrize(
    "call", [tell, lambda value: follows(value, "Mara"), lambda value: encode_story(story_vocabulary(), value)]
)
def test_what_is_no_outline_is_told_of_the_outline(call):
    for value in (3, None, ["Mara"]):
        with pytest.raises(TypeError, match="outline must be an Outline, or the text of one, got"):
            call(value)


def test_many_unknown_cards_are_told_in_few_words():
    with pytest.raises(ValueError, match="and 9988 more") as refused:
        read_outline("blue " * 10_000)
    assert len(str(refused.value)) < 2000
