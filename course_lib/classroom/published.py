"""What others measured: published comparisons of a causal and a bidirectional reading of the prompt, drawn."""

from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .evidence import axes_of
from .palette import LIGHT


@dataclass(frozen=True)
class Published:
    """One published comparison: the same measure with the prompt read causally, and read both ways. More is better."""

    source: str
    what: str
    causal: float
    both_ways: float


PUBLISHED = (
    Published("T5, Table 2, denoising", "GLUE", 74.70, 81.82),
    Published("T5, Table 2, denoising", "SQuAD", 61.14, 78.94),
    Published("T5, Table 2, denoising", "SuperGLUE", 55.02, 68.11),
    Published("T5, Table 2, language modelling", "GLUE", 73.78, 79.68),
    Published("T5, Table 2, language modelling", "SQuAD", 53.81, 76.87),
    Published("Wang et al., Table 3, not finetuned", "EleutherAI tasks", 44.2, 43.5),
    Published("Wang et al., Table 3, not finetuned", "T0 tasks", 42.4, 41.8),
    Published("Wang et al., Table 8, multitask finetuned", "EleutherAI tasks", 50.4, 48.9),
    Published("Wang et al., Table 8, multitask finetuned", "T0 tasks", 51.4, 54.0),
    Published("Wang et al., Table 8, masked pretraining", "EleutherAI tasks", 47.1, 51.0),
    Published("Wang et al., Table 8, masked pretraining", "T0 tasks", 50.3, 55.2),
    Published("Wang et al., mask switched to finetune", "EleutherAI tasks", 51.3, 52.3),
    Published("Wang et al., mask switched to finetune", "T0 tasks", 52.1, 52.0),
    Published("Ding et al., Table 8, PaLM 2 finetuned", "MMLU, Gecko", 43.3, 46.6),
    Published("Ding et al., Table 8, PaLM 2 finetuned", "MMLU, Otter", 61.0, 64.8),
    Published("Ding et al., Table 8, PaLM 2 finetuned", "MMLU, Unicorn", 78.0, 81.4),
    Published("UL2R, continued with other objectives too", "MMLU", 69.3, 70.7),
    Published("Transfusion, Table 5, within images", "captions, CIDEr", 12.7, 16.0),
)


def picture() -> Figure:
    """Draw the published comparisons, a line each from the causal score to the other."""
    figure, (axis,) = axes_of(9.5, 6)
    for row, one in enumerate(PUBLISHED):
        axis.plot([one.causal, one.both_ways], [row, row], color=LIGHT["line"], lw=4, zorder=1)
        axis.plot(one.causal, row, "s", color=LIGHT["target"], ms=8)
        axis.plot(one.both_ways, row, "o", color=LIGHT["prefix"], ms=9)
    axis.set_yticks(range(len(PUBLISHED)), [f"{one.source}: {one.what}" for one in PUBLISHED], fontsize=8.5)
    axis.set(ylim=(len(PUBLISHED) - 0.4, -0.6), xlabel="score; more is better")
    handles = [
        Line2D([], [], marker="s", ls="", color=LIGHT["target"], label="prompt read causally"),
        Line2D([], [], marker="o", ls="", color=LIGHT["prefix"], label="prompt read both ways"),
    ]
    figure.legend(handles=handles, frameon=False, loc="outside upper center", ncols=2)
    return figure


def gains():
    """Return the same comparisons as a plotly figure: what reading both ways gained, largest first; scores on hover."""
    from plotly import graph_objects

    ranked = sorted(PUBLISHED, key=lambda one: one.both_ways - one.causal, reverse=True)
    points = [round(one.both_ways - one.causal, 2) for one in ranked]
    bars = graph_objects.Bar(
        x=points,
        y=[f"{one.what} · {one.source}" for one in ranked],
        orientation="h",
        marker={"color": [LIGHT["prefix"] if gain > 0 else LIGHT["target"] for gain in points]},
        text=[f"{gain:+.1f}" for gain in points],
        textposition="outside",
        cliponaxis=False,
        customdata=[[one.causal, one.both_ways] for one in ranked],
        hovertemplate="%{y}<br>causally %{customdata[0]}, both ways %{customdata[1]}<extra></extra>",
    )
    figure = graph_objects.Figure(bars)
    figure.update_layout(
        height=500,
        template="plotly_white",
        font={"color": LIGHT["ink"]},
        margin={"l": 10, "r": 40, "t": 30, "b": 40},
        yaxis={"autorange": "reversed", "automargin": True},
        xaxis_title="gain of reading both ways, in points of each score",
    )
    return figure


def in_words() -> str:
    """Return the published comparisons in one sentence."""
    ahead = sum(one.both_ways > one.causal for one in PUBLISHED)
    behind = "; ".join(f"{one.what} in {one.source}" for one in PUBLISHED if one.both_ways <= one.causal)
    return (
        f"{len(PUBLISHED)} published comparisons, the prompt read causally and both ways: both ways is ahead in "
        f"{ahead}, and not in {behind}."
    )
