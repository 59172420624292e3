"""Prefix language models: masks, layers and kernels, and the classroom that teaches them.

Two wings. Everything outside `classroom` needs torch alone; `classroom` holds what only a lesson needs
(explorers, quizzes, exercises, progress) and may import the rest.

What most readers of the library want is here, too: `from course_lib import Config, PrefixLM`. A name is looked up when
it is asked for, so that importing the package imports no torch.
"""

from importlib import import_module

__version__ = "0.1.0"

_PLACES = {
    "Config": "config",
    "KVCache": "cache",
    "PrefixLM": "model",
    "Run": "training",
    "StateCache": "state_cache",
    "Visibility": "masks",
    "Vocabulary": "vocabulary",
    "blank_infilling": "glm",
    "compare": "probe",
    "prefix_linear_attention": "kernels",
    "prefix_mask": "masks",
    "prefix_softmax_attention": "kernels",
    "visible_inputs": "probe",
}
__all__ = [*_PLACES, "__version__"]


def __getattr__(name: str):
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
