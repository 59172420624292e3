"""The exercises of every lesson, a file a lesson. Importing this registers them all."""

from . import (
    glm,
    guided_storyteller,
    linear_attention,
    palm_parallel,
    prefix_linear_attention,
    prefix_lm,
    prefix_mask,
    start_here,
)
from .engine import EXERCISES, Exercise, Verdict, check

__all__ = [
    "EXERCISES",
    "Exercise",
    "Verdict",
    "check",
    "glm",
    "guided_storyteller",
    "linear_attention",
    "palm_parallel",
    "prefix_linear_attention",
    "prefix_lm",
    "prefix_mask",
    "start_here",
]
