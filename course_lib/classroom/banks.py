r"""The banks: the course's questions and predictions, as JSON, read and checked here.

A bank is `banks/NAME.json`; NAME is the notebook's name without its number (`prefix_mask`), or `chapter`. Ids are
`NAME.slug`, with the bank's own NAME, and never change: progress is kept under them.

    {"schema": 1,
     "notebook": "02_prefix_mask",                                  left out in chapter.json
     "objectives": {"prefix_mask.write": "Write a prefix mask three ways"},
     "decks": {"cost": ["prefix_mask.pairs_at_half", "chapter.q3"]},    shown by quiz("prefix_mask.cost")
     "questions": [...],
     "predictions": [...]}

A deck may borrow a question, and a question an objective, from another bank.

**Rich text** (prompt, hint, explanation, feedback, option, item, model answer, self-check) is a string, or a list of
strings and formulas. A string knows `code` and *emphasis*; a backslash before ` or * or \ makes it plain (in JSON it
is typed twice). Nothing is ever read as HTML: `<b>` shows as typed. A formula is {"math": [node, ...]}; a node is
[tag, child, ...] with mrow, msqrt (one child or more), mfrac, msup, msub (two), mi, mn, mo, mtext (one string). A bare
string stands for mn when it is a number, mi when it is letters, mo otherwise:

    ["The limit is ", {"math": ["1", "+", ["msup", ["mrow", "(", ["mfrac", "P", "T"], ")"], "2"]]}, "."]

**Every question** has id, kind, objective, taught (the notebook, and the heading as its text reads there), prompt,
hint (offered after the first miss) and explanation (said when the answer is right, or shown after the second miss).

choice: exactly one option is right; each has its own feedback, also the right one (said before the explanation).

    {"id": "prefix_mask.first_row", "kind": "choice", "objective": "prefix_mask.read",
     "taught": {"notebook": "02_prefix_mask", "heading": "One square of ones"},
     "prompt": "With `P = 3`, which columns may row 0 see?",
     "options": [{"text": "0 only", "feedback": "That is the causal mask: the prefix lifts the hand."},
                 {"text": "0, 1 and 2", "right": true, "feedback": "Row 0 lies in the prefix and sees all of it."}],
     "hint": "Is token 0 in the prefix?", "explanation": "Every prefix row sees every prefix column."}

choices: one or more options are right, and exactly these must be chosen. Feedback is said for wrong ones chosen.

    {..., "kind": "choices", "options": [as above, "right": true on each right one], ...}

number: answer +- tolerance (left out: exact). `check` is a Python expression for the same number; tests evaluate it
with the names math, torch, masks, costs, so that no key is merely typed. `near_misses` name typical slips (each may
have a `check` too); other wrong numbers are told to be too large or too small. `unit` is plain text after the field.
Learners may type 31, 31.0, 1,024 (commas between thousands), 1e3, 9/16, or the unit after it; see grading.parse_number.

    {..., "kind": "number", "answer": 31, "check": "costs.allowed_pairs(3, 7)", "unit": "pairs",
     "near_misses": [{"value": 28, "feedback": "28 is the causal mask alone."}], ...}

mask: click the cells that may attend; total length 2..10. `tokens`, if given, are T short labels. The target is one of

    {"prefix_len": 3, "total_len": 5}    {"kind": "decoder", "total_len": 5}    {"kind": "encoder", "total_len": 5}
    {"kind": "packed", "prefix_lens": [1, 2], "document_lens": [3, 4]}

    {..., "kind": "mask", "target": {"prefix_len": 2, "total_len": 4}, "tokens": ["a", "lamp", "is", "lit"], ...}

order: 3..8 items, written in the right order; they are shown shuffled, always the same way, never already right.

    {..., "kind": "order", "items": ["score", "mask", "softmax", "mix the values"], ...}

words: the learner writes, then compares with a model answer and ticks a self-check list. hint, explanation optional.

    {..., "kind": "words", "model": "A prefix mask is ...", "checklist": ["I said who sees the prefix.", "..."]}

**Every prediction** has id, kind, taught, prompt. The truth is not in the bank: the lesson's own cell computes it.

    {"id": "prefix_mask.count", "kind": "number", "min": 0, "max": 49, "step": 1, "unit": "ones",
     "taught": {...}, "prompt": "How many ones has the mask?"}           slider; "control": "field" for a field
    {..., "kind": "choice", "options": ["all rows", "rows 0 to 2"]}       plain strings; the value is the string
    {..., "kind": "points", "xs": [0, 32, 64], "x_label": "P", "y_label": "pairs",
     "min": 0, "max": 64, "step": 1, "unit": "k"}                         one value for each x
"""

import functools
import json
from dataclasses import dataclass, field
from pathlib import Path

from .._check import short
from .bank_checks import problems_of, schema_problems

FOLDER = Path(__file__).parent / "banks"
MAX_BYTES = 5_000_000


class BankError(ValueError):
    """A bank that cannot be used; says the file, the question and the place."""


@dataclass(frozen=True)
class Banks:
    """Every bank of a folder together. Questions and predictions stand under their ids, decks under `bank.deck`."""

    questions: dict[str, dict] = field(default_factory=dict)
    predictions: dict[str, dict] = field(default_factory=dict)
    decks: dict[str, list[str]] = field(default_factory=dict)
    objectives: dict[str, str] = field(default_factory=dict)


def read_bank(file: Path) -> dict:
    """Read one bank and check everything that can be seen in this file alone; raises BankError."""
    file = Path(file)
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)  # never more than this, whatever lies there
        if len(content) > MAX_BYTES:
            raise BankError(f"{file.name}: is larger than {MAX_BYTES // 1_000_000} MB, too large for a bank")
        bank = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BankError(f"{file.name}: is not UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise BankError(f"{file.name}: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except BankError:
        raise
    except (ValueError, RecursionError) as error:
        raise BankError(f"{file.name}: {error or 'is nested too deeply'}") from None
    problems = schema_problems(bank) or problems_of(bank, file.stem)
    if problems:
        more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise BankError("\n".join(f"{file.name}: {problem}" for problem in problems[:10]) + more)
    return bank


@functools.cache
def load_banks(folder: Path = FOLDER) -> Banks:
    """Read every bank of a folder, and check what they say about each other. Read once a process."""
    banks, problems = Banks(), []
    files = {file: read_bank(file) for file in sorted(Path(folder).glob("*.json")) if file.name != "schema.json"}
    for file, bank in files.items():
        banks.objectives.update(bank["objectives"])
        banks.questions.update({question["id"]: question for question in bank["questions"]})
        banks.predictions.update({prediction["id"]: prediction for prediction in bank.get("predictions", [])})
        banks.decks.update({f"{file.stem}.{name}": ids for name, ids in bank.get("decks", {}).items()})
    for file, bank in files.items():
        for question in bank["questions"]:
            if question["objective"] not in banks.objectives:
                problems.append(f"{file.name}: {question['id']}: no bank has the objective {question['objective']!r}")
        for name, ids in bank.get("decks", {}).items():
            problems += [
                f"{file.name}: deck {name!r}: no bank has the question {q!r}" for q in ids if q not in banks.questions
            ]
            if f"{file.stem}.{name}" in banks.questions:
                problems.append(f"{file.name}: {file.stem}.{name} names both a deck and a question")
    if problems:
        raise BankError("\n".join(problems[:10]))
    return banks


def _unique(pairs: list[tuple]) -> dict:
    seen = set()
    for name, _ in pairs:
        if name in seen:
            raise ValueError(f"the field {short(name)} stands twice in one object")
        seen.add(name)
    return dict(pairs)


def _no_constant(name: str):
    raise ValueError(f"{name} is not a number of JSON")
