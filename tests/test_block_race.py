"""The race of lesson 05: what it races is what it says, and its sentences are those of its numbers."""

import pytest
import torch

from course_lib.classroom import block_race
from course_lib.classroom.block_race import PARALLEL, SERIAL, conclusion, in_words, picture, race_blocks
from course_lib.race import Race

pytestmark = pytest.mark.usefixtures("one_thread")


def made(**ratios):
    """A race of five rounds in which the serial block takes a second, and the others what is given."""
    times = {SERIAL: [1.0] * 5, "serial, fused": [0.9] * 5, "parallel": [1.0] * 5, PARALLEL: [0.8] * 5}
    return Race(times | {name.replace("_", ", "): values for name, values in ratios.items()}, "", "")


@pytest.mark.parametrize("work", block_race.WORK)
def test_the_four_contenders_are_two_functions_of_one_size(work, monkeypatch):
    caught = {}
    monkeypatch.setattr(block_race, "race", lambda contenders, **options: caught.update(contenders))
    race_blocks(128, work)
    assert list(caught) == [SERIAL, "serial, fused", "parallel", PARALLEL]
    with torch.inference_mode():
        out = {name: run() for name, run in caught.items()}
    assert {one.shape for one in out.values()} == {(1, 256 if work == "prefill" else 1, 128)}
    torch.testing.assert_close(out[SERIAL], out["serial, fused"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(out["parallel"], out[PARALLEL], rtol=1e-5, atol=1e-5)
    assert (out[SERIAL] - out[PARALLEL]).abs().max() > 1e-2


def test_decoding_looks_at_the_cache():
    """The mean of 257 values, when all keys are alike: 256 held ones and its own."""
    held = block_race._Cached(torch.zeros(1, 1, 256, 64), torch.ones(1, 1, 256, 64))
    for _ in range(2):  # the second call finds the same 256 rows
        keys, values = held.write(torch.zeros(1, 1, 1, 64), torch.zeros(1, 1, 1, 64))
        assert keys.shape == (1, 1, 257, 64)
        assert values.mean().item() == pytest.approx(256 / 257)


def test_the_picture_shows_every_median_and_the_guess():
    wild = made(parallel=[3.0, 9.0, 0.1, 3.0, 3.0])
    races = {(work, width): wild for work in block_race.WORK for width in (128, 512)}
    axes = picture(races, guess=0.87).axes
    for axis in axes:
        low, high = axis.get_ylim()
        assert low < 0.8 < 3.0 < high
    assert "your guess" in [text.get_text() for text in axes[0].texts]
    assert not axes[1].texts


def test_the_words_are_the_numbers():
    races = {("prefill", 128): made(), ("prefill", 512): made(parallel_fused=[1.0, 1.1, 0.9, 1.0, 1.0])}
    races |= {("decode", 128): made(parallel_fused=[1.2] * 5)}
    head, first, *_ = in_words(races).splitlines()
    assert first.split("   ")[:2] == ["prefill, width  128", "1000.00 ms"]
    for title, ratio in (
        ("parallel, fused / serial", "0.80 (0.80 to 0.80)"),
        ("/ serial, fused", "0.89 (0.89 to 0.89)"),
    ):
        assert first.index(ratio) == head.rindex(title)
    said = conclusion(races)
    assert "Prefill: parallel, fused is faster at width 128; no different" in said
    assert "at width 512. Decode: parallel, fused is slower at width 128." in said


def test_only_work_that_there_is():
    with pytest.raises(ValueError, match="work must be one of prefill, decode, got 'training'"):
        race_blocks(128, "training")
