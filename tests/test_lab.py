"""make lab: whatever state the learner's folder is in, nothing that a learner made is lost."""

import json
import os
import sys
from pathlib import Path

import lab
import pytest

NAME = "01_x.ipynb"


@pytest.fixture
def course(tmp_path):
    """A course with one lesson, version 1, and no work folder yet."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / NAME).write_bytes(b"version 1")
    return tmp_path


def lay(course):
    return lab.lay_all(course / "notebooks", course / "work")


def release(course, version):
    (course / "notebooks" / NAME).write_bytes(b"version %d" % version)


def edit(course, content=b"mine", name=NAME):
    (course / "work" / name).write_bytes(content)


def files(course):
    """Everything in work/, as text by name, without the record."""
    found = {path.name: path for path in (course / "work").iterdir()}
    assert found.pop(lab.RECORD).is_file()
    return {name: path.read_text() for name, path in sorted(found.items())}


def test_the_first_time_every_lesson_is_copied(course):
    (course / "notebooks" / NAME).chmod(0o444)  # as some checkouts have it
    (course / "notebooks" / "source").mkdir()
    assert lay(course) == []
    assert files(course) == {NAME: "version 1"}
    assert (course / "work" / NAME).stat().st_mode & 0o200
    assert lay(course) == []


def test_a_changed_copy_is_never_overwritten(course):
    lay(course)
    edit(course)
    assert lay(course) == []  # the course has nothing newer
    release(course, 2)
    (message,) = lay(course)
    assert "01_x.new.ipynb" in message
    assert files(course) == {NAME: "mine", "01_x.new.ipynb": "version 2"}
    assert lay(course) == []  # offered once


def test_an_unchanged_copy_is_replaced(course):
    lay(course)
    release(course, 2)
    (message,) = lay(course)
    assert "replaced" in message
    assert files(course) == {NAME: "version 2"}
    release(course, 1)  # and back
    assert len(lay(course)) == 1
    assert files(course) == {NAME: "version 1"}


def notebook(source, outputs=(), **metadata):
    cell = {"cell_type": "code", "id": "a", "source": source, "outputs": list(outputs), "metadata": {}}
    return json.dumps({"cells": [cell], "metadata": metadata}).encode()


def test_merely_opening_a_notebook_is_no_change_and_saving_outputs_is(course):
    lesson = course / "notebooks" / NAME
    lesson.write_bytes(notebook("1"))
    lay(course)
    edit(course, notebook("1", language_info={"version": "3.13.1"}))  # JupyterLab notes the kernel's version
    lesson.write_bytes(notebook("1", course={"library": "newer"}))
    assert lay(course) == []  # a newer library, the same lesson
    lesson.write_bytes(notebook("2"))
    assert "replaced" in lay(course)[0]
    edit(course, notebook("2", outputs=["mine"]))
    lesson.write_bytes(notebook("3"))
    assert "01_x.new.ipynb" in lay(course)[0]


def test_an_offer_that_was_not_touched_gives_way_to_the_next(course):
    lay(course)
    edit(course)
    for version in (2, 3):
        release(course, version)
        lay(course)
    assert files(course) == {NAME: "mine", "01_x.new.ipynb": "version 3"}


def test_an_offer_that_was_worked_in_stays_too(course):
    lay(course)
    edit(course)
    release(course, 2)
    lay(course)
    edit(course, b"mine again", "01_x.new.ipynb")
    release(course, 3)
    assert "01_x.new-2.ipynb" in lay(course)[0]
    assert files(course) == {NAME: "mine", "01_x.new-2.ipynb": "version 3", "01_x.new.ipynb": "mine again"}


def test_an_offer_that_was_deleted_is_not_made_again(course):
    lay(course)
    edit(course)
    release(course, 2)
    lay(course)
    (course / "work" / "01_x.new.ipynb").unlink()
    assert lay(course) == []
    assert files(course) == {NAME: "mine"}


def test_a_learner_who_takes_the_offer_gets_the_next_version_again(course):
    lay(course)
    edit(course)
    release(course, 2)
    lay(course)
    (course / "work" / "01_x.new.ipynb").rename(course / "work" / NAME)
    assert lay(course) == []
    release(course, 3)
    assert "replaced" in lay(course)[0]
    assert files(course) == {NAME: "version 3"}


def test_a_deleted_copy_comes_back(course):
    lay(course)
    (course / "work" / NAME).unlink()
    assert lay(course) == []
    assert files(course) == {NAME: "version 1"}


@pytest.mark.parametrize("damage", [None, b"", b"{", b"[]", b'{"laid": [1]}', b'{"laid": {"01_x.ipynb": 3}}', b"\xff"])
def test_without_a_record_a_copy_counts_as_changed(course, damage):
    lay(course)
    record = course / "work" / lab.RECORD
    record.unlink()
    if damage is not None:
        record.write_bytes(damage)
    release(course, 2)
    messages = lay(course)
    assert "01_x.new.ipynb" in messages[-1]
    assert (damage is not None) == any("cannot be read" in message for message in messages)
    assert files(course) == {NAME: "version 1", "01_x.new.ipynb": "version 2"}
    assert lay(course) == []


def test_a_run_that_was_cut_off_before_its_record_is_taken_up(course):
    lay(course)
    edit(course)
    before = (course / "work" / lab.RECORD).read_bytes()
    release(course, 2)
    lay(course)
    (course / "work" / lab.RECORD).write_bytes(before)
    lay(course)
    assert files(course) == {NAME: "mine", "01_x.new.ipynb": "version 2"}


def test_work_of_other_names_is_left_alone(course):
    (course / "work").mkdir()
    edit(course, b"a lesson that is gone", "77_gone.ipynb")
    edit(course, b"{}", "progress.json")
    lay(course)
    assert files(course) == {NAME: "version 1", "77_gone.ipynb": "a lesson that is gone", "progress.json": "{}"}


def test_a_write_protected_copy_is_kept_though_unchanged(course):
    lay(course)
    (course / "work" / NAME).chmod(0o444)
    release(course, 2)
    assert "01_x.new.ipynb" in lay(course)[0]
    assert files(course) == {NAME: "version 1", "01_x.new.ipynb": "version 2"}


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_is_kept(course, exists):
    (course / "work").mkdir()
    elsewhere = course / "elsewhere.ipynb"
    if exists:
        elsewhere.write_text("version 1")
    (course / "work" / NAME).symlink_to(elsewhere)
    lay(course)
    release(course, 2)
    lay(course)
    assert (course / "work" / NAME).is_symlink()
    assert elsewhere.exists() == exists
    assert not exists or elsewhere.read_text() == "version 1"
    assert (course / "work" / "01_x.new.ipynb").read_text() == "version 2"


def test_a_folder_in_the_way_is_kept(course):
    (course / "work" / NAME).mkdir(parents=True)
    assert "01_x.new.ipynb" in lay(course)[0]
    assert (course / "work" / NAME).is_dir()


def test_a_copy_that_cannot_be_read_stops_nothing(course, monkeypatch):
    (course / "notebooks" / "02_y.ipynb").write_bytes(b"y")
    lay(course)
    release(course, 2)
    read = Path.read_bytes

    def refuse(path):
        if path == course / "work" / NAME:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    (course / "work" / "02_y.ipynb").unlink()
    (message,) = lay(course)
    assert message.startswith(f"{NAME}: left as it is")
    monkeypatch.undo()
    assert files(course) == {NAME: "version 1", "02_y.ipynb": "y"}
    assert "replaced" in lay(course)[0]  # nothing was noted down that did not happen


def test_a_full_disk_leaves_the_old_copy(course, monkeypatch):
    lay(course)
    release(course, 2)

    def refuse(old, new):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space"):
        lab.put(course / "work" / NAME, b"x")
    messages = lay(course)
    assert "No space" in messages[0]
    monkeypatch.undo()
    assert files(course) == {NAME: "version 1"}


def start(course, monkeypatch, arguments=()):
    """Run main in a course of our own; return (exit status, command, environment) without starting anything."""
    ran = []
    monkeypatch.setattr(lab, "ROOT", course)
    monkeypatch.setattr(sys, "prefix", str(course / "venv"))
    monkeypatch.setattr(os, "execve", lambda *call: ran.append(call))
    monkeypatch.chdir(course)
    status = lab.main(list(arguments))
    return status, *(ran[0][1:] if ran else (None, None))


def test_jupyterlab_opens_the_first_lesson(course, monkeypatch, capsys):
    (course / "notebooks" / lab.START).write_bytes(b"start")
    status, command, environment = start(course, monkeypatch, ["--no-browser", "--port=8899"])
    assert status is None
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert "--LabApp.default_url=/lab/tree/work/00_start_here.ipynb" in command
    assert command[-2:] == ["--no-browser", "--port=8899"]
    assert environment["JUPYTER_PREFER_ENV_PATH"] == "1"
    assert "work/00_start_here.ipynb" in capsys.readouterr().out


def test_a_course_without_lessons_says_so(course, monkeypatch, capsys):
    status, command, _ = start(course, monkeypatch)
    assert (status, command) == (1, None)
    assert "make notebooks" in capsys.readouterr().err


def test_a_work_folder_that_is_none_says_so(course, monkeypatch, capsys):
    (course / "notebooks" / lab.START).write_bytes(b"start")
    (course / "work").write_text("a file")
    status, command, _ = start(course, monkeypatch)
    assert (status, command) == (1, None)
    assert "work cannot be used" in capsys.readouterr().err
    assert (course / "work").read_text() == "a file"


def test_a_first_lesson_that_cannot_be_opened_says_so(course, monkeypatch, capsys):
    (course / "notebooks" / lab.START).write_bytes(b"start")
    (course / "work" / lab.START).mkdir(parents=True)
    status, command, _ = start(course, monkeypatch)
    assert (status, command) == (1, None)
    assert "move it away" in capsys.readouterr().err


def test_other_settings_of_the_news_stay(tmp_path):
    path = tmp_path / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    path.parent.mkdir(parents=True)
    name = "@jupyterlab/apputils-extension:notification"
    for before in ({"doNotDisturbMode": True, "fetchNews": "true"}, {}, "none", None):
        path.write_text(json.dumps({name: before}))
        lab.override(tmp_path, lab.NO_NEWS)
        kept = {"doNotDisturbMode": True} if before and before != "none" else {}
        assert json.loads(path.read_text()) == {name: kept | {"fetchNews": "false", "checkForUpdates": False}}


@pytest.mark.parametrize("before", [None, "", "[]", '{"other": {"a": 1}}'])
def test_the_news_question_is_switched_off_and_other_settings_stay(tmp_path, before):
    path = tmp_path / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    if before is not None:
        path.parent.mkdir(parents=True)
        path.write_text(before)
    lab.override(tmp_path, lab.NO_NEWS)
    settings = json.loads(path.read_text())
    news = settings.pop("@jupyterlab/apputils-extension:notification")
    assert news == {"fetchNews": "false", "checkForUpdates": False}
    assert settings == ({"other": {"a": 1}} if before and "other" in before else {})
    written = path.stat().st_mtime_ns
    lab.override(tmp_path, lab.NO_NEWS)
    assert path.stat().st_mtime_ns == written
