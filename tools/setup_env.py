"""Make `.venv` and install the course in it. A second run that finds nothing changed takes a blink.

    python3 tools/setup_env.py              the course and its tests
    python3 tools/setup_env.py --browser    also what drives a browser
    python3 tools/setup_env.py --triton     also Triton, whose kernels the tests run on the CPU, too
    python3 tools/setup_env.py --lock       write requirements.lock anew, from a clean environment

torch comes first and by itself, because the default build for Linux brings gigabytes of CUDA: from PyTorch's CPU index,
or from the index that TORCH_INDEX names. Everything else follows the pins of requirements.lock; Triton that of
requirements-triton.lock, unless torch brings its own.

A stamp in `.venv` says what was installed. It is removed before an install and written after it, so an interrupted
install is never taken for a whole one.

This file is read by whatever Python make finds. It has to parse on old ones, so that they can say what is needed: no
f-strings, no annotations, and the imports come after the question.
"""

import sys

if sys.version_info < (3, 11):
    found = (sys.version_info[0], sys.version_info[1], sys.executable)
    sys.exit("needs Python >= 3.11, found %d.%d at %s; name another one: make PYTHON=python3.12 ..." % found)

import argparse
import contextlib
import hashlib
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TRITON_LOCK = "requirements-triton.lock"
BRINGS_TRITON = "import importlib.metadata as m; print(any(r.startswith('triton') for r in m.requires('torch') or []))"
LOCK_HEADER = """\
# Exact pins of everything that the extras course, dev and browser need, torch's CPU build in mind.
# Used as constraints. Made from a clean environment by `make lock`; never edited by hand.
"""


class SetupError(Exception):
    """What went wrong, in words for the person who typed make."""


def run(command):
    """Run a command without letting it speak; return (exit status, what it said)."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    )
    return done.returncode, done.stdout


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def must(command, problem):
    status, output = run(command)
    if status:
        raise SetupError("%s\n%s" % (problem, "\n".join(output.strip().splitlines()[-15:])))


def pip(python, *arguments):
    return [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"] + list(arguments)


def venv_python(venv):
    return venv / "bin" / "python"


def running_version(venv):
    """Return the version of the environment's own Python, or None if it is missing, broken or too old."""
    try:
        status, output = run([venv_python(venv), "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"])
    except OSError:
        return None
    found = re.findall(r"^(\d+)\.(\d+)\.(\d+)$", output, re.MULTILINE)  # Python may have said more, of PYTHONWARNINGS
    if status or not found or tuple(int(part) for part in found[-1]) < (3, 11):
        return None
    return ".".join(found[-1])


def digest(root, version):
    """Hash all that decides what an install gives: ranges, pins, this file, Python, and where the course lies."""
    total = hashlib.sha256()
    for path in (root / "pyproject.toml", root / "requirements.lock", root / TRITON_LOCK, Path(__file__)):
        total.update(path.read_bytes() + b"\0")
    total.update(("%s\0%s" % (version, root)).encode())
    return total.hexdigest()


def read_stamp(venv):
    try:
        stamp = json.loads((venv / "course-stamp.json").read_text("utf-8"))
        index = stamp.get("torch_index")
        return stamp if isinstance(stamp.get("extras"), list) and (index is None or isinstance(index, str)) else {}
    except (OSError, ValueError, AttributeError):
        return {}


def torch_pin(root):
    pins = re.findall(r"^torch==\S+$", (root / "requirements.lock").read_text("utf-8"), re.MULTILINE)
    if len(pins) != 1:
        raise SetupError("requirements.lock must pin torch exactly once, it does so %d times" % len(pins))
    return pins[0]


def install_torch(python, pin, asked):
    """Install torch, without what it depends on: that comes later, under the lock's pins.

    One quick try at the index; if that fails, the plain pin, unless the index was asked for.
    """
    index = asked or CPU_INDEX
    say("Installing %s from %s" % (pin, index))
    status, output = run(pip(python, "--timeout", "10", "--retries", "0", "--index-url", index, "--no-deps", pin))
    if status == 0:
        return
    if asked:
        reason = output.strip().splitlines()[-1:] or ["pip gave no reason"]
        raise SetupError("TORCH_INDEX=%s gave no %s: %s" % (asked, pin, reason[0]))
    say("That index cannot be used. Installing %s from pip's own index (on Linux perhaps the large build)." % pin)
    must(pip(python, "--no-deps", pin), "torch could not be installed:")


def torch_brings_triton(python):
    """Tell whether the installed torch asks for a Triton of its own, as a CUDA build does."""
    status, output = run([python, "-c", BRINGS_TRITON])
    if status:
        raise SetupError("torch is installed, but does not say what it needs:\n%s" % output.strip())
    return re.search(r"^True$", output, re.MULTILINE) is not None


def make_venv(venv):
    say("Making %s with Python %s" % (venv, sys.version.split()[0]))
    hint = "no environment could be made (on Debian and Ubuntu: apt install python3-venv):"
    must([sys.executable, "-m", "venv", "--clear", venv], hint)


def setup(root, extras, torch_index=None):
    """Bring `root/.venv` to what pyproject.toml and requirements.lock say. Return True if anything had to be done."""
    venv = root / ".venv"
    stamp, version = read_stamp(venv), running_version(venv)
    new_index = bool(torch_index) and torch_index != stamp.get("torch_index")
    if (
        version
        and stamp.get("digest") == digest(root, version)
        and set(extras) <= set(stamp["extras"])
        and not new_index
    ):
        return False
    first = "Setting up the course. The first time takes some minutes."
    say(first if version is None else "Bringing %s up to date." % venv)
    with contextlib.suppress(FileNotFoundError):
        (venv / "course-stamp.json").unlink()
    if version is None:
        make_venv(venv)
        version = running_version(venv)
        if version is None:
            raise SetupError("the Python of %s does not run, though it was just made" % venv)
    index = torch_index or stamp.get("torch_index")
    python, lock = venv_python(venv), root / "requirements.lock"
    if new_index:
        run([python, "-m", "pip", "uninstall", "--quiet", "--yes", "torch"])  # the same version may be another build
    install_torch(python, torch_pin(root), index)
    extras = sorted(set(extras) | set(stamp.get("extras", [])))
    say("Installing the course and its tools (%s)" % ", ".join(extras))
    must(pip(python, "-c", lock, "setuptools"), "setuptools could not be installed:")
    target = "%s[%s]" % (root, ",".join(extras))
    pins = ["-c", lock]
    if "gpu" in extras and not torch_brings_triton(python):
        pins += ["-c", root / TRITON_LOCK]
    must(pip(python, *(pins + ["--no-build-isolation", "-e", target])), "the course could not be installed:")
    text = json.dumps({"digest": digest(root, version), "extras": extras, "torch_index": index}, indent=1)
    (venv / "course-stamp.json").write_text(text + "\n", "utf-8")
    return True


def write_lock(root):
    """Resolve pyproject's ranges in a clean environment and write what came out."""
    pin = torch_pin(root)
    with tempfile.TemporaryDirectory() as folder:
        venv = Path(folder) / "venv"
        make_venv(venv)
        python = venv_python(venv)
        install_torch(python, pin, os.environ.get("TORCH_INDEX"))
        say("Resolving everything else")
        must(pip(python, "--upgrade", "setuptools"), "setuptools could not be installed:")
        target = "%s[course,dev,browser]" % root
        must(pip(python, "--no-build-isolation", "-e", target), "the ranges could not be resolved:")
        status, output = run([python, "-m", "pip", "freeze", "--all", "--exclude", "pip", "--exclude-editable"])
    if status:
        raise SetupError("pip freeze failed:\n%s" % output)
    lines = [line.split("+")[0] for line in output.splitlines() if re.match(r"[A-Za-z0-9._-]+==\S+$", line)]
    (root / "requirements.lock").write_text(LOCK_HEADER + "\n".join(sorted(lines, key=str.lower)) + "\n", "utf-8")
    say("Wrote %d pins to requirements.lock" % len(lines))


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Make .venv and install the course in it.")
    parser.add_argument("--browser", action="store_true", help="also what the browser tests need")
    parser.add_argument("--triton", action="store_true", help="also Triton, for the tests of its kernels")
    parser.add_argument("--lock", action="store_true", help="write requirements.lock anew")
    options = parser.parse_args(arguments)
    try:
        if options.lock:
            write_lock(ROOT)
        else:
            extras = ["course", "dev"] + ["browser"] * options.browser + ["gpu"] * options.triton
            setup(ROOT, extras, os.environ.get("TORCH_INDEX") or None)
    except SetupError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("interrupted: the next run goes on from here")


if __name__ == "__main__":
    main()
