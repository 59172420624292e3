"""Quizzes: a deck of questions in a cell. Python marks (see `grading`) and keeps the answers; the browser only shows.

A question is new, missed (once), right, or shown: the hint is offered after the first miss, the answer and the
explanation come after the second. Before that they are not in the browser at all. Every state is kept in `progress`
and comes back when the cell is run again.
"""

import difflib
import html
from urllib.parse import quote

import traitlets

from .._check import short
from . import rich
from .banks import load_banks
from .grading import RefusedError, grade, reveal, shown_order, written
from .progress import progress
from .widgets import OURS, CourseWidget

__all__ = ["QuizDeck", "quiz"]


def quiz(name: str) -> "QuizDeck":
    """Return the deck `name` ("prefix_mask.cost"), or one question by its id, to be shown in a cell.

    Raises TypeError for anything but a string, ValueError for a name that no bank has; it lists what there is.
    """
    banks = load_banks()
    if not isinstance(name, str):
        raise TypeError(f"name = {short(name)}: a deck or question is named by a string such as 'prefix_mask.cost'")
    if name in banks.decks:
        return QuizDeck([banks.questions[question] for question in banks.decks[name]])
    if name in banks.questions:
        return QuizDeck([banks.questions[name]])
    raise ValueError(unknown("name", name, {"decks": banks.decks, "questions": banks.questions}))


def unknown(argument: str, name: str, known: dict) -> str:
    """Say that a name is unknown, what may have been meant, and what there is."""
    names = [each for group in known.values() for each in group]
    close = difflib.get_close_matches(name[:200], names, n=1)
    meant = f" Did you mean {close[0]!r}?" if close else ""
    lists = "; ".join(f"{title}: {', '.join(sorted(group)) or 'none'}" for title, group in known.items())
    return f"{argument} = {short(name)}: no bank has it.{meant} There are {lists}"


class QuizDeck(CourseWidget, source="quiz"):
    """The widget of a deck. `questions` is what may be seen before answering; `states` is where the learner stands."""

    questions = traitlets.List().tag(**OURS)
    states = traitlets.Dict().tag(**OURS)
    current = traitlets.Any(0).tag(sync=True)  # which question is open, and what is chosen but not checked:
    drafts = traitlets.Any().tag(sync=True)  # the browser's own, kept here so that they outlive a reload of the page
    notice = traitlets.Unicode().tag(**OURS)
    title = traitlets.Unicode().tag(**OURS)  # a lesson has several quizzes: a screen reader tells them apart by it
    summary = traitlets.Unicode().tag(**OURS)  # how the whole deck stands, in words; an exam says it

    def __init__(self, questions: list[dict]):
        self._bank = {question["id"]: question for question in questions}
        self._at: dict[str, dict] = {}
        self._serial = 0
        title = f"Quiz: {questions[0]['taught']['heading']}"
        super().__init__(questions=[public(question) for question in questions], drafts={}, title=title)
        with progress.lock:
            self.refresh(progress.snapshot())
            self.current = next(
                (i for i, q in enumerate(questions) if self._at[q["id"]]["status"] in ("new", "missed")), 0
            )
        progress.watch(self)
        self.on_msg(self._receive)

    def refresh(self, record: dict) -> None:
        """Take over what `record` says of these questions; another deck, Restore or Reset may have changed it."""
        with progress.lock:
            changed = {}
            for question_id, question in self._bank.items():
                at = _resume(question, record["questions"].get(question_id, {}).get("last"))
                mine = self._at.get(question_id)
                if mine is None or {**mine, "hint": False} != at:
                    self._at[question_id] = at
                    changed[question_id] = self._state(question_id)
            if changed:
                self.states = {**self.states, **changed}
            self.notice = progress.notice

    def describe(self) -> str:
        """The questions as plain text, without their answers."""
        count = len(self._bank)
        lines = [f"Quiz: {count} question{'s' if count > 1 else ''}."]
        for n, question in enumerate(self._bank.values(), 1):
            lines.append(f"{n}. {rich.plain(question['prompt'])}")
            lines += [f"   - {rich.plain(each)}" for each in _listed(question)]
        return "\n".join(lines)

    def fallback(self) -> dict[str, str | bytes]:
        """The questions to read without a kernel, the answers folded away. The same whatever the learner has done."""
        return {"text/html": "\n".join(_static(n, question) for n, question in enumerate(self._bank.values(), 1))}

    def _receive(self, _, content, buffers) -> None:
        question_id = content.get("id") if isinstance(content, dict) else None
        if not isinstance(question_id, str) or question_id not in self._bank:
            return
        with progress.lock:
            note = ""
            try:
                note = self._act(self._bank[question_id], self._at[question_id], content) or ""
            except RefusedError as refusal:
                note = str(refusal)
            self.states = {**self.states, question_id: self._state(question_id, note)}
            self.notice = progress.notice

    def _act(self, question: dict, at: dict, content: dict) -> None:
        """Do what the browser asks. A message that came late or twice finds another state, and changes nothing."""
        action, status = content.get("type"), at["status"]
        attempt, response = content.get("attempt"), content.get("response")
        if action == "submit" and status in ("new", "missed") and attempt == at["tries"] + 1:
            if status == "missed" and response == at["response"]:
                raise RefusedError("That is the answer you just gave. Choose another one.")
            if question["kind"] == "words":
                self._keep(question, "shown", 1, {"text": written(response), "ticks": []})
            else:
                right = grade(question, response).right
                tries = at["tries"] + 1
                self._keep(question, "right" if right else "missed" if tries == 1 else "shown", tries, response)
        elif action == "tick" and question["kind"] == "words" and status in ("right", "shown"):
            response = {**at["response"], "ticks": content.get("ticks")}
            self._keep(question, "right" if grade(question, response).right else "shown", 1, response)
        elif action == "hint" and status == "missed":
            at["hint"] = True
        elif action == "again" and status in ("right", "shown"):
            self._keep(question, "new", 0, None)

    def _keep(self, question: dict, status: str, tries: int, response) -> None:
        at = {"status": status, "tries": tries, "response": response, "hint": self._at[question["id"]]["hint"]}
        self._at[question["id"]] = at if status == "missed" else {**at, "hint": False}
        progress.record_question(question["id"], status=status, tries=tries, response=response)

    def _state(self, question_id: str, note: str = "") -> dict:
        """Everything that the browser may know about a question now."""
        question, at = self._bank[question_id], self._at[question_id]
        self._serial += 1
        state = {**at, "serial": self._serial, "note": note, "feedback": []}
        if at["status"] != "new" and question["kind"] != "words":
            state["feedback"] = [rich.parse(text) for text in grade(question, at["response"]).feedback]
        state["hint"] = rich.parse(question["hint"]) if at["hint"] else None
        state["can_hint"] = at["status"] == "missed" and "hint" in question and not at["hint"]
        if at["status"] in ("right", "shown"):
            answer = reveal(question)
            if "model" in answer:
                answer = {"model": rich.parse(answer["model"]), "checklist": list(map(rich.parse, answer["checklist"]))}
            state["answer"] = answer
            state["explanation"] = rich.parse(question["explanation"]) if "explanation" in question else []
        return state


def public(question: dict) -> dict:
    """Return what the browser may know about a question from the start: nothing that gives the answer away."""
    taught, kind = question["taught"], question["kind"]
    seen = {
        "id": question["id"],
        "kind": kind,
        "prompt": rich.parse(question["prompt"]),
        "taught": {**taught, "href": link(taught)},
    }
    if kind in ("choice", "choices"):
        seen["options"] = [rich.parse(option["text"]) for option in question["options"]]
    elif kind == "number":
        seen["unit"] = question.get("unit", "")
    elif kind == "mask":
        seen["total"] = len(reveal(question)["rows"])
        seen["tokens"] = question.get("tokens", [])
    elif kind == "order":
        seen["items"] = [rich.parse(question["items"][i]) for i in shown_order(question)]
    return seen


def link(taught: dict) -> str:
    """Return the address of a heading as JupyterLab builds it: the spaces of its text become dashes."""
    return f"{taught['notebook']}.ipynb#{quote(taught['heading'].replace(' ', '-'))}"


def _resume(question: dict, last: dict | None) -> dict:
    """Return the state to go on from. What no longer fits the question (it was edited since) starts anew."""
    new = {"status": "new", "tries": 0, "response": None, "hint": False}
    if last is None or last["status"] == "new":
        return new
    try:
        right = grade(question, last["response"]).right
    except RefusedError:
        return new
    consistent = right == (last["status"] == "right") and (last["status"] != "missed" or last["tries"] == 1)
    return {**last, "hint": False} if consistent else new


def _listed(question: dict) -> list:
    if "options" in question:
        return [option["text"] for option in question["options"]]
    return [question["items"][i] for i in shown_order(question)] if "items" in question else []


def _static(number: int, question: dict) -> str:
    listed = "".join(f"<li>{rich.to_html(each)}</li>" for each in _listed(question))
    taught = question["taught"]
    answer = f"<p>{_answer_html(question)}</p>"
    if "explanation" in question:
        answer += f"<p>{rich.to_html(question['explanation'])}</p>"
    where = f'<a href="{html.escape(link(taught))}">{html.escape(taught["heading"])}</a>'
    return (
        f"<div><p><strong>Question {number}.</strong> {rich.to_html(question['prompt'])}</p>"
        f"{f'<ul>{listed}</ul>' if listed else ''}"
        f"<details><summary>Answer</summary>{answer}<p>Taught in: {where}</p></details></div>"
    )


def _answer_html(question: dict) -> str:
    answer = reveal(question)
    if "right" in answer:
        return "; ".join(rich.to_html(question["options"][i]["text"]) for i in answer["right"])
    if "rows" in answer:
        return "<br>".join(f"<code>{' '.join(map(str, row))}</code>" for row in answer["rows"])
    if "order" in answer:
        return "; then ".join(rich.to_html(item) for item in question["items"])
    return rich.to_html(answer["model"]) if "model" in answer else html.escape(answer["text"])
