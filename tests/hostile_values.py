"""Hostile values, and what a refusal of them must be like; shared by the tests that hand them in."""

import math

import numpy as np
import torch
import traitlets

from course_lib.classroom import progress

LONGEST = 400  # of a message
MARKUP = '<img src=x onerror="alert(1)"><script>alert(1)</script>'


class Nasty:
    def __repr__(self):
        raise RuntimeError("a repr of somebody's own")

    __str__ = __repr__


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


# What JSON can bring from a browser, and what only Python can.
SENT = {
    "markup": MARKUP, "control": "a\x00\x1b[31m\x07b", "bidi": "a\u202eb\u2066c", "surrogate": "a\ud800b",
    "million": "a" * 10**6, "marks": "a" + "\u0301" * 19_000, "empty": "", "none": None, "true": True, "float": 2.5,
    "nan": math.nan, "inf": math.inf, "huge": 10**30, "negative": -(10**30), "digits": 10**4000, "list": [1, 2],
    "no list": [], "long list": [0] * 10**5, "texts": [MARKUP, "\ud800", "\x00"], "mixed": ["a", 1], "dict": {"a": 1},
    "deep": nested(300),
}  # fmt: skip
VALUES = {
    **SENT, "bytes": b"\x01" * 10**5, "deeper": nested(5000), "object": object(), "nasty": Nasty(), "complex": 1j,
    "array": np.zeros((3, 3)), "tensor": torch.full((3, 3), math.nan), "meta": torch.zeros(3, 3, device="meta"),
    "sparse": torch.eye(3).to_sparse(), "function": len,
}  # fmt: skip


def refused(call, *named) -> bool:
    """Call; True if it was refused, and then in words: short, and with one of these names in them."""
    try:
        call()
    except (TypeError, ValueError, OSError, traitlets.TraitError) as error:
        said = str(error)
        assert len(said) <= (5000 if "There are " in said else LONGEST), said[:LONGEST]  # what there is
        assert any(name in said for name in named), said
        return True
    return False


def progress_again():
    """The record as another kernel reads it."""
    return type(progress)().snapshot()
