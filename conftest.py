"""Every notebook runs once per device: on the CPU, and on a GPU where torch sees one (COURSE_DEVICES=cpu,cuda).

nbval makes one item of each code cell; here each notebook is collected once per device, its items marked `cpu` or
`cuda`. Asking for cuda where there is none fails, as it should. A learner's progress is out of reach of every test.
"""

import os
import tempfile
from pathlib import Path

import pytest
from nbval import plugin as nbval_plugin

DEVICES = ("cpu", "cuda")


def pytest_configure(config):
    config.course_scratch = tempfile.TemporaryDirectory(prefix="course-test-")
    os.environ["COURSE_PROGRESS"] = str(Path(config.course_scratch.name) / "progress.json")
    os.environ.setdefault("COURSE_DEVICE", "cpu")  # of the unit tests, on every machine; a notebook is told its own
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # this environment's kernel, not one that the user has installed


def pytest_unconfigure(config):
    config.course_scratch.cleanup()


def wanted_devices() -> list[str]:
    """Read COURSE_DEVICES: names with commas between, or auto (the default)."""
    wanted = os.environ.get("COURSE_DEVICES", "auto")
    if wanted != "auto":
        names = [name.strip() for name in wanted.split(",") if name.strip()]
        if not names or not set(names) <= set(DEVICES):
            raise pytest.UsageError(f"COURSE_DEVICES={wanted!r}: allowed are auto, and {', '.join(DEVICES)}")
        return names
    import torch

    return ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class DeviceNotebook(nbval_plugin.IPyNbFile):
    """A notebook whose kernel is told which device to use."""

    def __init__(self, *args, device="cpu", **kwargs):
        super().__init__(*args, **kwargs)
        self.device = device

    def setup(self):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COURSE_DEVICE", self.device)  # the kernel inherits it
            patch.setenv("COURSE_PROGRESS", str(Path(self.config.course_scratch.name) / f"{self.path.stem}.json"))
            patch.delenv("COURSE_BUILD", raising=False)
            super().setup()

    def collect(self):
        for item in super().collect():
            item.add_marker(getattr(pytest.mark, self.device))
            yield item


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path, parent):
    collected = yield
    plain = [entry for entry in collected if not isinstance(entry, nbval_plugin.IPyNbFile)]
    if len(plain) == len(collected):
        return collected
    return plain + [
        DeviceNotebook.from_parent(
            parent, path=file_path, device=name, nodeid=f"{parent.nodeid}/{file_path.name}[{name}]"
        )
        for name in wanted_devices()
    ]
