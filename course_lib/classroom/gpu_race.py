"""The race of linear attention on a GPU, as `tools/bench_gpu.py` records it: its format, its picture and its words.

A record is JSON with "format" and "version", "machine", "date", "command", "settings", and

    copy     "bytes" read and written by one copy, "seconds" of each round, and "again" after all races
    absent   peer -> why it did not take part in this run
    races    one object each: "kind" (forward, batches or backward), "queue" (calls or graph), "batch", "heads",
             "length", "times" (contender -> seconds of each round), "errors" (contender -> relative error of what it
             computed), "left_out" (contender -> why it was not timed here)
    table    what was judged: "where", "what", "ratio" [low, median, high] or null, "target" (">= 0.8") or null, "met"

Every number in the picture and the words is computed from the times; a lesson names no number of its own.
"""

import json
from pathlib import Path

from matplotlib.figure import Figure

from ..race import Race, Spread
from .evidence import axes_of
from .palette import LIGHT
from .show import show, words

RECORDING = Path(__file__).parent / "results" / "races" / "gpu_race.json"
FORMAT, VERSION = "course_lib.gpu_race", 1
NO_RECORD = (
    "No run on a GPU is recorded yet. On a machine with a CUDA card `make bench-gpu` makes the record, and this cell "
    "draws it."
)
PREFIXES = {"P = 0": 0.0, "P = L/2": 0.5, "P = 0.9 L": 0.9, "P = L": 1.0}  # our contenders, and their share of prefix
FLA = ("fla chunk", "fla fused chunk")
SDPA, FLEX, PRODUCTS, CHUNKED = "softmax: SDPA causal", "softmax: FlexAttention P = L/2", "two products", "chunked"
FEATURES = 64
FORWARD_BYTES, BACKWARD_BYTES = 8 * FEATURES, 16 * FEATURES  # counted, a token and head, in 16 bits: read q, k, v, write o


def save(path, record: dict) -> None:
    """Write a record, a line a race."""
    lists = {name: record[name] for name in ("races", "table")}
    head = {"format": FORMAT, "version": VERSION, **{name: one for name, one in record.items() if name not in lists}}
    text = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
    for name, entries in lists.items():
        lines = ",\n".join(f"  {json.dumps(one, ensure_ascii=False)}" for one in entries)
        text += f',\n "{name}": [\n{lines}\n ]'
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text + "\n}\n", "utf-8")


def load(path=None) -> dict | None:
    """Return the record, None if there is none; ValueError, naming the file, if the file is anything else."""
    path = Path(path or RECORDING)
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(record, dict) or (record.get("format"), record.get("version")) != (FORMAT, VERSION):
        raise ValueError(f"{path} is no record of format {FORMAT!r}, version {VERSION}")
    for one in record["races"]:
        lists = list(one["times"].values())
        if any(len(seconds) != len(lists[0]) or not seconds or min(seconds) <= 0 for seconds in lists):
            raise ValueError(f"{path} must hold times above 0, as many for each contender of a race")
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


def by_length(record: dict) -> dict[int, Race]:
    """Return the forward races of the largest batch by length, shortest first: what the picture draws."""
    found = [one for one in record["races"] if (one["kind"], one["queue"]) == ("forward", "calls") and one["times"]]
    if not found:
        raise ValueError("the record holds no forward race")
    batch = max(one["batch"] for one in found)
    found = sorted((one for one in found if one["batch"] == batch), key=lambda one: one["length"])
    return {one["length"]: race_of(one, record) for one in found}


def _shape(record: dict) -> tuple[int, int]:
    found = [one for one in record["races"] if one["kind"] == "forward"]
    largest = max(found, key=lambda one: one["batch"])
    return largest["batch"], largest["heads"]


def picture(record: dict) -> Figure:
    """Draw time over length, and at the longest length each linear kernel beside a copy of the same bytes."""
    figure, (curve, bars) = axes_of(11, 4.4, columns=2, grid="both")
    races, (batch, heads) = by_length(record), _shape(record)
    looks = {
        SDPA: ("target", "s-", "softmax, causal (SDPA)"),
        FLEX: ("target", "s--", "softmax, P = L/2 (FlexAttention)"),
        None: ("added", "^-", "linear, causal (flash-linear-attention)"),
        "P = 0": ("prefix", "o:", "linear, causal (ours)"),
        "P = L/2": ("prefix", "o--", "linear, P = L/2 (ours)"),
        "P = L": ("prefix", "o-", "linear, P = L (ours)"),
    }
    for name, (role, marks, label) in looks.items():
        chosen = {length: name or best_fla(race) for length, race in races.items()}
        at = [length for length, race in races.items() if chosen[length] in race.times]
        if at:
            seconds = [1e3 * races[length].median(chosen[length]) for length in at]
            curve.plot(at, seconds, marks, color=LIGHT[role], lw=2, ms=6, label=label)
    copies = [1e3 * _copy_seconds(record, length) for length in races]
    curve.plot(list(races), copies, color=LIGHT["ink"], lw=1.2, ls=(0, (1, 2)), label="a copy of the same bytes")
    curve.set(xscale="log", yscale="log", xlabel="L, tokens", ylabel="milliseconds, forward")
    curve.set_xticks(list(races), [f"{length:,}" for length in races], fontsize=9)
    curve.set_xticks([], minor=True)
    curve.legend(frameon=False, fontsize=8.5)
    longest = max(races)
    _draw_bars(bars, races[longest], 1e3 * _copy_seconds(record, longest))
    bars.set_title(f"L = {longest:,}", fontsize=10.5, color=LIGHT["ink"])
    curve.set_title(f"{batch} examples, {heads} heads of {FEATURES} features", fontsize=10.5, color=LIGHT["ink"])
    figure.supxlabel(f"{record['machine']}, {record['date']}", fontsize=8.5, color=LIGHT["muted"])
    return figure


def _copy_seconds(record: dict, length: int) -> float:
    batch, heads = _shape(record)
    return FORWARD_BYTES * batch * heads * length / copy_rate(record)


def _draw_bars(axis, race: Race, copy: float) -> None:
    names = [name for name in (*FLA, *PREFIXES, PRODUCTS) if name in race.times]
    for row, name in enumerate(names):
        one, own = race.seconds(name), name in PREFIXES
        axis.barh(row, 1e3 * one.median, height=0.6, color=LIGHT["prefix" if own else "added-soft"],
                  ec=LIGHT["prefix" if own else "added"])  # fmt: skip
        axis.plot([1e3 * one.low, 1e3 * one.high], [row, row], color=LIGHT["ink"], lw=2)
        axis.annotate(f"  {1e3 * one.median:.3g}", (1e3 * one.high, row), va="center", fontsize=9, color=LIGHT["ink"])
    axis.axvline(copy, color=LIGHT["ink"], lw=1.2, ls=(0, (1, 2)))
    labels = [f"ours, {name}" if name in PREFIXES else f"{name}, P = L" if name == PRODUCTS else name for name in names]
    axis.set_yticks(range(len(names)), labels, fontsize=9)
    most = max(1e3 * race.median(name) for name in names)
    axis.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, 1.2 * most), xlabel="milliseconds; dotted: a copy of the same bytes")


def in_words(record: dict) -> str:
    """Return what the record says, in sentences; it is the description of the picture, too."""
    races, (batch, heads) = by_length(record), _shape(record)
    longest = max(races)
    race, shares = races[longest], []
    for name, told in (("P = L", "all of it prefix"), ("P = L/2", "half of it prefix")):
        if name in race.times and "P = 0" in race.times:
            shares.append(f"{told} {race.ratio(name, 'P = 0').median:.2f}")
    parts = [
        f"Recorded on {record['machine']}, {record['date']}, by `{record['command']}`: {batch} examples of "
        f"{longest:,} tokens, {heads} heads of {FEATURES} features."
    ]
    if shares:
        parts.append(f"Linear attention takes, as a share of the time of its own causal form: {', '.join(shares)}.")
    if "P = L" in race.times:
        share = _copy_seconds(record, longest) / race.median("P = L")
        parts.append(f"With all of it prefix it moves its bytes at {share:.0%} of the speed of a copy.")
    others = [(best_fla(race), "The best causal kernel of flash-linear-attention"), (SDPA, "Causal softmax attention")]
    for name, told in others:
        if name in race.times and "P = L/2" in race.times:
            parts.append(f"{told} takes {race.ratio(name, 'P = L/2').median:.1f} times as long as ours with half.")
    if absent := record["absent"]:
        parts.append(f"Absent from this run: {', '.join(absent)}.")
    judged = [one["met"] for one in record["table"] if one["target"]]
    parts.append(f"{sum(met is True for met in judged)} of {len(judged)} targets were met.")
    return " ".join(parts)


def show_gpu_race() -> None:
    """Show the recorded race on a GPU with its description, or the one sentence that there is none yet."""
    record = load()
    if record is None:
        words(NO_RECORD)
    else:
        show(picture(record), alt=in_words(record))
