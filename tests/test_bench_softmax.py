"""The bench of the softmax backends, at sizes that take a moment: what it races, prints and writes."""

import json
from collections import Counter

import bench_softmax
import pytest


@pytest.fixture
def bench(one_thread, monkeypatch, tmp_path):
    """Return a function that runs the bench at small sizes, without a compiler, and returns what it wrote."""
    monkeypatch.setenv("CXX", "no-such-compiler")
    path = tmp_path / "softmax.json"

    def run(*arguments):
        sizes = ["--heads", "1", "--width", "4", "--repeats", "3", "--json", path]
        assert bench_softmax.main([*arguments, *sizes]) == 0
        return json.loads(path.read_text("utf-8"))

    return run


def test_it_races_both_prefixes_both_ways_and_writes_what_it_saw(bench, capsys):
    written = bench("--lengths", "8", "16", "--backward-lengths", "8")
    told = capsys.readouterr().out
    assert "flex is left out: a C++ compiler" in told
    raced = Counter((one["total_len"], one["prefix_len"], one["kind"]) for one in written["races"])
    expected = [(8, 4), (8, 7), (16, 8), (16, 14)]
    assert raced == Counter(
        [(*sizes, "forward") for sizes in expected] + [(*sizes, "forward+backward") for sizes in expected[:2]]
    )
    for one in written["races"]:
        assert list(one["times"]) == list(one["ratios_to_mask"]) == ["causal", "full", "mask", "split"]
        assert one["ratios_to_mask"]["mask"] == {"median": 1.0, "low": 1.0, "high": 1.0}
        assert f"split {one['ratios_to_mask']['split']['median']:.2f}" in told
    assert written["command"].startswith("python tools/bench_softmax.py --lengths 8 16 --backward-lengths 8 --heads 1")
    assert written["machine"] in told
    assert written["date"] in told


def test_the_crossover_is_looked_for_at_the_ends_too(bench, monkeypatch):
    monkeypatch.setattr(bench_softmax, "CROSSOVER_LENGTHS", (8,))
    written = bench("--crossover")
    raced = [(one["prefix_len"], one["kind"]) for one in written["races"]]
    assert raced == [(prefix, kind) for prefix in (2, 4, 7) for kind in ("forward", "forward+backward")]
    assert all(list(one["times"]) == ["mask", "split"] for one in written["races"])
