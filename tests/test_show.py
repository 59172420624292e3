"""A picture never stands without its description, and a source is shown as it is written."""

import base64
from importlib import import_module

import pytest
from matplotlib.figure import Figure

from course_lib import masks

show_module = import_module("course_lib.classroom.show")  # the package's own `show` is the function


@pytest.fixture
def shown(monkeypatch):
    """Collect the MIME bundles that are displayed."""
    bundles = []
    monkeypatch.setattr(show_module, "display", lambda thing: bundles.append(thing._repr_mimebundle_()))
    return bundles


def test_a_picture_comes_with_its_line(shown):
    show_module.show(Figure(figsize=(1, 1)), alt="An empty picture, one inch by one inch.")
    picture, line = shown
    assert base64.b64decode(picture["image/png"]).startswith(b"\x89PNG")
    assert line["text/markdown"] == "*An empty picture, one inch by one inch.*"
    assert line["text/plain"] == picture["text/plain"] == "An empty picture, one inch by one inch."


@pytest.mark.parametrize("alt", ["", "a picture", None, "   short padded   "])
def test_a_picture_without_a_description_is_refused(alt, shown):
    with pytest.raises(ValueError, match="describe the picture in one sentence"):
        show_module.show(Figure(), alt=alt)
    assert shown == []


def test_source_is_shown_and_its_absence_said(shown):
    show_module.show_source(masks.causal_mask)
    assert shown[0]["text/markdown"].startswith("```python\ndef causal_mask(total_len")
    with pytest.raises(TypeError, match="has a source to show"):
        show_module.show_source(3)
