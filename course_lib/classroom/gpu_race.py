"""The race of linear attention on a GPU for lesson 07: the record of `make bench-gpu`, drawn and put into words.

Every number in the picture and the words is computed from the record's times; without a record one sentence says so.
"""

from pathlib import Path

from matplotlib.figure import Figure

from ..gpu_record import (
    FEATURES,
    FLA,
    FLEX,
    FORWARD_BYTES,
    PREFIXES,
    PRODUCTS,
    SDPA,
    best_fla,
    copy_rate,
    load,
    race_of,
)
from ..race import Race
from .evidence import axes_of
from .palette import LIGHT
from .show import show, words

RECORDING = Path(__file__).parent / "results" / "races" / "gpu_race.json"
NO_RECORD = (
    "No run on a GPU is recorded yet. On a machine with a CUDA card `make bench-gpu` makes the record, and this cell "
    "draws it."
)


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
    axis.set_axisbelow(True)
    axis.grid(False, axis="y")
    axis.axvline(copy, color=LIGHT["ink"], lw=1.2, ls=(0, (1, 2)))
    labels = [f"ours, {name}" if name in PREFIXES else f"{name}, P = L" if name == PRODUCTS else name for name in names]
    axis.set_yticks(range(len(names)), labels, fontsize=9)
    most = max(1e3 * race.median(name) for name in names)
    axis.set(
        ylim=(len(names) - 0.4, -0.6), xlim=(0, 1.2 * most), xlabel="milliseconds; dotted: a copy of the same bytes"
    )


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
    record = load(RECORDING)
    if record is None:
        words(NO_RECORD)
    else:
        show(picture(record), alt=in_words(record))
