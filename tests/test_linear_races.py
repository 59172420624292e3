"""The counts and races of lesson 06: the loop is right at every chunk, and words and pictures are the numbers."""

import pytest
import torch

from course_lib.cache import KVCache
from course_lib.classroom import linear_races
from course_lib.classroom.linear_races import CHUNKS, LIBRARY, best_chunk, chunk_loop, kept_bytes
from course_lib.model import Config, PrefixLM
from course_lib.race import Race

pytestmark = pytest.mark.usefixtures("one_thread")
TIMES = {str(chunk): [float(i)] * 3 for chunk, i in zip(CHUNKS, (9, 5, 3, 2, 4, 8), strict=True)} | {LIBRARY: [1.0] * 3}


@pytest.mark.parametrize("chunk", [1, 3, 4, 10, 50])
def test_the_plain_loop_is_causal_linear_attention(chunk):
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 10, 4, dtype=torch.float64, generator=rng) for _ in range(3))
    torch.testing.assert_close(chunk_loop(q, k, v, chunk), (q @ k.mT).tril() @ v)


def test_every_contender_computes_the_same(monkeypatch):
    caught = {}
    monkeypatch.setattr(linear_races, "race", lambda contenders, **options: caught.update(contenders))
    monkeypatch.setattr(linear_races, "LENGTH", 256)
    linear_races.race_chunks()
    results = [run() for run in caught.values()]
    assert list(caught) == [*map(str, CHUNKS), LIBRARY]
    for one in results[1:]:
        torch.testing.assert_close(one, results[0], rtol=1e-4, atol=1e-4)
    caught.clear()
    linear_races.race_orders()
    torch.testing.assert_close(caught["(Q Kᵀ) V"](), caught["Q (Kᵀ V)"](), rtol=1e-4, atol=1e-3)


def test_the_best_chunk_and_the_library_are_those_of_the_race():
    race = Race(TIMES, "", "")
    assert best_chunk(race) == "64"  # the library is no chunk length
    assert linear_races.library_in_words(race).startswith("The library takes 0.50 (0.50 to 0.50) of the time")
    axis, other = linear_races.chunks_picture(race, "16").axes
    times = next(line for line in axis.lines if line.get_label() == "time")
    assert times.get_ydata().tolist() == [1e3 * TIMES[str(chunk)][0] for chunk in CHUNKS]
    flops = other.lines[0].get_ydata().tolist()
    assert flops == sorted(flops)


def test_the_orders_are_drawn_and_said():
    (axis,) = linear_races.orders_picture(16384, 64, 100).axes
    pairs, state = (bar.get_width() for bar in axis.patches)
    assert pairs / state == pytest.approx(256)
    race = Race({"softmax": [4.0], "(Q Kᵀ) V": [3.0], "Q (Kᵀ V)": [0.5]}, "", "")
    assert "softmax    4000.00 ms     8.0 times" in linear_races.orders_in_words(race)


def test_kept_bytes_are_the_tensors():
    sizes = {"vocab_size": 10, "dim": 16, "layers": 2, "heads": 2, "max_len": 64}
    softmax, linear = (PrefixLM(Config(attention=kind, **sizes)) for kind in ("softmax", "linear"))
    cache = KVCache(softmax, 1, capacity=20)
    assert kept_bytes(softmax, 20) == sum(x.nbytes for x in cache.keys + cache.values) == 4 * 2 * 2 * 16 * 20
    assert kept_bytes(linear, 20) == kept_bytes(linear, 60) == 4 * 2 * 2 * 8 * (8 + 1)


def test_short_texts_are_raced_at_every_length_and_said(monkeypatch):
    raced = []
    monkeypatch.setattr(linear_races, "race", lambda contenders, **options: raced.append(contenders))
    found = linear_races.race_texts()
    assert list(found) == list(linear_races.TEXTS)
    for length, contenders in zip(found, raced, strict=True):
        causal, prefix = (contenders[name]() for name in ("causal", "all prefix"))
        assert causal.shape[2] == prefix.shape[2] == length
        torch.testing.assert_close(causal[:, :, -1], prefix[:, :, -1], rtol=1e-3, atol=1e-3)  # it sees all either way
        assert not torch.allclose(causal[:, :, 0], prefix[:, :, 0])
    words = linear_races.texts_in_words({16: Race({"causal": [4e-6] * 3, "all prefix": [2e-6] * 3}, "", "")})
    assert words.splitlines()[1] == "     16        4 µs         2 µs   0.50 (0.50 to 0.50)"
