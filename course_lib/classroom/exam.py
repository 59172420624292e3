"""The exam: a deck drawn from every lesson, marked like any other, but begun anew whatever was answered before."""

from . import exam_draw
from .progress import progress
from .progress_file import empty
from .quiz import QuizDeck

SIZE = 12


def exam(seed: int = 0, size: int = SIZE) -> "ExamDeck":
    """Return an exam of `size` questions, to be shown in a cell.

    It is drawn from the questions of all lessons: first what you missed, then what you never answered, then what you
    answered longest ago, spread over lessons, objectives and kinds (`exam_draw` has the rule). The same seed and the
    same progress give the same exam. Your answers are kept, so the next exam is another one.
    """
    return ExamDeck(exam_draw.draw(progress.snapshot(), seed=seed, size=size))


class ExamDeck(QuizDeck, source="quiz"):
    """A deck that asks all its questions as new, and says how the exam stands."""

    def __init__(self, questions: list[dict]):
        record = progress.snapshot()["questions"]
        stands = [exam_draw.standing(record.get(question["id"])) for question in questions]
        self._drawn = ", ".join(
            f"{stands.count(stand)} {words}"
            for stand, words in (
                (exam_draw.MISSED, "that you missed before"),
                (exam_draw.NEW, "new to you"),
                (exam_draw.KNOWN, "that you knew"),
            )
            if stand in stands
        )
        self._lessons = len({exam_draw.lesson_of(question) for question in questions})
        super().__init__(questions)
        self.title, self.summary = "Exam", self.in_words()

    def refresh(self, record: dict) -> None:
        """Begin with nothing answered. After that the exam is its own: what other cells record does not change it."""
        if not self._at:
            super().refresh(empty())
        self.notice = progress.notice

    def in_words(self) -> str:
        """Say how many questions are answered, and how well."""
        states = [self._at[question] for question in self._bank]
        done = [at for at in states if at["status"] in ("right", "shown")]
        count = f"{len(states)} question{'s' if len(states) > 1 else ''}"
        if not done:
            lessons = f"{self._lessons} lesson{'s' if self._lessons > 1 else ''}"
            return f"{count} from {lessons}: {self._drawn}."
        right = [at["tries"] for at in done if at["status"] == "right"]
        how = f"{right.count(1)} right at once, {len(right) - right.count(1)} at the second try"
        how += f", {len(done) - len(right)} not right."
        if len(done) < len(states):
            return f"{len(done)} of {count} answered: {how}"
        return f"All {count} answered: {how} Run the cell again for another exam; what you missed comes first."

    def describe(self) -> str:
        return super().describe().replace("Quiz:", "Exam:", 1)

    def _keep(self, question: dict, status: str, tries: int, response) -> None:
        at = self._at[question["id"]]
        if at["status"] == "new" and status != "new":  # answered here for the first time, perhaps elsewhere before
            progress.record_question(question["id"], status="new", tries=0, response=None)
        super()._keep(question, status, tries, response)
        self.summary = self.in_words()
