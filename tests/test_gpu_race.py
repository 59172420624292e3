"""Lesson 07's picture of a run on a GPU: it is the record's times, and without a record one sentence says so.

The times here are made up; nothing was measured on a GPU.
"""

import json
import sys

import pytest
from test_bench_gpu import GOOD, made_up, record_of

from course_lib import gpu_record
from course_lib.classroom import gpu_race
from course_lib.gpu_record import FLEX, SDPA, save


@pytest.fixture
def shown(monkeypatch, tmp_path):
    """Return a function that shows the race of a record, or of none, and returns what was displayed."""
    path = tmp_path / "gpu_race.json"
    monkeypatch.setattr(gpu_race, "RECORDING", path)

    def show(record=None):
        if record is not None:
            save(path, record)
        displayed = []
        monkeypatch.setattr(sys.modules["course_lib.classroom.show"], "display", displayed.append)
        gpu_race.show_gpu_race()
        return [one.data for one in displayed]

    return show


@pytest.fixture
def record():
    races = [made_up(length=length, **GOOD) for length in (8192, 2048, 32768)]
    lone = made_up(batch=1, length=131072, **GOOD)
    return record_of(*races, lone, made_up("backward"), absent=[("fla parallel", "cannot be imported")])


def test_without_a_record_one_sentence_says_so(shown):
    (only,) = shown()
    assert only == {"text/markdown": gpu_race.NO_RECORD, "text/plain": gpu_race.NO_RECORD}
    assert gpu_race.NO_RECORD.startswith("No run on a GPU is recorded yet.")
    assert "`make bench-gpu`" in gpu_race.NO_RECORD


def test_no_record_of_a_gpu_is_shipped_that_nobody_made():
    record = gpu_race.load(gpu_race.RECORDING)
    assert record is None or ("CPU" not in record["machine"] and record["settings"]["backend"] == "triton")


def test_a_record_is_drawn_and_described(shown, record):
    picture, words = shown(record)
    assert set(picture) == {"image/png", "text/plain"}
    assert picture["text/plain"] == words["text/plain"] == gpu_race.in_words(record)


def test_the_words_are_the_numbers_of_the_longest_texts(record):
    words = gpu_race.in_words(record)
    assert words.startswith(
        "Recorded on a made-up card, 2000-01-01, by `python tools/bench_gpu.py --made-up`: 16 examples of 32,768 tokens"
    )
    assert "its own causal form: all of it prefix 0.60, half of it prefix 0.80." in words
    assert "at 83% of the speed of a copy" in words
    assert "flash-linear-attention takes 1.4 times as long as ours with half." in words
    assert "Causal softmax attention takes 25.0 times as long" in words
    assert "Absent from this run: fla parallel." in words
    judged = [one["met"] for one in record["table"] if one["target"]]
    assert words.endswith(f"{judged.count(True)} of {len(judged)} targets were met.")
    assert None in judged  # the backward was not measured, and does not count as met


def test_the_curves_are_the_times(record):
    curve, bars = gpu_race.picture(record).axes
    lines = {line.get_label(): line for line in curve.lines}
    unit = {length: 1e3 * 512 * 16 * 16 * length / 1e12 for length in (2048, 8192, 32768)}
    for label, factor in {
        "softmax, causal (SDPA)": GOOD[SDPA],
        "softmax, P = L/2 (FlexAttention)": GOOD[FLEX],
        "linear, causal (flash-linear-attention)": GOOD["fla fused chunk"],
        "linear, causal (ours)": GOOD["P = 0"],
        "linear, P = L/2 (ours)": GOOD["P = L/2"],
        "linear, P = L (ours)": GOOD["P = L"],
        "a copy of the same bytes": 1.0,
    }.items():
        line = lines.pop(label)
        assert list(line.get_xdata()) == [2048, 8192, 32768]
        assert list(line.get_ydata()) == pytest.approx([factor * one for one in unit.values()])
    assert lines == {}
    names = [label.get_text() for label in bars.get_yticklabels()]
    widths = dict(zip(names, (bar.get_width() for bar in bars.patches), strict=True))
    assert widths["ours, P = L"] == pytest.approx(1.2 * unit[32768])
    assert widths["two products, P = L"] == pytest.approx(1.5 * unit[32768])
    assert len(widths) == 7


def test_what_took_no_part_is_not_drawn(record):
    for one in record["races"]:
        for name in (FLEX, "fla chunk", "fla fused chunk", "P = 0"):
            one["times"].pop(name, None)
    curve, bars = gpu_race.picture(record).axes
    assert "linear, causal (flash-linear-attention)" not in [line.get_label() for line in curve.lines]
    assert len(bars.patches) == 4
    words = gpu_race.in_words(record)
    assert "flash-linear-attention" not in words
    assert "own causal form" not in words


def test_a_record_without_a_forward_race_is_an_error():
    with pytest.raises(ValueError, match="no forward race"):
        gpu_race.picture(record_of(made_up("backward")))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"races": None}, "must hold races, a list"),
        ({"races": [{}]}, "must hold times above 0"),
        ({"copy": {"bytes": 1}}, "must hold times above 0"),
        ({"machine": 3}, "must hold machine, a str"),
    ],
)
def test_a_record_that_lacks_something_is_refused_by_name(record, tmp_path, change, words):
    gpu_record.save(tmp_path / "gpu.json", record)
    assert gpu_record.load(tmp_path / "gpu.json")["races"] == record["races"]
    content = json.loads((tmp_path / "gpu.json").read_text()) | change
    (tmp_path / "gpu.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"gpu.json {words}"):
        gpu_record.load(tmp_path / "gpu.json")
