"""The race of softmax and linear attention in Python: its counts, its words, what it keeps, and how it is stopped."""

import json
import threading
import time

import bench_race
import pytest
import torch
import traitlets

from course_lib import costs, linear_costs
from course_lib.classroom import race_explorer, race_words
from course_lib.classroom.race_explorer import KernelRaceExplorer, contenders, more_rounds
from course_lib.classroom.race_pictures import draw_race
from course_lib.classroom.race_words import EIGHTHS, FORMS, LENGTHS, RECORDING, counted, counted_ratio, key, law, point
from course_lib.race import Race

CPU = torch.device("cpu")


def made(softmax=1.2, linear=0.8, rounds=3) -> Race:
    times = {"softmax causal": 1.0, "softmax prefix": softmax, "linear causal": 0.1, "linear prefix": 0.1 * linear}
    return Race({form: [seconds] * rounds for form, seconds in times.items()}, "a machine", "2026-01-01")


@pytest.fixture
def quick(monkeypatch):
    """Races of made-up times that take no time; the list of the forms of each."""
    raced = []

    def race(functions, **options):
        for function in functions.values():
            function()
        raced.append((list(functions), options))
        whole = made().times
        return Race({form: whole[form][: options["repeats"]] for form in functions}, "a machine", "2026-01-01")

    monkeypatch.setattr(race_explorer, "race", race)
    monkeypatch.setattr(race_explorer, "contenders", lambda *sizes: dict.fromkeys(FORMS, lambda: None))
    return raced


# -- what is counted, and said


def test_the_counts_are_those_of_the_modules_that_count():
    for total_len in LENGTHS:
        for eighths in range(EIGHTHS + 1):
            P = total_len * eighths // 8
            pairs = costs.attention_flops(P, total_len, heads=8, head_dim=64, block_size=64)
            chunked = linear_costs.linear_cost("chunked", P, total_len, key_dim=64, value_dim=64, chunk=64).flops
            found = counted(total_len, eighths)
            assert (found["softmax prefix"], found["linear prefix"]) == (pairs, 8 * chunked)
            assert counted(total_len, 0) == {**found, "softmax prefix": found["softmax causal"],
                                             "linear prefix": found["linear causal"]}  # fmt: skip
            assert counted_ratio("softmax", total_len, eighths) == pytest.approx(law(eighths), abs=128 / total_len)
            assert counted_ratio("linear", total_len, eighths) == pytest.approx(1 - eighths / 16)
    assert KernelRaceExplorer(1024, 8).counted == counted(1024, 8)


def test_it_says_what_does_not_change_and_no_live_time(quick):
    explorer, record = KernelRaceExplorer(), race_words.load()
    before = repr(explorer)
    assert before == explorer.describe() == (
        "Counted at T = 4,096, P = 2,048: the prefix form of softmax takes 1.24 times the operations of its causal "
        "form, that of linear 0.75 times. softmax causal 17,448,304,640 (17.4\u00a0billion); softmax prefix "
        "21,609,054,208 (21.6\u00a0billion); linear causal 1,073,741,824 (1.07\u00a0billion); linear prefix "
        "805,306,368 (805\u00a0million). One example, 8 heads of 64 features; softmax in tiles of 64 × 64 pairs that "
        f"are visited in whole, linear in chunks of 64. Recorded on {record['machine']}, {record['date']}."
    )  # fmt: skip
    explorer.measure(max_seconds=1e-9)
    assert repr(explorer) == before
    assert "nothing is prefix, and both forms take what causal takes" in repr(KernelRaceExplorer(1024, 0))


def test_without_a_kernel_there_is_a_picture_of_what_was_recorded():
    explorer = KernelRaceExplorer(4096, 4)
    data, _ = explorer._repr_mimebundle_()
    assert data["image/png"].startswith("iVBOR")
    assert data["text/plain"] == explorer.describe()
    assert explorer.fallback() == explorer.fallback()
    record = race_words.load()["points"]
    for total_len in LENGTHS:
        curve = draw_race(total_len, 8).axes[1]
        drawn = {line.get_label(): list(line.get_ydata()) for line in curve.lines}
        for family in ("softmax", "linear"):
            known = [record[name]["ratio"][family][1] for n in range(9) if (name := key(total_len, n)) in record]
            assert drawn.get(f"{family}: recorded", []) == known


# -- the recording


def test_the_recording_is_whole_and_names_its_origin():
    record = race_words.load()
    assert record["command"].startswith("python tools/bench_race.py")
    lengths = {int(name.partition(":")[0]) for name in record["points"]}
    assert set(record["points"]) == {key(L, n) for L in lengths for n in range(EIGHTHS + 1)}
    assert lengths <= set(LENGTHS)
    assert KernelRaceExplorer().setting["recorded"] == record
    assert RECORDING.stat().st_size < 12_000
    for one in record["points"].values():
        assert one["rounds"] >= 3
        assert list(one["seconds"]) == list(FORMS)
        assert all(
            0 < low <= median <= high for low, median, high in [*one["seconds"].values(), *one["ratio"].values()]
        )


def test_the_tool_records_a_race(quick, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_race, "contenders", race_explorer.contenders)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    out = tmp_path / "races" / "new.json"
    arguments = ["--lengths", "1024", "--rounds", "6", "--out", str(out)]
    assert bench_race.main(arguments) == 0
    record = race_words.load(out)
    assert record["points"] == {key(1024, n): point(made(rounds=6)) for n in range(9)}
    assert record["command"] == f"python tools/bench_race.py --lengths 1024 --rounds 6 --out {out}"
    assert all(record[name] for name in ("machine", "date"))
    out.write_text(json.dumps({"format": "other"}))
    race_words.load.cache_clear()
    with pytest.raises(ValueError, match="no recording of format"):
        race_words.load(out)


# -- the race


def test_the_four_forms_are_two_functions(one_thread):
    functions = contenders(1024, 0, CPU)
    assert list(functions) == list(FORMS)
    with torch.inference_mode():
        causal = {form: function() for form, function in functions.items()}
        prefix = {form: function() for form, function in contenders(1024, 4, CPU).items()}
    assert {out.shape for out in causal.values()} == {(1, 8, 1024, 64)}
    for family in ("softmax", "linear"):
        assert torch.equal(causal[f"{family} causal"], causal[f"{family} prefix"])
        assert torch.equal(causal[f"{family} causal"], prefix[f"{family} causal"])
        later = causal[f"{family} causal"][:, :, 512:], prefix[f"{family} prefix"][:, :, 512:]
        torch.testing.assert_close(*later, rtol=1e-3, atol=1e-2)  # target queries see the same keys in both
        assert (causal[f"{family} causal"] - prefix[f"{family} prefix"]).abs().max() > 0.1


def test_no_form_always_follows_the_same_one(quick):
    result = None
    for _ in range(4):
        result = more_rounds(result, race_explorer.contenders(), CPU)
    assert result.rounds == 12
    for form in FORMS:
        assert len({names[names.index(form) - 1] for names, _ in quick}) == 2, form
    assert len({names[0] for names, _ in quick}) > 1
    assert list(result.times) == list(FORMS)


def test_measure_keeps_what_it_finds_and_returns_the_race(quick):
    explorer = KernelRaceExplorer(1024, 3)
    result = explorer.measure(5, max_seconds=1e-9)
    assert result.rounds == 3
    assert explorer.measured == {"1024:5": point(made())}
    assert explorer.measured["1024:5"]["ratio"] == {"softmax": [1.2] * 3, "linear": [0.8] * 3}
    assert explorer.said == "Measured at T = 1,024, P = 640: 3 rounds in 0 s."
    assert explorer.prefix_eighths == 3
    assert not explorer.busy
    assert explorer.measure(max_seconds=60).rounds == race_explorer.MOST_ROUNDS
    assert set(explorer.measured) == {"1024:5", "1024:3"}
    assert all(options["warmup"] == 1 and options["device"] == CPU for _, options in quick)


def test_a_real_race_of_few_tokens(monkeypatch, one_thread):
    monkeypatch.setattr(race_explorer, "LENGTHS", (64, 128, 256))
    explorer = KernelRaceExplorer(64, 4)
    result = explorer.measure(max_seconds=0.01)
    assert set(result.times) == set(FORMS)
    assert explorer.measured["64:4"]["rounds"] == result.rounds >= 3
    json.dumps(explorer.measured)


def test_a_long_softmax_is_left_out_if_it_would_take_too_long(quick):
    explorer = KernelRaceExplorer(16384, 4)
    result = explorer.measure(max_seconds=6)  # 2.2 s at 4,096 tokens
    assert set(result.times) == {"linear causal", "linear prefix"}
    assert list(explorer.measured["16384:4"]["ratio"]) == ["linear"]
    assert explorer.said.endswith(
        "Softmax is left out: about 35 s a round (estimated from 4,096 tokens), over the limit of 6 s."
    )
    assert set(explorer.measure(max_seconds=36).times) == set(FORMS)
    explorer.measured = {"4096:4": point(made(softmax=0.5))}
    quick.clear()
    explorer.measure(max_seconds=6)
    assert "about 24 s" in explorer.said
    assert all(names[0].startswith("linear") for names, _ in quick)  # what is known is not measured again


def press(explorer, what):
    """Press a button as JupyterLab does: its message comes in another thread."""
    thread = threading.Thread(target=explorer._receive, args=(explorer, {"type": what}, []))
    thread.start()
    thread.join(30)


def wait_for(condition):
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_stop_in_mid_race_keeps_the_rounds_that_are_done(quick, monkeypatch):
    explorer = KernelRaceExplorer()
    calls = iter(range(1000))
    pressing = dict.fromkeys(FORMS, lambda: next(calls) == 8 and press(explorer, "stop"))
    monkeypatch.setattr(race_explorer, "contenders", lambda *sizes: pressing)
    assert explorer.measure(max_seconds=60).rounds == 6
    assert explorer.said == "Stopped; kept at T = 4,096, P = 2,048: 6 rounds in 0 s."
    assert explorer.measured["4096:4"]["rounds"] == 6
    calls = iter(range(8, 1000))
    kept = explorer.measured
    assert explorer.measure(max_seconds=60) is None  # stopped in the first rounds: the older race stays
    assert explorer.said == "Stopped before 3 rounds were done: nothing new is kept at T = 4,096, P = 2,048."
    assert explorer.measured == kept
    assert not explorer.busy


def test_an_interrupt_is_a_stop(quick, monkeypatch):
    def interrupted():
        if next(calls) == 5:
            raise KeyboardInterrupt

    calls = iter(range(1000))
    monkeypatch.setattr(race_explorer, "contenders", lambda *sizes: dict.fromkeys(FORMS, interrupted))
    explorer = KernelRaceExplorer()
    assert explorer.measure(max_seconds=60).rounds == 3
    assert explorer.said.startswith("Stopped; kept at")


def test_a_failure_is_said_and_raised(quick, monkeypatch):
    monkeypatch.setattr(race_explorer, "contenders", lambda *sizes: dict.fromkeys(FORMS, lambda: 1 / 0))
    explorer = KernelRaceExplorer()
    with pytest.raises(ZeroDivisionError):
        explorer.measure()
    assert explorer.said == "The race at T = 4,096, P = 2,048 failed: ZeroDivisionError: division by zero"
    press(explorer, "measure")
    wait_for(lambda: not explorer.busy)
    assert "failed" in explorer.said


def test_the_button_races_in_a_thread_of_its_own_and_one_race_at_a_time(quick, monkeypatch):
    gate = threading.Event()
    monkeypatch.setattr(race_explorer, "contenders", lambda *sizes: dict.fromkeys(FORMS, lambda: gate.wait(30)))
    explorer = KernelRaceExplorer(1024, 2)
    press(explorer, "measure")
    assert explorer.busy
    assert explorer.said == "Measuring at T = 1,024, P = 256: the first 3 rounds …"
    explorer.prefix_eighths = 7  # the race goes on where it began
    press(explorer, "measure")
    with pytest.raises(RuntimeError, match="a race is being run already"):
        explorer.measure()
    gate.set()
    wait_for(lambda: not explorer.busy)
    assert list(explorer.measured) == ["1024:2"]


@pytest.mark.parametrize("content", [None, "stop", {}, {"type": ["stop"]}, {"type": "go"}])
def test_other_messages_do_nothing(content):
    explorer = KernelRaceExplorer()
    explorer._receive(explorer, content, [])
    assert not explorer.busy
    assert not explorer._stop.is_set()


# -- what is refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"total_len": 2048}, "total_len must be one of 1024, 4096, 16384, got 2048"),
        ({"total_len": 512}, "total_len must be from 1024 to 16384, got 512"),
        ({"total_len": "4096"}, r"total_len must be a whole number from 1024 to 16384, got '4096' \(str\)"),
        ({"prefix_eighths": 9}, "prefix_eighths must be from 0 to 8, got 9"),
        ({"prefix_eighths": 0.5}, "prefix_eighths must be a whole number"),
        ({"prefix_eighths": True}, "prefix_eighths must be a whole number"),
    ],
)
def test_what_is_wrong_is_said(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        KernelRaceExplorer(**arguments)
    explorer = KernelRaceExplorer()
    with pytest.raises(traitlets.TraitError):
        setattr(explorer, *next(iter(arguments.items())))
    assert repr(explorer) == repr(KernelRaceExplorer())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"P_eighths": 9}, "P_eighths must be from 0 to 8, got 9"),
        ({"P_eighths": "all"}, "P_eighths must be a whole number"),
        ({"max_seconds": 0}, "max_seconds must be above 0, got 0"),
        ({"max_seconds": float("nan")}, "max_seconds must be above 0, got nan"),
        ({"max_seconds": "6"}, r"max_seconds must be a number, got '6' \(str\)"),
        ({"max_seconds": True}, "max_seconds must be a number"),
    ],
)
def test_a_race_of_nothing_is_refused(arguments, words):
    explorer = KernelRaceExplorer()
    with pytest.raises((ValueError, TypeError), match=words):
        explorer.measure(**arguments)
    assert not explorer.busy
