"""How long a lesson takes, by a stated rule."""

import math
import re

PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


def count_words(cells) -> int:
    """Count the words of prose: in text cells, without code, formulas, tags and the addresses of links."""
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for pattern, instead in (
        (r"```.*?```", " "),
        (r"\$\$.*?\$\$", " "),
        (r"\$[^$\n]+\$", " x "),
        (r"<[^>\n]+>", " "),
        (r"!?\[([^\]]*)\]\([^)]*\)", r"\1"),
    ):
        text = re.sub(pattern, instead, text, flags=re.DOTALL)
    return sum(any(character.isalnum() for character in word) for word in text.split())


def minutes_by_part(notebook, run_minutes: int) -> dict[str, float]:
    """Return what a lesson's time is made of, in minutes: reading, exercises, questions, running; and extra.

    reading: words of prose / 200. exercises: as marked on each exercise that the lesson asks for. questions: 0.5 for
    each question of a quiz or an exam and for each prediction. running: the time that all cells took when the notebook
    was built, in whole minutes. extra: as marked on the exercises that are optional.
    """
    from course_lib.classroom.banks import load_banks
    from course_lib.classroom.exam import SIZE as EXAM_SIZE
    from course_lib.classroom.exercises import EXERCISES

    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    exercises = [EXERCISES[name] for name in sorted(set(re.findall(r"\bcheck\.(\w+)\(", code)) & EXERCISES.keys())]
    banks = load_banks()
    asked = set(re.findall(r"\bquiz\(\s*[\"']([^\"']+)[\"']", code))
    if missing := asked - banks.decks.keys() - banks.questions.keys():
        raise ValueError(f"there is no deck or question {', '.join(sorted(missing))}")
    predictions = len(set(re.findall(r"\bpredict\(\s*[\"']([^\"']+)[\"']", code)))
    questions = sum(len(banks.decks.get(name, [name])) for name in asked)
    questions += sum(int(size or EXAM_SIZE) for size in re.findall(r"\bexam\((?:[^)]*\bsize=(\d+))?", code))
    return {
        "reading": count_words(notebook.cells) / 200,
        "exercises": sum(one.minutes for one in exercises if not one.extra),
        "questions": 0.5 * (questions + predictions),
        "running": run_minutes,
        "extra": sum(one.minutes for one in exercises if one.extra),
    }


def estimate_minutes(notebook, run_minutes: int) -> dict[str, int]:
    """Estimate how long a lesson takes: `minutes`, and `extra_minutes` for what it calls optional.

    `minutes` is the sum of all parts but `extra`, rounded up to the next 5.
    """
    parts = minutes_by_part(notebook, run_minutes)
    extra = parts.pop("extra")
    return {"minutes": 5 * math.ceil(sum(parts.values()) / 5), "extra_minutes": extra}


def fill_placeholders(notebook, run_minutes: int, **others: str) -> None:
    """Put the estimates where the text says {{minutes}} and {{extra_minutes}}, and others by their name."""
    texts = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    wanted = {name for cell in texts for name in PLACEHOLDER.findall(cell.source)}
    if not wanted:
        return
    values = estimate_minutes(notebook, run_minutes) | others
    if unknown := wanted - values.keys():
        raise ValueError(f"there is no placeholder {', '.join(sorted(unknown))}; there are {', '.join(values)}")
    for cell in texts:
        cell.source = PLACEHOLDER.sub(lambda match: str(values[match[1]]), cell.source)


def run_minutes_of(seconds: float, before: int | None) -> int:
    """Round to minutes. An earlier number that nearly fits stays, lest a noisy machine change the text."""
    if before is not None and abs(seconds - 60 * before) <= 45:
        return before
    return round(seconds / 60)
