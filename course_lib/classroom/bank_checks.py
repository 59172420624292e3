"""What is wrong with a bank: what its schema says, and what a schema cannot say. `banks` has the format."""

import functools
import itertools
import json
from pathlib import Path

from .rich import parse

SCHEMA = Path(__file__).parent / "banks" / "schema.json"


@functools.cache
def _validator():
    import jsonschema  # only where a bank is read: it takes a tenth of a second

    return jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text("utf-8")))


def schema_problems(bank) -> list[str]:
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


def problems_of(bank: dict, name: str) -> list[str]:
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
