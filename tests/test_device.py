"""The device is the one that was asked for, or an error says why not."""

import platform

import pytest
import torch

from course_lib.device import describe, get_device


@pytest.mark.parametrize(
    ("asked", "card", "wanted"),
    [
        (None, False, "cpu"),
        (None, True, "cuda"),
        ("", False, "cpu"),
        ("", True, "cuda"),
        ("cpu", False, "cpu"),
        ("cpu", True, "cpu"),
        ("cuda", True, "cuda"),
    ],
)
def test_the_device_that_is_asked_for(monkeypatch, asked, card, wanted):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: card)
    if asked is None:
        monkeypatch.delenv("COURSE_DEVICE", raising=False)
    else:
        monkeypatch.setenv("COURSE_DEVICE", asked)
    assert get_device() == torch.device(wanted)


def test_a_card_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("COURSE_DEVICE", "cuda")
    with pytest.raises(RuntimeError, match=r"COURSE_DEVICE is cuda, but .*set COURSE_DEVICE=cpu"):
        get_device()


@pytest.mark.parametrize("asked", ["gpu", "CPU", "cuda:1", " cpu"])
def test_anything_else_is_refused(monkeypatch, asked):
    monkeypatch.setenv("COURSE_DEVICE", asked)
    with pytest.raises(ValueError, match=f"COURSE_DEVICE must be cpu or cuda, got '{asked}'"):
        get_device()


def test_one_line_that_names_what_computes(monkeypatch):
    monkeypatch.setenv("COURSE_DEVICE", "cpu")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    line = describe()
    assert "\n" not in line
    assert line == f"Device: cpu, 1 CPU thread, torch {torch.__version__}, Python {platform.python_version()}."
    monkeypatch.setenv("COURSE_DEVICE", "cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A Card")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert describe().startswith("Device: cuda (A Card), 2 CPU threads, torch ")
