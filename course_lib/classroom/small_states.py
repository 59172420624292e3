"""What a small state can do: the records `results/recall.json` and `regression.json`, drawn and put into words."""

from statistics import mean

from matplotlib.figure import Figure

from course_lib.recall import ARMS, VALUES

from .evidence import axes_of, dots, of_arm
from .palette import LIGHT

GIVEN, ASKED = "causal, question last", "prefix, question last"  # the guess is what the second reaches
MASKS = {"causal": ("target", "s"), "prefix": ("prefix", "o")}


def _recalled(results: dict, arm: str) -> list[float]:
    return [100 * share for share in of_arm(results, arm, "recalled")]


def recalled(results: dict, arm: str) -> int:
    """Return what an arm recalls, in percent, the mean of its seeds."""
    return round(mean(_recalled(results, arm)))


def recall_picture(results: dict, guess=None) -> Figure:
    """Draw the share of questions that each arm answers right, a dot a seed, and the guess of ASKED."""
    figure, (axis,) = axes_of(8, 3.4)
    for row, arm in enumerate(ARMS):
        role = "prefix" if arm == ASKED else "muted" if arm.startswith("softmax") else "target"
        dots(axis, row, _recalled(results, arm), LIGHT[role])
    axis.axvline(100 / VALUES, color=LIGHT["ink"], lw=1, ls=(0, (2, 2)))
    axis.annotate(" by chance", (100 / VALUES, -0.45), fontsize=9, color=LIGHT["muted"], va="center")
    if guess is not None:
        row = list(ARMS).index(ASKED)
        axis.plot([guess] * 2, [row - 0.42, row + 0.42], color=LIGHT["bad"], lw=2, ls=(0, (4, 2)))
        axis.annotate(" your guess", (guess, row - 0.42), fontsize=9, color=LIGHT["bad"])
    axis.set_yticks(range(len(ARMS)), ARMS, fontsize=9)
    axis.set(ylim=(len(ARMS) - 0.5, -0.7), xlim=(0, 104), xlabel="% of held-out questions answered right")
    figure.supxlabel("a dot is a seed, a bar their mean", fontsize=9, color=LIGHT["muted"])
    return figure


def recall_in_words(results: dict) -> str:
    """Return the numbers in lines: the mean over seeds, and their range."""
    lines = []
    for arm in ARMS:
        shares = _recalled(results, arm)
        lines.append(f"{arm:32}{mean(shares):4.0f} %   ({min(shares):.0f} to {max(shares):.0f})")
    return "\n".join(lines)


def _errors(results: dict, mask: str, layers: int) -> list[float]:
    return [100 * run["error"] for run in results["arms"] if (run["arm"], run["layers"]) == (mask, layers)]


def _depths(results: dict) -> list[int]:
    return sorted({run["layers"] for run in results["arms"]})


def regression_picture(results: dict) -> Figure:
    """Draw the error left after fitting in context, a mark a seed, under both masks at each depth."""
    depths = _depths(results)
    figure, (axis,) = axes_of(8, 1.2 + 0.8 * len(depths))
    for row, layers in enumerate(depths):
        for offset, (mask, (role, marker)) in zip((-0.16, 0.16), MASKS.items(), strict=True):
            errors = _errors(results, mask, layers)
            style = {"color": LIGHT[role], "ms": 8, "alpha": 0.7, "mec": LIGHT["paper"]}
            axis.plot(errors, [row + offset] * len(errors), marker, label=None if row else mask, **style)
    axis.set_yticks(range(len(depths)), [f"{layers} layer{'s' * (layers > 1)}" for layers in depths])
    axis.set(ylim=(len(depths) - 0.5, -0.5), xlim=(0, None), xlabel="% of the squared error of always answering 0")
    axis.legend(frameon=False)
    figure.supxlabel("a mark is a seed; less is better", fontsize=9, color=LIGHT["muted"])
    return figure


def regression_in_words(results: dict) -> str:
    """Return the numbers in lines: the range over seeds, and whether the masks' errors are apart."""
    lines = []
    for layers in _depths(results):
        causal, prefix = (_errors(results, mask, layers) for mask in MASKS)
        told = ", ".join(
            f"{mask} {min(errors):.1f} to {max(errors):.1f} %"
            for mask, errors in zip(MASKS, (causal, prefix), strict=True)
        )
        if causal == prefix:
            verdict = "the same, seed by seed"
        elif max(prefix) < min(causal):
            verdict = "every seed with the prefix mask is better"
        elif max(causal) < min(prefix):
            verdict = "every seed with the causal mask is better"
        else:
            verdict = "their seeds overlap"
        lines.append(f"{layers} layer{'s' if layers > 1 else ' '}   {told}: {verdict}")
    return "\n".join(lines)
