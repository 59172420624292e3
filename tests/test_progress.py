"""Progress: nothing is lost, whatever the file, the disk or another notebook does."""

import errno
import json
import os
import random
import re
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from course_lib.classroom import progress_file
from course_lib.classroom.banks import load_banks
from course_lib.classroom.exercises import EXERCISES
from course_lib.classroom.panel import ProgressPanel, summary, words
from course_lib.classroom.progress import Progress, ProgressWarning
from course_lib.classroom.progress_file import SECTIONS, empty, merge, parse

LESSONS_SOURCE = Path(__file__).parent.parent / "notebooks" / "source"
ID = "prefix_mask.first_row"
EARLY, LATE = "2025-01-01T00:00:00+00:00", "2026-01-01T00:00:00+00:00"


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "deep" / "progress.json"))
    return tmp_path / "deep" / "progress.json"


@pytest.fixture
def mine(file):
    return Progress()


def answer(progress, name=ID, status="right", tries=1, response=1):
    progress.record_question(name, status=status, tries=tries, response=response)


def question(status="right", tries=1, right=True, shown=False, when=EARLY, response=0):
    last = {"status": status, "tries": tries, "response": response}
    return {"tries": tries, "right": right, "shown": shown, "last": last, "when": when}


def record(**sections):
    return {**empty(), **sections}


def test_a_new_place_holds_nothing_and_is_not_made_by_looking(mine, file):
    assert mine.snapshot() == empty()
    assert not file.exists()
    assert mine.notice == ""


def test_what_is_recorded_is_there_for_the_next_kernel(mine, file):
    answer(mine, status="missed", tries=1)
    answer(mine, status="right", tries=2)
    answer(mine, status="new", tries=0, response=None)
    answer(mine, status="shown", tries=2)
    mine.record_prediction("prefix_mask.count", 40)
    mine.record_exercise("write", "wrong")
    mine.record_exercise("write", "right")
    mine.record_exercise("write", "wrong")
    mine.record_exercise("never", "untouched")
    kept = Progress().snapshot()
    entry = kept["questions"][ID]
    assert (entry["tries"], entry["right"], entry["shown"]) == (4, True, True)
    assert entry["last"] == {"status": "shown", "tries": 2, "response": 1}
    assert kept["predictions"]["prefix_mask.count"]["guess"] == 40
    assert (kept["exercises"]["write"]["state"], kept["exercises"]["write"]["tries"]) == ("right", 3)
    assert "never" not in kept["exercises"]
    assert [path.name for path in file.parent.iterdir() if path.suffix == ".tmp"] == []


def test_a_state_that_is_none_is_an_error(mine):
    with pytest.raises(ValueError, match="state = 'done'"):
        mine.record_exercise("write", "done")


def test_a_clock_set_back_does_not_bring_an_old_answer_back(mine, file):
    file.parent.mkdir()
    future = "2999-01-01T00:00:00+00:00"
    file.write_text(json.dumps(record(questions={ID: question("missed", right=False, when=future)})))
    answer(mine, status="right", tries=2)
    assert mine.snapshot()["questions"][ID]["last"]["status"] == "right"


def test_many_threads_and_two_kernels_lose_nothing(mine, file):
    code = (
        "from course_lib.classroom.progress import progress\n"
        "print('ready', flush=True); input()\n"
        "for i in range(40): progress.record_question(f'b.q{i}', status='right', tries=1, response=i)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "COURSE_PROGRESS": str(file)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    threads = [threading.Thread(target=lambda t=t: [answer(mine, f"a.t{t}_{i}") for i in range(15)]) for t in range(3)]
    other.stdout.readline()  # both begin at the same moment
    other.stdin.write("go\n")
    other.stdin.close()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert other.wait(60) == 0
    names = set(Progress().snapshot()["questions"])
    assert names == {f"a.t{t}_{i}" for t in range(3) for i in range(15)} | {f"b.q{i}" for i in range(40)}


DAMAGED = {
    "cut off": (b'{"schema": 1, "questions": {"a', "damaged"),
    "empty": (b"", "damaged"),
    "not text": (b"\xff\xfe\x00", "damaged"),
    "something else": (b'{"cells": []}', "something else"),
    "a list": (b"[1]", "something else"),
    "not a number": (b'{"schema": NaN}', "damaged"),
    "too large a number": (
        json.dumps(record(predictions={"a.p": {"guess": 1, "revealed": False, "when": EARLY}}))
        .replace('"guess": 1', '"guess": 1e999')
        .encode(),
        "damaged",
    ),
    "too many entries": (
        json.dumps(record(questions={f"q.{i}": question() for i in range(1001)})).encode(),
        "questions",
    ),
    "a million texts for an answer": (
        json.dumps(record(questions={ID: question(response=[""] * 1_000_000)})).encode(),
        "a list of more than 40",
    ),
    "a million objects for an answer": (
        json.dumps(record(questions={ID: question(response=[{}] * 1_000_000)})).encode(),
        "a list of more than 40",
    ),
    "a long list where none belongs": (
        json.dumps(record(predictions={"a.p": {"guess": [[0] * 41], "revealed": False, "when": EARLY}})).encode(),
        "a list of more than 40",
    ),
    "deep": (b"[" * 200_000 + b"]" * 200_000, "damaged"),
    "newer": (b'{"schema": 2, "all": "new"}', "newer version"),
    "a wrong entry": (json.dumps(record(questions={ID: {"right": "yes"}})).encode(), f"questions.{ID}"),
    "too large": (b'{"schema": 1}' + b" " * 5_000_001, "larger than 5 MB"),
    "100 MB": (b"[" * 100_000_000, "larger than 5 MB"),
}


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("name", DAMAGED)
def test_a_file_that_cannot_be_used_is_kept_aside_and_said(name, mine, file):
    content, said = DAMAGED[name]
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.warns(ProgressWarning, match="could not be used"):
        answer(mine)
    kept = [path for path in file.parent.iterdir() if ".kept-" in path.name]
    assert len(kept) == 1
    assert kept[0].read_bytes() == content
    assert said in mine.notice
    assert kept[0].name in mine.notice
    assert set(Progress().snapshot()["questions"]) == {ID}


@pytest.mark.usefixtures("in_time")
def test_the_largest_record_is_read_in_time():
    answers = ([[1] * 10] * 10, [7] * 40, {"text": "x" * 100, "ticks": [1] * 40}, "x" * 500)
    full = record(
        questions={f"q.{i}": question(response=answers[i % 4]) for i in range(1000)},
        predictions={f"p.{i}": {"guess": [0.5] * 40, "revealed": True, "when": EARLY} for i in range(1000)},
        exercises={f"e.{i}": {"state": "right", "tries": 1, "when": EARLY} for i in range(1000)},
    )
    for _ in range(3):
        assert parse(json.dumps(full)) == full


def full_file(file, **sections):
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(record(**{"questions": {f"q.{i}": question() for i in range(1000)}, **sections})))


def test_what_has_no_room_keeps_nothing_else_from_the_file(mine, file):
    full_file(file, predictions={"a.p": {"guess": 1, "revealed": False, "when": EARLY}})
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for name in ("a.new", "a.newer"):
            answer(mine, name)  # one question more than there may be
        answer(mine, "q.7", status="missed", tries=2)  # one that is there already
        mine.record_exercise("write", "right")
        other = Progress()
        answer(other, "b.new")
        other.record_exercise("mend", "right")
    assert len(heard) == 2  # each kernel said it once
    assert "is full (1000 entries of a kind" in mine.notice
    kept = parse(file.read_text("utf-8"))
    assert set(kept["exercises"]) == {"write", "mend"}
    assert kept["questions"]["q.7"]["last"]["status"] == "missed"
    assert len(kept["questions"]) == 1000
    assert {"a.new", "a.newer"} < set(mine.snapshot()["questions"])
    file.rename(file.with_name("moved.json"))  # as the notice says
    mine.record_exercise("third", "right")
    other.record_exercise("fourth", "right")
    assert set(Progress().snapshot()["questions"]) == {"a.new", "a.newer", "b.new"}
    assert mine.notice == other.notice == ""


def test_a_restored_file_leaves_room_for_answers_to_come(mine):
    foreign = [json.dumps(record(questions={f"{x}.{i}": question() for i in range(800)})) for x in "fg"]
    mine.restore_text(foreign[0])
    with pytest.raises(ValueError, match="together with yours it would have more than 800 entries"):
        mine.restore_text(foreign[1])
    mine.restore_text(mine.export_text())  # nothing is new in it, so it needs no room
    answer(mine)
    assert mine.notice == ""
    assert len(Progress().snapshot()["questions"]) == 801
    banks = load_banks()
    assert 1.5 * max(map(len, (banks.questions, banks.predictions, EXERCISES))) < 1000 - 800


def test_a_full_disk_stops_no_lesson_and_is_said_once(mine, file, monkeypatch):
    answer(mine, "a.before")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(progress_file.os, "fsync", full)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        answer(mine, "a.first")
        answer(mine, "a.second")
        answer(mine, "a.second", status="new", tries=0)
    assert len(heard) == 1
    assert "No space left" in mine.notice
    assert set(mine.snapshot()["questions"]) == {"a.before", "a.first", "a.second"}  # in memory
    assert mine.snapshot()["questions"]["a.second"]["right"]
    assert set(Progress().snapshot()["questions"]) == {"a.before"}  # the file is whole
    assert "Nothing was forgotten" in mine.reset("forget")
    assert "a.first" in mine.snapshot()["questions"]
    monkeypatch.undo()
    os.environ["COURSE_PROGRESS"] = str(file)
    try:
        answer(mine, "a.third")
        assert set(Progress().snapshot()["questions"]) == {"a.before", "a.first", "a.second", "a.third"}
        assert mine.notice == ""
    finally:
        del os.environ["COURSE_PROGRESS"]


def test_a_disk_that_is_full_in_the_middle_of_the_file_leaves_the_old_one(mine, file):
    resource = pytest.importorskip("resource")
    answer(mine, "a.before")
    before, limits = file.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 20, limits[1]))  # the system itself cuts the writing off
    try:
        with pytest.warns(ProgressWarning, match="cannot be saved"):
            answer(mine, "a.after")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir() if path.suffix == ".tmp"] == []
    answer(mine, "a.last")
    assert set(Progress().snapshot()["questions"]) == {"a.before", "a.after", "a.last"}


def test_a_checkout_that_cannot_be_written_is_said_once_and_the_lesson_goes_on(mine, file, monkeypatch):
    answer(mine, "a.before")

    def refused(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("open", "mkdir", "replace"):  # under every way to write; reading goes another way
        monkeypatch.setattr(os, name, refused)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for name in ("a.first", "a.second"):
            answer(mine, name)
    assert len(heard) == 1
    assert "Read-only" in mine.notice
    assert set(mine.snapshot()["questions"]) == {"a.before", "a.first", "a.second"}


def test_a_link_stays_a_link_and_its_file_gets_the_answers(mine, file, tmp_path):
    file.parent.mkdir()
    kept = tmp_path / "kept elsewhere" / "mine \u00e9.json"
    kept.parent.mkdir()
    file.symlink_to(kept)
    answer(mine)
    assert file.is_symlink()
    assert set(json.loads(kept.read_text("utf-8"))["questions"]) == {ID}


def test_without_a_home_the_place_is_the_default_and_a_path_is_refused_in_words(mine, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "~nobody-of-that-name/progress.json")
    assert mine.path.parts[-2:] == ("work", "progress.json")
    with pytest.raises(ValueError, match="no such home folder"):
        mine.export("~nobody-of-that-name/mine.json")


def test_what_could_not_be_read_again_is_never_written(mine, file):
    answer(mine)
    before = file.read_bytes()
    guess = {"guess": "x" * 9000, "revealed": False, "when": EARLY}
    halves = [json.dumps(record(predictions={f"{name}.{i}": guess for i in range(400)})) for name in "ab"]
    mine.restore_text(halves[0])
    with pytest.raises(ValueError, match="together with yours it would be larger than 4 MB"):
        mine.restore_text(halves[1])
    many = json.dumps(record(questions={f"q.{i}": question() for i in range(1000)}))
    with pytest.raises(ValueError, match="more than 800 entries"):
        mine.restore_text(many)
    for nonsense in (float("nan"), object(), 10**5000, {"a": 1}, "x" * 10_001):
        with pytest.raises(ValueError, match="nothing that progress can keep"):
            mine.record_prediction("a.p", nonsense)
    assert before != file.read_bytes()
    assert Progress().snapshot() == mine.snapshot()


def test_a_place_that_cannot_be_is_said_and_the_lesson_goes_on(tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("a file, not a folder")
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "taken" / "progress.json"))
    mine = Progress()
    with pytest.warns(ProgressWarning, match="cannot be saved"):
        answer(mine)
    assert mine.snapshot()["questions"][ID]["right"]
    assert json.loads(mine.export_text())["questions"]
    assert (tmp_path / "taken").read_text() == "a file, not a folder"


def test_a_damaged_file_that_cannot_be_moved_is_never_overwritten(mine, file, monkeypatch):
    file.parent.mkdir()
    file.write_bytes(b"precious?")

    def refused(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "replace", refused)
    with pytest.warns(ProgressWarning, match="Permission denied"):
        answer(mine)
    assert file.read_bytes() == b"precious?"
    assert mine.snapshot()["questions"][ID]["right"]


def test_the_best_of_two_records():
    a = record(
        questions={"q.a": question("right", 3, when=EARLY), "q.b": question("missed", 1, right=False, when=LATE)},
        predictions={"p.a": {"guess": 1, "revealed": True, "when": EARLY}},
        exercises={"e": {"state": "right", "tries": 1, "when": EARLY}},
    )
    b = record(
        questions={"q.a": question("new", 0, right=False, shown=True, when=LATE, response=None), "q.c": question()},
        predictions={"p.a": {"guess": 2, "revealed": False, "when": LATE}},
        exercises={"e": {"state": "wrong", "tries": 5, "when": LATE}},
    )
    for both in (merge(a, b), merge(b, a)):
        assert set(both["questions"]) == {"q.a", "q.b", "q.c"}
        entry = both["questions"]["q.a"]
        assert (entry["tries"], entry["right"], entry["shown"]) == (3, True, True)
        assert entry["last"]["status"] == "new"
        assert both["predictions"]["p.a"]["guess"] == 1  # it was seen beside the truth
        assert both["exercises"]["e"] == {"state": "right", "tries": 5, "when": LATE}
    assert merge(a, a) == a
    assert merge(a, empty()) == a == merge(empty(), a)


def random_record(lot):
    """A record of few names, so that two meet often; no two entries of one time, as one learner makes none."""
    times = [f"2025-01-01T{i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}+00:00" for i in lot.sample(range(86_400), 9)]
    yes = lambda: lot.random() < 0.5  # noqa: E731
    some = lambda make: {f"a.{i}": make() for i in range(3) if lot.random() < 0.8}  # noqa: E731
    return record(
        questions=some(lambda: question(lot.choice(["new", "missed"]), lot.randrange(4), yes(), yes(), times.pop())),
        predictions=some(lambda: {"guess": lot.randrange(9), "revealed": yes(), "when": times.pop()}),
        exercises=some(lambda: {"state": lot.choice(["wrong", "right"]), "tries": 1, "when": times.pop()}),
    )


@pytest.mark.parametrize("seed", range(50))
def test_in_whatever_order_records_are_merged_the_best_is_the_same_and_nothing_is_lost(seed):
    lot = random.Random(seed)
    a, b, c = (random_record(lot) for _ in range(3))
    assert merge(a, a) == a
    assert merge(a, b) == merge(b, a) == merge(merge(a, b), b)
    best = merge(merge(a, b), c)
    assert best == merge(a, merge(b, c))
    for one in (a, b, c):
        assert all(set(one[section]) <= set(best[section]) for section in SECTIONS)
        assert all(best["questions"][name]["right"] >= entry["right"] for name, entry in one["questions"].items())
        assert all(best["predictions"][name]["revealed"] >= e["revealed"] for name, e in one["predictions"].items())
    seen = {entry["when"]: entry for one in (a, b, c) for entry in one["predictions"].values() if entry["revealed"]}
    assert all(entry in seen.values() for entry in best["predictions"].values() if entry["revealed"])


def test_a_guess_that_was_seen_stays_also_in_another_notebook(mine, file):
    other = Progress()
    mine.record_prediction("a.p", 5)
    other.record_prediction("a.p", 1, revealed=True)
    mine.record_prediction("a.p", 2)
    mine.record_prediction("a.p", 3, revealed=True)
    assert (mine.snapshot(), other.snapshot()) == (Progress().snapshot(),) * 2
    entry = mine.snapshot()["predictions"]["a.p"]
    assert (entry["guess"], entry["revealed"]) == (1, True)


def test_a_guess_made_while_another_notebook_shows_the_truth_loses(mine, file, monkeypatch):
    other, before = Progress(), mine.snapshot()
    other.record_prediction("a.p", 1, revealed=True)
    monkeypatch.setattr(mine, "snapshot", lambda: before)  # read just before the other wrote
    mine.record_prediction("a.p", 2)
    assert Progress().snapshot()["predictions"]["a.p"]["guess"] == 1


def test_export_and_restore_carry_everything(mine, file, tmp_path, monkeypatch):
    answer(mine, response={"text": "mine: \ud83d", "ticks": []})
    mine.record_prediction("a.p", [1, 2.5])
    mine.export(tmp_path / "copy.json")
    mine.export(tmp_path / "copy.json")  # its own copy may be replaced
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "elsewhere.json"))
    other = Progress()
    answer(other, "a.new")
    assert "Restored 1 questions" in other.restore(tmp_path / "copy.json")
    assert set(other.snapshot()["questions"]) == {ID, "a.new"}
    assert parse((tmp_path / "elsewhere.json").read_text("utf-8")) == other.snapshot()


def test_export_never_replaces_another_file(mine, tmp_path):
    (tmp_path / "thesis.json").write_text('{"chapters": 9}')
    with pytest.raises(FileExistsError, match="something else"):
        mine.export(tmp_path / "thesis.json")
    assert (tmp_path / "thesis.json").read_text() == '{"chapters": 9}'


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_copy_is_refused_and_changes_nothing(name, mine, tmp_path):
    answer(mine)
    before = mine.snapshot()
    (tmp_path / "copy.json").write_bytes(DAMAGED[name][0])
    with pytest.raises(ValueError, match=r"^it "):
        mine.restore(tmp_path / "copy.json")
    assert mine.snapshot() == before
    assert (tmp_path / "copy.json").exists()


def test_a_copy_that_is_not_there_is_an_error(mine, tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        mine.restore(tmp_path / "none.json")


@pytest.mark.parametrize("confirm", ["", "yes", True, None, "FORGET"])
def test_reset_wants_the_word(confirm, mine):
    answer(mine)
    with pytest.raises(ValueError, match=r'progress\.reset\("forget"\)'):
        mine.reset(confirm)
    assert mine.snapshot()["questions"]


def test_a_reset_can_be_undone(mine, file):
    answer(mine)
    before = mine.snapshot()
    assert "progress.before-reset.json" in mine.reset("forget")
    assert Progress().snapshot() == empty()
    assert mine.reset("forget") == "Progress is empty again."  # nothing to keep: the old copy stays
    mine.restore(file.with_name("progress.before-reset.json"))
    assert mine.snapshot() == before


def test_a_reset_of_what_was_never_there_speaks_of_no_copy(mine, file):
    assert mine.reset("forget") == "Progress is empty again."
    assert [path.name for path in file.parent.glob("*.json")] == ["progress.json"]


def test_a_second_reset_keeps_what_the_first_kept(mine, file):
    for name in "abcde":
        mine.record_exercise(name, "right")
    mine.reset("forget")
    Progress().record_exercise("a", "wrong")  # in another notebook
    answer(mine)
    assert "in progress.before-reset.json." in mine.reset("forget")
    mine.restore(file.with_name("progress.before-reset.json"))
    kept = mine.snapshot()
    assert {name: entry["state"] for name, entry in kept["exercises"].items()} == dict.fromkeys("abcde", "right")
    assert set(kept["questions"]) == {ID}


def test_a_reset_keeps_what_another_notebook_wrote_a_moment_before(mine, file, monkeypatch):
    before = mine.snapshot()
    answer(Progress())
    monkeypatch.setattr(mine, "snapshot", lambda: before)  # read just before the other wrote
    mine.reset("forget")
    assert set(parse(file.with_name("progress.before-reset.json").read_text("utf-8"))["questions"]) == {ID}


@pytest.mark.parametrize("there", ["damaged", "full"])
def test_a_copy_that_can_take_nothing_more_stays_and_another_is_made(there, mine, file):
    first, second = (file.with_name(f"progress.before-reset{number}.json") for number in ("", "-2"))
    full_file(first) if there == "full" else answer(mine)
    if there == "damaged":
        first.write_bytes(b"precious?")
    before = first.read_bytes()
    answer(mine)
    assert mine.reset("forget").endswith(f"kept in {second.name}.")
    assert first.read_bytes() == before
    assert set(parse(second.read_text("utf-8"))["questions"]) == {ID}


def test_a_reset_of_a_full_record_makes_copies_that_can_be_read(mine, file):
    full_file(file)
    with pytest.warns(ProgressWarning, match="is full"):
        answer(mine, "a.new")
    assert "in progress.before-reset.json and progress.before-reset-2.json." in mine.reset("forget")
    copies = [parse(path.read_text("utf-8"))["questions"] for path in sorted(file.parent.glob("*.before-reset*.json"))]
    assert set().union(*copies) == {f"q.{i}" for i in range(1000)} | {"a.new"}
    assert mine.snapshot() == Progress().snapshot() == empty()


@pytest.mark.parametrize("name", ["x" * 300, f"{'y' * 300}/mine.json"])
def test_a_name_that_the_system_refuses_is_refused_in_words(name, mine, tmp_path):
    for call, told in ((mine.export, "written"), (mine.restore, "read")):
        with pytest.raises(OSError, match=f"^path = .*: cannot be {told} \\(File name too long\\)"):
            call(tmp_path / name)


def test_the_place_is_the_checkouts_or_the_working_directory(monkeypatch, tmp_path):
    from course_lib.classroom import progress as module_object

    module = sys.modules[type(module_object).__module__]
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    assert Progress().path == module._PACKAGE.parent / "work" / "progress.json"
    monkeypatch.setattr(module, "_PACKAGE", tmp_path / "site-packages" / "course_lib")
    monkeypatch.chdir(tmp_path)
    assert Progress().path == tmp_path / "work" / "progress.json"


def test_the_summary_counts_banks_and_exercises(mine):
    asked = load_banks().questions
    lessons = {lesson["notebook"]: lesson for lesson in summary(mine.snapshot())}
    assert sum(lesson["questions"] for lesson in lessons.values()) == len(asked)
    assert sum(lesson["exercises"] for lesson in lessons.values()) == len(EXERCISES)
    assert sum(lesson["right"] + lesson["done"] for lesson in lessons.values()) == 0
    answer(mine)
    answer(mine, "gone.question")
    answer(mine, "prefix_mask.column", status="missed")
    name = next(iter(EXERCISES))
    mine.record_exercise(name, "right")
    lessons = {lesson["notebook"]: lesson for lesson in summary(mine.snapshot())}
    assert lessons[asked[ID]["taught"]["notebook"]]["right"] == 1
    assert lessons[EXERCISES[name].notebook]["done"] == 1
    for lesson in lessons.values():
        own = [text for key, text in load_banks().objectives.items() if key.split(".")[0] == lesson["notebook"][3:]]
        assert [each["text"] for each in lesson["objectives"]] == own  # as the lesson states them
        assert sum(each["all"] for each in lesson["objectives"]) == lesson["questions"] + lesson["exercises"]
        assert sum(each["done"] for each in lesson["objectives"]) == lesson["right"] + lesson["done"]
    assert "The prefix mask: questions right 1 of" in repr(mine)
    assert words([]) == "Your progress: there is nothing to answer yet."


def test_a_lesson_counts_the_questions_that_it_is_the_first_to_ask(mine):
    decks, seen = load_banks().decks, set()
    totals = {lesson["notebook"]: lesson["questions"] for lesson in summary(mine.snapshot())}
    for source in sorted(LESSONS_SOURCE.glob("0*.md")):
        asked = {q for deck in re.findall(r'^quiz\("([\w.]+)"\)', source.read_text("utf-8"), re.M) for q in decks[deck]}
        assert totals[source.stem] == len(asked - seen), source.stem
        seen |= asked


def test_the_panel_follows_and_answers_the_browser(mine, file):
    panel, sent = ProgressPanel(mine), []
    panel.send = sent.append
    answer(mine)
    assert sum(lesson["right"] for lesson in panel.lessons) == 1
    ask = lambda **content: (panel._receive(panel, content, []), sent[-1] if sent else None)[1]  # noqa: E731
    text = ask(type="export", number=1)["file"]
    assert parse(text) == mine.snapshot()
    assert ask(type="reset", confirm="please", number=2)["type"] == "refused"
    assert ask(type="reset", confirm="forget", number=3)["type"] == "done"
    assert mine.snapshot() == empty()
    assert ask(type="restore", text=text, number=4)["number"] == 4
    assert parse(text) == mine.snapshot()
    for bad in (None, 5, "", "{}", "x" * 5_000_001, "<b>"):
        reply = ask(type="restore", text=bad, number=5)
        assert reply["type"] == "refused"
        assert reply["text"].startswith("Nothing was changed")
    count = len(sent)
    for nonsense in (None, 1, [], {}, {"type": "delete"}, {"type": ["reset"]}):
        panel._receive(panel, nonsense, [])
    assert len(sent) == count


def test_without_a_kernel_the_panel_does_not_depend_on_the_learner(mine):
    page = ProgressPanel(mine).fallback()
    answer(mine)
    assert ProgressPanel(mine).fallback() == page
    assert "Run this notebook" in page["text/html"]
    assert set(mine._repr_mimebundle_()[0]) >= {"text/plain", "text/html"}


def test_every_section_is_merged_and_checked():
    assert set(progress_file._FILE["required"]) == {"schema", *SECTIONS}
    assert set(progress_file._BEST) == set(SECTIONS)
