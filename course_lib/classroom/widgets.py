"""What every widget of the course has in common: one module, one stylesheet, and something to read without a kernel."""

import base64
from contextlib import contextmanager
from pathlib import Path

import anywidget
import traitlets

from .._check import shown
from .palette import css_variables

STATIC = Path(__file__).parent / "static"


def module_source(name: str) -> str:
    """Join the shared part, the parts that `static/NAME.js` names in its first line, and that file into one ES module.

    That line reads `// needs: ONE.js TWO.js`. anywidget loads a module from a Blob address, where a relative import
    cannot work; a plain page uses the same join.
    """
    own = (STATIC / f"{name}.js").read_text("utf-8")
    first = own.partition("\n")[0]
    needed = first.removeprefix("// needs:").split() if first.startswith("// needs:") else []
    return "\n".join([(STATIC / part).read_text("utf-8") for part in ("common.js", *needed)] + [own])


def stylesheet(name: str) -> str:
    """Join the palette, the shared styles, those that `static/NAME.css` names in its first line, and that file.

    That line reads `/* needs: ONE.css TWO.css */`. A widget without a style sheet has the shared styles alone.
    """
    own = STATIC / f"{name}.css"
    text = own.read_text("utf-8") if own.exists() else ""
    first = text.partition("\n")[0]
    needed = first.removeprefix("/* needs:").removesuffix("*/").split() if first.startswith("/* needs:") else []
    return "\n".join([css_variables(), *((STATIC / part).read_text("utf-8") for part in ("common.css", *needed)), text])


@contextmanager
def refused_in_words():
    """What is wrong with a value is a TraitError where a trait is set, in the same words."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise traitlets.TraitError(str(error)) from None


OURS = {"sync": True, "ours": True}  # the tags of a trait that Python sets and the browser only shows


def _say_briefly(trait: traitlets.TraitType) -> None:
    """Let a trait refuse a value in a few words: traitlets quotes all of it, and trusts its repr."""

    def error(owner, value, error=None, info=None):
        wanted = trait.info()
        raise traitlets.TraitError(f"{trait.name or 'an item'} must be {wanted}, got {shown(value)}")

    trait.error = error
    if isinstance(inner := getattr(trait, "_trait", None), traitlets.TraitType):
        _say_briefly(inner)


class CourseWidget(anywidget.AnyWidget):
    """A widget drawn in the browser by `static/NAME.js`; declare one with `class X(CourseWidget, source="name")`.

    Without a kernel (a code host, an unrun notebook, an HTML export) the reader sees `fallback()` instead: a picture,
    or text as HTML. `describe()` is the widget in words; it is also its repr, so that saved outputs never change by
    themselves.

    Messages of the browser may hold anything. What is said there of a trait that is `OURS` or read-only is not heard,
    and what a trait cannot be is refused in words.
    """

    def __init_subclass__(cls, source: str | None = None, **kwargs):
        if source is not None:
            cls._esm, cls._css = module_source(source), stylesheet(source)
        super().__init_subclass__(**kwargs)
        for trait in vars(cls).values():
            if isinstance(trait, traitlets.TraitType):
                _say_briefly(trait)

    def describe(self) -> str:
        """Return everything that the widget shows, in plain sentences."""
        raise NotImplementedError(f"{type(self).__name__} must say in words what it shows")

    def fallback(self) -> dict[str, str | bytes]:
        """Return what stands in for the widget, by MIME type: `image/png` as bytes, or `text/html` as text."""
        return {}

    def set_state(self, sync_data):
        """Take over what the browser has changed, as far as that is its to change."""
        if isinstance(sync_data, dict):
            theirs = {name: value for name, value in sync_data.items() if self._is_theirs(name)}
            for name, value in theirs.items():
                trait = self.traits()[name]
                if isinstance(value, bool) and isinstance(trait, traitlets.Int):
                    trait.error(self, value)  # True equals 1, and would slip in unseen
            super().set_state(theirs)

    def _is_theirs(self, name) -> bool:
        trait = self.traits().get(name)
        if trait is None or trait.read_only or trait.metadata.get("ours"):
            return False
        return not name.startswith("_") or name == "_view_count"

    def __repr__(self) -> str:
        return self.describe()

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        data["text/plain"] = self.describe()  # anywidget cuts it at 110 characters; a description is whole
        for mime, content in self.fallback().items():
            data[mime] = base64.b64encode(content).decode("ascii") if isinstance(content, bytes) else content
            if mime.startswith("image/"):
                metadata[mime] = {"alt": data["text/plain"]}  # an export to HTML takes it
        return data, metadata


class ExplorerWidget(CourseWidget):
    """A widget whose traits must fit each other: set one, and the others follow.

    But a state that comes whole, from the constructor or the browser, fits already, and nothing in it is to be
    adjusted: `_whole` is True while such a one is set.
    """

    _whole = False

    @contextmanager
    def _given_whole(self):
        before, self._whole = self._whole, True
        try:
            yield
        finally:
            self._whole = before

    def set_state(self, sync_data):
        names = [name for name in sync_data if name in self.traits()] if isinstance(sync_data, dict) else []
        before = {name: getattr(self, name) for name in names}
        with self._given_whole():
            super().set_state(sync_data)
            try:
                self.describe()
            except Exception as error:  # each part may be allowed, and the whole make no sense
                with self.hold_trait_notifications():  # what fitted together is checked together
                    for name in filter(self._is_theirs, names):
                        self.set_trait(name, before[name])
                raise traitlets.TraitError(f"{', '.join(names)}: do not fit the rest of the state ({error})") from None

    def notify_change(self, change):
        with self.hold_sync():  # a change and what it moves reach the browser as one message
            super().notify_change(change)


class HeardWhileBusy(CourseWidget):
    """A widget whose browser is heard in a thread of its own, also while a cell of its kernel computes: for Stop.

    JupyterLab asks for that thread (a subshell), but ipykernel, from 7.4 on, delivers to whoever spoke last through the
    widget: to the cell, behind which Stop would wait until all is over. Here JupyterLab has its way. In a kernel that
    does so by itself, or has no subshells, this does nothing.
    """

    def open(self) -> None:
        super().open()
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = lambda data, asked: asked
