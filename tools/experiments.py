"""Train every comparison that a lesson shows, over several seeds, and write what came of it to classroom/results/.

    experiments.py                 all of them, on two threads
    experiments.py prefix_lm --seeds 3

A record holds config, seeds, values, machine, date and command. Lessons draw it; a test runs the first steps of one arm
of each comparison again, and compares them with the record.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import torch

from course_lib import arms, blank_arms
from course_lib import recall as recall_task
from course_lib.classroom import evidence
from course_lib.data import encode_story, python_docs, story_vocabulary
from course_lib.layers import BLOCKS
from course_lib.objectives import prefix_lm_batch
from course_lib.regression import REGRESSION, relative_error, train_regression
from course_lib.training import target_loss
from course_lib.training_record import machine, today

FIRST = 20  # so many losses are kept as they are, for the test
OUTLINE = "Omar, bat, queen, wind, island, secret."  # held out; every arm writes a story from it


def prefix_lm(seeds: int) -> dict:
    """Lesson 03: three arms on two texts, and P fixed against P drawn."""
    runs, sweep = [], []
    lengths = [1, *range(8, arms.TEXT["window_len"], 8)]  # the last leaves 8 tokens of each window to measure
    windows = arms.corpus().held_out

    def at_every_prefix(trained: str, run) -> None:
        losses = [round(target_loss(run.model, prefix_lm_batch(windows, P)), 4) for P in lengths]
        sweep.append({"trained": trained, "seed": run.record.seed, "losses": losses, **_cost(run.record)})
        print(sweep[-1], flush=True)

    for seed in range(seeds):
        for arm in arms.ARMS:
            run = arms.storyteller_run(seed, arm)
            measured = run.train().evaluations[-1]
            kept = {"cards_kept": round(measured["cards kept"], 4), "story": _story(run, arm)}
            runs.append(_measured("stories", arm, run.record) | kept)
            print(runs[-1], flush=True)
        for arm in arms.ARMS:
            run = arms.text_run(seed, arm)
            run.train()
            runs.append(_measured("docs", arm, run.record))
            print(runs[-1], flush=True)
        at_every_prefix("drawn", run)  # the last arm is the prefix LM with P drawn
        run = arms.text_run(seed, arms.ARMS[2], prefix=arms.FIXED_PREFIX)
        run.train()
        at_every_prefix("fixed", run)
    return {
        "config": {"stories": arms.STORYTELLER, "docs": arms.TEXT},
        "window_len": arms.TEXT["window_len"],
        "fixed_prefix": arms.FIXED_PREFIX,
        "prefix_lens": lengths,
        "outline": OUTLINE,
        "arms": runs,
        "sweep": sweep,
    }


def _measured(data: str, arm: str, record) -> dict:
    return {
        "data": data,
        "arm": arm,
        "seed": record.seed,
        "loss": round(record.evaluations[-1]["target loss"], 4),
        **_cost(record),
        "first_losses": record.losses[:FIRST],
    }


def _cost(record) -> dict:
    return {
        "tokens_read": sum(record.tokens_read),
        "tokens_taught": sum(record.tokens_taught),
        "seconds": round(record.seconds, 1),
    }


def _story(run, arm: str) -> str:
    """Return what the model writes from OUTLINE, always taking the likeliest word."""
    vocabulary = story_vocabulary()
    prompt, prefix_len = encode_story(vocabulary, OUTLINE)
    room = {"temperature": 0, "stop_id": vocabulary.EOS, "prefix_len": prefix_len if arm == arms.ARMS[2] else 0}
    return vocabulary.decode([int(step.ids) for step in run.model.generate(prompt, 90, **room)], specials=False)


def glm(seeds: int) -> dict:
    """Lesson 04: what each part of GLM's blank infilling is good for."""
    runs = []
    for seed in range(seeds):
        for arm in blank_arms.BLANK_ARMS:
            record = blank_arms.blank_arm_run(seed, arm).train()
            values = {name: round(value, 4) for name, value in record.evaluations[-1].items() if name != "step"}
            runs.append({"arm": arm, "seed": seed, **values, **_cost(record), "first_losses": record.losses[:FIRST]})
            print(runs[-1], flush=True)
    return {"config": blank_arms.BLANKS, "mask_ratio": blank_arms.MASK_RATIO, "arms": runs}


def glm_docs(seeds: int) -> dict:
    """Lesson 04: the model that it trains on stories, trained on real text."""
    runs = []
    for seed in range(seeds):
        record = blank_arms.glm_run(seed, text=python_docs()).train()
        values = {name: round(value, 4) for name, value in record.evaluations[-1].items() if name != "step"}
        runs.append({"seed": seed, **values, **_cost(record), "first_losses": record.losses[:FIRST]})
        print(runs[-1], flush=True)
    return {"config": blank_arms.GLM, "long_share": blank_arms.LONG_SHARE, "runs": runs}


def palm(seeds: int) -> dict:
    """Lesson 05: the serial block against the parallel one, on stories at half the learning rate, too."""
    runs = []
    for seed in range(seeds):
        for block in BLOCKS:
            for data in evidence.DATA:
                record = palm_run(data, seed, block).train()
                runs.append(_measured(data, block, record))
                if data != "docs":
                    runs[-1]["cards_kept"] = round(record.evaluations[-1]["cards kept"], 4)
                print(runs[-1], flush=True)
    return {"config": {"stories": arms.STORYTELLER, "docs": arms.TEXT}, "arms": runs}


def palm_run(data: str, seed: int, block: str):
    if data == "docs":
        return arms.text_run(seed, arms.ARMS[2], changes={"block": block})
    rate = arms.STORYTELLER["learning_rate"] / (1 if data == "stories" else 2)
    return arms.storyteller_run(seed, arms.ARMS[2], changes={"block": block, "learning_rate": rate})


LINEAR_ARMS = {
    "softmax": {},
    "divided by the sum": {"attention": "linear"},
    "not divided": {"attention": "linear", "normalize": False},
    "not divided, normed": {"attention": "linear", "normalize": False, "output_norm": True},
}


def linear(seeds: int) -> dict:
    """Lesson 06: linear attention with and without its normaliser, and softmax beside it, all at half the rate."""
    runs = []
    for seed in range(seeds):
        for arm in LINEAR_ARMS:
            record = linear_run(seed, arm).train()
            runs.append(_measured("stories, half rate", arm, record))
            runs[-1]["cards_kept"] = round(record.evaluations[-1]["cards kept"], 4)
            print(runs[-1], flush=True)
    return {"config": {"stories": arms.STORYTELLER}, "arms": runs}


def linear_run(seed: int, arm: str):
    rate = arms.STORYTELLER["learning_rate"] / 2
    return arms.storyteller_run(seed, arms.ARMS[2], changes={"learning_rate": rate} | LINEAR_ARMS[arm])


def recall(seeds: int) -> dict:
    """Lesson 07: what a small state recalls, by what may be seen and by the order in which it comes."""
    runs = []
    for seed in range(seeds):
        for arm in recall_task.ARMS:
            record = recall_task.recall_run(seed, arm).train()
            recalled = round(record.evaluations[-1]["recalled"], 4)
            runs.append({"arm": arm, "seed": seed, "recalled": recalled, "first_losses": record.losses[:FIRST]})
            print(runs[-1], flush=True)
    return {"config": recall_task.RECALL, "arms": runs}


REGRESSION_LAYERS = (1, 3)
REGRESSION_MASKS = {"causal": False, "prefix": True}


def regression(seeds: int) -> dict:
    """Lesson 07: fitting a line in context, with one layer and with three, by what the examples may see."""
    runs = []
    for seed in range(seeds):
        for layers in REGRESSION_LAYERS:
            for arm, prefix in REGRESSION_MASKS.items():
                model, losses = train_regression(seed, prefix=prefix, layers=layers)
                error = round(relative_error(model, prefix=prefix), 5)
                runs.append(
                    {"arm": arm, "layers": layers, "seed": seed, "error": error, "first_losses": losses[:FIRST]}
                )
                print(runs[-1], flush=True)
    return {"config": REGRESSION, "arms": runs}


EXPERIMENTS = {
    "prefix_lm": prefix_lm,
    "glm": glm,
    "glm_docs": glm_docs,
    "palm": palm,
    "linear": linear,
    "recall": recall,
    "regression": regression,
}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description="Train the comparisons that the lessons show, and record them.")
    parser.add_argument("names", nargs="*", choices=[[], *EXPERIMENTS], help="which ones; all unless given")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, 0, 1, ...")
    parser.add_argument("--out", type=Path, default=evidence.RESULTS, help="the folder of the records")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error(f"--seeds must be at least 1, got {options.seeds}")
    torch.set_num_threads(min(2, os.cpu_count() or 1))  # the same bits need the same number of threads
    for name in options.names or EXPERIMENTS:
        result = {
            "name": name,
            "machine": machine(torch.device("cpu")),
            "date": today(),
            "command": " ".join(["make experiments", *([f"EXPERIMENTS={name}"] if options.names else [])]),
            "seeds": options.seeds,
            **EXPERIMENTS[name](options.seeds),
        }
        options.out.mkdir(exist_ok=True)
        temporary = options.out / f"{name}.json.tmp"
        temporary.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        os.replace(temporary, options.out / f"{name}.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
