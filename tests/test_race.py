"""The race tool on fake clocks: what it says must be what the clock says."""

import json
import math
import random
import statistics

import pytest
import torch

from course_lib.race import Race, Spread, race


class Clock:
    """A clock that only moves when a contender moves it."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def __call__(self):
        return self.now

    def contender(self, name, *seconds):
        """Return a function that takes these seconds, one call after the other, and then the last of them."""
        left = list(seconds)

        def run():
            self.order.append(name)
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return run


def test_every_round_runs_everyone_once_and_begins_with_another():
    clock = Clock()
    race({name: clock.contender(name, 1.0) for name in "abc"}, repeats=7, warmup=2, clock=clock)
    assert clock.order[:6] == list("aabbcc")
    rounds = ["".join(clock.order[i : i + 3]) for i in range(6, 27, 3)]
    assert rounds == ["abc", "bca", "cab", "cba", "acb", "bac", "abc"]  # a follows b as often as c


def test_a_timer_of_ones_own_is_asked_and_not_the_clock():
    asked = []

    def timer(function, calls):
        asked.append((function(), calls))
        return {"a": 0.001, "b": 1.0}[function()]

    found = race({name: lambda name=name: name for name in "ab"}, repeats=3, warmup=2, timer=timer)
    assert found.times == {"a": [0.001] * 3, "b": [1.0] * 3}
    assert asked[:4] == [("a", 1), ("a", 1), ("b", 1), ("b", 1)]
    assert set(asked[4:]) == {("a", 2), ("b", 1)}  # so many calls that a sample lasts 2 ms


def test_what_a_card_compiles_at_the_first_call_is_not_taken_for_its_time(monkeypatch):
    monkeypatch.setattr("course_lib.race.machine", lambda device: "no card: a test")
    seconds = iter([5.0, *[0.0005] * 20])
    calls = []
    race(
        {"a": lambda: None},
        repeats=3,
        warmup=1,
        device="cuda",  # only its name is looked at: the timer is ours
        timer=lambda function, count: calls.append(count) or next(seconds),
        clock=lambda: 0.0,
    )
    assert calls == [1, 1, 4, 4, 4]


def test_the_ratio_is_taken_within_a_round():
    """The machine gets slower from round to round, and the ratio stays; a ratio of medians would say the same only by
    chance, so one round is disturbed for one contender."""
    clock = Clock()
    slower = [1.0, 2.0, 4.0, 8.0, 16.0]
    a = clock.contender("a", 1.0, *(3 * one for one in slower))
    b = clock.contender("b", 1.0, *slower[:2], 40.0, *slower[3:])
    found = race({"a": a, "b": b}, repeats=5, warmup=1, clock=clock)
    assert found.times == {"a": [3.0, 6.0, 12.0, 24.0, 48.0], "b": [1.0, 2.0, 40.0, 8.0, 16.0]}
    ratio = found.ratio("a", "b")
    assert (ratio.median, ratio.low, ratio.high) == (3.0, 3.0, 3.0)  # of 3, 3, 0.3, 3, 3
    assert found.median("a") / found.median("b") == 1.5
    assert str(found.seconds("b")) == "8.00 (2.00 to 16.00)"


def test_the_spread_is_the_quartiles():
    times = [5.0, 1.0, 4.0, 2.0, 3.0, 7.0, 6.0, 9.0, 8.0]
    seen = Race({"a": times}, "a machine", "2026-01-01").seconds("a")
    assert (seen.low, seen.median, seen.high) == (3.0, 5.0, 7.0)
    assert seen.median == statistics.median(times)
    one = Race({"a": [2.0]}, "", "").seconds("a")
    assert (one.low, one.median, one.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize(
    ("a", "words"),
    [
        ([0.5] * 3 + [0.7] * 3, "a is faster here: a takes 0.60 times as long as b"),
        ([1.5] * 8 + [0.7], "a is slower here: a takes 1.50 times as long as b"),
        ([1.5] * 7 + [0.7] * 2, "between a and b this race shows no difference: a takes 1.50 times as long"),
        ([0.7] * 16 + [1.5] * 5, "a is faster here"),
        ([0.7] * 15 + [1.5] * 6, "between a and b this race shows no difference"),
        ([0.7] * 75 + [1.5] * 25, "a is faster here"),
        ([0.7] * 74 + [1.5] * 26, "between a and b this race shows no difference"),
        (
            [0.5] * 5,
            "between a and b this race, of too few rounds (5) to tell, shows no difference: a takes 0.50 times",
        ),
        ([1.0] * 9, "between a and b this race shows no difference: a takes 1.00 times as long"),
    ],
)
def test_the_verdict_says_no_more_than_was_seen(a, words):
    said = Race({"a": a, "b": [1.0] * len(a)}, "", "").verdict("a", "b")
    assert said.startswith(words)
    assert f"middle half of {len(a)} rounds" in said


@pytest.mark.parametrize("rounds", [6, 9, 21])
def test_two_equals_are_seldom_told_apart(rounds):
    rng = random.Random(0)
    races = [Race({name: [rng.random() + 1 for _ in range(rounds)] for name in "ab"}, "", "") for _ in range(400)]
    assert sum(" is " in one.verdict("a", "b") for one in races) <= 0.05 * 400 + 10


def test_a_short_call_is_repeated_until_the_clock_can_see_it():
    clock = Clock()
    found = race({"a": clock.contender("a", 1e-4), "b": clock.contender("b", 1.0)}, repeats=3, warmup=1, clock=clock)
    assert clock.order.count("a") == 1 + 3 * 20  # 20 calls of 0.1 ms are 2 ms
    assert clock.order.count("b") == 1 + 3
    assert found.times["a"] == pytest.approx([1e-4] * 3)


def test_a_limit_ends_the_race_after_whole_rounds():
    clock = Clock()
    found = race({n: clock.contender(n, 1.0) for n in "ab"}, repeats=50, max_seconds=9.0, warmup=1, clock=clock)
    assert found.rounds == 5  # the fifth began at 8 seconds
    least = race({"a": clock.contender("a", 100.0)}, repeats=50, max_seconds=1.0, warmup=1, clock=clock)
    assert least.rounds == 3


def test_real_functions_are_told_apart():
    small, large = torch.ones(32, 32), torch.ones(512, 512)
    found = race({"small": lambda: small @ small, "large": lambda: large @ large}, repeats=5)
    assert found.ratio("small", "large").median < 1  # 4,096 times the work: no busy machine turns that round
    assert "torch" in found.machine


def test_a_race_survives_the_disk(tmp_path):
    clock = Clock()
    found = race({n: clock.contender(n, 1.0, 2.0, 3.0) for n in "ab"}, repeats=2, warmup=1, clock=clock)
    found.save(tmp_path / "race.json", command="make bench")
    assert Race.load(tmp_path / "race.json") == found
    assert json.loads((tmp_path / "race.json").read_text())["command"] == "make bench"
    assert [one.name for one in tmp_path.iterdir()] == ["race.json"]
    with pytest.raises(ValueError, match="command must say how"):
        found.save(tmp_path / "other.json", command=" ")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: content.update(version=2), "is no race of format"),
        (lambda content: content.update(times={}), "must hold times"),
        (lambda content: content["times"].update(b=[1.0]), "as many for each contender"),
        (lambda content: content["times"].update(b=[1.0, -1.0]), "times of 'b' must be finite and above 0"),
    ],
)
def test_a_foreign_file_is_refused_by_name(tmp_path, change, words):
    path = tmp_path / "race.json"
    Race({"a": [1.0, 2.0], "b": [1.0, 2.0]}, "m", "d").save(path, command="c")
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=words) as refused:
        Race.load(path)
    assert str(path) in str(refused.value)
    path.write_text("{")
    with pytest.raises(ValueError, match="is no JSON"):
        Race.load(path)


def test_refusals_in_words():
    with pytest.raises(ValueError, match="contenders must be a dict"):
        race({})
    with pytest.raises(TypeError, match=r"contenders\['a'\] must be a function"):
        race({"a": 3})
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        race({"a": print}, repeats=0)
    with pytest.raises(ValueError, match="warmup must be at least 1, got 0"):
        race({"a": print}, warmup=0)
    with pytest.raises(ValueError, match="to must be one of a, b, got 'c'"):
        Race({"a": [1.0], "b": [1.0]}, "", "").ratio("a", "c")


@pytest.mark.parametrize("one", ["NaN", "Infinity", "0", "true", '"1"', "null"])
def test_a_file_with_seconds_that_are_none_is_refused(tmp_path, one):
    path = tmp_path / "race.json"
    Race({"a": [7.0, 2.0]}, "m", "d").save(path, command="c")
    path.write_text(path.read_text().replace("7.0", one))
    with pytest.raises(ValueError, match="times of 'a' must be"):
        Race.load(path)


def test_whole_seconds_are_seconds(tmp_path):
    path = tmp_path / "race.json"
    Race({"a": [7.0, 2.0]}, "m", "d").save(path, command="c")
    path.write_text(path.read_text().replace("7.0", "7"))
    assert Race.load(path).times == {"a": [7.0, 2.0]}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_seconds": "1"}, "max_seconds must be a number"),
        ({"max_seconds": math.nan}, "max_seconds must be finite and at least 0, got nan"),
        ({"clock": 3}, "clock must be a function"),
        ({"timer": 3}, "timer must be a function"),
        ({"device": "abacus"}, "device must be a device that torch can use here"),
        ({"device": "meta"}, "device must be cpu or cuda if no timer is given, got meta"),
        ({"contenders": {3: print}}, "contenders must have names that are str, got 3"),
    ],
)
def test_what_cannot_be_raced_is_refused_before_anything_runs(wrong, words):
    ran = []
    with pytest.raises((TypeError, ValueError), match=words):
        race(**{"contenders": {"a": lambda: ran.append(1)}, **wrong})
    assert ran == []


def test_a_timer_that_sees_no_time_pass_is_refused():
    with pytest.raises(ValueError, match=r"timer must see time pass, got 0\.0 seconds for"):
        race({"a": lambda: None}, timer=lambda function, calls: 0.0)


def test_a_race_without_contenders_has_no_rounds():
    assert repr(Race({}, "m", "d")) == "Race(: 0 rounds)"
    with pytest.raises(ValueError, match="values must be a list of at least one number"):
        Spread.of([])


def test_an_error_tells_in_which_contender_it_was():
    with pytest.raises(ZeroDivisionError) as caught:
        race({"a": lambda: None, "b": lambda: 1 / 0}, repeats=1)
    assert caught.value.__notes__ == ["in the contender 'b'"]


def test_seconds_are_told_with_digits_that_tell_something():
    assert str(Spread.of([0.000345])) == "0.000345 (0.000345 to 0.000345)"
    assert str(Spread.of([1.2345])) == "1.23 (1.23 to 1.23)"
