"""Hostile values handed to functions: exercises, what a lesson calls, and the library's own."""

import math
import re
from functools import partial

import pytest
import torch
from hostile_values import MARKUP, VALUES, Nasty, nested, progress_again, refused
from matplotlib.figure import Figure

from course_lib import (
    blank_spans,
    block_costs,
    cache,
    costs,
    linear_costs,
    masks,
    objectives,
    probe,
    sequence_costs,
    stories,
)
from course_lib._check import short, shown
from course_lib.classroom import (
    predict,
    progress,
    quiz,
    show,
    show_source,
)
from course_lib.classroom.exercises import EXERCISES
from course_lib.classroom.exercises.engine import MOST_SAID, _as_text
from course_lib.kernels.linear import prefix_linear_attention
from course_lib.vocabulary import Vocabulary

pytestmark = pytest.mark.usefixtures("own_progress", "in_time")


VOCABULARY = Vocabulary(["the", "bat"])


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


BIG = {"huge": 10**30, "negative": -(10**30), "digits": 10**5000, "nan": math.nan, "inf": -math.inf, "true": True,
       "markup": MARKUP, "million": "a" * 10**6, "nasty": Nasty(), "deep": nested(5000)}  # fmt: skip
TOKENS = [20, 21, 20, 21]
Q = torch.ones(1, 1, 4, 2)
NUMBERS = {
    "prefix_len": lambda x: masks.prefix_mask(x, 5),
    "total_len": lambda x: masks.create_prefix_mask(0, x),
    "lengths": lambda x: masks.padding_mask(x, 5),
    "document_lens": lambda x: masks.packed_prefix_mask([1, 1], x),
    "block_size": lambda x: masks.prefix_block_mask(1, 5, block_size=x),
    "dtype": lambda x: masks.additive_mask(masks.causal_mask(3), x),
    "kind": lambda x: costs.loss_tokens(x, 1, 5),
    "heads": lambda x: costs.attention_flops(1, 5, heads=x, head_dim=2),
    "layers": lambda x: cache.stale_rows(1, 2, 5, x),
    "block": lambda x: block_costs.operations(
        x, block_costs.BlockShape(dim=2, heads=2, head_dim=2, hidden=2), tokens=1
    ),
    "form": lambda x: linear_costs.linear_cost(x, 1, 5, key_dim=1, value_dim=1),
    "chunk": lambda x: linear_costs.chunks(0, 2**40, x if isinstance(x, str) else 1),
    "processes": lambda x: sequence_costs.shard_lengths(8, x),
    "method": lambda x: sequence_costs.sequence_bytes(x, 1, [4, 4], heads=1, key_dim=1, value_dim=1),
    "length": blank_spans.sample_spans,
    "mask_ratio": lambda x: blank_spans.sample_spans(20, mask_ratio=x),
    "mean_length": lambda x: blank_spans.sample_spans(20, mean_length=x),
    "rate": lambda x: objectives.masked_lm(TOKENS, VOCABULARY, rate=x),
    "mode": lambda x: objectives.ul2(TOKENS, VOCABULARY, mode=x),
    "tolerance": lambda x: probe.visible_inputs(lambda rows: rows, 3, dim=2, tolerance=x),
    "trials": lambda x: probe.visible_inputs(lambda rows: rows, 3, dim=2, trials=x if x is not True else "a"),
    "backend": lambda x: prefix_linear_attention(Q, Q, Q, 1, backend=x),
    "scale": lambda x: prefix_linear_attention(Q, Q, Q, 1, scale=x),
    "eps": lambda x: prefix_linear_attention(Q, Q, Q, 1, eps=x),
    "split": lambda x: stories.storyteller(1, x),
    "id": VOCABULARY.token,
    "unknown": lambda x: VOCABULARY.encode("the", unknown=x),
    "text": VOCABULARY.encode,
}


@pytest.mark.parametrize("name", NUMBERS)
def test_the_library_refuses_what_is_no_number_of_its(name):
    for which, value in BIG.items():
        allowed = (which in ("huge", "negative") and name == "scale") or (which == "huge" and name in ("eps", "heads"))
        assert refused(partial(NUMBERS[name], value), name) or allowed or name == "tolerance", which
