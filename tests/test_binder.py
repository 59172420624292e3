"""Binder, without Binder: the environment agrees with pyproject.toml, the build is as meant, the scripts run."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import jupyter_core.paths
import lab
import pytest
import yaml
from packaging.requirements import Requirement
from repo2docker.app import Repo2Docker

ROOT = Path(__file__).parent.parent
BINDER = ROOT / "binder"
# What conda-forge calls these: torch's build for the CPU, and matplotlib without a desktop toolkit.
CONDA_NAMES = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base"}


def written():
    return yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))


def ranges(requirements):
    """Names and ranges; the parts of a range in any order."""
    parsed = [Requirement(line) for line in requirements]
    return {one.name: sorted(str(one.specifier).split(",")) for one in parsed}


def test_environment_agrees_with_pyproject_name_by_name():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project = pyproject["project"]
    wanted = ranges([*project["dependencies"], *project["optional-dependencies"]["course"]])
    wanted = {CONDA_NAMES.get(name, name): limits for name, limits in wanted.items()}
    wanted |= ranges(pyproject["build-system"]["requires"])  # postBuild builds without asking an index
    lines = written()["dependencies"]
    assert all(isinstance(line, str) for line in lines), "no pip section: its lines run in binder/, and with -U"
    found = ranges(line for line in lines if not re.match(r"(python|pip)\b", line))
    assert found == wanted


def test_environment_is_one_that_binder_understands():
    assert written()["channels"] == ["conda-forge"]
    lines = written()["dependencies"]
    assert "pip" in lines
    (python,) = [line for line in lines if re.match(r"python\b", line)]
    version = re.fullmatch(r"python=(3\.\d+)", python)  # with any other sign repo2docker takes an older Python
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert version[1] in Requirement(f"python{pyproject['project']['requires-python']}").specifier


def test_the_environment_is_written_once():
    assert os.readlink(BINDER / "environment.yml") == "../environment.yml"
    assert sorted(path.name for path in BINDER.iterdir()) == ["environment.yml", "postBuild", "start"]


@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_scripts_are_executable_and_stop_at_errors(name):
    lines = (BINDER / name).read_text("utf-8").splitlines()
    assert lines[0] == "#!/bin/bash"
    assert "set -euo pipefail" in lines
    assert os.access(BINDER / name, os.X_OK)


@pytest.fixture(scope="module")
def plan(checkout):
    """(name of the build pack, Dockerfile, {path: tar member} of the build context), by repo2docker's own code."""
    app = Repo2Docker()
    before = Path.cwd()
    os.chdir(checkout)
    try:
        packs = (make(base_image=app.base_image) for make in app.buildpacks)
        pack = next(pack for pack in packs if pack.detect())
        pack.platform = "linux/amd64"
        arguments = {"NB_USER": "jovyan", "NB_UID": "1000"}
        dockerfile = pack.render(arguments)

        class Recorder:
            string_output = True

            def build(self, **kwargs):
                self.kwargs = kwargs
                yield ""

        recorder = Recorder()
        list(pack.build(recorder, "image", 0, arguments, [], {}, platform="linux/amd64"))
        with tarfile.open(fileobj=recorder.kwargs["fileobj"]) as context:
            members = {member.name: member for member in context.getmembers()}
    finally:
        os.chdir(before)
    return type(pack).__name__, dockerfile, members


def test_binder_would_build_what_is_meant(plan):
    name, dockerfile, _ = plan
    assert name == "CondaBuildPack"
    escaped = "environment-2epy-2d3-2e12-2dlinux-2d64-2elock"  # environment.py-3.12-linux-64.lock
    assert escaped in dockerfile
    assert '--file "binder/environment.yml"' in dockerfile
    assert re.search(r"^RUN \./binder/postBuild$", dockerfile, re.MULTILINE)
    assert 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in dockerfile
    assert "requirements" not in dockerfile


def test_binder_would_get_the_course_and_little_else(plan):
    _, _, members = plan
    link = members["src/binder/environment.yml"]
    assert link.issym()
    assert link.linkname == "../environment.yml"
    for needed in ("environment.yml", "binder/postBuild", "binder/start", "pyproject.toml", "course_lib/masks.py"):
        assert members[f"src/{needed}"].isfile()
    assert sum(member.size for member in members.values()) < 20_000_000


def run(command, environment, cwd, **extra):
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    variables = {**os.environ, "PATH": path, "VIRTUAL_ENV": str(environment), "PIP_NO_INDEX": "1", **extra}
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=120)


def test_post_build_installs_the_course(checkout, fresh_environment, tmp_path):
    done = run([checkout / "binder" / "postBuild"], fresh_environment, checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    where = run(["python", "-c", "import course_lib; print(course_lib.__file__)"], fresh_environment, tmp_path)
    assert Path(where.stdout.strip()) == checkout / "course_lib" / "__init__.py", where.stderr
    settings = fresh_environment / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    assert "fetchNews" in settings.read_text("utf-8")
    (tracker,) = lab.CLOSING_ENDS
    assert json.loads(settings.read_text("utf-8"))[tracker] == {"kernelShutdown": True}


def test_jupyterlab_has_the_setting_that_ends_a_closed_notebook():
    (tracker,) = lab.CLOSING_ENDS
    extension, plugin = tracker.split(":")
    (schema,) = [
        path
        for folder in jupyter_core.paths.jupyter_path("lab", "schemas")
        if (path := Path(folder) / extension / f"{plugin}.json").is_file()
    ]
    assert json.loads(schema.read_text("utf-8"))["properties"]["kernelShutdown"]["type"] == "boolean"


def test_post_build_fails_loudly(checkout, fresh_environment, tmp_path):
    shutil.copytree(checkout / "binder", tmp_path / "binder", symlinks=True)
    assert run([tmp_path / "binder" / "postBuild"], fresh_environment, tmp_path).returncode != 0


def test_start_hands_over_to_what_it_is_given(fresh_environment, tmp_path):
    show = "import os, sys; print(os.environ['OMP_NUM_THREADS'], sys.argv[1:]); sys.exit(3)"
    done = run(
        [BINDER / "start", sys.executable, "-c", show, "a b", ""], fresh_environment, tmp_path, OMP_NUM_THREADS="8"
    )
    assert done.stdout == "1 ['a b', '']\n"
    assert done.returncode == 3
