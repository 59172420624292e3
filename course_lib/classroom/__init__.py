"""What a lesson needs: explorers, predictions, quizzes, exercises, and the learner's progress."""

# Several of these bear their module's name. They are imported here at once, after their modules, so that
# `from course_lib.classroom import progress` is always the object and never the module.
from .predict import predict
from .progress import progress
from .quiz import quiz

__all__ = ["predict", "progress", "quiz"]
