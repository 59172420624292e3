"""The report on a class: counts that agree with the records, and files that are no progress refused in words."""

import json
import os

import class_report
import pytest
from class_report import files_of, gather, main, report

from course_lib.classroom.banks import load_banks
from course_lib.classroom.exercises import EXERCISES
from course_lib.classroom.progress import Progress
from course_lib.classroom.progress_file import MAX_BYTES, empty, to_text

BANKS = load_banks()
OBJECTIVE = "prefix_mask.write"
TASKS = [name for name, one in BANKS.questions.items() if one["objective"] == OBJECTIVE]
EXERCISE_TASKS = [name for name, one in EXERCISES.items() if one.objective == OBJECTIVE]
WHEN = "2025-01-01T00:00:00+00:00"


def question(right=True, tries=1):
    last = {"status": "right" if right else "missed", "tries": tries, "response": 0}
    return {"tries": tries, "right": right, "shown": False, "last": last, "when": WHEN}


def record(right=(), missed=(), done=()):
    return empty() | {
        "questions": {name: question() for name in right} | {name: question(False) for name in missed},
        "exercises": {name: {"state": "right", "tries": 1, "when": WHEN} for name in done},
    }


def write(folder, **records):
    for name, one in records.items():
        (folder / f"{name}.json").write_text(one if isinstance(one, str) else to_text(one), "utf-8")
    return folder


def line_of(text: str, part: str) -> str:
    return next(line for line in text.splitlines() if part in line)


def test_shares_are_of_those_who_have_begun_a_lesson(tmp_path):
    everything, half = [*TASKS, *EXERCISE_TASKS], TASKS[: len(TASKS) // 2]
    write(
        tmp_path,
        ada=record(right=TASKS, done=EXERCISE_TASKS),
        bo=record(right=half),
        cy=record(right=["glm.loose"]),
    )
    text = report(gather(files_of([tmp_path])))
    assert text.startswith("3 learners.")
    assert "02 The prefix mask: 2 of 3 have something right" in text
    assert "04 GLM: 1 of 3 have something right" in text
    assert "03 Prefix LM: 0 of 3 have something right" in text
    share = (len(everything) + len(half)) / (2 * len(everything))
    line = line_of(text, BANKS.objectives[OBJECTIVE])
    assert line.split() == [f"{share:.0%}", *f"all by 1 of 2 {BANKS.objectives[OBJECTIVE]}".split()]


def test_questions_that_most_missed_come_first_and_those_who_never_tried_do_not_count(tmp_path):
    hard, harder, easy = TASKS[0], TASKS[1], TASKS[2]
    write(
        tmp_path,
        ada=record(missed=[hard, harder], right=[easy]),
        bo=record(missed=[harder], right=[hard]),
        cy=record(right=[easy]),
    )
    lines = report(gather(files_of([tmp_path]))).splitlines()
    place = lines.index("Questions tried and not got right, by most learners:")
    assert lines[place + 1 :] == [f"  {harder}: 2 of 2 who tried", f"  {hard}: 1 of 2 who tried"]


def test_a_name_that_the_system_refuses_is_told_and_the_others_are_read(tmp_path, capsys):
    write(tmp_path, ada=record(right=TASKS))
    assert main([str(tmp_path / ("x" * 300)), str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("1 learner.")
    assert said.count("File name too long") == 1


def test_what_a_learner_exports_is_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "mine" / "progress.json"))
    mine = Progress()
    mine.record_question(TASKS[0], status="right", tries=1, response=1)
    mine.export(tmp_path / "course-progress.json")
    assert main([str(tmp_path / "course-progress.json")]) == 0


HOSTILE = {
    "html": "<script>alert(1)</script>",
    "number": "7",
    "nothing": "",
    "deep": "[" * 200_000,
    "wrong": '{"schema": 1, "questions": [], "predictions": {}, "exercises": {}}',
    "newer": '{"schema": 99}',
    "infinite": '{"schema": 1, "questions": {}, "predictions": {"a": Infinity}, "exercises": {}}',
    "large": " " * (MAX_BYTES + 1),
    "steering": json.dumps({"schema": 1, "questions": {"\x1b[2J": 1}, "predictions": {}, "exercises": {}}),
    "empty": to_text(empty()),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_is_no_progress_is_refused_in_words_and_the_rest_is_read(tmp_path, name, capsys):
    write(tmp_path, ada=record(right=TASKS), **{name: HOSTILE[name]})
    assert main([str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert said.startswith("1 learner.\n")
    assert line_of(said, "refused:").startswith(f"refused: {tmp_path / name}.json: it ")
    assert "Traceback" not in said
    assert "\x1b" not in said


def test_bytes_that_are_no_text_a_link_a_pipe_and_a_missing_file_are_refused(tmp_path, capsys):
    write(tmp_path, ada=record(right=TASKS))
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "link.json").symlink_to(tmp_path / "ada.json")
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")  # reading it would wait forever
    assert main([str(tmp_path), str(tmp_path / "nobody.json")]) == 1
    said = capsys.readouterr().out
    assert said.startswith("1 learner.\n")
    for name, reason in {
        "bytes": "not UTF-8",
        "link": "no plain file",
        "folder": "no plain file",
        "pipe": "no plain file",
        "nobody": "is not there",
    }.items():
        assert reason in line_of(said, f"{name}.json:")


def test_a_name_cannot_steer_the_terminal(tmp_path, capsys):
    (tmp_path / "a\x1b[31mb\n.json").write_text("x")
    write(tmp_path, ada=record(right=TASKS))
    assert main([str(tmp_path)]) == 1
    assert "a?[31mb?.json: it is damaged" in capsys.readouterr().out


def test_the_same_file_twice_counts_once(tmp_path):
    write(tmp_path, ada=record(right=TASKS), again=record(right=TASKS), bo=record(right=TASKS[:1]))
    text = report(gather(files_of([tmp_path])))
    assert text.startswith("2 learners.\n1 file left out, the same as another.\n")


def test_nothing_that_can_be_used(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    write(tmp_path, none="x")
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().out.count("0 learners.") == 2


def test_too_many_files_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(class_report, "MOST_FILES", 1)
    write(tmp_path, a=record(right=TASKS), b=record(right=TASKS[:1]))
    assert main([str(tmp_path)]) == 2
    assert "more than the 1" in capsys.readouterr().err


def test_answers_of_another_version_of_the_course_are_left_out(tmp_path):
    write(tmp_path, ada=record(right=[*TASKS, "a.question_that_is_gone"], done=["gone"]))
    assert "gone" not in report(gather(files_of([tmp_path])))
