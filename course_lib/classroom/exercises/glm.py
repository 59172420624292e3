"""The exercises of lesson 04: lay out one blank, then many, and mend four wrong pieces of a layout."""

from itertools import permutations

import torch

from course_lib import glm

from ..cache_words import plural
from .engine import Untouched, Wrong, exercise

NOTEBOOK = "04_glm"
MASK, START, END = "[MASK]", "[START]", "[END]"


# --- Lay out blanks ---


def one_blank(words, start, end):
    """Part A with a MASK in place of the span, then START and the span, which predict the span and END."""
    span = words[start:end]
    part_a = [*words[:start], MASK, *words[end:]]
    inputs = [*part_a, START, *span]
    targets = [*part_a, *span, END]
    positions = [*range(len(part_a)), *[start] * (len(span) + 1)]
    block_positions = [0] * len(part_a) + list(range(1, len(span) + 2))
    return inputs, targets, positions, block_positions


def many_blanks(words, spans):
    """The same with spans in the order of the text; a MASK stands where Part A is when it is put down."""
    part_a, places, end_before = [], [], 0
    for start, end in spans:
        part_a += [*words[end_before:start], MASK]
        places.append(len(part_a) - 1)
        end_before = end
    part_a += words[end_before:]
    inputs, targets, positions, blocks = [*part_a], [*part_a], [*range(len(part_a))], [0] * len(part_a)
    for (start, end), place in zip(spans, places, strict=True):
        inputs += [START, *words[start:end]]
        targets += [*words[start:end], END]
        positions += [place] * (end - start + 1)
        blocks += range(1, end - start + 2)
    return inputs, targets, positions, blocks


def _laid_out(words, spans) -> tuple[list, list, list, list]:
    """The same by the library, on the indexes of the words."""
    n = len(words)
    names = [*words, MASK, START, END]
    example = glm.blank_infilling(range(n), spans, mask_id=n, start_id=n + 1, end_id=n + 2)
    inputs, targets = ([names[id] for id in ids.tolist()] for ids in (example.tokens, example.targets))
    return inputs, targets, example.positions.tolist(), example.block_positions.tolist()


def _judge_layout(answer, words, spans) -> None:
    """Compare a learner's four lists with the right ones, and name the usual slips."""
    if not isinstance(answer, tuple | list) or len(answer) != 4 or not all(isinstance(one, list) for one in answer):
        raise Wrong("form", "Return four lists: inputs, targets, positions, block positions.")
    right = _laid_out(words, spans)
    told = f"For {' '.join(words)} and the blank{'s' if len(spans) > 1 else ''} {_spans(spans)}"
    context = len(right[0]) - sum(end - start + 1 for start, end in spans)
    part_a = right[0][:context]
    if answer[0] != right[0]:
        got = answer[0]
        if got.count(MASK) == sum(end - start for start, end in spans) != len(spans):
            raise Wrong(
                "mask_a_word", f"{told}: one MASK stands for the whole blank, however long. You wrote one a word."
            )
        if got == part_a + [word for start, end in spans for word in words[start:end]]:
            raise Wrong("no_start", f"{told}: START is missing. Who would predict the first word of the blank?")
        if END in got:
            raise Wrong("end_is_read", f"{told}: END is predicted, and never read. It belongs to the targets alone.")
        raise Wrong("inputs", f"{told}, the inputs are {' '.join(right[0])}; yours are {' '.join(map(str, got))}.")
    if answer[1] != right[1]:
        raise Wrong(
            "targets",
            f"{told}, the targets are {' '.join(right[1])}; yours are {' '.join(map(str, answer[1]))}. In Part A a "
            "token is its own target (no loss falls there). In Part B each row predicts the next word, the last END.",
        )
    if answer[2] != right[2]:
        within = [place for start, end in spans for place in [start, *range(start, end)]]
        goes_on = [place + i for place, i in zip(right[2][context:], _within(spans), strict=True)]
        kept = right[2][:context]
        original = [i for i in range(len(words)) if not any(start < i < end for start, end in spans)]
        if answer[2] in ([*kept, *within], [*original, *within], [*original, *right[2][context:]]):
            raise Wrong(
                "original_positions",
                f"{told}: these are positions in the original text. The gap that they leave tells how long the blank "
                "is. All of a blank stands where its MASK stands in Part A.",
            )
        if answer[2] == [*kept, *goes_on]:
            raise Wrong("goes_on", f"{told}: these positions go on from the MASK. A blank has one position for all.")
        if answer[2] == [*kept, *[start for start, end in spans for _ in range(end - start + 1)]]:
            raise Wrong(
                "not_shrunk",
                f"{told}: all of a blank at one position, right. But the blanks before it have shrunk to one MASK "
                "each, so it stands further left.",
            )
        if answer[2] == list(range(len(right[2]))):
            raise Wrong("plain_positions", f"{told}: these positions just go on. A blank stands where its MASK stands.")
        raise Wrong("positions", f"{told}, the positions are {right[2]}; yours are {answer[2]}.")
    if answer[3] != right[3]:
        if answer[3] == [0 if i < context else block - 1 for i, block in enumerate(right[3])]:
            raise Wrong("blocks_from_zero", f"{told}: START has block position 1. 0 is for Part A.")
        if len(spans) > 1 and answer[3][context:] == list(range(1, len(right[3]) - context + 1)):
            raise Wrong("blocks_go_on", f"{told}: block positions begin anew in each blank.")
        raise Wrong("blocks", f"{told}, the block positions are {right[3]}; yours are {answer[3]}.")


def _spans(spans) -> str:
    return " and ".join(f"{start} to {end}" for start, end in spans)


_WORDS = ["x1", "x2", "x3", "x4", "x5", "x6", "x7"]


@exercise(
    "one_blank",
    notebook=NOTEBOOK,
    heading="A text with blanks",
    title="Lay out a text with one blank",
    objective="glm.layout",
    minutes=5,
    difficulty=2,
    hint="`part_a = [*words[:start], MASK, *words[end:]]`. Behind it come START and the span. The MASK stands at "
    "position `start` of Part A.",
    solution=one_blank,
)
def judge_one_blank(fn) -> str:
    cases = [(n, start, end) for n in range(1, 8) for start in range(n) for end in range(start + 1, n + 1)]
    cases.sort(key=lambda case: case != (6, 4, 6))
    for n, start, end in cases:
        _judge_layout(fn(_WORDS[:n], start, end), _WORDS[:n], [(start, end)])
    return f"All {len(cases)} blanks in texts of up to 7 words agree with the library."


@exercise(
    "many_blanks",
    notebook=NOTEBOOK,
    heading="A text with blanks",
    title="Lay out a text with several blanks",
    objective="glm.layout",
    minutes=6,
    difficulty=3,
    hint="Walk through the spans and build Part A; when you put down a MASK, note where: `len(part_a) - 1`. Then walk "
    "again, and write Part B.",
    solution=many_blanks,
    extra=True,
)
def judge_many_blanks(fn) -> str:
    cases = []
    for n in range(1, 8):
        for chosen in range(2**n):  # every choice of blanked words
            cuts = [i for i in range(n + 1) if _blank(chosen, i) != _blank(chosen, i - 1)]
            cases.append((n, list(zip(cuts[::2], cuts[1::2], strict=True))))
    cases.sort(key=lambda case: case != (6, [(2, 3), (4, 6)]))
    for n, spans in cases:
        if spans:
            _judge_layout(fn(_WORDS[:n], list(spans)), _WORDS[:n], spans)
    return "Every choice of blanks in texts of up to 7 words agrees with the library."


def _within(spans) -> list[int]:
    """Return how far each token of Part B lies behind its START."""
    return [i for start, end in spans for i in range(end - start + 1)]


def _blank(chosen: int, i: int) -> bool:
    return i >= 0 and bool(chosen >> i & 1)


# --- Mend four pieces ---


def suspect_loss(context_len, total_len):
    return torch.arange(total_len) >= context_len - 1


def suspect_positions(spans):
    positions = []
    for start, end in spans:
        positions += [start, *range(start, end)]
    return positions


def suspect_order(spans, generator):
    return list(range(len(spans)))


def suspect_rows(span):
    return span, [*span[1:], END]


def mended_loss(context_len, total_len):
    """START, the first row of Part B, predicts the first word: no row of Part A carries loss."""
    return torch.arange(total_len) >= context_len


def mended_positions(spans):
    """Before a span, every earlier span has shrunk to one MASK."""
    positions, shrunk = [], 0
    for start, end in spans:
        positions += [start - shrunk] * (end - start + 1)
        shrunk += end - start - 1
    return positions


def mended_order(spans, generator):
    return torch.randperm(len(spans), generator=generator).tolist()


def mended_rows(span):
    return [START, *span], [*span, END]


def _untouched(answer, suspect, reason: str) -> None:
    if answer == suspect:
        raise Untouched(reason)


_MEND = {
    "notebook": NOTEBOOK,
    "heading": "Why each part is there",
    "objective": "glm.why",
    "minutes": 2,
    "difficulty": 2,
}


@exercise(
    "glm_loss",
    **_MEND,
    title="Mend the loss",
    hint="Which row predicts the first word of a blank: the last of Part A, or START?",
    solution=mended_loss,
)
def judge_loss(fn) -> str:
    cases = [(context, total) for total in range(1, 9) for context in range(1, total + 1)]
    yours = []
    for case in cases:
        answer = fn(*case)
        if not isinstance(answer, torch.Tensor) or answer.dtype != torch.bool or tuple(answer.shape) != (case[1],):
            raise Wrong("not_rows", f"Return a bool tensor of shape (total_len,), here ({case[1]},).")
        yours.append(answer.tolist())
    _untouched(
        yours,
        [suspect_loss(*case).tolist() for case in cases],
        "It scores the last row of Part A. In a plain prefix LM that row predicts the first target. Here START does.",
    )
    right = [mended_loss(*case).tolist() for case in cases]
    if yours == [[not row for row in rows] for rows in right]:
        raise Wrong("inverted", "You score Part A. It is read, and nothing in it is to be predicted.")
    if yours == [[i > context for i in range(total)] for context, total in cases]:
        raise Wrong("no_start", "START carries loss too: it predicts the first word of its blank.")
    if yours == [[context <= i < total - 1 for i in range(total)] for context, total in cases]:
        raise Wrong("last_left_out", "The last row carries loss too: it predicts END.")
    if all(all(rows) for rows in yours):
        raise Wrong("everything", "You score Part A too. It is only read.")
    if yours != right:
        case, mine = next((case, one) for case, one, wanted in zip(cases, yours, right, strict=True) if one != wanted)
        raise Wrong("rows", f"With a Part A of {case[0]} and {case[1]} rows in all, you score {mine}.")
    return "Part B carries loss, START included, and Part A never."


@exercise(
    "glm_positions",
    **_MEND,
    title="Mend the positions",
    hint="In front of a blank, every earlier blank of n words has become one MASK: n - 1 positions are gone.",
    solution=mended_positions,
)
def judge_positions(fn) -> str:
    cases = [[(4, 6)], [(2, 4)], [(0, 2), (4, 5)], [(1, 3), (4, 7)], [(0, 1), (2, 3), (4, 7)]]
    yours = [fn(list(spans)) for spans in cases]
    _untouched(
        yours,
        [suspect_positions(spans) for spans in cases],
        "These are positions in the original text: the model could read from them how long the blank is.",
    )
    for spans, mine in zip(cases, yours, strict=True):
        right = mended_positions(spans)
        if not isinstance(mine, list) or len(mine) != len(right):
            raise Wrong("form", f"Return a list with one position for START and one for each word, here {len(right)}.")
        if mine == right:
            continue
        if mine == [start for start, end in spans for _ in range(end - start + 1)]:
            raise Wrong(
                "not_shrunk",
                f"For the blanks {_spans(spans)} you wrote {mine}. All of a blank at one position: right. But the "
                "blanks before it have shrunk to one MASK each, so it stands further left.",
            )
        gone = [start - sum(b - a for a, b in spans[:i]) for i, (start, _) in enumerate(spans)]
        if mine == [place for place, (start, end) in zip(gone, spans, strict=True) for _ in range(end - start + 1)]:
            raise Wrong(
                "shrunk_too_far",
                f"For the blanks {_spans(spans)} you wrote {mine}. You took away too much: a blank of n words leaves a "
                "MASK, so only n - 1 places are gone.",
            )
        if mine[0] == right[0] and mine == [place + i for place, i in zip(right, _within(spans), strict=True)]:
            raise Wrong("goes_on", f"{mine} goes on from each MASK. All tokens of a blank have the same position.")
        raise Wrong("positions", f"For the blanks {_spans(spans)} you wrote {mine}; right is {right}.")
    return "Each blank stands where its MASK stands, and its length stays hidden."


@exercise(
    "glm_order",
    **_MEND,
    title="Mend the order",
    hint="`torch.randperm(n, generator=generator).tolist()` is a random order of n things.",
    solution=mended_order,
)
def judge_order(fn) -> str:
    spans, rng = [(0, 1), (2, 3), (4, 5)], torch.Generator().manual_seed(0)
    drawn = [fn(list(spans), rng) for _ in range(600)]
    _untouched(
        drawn,
        [[0, 1, 2]] * 600,
        "The blanks are always written in the order of the text. So the last one sees all others, and the first one "
        "never learns to see any.",
    )
    if isinstance(drawn[0], torch.Tensor):
        raise Wrong("tensor", "Return a list, not a tensor: `.tolist()` makes one of it.")
    if any(not isinstance(order, list) or sorted(order) != [0, 1, 2] for order in drawn):
        raise Wrong("not_an_order", f"Return each of 0, 1, 2 once; you returned {drawn[0]}.")
    counts = {order: drawn.count(list(order)) for order in permutations(range(3))}
    if min(counts.values()) == 0:
        missing = next(order for order, count in counts.items() if not count)
        raise Wrong("missing", f"In 600 draws the order {list(missing)} never came. All six should.")
    if max(counts.values()) > 200 or min(counts.values()) < 50:  # 100 are expected; chance does not go so far
        raise Wrong("uneven", f"All six orders should come equally often; yours came {list(counts.values())} times.")
    rng = (torch.Generator().manual_seed(1) for _ in range(2))
    if len({tuple(tuple(fn(list(spans), one)) for _ in range(9)) for one in rng}) > 1:
        raise Wrong("unseeded", "The same seed gave other orders: the `generator` is not used. Pass it on.")
    return "All six orders of three blanks come equally often."


@exercise(
    "glm_rows",
    **_MEND,
    extra=True,
    title="Mend the rows of a blank",
    hint="Read START and then the words; predict the words and then END. Both lists are one longer than the span.",
    solution=mended_rows,
)
def judge_rows(fn) -> str:
    cases = [["x3"], ["x5", "x6"], ["x1", "x2", "x3"]]
    yours = []
    for span in cases:
        answer = fn(list(span))
        if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(isinstance(one, list) for one in answer):
            raise Wrong("form", "Return two lists: the inputs and the targets of the blank.")
        yours.append(tuple(map(list, answer)))
    _untouched(
        yours,
        [suspect_rows(span) for span in cases],
        "The first word of the blank is read before anybody has predicted it.",
    )
    for span, (inputs, targets) in zip(cases, yours, strict=True):
        if END in inputs:
            raise Wrong("end_is_read", "END is predicted, and never read: behind it the blank is closed.")
        if START in targets:
            raise Wrong("start_is_predicted", "START is read, and never predicted: it opens the blank.")
        if inputs == [START, *span] and targets == [*span[1:], END]:
            raise Wrong("first_word", "START has a row now, and nobody predicts the first word. It is START's target.")
        if len(inputs) != len(targets):
            raise Wrong(
                "lengths", f"{plural(len(inputs), 'input')}, {plural(len(targets), 'target')}: every row needs both."
            )
        if inputs == [START, *span[:-1]] and targets == span:
            raise Wrong("no_end", "Nobody predicts END. How would the model know when to stop?")
        if (inputs, targets) != ([START, *span], [*span, END]):
            raise Wrong(
                "rows",
                f"For {' '.join(span)} you read {' '.join(map(str, inputs))}, and predict "
                f"{' '.join(map(str, targets))}.",
            )
    return "START predicts the first word, and the last word predicts END."
