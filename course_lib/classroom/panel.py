"""The progress panel: how far the learner is in each lesson and objective, with Export, Restore and Reset."""

import html

import traitlets

from .banks import Banks, load_banks
from .course_map import LESSONS
from .progress_file import MAX_BYTES
from .widgets import OURS, CourseWidget


def summary(record: dict) -> list[dict]:
    """Count what is done of what there is, lesson by lesson; a question counts where it is asked first.

    Totals come from the banks and from the exercises. What a record holds beyond these (an older or a newer course) is
    kept in the file and not counted.
    """
    from .exercises import EXERCISES  # they record their own progress

    banks, lessons = load_banks(), {}
    asked = _asked_in(banks)
    for question in banks.questions.values():
        lesson = _lesson(lessons, asked.get(question["id"], question["taught"]["notebook"]))
        right = record["questions"].get(question["id"], {}).get("right", False)
        lesson["questions"] += 1
        lesson["right"] += right
        _objective(lesson, question["objective"], right)
    for name, exercise in EXERCISES.items():
        lesson = _lesson(lessons, exercise.notebook)
        done = record["exercises"].get(name, {}).get("state") == "right"
        lesson["exercises"] += 1
        lesson["done"] += done
        _objective(lesson, exercise.objective, done)
    for lesson in lessons.values():
        counts = lesson["objectives"]  # they are shown in the order in which the lesson states them
        lesson["objectives"] = [counts[key] | {"text": text} for key, text in banks.objectives.items() if key in counts]
    return [lessons[name] for name in sorted(lessons)]


def _asked_in(banks: Banks) -> dict[str, str]:
    """Return the notebook that asks each question first: the one whose bank has it in a deck."""
    asked = {}
    for lesson in LESSONS:
        for deck, ids in banks.decks.items():
            if deck.split(".")[0] == lesson.notebook[3:]:
                asked = dict.fromkeys(ids, lesson.notebook) | asked
    return asked


def words(lessons: list[dict]) -> str:
    """Say a summary in sentences."""
    if not lessons:
        return "Your progress: there is nothing to answer yet."
    parts = []
    for lesson in lessons:
        counts = [f"questions right {lesson['right']} of {lesson['questions']}"] if lesson["questions"] else []
        counts += [f"exercises done {lesson['done']} of {lesson['exercises']}"] if lesson["exercises"] else []
        parts.append(f"{lesson['title']}: {', '.join(counts)}.")
    return "Your progress. " + " ".join(parts)


class ProgressPanel(CourseWidget, source="progress"):
    """What `progress` shows in a cell. It follows every answer given in this kernel."""

    lessons = traitlets.List().tag(**OURS)
    notice = traitlets.Unicode().tag(**OURS)
    where = traitlets.Unicode().tag(**OURS)

    def __init__(self, progress):
        self._progress = progress
        super().__init__(where=str(progress.path))
        self.refresh(progress.snapshot())
        progress.watch(self)
        self.on_msg(self._receive)

    def refresh(self, record: dict) -> None:
        """Show this record."""
        self.lessons, self.notice = summary(record), self._progress.notice

    def describe(self) -> str:
        return repr(self._progress)

    def fallback(self) -> dict[str, str | bytes]:
        rows = "".join(
            f"<tr><td>{html.escape(lesson['title'])}</td><td>{lesson['questions']}</td><td>{lesson['exercises']}</td></tr>"
            for lesson in self.lessons
        )
        head = "<tr><th>lesson</th><th>questions</th><th>exercises</th></tr>"
        return {"text/html": f"<p>Run this notebook to see your progress. There are:</p><table>{head}{rows}</table>"}

    def _receive(self, _, content, buffers) -> None:
        if not isinstance(content, dict):
            return
        action, number = content.get("type"), content.get("number")
        reply = {"type": "done", "number": number if isinstance(number, int) else 0, "text": "", "file": None}
        try:
            if action == "export":
                reply["file"] = self._progress.export_text()
            elif action == "restore":
                reply["text"] = self._progress.restore_text(_text(content.get("text")))
            elif action == "reset":
                reply["text"] = self._progress.reset(content.get("confirm", ""))
            elif action == "refresh":
                self.refresh(self._progress.snapshot())
            else:
                return
        except ValueError as error:
            reply.update(type="refused", text=f"Nothing was changed: {error}.")
        self.send(reply)


def _text(value) -> str:
    if not isinstance(value, str):
        raise ValueError(f"the file must be text, at most {MAX_BYTES // 1_000_000} MB")
    return value


def _lesson(lessons: dict, notebook: str) -> dict:
    title = next(f"{each.number} {each.title}" for each in LESSONS if each.notebook == notebook)
    new = {
        "notebook": notebook,
        "title": title,
        "right": 0,
        "questions": 0,
        "done": 0,
        "exercises": 0,
        "objectives": {},
    }
    return lessons.setdefault(notebook, new)


def _objective(lesson: dict, objective: str, done: bool) -> None:
    counts = lesson["objectives"].setdefault(objective, {"done": 0, "all": 0})
    counts["all"] += 1
    counts["done"] += done
