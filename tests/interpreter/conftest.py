"""These tests run the kernels in Triton's interpreter, on the CPU; tests/test_triton.py gives them a Python.

Triton reads TRITON_INTERPRET as it is imported, so one process either interprets or compiles. By hand:
`pytest tests/interpreter`, with nothing else in the same run.
"""

import os
import sys

import pytest

if "triton" not in sys.modules:
    os.environ["TRITON_INTERPRET"] = "1"


def pytest_collection_modifyitems(items):
    try:
        import triton
    except ImportError:
        raise pytest.UsageError("tests/interpreter needs the package triton") from None
    if not triton.knobs.runtime.interpret:
        raise pytest.UsageError("tests/interpreter needs a run of its own: triton has been imported to compile")
