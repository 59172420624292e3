"""The record of a training: what was trained, what came of it, and on what machine. JSON in, JSON out."""

import dataclasses
import datetime
import json
import math
import os
import platform
import sys
from numbers import Real

import torch

from ._check import short, shown, whole_number

FORMAT, VERSION = "course_lib.training record", 1


@dataclasses.dataclass(repr=False)
class Record:
    """What happened in a run so far; `Run.record`.

    objective         what was trained, in words
    config            the model's Config, as a dict
    settings          steps (asked for), learning_rate, warmup, cooldown, weight_decay, clip
    seed              of the run
    losses            of each step, before it was taken: the mean over the tokens that carried loss, in nats
    tokens_read       of each step, padding not counted
    tokens_taught     of each step: how many tokens carried loss
    evaluations       one dict each: "step", how many steps were done, and what `evaluate` returned
    seconds           in all steps together, evaluations not counted
    machine, date     where and when (UTC, a day)
    """

    objective: str
    config: dict
    settings: dict
    seed: int
    machine: str
    date: str
    losses: list[float] = dataclasses.field(default_factory=list)
    tokens_read: list[int] = dataclasses.field(default_factory=list)
    tokens_taught: list[int] = dataclasses.field(default_factory=list)
    evaluations: list[dict] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    @property
    def steps_done(self) -> int:
        """How many steps were taken so far."""
        return len(self.losses)

    def __repr__(self) -> str:
        loss = f", loss {self.losses[-1]:.3g}" if self.losses else ""
        return f"Record({self.objective or 'training'}: {self.steps_done} of {self.settings.get('steps')} steps{loss})"

    def add_step(self, loss: float, read: int, taught: int, seconds: float) -> None:
        """Count a step as done, with its loss, the tokens that it read and those that carried loss, and its time."""
        self.tokens_read.append(read)
        self.tokens_taught.append(taught)
        self.seconds += seconds
        self.losses.append(loss)  # last: a step is done once its loss is here

    def evaluated(self, step: int) -> bool:
        """Tell whether there is an evaluation after so many steps."""
        return any(one["step"] == step for one in self.evaluations)

    def add_evaluation(self, step: int, values: dict) -> None:
        """Keep what an evaluation found; TypeError if it is no dict of names and numbers."""
        if not isinstance(values, dict) or "step" in values or not all(isinstance(name, str) for name in values):
            raise TypeError(f"evaluate must return a dict of names (other than step) and numbers, got {shown(values)}")
        for name, value in values.items():
            if isinstance(value, bool) or not isinstance(value, Real):
                raise TypeError(f"evaluate must return numbers, got {short(name)} = {shown(value)}")
        self.evaluations.append({"step": step, **{name: float(value) for name, value in values.items()}})

    def evaluation(self, name: str) -> tuple[list[int], list[float]]:
        """Return one evaluation as a curve: the steps, and the values at them."""
        found = [(one["step"], one[name]) for one in self.evaluations if name in one]
        if not found:
            known = ", ".join(dict.fromkeys(key for one in self.evaluations for key in one if key != "step"))
            raise ValueError(f"name must be one of {known or '(there was no evaluation)'}, got {short(name)}")
        return [step for step, _ in found], [value for _, value in found]

    def to_json(self) -> str:
        """Return the record as text; a number that is not finite is null."""
        content = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}
        content["evaluations"] = [
            {name: value if math.isfinite(value) else None for name, value in one.items()} for one in self.evaluations
        ]
        return json.dumps(content, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Record":
        """Read what `to_json` wrote; ValueError that says what is wrong with it, otherwise."""
        if not isinstance(text, str):
            raise TypeError(f"text must be a str, got {shown(text)}")
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"text is no JSON: {error}") from None
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise ValueError(f"text is no record of format {FORMAT!r}")
        if (version := content.pop("version", None)) != VERSION:
            raise ValueError(f"text is a record of version {version!r}, only {VERSION} can be read")
        fields = {field.name: field.type for field in dataclasses.fields(cls)}
        if content.keys() != fields.keys():
            wrong = sorted(fields.keys() ^ content.keys())
            raise ValueError(f"the record has too much or too little: {', '.join(wrong)}")
        for name, kind in fields.items():
            _check(name, content[name], kind)
        if not len(content["losses"]) == len(content["tokens_read"]) == len(content["tokens_taught"]):
            raise ValueError("losses, tokens_read and tokens_taught must be equally long: one entry a step")
        for one in content["evaluations"]:
            _check("evaluations' step", one.get("step"), int)
            whole_number("evaluations' step", one["step"], high=len(content["losses"]), high_name="steps done")
            for name, value in one.items():
                if value is not None:
                    _check(f"evaluations' {name:.40}", value, float)
                one[name] = math.nan if value is None else value
        return cls(**content)


def _check(name: str, value, kind) -> None:
    """Refuse a value that is not of this kind, a field's annotation."""
    if kind in (list[float], list[int], list[dict]):
        if not isinstance(value, list):
            raise ValueError(f"{name} must be a list, got {shown(value)}")
        for one in value:
            _check(name, one, kind.__args__[0])
        return
    if kind is float:
        right = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    elif kind is int:
        right = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    else:
        right = isinstance(value, kind)
    if not right:
        wanted = {float: "a finite number", int: "a whole number, 0 or more", str: "text", dict: "an object"}[kind]
        raise ValueError(f"{name} must be {wanted}, got {shown(value)}")


def machine(device: torch.device) -> str:
    """Return a line on what computes: the device, its threads, and the versions."""
    threads = torch.get_num_threads()
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({_processor()})"
    return (
        f"{what}, {threads} of {os.cpu_count()} CPU threads, {platform.system()} {platform.machine()}, "
        f"torch {torch.__version__}, Python {platform.python_version()}"
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line.partition(":") for line in file]
        return next(value.strip() for name, _, value in lines if name.strip() == "model name")
    except (OSError, StopIteration, UnicodeError):
        return platform.processor() or platform.machine()


def today() -> str:
    """Return the date in UTC, as 2026-01-31."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
