"""The wheel holds all that the course needs, the model wing needs torch alone, and the pins fit the ranges."""

import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT = PYPROJECT["project"]


def pins():
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def locked():
    found = {}
    for line in pins():
        name, version = line.split("==")
        assert canonicalize_name(name) not in found, f"{name} is pinned twice"
        found[canonicalize_name(name)] = Version(version)
    return found


def test_every_line_of_the_lock_is_an_exact_pin():
    assert [line for line in pins() if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)] == []
    assert "torch==2.13.0" in pins()
    assert [line for line in pins() if re.match(r"nvidia|cuda|triton|cupy", line, re.IGNORECASE)] == []
    assert pins() == sorted(pins(), key=str.lower)


def test_pins_fit_the_ranges():
    versions = locked()
    groups = PROJECT["optional-dependencies"]
    wanted = [
        *PROJECT["dependencies"],
        *groups["course"],
        *groups["dev"],
        *groups["browser"],
        *PYPROJECT["build-system"]["requires"],
    ]
    for requirement in map(Requirement, wanted):
        version = versions[canonicalize_name(requirement.name)]
        assert version in requirement.specifier, f"{requirement} is pinned to {version}"


def test_triton_is_pinned_in_its_own_file_and_for_linux_alone():
    lines = (ROOT / "requirements-triton.lock").read_text("utf-8").splitlines()
    (pin,) = [Requirement(line) for line in lines if not line.startswith("#")]
    ((operator, version),) = [(one.operator, one.version) for one in pin.specifier]
    assert (pin.name, operator) == ("triton", "==")
    (wanted,) = map(Requirement, PROJECT["optional-dependencies"]["gpu"])
    assert wanted.name == "triton"
    assert Version(version) in wanted.specifier
    for system, machine, there in (("linux", "x86_64", True), ("darwin", "arm64", False), ("win32", "AMD64", False)):
        assert wanted.marker.evaluate({"sys_platform": system, "platform_machine": machine}) == there
    brought = any(Requirement(line).name == "triton" for line in metadata.requires("torch") or [])
    if not brought and find_spec("triton") is not None:
        assert metadata.version("triton") == version


def needed(names):
    """Everything that these need on this machine, read from what is installed here."""
    found, waiting = set(), [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        try:
            lines = metadata.requires(requirement.name) or []
        except metadata.PackageNotFoundError:
            continue  # the browser extra may be absent
        found.add(canonicalize_name(requirement.name))
        for line in map(Requirement, lines):
            fits = [not line.marker or line.marker.evaluate({"extra": extra}) for extra in requirement.extras or {""}]
            if any(fits) and canonicalize_name(line.name) not in found:
                waiting.append(line)
    return found


def test_the_lock_leaves_nothing_to_chance():
    groups = PROJECT["optional-dependencies"]
    everything = needed([*groups["course"], *groups["dev"], *groups["browser"]])
    assert len(everything) > 50
    assert sorted(everything - locked().keys()) == []


def test_the_model_wing_needs_torch_alone():
    assert [Requirement(line).name for line in PROJECT["dependencies"]] == ["torch"]
    assert [Requirement(line).name for line in PROJECT["optional-dependencies"]["gpu"]] == ["triton"]


def test_torch_is_named_nowhere_else():
    """An installer that may choose torch by itself chooses gigabytes."""
    extras = [Requirement(line).name for group in PROJECT["optional-dependencies"].values() for line in group]
    assert "torch" not in extras


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    """Built with the tools that are installed here; building in isolation would download them."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(checkout)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    return made


def shipped():
    """Every file of course_lib that belongs into the wheel."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "course_lib").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        licence = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    assert names == shipped()
    assert len(licence) == 1


def test_the_wheel_says_what_it_needs(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode()
    always = [line for line in text.splitlines() if line.startswith("Requires-Dist:") and "extra ==" not in line]
    assert always == ["Requires-Dist: torch>=2.11"]
    assert "License-Expression: MIT" in text
    assert f"Requires-Python: {PROJECT['requires-python']}" in text


def test_static_files_and_banks_load_from_the_installed_wheel(wheel, fresh_environment, tmp_path):
    python = str(fresh_environment / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    done = subprocess.run(install, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    code = """
import course_lib
from course_lib.classroom.banks import load_banks
from course_lib.classroom.widgets import STATIC, module_source, stylesheet

for path in sorted(STATIC.glob("*.js")):
    assert "function h(" in module_source(path.stem), path
    assert ".course" in stylesheet(path.stem), path
assert any(STATIC.glob("*.js"))
assert load_banks().questions
print(course_lib.__file__)
"""
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(fresh_environment)
