"""Which questions an exam asks: a pure function of the banks, the learner's record, a seed and a size.

Drawn from are the questions of all lessons that the course can mark. Those of lesson 08 and the chapter's five are
asked beside the exam, and one's own words are compared, not marked. Questions are drawn one by one, each time

1. one that was missed, from whichever lesson, while there is one (see `standing`);
2. else one from a lesson that has not had its share, an equal part of the exam rounded up, while there is one,
3. one that was never answered; else any,
4. from the lesson that has the fewest so far,
5. of a kind that was not drawn yet, until there are three kinds,
6. of the objective that has the fewest so far,
7. of those known, the one that was answered longest ago,
8. and then by lot: that is all that the seed decides.

Those that were missed are asked first, and new ones next.
"""

import math
import random
from collections import Counter
from numbers import Integral

from .._check import short
from .banks import load_banks

MISSED, NEW, KNOWN = range(3)
KINDS_WANTED = 3
NOT_DRAWN = ("chapter", "wrap_up")  # banks


def standing(entry: dict | None) -> int:
    """Return where a question stands, by its entry in the record: MISSED, NEW or KNOWN.

    Missed is what was not right when it was last answered, or only at the second try. It is known again when it was
    right at once. A question that was begun anew (status new) is judged by what there is of it otherwise.
    """
    if entry is None:
        return NEW
    last = entry["last"]
    if last["status"] == "new":
        return KNOWN if entry["right"] else MISSED if entry["tries"] else NEW
    return KNOWN if last["status"] == "right" and last["tries"] <= 1 else MISSED


def exam_pool() -> dict[str, dict]:
    """Return the questions that an exam draws from, by id."""
    return {
        key: question
        for key, question in load_banks().questions.items()
        if question["kind"] != "words" and key.split(".")[0] not in NOT_DRAWN
    }


def draw(record: dict, *, seed: int, size: int) -> list[dict]:
    """Return `size` different questions by the rule above, in the order in which they are asked.

    record: as `progress.snapshot()` returns it; what it says of questions that there are not is not looked at.
    """
    pool = exam_pool()
    for name, value in (("seed", seed), ("size", size)):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"{name} = {short(value)}: must be a whole number")
    if not 1 <= size <= len(pool):
        raise ValueError(f"size = {short(size)}: allowed are 1 to {len(pool)}, as many as there are to draw from")
    lot = random.Random(int(seed))
    lots = {key: lot.random() for key in sorted(pool)}
    stands = {key: standing(record["questions"].get(key)) for key in pool}
    share = math.ceil(size / len({lesson_of(question) for question in pool.values()}))
    lessons, objectives, kinds, drawn = Counter(), Counter(), set(), []

    def rank(key: str) -> tuple:
        question = pool[key]
        had = lessons[lesson_of(question)]
        waits = stands[key] != MISSED and had >= share
        old_kind = len(kinds) < KINDS_WANTED and question["kind"] in kinds
        asked = record["questions"][key]["when"] if stands[key] == KNOWN else ""
        return waits, stands[key], had, old_kind, objectives[question["objective"]], asked, lots[key]

    while len(drawn) < size:
        key = min(pool.keys() - set(drawn), key=rank)
        drawn.append(key)
        lessons[lesson_of(pool[key])] += 1
        objectives[pool[key]["objective"]] += 1
        kinds.add(pool[key]["kind"])
    return [pool[key] for key in sorted(drawn, key=stands.__getitem__)]


def lesson_of(question: dict) -> str:
    """Return the notebook that teaches a question."""
    return question["taught"]["notebook"]
