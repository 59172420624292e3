"""The texts around the course keep their word: what they name exists, and what they state agrees with its source."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import course_lib
from course_lib.classroom.course_map import LESSONS

ROOT = Path(__file__).parent.parent
TEXTS = {name: (ROOT / name).read_text("utf-8") for name in ("CONTRIBUTING.md", "CHANGELOG.md", "docs/teaching.md")}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
FOLDERS = ("notebooks/", "course_lib/", "tools/", "tests/", "binder/", "docs/", "benchmarks/")
PATTERNS = {"notebooks/NN_name.ipynb", "notebooks/source/NN_name.md"}


def in_code(text: str) -> list[str]:
    """Return what stands in code spans and in blocks of shell commands."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)) + blocks


def paths_named(text: str) -> set[str]:
    words = {word for code in in_code(text) for word in code.split()}
    return {word for word in words if word.startswith(FOLDERS)} - PATTERNS


def commands_named(text: str) -> set[str]:
    return {name for code in in_code(text) for name in re.findall(r"\bmake ([a-z-]+)", code)}


@pytest.mark.parametrize("name", TEXTS)
def test_every_path_that_a_text_names_exists(name):
    assert [path for path in sorted(paths_named(TEXTS[name])) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("name", TEXTS)
def test_every_command_that_a_text_names_exists(name):
    assert commands_named(TEXTS[name]) <= TARGETS


@pytest.mark.parametrize("name", TEXTS)
def test_every_link_to_a_file_leads_to_one(name):
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]) if not link.startswith("https:")]
    folder = (ROOT / name).parent
    assert [link for link in links if not (folder / link).is_file()] == []


def test_the_guards_are_not_asleep():
    assert paths_named("`tests/test_lamp.py` and\n```sh\npython tools/lamp.py\n```\n`other/lamp`") == {
        "tests/test_lamp.py",
        "tools/lamp.py",
    }
    assert commands_named("`make lamp`, make nothing, `make A=1`") == {"lamp"}


def test_contributing_names_the_guard_of_each_thing_that_one_adds():
    text = TEXTS["CONTRIBUTING.md"]
    rows = dict(re.findall(r"^\| \*\*an? (\w+)\*\* \|(.+)\|$", text, re.MULTILINE))
    assert set(rows) == {"question", "exercise", "mask", "kernel", "explorer", "experiment"}
    for row in rows.values():
        place, guard = row.split(" | ")
        assert paths_named(place)
        assert any(path.startswith("tests/") for path in paths_named(guard))
    assert {"setup", "lint", "test", "test-browser", "notebooks"} <= commands_named(text)
    assert len(text.split()) < 1000, "one page"


def test_every_folder_of_the_checkout_has_its_line_in_contributing():
    named = paths_named(TEXTS["CONTRIBUTING.md"])
    assert set(FOLDERS) <= named


def test_the_changelog_begins_with_this_version():
    versions = re.findall(r"^## (\d+\.\d+\.\d+)\b", TEXTS["CHANGELOG.md"], re.MULTILINE)
    assert versions[0] == course_lib.__version__
    assert versions == sorted(versions, key=lambda version: [int(part) for part in version.split(".")], reverse=True)
    kinds = set(re.findall(r"^### (.+)$", TEXTS["CHANGELOG.md"], re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_counts_the_lessons():
    numbers = {8: "Eight", 9: "Nine"}
    written = [lesson.number for lesson in LESSONS]
    assert f"- {numbers[len(written)]} notebooks, 00 to {written[-1]}," in TEXTS["CHANGELOG.md"]


def citation() -> dict:
    return yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))


def test_the_citation_has_what_cff_requires():
    """Required by the format, version 1.2.0: four keys; of a reference, three."""
    found = citation()
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    assert found["cff-version"] == "1.2.0"
    assert found["type"] in {"software", "dataset"}
    assert found["authors"] == [{"name": "The Prefix LM course authors"}]
    for reference in found["references"]:
        assert {"type", "title", "authors"} <= set(reference)
        assert reference["type"] in {"article", "blog", "book", "generic", "software", "website"}
        for author in reference["authors"]:
            assert "name" in author or {"family-names", "given-names"} <= set(author)


def test_the_citation_agrees_with_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    found = citation()
    assert str(found["version"]) == course_lib.__version__
    assert found["license"] == project["license"]
    assert found["repository-code"] == project["urls"]["Repository"], "run make links"


def test_the_citation_credits_what_the_readme_credits():
    credits = " ".join((ROOT / "README.md").read_text("utf-8").partition("## Credits")[2].split())
    references = citation()["references"]
    assert len(references) == 2
    for reference in references:
        assert f'"{reference["title"]}"' in credits
        author = reference["authors"][0]
        if author.get("name") == "anonymous":
            assert f'"{reference["title"]}", which names no author' in credits
        else:
            assert f'"{reference["title"]}" by {author["given-names"]} {author["family-names"]}' in credits
            assert reference["url"] in credits
