"""Every built notebook keeps to the rules; and every rule is shown to notice the notebook that breaks it."""

import os
from pathlib import Path

import build_notebooks
import nbformat
import notebook_rules as rules
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_lib.classroom.course_map import LESSONS

FOLDER = Path(__file__).parent.parent / "notebooks"
SOURCES = sorted((FOLDER / "source").glob("[0-9]*.md"))
BUILT = sorted(FOLDER.glob("*.ipynb"))
PICTURE = "Seven rows and seven columns, a triangle."


def test_every_source_is_built_and_nothing_else_is_there():
    names = [path.stem for path in SOURCES]
    assert [path.stem for path in BUILT] == names
    assert names == [one.notebook for one in LESSONS]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_built_notebook_is_what_its_source_gives(source):
    built = FOLDER / f"{source.stem}.ipynb"
    reason = build_notebooks.stale(source.stem, source, built, build_notebooks.library_hash())
    assert reason is None, f"{source.stem}: {reason}; run make notebooks"


@pytest.mark.parametrize("built", BUILT, ids=lambda path: path.stem)
def test_built_notebook_keeps_to_the_rules(built):
    notebook = nbformat.read(built, as_version=4)
    nbformat.validate(notebook)
    assert rules.problems(notebook) == []
    assert list(rules.dead_links(notebook, FOLDER)) == []
    assert built.stat().st_size < rules.MAX_BYTES


def text(words):
    return new_output("stream", name="stdout", text=words)


def picture(**data):
    return new_output("display_data", data={"image/png": "iVBORw0KGgo=", **data})


def markdown(words):
    return new_output("display_data", data={"text/markdown": words})


def html(words):
    return new_output("display_data", data={"text/html": words, "text/plain": "x"})


PLOT = new_output("display_data", data={"application/vnd.plotly.v1+json": {}})


def good():
    """A notebook that keeps to every rule; each case below breaks one."""
    checked = {"tags": [rules.CHECKED]}
    error = new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=["..."])
    return new_notebook(
        cells=[
            new_markdown_cell("# A lesson\n\n![a picture that is described](picture.png) [next](next.ipynb)"),
            new_code_cell(
                "import torch\n\nfrom course_lib import device\n\nprint(device.describe())", execution_count=1
            ),
            new_code_cell("print(1)", metadata=checked, outputs=[text("1\n")], execution_count=2),
            new_code_cell(
                "1 / 0", metadata={"tags": [rules.CHECKED, rules.RAISES]}, outputs=[error], execution_count=3
            ),
            new_code_cell("show()", outputs=[picture(**{"text/plain": PICTURE})], execution_count=4),
        ]
    )


def test_the_good_notebook_is_good():
    assert rules.problems(good()) == []


def code(source, **options):
    """Put this source in place of the second code cell."""

    def change(notebook):
        notebook.cells[2].update(source=source, **options)

    return change


def outputs(place, *made):
    def change(notebook):
        notebook.cells[place].outputs = list(made)

    return change


def first(source):
    def change(notebook):
        notebook.cells[1].source = source

    return change


def set_in(path, value):
    def change(notebook):
        *steps, last = path
        for step in steps:
            notebook = notebook[step]
        notebook[last] = value

    return change


def excused(notebook):
    notebook.cells[4].update(metadata={"unchecked": "times differ"}, outputs=[text("3 ms\n")])


def many_cells(notebook):
    notebook.cells += [new_code_cell("1", execution_count=5 + i) for i in range(rules.MAX_CODE_CELLS)]


VIEW = {"application/vnd.jupyter.widget-view+json": {"model_id": "1"}, "text/plain": PICTURE}
LONG = "\n".join(f"x = {i}" for i in range(16))
CASES = {
    "widget state": ("no_widget_state", set_in(["metadata", "widgets"], {})),
    "a widget's view": ("no_widget_state", outputs(4, new_output("display_data", data=VIEW))),
    "not run": ("run_in_order", set_in(["cells", 2, "execution_count"], None)),
    "run twice": ("run_in_order", set_in(["cells", 4, "execution_count"], 5)),
    "bare picture": ("pictures_described", outputs(4, picture())),
    "repr of a figure": (
        "pictures_described",
        outputs(4, picture(**{"text/plain": "<Figure size 640x480 with 1 Axes>"})),
    ),
    "another repr": ("pictures_described", outputs(4, picture(**{"text/plain": "Figure(640x480, dpi=100.0, x)"}))),
    "two words": ("pictures_described", outputs(4, picture(**{"text/plain": "A mask."}))),
    "words too late": ("pictures_described", outputs(4, picture(), markdown("x"), markdown(PICTURE))),
    "drawing": ("pictures_described", outputs(4, new_output("display_data", data={"image/svg+xml": "<svg/>"}))),
    "picture in HTML": ("pictures_described", outputs(4, html('<p><img src="x.png" title="alt=no"></p>'))),
    "drawing in HTML": ("pictures_described", outputs(4, html('<svg width="9"><title>x</title></svg>'))),
    "picture in a text": ("pictures_described", set_in(["cells", 0, "source"], "# A\n<img src='x.png'>")),
    "plot alone": ("pictures_described", outputs(4, PLOT)),
    "plot before its picture": ("pictures_described", outputs(4, PLOT, picture(**{"text/plain": PICTURE}))),
    "text picture": ("pictures_described", set_in(["cells", 0, "source"], "![](x.png)")),
    "pip": ("offline", code("%pip install torch")),
    "conda": ("offline", code("%conda install torch")),
    "shell": ("offline", code("!ls")),
    "shell cell": ("offline", code("%%bash\nls")),
    "indented shell": ("offline", code("if True:\n    !ls\n    pass")),
    "requests": ("offline", code("import requests")),
    "urllib": ("offline", code("from urllib.request import urlopen")),
    "subprocess": ("offline", code("import subprocess as s")),
    "address": ("offline", code("open_it('https://example.org/x')")),
    "hub": ("offline", code("Model.from_pretrained('x')")),
    "broken": ("offline", code("print(")),
    "long cell": ("short_cells", code(LONG)),
    "empty cell": ("short_cells", code("\n")),
    "many cells": ("short_cells", many_cells),
    "one checked": ("checked_cells", set_in(["cells", 3, "metadata", "tags"], [rules.RAISES])),
    "nothing to compare": ("checked_cells", outputs(2)),
    "only a picture to compare": ("checked_cells pictures_described", outputs(2, picture())),
    "prints unseen": ("prints_are_checked", outputs(4, text("3 ms\n"))),
    "magic first": ("begins_with_imports", first("%matplotlib inline")),
    "no imports": ("begins_with_imports", first("print(device.describe())")),
    "no device": ("begins_with_imports", first("import torch")),
    "work in the first cell": ("begins_with_imports", first("import torch\nx = 1\nprint(device.describe())")),
    "warning": ("clean_outputs", outputs(4, new_output("stream", name="stderr", text="UserWarning: x"))),
    "unmeant error": ("clean_outputs", outputs(4, new_output("error", ename="E", evalue="", traceback=[]))),
    "memory": ("clean_outputs", outputs(2, text("<function f at 0x7f1234567890>"))),
    "folder": ("clean_outputs", outputs(2, text("saved to /home/me/x.json"))),
}


@pytest.mark.parametrize(("broken", "spoil"), CASES.values(), ids=CASES)
def test_a_broken_rule_is_noticed_and_no_other(broken, spoil):
    notebook = good()
    spoil(notebook)
    found = rules.problems(notebook)
    assert found
    assert {problem.split(":")[0] for problem in found} == set(broken.split())


@pytest.mark.parametrize(
    "change",
    [
        code(LONG, metadata={"reason": "the chapter's own code, whole", "tags": [rules.CHECKED]}),
        code("from urllib.parse import quote"),
        excused,
        outputs(4, picture(), markdown(f"*{PICTURE}*")),
        outputs(4, html("<p>1/2 a/b</p>")),
        outputs(4, html('<img width=9 alt=""><svg aria-hidden="true"></svg><svg role="img" aria-label="x"></svg>')),
        outputs(4, picture(**{"text/plain": PICTURE}), markdown(f"*{PICTURE}*"), PLOT),
    ],
)
def test_what_is_allowed_is_not_complained_about(change):
    notebook = good()
    change(notebook)
    assert rules.problems(notebook) == []


def test_dead_links(tmp_path):
    (tmp_path / "picture.png").touch()
    notebook = good()
    assert list(rules.dead_links(notebook, tmp_path)) == [f"{notebook.cells[0].id}: next.ipynb leads nowhere"]
    (tmp_path / "next.ipynb").touch()
    assert list(rules.dead_links(notebook, tmp_path)) == []


def test_unit_tests_run_on_the_cpu_unless_a_device_is_asked_for(request, monkeypatch):
    class Config:
        pass

    plugin = request.config.pluginmanager.get_plugin(str(FOLDER.parent / "conftest.py"))
    for name in ("COURSE_PROGRESS", "JUPYTER_PREFER_ENV_PATH"):
        monkeypatch.setenv(name, "as before")
    for asked, got in ((None, "cpu"), ("cuda", "cuda")):
        monkeypatch.delenv("COURSE_DEVICE", raising=False)
        if asked:
            monkeypatch.setenv("COURSE_DEVICE", asked)
        config = Config()
        plugin.pytest_configure(config)
        plugin.pytest_unconfigure(config)
        assert os.environ["COURSE_DEVICE"] == got


def test_an_unknown_device_is_refused(request, monkeypatch):
    plugin = request.config.pluginmanager.get_plugin(str(FOLDER.parent / "conftest.py"))
    monkeypatch.setenv("COURSE_DEVICES", "cpu, cuda")
    assert plugin.wanted_devices() == ["cpu", "cuda"]
    for wrong in ("gpu", "cpu,tpu", " , "):
        monkeypatch.setenv("COURSE_DEVICES", wrong)
        with pytest.raises(pytest.UsageError, match="allowed are auto"):
            plugin.wanted_devices()
