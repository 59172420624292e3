"""Prefix language models: masks, layers and kernels, and the classroom that teaches them.

Two wings. Everything outside `classroom` needs torch alone; `classroom` holds what only a lesson needs
(explorers, quizzes, exercises, progress) and may import the rest.
"""

__version__ = "0.1.0"
