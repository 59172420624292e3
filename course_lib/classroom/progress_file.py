"""The progress file: its format, reading and writing it whole, and the best of two."""

import contextlib
import copy
import functools
import json
import math
import os
import re
import tempfile
from pathlib import Path

from .._check import shown

MAX_BYTES = 5_000_000
MAX_ENTRIES = 1000  # of a section, several times what the course has: reading must not take long
RESTORED_BYTES, RESTORED_ENTRIES = 4_000_000, 800  # what Restore may fill: room stays for the learner's own answers
MOST_IN_LIST = 40
SECTIONS = ("questions", "predictions", "exercises")
_WHEN = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 1_000_000}


def _record(required: dict) -> dict:
    return {"type": "object", "properties": required, "required": list(required), "additionalProperties": False}


def _section(required: dict) -> dict:
    names = {"pattern": r"^[A-Za-z0-9_.]{1,100}$"}
    rules = {"propertyNames": names, "additionalProperties": _record(required)}
    return {"type": "object", "maxProperties": MAX_ENTRIES, **rules}


_STATUS = {"enum": ["new", "missed", "right", "shown"]}
_BOOL = {"type": "boolean"}
_NULL, _NUMBER, _TEXT = {"type": "null"}, {"type": "number"}, {"type": "string", "maxLength": 10_000}
_ROW = {"type": "numbers", "maxItems": MOST_IN_LIST}  # a type of our own: looking at each by itself takes seconds
_MASK = {"type": "array", "items": {**_ROW, "maxItems": 10}, "maxItems": 10}  # as large as a bank may ask for
_WRITTEN = _record({"text": _TEXT, "ticks": _ROW})
_RESPONSE = {"anyOf": [_NULL, _NUMBER, _TEXT, _ROW, _MASK, _WRITTEN]}
_LAST = _record({"status": _STATUS, "tries": _COUNT, "response": _RESPONSE})
_FILE = _record(
    {
        "schema": {"const": 1},
        "questions": _section({"tries": _COUNT, "right": _BOOL, "shown": _BOOL, "last": _LAST, "when": _WHEN}),
        "predictions": _section({"guess": {"anyOf": [_NULL, _NUMBER, _TEXT, _ROW]}, "revealed": _BOOL, "when": _WHEN}),
        "exercises": _section({"state": {"enum": ["wrong", "right"]}, "tries": _COUNT, "when": _WHEN}),
    }
)


def parse(text: str) -> dict:
    """Turn the text of a progress file into a record; ValueError says in words why it is none."""
    if not isinstance(text, str):
        raise TypeError(f"text must be a str, the text of a progress file, got {shown(text)}")
    if len(text) > MAX_BYTES or len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES // 1_000_000} MB, too large for progress")
    try:
        data = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError):
        raise ValueError("it is damaged, or something else than progress (not JSON)") from None
    version = data.get("schema") if isinstance(data, dict) else None
    if isinstance(version, int) and version > 1:
        raise ValueError(f"it was written by a newer version of the course (format {version}, this one knows 1)")
    if _has_long_list(data):  # the schema would look at every item first, which takes minutes
        raise ValueError(f"it is damaged, or something else than progress (a list of more than {MOST_IN_LIST})")
    try:
        place = wrong_place(data)
    except RecursionError:
        raise ValueError("it is nested too deeply for progress") from None
    if place:
        raise ValueError(f"it is damaged, or something else than progress (at {place})")
    return data


def wrong_place(data) -> str:
    """Return where something is no record, such as `questions.prefix_mask.cost.tries`; empty where all is well."""
    error = next(_validator().iter_errors(data), None)
    return "" if error is None else ".".join(str(step)[:60] for step in error.absolute_path) or "the whole"


def can_be_read(record: dict) -> bool:
    """Would this record be one again after it is written?"""
    try:
        return bool(to_text(record)) and not _has_long_list(record) and not wrong_place(record)
    except Exception:  # what is no JSON may raise anything of its own
        return False


def check_room(mine: dict, restored: dict) -> None:
    """Refuse, in words, a restored record that has grown so far that it leaves no room for answers to come."""
    if any(len(restored[section]) > max(RESTORED_ENTRIES, len(mine[section])) for section in SECTIONS):
        raise ValueError(
            f"together with yours it would have more than {RESTORED_ENTRIES} entries of a kind, too many for progress"
        )
    if len(to_text(restored)) > max(RESTORED_BYTES, len(to_text(mine))):
        raise ValueError(
            f"together with yours it would be larger than {RESTORED_BYTES // 1_000_000} MB, too large for progress"
        )


def merge(first: dict, second: dict) -> dict:
    """Return the best of two records: right stays right, the larger count, the later state (`second`'s on a tie)."""
    result = copy.deepcopy(first)
    for section in SECTIONS:
        for name, other in second[section].items():
            mine = result[section].get(name)
            result[section][name] = copy.deepcopy(other) if mine is None else _BEST[section](mine, other)
    return result


def fit(record: dict, other: dict) -> tuple[dict, dict]:
    """Merge, entry by entry, what of `other` can be read again with `record`; return that, and what has no room."""
    result, left, size = copy.deepcopy(record), empty(), len(to_text(record))
    for section in SECTIONS:
        for name, entry in other[section].items():
            mine = result[section].get(name)
            best = entry if mine is None else _BEST[section](mine, entry)
            size_then = size + len(to_text({name: best})) - (0 if mine is None else len(to_text({name: mine})))
            if size_then > MAX_BYTES or (mine is None and len(result[section]) >= MAX_ENTRIES):
                left[section][name] = entry
            else:
                result[section][name], size = copy.deepcopy(best), size_then
    return result, left


def _best_question(a: dict, b: dict) -> dict:
    later = a if a["when"] > b["when"] else b
    return {
        "tries": max(a["tries"], b["tries"]),
        "right": a["right"] or b["right"],
        "shown": a["shown"] or b["shown"],
        "last": copy.deepcopy(later["last"]),
        "when": later["when"],
    }


def _best_prediction(a: dict, b: dict) -> dict:
    """A guess that was seen beside the truth is not changed by one that was not, however late."""
    return copy.deepcopy(a if (a["revealed"], a["when"]) > (b["revealed"], b["when"]) else b)


def _best_exercise(a: dict, b: dict) -> dict:
    state = "right" if "right" in (a["state"], b["state"]) else "wrong"
    return {"state": state, "tries": max(a["tries"], b["tries"]), "when": max(a["when"], b["when"])}


_BEST = {"questions": _best_question, "predictions": _best_prediction, "exercises": _best_exercise}


def empty() -> dict:
    """Return a record in which nothing has happened."""
    return {"schema": 1, **{section: {} for section in SECTIONS}}


def _has_long_list(data) -> bool:
    """Tell whether a list is longer than any of progress, at whatever depth; the first one ends the search."""
    waiting = [data]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            if len(one) > MOST_IN_LIST:
                return True
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
    return False


def _no_constant(name: str):
    raise ValueError(name)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):  # 1e999 is legal JSON, and could never be written again
        raise ValueError(digits)
    return number


@functools.cache
def _validator():
    import jsonschema

    standard = jsonschema.Draft202012Validator

    def numbers(checker, value) -> bool:
        return isinstance(value, list) and all(checker.is_type(one, "number") for one in value)

    kind = jsonschema.validators.extend(standard, type_checker=standard.TYPE_CHECKER.redefine("numbers", numbers))
    return kind(_FILE)


def read(path: Path) -> dict:
    """Read a record; an empty one where no file is. OSError: cannot be read. ValueError: says why it is no record."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)  # never more than this, whatever lies there
    except FileNotFoundError:
        return empty()
    try:
        return parse(content.decode("utf-8"))
    except UnicodeDecodeError:
        raise ValueError("it is damaged (not UTF-8 text)") from None


def to_text(record: dict, **options) -> str:
    """Return the record as JSON in plain ASCII, so that every text a browser can send survives."""
    return json.dumps(record, allow_nan=False, **options)


def replace(path: Path, text: str) -> None:
    """Write a file as a whole: beside it first, on disk for certain, then put in its place. A link stays a link."""
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=re.sub(r"\W", "_", path.stem)[:40], suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
