"""What only a lesson needs: explorers, quizzes, predictions, exercises, pictures and progress.

Each name is imported when it is first used, so that a lesson pays only for what it shows.
"""

from importlib import import_module

_HOME = {
    "MaskExplorer": "explorer",
    "check": "exercises",
    "course_map": "course_map",
    "predict": "predict",
    "progress": "progress",
    "quiz": "quiz",
    "show": "show",
    "show_source": "show",
}

__all__ = [*_HOME, "lesson_pictures"]


def __getattr__(name: str):
    if name in _HOME:
        # kept, because three of these names are also those of the modules they come from
        value = globals()[name] = getattr(import_module(f".{_HOME[name]}", __name__), name)
        return value
    if name == "lesson_pictures":
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
