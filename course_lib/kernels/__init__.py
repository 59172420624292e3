"""Attention under a prefix mask: for each operation a slow reference that anyone can check, and faster backends."""

from .softmax import prefix_softmax_attention

__all__ = ["prefix_softmax_attention"]
