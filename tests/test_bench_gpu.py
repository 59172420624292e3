"""The bench for a GPU, without one: what it judges, on times made up here, and all of it at tiny sizes on the CPU.

No number in this file was measured on a GPU, and none is recorded.
"""

import argparse
import json
import sys
import time

import bench_gpu
import gpu_contenders
import gpu_targets
import pytest
import torch
from gpu_contenders import Contender
from gpu_targets import WITH_BACKWARD, Row, rows, table_text

from course_lib.gpu_record import CHUNKED, COPY, FLA, FLEX, PRODUCTS, SDPA, copy_rate, load, save
from course_lib.race import Spread

pytestmark = pytest.mark.usefixtures("one_thread")
CPU, OURS = torch.device("cpu"), ("P = 0", "P = L/2", "P = 0.9 L", "P = L")


def made_up(kind="forward", batch=16, length=8192, queue="calls", **times):
    """An entry of a record with made-up times, in units of what a copy of the counted bytes takes at 1 TB/s."""
    unit = 512 * batch * 16 * length / 1e12
    times = {name: [unit * one for one in (several if isinstance(several, list) else [several])]
             for name, several in times.items()}  # fmt: skip
    shape = {"kind": kind, "queue": queue, "batch": batch, "heads": 16, "length": length}
    return {**shape, "times": times, "errors": dict.fromkeys(times, 0.002), "left_out": {}}


GOOD = {"P = 0": 2.0, "P = L/2": 1.6, "P = 0.9 L": 1.28, "P = L": 1.2, "fla chunk": 2.5, "fla fused chunk": 2.2,
        PRODUCTS: 1.5, SDPA: 40.0, FLEX: 60.0, COPY: 1.1}  # fmt: skip


def record_of(*races, absent=()):
    record = {"machine": "a made-up card", "date": "2000-01-01", "command": "python tools/bench_gpu.py --made-up",
              "settings": {"backend": "triton"}, "copy": {"bytes": 2e9, "seconds": [2e-3], "again": [2e-3]},
              "absent": dict(absent), "races": list(races)}  # fmt: skip
    return record | {"table": [row.as_json() for row in rows(record)]}


def judged(record):
    return {(row.where, row.what): row for row in rows(record)}


def test_a_copy_is_counted_as_read_and_written():
    assert copy_rate(record_of()) == 1e12


def test_shares_and_ratios_are_those_of_the_times():
    found = judged(record_of(made_up(**GOOD)))
    where = "B=16 H=16 L=8192"
    expected = {
        "P = L, share of copy, 512 bytes a token and head": (1 / 1.2, ">= 0.8", True),
        "copy of as many bytes / P = L": (1.1 / 1.2, "", None),
        "fla fused chunk / P = L": (2.2 / 1.2, "", None),
        "P = 0 / fla fused chunk": (2.0 / 2.2, "<= 1", True),
        "P = 0, share of copy": (0.5, ">= 0.5", True),
        "fla fused chunk / P = L/2": (2.2 / 1.6, ">= 1.25", True),
        "fla fused chunk / P = 0.9 L": (2.2 / 1.28, ">= 1.6", True),
        "law, P = L/2": (1.0, "<= 1.1", True),
        "law, P = 0.9 L": (1.0, "<= 1.1", True),
        "two products / P = L": (1.25, "", None),
        f"{FLEX} / P = L/2": (37.5, "", None),
        f"{SDPA} / P = L/2": (25.0, "", None),
    }
    assert {what for _, what in found} == set(expected)
    for what, (ratio, target, met) in expected.items():
        row = found[where, what]
        assert (row.ratio.median, row.target, row.met) == (pytest.approx(ratio), target, met), what


@pytest.mark.parametrize(
    ("name", "slower", "what"),
    [
        ("P = L", 1.3, "P = L, share of copy"),
        ("P = 0", 2.3, "P = 0 / fla fused chunk"),
        ("P = 0", 2.1, "P = 0, share of copy"),
        ("P = L/2", 1.8, "fla fused chunk / P = L/2"),
        ("P = 0.9 L", 1.4, "fla fused chunk / P = 0.9 L"),
        ("P = L/2", 1.77, "law, P = L/2"),
        ("P = 0.9 L", 1.5, "law, P = 0.9 L"),
    ],
)
def test_what_is_too_slow_does_not_meet_its_target(name, slower, what):
    assert [row for row in rows(record_of(made_up(**GOOD))) if row.met is False] == []
    missed = [row.what for row in rows(record_of(made_up(**GOOD | {name: slower}))) if row.met is False]
    assert any(one.startswith(what) for one in missed)


def test_targets_go_by_the_shape():
    def targets(**shape):
        return {row.what.split(",")[0].split(" / ")[0] + "|" + row.target for row in
                rows(record_of(made_up(**shape, **GOOD))) if row.target}  # fmt: skip

    assert targets(length=512) == targets(length=4096) == set()
    assert targets(length=2048) == {"P = L|>= 0.6"} == targets(length=2048, queue="graph")
    lone = targets(batch=1, length=131072)
    assert {"P = L|>= 0.7", "fla fused chunk|>= 3"} <= lone
    assert "P = L|>= 0.8" not in lone


def test_the_ratio_is_taken_within_a_round():
    drifting = {"P = L/2": [1.0, 2.0, 4.0], "fla chunk": [3.0, 6.0, 12.0]}
    (row,) = [one for one in rows(record_of(made_up(**drifting))) if one.what == "fla chunk / P = L/2"]
    assert row.ratio == Spread(3.0, 3.0, 3.0)


def test_an_absent_peer_is_a_target_not_measured_and_not_a_target_met():
    record = record_of(made_up(**{name: GOOD[name] for name in OURS}), absent=[("fla chunk", "cannot be imported")])
    text = table_text(record)
    assert "absent: fla chunk: cannot be imported" in text
    assert "not measured  P = 0 / fla (absent)" in text
    assert "4 of 7 targets met" in text
    assert SDPA not in text


def test_one_that_is_left_out_is_named():
    one = made_up(**GOOD)
    del one["times"]["P = L"]
    one["left_out"]["P = L"] = "computes something else: relative error 3.0e-01"
    text = table_text(record_of(one))
    assert "left out at B=16 H=16 L=8192, forward: P = L: computes something else" in text
    assert "not measured  law, P = L/2" in text


def test_the_backward_alone_is_what_is_beyond_the_forward():
    """1024 bytes are twice those of the forward: at the copy's rate they take 2 units."""
    times = {"P = L": 1.2, "P = L" + WITH_BACKWARD: 4.2, "fla chunk": 2.5, "fla chunk" + WITH_BACKWARD: 8.4}
    share, peer = rows(record_of(made_up("backward", **times)))
    assert (share.ratio.median, share.target, share.met) == (pytest.approx(2 / 3), ">= 0.65", True)
    assert (peer.what, peer.ratio.median) == ("fla chunk, with backward / P = L", pytest.approx(2.0))
    (too_near, *_) = rows(record_of(made_up("backward", **times | {"P = L" + WITH_BACKWARD: 1.1})))
    assert too_near.ratio is None
    assert table_text(record_of(made_up("backward"))).count("not measured") == 1


def test_the_papers_ratio_never_stands_without_both_feature_maps():
    (row,) = rows(record_of(made_up("batches", batch=64, length=16384, **GOOD)))
    assert row.note == (
        "ours: 64 features, given; JRT-RNN, Table 5 (Taylor map, 273 features made in the kernel): "
        "108.2 / 11.1 ms = 9.7"
    )
    assert "107.8 / 5.6 ms = 19.2" in table_text(record_of(made_up(length=32768, **GOOD)))
    assert "JRT" not in table_text(record_of(made_up(batch=8, length=16384, **GOOD)))  # not legible in the paper


def test_a_target_is_met_at_its_limit():
    assert Row("", "", Spread(0.8, 0.8, 0.8), ">= 0.8").met is True
    assert Row("", "", Spread(0.79, 0.7, 0.9), ">= 0.8").met is False
    assert Row("", "", Spread(1.1, 1.0, 1.2), "<= 1.1").met is True
    assert Row("", "", None, "<= 1.1").met is None
    assert Row("", "", Spread(1.0, 1.0, 1.0)).met is None


def test_a_record_is_read_as_it_was_written(tmp_path):
    path, record = tmp_path / "races" / "gpu_race.json", record_of(made_up(**GOOD), made_up("backward"))
    assert load(path) is None
    save(path, record)
    read = load(path)
    assert (read.pop("format"), read.pop("version")) == ("course_lib.gpu_race", 1)
    assert read == record
    assert table_text(read) == table_text(record)
    assert read["table"][0] == {
        "where": "B=16 H=16 L=8192", "what": "P = L, share of copy, 512 bytes a token and head",
        "ratio": [0.8333] * 3, "target": ">= 0.8", "note": "", "met": True,
    }  # fmt: skip
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("content", "problem"),
    [("{", "is no JSON"), ("[]", "is no record"), ('{"format": "course_lib.gpu_race", "version": 2}', "is no record")],
)
def test_another_file_is_refused(tmp_path, content, problem):
    path = tmp_path / "gpu_race.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=problem):
        load(path)
    spoilt = record_of(made_up(**GOOD))
    spoilt["races"][0]["times"]["P = L"] = []
    save(path, spoilt)
    with pytest.raises(ValueError, match="times above 0"):
        load(path)


def test_without_a_card_it_says_so_and_writes_nothing(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = tmp_path / "gpu_race.json"
    assert bench_gpu.main(["--json", path]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"bench_gpu: torch {torch.__version__} sees no CUDA device, so nothing is measured")
    assert not path.exists()


# --- The whole of it, on the CPU at tiny sizes ---


class CpuTimer:
    """Times calls by the clock on the wall; a "graph" is the function itself, where one is wanted."""

    words, graph = "a CPU: for tests", None

    def __call__(self, function, calls):
        started = time.perf_counter()
        for _ in range(calls):
            function()
        return (time.perf_counter() - started) / calls


def options(**others):
    values = {"backend": "chunked", "dtype": "float32", "rounds": 3, "seconds": 0.0, "quick": False}
    return argparse.Namespace(**values | others)


def run(races, timer=None, **others):
    timer = timer or CpuTimer()
    return bench_gpu.measure(races, CPU, timer, options(**others), machine="a CPU: for tests", command="-", size=2**12)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")  # compiling FlexAttention takes longer than all of this
    monkeypatch.setattr(gpu_contenders, "FEATURES", 4)
    monkeypatch.setitem(sys.modules, "fla", None)


SHAPE = {"batch": 2, "heads": 2, "length": 70}


def test_it_races_checks_and_describes_everyone(tmp_path):
    record = run([{"kind": "forward", **SHAPE}, {"kind": "batches", **SHAPE}, {"kind": "backward", **SHAPE}])
    forward, batches, backward = record["races"]
    assert record["copy"]["bytes"] == 2**13  # a buffer of 2**12 bytes is read, another one is written
    assert list(forward["times"]) == [COPY, *OURS, PRODUCTS, SDPA]
    assert set(batches["times"]) == {"P = 0", "P = L/2", SDPA}
    ours = {"P = 0", "P = L/2", "P = L", PRODUCTS}
    assert set(backward["times"]) == ours | {name + WITH_BACKWARD for name in ours}
    assert all(len(times) == 3 for one in record["races"] for times in one["times"].values())
    assert max(error for one in record["races"] for error in one["errors"].values()) < 1e-5
    assert [one["left_out"] for one in record["races"]] == [{}] * 3
    assert set(record["absent"]) == {*FLA, FLEX}
    assert "cannot be imported (ModuleNotFoundError" in record["absent"]["fla chunk"]
    assert bench_gpu.defects(record) == []
    save(tmp_path / "record.json", record)
    text = table_text(load(tmp_path / "record.json"))
    assert "0 of 1 targets met" in text or "1 of 1 targets met" in text  # at this size only the backward has one
    assert f"{PRODUCTS} / P = L" in text


def test_another_backend_races_against_the_chunked_one():
    (one,) = run([{"kind": "forward", **SHAPE}], backend="reference")["races"]
    assert {f"{CHUNKED}, {name}" for name in OURS} <= one["times"].keys()


def test_short_races_run_as_graphs_too():
    class WithGraphs(CpuTimer):
        def graph(self, function):
            if captured:
                raise RuntimeError("not this one\nmore")
            captured.append(function)
            return function

    captured = []
    calls, graph = run([{"kind": "forward", **SHAPE}], WithGraphs())["races"]
    assert (calls["queue"], graph["queue"]) == ("calls", "graph")
    assert list(graph["times"]) == [COPY]
    assert graph["left_out"]["P = L"] == "cannot be captured: RuntimeError: not this one"
    long = {"kind": "forward", **SHAPE, "length": bench_gpu.GRAPH_BELOW}
    assert [one["queue"] for one in run([long], WithGraphs())["races"]] == ["calls"]


@pytest.fixture
def card(monkeypatch):
    """Let the command think that there is a card, and measure two tiny shapes on the CPU; nothing of it is kept."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(bench_gpu, "CudaTimer", lambda device: CpuTimer())
    monkeypatch.setattr(bench_gpu, "machine_line", lambda device: "no card: a test")
    monkeypatch.setattr(bench_gpu, "plan", lambda quick: [{"kind": kind, **SHAPE} for kind in ("forward", "backward")])
    whole, made = bench_gpu.measure, bench_gpu.inputs
    monkeypatch.setattr(bench_gpu, "measure", lambda races, device, *rest, **more: whole(races, CPU, *rest, **more))
    monkeypatch.setattr(bench_gpu, "COPY_BYTES", 2**12)
    monkeypatch.setattr(bench_gpu, "inputs", lambda batch, heads, length, device, dtype, tensors=3: made(
        batch, heads, length, CPU, dtype, tensors))  # fmt: skip


def test_the_command_prints_the_table_and_writes_the_record(card, tmp_path, capsys):
    path = tmp_path / "gpu_race.json"
    arguments = ["--json", path, "--backend", "chunked", "--rounds", "3", "--seconds", "0"]
    assert bench_gpu.main(arguments) == 0
    record, told = load(path), capsys.readouterr().out
    assert record["command"] == f"python tools/bench_gpu.py --json {path} --backend chunked --rounds 3 --seconds 0"
    assert told == table_text(record) + "\n"
    assert told.startswith("no card: a test\n")
    assert record["settings"]["dtype"] == "bfloat16"  # and its rounding is not taken for another function
    assert max(error for one in record["races"] for error in one["errors"].values()) > 1e-4


def test_a_defect_ends_the_command_with_status_1(card, monkeypatch, capsys):
    monkeypatch.setattr(gpu_contenders, "MOST_ERROR", 1e-9)
    assert bench_gpu.main(["--backend", "chunked", "--rounds", "3"]) == 1
    assert "look into this: B=2 L=70 forward: P = 0: computes something else" in capsys.readouterr().err


def test_a_backend_that_is_not_there_ends_the_command_with_status_2(card, capsys):
    assert bench_gpu.main(["--backend", "abacus"]) == 2
    assert "backend 'abacus' does not run here: backend must be one of" in capsys.readouterr().err


def test_a_call_is_timed_from_event_to_event_and_the_cache_is_cleared_before(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append(self)

        def elapsed_time(self, other):
            return 4.0 if log.index(self) < 4 else 8.0  # milliseconds

    class Buffer:
        def sum(self):
            log.append("cache")

    class Properties:
        L2_cache_size = 2**20

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: log.append("wait"))
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    timer = bench_gpu.CudaTimer(CPU)
    assert timer.words == "a buffer of 256 MiB read before each call, L2 1 MiB"
    timer.buffer = Buffer()
    assert timer(lambda: log.append("call"), 2) == 6e-3
    assert [one if isinstance(one, str) else "event" for one in log] == ["cache", "event", "call", "event"] * 2 + [
        "wait"
    ]


WRONG = {
    "scaled": lambda q, k, v: 0.5 * (q @ (k.mT @ v)),
    "causal": lambda q, k, v: (q @ k.mT).tril() @ v,
    "normalised": lambda q, k, v: (q @ (k.mT @ v)) / (q @ k.sum(2)[..., None]),
    "last row lost": lambda q, k, v: (q @ (k.mT @ v)) * (torch.arange(q.shape[2]) < q.shape[2] - 1)[:, None],
    "last head lost": lambda q, k, v: (q @ (k.mT @ v)) * torch.tensor([1.0, 0.0])[:, None, None],
    "not a number": lambda q, k, v: (q @ (k.mT @ v)).index_fill(2, torch.tensor([33]), torch.nan),
}


@pytest.mark.parametrize("function", WRONG.values(), ids=WRONG)
def test_who_computes_something_else_is_named_and_not_timed(monkeypatch, function):
    honest = bench_gpu.contenders

    def spoilt(*arguments):
        found, absent = honest(*arguments)
        return found | {PRODUCTS: Contender(function, found[PRODUCTS].prefix)}, absent

    monkeypatch.setattr(bench_gpu, "contenders", spoilt)
    for kind in ("forward", "backward"):
        record = run([{"kind": kind, **SHAPE}])
        (one,) = record["races"]
        assert not [name for name in one["times"] if name.startswith(PRODUCTS)]
        assert one["left_out"][PRODUCTS].startswith("computes something else: relative error")
        assert len(bench_gpu.defects(record)) == 1


def test_an_error_that_is_no_number_is_not_let_through():
    error, reason = gpu_contenders.tried(lambda: None, lambda out: float("nan"))
    assert error != error
    assert reason.startswith("computes something else")


def test_who_fails_is_named_and_the_others_race(monkeypatch):
    def no_memory(q, k, v):
        raise torch.OutOfMemoryError("out of memory\nand a long explanation")

    honest = bench_gpu.contenders
    monkeypatch.setattr(
        bench_gpu, "contenders", lambda *given: (honest(*given)[0] | {"P = L": Contender(no_memory, 70)}, {})
    )
    record = run([{"kind": "forward", **SHAPE}])
    (one,) = record["races"]
    assert one["left_out"] == {"P = L": "OutOfMemoryError: out of memory"}
    assert "P = 0" in one["times"]
    assert bench_gpu.defects(record) == ["B=2 L=70 forward: P = L: OutOfMemoryError: out of memory"]


def test_a_race_that_fails_as_a_whole_leaves_the_others(monkeypatch):
    whole = bench_gpu.run_race

    def run_race(one, *rest):
        if one["length"] == 71:
            raise torch.OutOfMemoryError("its inputs do not fit")
        return whole(one, *rest)

    monkeypatch.setattr(bench_gpu, "run_race", run_race)
    record = run([{"kind": "forward", **SHAPE, "length": length} for length in (70, 71, 72)])
    assert [bool(one["times"]) for one in record["races"]] == [True, False, True]
    assert record["races"][1]["left_out"]["P = L"] == "OutOfMemoryError: its inputs do not fit"
    assert len(bench_gpu.defects(record)) == len(OURS)
    assert "B=2 H=2 L=71, forward, 0 rounds" in table_text(record)


@pytest.mark.parametrize(
    ("told", "version"),
    [
        (
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 2024\nGCC",
            "550.54.15",
        ),
        ("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.10  Release Build  (root@x)\n", "570.10"),
        ("something else", "unknown"),
    ],
)
def test_the_driver_is_named(monkeypatch, tmp_path, told, version):
    monkeypatch.setattr(bench_gpu, "DRIVER_FILE", tmp_path / "version")
    (tmp_path / "version").write_text(told)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A Card")
    assert bench_gpu.machine_line(CPU).startswith(f"A Card, driver {version}, CUDA {torch.version.cuda}, torch ")


def test_a_driver_without_a_file_is_asked_of_its_tool(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_gpu, "DRIVER_FILE", tmp_path / "version")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bench_gpu.driver_version() == "unknown"
    tool = tmp_path / "nvidia-smi"
    tool.touch(mode=0o755)
    with tool.open("w") as file:
        file.write("#!/bin/sh\necho 550.54.15\n")
    assert bench_gpu.driver_version() == "550.54.15"


def test_flash_linear_attention_is_asked_for_the_same_function(monkeypatch):
    """Its layout has the tokens first, and its defaults are another scale and a normaliser."""
    asked = []

    def theirs(q, k, v, scale=None, initial_state=None, output_final_state=False, normalize=True, cu_seqlens=None):
        asked.append((tuple(q.shape), scale, normalize, q.is_contiguous()))
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        return (scale * ((q @ k.mT).tril() @ v)).transpose(1, 2), None

    module = type(torch)("fla.ops.linear_attn")
    module.chunk_linear_attn = module.fused_chunk_linear_attn = theirs
    for name in ("fla", "fla.ops"):
        monkeypatch.setitem(sys.modules, name, type(torch)(name))
    monkeypatch.setitem(sys.modules, "fla.ops.linear_attn", module)
    record = run([{"kind": "forward", **SHAPE}, {"kind": "backward", **SHAPE}])
    assert set(asked) == {((2, 70, 2, 4), 1.0, False, True)}
    assert [one["left_out"] for one in record["races"]] == [{}] * 2
    assert all(set(FLA) <= one["times"].keys() for one in record["races"])
    assert set(record["absent"]) == {FLEX}


def test_the_plan_has_every_shape_that_is_judged():
    full, quick = bench_gpu.plan(False), bench_gpu.plan(True)
    assert all(one in full for one in quick)
    shapes = {(one["kind"], one["batch"], one["length"]) for one in quick}
    assert {("forward", 16, 2048), ("forward", 16, 8192), ("forward", 1, 131072), ("backward", 16, 8192)} == shapes
    raced = {(one["batch"], one["length"]) for one in full if one["kind"] != "backward"}
    assert set(gpu_targets.PAPER) <= raced


def test_the_record_is_json_that_other_programs_read(tmp_path):
    save(tmp_path / "record.json", run([{"kind": "forward", **SHAPE}]))
    read = json.loads((tmp_path / "record.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert list(read) == ["format", "version", "machine", "date", "command", "settings", "copy", "absent", "races",
                          "table"]  # fmt: skip
