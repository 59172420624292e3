"""Attention under a prefix mask: for each operation a slow reference that anyone can check, and faster backends."""

from .gated import gated_prefix_linear_attention
from .jrt import jrt_linear_attention
from .linear import LinearState, linear_attention_step, prefix_linear_attention
from .softmax import prefix_softmax_attention

__all__ = [
    "LinearState",
    "gated_prefix_linear_attention",
    "jrt_linear_attention",
    "linear_attention_step",
    "prefix_linear_attention",
    "prefix_softmax_attention",
]
