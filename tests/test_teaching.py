"""What docs/teaching.md says to do can be done, as far as that can be tried without Docker and without a hub."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from launch_link import pull_link, with_address, with_pull_link

from course_lib.classroom.course_map import LESSONS
from course_lib.classroom.progress import Progress

ROOT = Path(__file__).parent.parent
TEACHING = (ROOT / "docs" / "teaching.md").read_text("utf-8")
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]


def block(kind: str) -> str:
    return re.search(rf"^```{kind}\n(.*?)^```$", TEACHING, re.DOTALL | re.MULTILINE)[1]


@pytest.fixture(scope="module")
def dockerfile(checkout):
    """What the command of the text makes, with nothing built."""
    words = shlex.split(block("sh").replace("\\\n", " "))
    assert words[0] == ".venv/bin/jupyter-repo2docker"
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", *words[1:]]
    command = [word.replace("REGISTRY", "registry.example").replace("TAG", "1") for word in command]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr, words


def test_the_image_has_the_course_beside_the_home_folder_and_what_a_hub_needs(dockerfile):
    text, words = dockerfile
    assert words[words.index("--target-repo-dir") + 1] == "/srv/course"
    assert "ARG REPO_DIR=${HOME}" in text  # which --target-repo-dir sets, a build argument
    assert "RUN ./binder/postBuild" in text
    assert 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in text
    assert text.index("RUN python -m pip install --no-cache-dir nbgitpuller") > text.index("RUN ./binder/postBuild")


def test_the_target_folder_becomes_the_build_argument():
    from repo2docker.app import Repo2Docker

    app = Repo2Docker(target_repo_dir="/srv/course")
    assert app.target_repo_dir == "/srv/course"
    assert Repo2Docker().target_repo_dir == ""


def test_hubs_need_the_single_user_server_which_every_image_has():
    import repo2docker

    base = Path(repo2docker.__file__).parent / "buildpacks" / "conda" / "environment.yml"
    assert any(
        str(line).startswith("jupyterhub-singleuser") for line in yaml.safe_load(base.read_text())["dependencies"]
    )


def test_the_settings_are_yaml_and_keep_progress_in_the_home_folder(monkeypatch):
    whole = yaml.safe_load(block("yaml"))
    assert whole["hub"]["config"]["Spawner"]["notebook_dir"] == "~"  # not the image's folder
    settings = whole["singleuser"]
    assert settings["image"]["name"] in block("sh")
    (name, value), *rest = settings["extraEnv"].items()
    assert (name, rest) == ("COURSE_PROGRESS", [])
    monkeypatch.setenv(name, value)
    assert Progress().path == Path.home() / "course-progress.json"


def test_a_learner_gets_memory_for_any_one_lesson_with_what_it_starts():
    limit = yaml.safe_load(block("yaml"))["singleuser"]["memory"]["limit"]
    lessons = json.loads((ROOT / "benchmarks" / "lessons.json").read_text("utf-8"))["lessons"]
    room_for_jupyterlab = 512
    assert limit.endswith("G")
    assert int(limit[:-1]) * 1000**3 / 2**20 > room_for_jupyterlab + max(one["all_mib"] for one in lessons.values())


def test_the_link_comes_from_pyproject():
    assert with_pull_link(TEACHING, REPOSITORY) == TEACHING, "run make links"


@pytest.mark.parametrize("ending", ["", "/", ".git"])
def test_the_link_takes_the_repository_and_opens_the_first_lesson(ending):
    link = urlsplit(pull_link(f"https://github.com/ada/prefix.lm{ending}", "https://hub.example/base", "trunk"))
    assert (link.scheme, link.netloc, link.path) == ("https", "hub.example", "/base/hub/user-redirect/git-pull")
    query = parse_qs(link.query, strict_parsing=True)
    assert query == {
        "repo": ["https://github.com/ada/prefix.lm"],
        "branch": ["trunk"],
        "urlpath": ["lab/tree/prefix.lm/notebooks/00_start_here.ipynb"],
    }


@pytest.mark.parametrize("text", ["", TEACHING + TEACHING])
def test_a_text_without_one_place_for_the_link_is_refused(text):
    with pytest.raises(ValueError, match="places for the link"):
        with_pull_link(text, REPOSITORY)


def test_the_citation_gets_the_address_in_one_place():
    assert with_address('a: 1\nrepository-code: "x"\n', "https://github.com/a/b") == (
        'a: 1\nrepository-code: "https://github.com/a/b"\n'
    )
    for text in ("", "repository-code: a\nrepository-code: b\n"):
        with pytest.raises(ValueError, match="lines that begin with repository-code"):
            with_address(text, REPOSITORY)
    with pytest.raises(ValueError, match="allowed is"):
        with_address("repository-code: a\n", 'https://example.org/"x')


def test_every_lesson_of_the_texts_has_something_to_talk_about():
    named = re.findall(r"^- \*\*(\d\d)\.\*\* ", TEACHING, re.MULTILINE)
    assert named[:7] == [f"0{number}" for number in range(1, 8)]
    assert set(named) <= {lesson.number for lesson in LESSONS}


def test_what_is_quoted_stands_in_its_lesson():
    for number, words in re.findall(r'^- \*\*(\d\d)\.\*\* "([^"]+)"', TEACHING, re.MULTILINE):
        (source,) = (ROOT / "notebooks" / "source").glob(f"{number}_*.md")
        assert words in " ".join(source.read_text("utf-8").split())
    assert "Suspect D" in (ROOT / "notebooks" / "source" / "02_prefix_mask.md").read_text("utf-8")


def test_what_could_not_be_tried_is_said():
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", TEACHING.partition("## What was checked")[2], re.MULTILINE))
    assert rows["the image itself"] == "**no**"
    assert rows["a JupyterHub, the settings, the link"] == "**no**"
    assert "not tried with Docker" in TEACHING
    assert "No class was timed" in TEACHING


def test_the_export_that_the_text_names_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSE_PROGRESS", os.fspath(tmp_path / "progress.json"))
    (code,) = re.findall(r"`(from course_lib\.classroom import progress; [^`]+)`", TEACHING)
    exec(compile(code, "teaching.md", "exec"), {})
    assert (tmp_path / "course-progress.json").is_file()
