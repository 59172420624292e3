"""The picture of lesson 07: what a prefix costs, with a softmax and without."""

from matplotlib.figure import Figure

from course_lib import costs as softmax_costs
from course_lib.linear_costs import linear_cost

from .evidence import axes_of
from .palette import LIGHT

LENGTH, SIZES = 4096, {"key_dim": 64, "value_dim": 64, "chunk": 64}
SHARES = (0, 0.25, 0.5, 0.75, 1)


def _linear(prefix_len: int) -> float:
    return linear_cost("chunked", prefix_len, LENGTH, **SIZES).flops / linear_cost("chunked", 0, LENGTH, **SIZES).flops


def counted_costs() -> list[float]:
    """Return the counted operations of prefix linear attention against causal, at each of SHARES."""
    return [round(_linear(round(share * LENGTH)), 2) for share in SHARES]


def costs(guess=None) -> Figure:
    """Draw the counted work against causal as the prefix grows, of softmax and of linear attention, and the guess."""
    figure, (axis,) = axes_of(7.6, 4, grid="both")
    draw_costs(axis, guess)
    axis.set_title(f"T = {LENGTH:,}, features and chunks of 64, counted", fontsize=11, color=LIGHT["ink"])
    return figure


def draw_costs(axis, guess=None) -> None:
    """Draw the curves of `costs` there."""
    shares = [step / 64 for step in range(65)]
    prefixes = [round(share * LENGTH) for share in shares]
    pairs = [softmax_costs.allowed_pairs(P, LENGTH) / softmax_costs.allowed_pairs(0, LENGTH) for P in prefixes]
    axis.axhline(1, color=LIGHT["ink"], lw=1)
    axis.plot(shares, pairs, color=LIGHT["target"], lw=2.2, ls="--", label="softmax, pairs")
    axis.plot(shares, [_linear(P) for P in prefixes], color=LIGHT["prefix"], lw=2.6, label="linear, operations")
    if guess is not None:
        axis.plot(SHARES, guess, "o-", color=LIGHT["bad"], ms=8, mfc="none", clip_on=False, label="your guess")
    axis.set(
        xlim=(0, 1), ylim=(0, None), xlabel="share of the text that is prefix, P / T", ylabel="work against causal"
    )
    axis.legend(frameon=False, loc="upper left")
