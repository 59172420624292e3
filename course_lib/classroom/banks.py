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
Learners may type 31, 31.0, 1,024 (commas between thousands), 1e3, 9/16, or the unit after it; see quiz.parse_number.

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
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

from .rich import parse

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
    problems = _schema_problems(bank) or _problems(bank, file.stem)
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
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the field {name!r} stands twice in one object")
    return dict(pairs)


def _no_constant(name: str):
    raise ValueError(f"{name} is not a number of JSON")


@functools.cache
def _validator():
    import jsonschema  # only where a bank is read: it takes a tenth of a second

    return jsonschema.Draft202012Validator(json.loads((FOLDER / "schema.json").read_text("utf-8")))


def _schema_problems(bank) -> list[str]:
    """What the schema says, each with the question's id and the place, such as `options[1].feedback`."""
    problems = []
    for error in sorted(_validator().iter_errors(bank), key=lambda e: [str(step) for step in e.absolute_path]):
        steps, owner = list(error.absolute_path), ""
        if len(steps) > 1 and steps[0] in ("questions", "predictions"):
            entry, owner = bank[steps[0]][steps[1]], f"{steps[0]}[{steps[1]}]"
            steps = steps[2:]
            if isinstance(entry, dict) and isinstance(entry.get("id"), str):
                owner = entry["id"][:80]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps).lstrip(".")
        message = error.message
        if error.validator == "required":
            message = f"{message.split(' is ')[0]} is missing"
        elif "propertyNames" in error.schema_path and error.validator == "enum":
            message = f"{error.instance!r} does not belong here; allowed are {', '.join(error.validator_value)}"
        if len(message) > 300:  # the library quotes the whole value: keep both ends, the reason stands last
            message = f"{message[:120]} ... {message[-160:]}"
        problems.append(": ".join(filter(None, [owner, place, message])))
    return problems


def _problems(bank: dict, name: str) -> list[str]:
    """What a schema cannot say: ids, references, arithmetic, marks in rich text."""
    problems = []
    if bank.get("notebook", f"00_{name}")[3:] != name:
        problems.append(f"notebook: {bank['notebook']!r} does not belong to a bank called {name!r}")
    predictions = bank.get("predictions", [])
    seen: set[str] = set()
    for entry_id in [*bank["objectives"], *(entry["id"] for entry in bank["questions"] + predictions)]:
        if not entry_id.startswith(f"{name}."):
            problems.append(f"{entry_id}: ids of this bank begin with {name + '.'!r}")
    checks = [(entry, _KINDS.get(entry["kind"])) for entry in bank["questions"]]
    for entry, check in checks + [(entry, _prediction) for entry in predictions]:
        if entry["id"] in seen:
            problems.append(f"{entry['id']}: the id is used twice")
        seen.add(entry["id"])
        found = itertools.chain(_rich_problems(entry), check(entry) if check else ())
        problems += [f"{entry['id']}: {problem}" for problem in found]
    return problems


def _rich_problems(value, place: str = ""):
    """Parse every rich text of an entry, wherever it stands."""
    for name in ("prompt", "hint", "explanation", "text", "feedback", "model"):
        if isinstance(value, dict) and name in value:
            yield from _rich_problem(value[name], f"{place}{name}")
    for name in ("items", "checklist"):
        for i, item in enumerate(value.get(name, [])):
            yield from _rich_problem(item, f"{place}{name}[{i}]")
    for name in ("options", "near_misses"):
        for i, item in enumerate(value.get(name, [])):
            if isinstance(item, dict):
                yield from _rich_problems(item, f"{place}{name}[{i}].")


def _rich_problem(rich, place: str):
    try:
        parse(rich)
    except ValueError as error:
        yield f"{place}: {error}"


def _choice(question: dict):
    right = [i for i, option in enumerate(question["options"]) if option.get("right")]
    if question["kind"] == "choice" and len(right) != 1:
        yield f"options: exactly one is right, here {len(right)} are"
    if question["kind"] == "choices" and not right:
        yield "options: at least one is right, here none is"
    texts = [json.dumps(option["text"]) for option in question["options"]]
    if len(set(texts)) < len(texts):
        yield "options: two have the same text"


def _number(question: dict):
    values = [miss["value"] for miss in question.get("near_misses", [])]
    for i, value in enumerate(values):
        if abs(value - question["answer"]) <= question.get("tolerance", 0):
            yield f"near_misses[{i}]: {value} would be taken as right"
        if value in values[:i]:
            yield f"near_misses[{i}]: {value} stands twice"


def _mask(question: dict):
    target = question["target"]
    kind = target.get("kind", "prefix")
    if kind == "packed":
        prefixes, lengths = target["prefix_lens"], target["document_lens"]
        total = sum(lengths)
        if len(prefixes) != len(lengths) or any(p > n for p, n in zip(prefixes, lengths, strict=False)):
            yield "target: every document has one prefix, at most as long as itself"
        if not 2 <= total <= 10:
            yield f"target: the documents have {total} tokens together; 2 to 10 are allowed"
    else:
        total = target["total_len"]
        if (kind == "prefix") != ("prefix_len" in target):
            yield f"target: prefix_len belongs to the kind 'prefix', this is {kind!r}"
        if target.get("prefix_len", 0) > total:
            yield f"target: prefix_len {target['prefix_len']} is larger than total_len {total}"
    if len(question.get("tokens", range(total))) != total:
        yield f"tokens: {len(question['tokens'])} labels for {total} tokens"


_KINDS = {"choice": _choice, "choices": _choice, "number": _number, "mask": _mask}


def _prediction(prediction: dict):
    if "min" in prediction:
        span = prediction["max"] - prediction["min"]
        if span <= 0:
            yield f"min: {prediction['min']} is not below max {prediction['max']}"
        elif prediction["step"] > span or span / prediction["step"] > 10_000:
            yield f"step: {prediction['step']} does not divide {span} into 1 to 10,000 steps"
    xs = prediction.get("xs", [])
    if any(a >= b for a, b in itertools.pairwise(xs)):
        yield "xs: must grow from left to right"
