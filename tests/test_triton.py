"""The backend "triton" as far as it goes without a GPU: who may use it, what it computes, and what becomes of it.

Its kernels run in Triton's interpreter (tests/interpreter), and are compiled for devices that are not here. Each takes
a Python of its own, for triton reads once whether to interpret or to compile. tests/gpu is for where there is a GPU.
"""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from course_lib.kernels import _triton_choices, _triton_plan, prefix_linear_attention

HERE = Path(__file__).parent


def run(*command, **environment):
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=HERE.parent,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.usefixtures("needs_triton")
def test_the_kernels_compute_what_they_should_in_the_interpreter():
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    said = run("-m", "pytest", "-q", "-p", "no:cacheprovider", HERE / "interpreter", PYTHONPATH=path, PYTEST_ADDOPTS="")
    assert " passed" in said.splitlines()[-1]
    assert "skipped" not in said.splitlines()[-1]


@pytest.fixture(scope="module")
def compiled():
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    return [json.loads(line) for line in run(HERE / "triton_compiler.py", PYTHONPATH=path).splitlines()]


@pytest.mark.usefixtures("needs_triton")
def test_the_compiler_spills_nothing_and_uses_the_tensor_cores(request):
    kernels = request.getfixturevalue("compiled")  # not before it is known that triton is there
    assert {one["kernel"] for one in kernels} >= {
        "sum",
        "scan",
        "out",
        "sum backward",
        "scan backward",
        "dq",
        "dk",
        "dv",
    }
    cases = {(one["capability"], one["dtype"], *one["widths"]) for one in kernels}
    assert cases >= {(90, "bfloat16", 64, 64), (90, "bfloat16", 128, 128), (90, "float32", 64, 64)}
    for one in kernels:
        assert one["spilled"] == 0, one
        assert one["shared"] <= (227 if one["capability"] == 90 else 99) * 1024, one
        if "scan" in one["kernel"]:  # no products
            continue
        assert one["copies"] > 0, one  # the next tiles are loaded while these are multiplied
        assert one["wgmma"] + one["mma"] > 0, one
        if one["capability"] == 90 and one["dtype"] == "bfloat16":
            assert one["wgmma"] > 0, one
            assert one["mma"] == 0, one


def test_a_call_and_an_import_do_not_load_triton():
    code = (
        "import sys, torch; from course_lib.kernels import prefix_linear_attention as f; x = torch.ones(1, 1, 4, 2); "
    )
    code += "f(x, x, x.requires_grad_(), 2).sum().backward(); sys.exit('triton' in sys.modules)"
    run("-c", code)


def tensors(dim=4, value_dim=4, dtype=torch.float32):
    q = torch.zeros(1, 1, 3, dim, dtype=dtype)
    return q, q, torch.zeros(1, 1, 3, value_dim, dtype=dtype)


@pytest.fixture
def compiles(monkeypatch):
    """As if triton were installed, and had been imported to compile."""
    monkeypatch.setattr(_triton_choices, "find_spec", lambda name: "found")
    monkeypatch.setattr(_triton_choices, "kernels", lambda: SimpleNamespace(INTERPRETED=False))


@pytest.mark.usefixtures("compiles")
@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            {"dtype": torch.float64},
            "takes float32, bfloat16 and float16, got q of torch.float64: use backend='ch",
        ),
        ({"dim": 129}, "takes up to 128 features, got 129 in q: use backend='chunked'"),
        ({"value_dim": 300}, "takes up to 128 features, got 300 in v: use backend='chunked'"),
        ({}, "needs a CUDA device, or TRITON_INTERPRET=1 in the environment before triton is imported"),
    ],
)
def test_what_it_cannot_do_is_refused_in_words(given, words):
    with pytest.raises(ValueError, match=f"^backend 'triton' {words}"):
        prefix_linear_attention(*tensors(**given), 2, backend="triton")


def test_without_triton_it_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(_triton_choices, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"^backend 'triton' needs the package triton, which is not installed: pi"):
        prefix_linear_attention(*tensors(), 2, backend="triton")


@pytest.mark.usefixtures("compiles")
def test_auto_takes_it_on_a_cuda_device_for_what_it_supports(monkeypatch):
    def on_cuda(dtype=torch.float32, dim=64):
        return SimpleNamespace(device=torch.device("cuda", 0), dtype=dtype, shape=(1, 1, 3, dim))

    monkeypatch.setattr(_triton_choices, "_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    assert _triton_choices.is_automatic(on_cuda(), on_cuda())
    assert not _triton_choices.is_automatic(on_cuda(torch.float64), on_cuda(torch.float64))
    assert not _triton_choices.is_automatic(on_cuda(), on_cuda(dim=129))
    monkeypatch.setattr(_triton_choices, "_capability", lambda device: (7, 5))
    assert not _triton_choices.is_automatic(on_cuda(), on_cuda())
    assert "compute capability 8.0 or more" in _triton_choices.missing(on_cuda(), on_cuda())
    monkeypatch.setattr(_triton_choices, "_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.version, "cuda", None)  # another maker's device is called cuda, too
    assert not _triton_choices.is_automatic(on_cuda(), on_cuda())
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(_triton_choices, "kernels", lambda: SimpleNamespace(INTERPRETED=True))
    assert not _triton_choices.is_automatic(on_cuda(), on_cuda())
    monkeypatch.setattr(_triton_choices, "find_spec", lambda name: None)
    assert not _triton_choices.is_automatic(on_cuda(), on_cuda())
    q, _, v = tensors()
    assert not _triton_choices.is_automatic(q, v)


def test_segments_are_short_enough_to_keep_a_device_busy(monkeypatch):
    monkeypatch.setattr(_triton_choices, "_processors", lambda device: 100)
    cuda = torch.device("cuda")
    assert _triton_choices.segment_length(8, 131_072, cuda) == 4096
    assert _triton_choices.segment_length(8, 40_000, cuda) == 1024  # 800 tokens would do
    assert _triton_choices.segment_length(8, 1000, cuda) == 512
    assert _triton_choices.segment_length(200, 131_072, cuda) == 131_072  # heads enough: a tail is not cut
    assert _triton_choices.segment_length(200, 0, cuda) == 1


@pytest.mark.parametrize("documents", [None, (30, 0, 64, 1), ((40, 60), (0,), (7, 93))])
@pytest.mark.parametrize("segment", [1, 32, 100])
def test_the_segments_cover_every_token_once(documents, segment):
    prefixes = {None: (0, 33, 100), (30, 0, 64, 1): (10, 0, 33, 1)}.get(documents, ((0, 60), (0,), (3, 32)))
    plan = _triton_plan.make_plan(prefixes, documents, 3, 2, 100, segment, torch.device("cpu"), 0)
    assert plan.heads == (6 if documents == (30, 0, 64, 1) else 2)
    assert plan.whole == (documents is None)
    numbers = plan.table.tolist()
    bounds = [
        numbers[i : i + _triton_plan.DOCUMENT]
        for i in range(0, _triton_plan.DOCUMENT * plan.documents, _triton_plan.DOCUMENT)
    ]
    rows = [
        plan.segments.tolist()[i : i + _triton_plan.ROW]
        for i in range(0, _triton_plan.ROW * plan.rows, _triton_plan.ROW)
    ]
    assert len(numbers) == _triton_plan.DOCUMENT * plan.documents + _triton_plan.ROW * plan.rows
    tails = [bool(flags & _triton_plan.TAIL) for *_, flags in rows]
    assert tails == sorted(tails, reverse=True)  # those that take longest start first
    expected = []
    for b in range(1 if plan.heads == 6 else 3):
        lengths = (100,) if documents is None else documents if plan.heads == 6 else documents[b]
        own = (prefixes[b],) if documents is None else prefixes if plan.heads == 6 else prefixes[b]
        starts = itertools.accumulate(lengths, initial=0)
        expected += [(2 * b, at, at + p, at + n) for at, p, n in zip(starts, own, lengths, strict=False) if n]
    assert len(bounds) == len(expected)
    for (first, stop, prefix, end), (head, start, split, finish) in zip(bounds, expected, strict=True):
        for run, a, b in ((rows[prefix:end], start, split), (rows[first:stop], split, finish)):
            assert [t for _, at, count, *_ in run for t in range(at, at + count)] == list(range(a, b))
            assert all(row[0] == head and 0 < row[2] <= segment for row in run)
        assert [row[3] for row in rows[prefix:end]] == [prefix] * (end - prefix)
        assert [row[3] for row in rows[first:stop]] == list(range(first, stop))
        assert [bool(row[4] & _triton_plan.LAST) for row in rows[first:stop]] == [
            i == stop - 1 for i in range(first, stop)
        ]
        only = start == split  # no prefix
        assert [bool(row[4] & _triton_plan.FIRST) for row in rows[first:stop]] == [
            only and i == first for i in range(first, stop)
        ]
