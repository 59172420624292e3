"""Records of training: whole through JSON and back, and nothing foreign or damaged is taken for one."""

import datetime
import json
import math

import pytest
import torch

from course_lib.training_record import Record, machine, today


def a_record() -> Record:
    record = Record(
        objective="prefix, loss on targets",
        config={"dim": 8},
        settings={"steps": 3, "clip": None},
        seed=1,
        machine=machine(torch.device("cpu")),
        date=today(),
    )
    record.add_evaluation(0, {"loss": 2.5})
    record.add_step(0.1 + 0.2, 10, 7, 0.5)
    record.add_step(1 / 3, 11, 6, 0.25)
    record.add_evaluation(2, {"loss": 1, "kept": math.nan})
    return record


def test_a_record_comes_back_as_it_was():
    record = a_record()
    again = Record.from_json(record.to_json())
    assert again.losses == [0.1 + 0.2, 1 / 3]  # to the last bit
    assert math.isnan(again.evaluations[1].pop("kept"))
    assert math.isnan(record.evaluations[1].pop("kept"))
    assert again == record
    assert again.steps_done == 2
    assert again.seconds == 0.75


def test_its_repr_is_short_however_long_it_is():
    assert repr(a_record()) == "Record(prefix, loss on targets: 2 of 3 steps, loss 0.333)"


def test_an_evaluation_is_a_curve():
    record = a_record()
    assert record.evaluation("loss") == ([0, 2], [2.5, 1.0])
    assert record.evaluated(2)
    assert not record.evaluated(1)
    with pytest.raises(ValueError, match="name must be one of loss, kept, got 'los'"):
        record.evaluation("los")


def test_the_machine_is_told_in_one_line():
    line = machine(torch.device("cpu"))
    assert line.startswith("CPU (")
    assert f"torch {torch.__version__}" in line
    assert "\n" not in line
    assert datetime.date.fromisoformat(today())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": "other"}, "no record of format"),
        ({"version": 2}, "version 2, only 1"),
        ({"extra": 1}, "too much or too little: extra"),
        ({"losses": [1.0]}, "equally long"),
        ({"losses": [1.0, "x"]}, "losses must be a finite number"),
        ({"losses": [1.0, True]}, "losses must be a finite number"),
        ({"tokens_read": [1, -1]}, "tokens_read must be a whole number, 0 or more"),
        ({"tokens_taught": 3}, "tokens_taught must be a list"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"objective": 3}, "objective must be text"),
        ({"config": []}, "config must be an object"),
        ({"seconds": None}, "seconds must be a finite number"),
        ({"evaluations": [{"loss": 1.0}]}, "step"),
        ({"evaluations": [{"step": 9, "loss": 1.0}]}, "from 0 to steps done = 2"),
        ({"evaluations": [{"step": 1, "loss": ""}]}, "evaluations' loss must be a finite number"),
        ({"evaluations": [{"step": 1, "loss": []}]}, "evaluations' loss must be a finite number"),
        ({"evaluations": [{"step": None, "loss": 1.0}]}, "evaluations' step must be a whole number"),
        ({"seconds": 10**400}, "seconds must be a finite number"),
        ({"evaluations": [{"step": 1, "loss": "low"}]}, "evaluations' loss must be a finite number"),
        ({"evaluations": ["good"]}, "evaluations must be an object"),
    ],
)
def test_a_damaged_record_is_refused_in_words(change, says):
    with pytest.raises((ValueError, TypeError), match=says):
        Record.from_json(json.dumps({**json.loads(a_record().to_json()), **change}))


@pytest.mark.parametrize(("text", "says"), [("{", "no JSON"), ("[]", "no record"), ("", "no JSON")])
def test_what_is_no_record_is_refused(text, says):
    with pytest.raises(ValueError, match=says):
        Record.from_json(text)


def test_text_is_text():
    with pytest.raises(TypeError, match="text must be a str"):
        Record.from_json(b"{}")
