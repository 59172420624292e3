"""What only a lesson needs: explorers, quizzes, predictions, exercises, pictures and progress."""

from . import lesson_pictures
from .course_map import course_map
from .exercises import check
from .explorer import MaskExplorer
from .predict import predict
from .progress import progress
from .quiz import quiz
from .show import show, show_source

__all__ = [
    "MaskExplorer",
    "check",
    "course_map",
    "lesson_pictures",
    "predict",
    "progress",
    "quiz",
    "show",
    "show_source",
]
