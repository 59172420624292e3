"""The glossary: each word of the course in a sentence or two, with a link to the heading that teaches it."""

import difflib
import html

import traitlets

from .._check import short
from . import rich
from .glossary_terms import TERMS, Term
from .quiz import link
from .widgets import OURS, CourseWidget

__all__ = ["Glossary", "glossary"]


def glossary(*names: str) -> "Glossary":
    """Return the whole glossary, or only these words, to be shown in a cell.

    ValueError for a word that it does not have; it says what may have been meant.
    """
    known = {term.name.lower(): term for term in TERMS}
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"name = {short(name)}: a word of the glossary is a string such as 'mask'")
        if name.lower() not in known:
            close = difflib.get_close_matches(name.lower()[:200], known, n=1)
            meant = f" Did you mean {known[close[0]].name!r}?" if close else ""
            raise ValueError(f"name = {short(name)}: the glossary has no such word.{meant}")
    return Glossary(tuple(known[name.lower()] for name in names) or TERMS)


class Glossary(CourseWidget, source="glossary"):
    """Words of the course, to be searched; a list of all of them without a kernel."""

    terms = traitlets.List().tag(**OURS)

    def __init__(self, terms: tuple[Term, ...]):
        self.chosen = terms
        super().__init__(terms=[_public(term) for term in terms])

    def describe(self) -> str:
        """Return the words and their meanings, a line each."""
        lines = (f"{term.name} (lesson {term.notebook[:2]}): {rich.plain(term.meaning)}" for term in self.chosen)
        return "\n".join(lines)

    def fallback(self) -> dict[str, str | bytes]:
        """Return the same as HTML, each with a link to the heading that teaches it."""
        rows = "".join(_row(term) for term in self.chosen)
        style = "columns:20rem 2; column-gap:2.5rem; max-width:62rem; margin:4px 0 12px"
        return {"text/html": f'<dl style="{style}">{rows}</dl>'}


def _public(term: Term) -> dict:
    taught = {"notebook": term.notebook, "heading": term.heading}
    return {
        "name": term.name,
        "meaning": rich.parse(term.meaning),
        "lesson": term.notebook[:2],
        "taught": {**taught, "href": link(taught)},
    }


def _row(term: Term) -> str:
    href = link({"notebook": term.notebook, "heading": term.heading})
    where = f'<a href="{html.escape(href)}">lesson {term.notebook[:2]}, {html.escape(term.heading)}</a>'
    plain = "float:none; width:auto; line-height:1.5"  # JupyterLab would set the word beside its meaning, too narrow
    return (
        f'<div style="break-inside:avoid; padding-bottom:0.7em"><dt style="{plain}; font-weight:600">'
        f'{html.escape(term.name)}</dt><dd style="{plain}; margin:0 0 0 1.2em">{rich.to_html(term.meaning)} '
        f"<small>({where})</small></dd></div>"
    )
