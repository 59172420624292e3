"""Hostile values everywhere: each is taken, or refused in a few words; nothing is executed, and nothing hangs."""

import inspect
import math
import re
import time
from functools import partial

import numpy as np
import pytest
import torch
import traitlets
from matplotlib.figure import Figure

from course_lib._check import short, shown
from course_lib.classroom import (
    AttentionExplorer,
    BlankExplorer,
    CacheExplorer,
    ChunkExplorer,
    DataFlowExplorer,
    KernelRaceExplorer,
    KVExplorer,
    MaskExplorer,
    ShardExplorer,
    StateExplorer,
    predict,
    progress,
    quiz,
    show,
    show_source,
)
from course_lib.classroom.exercises import EXERCISES
from course_lib.classroom.exercises.engine import MOST_SAID, _as_text
from course_lib.classroom.panel import ProgressPanel
from course_lib.classroom.predict import Prediction
from course_lib.classroom.quiz import QuizDeck
from course_lib.classroom.training_panel import TrainingPanel
from course_lib.classroom.widgets import CourseWidget
from course_lib.model import Config, PrefixLM
from course_lib.training import Run
from course_lib.vocabulary import Vocabulary

LONGEST, SECONDS = 400, 10  # of a message, and of whatever is asked; it takes a hundredth of that
MARKUP = '<img src=x onerror="alert(1)"><script>alert(1)</script>'


class Nasty:
    def __repr__(self):
        raise RuntimeError("a repr of somebody's own")

    __str__ = __repr__


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


# What JSON can bring from a browser, and what only Python can.
SENT = {
    "markup": MARKUP, "control": "a\x00\x1b[31m\x07b", "bidi": "a\u202eb\u2066c", "surrogate": "a\ud800b",
    "million": "a" * 10**6, "marks": "a" + "\u0301" * 19_000, "empty": "", "none": None, "true": True, "float": 2.5,
    "nan": math.nan, "inf": math.inf, "huge": 10**30, "negative": -(10**30), "digits": 10**4000, "list": [1, 2],
    "no list": [], "long list": [0] * 10**5, "texts": [MARKUP, "\ud800", "\x00"], "mixed": ["a", 1], "dict": {"a": 1},
    "deep": nested(300),
}  # fmt: skip
VALUES = {
    **SENT, "bytes": b"\x01" * 10**5, "deeper": nested(5000), "object": object(), "nasty": Nasty(), "complex": 1j,
    "array": np.zeros((3, 3)), "tensor": torch.full((3, 3), math.nan), "meta": torch.zeros(3, 3, device="meta"),
    "sparse": torch.eye(3).to_sparse(), "function": len,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))


@pytest.fixture(autouse=True)
def in_time():
    started = time.process_time()
    yield
    assert time.process_time() - started < SECONDS


VOCABULARY = Vocabulary(["the", "bat"])


def attention(text_or_tokens="the bat", prefix_len=1, **more):
    torch.manual_seed(0)
    model = PrefixLM(Config(vocab_size=len(VOCABULARY), dim=8, layers=1, heads=2, max_len=20))
    return AttentionExplorer(model, VOCABULARY, text_or_tokens, prefix_len, **more)


def panel():
    return TrainingPanel(Run(attention()._model, lambda step: None, steps=3))


EXPLORERS = {
    each: each
    for each in (
        BlankExplorer, CacheExplorer, ChunkExplorer, DataFlowExplorer, KVExplorer, KernelRaceExplorer, MaskExplorer,
        ShardExplorer, StateExplorer,
    )
} | {AttentionExplorer: attention}  # fmt: skip
OTHERS = {
    ProgressPanel: lambda: ProgressPanel(progress),
    TrainingPanel: panel,
    QuizDeck: lambda: quiz("prefix_mask.cost"),
    Prediction: lambda: predict("prefix_mask.count"),
}
WIDGETS = EXPLORERS | OTHERS


def refused(call, *named) -> bool:
    """Call; True if it was refused, and then in words: short, and with one of these names in them."""
    try:
        call()
    except (TypeError, ValueError, OSError, traitlets.TraitError) as error:
        said = str(error)
        assert len(said) <= (5000 if "There are " in said else LONGEST), said[:LONGEST]  # what there is
        assert any(name in said for name in named), said
        return True
    return False


def arguments() -> list:
    skipped = {AttentionExplorer: ("model", "vocabulary")}
    named = ((kind, name) for kind in EXPLORERS for name in inspect.signature(kind).parameters)
    return [(kind, name) for kind, name in named if name not in skipped.get(kind, ())]


def traits(kinds) -> list:
    """The traits of the course's own, which a browser hears of."""
    ours = set(CourseWidget.class_traits())
    return [(kind, name) for kind in kinds for name in kind.class_traits(sync=True) if name not in ours]


def name_of(value):
    return value.__name__ if isinstance(value, type) else str(value)


@pytest.mark.parametrize(("kind", "name"), arguments(), ids=name_of)
def test_an_argument_is_taken_or_refused_in_words(kind, name):
    also = ("text", "tokens", "[BOS]") if name in ("text_or_tokens", "prompt", "new") else ()
    for value in VALUES.values():
        refused(lambda value=value: EXPLORERS[kind](**{name: value}).describe(), name, *also)


@pytest.mark.parametrize(("kind", "name"), traits(EXPLORERS), ids=name_of)
def test_a_trait_is_set_or_refused_in_words_and_the_state_stays_whole(kind, name):
    widget = EXPLORERS[kind]()
    for value in VALUES.values():
        before = widget.describe()
        if refused(partial(setattr, widget, name, value), name, "text", "kind"):
            assert widget.describe() == before
        else:
            assert widget.describe()
            widget = EXPLORERS[kind]()


@pytest.mark.parametrize(("kind", "name"), traits(WIDGETS), ids=name_of)
def test_a_browser_that_sends_anything_never_breaks_a_widget(kind, name):
    widget = WIDGETS[kind]()
    ours = widget.traits()[name].read_only or "ours" in widget.traits()[name].metadata
    for value in SENT.values():
        before = getattr(widget, name)
        refused(partial(widget.set_state, {name: value}), name, "text", "kind", "prefix_len")
        if ours:
            assert getattr(widget, name) == before
        assert widget.describe()


@pytest.mark.parametrize("kind", WIDGETS, ids=name_of)
def test_a_message_without_form_changes_nothing(kind):
    widget = WIDGETS[kind]()
    before = widget.get_state()
    for content in SENT.values():
        widget.set_state(content)
        widget.set_state({"_esm": content, "_css": content, "nothing": content})
        if hasattr(widget, "_receive"):
            widget._receive(widget, content, [])
            widget._receive(widget, {"type": content}, [])
    assert widget.get_state() == before


FIELDS = {
    AttentionExplorer: ("compute", ("request", "text", "prefix_len")),
    ProgressPanel: ("restore", ("text", "number")),
    QuizDeck: ("submit", ("id", "attempt", "response")),
    Prediction: ("guess", ("value", "number")),
}


@pytest.mark.parametrize("kind", FIELDS, ids=name_of)
def test_a_message_with_anything_in_its_fields_is_answered(kind):
    asked, fields = FIELDS[kind]
    widget, sent = WIDGETS[kind](), []
    widget.send = sent.append
    good = {"request": "1", "text": "the", "prefix_len": 1, "number": 1, "attempt": 1, "response": 1, "value": 3}
    good["id"] = next(iter(getattr(widget, "_bank", {})), None)
    for field in fields:
        for value in SENT.values():
            widget._receive(widget, {"type": asked, **{each: good[each] for each in fields}, field: value}, [])
            assert widget.describe()
    widget._receive(widget, {"type": asked}, [])
    widget._receive(widget, {"type": "reset", "confirm": 10**5000, "number": [1]}, [])
    assert all(len(reply["text"]) <= LONGEST for reply in sent)
    assert progress.snapshot() == progress_again()


def progress_again():
    """The record as another kernel reads it."""
    return type(progress)().snapshot()


RETURNED = {name: VALUES[name] for name in (
    "markup", "million", "nan", "huge", "digits", "negative", "true", "list", "texts", "dict", "nasty", "array",
    "tensor", "meta", "sparse",
)} | {"markup thrice": [MARKUP] * 3, "text thrice": ["a" * 10**6] * 3}  # fmt: skip


def leaves(*_):
    raise SystemExit(3)


def cannot_say(*_):
    raise type("Odd", (Exception,), {"__str__": Nasty.__repr__})


def endless(*_):
    while True:
        yield 1


@pytest.mark.parametrize("name", EXERCISES)
def test_a_function_may_return_or_raise_anything(name):
    functions = [lambda *_, value=value: value for value in RETURNED.values()]
    for function in [*functions, leaves, cannot_say, endless, len, dict]:
        verdict = EXERCISES[name](function)
        assert verdict.state in ("wrong", "untouched")
        assert len(verdict.message) <= MOST_SAID + 10
        assert "<" not in "".join(_as_text(verdict.message).split("`")[::2])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (quiz, "name"),
        (predict, "name"),
        (lambda value: show(Figure(), alt=value), "alt"),
        (show_source, "thing"),
        (lambda value: predict("prefix_mask.count").reveal(value, alt="x" * 20), "draw"),
        (lambda value: predict("prefix_mask.count").reveal(lambda guess: Figure(), alt=value), "alt"),
        (lambda value: predict("prefix_mask.count").reveal(lambda guess: Figure(), alt="x" * 20, truth=value), "truth"),
        (progress.export, "path"),
        (progress.restore, "path"),
        (progress.restore_text, ""),
        (progress.reset, "confirm"),
        (lambda value: progress.record_exercise("write", value), "state"),
        (lambda value: progress.record_prediction("a.b", value), "a.b"),
        (lambda value: progress.record_prediction(value, 1), "predictions"),
        (lambda value: progress.record_question("a.b", status=value, tries=1, response=1), "a.b"),
        (lambda value: progress.record_question("a.b", status="right", tries=1, response=value), "a.b"),
    ],
)
def test_what_a_lesson_calls_refuses_in_words(call, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for value in VALUES.values():
        if value is not len:
            refused(partial(call, value), name)
    assert progress_again() == progress.snapshot()


def test_a_wrong_value_is_named_in_a_few_characters():
    for value in VALUES.values():
        assert len(short(value)) <= 120
        assert len(shown(value)) <= 180
    assert short(-(10**5000)) == "-(a number of about 5,001 digits)"
    assert re.fullmatch(r"<Nasty instance at 0x\w+>", short(Nasty()))
