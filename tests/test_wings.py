"""The model wing stands alone: it needs torch and nothing of the classroom, which leans on it and never the reverse."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import course_lib

ROOT = Path(course_lib.__file__).parent
CLASSROOM_ONLY = ("IPython", "anywidget", "ipykernel", "ipywidgets", "jupyter", "jupyterlab", "matplotlib", "notebook")
CLASSROOM_ONLY += ("filelock", "jsonschema", "nbformat", "pandas", "plotly", "regex", "traitlets")


def model_wing() -> list[Path]:
    return [path for path in sorted(ROOT.rglob("*.py")) if "classroom" not in path.relative_to(ROOT).parts]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")


def run(code: str) -> dict:
    """Run code in a fresh Python and return the JSON that it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_model_wing_imports_without_anything_of_the_classroom():
    modules = [module_name(path) for path in model_wing() if path.stem != "_triton_kernels"]  # this needs triton
    assert {"course_lib.masks", "course_lib.kernels.softmax", "course_lib.probe", "course_lib.costs"} <= set(modules)
    loaded = run(
        f"""
import importlib, json, sys
blocked = {CLASSROOM_ONLY!r}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked or name.startswith("course_lib.classroom"):
            raise ImportError(f"the model wing asked for {{name}}")
sys.meta_path.insert(0, Blocker())
for name in {modules!r}:
    importlib.import_module(name)
import course_lib.kernels, course_lib.masks, torch
x = torch.ones(1, 1, 3, 2)
course_lib.kernels.prefix_softmax_attention(x, x, x, 2)
course_lib.kernels.prefix_linear_attention(x, x, x, 2)
print(json.dumps([name for name in sys.modules if name.split(".")[0] in (*blocked, "triton")]))
"""
    )
    assert loaded == []


@pytest.mark.parametrize("path", model_wing(), ids=module_name)
def test_no_module_of_the_model_wing_names_the_classroom(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module or ''}.{one.name}" for one in node.names]
        else:
            continue
        for name in names:
            assert "classroom" not in name.split("."), f"line {node.lineno}"
            assert node_is_relative(node) or name.split(".")[0] not in CLASSROOM_ONLY, f"line {node.lineno}"


def node_is_relative(node) -> bool:
    return isinstance(node, ast.ImportFrom) and node.level > 0


@pytest.mark.parametrize("name", ["course_lib", "course_lib.costs"])
def test_a_quick_import_does_not_wait_for_torch(name):
    loaded = run(f"import json, sys, {name}; print(json.dumps(sorted(sys.modules)))")
    assert name in loaded
    assert not {"torch", "numpy", "course_lib.classroom"} & set(loaded)


def test_the_names_at_the_top_are_those_of_the_modules_and_no_other():
    for name in set(course_lib.__all__) - {"__version__"}:
        found = getattr(course_lib, name)
        assert found.__name__ == name
        assert sys.modules[found.__module__].__name__.startswith("course_lib.")
    assert set(course_lib.__all__) <= set(dir(course_lib))
    with pytest.raises(AttributeError, match="module 'course_lib' has no attribute 'prefix_lm'"):
        course_lib.prefix_lm  # noqa: B018
