"""Showing things in a lesson: a picture always with its line of description, words as Markdown, a function's source."""

import base64
import inspect
import textwrap

from IPython.display import display

from .._check import short
from .pictures import png_and_close


class _Bundle:
    """Something to display, by MIME type."""

    def __init__(self, data: dict[str, str]):
        self.data = data

    def _repr_mimebundle_(self, include=None, exclude=None):
        return self.data


def words(markdown: str, *, plain: str | None = None) -> None:
    """Display a piece of Markdown; `plain` is what a terminal or a test sees, by default the Markdown itself."""
    display(_Bundle({"text/markdown": markdown, "text/plain": plain or markdown}))


def show(figure, *, alt: str) -> None:
    """Display a matplotlib figure as a PNG, with its description in one line beneath it, and close it.

    The line is there for everybody, because notebook front ends drop the alt text of pictures. It must say what is to
    be seen: at least 20 characters.
    """
    if not isinstance(alt, str) or len(alt.strip()) < 20:
        raise ValueError(f"alt = {short(alt)}: describe the picture in one sentence, at least 20 characters")
    display(
        _Bundle({"image/png": base64.b64encode(png_and_close(figure, "figure")).decode("ascii"), "text/plain": alt})
    )
    words(f"*{alt}*", plain=alt)


def show_source(thing) -> None:
    """Display the source of a function, class or module."""
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        raise TypeError(
            f"thing = {short(thing)}: only something written in a Python file has a source to show"
        ) from None
    words(f"```python\n{textwrap.dedent(source).rstrip()}\n```")
