"""What several tests share: the course as a fresh clone has it, new environments, one thread, and Triton."""

import os
import shutil
import sysconfig
import time
import venv
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
LEFTOVERS = shutil.ignore_patterns(".*", "work", "build", "dist", "__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the course, without environments, earlier builds and a learner's work."""
    folder = tmp_path_factory.mktemp("checkout") / "course"
    shutil.copytree(ROOT, folder, symlinks=True, ignore=LEFTOVERS)
    return folder


@pytest.fixture(scope="module")
def fresh_environment(tmp_path_factory):
    """A new environment. It sees what is installed beside these tests, so nothing is downloaded; but not the course."""
    folder = tmp_path_factory.mktemp("fresh") / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


@pytest.fixture
def one_thread():
    """Small models are quicker on one thread, and one number of threads gives one set of bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def needs_triton():
    """Skip where Triton is not installed, or fail where it was asked for (`make test` does so on Linux)."""
    if find_spec("triton") is None:
        reason = "triton is not installed: on Linux make test installs it"
        if os.environ.get("COURSE_TRITON") == "required":
            pytest.fail(f"{reason}, and COURSE_TRITON=required asks for the tests of its kernels", pytrace=False)
        pytest.skip(reason)


@pytest.fixture
def own_progress(tmp_path, monkeypatch):
    """Keep what the test answers in a file of its own."""
    monkeypatch.setenv("COURSE_PROGRESS", str(tmp_path / "progress.json"))


@pytest.fixture
def in_time():
    """Fail what takes ten seconds of the processor: a hostile value takes a hundredth of that, or hangs."""
    started = time.process_time()
    yield
    assert time.process_time() - started < 10
