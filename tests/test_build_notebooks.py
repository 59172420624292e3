"""Building notebooks: the same text gives the same bytes, a stale output is seen, a failing cell destroys nothing."""

import json
import re
import shutil

import build_notebooks
import lesson_time
import nbformat
import pytest
from build_notebooks import BuildError, library_hash, main, read_source, stale
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from course_lib.classroom.exam import SIZE
from course_lib.classroom.glossary_terms import TERMS

HEADER = """\
---
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

"""
LESSON = (
    HEADER
    + """\
# A trial

About {{minutes}} minutes.

```{code-cell} ipython3
import os

import ipywidgets

print(os.environ["COURSE_DEVICE"], os.environ.get("COURSE_BUILD"))
```

## Pictures, drawn by the widget

```{code-cell} ipython3
:tags: [nbval-check-output]
:reason: to be carried along

ipywidgets.IntSlider(3)
```

```{code-cell} ipython3
:tags: [raises-exception]

from course_lib.classroom.banks import read_bank

read_bank("nothing.json")
```

```{code-cell} ipython3
print(os.environ["COURSE_PROGRESS"] != "THEIRS", flush=True)
print(os.path.basename(os.getcwd()))
```
"""
)


LIBRARY = "0123456789abcdef" * 4


def run(folder, *arguments):
    return main(["--source", str(folder / "source"), "--out", str(folder / "out"), *arguments])


def write(folder, name, text):
    (folder / "source").mkdir(exist_ok=True, parents=True)
    (folder / "out").mkdir(exist_ok=True)
    path = folder / "source" / f"{name}.md"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    write(folder, "07_trial", LESSON)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COURSE_BUILD", "1")
        patch.setenv("COURSE_PROGRESS", "THEIRS")
        patch.setattr(build_notebooks, "library_hash", lambda: LIBRARY)
        assert run(folder) == 0
    return folder


@pytest.fixture
def copy(built, tmp_path, monkeypatch):
    monkeypatch.setattr(build_notebooks, "library_hash", lambda: LIBRARY)
    shutil.copytree(built, tmp_path / "copy")
    return tmp_path / "copy"


def load(folder, name="07_trial"):
    return nbformat.read(folder / "out" / f"{name}.ipynb", as_version=4)


def reason(folder):
    return stale("07_trial", folder / "source" / "07_trial.md", folder / "out" / "07_trial.ipynb", LIBRARY)


def test_what_is_in_a_built_notebook(built):
    notebook = load(built)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == [1, 2, 3, 4]
    assert code[0].outputs[0].text == "cpu None\n"  # COURSE_BUILD is not passed on
    assert code[1].outputs[0].data == {"text/plain": "IntSlider(value=3)"}  # no view: its id is random
    assert code[1].metadata == {"tags": ["nbval-check-output"], "reason": "to be carried along"}
    assert [output.get("text") for output in code[3].outputs] == [
        "True\nout\n"
    ]  # one stream, and their progress untouched
    assert notebook.cells[0].source == "# A trial\n\nAbout 5 minutes."
    assert notebook.metadata.course.run_minutes == 0
    assert set(notebook.metadata) == {"course", "kernelspec", "language_info"}
    assert "version" not in notebook.metadata.language_info


def test_tracebacks_do_not_name_the_folder_of_the_build(built):
    text = (built / "out" / "07_trial.ipynb").read_text("utf-8")
    assert re.search(r"mcourse_lib/classroom/banks\.py", text)  # the m ends a colour
    assert str(build_notebooks.ROOT) not in text


def test_a_second_build_is_the_same_to_the_byte(copy):
    before = (copy / "out" / "07_trial.ipynb").read_bytes()
    assert run(copy, "--force") == 0
    after = (copy / "out" / "07_trial.ipynb").read_bytes()
    assert after == before
    assert [path.name for path in (copy / "out").iterdir()] == ["07_trial.ipynb"]


def test_only_what_is_stale_is_built(copy, monkeypatch, capsys):
    monkeypatch.setattr(build_notebooks, "build", lambda *args: pytest.fail("built"))
    assert run(copy) == 0
    assert run(copy, "--check") == 0
    assert "07_trial: up to date" in capsys.readouterr().out
    write(copy, "07_trial", LESSON + "\nMore.\n")
    assert run(copy, "--check") == 1
    assert "its source has changed" in capsys.readouterr().out


def change_notebook(folder, change):
    notebook = load(folder)
    change(notebook)
    nbformat.write(notebook, folder / "out" / "07_trial.ipynb")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda nb: nb.cells[1].update(source="1"), "its source is not"),
        (lambda nb: nb.cells[0].update(source="# A trial\n\nAbout 10 minutes."), "its source is not"),
        (lambda nb: nb.cells[1].update(id="other"), "its id is not"),
        (lambda nb: nb.cells[3].metadata.update(tags=[]), "its metadata is not"),
        (lambda nb: nb.cells.pop(), "cells, its source"),
        (lambda nb: nb.metadata.pop("course"), "source has changed"),
        (lambda nb: nb.metadata.course.update(library="0"), "course_lib has changed"),
    ],
)
def test_a_notebook_that_was_changed_by_hand_is_stale(copy, change, words):
    assert reason(copy) is None
    change_notebook(copy, change)
    assert words in reason(copy)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b'{"cells": 1}', b"\xff\xfe"])
def test_what_is_no_notebook_is_stale(copy, content):
    path = copy / "out" / "07_trial.ipynb"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    assert reason(copy) == "is not built, or cannot be read"


def test_a_failing_cell_is_named_and_the_old_notebook_stays(copy, capsys):
    before = (copy / "out" / "07_trial.ipynb").read_bytes()
    write(
        copy, "07_trial", HEADER + "# One\n\n```{code-cell} ipython3\n1\n```\n\n```{code-cell} ipython3\n1 / 0\n```\n"
    )
    assert run(copy) == 1
    errors = capsys.readouterr().err
    assert "07_trial: cell 07-one-2 raised" in errors
    assert "ZeroDivisionError" in errors
    assert (copy / "out" / "07_trial.ipynb").read_bytes() == before


def test_odd_folders(tmp_path, capsys):
    (tmp_path / "source").mkdir()
    (tmp_path / "out").mkdir()
    assert run(tmp_path) == 1
    assert "no source" in capsys.readouterr().err
    write(tmp_path, "01_a", "# No header\n")
    assert run(tmp_path, "02") == 1
    assert "fits 02" in capsys.readouterr().err
    assert run(tmp_path) == 1
    assert "kernelspec" in capsys.readouterr().err
    (tmp_path / "source" / "01_a.md").rename(tmp_path / "source" / "01_b.md")
    (tmp_path / "out" / "01_a.ipynb").write_text("{}")
    assert run(tmp_path, "--check") == 1
    assert "01_a: a notebook without a source" in capsys.readouterr().err


def ids(text):
    return [cell.id for cell in read_source("02_x", HEADER + text).cells]


def code_cell(source):
    return f"\n```{{code-cell}} ipython3\n{source}\n```\n"


def test_ids_come_from_headings_and_outlive_changes_elsewhere():
    one, two = "# First, of all!\n" + code_cell("1"), "## Zweite Größe\n" + code_cell("2") + code_cell("3")
    assert ids(one + "\n" + two) == [
        "02-first-of-all-0", "02-first-of-all-1", "02-zweite-groe-0", "02-zweite-groe-1", "02-zweite-groe-2",
    ]  # fmt: skip
    assert ids(one + code_cell("new") + "\n" + two)[-3:] == ids(one + "\n" + two)[-3:]
    assert ids(code_cell("1")) == ["02-top-0"]


def test_ids_are_unique_and_valid_whatever_the_headings():
    heads = ["Same", "Same", "Same", "同じ", "?!", "x" * 200, "A `code` *heading* $x^2$", "Same again"]
    found = ids("\n".join(f"## {head}\n{code_cell('1')}" for head in heads))
    assert len(set(found)) == len(found) == 2 * len(heads)
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", one) for one in found)


def test_a_comment_in_code_is_no_heading():
    assert ids("# Title\n\n```python\n# not a heading\n```\n" + code_cell("1"))[-1] == "02-title-1"


def test_library_hash_sees_what_can_change_an_output(tmp_path):
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "a.py").write_text("1\n")
    first = library_hash(tmp_path)
    (tmp_path / "__pycache__" / "a.py").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    assert library_hash(tmp_path) == first
    (tmp_path / "a.py").write_bytes(b"1\r\n")  # as a checkout on Windows has it
    assert library_hash(tmp_path) == first
    seen = {first}
    for name in ("b.py", "b.js", "b.css", "b.json"):
        (tmp_path / name).write_text("1")
        seen.add(library_hash(tmp_path))
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    assert len({*seen, library_hash(tmp_path)}) == 6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        ("One, two – three.", 3),
        ("A [link to it](there.ipynb#x) and ![a picture](p.png)", 7),
        ("Before ```python\nx = 1\n``` after", 2),
        ("$$1 + \\frac{P}{T}$$ so $P + 1$ ones", 3),
        ("| a | b |\n|---|---|\n| c | d |", 4),
        ("<br> <b>bold</b> move", 2),
        ("`P = 3` is code", 4),
    ],
)
def test_count_words(text, words):
    assert lesson_time.count_words([new_markdown_cell(text), new_code_cell("not prose")]) == words


def lesson(words, *code):
    return new_notebook(cells=[new_markdown_cell("word " * words), *(new_code_cell(source) for source in code)])


def minutes(notebook, run_minutes=1):
    return lesson_time.estimate_minutes(notebook, run_minutes)["minutes"]


def test_minutes_follow_the_rule():
    assert minutes(lesson(800)) == 5  # 4 + 1
    assert minutes(lesson(801)) == 10
    assert minutes(lesson(800), run_minutes=2) == 10
    assert minutes(lesson(600, 'predict("x.a")', 'predict("x.b")')) == 5  # 3 + 0.5 + 0.5 + 1
    assert minutes(lesson(600, 'predict("x.a")', 'predict("x.b")', "predict('x.c')")) == 10
    assert minutes(lesson(600, 'predict("x.a")', 'predict("x.a")', "predict('x.b')")) == 5  # the same one again


def test_minutes_count_the_questions_of_each_deck():
    bank = json.loads((build_notebooks.LIBRARY / "classroom" / "banks" / "prefix_mask.json").read_text("utf-8"))
    asked = sum(len(bank["decks"][deck]) for deck in ("code", "cost"))
    assert minutes(lesson(0, 'quiz("prefix_mask.click")'), 4) == 5  # a question by itself
    assert minutes(lesson(0, 'quiz("prefix_mask.click")'), 5) == 10
    notebook = lesson(0, 'quiz("prefix_mask.code")', "quiz('prefix_mask.cost')", 'quiz("prefix_mask.cost")')
    assert minutes(notebook, 0) == -(-asked // 10) * 5
    with pytest.raises(ValueError, match=r"no deck or question prefix_mask\.nothing"):
        minutes(lesson(0, 'quiz("prefix_mask.nothing")'))


def test_minutes_count_the_questions_of_an_exam():
    assert minutes(lesson(0, "exam(size=10)"), 0) == 5
    assert minutes(lesson(0, "exam(seed=3, size=11)"), 0) == 10
    assert minutes(lesson(0, "exam()", "exam(seed=7)"), 0) == -(-SIZE // 5) * 5


def test_minutes_count_each_exercise_once_and_extra_ones_apart(monkeypatch):
    exercises = pytest.importorskip("course_lib.classroom.exercises")
    one, two = next(iter(exercises.EXERCISES.values())), dict(exercises.EXERCISES)

    class Marked:
        def __init__(self, minutes, extra):
            self.minutes, self.extra = minutes, extra

    monkeypatch.setattr(exercises, "EXERCISES", {"a": Marked(4, False), "b": Marked(7, True), "c": Marked(99, False)})
    notebook = lesson(0, "check.a(f)", "check.a(g)", "check.b(f)", "check.hint()")
    assert lesson_time.estimate_minutes(notebook, 1) == {"minutes": 5, "extra_minutes": 7}
    assert one.minutes >= 0
    assert isinstance(one.extra, bool)
    assert two


def test_placeholders_are_filled_in_text_alone():
    notebook = lesson(0, 'f"{{minutes}}"')
    notebook.cells.append(new_markdown_cell("{{minutes}} and {{extra_minutes}}"))
    lesson_time.fill_placeholders(notebook, 1)
    assert [cell.source for cell in notebook.cells[1:]] == ['f"{{minutes}}"', "5 and 0"]
    notebook.cells.append(new_markdown_cell("of {{words}}"))
    lesson_time.fill_placeholders(notebook, 1, words="two")
    assert notebook.cells.pop().source == "of two"
    notebook.cells.append(new_markdown_cell("{{hours}}"))
    with pytest.raises(ValueError, match="no placeholder hours; there are minutes, extra_minutes"):
        lesson_time.fill_placeholders(notebook, 1)


def test_the_words_of_a_lesson_lead_to_headings_that_it_has():
    for source in build_notebooks.SOURCE.glob("0*.md"):
        text = source.read_text("utf-8")
        places = re.findall(r"\]\(#(\S+?)\)(?:, |$)", build_notebooks.words_of(source.stem))
        assert len(places) == sum(term.notebook == source.stem for term in TERMS)
        assert set(places) <= {heading.replace(" ", "-") for heading in build_notebooks.headings(text)}


def test_a_noisy_clock_does_not_change_the_text():
    assert [lesson_time.run_minutes_of(seconds, None) for seconds in (0.1, 29, 31, 89, 121)] == [0, 0, 1, 1, 2]
    assert [lesson_time.run_minutes_of(seconds, 1) for seconds in (14, 16, 104, 106)] == [0, 1, 1, 2]


def test_text_that_is_no_myst_is_refused():
    with pytest.raises(BuildError, match="kernelspec"):
        read_source("x", "no header")
