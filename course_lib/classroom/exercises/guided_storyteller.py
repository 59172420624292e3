"""The exercise of lesson 01: the rule of the Guided Storyteller, before any matrix."""

import torch

from .engine import Wrong, exercise
from .families import diagnose


def may_look(i, j, prefix_len):
    """One solution: the outline is open to all; of the story, only what is already written."""
    return j < prefix_len or j <= i


@exercise(
    "may_look",
    notebook="01_guided_storyteller",
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
                if type(answer) is not bool:
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

    diagnose(mask_of, say=say)
    return "Every pair of every split agrees. You have just written a prefix mask, one cell at a time."
