"""The exercise of lesson 01: the rule of the Guided Storyteller, before any matrix."""

import numpy as np
import torch

from .engine import Wrong, exercise
from .families import diagnose


def may_look(i, j, prefix_len):
    """One solution: the outline is open to all; of the story, only what is already written."""
    return j < prefix_len or j <= i


REASONS = {  # before any matrix: in the words of this lesson
    "causal": "nobody looks ahead, not even on the cards",
    "all_ones": "everybody looks at everything, at words too that are not yet written",
    "transposed": "you swapped the two: i is the one that looks, j the one that is looked at",
    "inverted": "it is the opposite: True means that the look is allowed",
    "compared_query": "you asked where i lies; ask where **j** lies. As it is, the cards look into the story",
    "prefix_only": "the story may look at the cards, but not back at itself",
    "block_only": "only the cards look at each other; the story is blind",
    "two_islands": "the story cannot look at the cards: the storyteller has lost the outline",
    "no_self": "a word of the story cannot look at itself: you wrote < where <= is meant",
    "one_more": "the outline is one token too long: numbers begin at 0, so it ends before `prefix_len`",
    "one_less": "the outline is one token too short",
    "both_and": "you asked for both reasons at once; one of them is enough",
}


@exercise(
    "may_look",
    notebook="01_guided_storyteller",
    heading="The rule",
    title="Write the rule: may token i look at token j?",
    objective="guided_storyteller.rule",
    minutes=4,
    difficulty=1,
    hint="Two reasons can open a pair, and one is enough: j lies in the outline, or j is not later than i.",
    solution=may_look,
)
def judge_may_look(fn) -> str:
    def mask_of(prefix_len: int, total_len: int) -> torch.Tensor:
        rows = [[fn(i, j, prefix_len) for j in range(total_len)] for i in range(total_len)]
        for i, row in enumerate(rows):
            for j, answer in enumerate(row):
                if not isinstance(answer, (bool, np.bool_)):
                    raise Wrong(
                        "not_bool",
                        f"`may_look({i}, {j}, {prefix_len})` returned a {type(answer).__name__}; answer True or False.",
                    )
        return torch.tensor(rows, dtype=torch.bool).reshape(total_len, total_len)

    def say(i: int, j: int, may: bool) -> str:
        return (
            f"token {i} may look at token {j}, and your rule says no"
            if may
            else f"your rule lets token {i} look at token {j}"
        )

    diagnose(mask_of, say=say, reasons=REASONS)
    return "Every pair of every split agrees. You have just written a prefix mask, one cell at a time."
