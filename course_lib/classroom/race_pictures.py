"""The race of softmax and linear attention without a kernel: what was counted, and the curve that was recorded."""

from matplotlib.figure import Figure

from . import race_words
from .number_words import short
from .palette import LIGHT
from .pictures import paper
from .race_words import EIGHTHS, FAMILIES, FORMS, counted, counted_ratio, key, law, place

HUES, MARKS = {"softmax": "target", "linear": "prefix"}, {"softmax": "o", "linear": "s"}


def draw_race(total_len: int, eighths: int) -> Figure:
    """Draw the counted bars, each pair on its own scale, and the recorded ratios over P/T, with the counted ones."""
    figure = paper(9.2, 3.8)
    bars, curve = figure.subplots(1, 2, width_ratios=[1, 1.15])
    _draw_bars(bars, total_len, eighths)
    _draw_curve(curve, total_len, eighths)
    record = race_words.load(race_words.RECORDING)
    figure.supxlabel(f"Recorded on {record['machine']}, {record['date']}", fontsize=9, color=LIGHT["muted"])
    return figure


def _draw_bars(axis, total_len: int, eighths: int) -> None:
    counts = counted(total_len, eighths)
    for y, form in enumerate(FORMS):
        family, kind = form.split()
        ratio = 1 if kind == "causal" else counted_ratio(family, total_len, eighths)
        look = (
            {"fc": LIGHT[HUES[family]]} if kind == "prefix" else {"fc": LIGHT[f"{HUES[family]}-soft"], "hatch": "///"}
        )
        axis.barh(y, ratio, height=0.42, ec=LIGHT[HUES[family]], lw=1.2, **look)
        words = f"{form}: {short(counts[form])}" + (
            f", {race_words.hundredths(ratio)} × causal" if kind == "prefix" else ""
        )
        axis.text(0, y - 0.27, words, fontsize=10, va="bottom", color=LIGHT["ink"])
        axis.plot([1, 1], [y - 0.24, y + 0.24], color=LIGHT["ink"], lw=1.2)
    axis.set(xlim=(0, 2.02), ylim=(3.4, -0.8))
    axis.set_yticks([])
    axis.set_xticks([0, 1, 2], ["0", "1 × its causal form", "2 ×"])
    axis.set_title(f"Operations at {place(total_len, eighths)}", fontsize=10.5, loc="left", color=LIGHT["ink"])
    _plain(axis, "top", "right", "left")


def _draw_curve(axis, total_len: int, eighths: int) -> None:
    record, steps = race_words.load(race_words.RECORDING), range(EIGHTHS + 1)
    axis.axhline(1, color=LIGHT["ink"], lw=1)
    axis.axvline(eighths / EIGHTHS, color=LIGHT["muted"], lw=1, ls=":")
    for family in FAMILIES:
        hue, counts = LIGHT[HUES[family]], [counted_ratio(family, total_len, n) for n in steps]
        laws = [law(n) for n in steps] if family == "softmax" else counts
        name = "1 + (P/T)²" if family == "softmax" else "counted"
        axis.plot([n / EIGHTHS for n in steps], laws, color=hue, lw=1, ls="--", label=f"{family}: {name}")
        points = [
            (n / EIGHTHS, record["points"].get(key(total_len, n), {}).get("ratio", {}).get(family)) for n in steps
        ]
        points = [(x, ratio) for x, ratio in points if ratio]
        for x, (low, _, high) in points:
            axis.plot([x, x], [low, high], color=hue, lw=2.5, solid_capstyle="butt")
        if points:
            axis.plot([x for x, _ in points], [ratio[1] for _, ratio in points], MARKS[family], ls="-", lw=1.5, ms=6,
                      color=hue, mec=LIGHT["paper"], label=f"{family}: recorded")  # fmt: skip
    axis.set(xlim=(-0.03, 1.03), ylim=(0, max(2.1, axis.get_ylim()[1])))
    axis.set_xlabel("P / T", fontsize=10, color=LIGHT["muted"])
    known = key(total_len, 0) in record["points"]
    title = "Time of the prefix form / its causal form" if known else "No race of this length is recorded"
    axis.set_title(title, fontsize=10.5, loc="left", color=LIGHT["ink"])
    axis.legend(frameon=False, fontsize=9, loc="upper left", ncols=2)
    _plain(axis, "top", "right")


def _plain(axis, *sides: str) -> None:
    axis.tick_params(length=0, labelsize=9.5, labelcolor=LIGHT["muted"])
    for side in axis.spines:
        axis.spines[side].set_visible(side not in sides)
        axis.spines[side].set_color(LIGHT["line"])
