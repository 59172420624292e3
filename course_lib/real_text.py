"""Real text to train on: the Python documentation, which is always there, and a text file of the learner's own."""

import difflib
import functools
import hashlib
import re
from pathlib import Path

from ._check import one_of, short, shown, whole_number
from ._files import file_path
from .vocabulary import split_words

MOST_BYTES = 2**30  # of a file, whatever is allowed: so much room is taken before it is read


def python_docs(split: str = "train") -> str:
    """Return the documentation that every Python carries, `pydoc_data.topics`, about 370 kB in both parts.

    split: "train", or "held_out", a tenth of the topics, chosen by name. Many topics quote others in whole; so each
    paragraph is kept once, and none of the held-out ones is in the training part. Lines that only underline a title
    are left out. The text is that of the running Python, and differs a little between versions.
    """
    return _python_docs()[one_of("split", split, ("train", "held_out"))]


@functools.cache
def _python_docs() -> dict[str, str]:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise RuntimeError(
            "this Python carries no documentation (the module pydoc_data.topics, which belongs to its standard library)"
            "; install the whole standard library, or train on a text of your own with read_text"
        ) from None
    seen, parts = set(), {"held_out": [], "train": []}
    for part, texts in parts.items():  # held-out topics come first, so that what they say is new to a trained model
        for name in sorted(topics):
            if _held_out(name) != (part == "held_out"):
                continue
            for paragraph in re.split(r"\n\s*\n", re.sub(r"^\s*([*=\-^~])\1+\s*$", "", topics[name], flags=re.M)):
                same = " ".join(paragraph.split())
                if same and same not in seen:
                    seen.add(same)
                    texts.append(paragraph.strip("\n"))
    return {part: "\n\n".join(texts) for part, texts in parts.items()}


def _held_out(topic: str) -> bool:
    return hashlib.blake2b(f"held-out: {topic}".encode(), digest_size=1).digest()[0] % 10 == 0


def read_text(path, *, encoding: str = "utf-8", min_words: int = 200, max_bytes: int = 5_000_000) -> str:
    """Return the text of a file of the learner's own, its line ends as \\n, without a byte order mark.

    Raises FileNotFoundError, IsADirectoryError or PermissionError; ValueError for a file that is empty, has fewer than
    min_words words, is larger than max_bytes (itself at most 2**30), holds no text, or is written in another encoding.
    """
    path = file_path(path)
    where = f"path {str(path)!r}"
    max_bytes = whole_number("max_bytes", max_bytes, low=1, high=MOST_BYTES)
    min_words = whole_number("min_words", min_words)
    if path.is_dir():
        raise IsADirectoryError(f"{where} is a folder; name a text file in it")
    if path.exists() and not path.is_file():
        raise ValueError(f"{where} is no ordinary file, but a device or a pipe")
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)  # no more, however large the file is, or grows while it is read
    except FileNotFoundError:
        raise FileNotFoundError(f"{where} does not exist{_nearby(path)}") from None
    except PermissionError:
        raise PermissionError(f"{where} may not be read; check who owns it, and its permissions") from None
    if len(content) > max_bytes:
        raise ValueError(f"{where} is larger than {max_bytes} bytes; cut it, or allow more with max_bytes")
    text = _decoded(where, content, encoding)
    words = len(split_words(text))
    if words < min_words:
        told = "is empty" if words == 0 else f"has only {words} word{'' if words == 1 else 's'}"
        raise ValueError(f"{where} {told}; a model needs at least {min_words} (min_words) to learn from")
    return text


def _nearby(path: Path) -> str:
    """Say where a missing file was looked for, and which names there are like it."""
    folder = path.parent.absolute()
    if not folder.is_dir():
        return f", nor does its folder {str(folder)!r}"
    near = difflib.get_close_matches(path.name, [one.name for one in folder.iterdir()], 3)
    return f" in {str(folder)!r}" + (f"; did you mean {' or '.join(near)}?" if near else "")


def _decoded(where: str, content: bytes, encoding: str) -> str:
    """Return bytes as text, or say what they are instead."""
    if not isinstance(encoding, str):
        raise TypeError(f"encoding must be the name of an encoding, got {shown(encoding)}")
    try:
        "a".encode(encoding)
    except (LookupError, ValueError):  # ValueError: its name holds a NUL, or half of a character
        raise ValueError(
            f'encoding must be one that Python knows, such as "utf-8" or "cp1252", got {short(encoding)}'
        ) from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")) and encoding == "utf-8":
        raise ValueError(f'{where} is written in UTF-16, not in UTF-8; read it with encoding="utf-16"')
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeError as error:
        if b"\0" in content:
            raise ValueError(_no_text(where)) from None
        start = getattr(error, "start", 0)
        line = content.count(b"\n", 0, start) + 1
        raise ValueError(
            f"{where} is not written in {encoding}: byte 0x{content[start]:02x} in line {line}, at position {start}, "
            'does not belong there. Save it as UTF-8, or name its encoding, for example encoding="cp1252" for many '
            "older files from Windows"
        ) from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    odd = sum(1 for _ in re.finditer(r"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]", text))
    if "\0" in text or odd > len(text) / 100:
        raise ValueError(_no_text(where))
    return text


def _no_text(where: str) -> str:
    return f"{where} holds no plain text (a picture, an archive, or a document of a word processor?); save it as text"
