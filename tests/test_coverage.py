"""The table of what the two texts say: every row leads to a place in a lesson that holds what the row says."""

import re
from collections import Counter
from pathlib import Path

import pytest

from course_lib.classroom.banks import load_banks
from course_lib.classroom.course_map import LESSONS

FOLDER = Path(__file__).parents[1] / "notebooks" / "source"
COVERAGE = (FOLDER / "coverage.md").read_text("utf-8")
COLUMNS = ["", "the text says", "stands", "lesson", "heading", "found by", "what the lesson says"]
STATUSES = ("as written", "narrowed", "corrected")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


LINES = [cells(line) for line in COVERAGE.splitlines() if line.startswith("|")]
ROWS = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in LINES if re.fullmatch(r"[CA]\d+", row[0])}


def plain(text: str) -> str:
    return " ".join(text.split())


def sections(source: str) -> dict[str, str]:
    """Return each heading of a lesson with the text under it, code too, up to the next heading."""
    found, heading, fenced = {}, "", False
    for line in source.splitlines():
        fenced ^= line.startswith("```")
        if not fenced and (match := re.match(r"#+ (.+)", line)):
            heading = match[1].strip()
        found[heading] = found.get(heading, "") + line + "\n"
    return found


def problem(row: dict, folder: Path = FOLDER) -> str | None:
    """Say what is wrong with a row, or None."""
    link = re.fullmatch(r"\[(\d\d)\]\((\1_\w+\.md)\)", row["lesson"])
    if not link or not (folder / link[2]).is_file():
        return f"{row['lesson']} is no lesson"
    under = sections((folder / link[2]).read_text("utf-8"))
    if row["heading"] not in under:
        return f"{link[2]} has no heading {row['heading']!r}"
    if row["stands"] not in STATUSES:
        return f"{row['stands']!r}: allowed are {', '.join(STATUSES)}"
    if row["stands"] != "as written" and len(row["what the lesson says"].split()) < 4:
        return f"is {row['stands']}, and does not say how"
    text = plain(under[row["heading"]])
    banks = load_banks()
    if row["found by"] in banks.questions:
        asked = re.findall(r'\bquiz\("([^"]+)"\)', text)
        return (
            None if any(row["found by"] in banks.decks[deck] for deck in asked) else "its question is not asked there"
        )
    if len(row["found by"]) < 15:
        return "its phrase is too short to find a place by"
    return None if plain(row["found by"]) in text else f"{row['found by']!r} is not under {row['heading']!r}"


@pytest.mark.parametrize("name", ROWS)
def test_a_row_leads_to_its_place(name):
    assert problem(ROWS[name]) is None


def test_every_line_of_a_table_is_a_head_or_a_row_of_its_own():
    rest = [line for line in LINES if line[0] not in ROWS]
    assert all(line == COLUMNS or set("".join(line)) == {"-"} for line in rest)
    assert len(LINES) - len(rest) == len(ROWS), "a name stands twice"


def test_rows_are_numbered_in_order_and_say_something_each():
    for letter in "CA":
        names = [name for name in ROWS if name[0] == letter]
        assert names == [f"{letter}{number}" for number in range(1, len(names) + 1)]
    said = Counter(row["the text says"] for row in ROWS.values())
    assert said.most_common(1)[0][1] == 1
    assert all(len(text.split()) > 3 for text in said)


def test_each_lesson_that_carries_the_texts_is_named():
    named = {row["lesson"][1:3] for row in ROWS.values()}
    assert {f"0{number}" for number in range(1, 8)} <= named <= {lesson.number for lesson in LESSONS}


def test_the_chapters_questions_are_all_there():
    asked = {row["found by"] for row in ROWS.values()}
    assert {name for name in load_banks().questions if name.startswith("chapter.")} <= asked


def test_every_status_is_explained_and_used():
    assert {row["stands"] for row in ROWS.values()} == set(STATUSES)
    assert re.findall(r"^- \*\*(.+?)\*\*:", COVERAGE, re.MULTILINE) == list(STATUSES)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lesson": "[09](09_more.md)"}, "is no lesson"),
        ({"lesson": "[03](02_prefix_mask.md)"}, "is no lesson"),
        ({"heading": "One square"}, "has no heading"),
        ({"stands": "roughly"}, "allowed are"),
        ({"stands": "corrected"}, "does not say how"),
        ({"found by": "the prefix"}, "too short"),
        ({"found by": "A prefix LM lifts the foot from the prefix"}, "is not under"),
        ({"heading": "Three traps"}, "is not under"),
        ({"found by": "chapter.q3"}, "is not asked there"),
    ],
)
def test_a_row_that_rots_is_noticed(change, said):
    good = dict(zip(COLUMNS, ["C8", "A prefix LM looks both ways in the prompt."] + [""] * 5, strict=True)) | {
        "stands": "as written",
        "lesson": "[02](02_prefix_mask.md)",
        "heading": "One square of ones",
        "found by": "A prefix LM lifts the hand from the prefix, and from nothing else",
    }
    assert problem(good) is None
    assert said in problem(good | change)
