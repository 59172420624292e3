"""How far a class is, by lesson and objective, from the progress files that its learners exported.

    python tools/class_report.py exports/               every *.json of a folder
    python tools/class_report.py ada.json bo.json       these files

Names of learners are neither needed nor shown. A file is refused, in words, if it is anything else than progress. Of
two files with the same content one counts. Exit status 1 if a file was refused, 2 if none was left.
"""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

from course_lib.classroom.panel import summary
from course_lib.classroom.progress_file import SECTIONS, read, to_text

MOST_FILES = 2000
SHOWN_QUESTIONS = 5


@dataclass
class Class:
    """The records of a class, and the files that are none, each with the reason."""

    records: list[dict] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    doubles: int = 0


def files_of(paths: list[Path]) -> list[Path]:
    """Return the files that are meant: those named, and every *.json of the folders named."""
    found = []
    for path in paths:
        try:
            folder = path.is_dir() and not path.is_symlink()
        except OSError:  # such as a name that is too long; `gather` says it
            folder = False
        found += sorted(path.glob("*.json")) if folder else [path]
    if len(found) > MOST_FILES:
        raise ValueError(f"there are {len(found)} files, more than the {MOST_FILES} that this reads")
    return found


def gather(files: list[Path]) -> Class:
    """Read every file; what cannot be used is named with its reason, and nothing is raised."""
    group, seen = Class(), set()
    for path in files:
        try:
            if path.is_symlink() or not path.is_file():
                raise ValueError("it is no plain file" if path.is_symlink() or path.exists() else "it is not there")
            record = read(path)
        except (ValueError, OSError) as error:
            group.refused[str(path)] = getattr(error, "strerror", None) or str(error)
            continue
        text = to_text(record, sort_keys=True)
        if not any(record[section] for section in SECTIONS):
            group.refused[str(path)] = "it holds no answers yet"
        elif text in seen:
            group.doubles += 1
        else:
            seen.add(text)
            group.records.append(record)
    return group


def report(group: Class) -> str:
    """Say in lines of text how far the class is."""
    lines = [f"{counted(len(group.records), 'learner')}."]
    if group.doubles:
        lines.append(f"{counted(group.doubles, 'file')} left out, the same as another.")
    lines += [printable(f"refused: {name}: {reason}") for name, reason in group.refused.items()]
    for lessons in zip(*(summary(record) for record in group.records), strict=True):
        begun = [one for one in lessons if one["right"] or one["done"]]
        lines += ["", f"{lessons[0]['title']}: {len(begun)} of {len(lessons)} have something right"]
        if not begun:
            continue
        for place, objective in enumerate(lessons[0]["objectives"]):
            done = [one["objectives"][place]["done"] for one in begun]
            share = sum(done) / (len(done) * objective["all"])
            whole = sum(number == objective["all"] for number in done)
            lines.append(f"  {share:4.0%}  all by {whole} of {len(begun)}  {objective['text']}")
    if hard := hardest(group.records):
        lines += ["", "Questions tried and not got right, by most learners:"]
        lines += [f"  {name}: {missed} of {tried} who tried" for name, missed, tried in hard]
    return "\n".join(lines)


def hardest(records: list[dict]) -> list[tuple[str, int, int]]:
    """Return the questions that most learners tried without getting them right: id, these learners, all who tried."""
    from course_lib.classroom.banks import load_banks

    found = []
    for name in load_banks().questions:
        tried = [record["questions"][name] for record in records if record["questions"].get(name, {}).get("tries")]
        missed = sum(not one["right"] for one in tried)
        if missed:
            found.append((name, missed, len(tried)))
    return sorted(found, key=lambda one: (-one[1], one[0]))[:SHOWN_QUESTIONS]


def printable(text: str) -> str:
    """A file chooses its name and its words; what would steer a terminal becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="exported progress files, or folders of them")
    options = parser.parse_args(arguments)
    try:
        group = gather(files_of(options.paths))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(report(group))
    return (1 if group.refused else 0) if group.records else 2


if __name__ == "__main__":
    sys.exit(main())
