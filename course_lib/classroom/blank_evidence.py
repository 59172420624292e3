"""What each part of GLM is worth on small models: the record `results/glm.json`, drawn and put into words."""

from statistics import mean

from matplotlib.figure import Figure

from course_lib.blank_arms import BLANK_ARMS

from .evidence import arms_of, axes_of, dots, of_arm
from .palette import LIGHT

ORDERS = {"in order": "filled in the order of the text", "reversed": "filled in reverse"}
PARTS = dict(zip(BLANK_ARMS[1:4], ("shuffled blanks", "one MASK for all", "block positions"), strict=True))
NONE = "none of them much"


def picture(results: dict) -> Figure:
    """Draw the share of blanks that each arm fills without a mistake, in both orders, a dot a seed."""
    arms = arms_of(results)
    figure, axes = axes_of(11, 3.6, 2)
    for axis, (order, title) in zip(axes, ORDERS.items(), strict=True):
        for row, arm in enumerate(arms):
            role = "prefix" if arm == BLANK_ARMS[0] else "muted" if arm == BLANK_ARMS[4] else "target"
            dots(axis, row, [100 * share for share in of_arm(results, arm, f"filled {order}")], LIGHT[role])
        axis.set(ylim=(len(arms) - 0.5, -0.5), xlim=(0, 100), xlabel="% of held-out blanks without a mistake")
        axis.set_yticks(range(len(arms)), arms if axis is axes[0] else [""] * len(arms), fontsize=9)
        axis.set_title(title, fontsize=11, color=LIGHT["ink"])
    read, taught = (mean(run[f"tokens_{what}"] for run in results["arms"]) / 1e3 for what in ("read", "taught"))
    note = (
        f"a dot is a seed, a bar their mean; about {read:.0f} k tokens read, {taught:.0f} k carried loss, in each run"
    )
    figure.supxlabel(note, fontsize=9, color=LIGHT["muted"])
    return figure


def missed_most(results: dict) -> str:
    """Return which of the parts is missed most when blanks are filled in reverse, by the share that is right.

    A part counts as missed if each seed without it is worse than each seed of the whole.
    """
    whole = of_arm(results, BLANK_ARMS[0], "filled reversed")
    without = {part: of_arm(results, arm, "filled reversed") for arm, part in PARTS.items()}
    missed = {part: mean(whole) - mean(shares) for part, shares in without.items() if max(shares) < min(whole)}
    return max(missed, key=missed.get) if missed else NONE


def in_words(results: dict) -> str:
    """Return the numbers in sentences: means over seeds, and their range."""
    told = []
    for arm in arms_of(results):
        parts = []
        for order in ORDERS:
            shares = of_arm(results, arm, f"filled {order}")
            parts.append(f"{mean(shares):.0%} {order} ({min(shares):.0%} to {max(shares):.0%})")
        told.append(f"{arm}: {', '.join(parts)}")
    return f"Held-out blanks filled without a mistake. {'; '.join(told)}."


def docs_in_words(results: dict) -> str:
    """Return what the mixed model makes of real text, from the record `glm_docs`."""
    parts = []
    for name, unit in (("filled", ""), ("short blanks, loss", " nats a token"), ("long blank, loss", " nats a token")):
        values = [run[name] for run in results["runs"]]
        low, high = (f"{one:.1%}" if name == "filled" else f"{one:.2f}" for one in (min(values), max(values)))
        parts.append(f"{name} {low} to {high}{unit}")
    return f"On the Python documentation, held out, {len(results['runs'])} seeds: {'; '.join(parts)}."
