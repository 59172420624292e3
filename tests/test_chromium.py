"""One Chromium for everything: the one that is named, else the system's, under each of its names."""

import chromium
import pytest


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Return a function that installs a browser by this name; there is no other."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("COURSE_CHROMIUM", raising=False)

    def install(name):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        return str(tmp_path / name)

    return install


@pytest.mark.parametrize("name", ["chromium", "chromium-browser", "google-chrome"])
def test_the_systems_own_is_found(name, installed):
    path = installed(name)
    assert chromium.find() == path


def test_what_is_named_comes_first(installed, monkeypatch):
    installed("chromium")
    other = installed("my own")
    monkeypatch.setenv("COURSE_CHROMIUM", other)
    assert chromium.find() == other
    monkeypatch.setenv("COURSE_CHROMIUM", f"{other} not there")
    with pytest.raises(FileNotFoundError, match=r"COURSE_CHROMIUM=.*not there.* is no file"):
        chromium.find()


def test_without_one_it_is_said_what_to_do(installed):
    with pytest.raises(FileNotFoundError, match="install it with the system's package manager, or set COURSE_CHROMIUM"):
        chromium.find()
