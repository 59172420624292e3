"""Hostile values everywhere: each is taken, or refused in a few words; nothing is executed, and nothing hangs."""

import inspect
from functools import partial

import pytest
import torch
from hostile_values import LONGEST, SENT, VALUES, progress_again, refused

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
    exam,
    glossary,
    predict,
    progress,
    quiz,
    score,
)
from course_lib.classroom.exam import ExamDeck
from course_lib.classroom.glossary import Glossary
from course_lib.classroom.panel import ProgressPanel
from course_lib.classroom.predict import Prediction
from course_lib.classroom.quiz import QuizDeck
from course_lib.classroom.score import ScoreTable
from course_lib.classroom.training_panel import TrainingPanel
from course_lib.classroom.widgets import CourseWidget
from course_lib.model import Config, PrefixLM
from course_lib.training import Run
from course_lib.vocabulary import Vocabulary

pytestmark = pytest.mark.usefixtures("own_progress", "in_time")


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
    ExamDeck: exam,
    ScoreTable: score,
    Glossary: glossary,
    Prediction: lambda: predict("prefix_mask.count"),
}
WIDGETS = EXPLORERS | OTHERS


def arguments() -> list:
    skipped = {AttentionExplorer: ("model", "vocabulary")}
    named = ((kind, name) for kind in EXPLORERS for name in inspect.signature(kind).parameters)
    return [(kind, name) for kind, name in named if name not in skipped.get(kind, ())]


def traits(kinds) -> list:
    """The traits of the course's own, which a browser hears of."""
    ours = set(CourseWidget.class_traits())
    return [(kind, name) for kind in kinds for name in kind.class_traits(sync=True) if name not in ours]


def shown(widget) -> bool:
    """Whether it shows itself in both of its ways without a browser."""
    return bool(widget.describe() and widget.fallback())


def name_of(value):
    return value.__name__ if isinstance(value, type) else str(value)


@pytest.mark.parametrize(("kind", "name"), arguments(), ids=name_of)
def test_an_argument_is_taken_or_refused_in_words(kind, name):
    also = ("text", "tokens", "[BOS]") if name == "text_or_tokens" else ()
    for value in VALUES.values():
        refused(lambda value=value: shown(EXPLORERS[kind](**{name: value})), name, *also)


@pytest.mark.parametrize(("kind", "name"), traits(EXPLORERS), ids=name_of)
def test_a_trait_is_set_or_refused_in_words_and_the_state_stays_whole(kind, name):
    widget = EXPLORERS[kind]()
    for value in VALUES.values():
        before = widget.describe()
        if refused(partial(setattr, widget, name, value), name, "text", "kind"):
            assert widget.describe() == before
        else:
            assert shown(widget)
            widget = EXPLORERS[kind]()


@pytest.mark.parametrize(("kind", "name"), traits(WIDGETS), ids=name_of)
def test_a_browser_that_sends_anything_never_breaks_a_widget(kind, name):
    widget = WIDGETS[kind]()
    ours = widget.traits()[name].read_only or "ours" in widget.traits()[name].metadata
    for value in SENT.values():
        before = getattr(widget, name)
        accepted = not refused(partial(widget.set_state, {name: value}), name, "text", "kind", "prefix_len")
        if ours:
            assert getattr(widget, name) == before
        assert shown(widget) if accepted and getattr(widget, name) != before else widget.describe()


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
