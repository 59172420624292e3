"""The score counts what the record says, sorts the weakest first, and leads to headings that exist."""

import pytest

from course_lib.classroom.banks import load_banks
from course_lib.classroom.exercises import EXERCISES
from course_lib.classroom.progress import progress
from course_lib.classroom.progress_file import empty
from course_lib.classroom.score import objective_rows, row_in_words, score

BANKS = load_banks()


pytestmark = pytest.mark.usefixtures("own_progress")


def test_every_objective_has_a_row_and_everything_is_counted_once():
    rows = objective_rows(empty())
    assert sorted(row["objective"] for row in rows) == sorted(BANKS.objectives)
    assert sum(row["all"] for row in rows) == len(BANKS.questions) + len(EXERCISES)
    assert all(row["untried"] == row["all"] for row in rows)
    assert [row["lesson"] for row in rows] == sorted(row["lesson"] for row in rows)  # in the order of the course


def test_a_row_leads_to_a_heading_that_teaches_its_objective():
    for row in objective_rows(empty()):
        taught = [q["taught"] for q in BANKS.questions.values() if q["objective"] == row["objective"]]
        (place,) = row["places"]
        assert {"notebook": place["notebook"], "heading": place["heading"]} in taught
        assert place["href"].startswith(f"{place['notebook']}.ipynb#")


def test_everything_that_is_not_right_has_its_place_once():
    for name in ("bug_b", "bug_d"):
        progress.record_exercise(name, "wrong")
    row = objective_rows(progress.snapshot())[0]
    assert (row["objective"], row["wrong"]) == ("prefix_mask.hunt", 2)
    (place,) = row["places"]
    assert (place["lesson"], place["heading"]) == ("02", "The bug hunt")
    question = next(q for q in BANKS.questions.values() if q["objective"] == row["objective"])
    progress.record_question(question["id"], status="shown", tries=2, response=0)
    headings = [place["heading"] for place in objective_rows(progress.snapshot())[0]["places"]]
    assert headings == [question["taught"]["heading"], "The bug hunt"]
    assert row_in_words(row).endswith("2 not yet right, 4 not tried. Taught in 02, The bug hunt.")


def test_the_weakest_come_first_and_lead_to_what_was_missed():
    progress.record_question("glm.chat", status="shown", tries=2, response=0)
    progress.record_question("prefix_lm.scored", status="right", tries=2, response="3")
    progress.record_question("start_here.in_step", status="right", tries=1, response=0)
    progress.record_exercise("stale", "wrong")
    rows = objective_rows(progress.snapshot())
    assert [(row["objective"], row["wrong"]) for row in rows[:2]] == [("glm.compare", 1), ("prefix_lm.cache", 1)]
    wanted = BANKS.questions["glm.chat"]["taught"]["heading"]
    assert [place["heading"] for place in rows[0]["places"]] == [wanted]
    assert f"1 not yet right, 2 not tried. Taught in 04, {wanted}." in row_in_words(rows[0])
    by = {row["objective"]: row for row in rows}
    assert (by["prefix_lm.loss"]["right"], by["prefix_lm.loss"]["wrong"]) == (1, 0)  # right counts, at once or not
    assert rows[-1]["objective"] == "start_here.explore"  # all of it is right


def test_ones_own_words_count_when_every_box_is_ticked():
    key = "wrap_up.say_idea"
    for status, counted in (("shown", "wrong"), ("right", "right")):
        progress.record_question(key, status=status, tries=1, response={"text": "x", "ticks": []})
        row = next(row for row in objective_rows(progress.snapshot()) if row["objective"] == "wrap_up.explain")
        assert row[counted] == 1


def test_what_is_not_in_the_banks_is_not_counted():
    progress.record_question("gone.question", status="shown", tries=2, response=0)
    progress.record_exercise("gone", "wrong")
    assert objective_rows(progress.snapshot()) == objective_rows(empty())


def test_the_table_follows_and_its_saved_output_does_not():
    table = score()
    before = table.fallback()
    assert table.words == f"{len(BANKS.objectives)} objectives, none tried yet."
    progress.record_question("glm.chat", status="shown", tries=2, response=0)
    assert "1 tried, 1 with something not right yet, 0 with everything right" in table.words
    assert table.rows[0]["objective"] == "glm.compare"
    assert table.fallback() == before
    assert before["text/html"].count("<tr>") == len(BANKS.objectives) + 1
    assert len(table.describe().splitlines()) == len(BANKS.objectives) + 1
