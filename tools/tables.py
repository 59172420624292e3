"""The tables of README.md and docs/teaching.md whose numbers are counted or measured: written here, never typed.

    python tools/tables.py             write them
    python tools/tables.py --check     write nothing; exit status 1 if one is not what it would be

A table stands between <!-- NAME: ... --> and <!-- /NAME -->. Minutes are by the rule of lesson_time.py, from the built
notebooks; what is measured comes from the records that `make bench` writes. Where there is no record, the table says
that it was not measured yet. `make notebooks` and `make bench` write the tables anew.
"""

import json
import re
import sys
from pathlib import Path

import nbformat
from lesson_time import estimate_minutes, minutes_by_part

from course_lib._files import write_whole

ROOT = Path(__file__).resolve().parent.parent
NOT_YET = "not measured yet"
MEETINGS = (("00", "01", "02"), ("03", "04"), ("05", "06"), ("07", "08"))  # lessons of each meeting
MEETING_MINUTES = 90


class TableError(Exception):
    """Why the tables cannot be written, in words."""


def lesson_times(notebooks: Path = ROOT / "notebooks") -> dict[str, dict[str, float]]:
    """Return, for each built lesson, its minutes as a whole and by part."""
    found = {}
    for path in sorted(notebooks.glob("[0-9]*.ipynb")):
        try:
            notebook = nbformat.read(path, as_version=4)
            run_minutes = notebook.metadata["course"]["run_minutes"]
        except Exception as error:  # nbformat raises whatever it stumbles over
            raise TableError(f"{path.name} was not built by make notebooks ({error!r})") from None
        found[path.stem] = minutes_by_part(notebook, run_minutes) | estimate_minutes(notebook, run_minutes)
    return found


def read_record(name: str, folder: Path = ROOT / "benchmarks") -> dict | None:
    """Return a record of `make bench`, or None if there is none."""
    path = folder / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def write_record(path: Path, command: str, **found) -> None:
    """Write what was measured here and now, with the machine, the date and the command, and the tables anew."""
    import torch  # here alone: it takes a second, and --check does without

    from course_lib.training_record import machine, today

    where = {"machine": machine(torch.device("cpu")), "date": today(), "command": command}
    write_whole(path, json.dumps(where | found, indent=1) + "\n")
    write_all()


def rows(head: tuple[str, ...], body) -> str:
    lines = ["| " + " | ".join(str(cell) for cell in line) + " |" for line in (head, *body)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def budgets(times: dict, lessons: dict | None, lab: dict | None, explorer: dict | None) -> str:
    """What a lesson takes of a learner's time and of a machine; how long `make lab` and a key press take."""
    head, measured = ["lesson", "minutes", "optional"], lessons["lessons"] if lessons else {}
    if lessons:
        head += ["seconds to run all cells", "peak memory"]
    body = []
    for name, parts in times.items():
        run = [NOT_YET, NOT_YET] if lessons else []  # a lesson that came after the record
        if name in measured:
            run = [f"{measured[name]['seconds']:.0f}", f"{measured[name]['kernel_mib']} MiB"]
        body.append([name[:2], parts["minutes"], parts["extra_minutes"] or "", *run])
    totals = [sum(parts[key] for parts in times.values()) for key in ("minutes", "extra_minutes")]
    paragraphs = [rows(head, [*body, ["all", *totals, *[""] * (len(head) - 3)]])]
    said = f"{NOT_YET}."
    if lessons:
        said = f"on {where(lessons)}."
        if more := [name for name, one in measured.items() if one["all_mib"] > 1.2 * one["kernel_mib"]]:
            shares = [f"{name[:2]}: {measured[name]['all_mib']} MiB" for name in more]
            said += f" With the processes that a lesson starts, each counted in full, {', '.join(shares)}."
        said += f" The kernels of all lessons, none of them ended, hold {lessons['open_mib']} MiB together."
    paragraphs.append(f"Seconds and peak memory of each notebook's kernel: {said}")
    said = f"{NOT_YET}."
    if lab:
        said = (
            f"{lab['first_seconds']:.0f} s, downloads included, and then {lab['again_seconds']:.0f} s, on {where(lab)}."
        )
    paragraphs.append(f"`make lab` from nothing until JupyterLab answers, and once more: {said}")
    said = f"{NOT_YET}."
    if explorer:
        counts = [f"{row['painted_median_ms']:.0f} ms with {row['tokens']}" for row in explorer["rows"]]
        said = f"{', '.join(counts)} tokens, on {where(explorer)}, Chromium {explorer['chromium']}."
    paragraphs.append(f"The mask explorer, from a key press to the picture, median: {said}")
    return "\n\n".join(paragraphs)


def where(record: dict) -> str:
    return f"{record['machine']}, {record['date']}, by `{record['command']}`"


def parts_table(times: dict) -> str:
    """Where a lesson's minutes go."""
    keys = ("reading", "exercises", "questions", "running")
    body = [
        (name[:2], *(f"{parts[key]:.0f}" for key in keys), parts["minutes"], parts["extra_minutes"] or "")
        for name, parts in times.items()
    ]
    return rows(("lesson", *keys, "minutes", "optional"), body)


def plan(times: dict) -> str:
    """Meetings of one length, with what is left for talking."""
    minutes = {name[:2]: parts["minutes"] for name, parts in times.items()}
    if missing := minutes.keys() - {number for meeting in MEETINGS for number in meeting}:
        raise TableError(f"the plan of meetings leaves out lesson {', '.join(sorted(missing))}")
    body = []
    for number, meeting in enumerate(MEETINGS, 1):
        lessons = [lesson for lesson in meeting if lesson in minutes]
        working = sum(minutes[lesson] for lesson in lessons)
        if working > MEETING_MINUTES:
            raise TableError(f"meeting {number} takes {working} minutes, and there are {MEETING_MINUTES}")
        body.append((number, ", ".join(lessons), working, MEETING_MINUTES - working))
    return rows(("meeting", "lessons", "minutes of the lessons", f"left of {MEETING_MINUTES}"), body)


def with_table(text: str, name: str, table: str) -> str:
    """Return a text with a table in its place."""
    block = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(\n<!-- /{name} -->)", re.DOTALL)
    text, count = block.subn(lambda match: f"{match[1]}\n{table}\n{match[2]}", text)
    if count != 1:
        raise TableError(f"there are {count} places for the table <!-- {name}: ... --> <!-- /{name} -->, not 1")
    return text


def write_all(root: Path = ROOT, check: bool = False) -> list[str]:
    """Write every table in its place; return the files that were not as they should be. `check` writes nothing."""
    times = lesson_times(root / "notebooks")
    records = [read_record(name, root / "benchmarks") for name in ("lessons", "lab", "explorer")]
    wanted = {
        "README.md": {"budgets": budgets(times, *records)},
        "docs/teaching.md": {"lesson-times": parts_table(times), "plan": plan(times)},
    }
    changed = []
    for name, tables in wanted.items():
        path = root / name
        before = after = path.read_text("utf-8")
        for table, content in tables.items():
            after = with_table(after, table, content)
        if after != before:
            changed.append(name)
            if not check:
                path.write_text(after, "utf-8")
    return changed


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    check = bool(arguments)
    try:
        changed = write_all(check=check)
    except TableError as error:
        print(error, file=sys.stderr)
        return 1
    for name in changed:
        print(f"{name}: its tables {'are not up to date; run make notebooks' if check else 'were written'}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
