"""What a race on a GPU is judged by: ratios of measured times beside their targets, as a table. No GPU is needed here.

Everything is a function of a record as `course_lib.gpu_record` describes it. Ratios are taken within a round,
and a row shows their median and middle half. A contender that did not take part gives a row without a number.
"""

import dataclasses
from operator import ge, le

from course_lib.gpu_record import (
    BACKWARD_BYTES,
    CHUNKED,
    COPY,
    FLEX,
    FORWARD_BYTES,
    PREFIXES,
    PRODUCTS,
    SDPA,
    best_fla,
    copy_rate,
    race_of,
)
from course_lib.race import Race, Spread

LONG = 8192  # tokens from which on the targets for long texts hold
WITH_BACKWARD = ", with backward"
# Arora et al. 2024 (arXiv 2407.05483), Table 5: prefill, one H100, bf16, 16 heads; (batch, length) -> milliseconds of
# FlashAttention-2 and of JRT-RNN's own kernel, with its Taylor map of 273 features computed in it and half prefix.
PAPER = {
    (16, 2048): (0.5, 0.4), (16, 4096): (1.8, 0.8), (16, 8192): (6.8, 1.5), (16, 16384): (26.6, 2.8),
    (16, 32768): (107.8, 5.6), (2, 16384): (3.5, 1.5), (4, 16384): (6.7, 1.5), (32, 16384): (52.9, 5.6),
    (64, 16384): (108.2, 11.1),
}  # fmt: skip
PAPER_WORDS = "Taylor map, 273 features made in the kernel"


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the table: a ratio, what it should be ("" for no target), and what stands beside it."""

    where: str
    what: str
    ratio: Spread | None
    target: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Tell whether the target is met; None without a target or without a number."""
        if not self.target or self.ratio is None:
            return None
        sense, limit = self.target.split()
        return {">=": ge, "<=": le}[sense](self.ratio.median, float(limit))

    def as_json(self) -> dict:
        ratio = None if self.ratio is None else [float(f"{one:.4g}") for one in dataclasses.astuple(self.ratio)]
        low_middle_high = ratio and [ratio[1], ratio[0], ratio[2]]
        return {**dataclasses.asdict(self), "ratio": low_middle_high, "met": self.met}


def where(one: dict) -> str:
    """Return the shape of a race, and how its calls were queued."""
    graph = ", CUDA graph" if one["queue"] == "graph" else ""
    return f"B={one['batch']} H={one['heads']} L={one['length']}{graph}"


def rows(record: dict) -> list[Row]:
    """Return the whole table of a record."""
    made = []
    for one in record["races"]:
        race = race_of(one, record)
        judge = {"forward": _forward, "batches": _beside_paper, "backward": _backward}[one["kind"]]
        made += judge(one, race, copy_rate(record))
    return made


def _ratio(race: Race, slow: str | None, fast: str) -> Spread | None:
    """Return how many times as long the first takes as the second: above 1, the second is faster."""
    return race.ratio(slow, fast) if slow in race.times and fast in race.times else None


def _share(race: Race, name: str, bytes_moved: float, rate: float) -> Spread | None:
    """Return at what share of a copy's rate a contender moves so many bytes."""
    return Spread.of([bytes_moved / seconds / rate for seconds in race.times[name]]) if name in race.times else None


def _law(race: Race, name: str, share: float) -> Spread | None:
    """Return the time at P over what the two ends foretell, (P/L) t(L) + (1 - P/L) t(0)."""
    if not {name, "P = L", "P = 0"} <= race.times.keys():
        return None
    times = zip(race.times[name], race.times["P = L"], race.times["P = 0"], strict=True)
    return Spread.of([at / (share * full + (1 - share) * none) for at, full, none in times])


def _forward(one: dict, race: Race, rate: float) -> list[Row]:
    place, length, lone, graph = where(one), one["length"], one["batch"] == 1, one["queue"] == "graph"
    moved, fla, long = FORWARD_BYTES * one["batch"] * one["heads"] * length, best_fla(race), length >= LONG
    peer = fla or "fla (absent)"
    copy = ">= 0.7" if lone else ">= 0.8" if long else ">= 0.6" if length == 2048 else ""
    made = [
        (f"P = L, share of copy, {FORWARD_BYTES} bytes a token and head", _share(race, "P = L", moved, rate), copy),
        (f"{COPY} / P = L", _ratio(race, COPY, "P = L"), ""),
        (f"{peer} / P = L", _ratio(race, fla, "P = L"), ">= 3" if lone and long else ""),
        (f"P = 0 / {peer}", _ratio(race, "P = 0", fla or ""), "<= 1" if long else ""),
        ("P = 0, share of copy", _share(race, "P = 0", moved, rate), ">= 0.5" if long else ""),
        (f"{peer} / P = L/2", _ratio(race, fla, "P = L/2"), ">= 1.25" if long else ""),
        (f"{peer} / P = 0.9 L", _ratio(race, fla, "P = 0.9 L"), ">= 1.6" if long else ""),
        ("law, P = L/2", _law(race, "P = L/2", 0.5), "<= 1.1" if long else ""),
        ("law, P = 0.9 L", _law(race, "P = 0.9 L", 0.9), "<= 1.1" if long else ""),
        (f"{PRODUCTS} / P = L", _ratio(race, PRODUCTS, "P = L"), ""),
        *((f"{CHUNKED}, {name} / {name}", _ratio(race, f"{CHUNKED}, {name}", name), "") for name in PREFIXES),
        (f"{FLEX} / P = L/2", _ratio(race, FLEX, "P = L/2"), ""),
    ]
    table = [Row(place, what, ratio, target) for what, ratio, target in made if target or ratio]
    return table if graph else table + _beside_paper(one, race, rate)


def _beside_paper(one: dict, race: Race, rate: float) -> list[Row]:
    ratio, at = _ratio(race, SDPA, "P = L/2"), (one["batch"], one["length"])
    note = ""
    if at in PAPER and one["heads"] == 16:
        flash, jrt = PAPER[at]
        note = f"ours: 64 features, given; JRT-RNN, Table 5 ({PAPER_WORDS}): {flash} / {jrt} ms = {flash / jrt:.1f}"
    return [Row(where(one), f"{SDPA} / P = L/2", ratio, note=note)] if ratio else []


def _backward(one: dict, race: Race, rate: float) -> list[Row]:
    """Judge the backward alone: the time with it less the time of the forward, round by round."""
    tokens = one["batch"] * one["heads"] * one["length"]
    alone = {}
    for name in [name for name in race.times if not name.endswith(WITH_BACKWARD)]:
        both = race.times.get(name + WITH_BACKWARD, [])
        spent = [all_of_it - forward for all_of_it, forward in zip(both, race.times[name], strict=bool(both))]
        if spent and min(spent) > 0:  # else the two were too near each other to be told apart
            alone[name] = spent
    backward = Race(alone, race.machine, race.date)
    share = _share(backward, "P = L", BACKWARD_BYTES * tokens, rate)
    both = Race(
        {name: one for name, one in race.times.items() if name.endswith(WITH_BACKWARD)}, race.machine, race.date
    )
    fla = min((name for name in both.times if name.startswith("fla")), key=both.median, default=None)
    made = [(f"backward at P = L, share of copy, {BACKWARD_BYTES} bytes a token and head", share, ">= 0.65")]
    if fla:
        made += [(f"{fla} / {name}", _ratio(both, fla, name + WITH_BACKWARD), "") for name in PREFIXES]
    return [Row(where(one), what, ratio, target) for what, ratio, target in made if target or ratio]


def verdict(row: Row) -> str:
    """Return met, not met, or not measured; nothing for a row without a target."""
    if not row.target:
        return ""
    return {True: "met", False: "NOT MET", None: "not measured"}[row.met]


def table_text(record: dict) -> str:
    """Return the record as text: where and when, the copy, who was absent, the table, and the times."""
    copy, made = record["copy"], rows(record)
    first, again = (Spread.of([copy["bytes"] / one / 1e12 for one in copy[name]]) for name in ("seconds", "again"))
    lines = [
        record["machine"],
        f"{record['date']}, {record['command']}",
        "; ".join(f"{name}: {value}" for name, value in record["settings"].items()),
        f"copy: {first} TB/s read and written, buffers of {copy['bytes'] / 2**21:.0f} MiB; after all races {again}",
        *(f"absent: {name}: {why}" for name, why in record["absent"].items()),
    ]
    for one in record["races"]:
        lines += [f"left out at {where(one)}, {one['kind']}: {name}: {why}" for name, why in one["left_out"].items()]
    place = None
    lines += ["", f"{'ratio':>7} {'middle half':>16}  {'target':8}{'':14}"]
    for row in made:
        if row.where != place:
            lines.append(row.where)
            place = row.where
        number = "      -" if row.ratio is None else f"{row.ratio.median:7.2f}"
        middle = "" if row.ratio is None else f"{row.ratio.low:.2f} to {row.ratio.high:.2f}"
        note = f"   [{row.note}]" if row.note else ""
        lines.append(f"{number} {middle:>16}  {row.target:8}{verdict(row):14}{row.what}{note}")
    judged = [row.met for row in made if row.target]
    lines += ["", f"{sum(met is True for met in judged)} of {len(judged)} targets met", "", "milliseconds, middle half"]
    for one in record["races"]:
        race = race_of(one, record)
        lines.append(f"{where(one)}, {one['kind']}, {race.rounds if one['times'] else 0} rounds")
        for name in race.times:
            spread = race.seconds(name)
            ms = f"{1e3 * spread.median:9.4f} ({1e3 * spread.low:.4f} to {1e3 * spread.high:.4f})"
            error = one["errors"].get(name)
            lines.append(f"{ms:>32}  {name}" + ("" if error is None else f", error {error:.1e}"))
    return "\n".join(lines)
