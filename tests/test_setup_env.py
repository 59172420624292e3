"""Setting up: what is installed in which order, when nothing is to be done, and that half an install is none."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import setup_env

PIN = "torch==9.9.9"


class Machine:
    """Stands in for everything that setup_env runs. `fail` is a word; a command that has it among its words fails."""

    def __init__(self):
        self.commands, self.fail, self.version, self.brings_triton = [], None, "3.11.7", "False"

    def run(self, command):
        words = [str(word) for word in command]
        if words[1] == "-c":
            if not Path(words[0]).exists():
                raise FileNotFoundError(words[0])
            if words[2] == setup_env.BRINGS_TRITON:
                return (0, self.brings_triton + "\n") if self.brings_triton else (1, "no torch")
            return 0, self.version + "\n"
        self.commands.append(words)
        if self.fail and self.fail in words:
            return 1, "a long story\nERROR: no such thing"
        if "venv" in words:
            python = setup_env.venv_python(Path(words[-1]))
            python.parent.mkdir(parents=True, exist_ok=True)
            python.touch()
        return 0, ""

    def installs(self):
        """What pip was asked to install, one list of words a call."""
        return [words[words.index("install") + 1 :] for words in self.commands if "install" in words]


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(setup_env, "run", machine.run)
    return machine


@pytest.fixture
def root(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "requirements.lock").write_text(f"six==1.17.0\n{PIN}\n")
    (tmp_path / "requirements-triton.lock").write_text("triton==9.9\n")
    return tmp_path


def setup(root, *extras, index=None):
    return setup_env.setup(root, ["course", "dev", *extras], index)


def test_torch_comes_first_by_itself_and_from_the_cpu_index(machine, root):
    assert setup(root)
    assert machine.commands[0][1:] == ["-m", "venv", "--clear", str(root / ".venv")]
    torch, tools, course = machine.installs()
    assert torch[-4:] == ["--index-url", setup_env.CPU_INDEX, "--no-deps", PIN]
    assert torch[torch.index("--retries") + 1] == "0"
    assert int(torch[torch.index("--timeout") + 1]) <= 15
    assert tools[-1] == "setuptools"
    assert course[-2:] == ["-e", f"{root}[course,dev]"]
    assert "--no-build-isolation" in course
    for words in (tools, course):
        assert words[words.index("-c") + 1] == str(root / "requirements.lock")


def test_without_the_cpu_index_the_plain_pin_is_taken(machine, root, capsys):
    machine.fail = setup_env.CPU_INDEX
    assert setup(root)
    first, second, *_ = machine.installs()
    assert setup_env.CPU_INDEX in first
    assert second[-2:] == ["--no-deps", PIN]
    assert not any(word.startswith("--index") for word in second)
    assert "cannot be used" in capsys.readouterr().out


def test_an_index_that_was_asked_for_is_not_replaced_by_another(machine, root):
    machine.fail = "https://example.org/cu130"
    with pytest.raises(setup_env.SetupError, match=r"TORCH_INDEX=\S+ gave no torch==9.9.9: ERROR: no such thing"):
        setup(root, index=machine.fail)
    assert len(machine.installs()) == 1


def test_a_second_run_does_nothing(machine, root):
    setup(root)
    machine.commands.clear()
    assert not setup(root)
    assert machine.commands == []


@pytest.mark.parametrize("name", ["pyproject.toml", "requirements.lock", "requirements-triton.lock"])
def test_a_changed_pin_or_range_installs_again_in_the_same_environment(machine, root, name):
    setup(root)
    machine.commands.clear()
    with (root / name).open("a") as file:
        file.write("# changed\n")
    assert setup(root)
    assert len(machine.installs()) == 3
    assert not any("venv" in words for words in machine.commands)
    assert not setup(root)


def test_a_missing_or_broken_or_old_python_makes_a_new_environment(machine, root, monkeypatch):
    setup(root)
    machine.commands.clear()
    setup_env.venv_python(root / ".venv").unlink()
    assert setup(root)
    assert "venv" in machine.commands[0]
    machine.commands.clear()
    for machine.version in ("3.10.2", "", "what is this"):
        machine.commands.clear()
        with pytest.raises(setup_env.SetupError, match="does not run"):
            setup(root)
        assert "venv" in machine.commands[0]


def test_a_moved_course_is_installed_again(machine, root, tmp_path_factory):
    setup(root)
    moved = tmp_path_factory.mktemp("elsewhere") / "course"
    root.rename(moved)
    assert setup(moved)


def test_extras_are_added_and_stay(machine, root):
    setup(root)
    assert setup(root, "browser")
    assert machine.installs()[-1][-1] == f"{root}[browser,course,dev]"
    assert not setup(root)
    assert not setup(root, "browser")
    (root / "requirements.lock").write_text(f"{PIN}\n")
    setup(root)
    assert machine.installs()[-1][-1] == f"{root}[browser,course,dev]"


def constraints(words):
    return [Path(words[i + 1]).name for i, word in enumerate(words) if word == "-c"]


def test_triton_comes_only_when_it_is_asked_for_and_as_it_is_pinned(machine, root):
    setup(root)
    assert "gpu" not in machine.installs()[-1][-1]
    assert constraints(machine.installs()[-1]) == ["requirements.lock"]
    assert setup(root, "gpu")
    assert machine.installs()[-1][-1] == f"{root}[course,dev,gpu]"
    assert constraints(machine.installs()[-1]) == ["requirements.lock", "requirements-triton.lock"]
    assert not setup(root, "gpu")
    assert not setup(root)


def test_what_python_says_of_its_own_is_no_answer(machine, root):
    machine.brings_triton, warning = "True", "Invalid -W option ignored: unknown action: 'foo'\n"
    machine.version, machine.brings_triton = f"{warning}{machine.version}", f"{warning}True"
    setup(root, "gpu")
    assert constraints(machine.installs()[-1]) == ["requirements.lock"]
    assert not setup(root)  # as with the same Python that says nothing
    machine.version = machine.version.removeprefix(warning)
    assert not setup(root)


def test_a_torch_that_brings_its_own_triton_is_not_crossed(machine, root):
    machine.brings_triton = "True"
    setup(root, "gpu", index="https://example.org/cu130")
    assert constraints(machine.installs()[-1]) == ["requirements.lock"]
    machine.brings_triton = "False"  # back to a build for the CPU
    assert setup(root, "gpu", index=setup_env.CPU_INDEX)
    assert constraints(machine.installs()[-1]) == ["requirements.lock", "requirements-triton.lock"]
    machine.brings_triton = None
    (root / "pyproject.toml").write_text("# changed\n")
    with pytest.raises(setup_env.SetupError, match="does not say what it needs:\nno torch"):
        setup(root)
    assert not (root / ".venv" / "course-stamp.json").exists()


@pytest.mark.parametrize(
    ("words", "extras"),
    [([], []), (["--browser"], ["browser"]), (["--triton"], ["gpu"]), (["--browser", "--triton"], ["browser", "gpu"])],
)
def test_what_is_typed_is_what_is_installed(monkeypatch, words, extras):
    asked = []
    monkeypatch.setattr(setup_env, "setup", lambda root, extras, index: asked.extend(extras))
    setup_env.main(words)
    assert asked == ["course", "dev", *extras]


def test_another_index_replaces_torch_and_is_remembered(machine, root):
    setup(root)
    machine.commands.clear()
    assert setup(root, index="https://example.org/cu130")
    assert machine.commands[0][1:4] == ["-m", "pip", "uninstall"]
    assert not setup(root)  # the next plain make does not go back to the CPU
    assert not setup(root, index="https://example.org/cu130")
    machine.commands.clear()
    (root / "requirements.lock").write_text("torch==9.9.10\n")
    assert setup(root)
    assert "https://example.org/cu130" in machine.installs()[0]
    machine.commands.clear()
    setup_env.venv_python(root / ".venv").unlink()  # the system's Python has gone
    assert setup(root)
    assert "https://example.org/cu130" in machine.installs()[0]


@pytest.mark.parametrize("fail", ["venv", "setuptools", "-e"])
def test_a_failed_install_leaves_no_stamp_and_says_why(machine, root, fail):
    setup(root)
    (root / "pyproject.toml").write_text("# changed\n")
    if fail == "venv":
        setup_env.venv_python(root / ".venv").unlink()
    machine.fail = fail
    with pytest.raises(setup_env.SetupError, match="no such thing"):
        setup(root)
    assert not (root / ".venv" / "course-stamp.json").exists()
    machine.fail = None
    assert setup(root)
    assert not setup(root)


def test_an_interrupted_install_is_done_again(machine, root, monkeypatch):
    def interrupt(command):
        if "-e" in command:
            raise KeyboardInterrupt
        return machine.run(command)

    setup(root)
    (root / "pyproject.toml").write_text("# changed\n")
    monkeypatch.setattr(setup_env, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        setup(root)
    monkeypatch.setattr(setup_env, "run", machine.run)
    (root / "pyproject.toml").write_text("[project]\n")  # even back at what was installed before
    assert setup(root)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"digest": 1}', '{"extras": "dev"}', '{"extras": [], "torch_index": 1}', "\x00"]
)
def test_a_damaged_stamp_is_no_stamp(machine, root, content):
    setup(root)
    (root / ".venv" / "course-stamp.json").write_text(content)
    assert setup(root)
    assert json.loads((root / ".venv" / "course-stamp.json").read_text())["extras"] == ["course", "dev"]


@pytest.mark.parametrize("lock", ["six==1\n", f"{PIN}\ntorch==1.0\n", "torch>=2\n"])
def test_a_lock_without_one_torch_is_refused(machine, root, lock):
    (root / "requirements.lock").write_text(lock)
    with pytest.raises(setup_env.SetupError, match="pin torch exactly once"):
        setup(root)


FILE = Path(setup_env.__file__)


def test_an_old_python_is_told_in_one_line():
    pretend = f"import sys; sys.version_info = (3, 8, 1); exec(compile(open({str(FILE)!r}).read(), 'x', 'exec'))"
    done = subprocess.run([sys.executable, "-c", pretend], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"needs Python >= 3.11, found 3.8 at {sys.executable}")
    assert len(done.stderr.splitlines()) == 1


def test_old_pythons_can_read_the_file():
    ast.parse(FILE.read_text("utf-8"), feature_version=(3, 4))
    assert not any(isinstance(node, ast.JoinedStr) for node in ast.walk(ast.parse(FILE.read_text("utf-8"))))


def make(*arguments):
    done = subprocess.run(["make", "-C", str(FILE.parent.parent), *arguments], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_only_the_tests_bring_triton():
    def plan(command):
        return make("--dry-run", "COURSE_TRITON=required", command)[1]

    assert "setup_env.py --triton" in plan("test")
    assert "COURSE_TRITON=required .venv/bin/python -m pytest" in plan("test")
    for command in ("lab", "test-gpu", "test-browser", "notebooks", "bench"):
        assert "setup_env.py" in plan(command)
        assert "--triton" not in plan(command)
        assert "COURSE_TRITON" not in plan(command)


def test_make_without_a_python_says_so():
    status, output = make("setup", "PYTHON=no-such-python")
    assert status != 0
    assert "needs Python >= 3.11, found no 'no-such-python' on the PATH" in output


def test_make_alone_lists_the_commands():
    status, output = make()
    assert status == 0
    for command in ("lab", "test", "test-browser", "test-gpu", "notebooks", "bench", "lint"):
        assert f"make {command} " in output
