"""What the race of softmax and linear attention counts, keeps and says. `static/race_explorer.js` counts the same.

L tokens, P of them prefix, in eighths of L; one example, 8 heads of 64 features. No torch is needed.
"""

import json
from functools import cache
from math import floor
from pathlib import Path

from ..costs import attention_flops
from ..linear_costs import linear_cost
from .number_words import short

FAMILIES = ("softmax", "linear")
FORMS = ("softmax causal", "softmax prefix", "linear causal", "linear prefix")
LENGTHS = (1024, 4096, 16384)
EIGHTHS, HEADS, DIM, TILE = 8, 8, 64, 64
RECORDING = Path(__file__).parent / "results" / "races" / "kernel_race.json"
FORMAT, VERSION = "course_lib.kernel_race", 1


def counted(total_len: int, eighths: int) -> dict[str, int]:
    """Return the operations of each form: softmax in tiles visited in whole, linear in chunks as long as a tile."""

    def softmax(prefix_len: int) -> int:
        return attention_flops(prefix_len, total_len, heads=HEADS, head_dim=DIM, block_size=TILE)

    def linear(prefix_len: int) -> int:
        return HEADS * linear_cost("chunked", prefix_len, total_len, key_dim=DIM, value_dim=DIM, chunk=TILE).flops

    prefix_len = total_len * eighths // EIGHTHS
    return dict(zip(FORMS, (softmax(0), softmax(prefix_len), linear(0), linear(prefix_len)), strict=True))


def counted_ratio(family: str, total_len: int, eighths: int) -> float:
    """Return how many times its causal form's operations a family's prefix form takes."""
    counts = counted(total_len, eighths)
    return counts[f"{family} prefix"] / counts[f"{family} causal"]


def law(eighths: int) -> float:
    """Return 1 + (P/T)^2, to which the counted ratio of softmax tends as T grows."""
    return 1 + (eighths / EIGHTHS) ** 2


def key(total_len: int, eighths: int) -> str:
    return f"{total_len}:{eighths}"


def point(race) -> dict:
    """Return what is kept of a race: rounds, and low, median and high of seconds and of the ratio to its own causal."""

    def kept(spread) -> list[float]:
        return [float(f"{value:.4g}") for value in (spread.low, spread.median, spread.high)]

    ratios = {
        family: kept(race.ratio(f"{family} prefix", f"{family} causal"))
        for family in FAMILIES
        if f"{family} prefix" in race.times
    }
    seconds = {form: kept(race.seconds(form)) for form in FORMS if form in race.times}
    return {"rounds": race.rounds, "seconds": seconds, "ratio": ratios}


def save(path, points: dict[str, dict], *, machine: str, date: str, command: str) -> None:
    """Write a recording, a line a point."""
    head = {"format": FORMAT, "version": VERSION, "machine": machine, "date": date, "command": command}
    lines = [f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in points.items()]
    text = json.dumps(head, indent=1)[:-2] + ',\n "points": {\n' + ",\n".join(lines) + "\n }\n}\n"
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text, "utf-8")


@cache
def load(path: Path = RECORDING) -> dict:
    """Return a recording: its machine, date and command, and points by `key`."""
    content = json.loads(path.read_text("utf-8"))
    if not isinstance(content, dict) or (content.get("format"), content.get("version")) != (FORMAT, VERSION):
        raise ValueError(f"{path} is no recording of format {FORMAT!r}, version {VERSION}")
    return {name: content[name] for name in ("machine", "date", "command", "points")}


def place(total_len: int, eighths: int) -> str:
    """Return where a race is run.

    >>> place(4096, 4)
    'T = 4,096, P = 2,048'
    """
    return f"T = {total_len:,}, P = {total_len * eighths // EIGHTHS:,}"


def hundredths(value: float) -> str:
    """Return a ratio with two places, rounded half up: the browser does the same arithmetic."""
    return f"{floor(100 * value + 0.5) / 100:.2f}"


def counted_words(total_len: int, eighths: int) -> str:
    """Return the claim in the numbers of this setting; the browser says the same."""
    if not eighths:
        return f"Counted at {place(total_len, eighths)}: nothing is prefix, and both forms take what causal takes."
    softmax, linear = (hundredths(counted_ratio(family, total_len, eighths)) for family in FAMILIES)
    return (
        f"Counted at {place(total_len, eighths)}: the prefix form of softmax takes {softmax} times the operations of "
        f"its causal form, that of linear {linear} times."
    )


def sentences(total_len: int, eighths: int) -> list[str]:
    """Return everything that is the same at every look: what was counted, and where the recorded race was run."""
    counts = counted(total_len, eighths)
    record = load(RECORDING)
    return [
        counted_words(total_len, eighths),
        "; ".join(f"{form} {counts[form]:,} ({short(counts[form])})" for form in FORMS) + ".",
        f"One example, {HEADS} heads of {DIM} features; softmax in tiles of {TILE} × {TILE} pairs that are visited in "
        f"whole, linear in chunks of {TILE}.",
        f"Recorded on {record['machine']}, {record['date']}.",
    ]
