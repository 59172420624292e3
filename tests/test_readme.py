"""The README keeps its word: its code runs and prints what it says, its links lead somewhere, its lists are whole."""

import contextlib
import io
import re
import tomllib
from pathlib import Path

import pytest
from launch_link import launch_link, with_link

from course_lib.classroom.course_map import LESSONS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def test_the_code_runs_and_prints_what_is_under_it():
    expected = {i: BLOCKS[i + 1][1] for i, (kind, _) in enumerate(BLOCKS[:-1]) if kind == "python"}
    assert expected, "the recipe is gone"
    for place, text in expected.items():
        assert BLOCKS[place + 1][0] == "text"
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(BLOCKS[place][1], "README.md", "exec"), {})
        assert output.getvalue() == text


def test_the_repair_that_the_readme_names_is_one():
    (code,) = [code for kind, code in BLOCKS if kind == "python" and "probe" in code]
    assert code.count("src_mask=claimed") == 1
    with contextlib.redirect_stdout(io.StringIO()) as output:
        exec(code.replace("src_mask=claimed", "src_mask=~claimed"), {})
    assert output.getvalue().startswith("The mask is kept")


def test_local_links_lead_to_files():
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", README) if not target.startswith("https:")]
    assert {"docs/explorer.png", "docs/demo.html"} <= set(targets)
    assert [target for target in targets if not (ROOT / target).is_file()] == []


def test_the_picture_is_a_picture_with_words():
    (alt,) = re.findall(r"!\[([^\]]*)\]\(docs/explorer\.png\)", README)
    assert len(alt) > 40
    assert (ROOT / "docs" / "explorer.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_names_the_lessons_and_no_other():
    rows = re.findall(r"^\| \[(\d\d) (.+?)\]\(notebooks/(\w+)\.ipynb\) \|", README, re.MULTILINE)
    assert rows == [(lesson.number, lesson.title, lesson.notebook) for lesson in LESSONS]
    assert [path.stem for path in sorted((ROOT / "notebooks" / "source").glob("[0-9]*.md"))] == [row[2] for row in rows]


def test_every_command_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", " ".join(re.findall(r"`([^`\n]+)`", README))))
    assert {"lab", "test-browser", "test-gpu", "notebooks", "links"} <= named
    assert named <= targets


def test_the_launch_link_comes_from_pyproject():
    repository = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]
    assert with_link(README, repository) == README, "run make links"
    assert launch_link(repository) in README


@pytest.mark.parametrize("ending", ["", "/", ".git", ".git/"])
def test_launch_link(ending):
    link = launch_link(f"https://github.com/ada/prefix.lm{ending}")
    assert link == "https://mybinder.org/v2/gh/ada/prefix.lm/HEAD?urlpath=lab/tree/notebooks/00_start_here.ipynb"


@pytest.mark.parametrize(
    "repository", ["", "ada/x", "https://example.org/ada/x", "https://github.com/ada", "https://github.com/a/b/c"]
)
def test_another_address_is_refused(repository):
    with pytest.raises(ValueError, match=r"allowed is https://github\.com/OWNER/NAME"):
        launch_link(repository)


@pytest.mark.parametrize("readme", ["", README + README, README.replace("<!-- /launch -->", "")])
def test_a_readme_without_one_place_for_the_link_is_refused(readme):
    with pytest.raises(ValueError, match="places for the link"):
        with_link(readme, "https://github.com/ada/x")
