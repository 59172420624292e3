"""The record of a race of linear attention on a GPU, as `tools/bench_gpu.py` writes it: its format, and what it names.

A record is JSON with "format" and "version", "machine", "date", "command", "settings", and

    copy     "bytes" read and written by one copy, "seconds" of each round, and "again" after all races
    absent   peer -> why it did not take part in this run
    races    one object each: "kind" (forward, batches or backward), "queue" (calls or graph), "batch", "heads",
             "length", "times" (contender -> seconds of each round), "errors" (contender -> relative error of what it
             computed), "left_out" (contender -> why it was not timed here)
    table    what was judged: "where", "what", "ratio" [low, median, high] or null, "target" (">= 0.8") or "", "note",
             "met" (null without a target or a ratio)
"""

import json
from pathlib import Path

from ._check import real_number, shown
from ._files import file_path, write_whole
from .race import Race, Spread

FORMAT, VERSION = "course_lib.gpu_race", 1
PREFIXES = {"P = 0": 0.0, "P = L/2": 0.5, "P = 0.9 L": 0.9, "P = L": 1.0}  # our contenders, and their share of prefix
FLA = ("fla chunk", "fla fused chunk")
SDPA, FLEX, PRODUCTS, CHUNKED = "softmax: SDPA causal", "softmax: FlexAttention P = L/2", "two products", "chunked"
COPY = "copy of as many bytes"  # as a forward is counted to move, in the same rounds
FEATURES = 64
FORWARD_BYTES = 4 * 2 * FEATURES  # counted, a token and head, in 16 bits: q, k and v are read, the output is written
BACKWARD_BYTES = 2 * FORWARD_BYTES
_FIELDS = {"machine": str, "date": str, "copy": dict, "races": list, "table": list}


def save(path, record: dict) -> None:
    """Write a record, a line a race."""
    lists = {name: record[name] for name in ("races", "table")}
    head = {"format": FORMAT, "version": VERSION, **{name: one for name, one in record.items() if name not in lists}}
    text = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    for name, entries in lists.items():
        lines = ",\n".join(f"  {json.dumps(one, ensure_ascii=False)}" for one in entries)
        text += f',\n "{name}": [\n{lines}\n ]'
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text + "\n}\n")


def load(path) -> dict | None:
    """Return the record, None if there is none; ValueError, naming the file, if the file is anything else."""
    path = file_path(path)
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(record, dict) or (record.get("format"), record.get("version")) != (FORMAT, VERSION):
        raise ValueError(f"{path} is no record of format {FORMAT!r}, version {VERSION}")
    for name, kind in _FIELDS.items():
        if not isinstance(record.get(name), kind):
            raise ValueError(f"{path} must hold {name}, a {kind.__name__}, got {shown(record.get(name))}")
    try:
        for one in record["races"]:
            race_of(one, record)
        Spread.of(record["copy"]["seconds"])
        real_number("bytes", record["copy"]["bytes"], low=0, above=True)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} must hold times above 0, as many for each contender of a race: {error}") from None
    return record


def copy_rate(record: dict) -> float:
    """Return how many bytes a second a copy moved, read and written."""
    return record["copy"]["bytes"] / Spread.of(record["copy"]["seconds"]).median


def race_of(one: dict, record: dict) -> Race:
    """Return the times of one entry of "races", to be compared."""
    return Race(one["times"], record["machine"], record["date"])


def best_fla(race: Race) -> str | None:
    """Return the faster of flash-linear-attention's two causal kernels, None if neither took part."""
    return min((name for name in FLA if name in race.times), key=race.median, default=None)
