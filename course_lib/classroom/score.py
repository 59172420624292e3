"""The score: every objective of the course with what was right, not yet right and not tried, the weakest first."""

import html

import traitlets

from . import rich
from .banks import load_banks
from .course_map import LESSONS
from .exam_draw import KNOWN, NEW, standing
from .progress import progress
from .quiz import link
from .widgets import OURS, CourseWidget

SHOWN = 8  # objectives, until all are asked for


def score() -> "ScoreTable":
    """Return the score by learning objective, to be shown in a cell. It follows every answer given in this kernel."""
    return ScoreTable()


def objective_rows(record: dict) -> list[dict]:
    """Count, for each objective of every lesson, what the learner's record says of its questions and exercises.

    A question is right if it was right when last answered; one's own words are right if every box was ticked. Each row
    has places to read: where what is wrong is taught or set; else the first of what is not tried, else of all. Sorted:
    first what has most that is not right yet, as a share of all, then what has least that is right, then as the course
    has it.
    """
    from .exercises import EXERCISES  # they import the progress that the score watches

    banks, rows = load_banks(), {}
    for key, text in banks.objectives.items():
        lesson = key.split(".")[0]
        own = [question for question in banks.questions.values() if question["objective"] == key]
        own.sort(key=lambda question: question["id"].split(".")[0] != lesson)  # those of the chapter come after
        if not own:
            continue
        items = [(_state_of_question(record["questions"].get(one["id"])), one["taught"]) for one in own]
        for one in (one for one in EXERCISES.values() if one.objective == key):
            state = record["exercises"].get(one.name, {}).get("state", "untried")
            items.append((state, {"notebook": one.notebook, "heading": one.heading}))
        states = [state for state, _ in items]
        notebook = next(one.notebook for one in LESSONS if one.notebook[3:] == lesson)
        rows[key] = {
            "objective": key,
            "text": text[0].upper() + text[1:],
            "lesson": notebook[:2],
            **{state: states.count(state) for state in ("right", "wrong", "untried")},
            "all": len(states),
            "places": _places(items),
        }
    course = sorted(rows.values(), key=lambda row: row["lesson"])
    return sorted(course, key=lambda row: (-row["wrong"] / row["all"], row["right"] / row["all"]))


def _places(items: list[tuple[str, dict]]) -> list[dict]:
    """Return where to read, each heading once, with its address: see `objective_rows`."""
    wrong = [taught for state, taught in items if state == "wrong"]
    untried = [taught for state, taught in items if state == "untried"]
    found = wrong or (untried or [taught for _, taught in items])[:1]
    once = {(taught["notebook"], taught["heading"]): taught for taught in found}
    return [{**taught, "href": link(taught), "lesson": taught["notebook"][:2]} for taught in once.values()]


def _state_of_question(entry: dict | None) -> str:
    if entry is not None and entry["last"]["status"] == "right":
        return "right"  # at the second try, too
    stand = standing(entry)
    return "untried" if stand == NEW else "right" if stand == KNOWN else "wrong"


def in_words(rows: list[dict]) -> str:
    """Say the whole score in one sentence."""
    sure = sum(row["right"] == row["all"] for row in rows)
    weak = sum(row["wrong"] > 0 for row in rows)
    tried = sum(row["untried"] < row["all"] for row in rows)
    if not tried:
        return f"{len(rows)} objectives, none tried yet."
    return f"{len(rows)} objectives: {tried} tried, {weak} with something not right yet, {sure} with everything right."


def row_in_words(row: dict) -> str:
    """Say one row in plain text."""
    counts = f"{row['right']} right, {row['wrong']} not yet right, {row['untried']} not tried"
    places = "; ".join(f"{place['lesson']}, {place['heading']}" for place in row["places"])
    return f"{row['lesson']} {row['text']}: {counts}. Taught in {places}."


class ScoreTable(CourseWidget, source="score"):
    """What `score()` shows in a cell."""

    rows = traitlets.List().tag(**OURS)
    words = traitlets.Unicode().tag(**OURS)
    shown = traitlets.Int(SHOWN).tag(**OURS)
    notice = traitlets.Unicode().tag(**OURS)

    def __init__(self):
        super().__init__()
        with progress.lock:
            self.refresh(progress.snapshot())
        progress.watch(self)

    def refresh(self, record: dict) -> None:
        """Show this record."""
        with progress.lock:
            rows = objective_rows(record)
            self.rows, self.words, self.notice = rows, in_words(rows), progress.notice

    def describe(self) -> str:
        """The whole score, a line for each objective."""
        return "\n".join([f"Score by objective. {self.words}", *map(row_in_words, self.rows)])

    def fallback(self) -> dict[str, str | bytes]:
        """What there is to try, and where it is taught. The same whatever the learner has done."""
        rows = "".join(
            f"<tr><td>{row['lesson']}</td><td>{html.escape(rich.plain(row['text']))}</td><td>{row['all']}</td>"
            f'<td><a href="{html.escape(place["href"])}">{html.escape(place["heading"])}</a></td></tr>'
            for row in objective_rows({"questions": {}, "exercises": {}})
            for place in row["places"]
        )
        head = "<tr><th>lesson</th><th>you can</th><th>questions and exercises</th><th>taught in</th></tr>"
        return {"text/html": f"<p>Run this notebook to see your score. There is to try:</p><table>{head}{rows}</table>"}
