"""Loss curves, drawn with matplotlib from the records of trainings."""

from itertools import accumulate

from matplotlib.figure import Figure

from course_lib.training_record import Record

from .._check import short, shown
from .explorer_checks import check_choice
from .palette import LIGHT
from .pictures import paper

COLOURS = ("prefix", "target", "added", "cross", "bad", "muted")
DASHES = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (6, 2, 1, 2)), (0, (3, 1)), "-")
AXES = {
    "steps": ("step", lambda record: range(1, record.steps_done + 1)),
    "tokens read": ("tokens read", lambda record: list(accumulate(record.tokens_read))),
    "tokens taught": ("tokens that carried loss", lambda record: list(accumulate(record.tokens_taught))),
}


def loss_curve(records, *, x: str = "steps", log: bool = False, title: str | None = None) -> Figure:
    """Draw the training loss of a Record, or of several, {name: Record}; pale each step, strong the smoothed curve.

    x: "steps", "tokens read", or "tokens taught", those that carried loss. The losses of two runs can be compared only
    if they are means over the same tokens; what they were trained on may differ.
    """
    check_choice("x", x, AXES)
    named = {"": records} if isinstance(records, Record) else records
    wanted = f"records must be a Record, or a dict of up to {len(COLOURS)} of them by their names"
    if not isinstance(named, dict):
        raise TypeError(f"{wanted}, got {shown(records)}")
    if len(named) > len(COLOURS):
        raise ValueError(f"{wanted}, got {len(named)}")
    for name, one in named.items():
        if not isinstance(one, Record):
            raise ValueError(f"{wanted}, got {short(name)}: {shown(one)}")
    figure = paper(7.2, 3.4)
    axis = figure.add_subplot()
    label, places = AXES[x]
    for (name, record), colour, dash in zip(named.items(), COLOURS, DASHES, strict=False):
        at = list(places(record))
        axis.plot(at, record.losses, color=LIGHT[colour], alpha=0.25, lw=0.8)
        axis.plot(at, smoothed(record.losses), color=LIGHT[colour], ls=dash, lw=2, label=name)
    if not any(record.losses for record in named.values()):
        axis.text(0.5, 0.5, "no step is done yet", transform=axis.transAxes, ha="center", color=LIGHT["muted"])
    elif log:
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    if x == "steps":
        axis.set_xlim(0, max([one.settings.get("steps", one.steps_done) for one in named.values()], default=1))
    axis.set(facecolor=LIGHT["paper"])
    axis.set_xlabel(label, color=LIGHT["muted"])
    axis.set_ylabel("loss, nats a token", color=LIGHT["muted"])
    axis.tick_params(colors=LIGHT["muted"], labelsize=9)
    axis.grid(axis="y", color=LIGHT["line"], lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    if title is not None:
        axis.set_title(title, fontsize=11, color=LIGHT["ink"], loc="left", parse_math=False)
    if "" not in named:
        axis.legend(frameon=False, fontsize=9)
    return figure


def smoothed(losses) -> list[float]:
    """Return the mean around each loss: as far to both sides, at most a 40th of all, and at the end what there is."""
    sums = [0.0, *accumulate(losses)]
    count = len(sums) - 1
    halves = [min(i, -(-count // 40)) for i in range(count)]
    ends = [min(i + half + 1, count) for i, half in enumerate(halves)]
    return [
        (sums[end] - sums[i - half]) / (end - i + half) for i, (half, end) in enumerate(zip(halves, ends, strict=True))
    ]
