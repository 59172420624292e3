"""Every bank of the course keeps the format and counts right; every malformed one is refused with the place."""

import copy
import json
import math
from pathlib import Path

import pytest
import torch

from course_lib import costs, masks
from course_lib.classroom import rich
from course_lib.classroom.banks import FOLDER, BankError, load_banks, read_bank
from course_lib.classroom.grading import grade, parse_number, reveal, shown_order, target_rows

SAMPLES = Path(__file__).parent / "banks"
FILES = [*sorted(file for file in FOLDER.glob("*.json") if file.name != "schema.json"), SAMPLES / "sample.json"]
BANKS = [load_banks(), load_banks(SAMPLES)]
QUESTIONS = {key: question for banks in BANKS for key, question in banks.questions.items()}
SAMPLE = json.loads((SAMPLES / "sample.json").read_text("utf-8"))
NAMES = {"math": math, "torch": torch, "masks": masks, "costs": costs}


def of_kind(*kinds):
    chosen = [question for question in QUESTIONS.values() if question["kind"] in kinds]
    return pytest.mark.parametrize("question", chosen, ids=lambda question: question["id"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_bank_keeps_the_format_and_all_its_objectives_are_asked(file):
    bank = read_bank(file)
    assert bank["questions"]
    in_decks = {question for ids in bank["decks"].values() for question in ids}
    assert {question["id"] for question in bank["questions"]} <= in_decks


def evaluated(check: str) -> float:
    return float(eval(check, dict(NAMES)))


@of_kind("number")
def test_a_numeric_key_is_what_its_check_computes(question):
    assert abs(evaluated(question["check"]) - question["answer"]) <= max(question.get("tolerance", 0), 1e-9)
    for miss in question.get("near_misses", []):
        if "check" in miss:
            assert evaluated(miss["check"]) == pytest.approx(miss["value"], abs=1e-9)
    assert grade(question, reveal(question)["text"]).right  # the answer, as it is shown, would be taken


@of_kind("choice", "choices")
def test_right_options_are_taken_and_every_wrong_one_is_spoken_of(question):
    right = reveal(question)["right"]
    several = question["kind"] == "choices"
    assert grade(question, right if several else right[0]).right
    for i in range(len(question["options"])):
        if i not in right:
            verdict = grade(question, [i] if several else i)
            assert not verdict.right
            assert rich.plain(question["options"][i]["feedback"]) in " ".join(map(rich.plain, verdict.feedback))


@of_kind("mask")
def test_a_target_mask_is_the_definition(question):
    target = question["target"]
    kind, total = target.get("kind", "prefix"), target.get("total_len")
    if kind == "packed":
        places = [(d, i) for d, length in enumerate(target["document_lens"]) for i in range(length)]
        wanted = [[int(a == b and (j <= i or j < target["prefix_lens"][a])) for b, j in places] for a, i in places]
    else:
        prefix = {"prefix": target.get("prefix_len"), "decoder": 0, "encoder": total}[kind]
        wanted = [[int(j <= i or j < prefix) for j in range(total)] for i in range(total)]
    assert target_rows(target) == wanted
    assert grade(question, wanted).right
    wanted[0][0] = 1 - wanted[0][0]
    assert "row 0, column 0" in grade(question, wanted).feedback[0]


@of_kind("order")
def test_items_are_shown_shuffled_and_the_written_order_is_right(question):
    shown = shown_order(question)
    assert sorted(shown) == list(range(len(question["items"])))
    assert not grade(question, list(range(len(shown)))).right  # as shown
    assert grade(question, reveal(question)["order"]).right
    assert shown_order(copy.deepcopy(question)) == shown


def test_the_right_option_does_not_always_stand_at_the_same_place():
    places = [reveal(q)["right"][0] for q in load_banks().questions.values() if q["kind"] == "choice"]
    assert all(places.count(place) <= 0.6 * len(places) for place in set(places))


def test_the_length_of_an_option_does_not_give_it_away():
    """The right one is neither the longest nor the shortest as a rule, and never by much the longest."""
    longest, shortest, asked = [], [], 0
    for question in load_banks().questions.values():
        if question["kind"] == "choice":
            lengths = [len(rich.plain(option["text"])) for option in question["options"]]
            right = lengths.pop(reveal(question)["right"][0])
            asked += 1
            longest += [question["id"]] if right > max(lengths) else []
            shortest += [question["id"]] if right < min(lengths) else []
            assert right <= 1.5 * max(lengths) or max(right, *lengths) < 25, question["id"]
    assert len(longest) <= 0.4 * asked, longest
    assert len(shortest) <= 0.4 * asked, shortest


def spoiled(tmp_path, change) -> Path:
    bank = copy.deepcopy(SAMPLE)
    change(bank)
    (tmp_path / "sample.json").write_text(json.dumps(bank), "utf-8")
    return tmp_path / "sample.json"


def question_of(bank, name):
    return next(each for each in bank["questions"] + bank["predictions"] if each["id"] == f"sample.{name}")


SPOILED = {
    "no hint": (lambda b: question_of(b, "one").pop("hint"), "sample.one: 'hint' is missing"),
    "a field misspelt": (lambda b: question_of(b, "one").update(hnit="?"), "sample.one: 'hnit' does not belong here"),
    "a kind unknown": (lambda b: question_of(b, "one").update(kind="essay"), "sample.one: kind: 'essay' is not one of"),
    "an option without feedback": (
        lambda b: question_of(b, "one")["options"][1].pop("feedback"),
        "sample.one: options[1]: 'feedback' is missing",
    ),
    "two right options": (
        lambda b: question_of(b, "one")["options"][0].update(right=True),
        "sample.one: options: exactly one is right, here 2 are",
    ),
    "no right option": (
        lambda b: [option.pop("right", None) for option in question_of(b, "several")["options"]],
        "sample.several: options: at least one is right",
    ),
    "the same option twice": (
        lambda b: question_of(b, "one")["options"][2].update(text="1"),
        "sample.one: options: two have the same text",
    ),
    "right said to be false": (
        lambda b: question_of(b, "one")["options"][0].update(right=False),
        "sample.one: options[0].right: True was expected",
    ),
    "no check": (lambda b: question_of(b, "count").pop("check"), "sample.count: 'check' is missing"),
    "an answer in words": (lambda b: question_of(b, "count").update(answer="31"), "sample.count: answer: '31' is not"),
    "a near miss that is right": (
        lambda b: question_of(b, "count").update(tolerance=5),
        "sample.count: near_misses[0]: 28 would be taken as right",
    ),
    "a mask too large": (
        lambda b: question_of(b, "cells")["target"].update(total_len=11),
        "sample.cells: target.total_len: 11 is greater than the maximum of 10",
    ),
    "a prefix longer than the text": (
        lambda b: question_of(b, "cells")["target"].update(prefix_len=4),
        "sample.cells: target: prefix_len 4 is larger than total_len 3",
    ),
    "a causal mask with a prefix": (
        lambda b: question_of(b, "cells")["target"].update(kind="decoder"),
        "sample.cells: target: prefix_len belongs to the kind 'prefix'",
    ),
    "a label too few": (lambda b: question_of(b, "cells")["tokens"].pop(), "sample.cells: tokens: 2 labels for 3"),
    "two items only": (
        lambda b: question_of(b, "steps").update(items=["a", "b"]),
        "sample.steps: items: ['a', 'b'] is too short",
    ),
    "an open mark": (
        lambda b: question_of(b, "say").update(model="a `b"),
        "sample.say: model: a ` or * has no partner",
    ),
    "markup in a formula": (
        lambda b: question_of(b, "one").update(explanation=[{"math": [["script", "x"]]}]),
        "sample.one: explanation[0].math[0][0]: 'script' is not one of",
    ),
    "a fraction of three": (
        lambda b: question_of(b, "one").update(explanation=[{"math": [["mfrac", "1", "2", "3"]]}]),
        "sample.one: explanation: <mfrac> takes 2 children, not 3",
    ),
    "an objective unknown": (
        lambda b: question_of(b, "one").update(objective="sample.none"),
        "sample.one: no bank has the objective 'sample.none'",
    ),
    "an id of another bank": (
        lambda b: question_of(b, "one").update(id="other.one"),
        "other.one: ids of this bank begin with 'sample.'",
    ),
    "an id twice": (lambda b: question_of(b, "several").update(id="sample.one"), "sample.one: the id is used twice"),
    "a deck with a ghost": (
        lambda b: b["decks"]["two"].append("sample.ghost"),
        "deck 'two': no bank has the question 'sample.ghost'",
    ),
    "a deck called like a question": (
        lambda b: b["decks"].update(one=["sample.one"]),
        "sample.one names both a deck and a question",
    ),
    "another notebook": (lambda b: b.update(notebook="02_other"), "notebook: '02_other' does not belong"),
    "a newer format": (lambda b: b.update(schema=2), "schema: 1 was expected"),
    "a range upside down": (
        lambda b: question_of(b, "guess").update(max=-1),
        "sample.guess: min: 0 is not below max -1",
    ),
    "a step of nothing": (
        lambda b: question_of(b, "guess").update(step=1e-6),
        "sample.guess: step: 1e-06 does not divide 49",
    ),
    "places out of order": (lambda b: question_of(b, "curve").update(xs=[0, 2, 1]), "sample.curve: xs: must grow"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_bank_is_refused_with_file_question_and_place(name, tmp_path):
    change, said = SPOILED[name]
    spoiled(tmp_path, change)
    with pytest.raises(BankError) as refusal:
        load_banks(tmp_path)
    assert f"sample.json: {said}" in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "line 1, column 1"),
        (b'{"schema": 1,\n "schema": 1}', "'schema' stands twice"),
        (b'{"%s": 1, "%s": 1}' % (b"x" * 10_000, b"x" * 10_000), "stands twice"),
        (b'{"schema": NaN}', "NaN is not a number"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (b"[" * 100_000, "sample.json: "),
        (b"[]", "is not of type 'object'"),
        (b"{}", "'questions' is missing"),
    ],
)
def test_what_is_no_bank_is_refused(content, said, tmp_path):
    (tmp_path / "sample.json").write_bytes(content)
    with pytest.raises(BankError, match=r"sample\.json") as refusal:
        read_bank(tmp_path / "sample.json")
    assert said in str(refusal.value)
    assert len(str(refusal.value)) < 4000


@pytest.mark.parametrize("kind", ["choice", "choices", "number", "mask", "order", "words", "points"])
def test_the_examples_in_the_docs_show_every_kind(kind):
    from course_lib.classroom import banks

    assert f'"kind": "{kind}"' in banks.__doc__


def test_rich_text_knows_code_emphasis_and_formulas_and_nothing_else():
    text = [r"a *b* `c*d` 3 * 4 \* <b>&amp;</b>", {"math": ["1", "+", ["msup", ["mrow", ["mfrac", "P", "T"]], "2"]]}]
    kinds = [piece[0] for piece in rich.parse(text)]
    assert kinds == ["text", "em", "text", "code", "text", "math"]
    assert rich.plain(text) == "a b c*d 3 * 4 * <b>&amp;</b>1 + (P / T)^2"
    page = rich.to_html(text)
    assert "<em>b</em> <code>c*d</code>" in page
    assert "&lt;b&gt;&amp;amp;&lt;/b&gt;" in page


@pytest.mark.parametrize("bad", ["*a", "`a", "a*b", "a ** b**"])
def test_a_mark_without_its_partner_is_an_error(bad):
    with pytest.raises(ValueError, match="has no partner"):
        rich.parse(bad)


def test_the_docs_say_the_truth_about_numbers():
    assert [parse_number(text) for text in ("31", "31.0", "1,024", "1e3")] == [31, 31, 1024, 1000]


@pytest.mark.usefixtures("in_time")
def test_a_bank_of_many_fields_is_refused_in_time(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({f"field{i}": 0 for i in range(100_000)}))
    with pytest.raises(BankError, match=r"x\.json: .*is missing"):
        read_bank(tmp_path / "x.json")


def test_a_bank_of_100_mb_is_refused_at_once(tmp_path):
    (tmp_path / "x.json").write_bytes(b"[" * 100_000_000)
    with pytest.raises(BankError, match=r"x\.json: is larger than 5 MB"):
        read_bank(tmp_path / "x.json")
