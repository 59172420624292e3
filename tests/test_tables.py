"""The tables of README.md and docs/teaching.md say what was counted and measured, and nothing that was typed."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import bench_lab
import bench_lessons
import nbformat
import pytest
import tables
from jupyter_core.utils import run_sync
from nbformat.v4 import new_code_cell, new_notebook
from tables import NOT_YET, TableError

ROOT = Path(__file__).parent.parent
TIMES = tables.lesson_times()
RECORDS = ROOT / "benchmarks"
# MADE UP for these tests: nobody measured any of it
MADE_UP = {"machine": "a made-up machine", "date": "2001-02-03", "command": "python made_up.py"}
LESSONS = MADE_UP | {
    "lessons": {name: {"seconds": 8.4, "kernel_mib": 321, "all_mib": 330} for name in TIMES},
    "open_mib": 2345,
}
LAB = MADE_UP | {"first_seconds": 151.2, "again_seconds": 3.4}
EXPLORER = MADE_UP | {"chromium": "99.0", "rows": [{"tokens": 13, "painted_median_ms": 7.2}]}


def test_the_tables_are_what_the_notebooks_and_the_records_give():
    assert tables.write_all(check=True) == [], "run make notebooks"


def test_without_a_record_nothing_is_claimed():
    text = tables.budgets(TIMES, None, None, None)
    assert text.count(NOT_YET) == 3
    assert "MiB" not in text
    assert " ms" not in text


def test_a_record_is_shown_with_where_it_comes_from():
    text = tables.budgets(TIMES, LESSONS, LAB, EXPLORER)
    assert NOT_YET not in text
    assert text.count("a made-up machine, 2001-02-03, by `python made_up.py`") == 3
    assert text.count("| 8 | 321 MiB |") == len(TIMES)
    assert "151 s, downloads included, and then 3 s" in text
    assert "7 ms with 13 tokens" in text
    assert "none of them ended, hold 2345 MiB together" in text
    assert "processes that a lesson starts" not in text


def test_a_lesson_without_a_measurement_and_one_with_processes_are_said_to_be_so():
    record = json.loads(json.dumps(LESSONS))
    del record["lessons"]["01_guided_storyteller"]
    record["lessons"]["05_palm_parallel"]["all_mib"] = 777
    text = tables.budgets(TIMES, record, None, None)
    assert f"| 01 | {TIMES['01_guided_storyteller']['minutes']} |  | {NOT_YET} | {NOT_YET} |" in text
    assert "each counted in full, 05: 777 MiB." in text


def test_the_sum_is_the_sum():
    last = tables.budgets(TIMES, None, None, None).split("\n\n")[0].splitlines()[-1]
    assert last.startswith(f"| all | {sum(parts['minutes'] for parts in TIMES.values())} | ")


@pytest.mark.skipif(not (RECORDS / "lessons.json").is_file(), reason="not measured yet")
def test_every_lesson_was_measured_and_keeps_to_its_memory():
    record = tables.read_record("lessons")
    assert set(record["lessons"]) == set(TIMES)
    assert {"machine", "date", "command"} <= set(record)
    assert max(one["kernel_mib"] for one in record["lessons"].values()) < 700


def test_minutes_are_the_parts_rounded_up_to_five():
    for name, parts in TIMES.items():
        exact = sum(parts[key] for key in ("reading", "exercises", "questions", "running"))
        assert 0 <= parts["minutes"] - exact < 5, name
        assert parts["minutes"] % 5 == 0


def test_the_plan_holds_every_lesson_once_and_fits_its_meetings(monkeypatch):
    assert sorted(number for meeting in tables.MEETINGS for number in meeting) == [f"0{number}" for number in range(9)]
    assert f"left of {tables.MEETING_MINUTES}" in tables.plan(TIMES)
    monkeypatch.setattr(tables, "MEETINGS", tables.MEETINGS[1:])
    with pytest.raises(TableError, match="leaves out lesson 00, 01, 02"):
        tables.plan(TIMES)
    monkeypatch.setattr(tables, "MEETINGS", [tuple(f"0{number}" for number in range(9))])
    with pytest.raises(TableError, match="and there are 90"):
        tables.plan(TIMES)


@pytest.fixture
def course(tmp_path):
    """A copy of what the tables are made of."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    for name in ("README.md", "docs/teaching.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "benchmarks").mkdir()
    return tmp_path


def test_tables_are_written_once_and_checking_writes_nothing(course):
    tables.write_all(course)  # without the records that may lie in the checkout
    (course / "benchmarks" / "lab.json").write_text(json.dumps(LAB))
    before = (course / "README.md").read_text("utf-8")
    assert tables.write_all(course, check=True) == ["README.md"]
    assert (course / "README.md").read_text("utf-8") == before
    assert tables.write_all(course) == ["README.md"]
    assert "151 s" in (course / "README.md").read_text("utf-8")
    assert tables.write_all(course) == []


def test_a_notebook_that_was_not_built_is_named(course):
    (course / "notebooks" / "03_prefix_lm.ipynb").write_text("{}")
    with pytest.raises(TableError, match=r"03_prefix_lm\.ipynb was not built"):
        tables.write_all(course)


@pytest.mark.parametrize("text", ["", "<!-- x: y -->\n\n<!-- /x -->" * 2, "<!-- x: y -->\n"])
def test_a_text_without_one_place_is_refused(text):
    with pytest.raises(TableError, match="places for the table"):
        tables.with_table(text, "x", "| a |")


def test_only_its_own_place_changes():
    text = "a\n<!-- x: why -->\nold\n<!-- /x -->\nb\n<!-- y: why -->\nold\n<!-- /y -->\n"
    assert tables.with_table(text, "x", r"\1 new") == text.replace("old", "\n\\1 new\n", 1)


def trial(folder, *sources):
    path = folder / "01_trial.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(source) for source in sources]), path)
    return path


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is read from /proc")


@needs_proc
def test_a_lesson_is_measured_where_its_kernel_and_its_processes_are_seen(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_PROGRESS", "THEIRS")
    path = trial(
        tmp_path,
        "import os, subprocess, sys\nassert os.environ['COURSE_PROGRESS'] != 'THEIRS'",
        "held = b'x' * (150 << 20); del held",  # a peak that is over when the notebook ends
        "subprocess.run([sys.executable, '-c', \"import time; held = b'x' * (200 << 20); time.sleep(1)\"])",
    )
    left_open = []
    found = bench_lessons.measure(path, left_open)
    (kernel,) = left_open
    assert 10 < bench_lessons.memory_mib(kernel.provisioner.pid, "Pss", "smaps_rollup") <= found["kernel_mib"]
    run_sync(kernel.shutdown_kernel)(now=True)
    assert 1 < found["seconds"] < 60
    assert 150 < found["kernel_mib"] < 400
    assert found["all_mib"] >= found["kernel_mib"]
    assert found["all_mib"] > 200


@needs_proc
def test_a_cell_that_fails_is_named_and_nothing_is_recorded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(tables, "write_all", lambda: pytest.fail("nothing is to be written"))
    trial(tmp_path, "raise OSError('no such lamp')")
    record = tmp_path / "lessons.json"
    assert bench_lessons.main(["--notebooks", str(tmp_path), "--json", str(record)]) == 1
    assert "no such lamp" in capsys.readouterr().err
    assert not record.exists()


@needs_proc
def test_a_record_names_machine_date_and_command(tmp_path, monkeypatch, capsys):
    written = []
    monkeypatch.setattr(tables, "write_all", lambda: written.append(True))
    monkeypatch.setattr(
        bench_lessons, "measure", lambda path, left_open: {"seconds": 1.0, "kernel_mib": 2, "all_mib": 3}
    )
    trial(tmp_path, "1")
    record = tmp_path / "lessons.json"
    assert bench_lessons.main(["--notebooks", str(tmp_path), "--json", str(record)]) == 0
    found = json.loads(record.read_text())
    assert found["lessons"] == {"01_trial": {"seconds": 1.0, "kernel_mib": 2, "all_mib": 3}}
    assert found["open_mib"] == 0
    assert found["command"].startswith("python tools/bench_lessons.py --notebooks")
    assert all(found[name] for name in ("machine", "date"))
    assert written == [True]


@needs_proc
@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["02", "--json", "x.json"], "a record holds all lessons"), (["99"], "no notebook in .* fits 99")],
)
def test_a_record_of_some_lessons_and_a_lesson_that_is_none_are_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        bench_lessons.main(arguments)
    assert re.search(said, capsys.readouterr().err)


def test_a_process_and_all_that_it_starts():
    with subprocess.Popen(
        [sys.executable, "-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as child:
        for _ in range(500):
            if len(found := bench_lessons.family(child.pid)) == 2:
                break
            time.sleep(0.02)
        child.communicate(b"\n")
    assert found[0] == child.pid
    assert len(found) == 2
    assert bench_lessons.memory_mib(os.getpid(), "VmHWM") >= bench_lessons.memory_mib(os.getpid(), "VmRSS") > 10


SERVER = """
from http.server import HTTPServer, SimpleHTTPRequestHandler
HTTPServer(("127.0.0.1", {port}), SimpleHTTPRequestHandler).serve_forever()
"""


def test_the_time_until_an_answer(tmp_path):
    port = bench_lab.free_port()
    address = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-c", SERVER.format(port=port)]
    for _ in range(2):  # the first is gone before the second begins, or the port would be taken
        assert 0 < bench_lab.seconds_until_answer(command, tmp_path, address, 30) < 30


@pytest.mark.parametrize(
    ("code", "limit", "said"),
    [
        ("print('broken lamp'); raise SystemExit(3)", 30, r"ended with status 3 before (?s:.)*\nbroken lamp$"),
        ("import time; time.sleep(60)", 0.5, r"no answer from http://\S+ within 0 s"),
    ],
)
def test_no_answer_is_said_with_the_last_words(tmp_path, code, limit, said):
    address = f"http://127.0.0.1:{bench_lab.free_port()}/"
    with pytest.raises(bench_lab.LabError, match=said):
        bench_lab.seconds_until_answer([sys.executable, "-uc", code], tmp_path, address, limit)
