"""A picture never stands without its description, and a source is shown as it is written."""

import base64
from importlib import import_module

import pytest
from hostile_values import VALUES, refused
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


def test_a_picture_of_pyplot_is_closed(shown):
    from matplotlib import pyplot

    figure = pyplot.figure(figsize=(1, 1))
    show_module.show(figure, alt="An empty picture, one inch by one inch.")
    assert pyplot.get_fignums() == []


def test_only_a_figure_is_shown(shown):
    for value in (*VALUES.values(), Figure().add_subplot()):
        assert refused(lambda value=value: show_module.show(value, alt="x" * 20), "figure must be a matplotlib figure")
    assert shown == []


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
