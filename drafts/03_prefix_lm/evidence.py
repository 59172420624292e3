"""What was measured, here and by others: the recorded experiments of `results/*.json`, and published tables, drawn.

Nothing here is typed from a run of ours: `make experiments` writes the records, each with machine, date and command,
and every sentence about them is computed from them. The published numbers stand in PUBLISHED with their sources.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .palette import LIGHT

RESULTS = Path(__file__).parent / "results"
DATA = {"stories": "the storyteller's stories", "docs": "the Python documentation"}


def load(name: str) -> dict:
    """Read the record `results/NAME.json`; ValueError if there is none of that name."""
    known = sorted(file.stem for file in RESULTS.glob("*.json"))
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(known)}, got {name!r}")
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def provenance(results: dict) -> str:
    """Return on what machine, when and how a record was made."""
    return f"Measured on {results['machine']}, on {results['date']}, by `{results['command']}`."


def of_arm(results: dict, data: str, arm: str, what: str) -> list[float]:
    """Return one number for each seed of an arm."""
    return [run[what] for run in results["arms"] if run["data"] == data and run["arm"] == arm]


def arms_of(results: dict) -> list[str]:
    return list(dict.fromkeys(run["arm"] for run in results["arms"]))


def _colours(arms: list[str]) -> dict[str, str]:
    return dict(zip(arms, (LIGHT["muted"], LIGHT["target"], LIGHT["prefix"]), strict=True))


def _axes(width: float, height: float, columns: int = 1):
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=LIGHT["paper"])
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.set_facecolor(LIGHT["paper"])
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", color=LIGHT["line"], lw=0.6)
    return figure, axes


def arms_picture(results: dict) -> Figure:
    """Draw the held-out loss of every arm and seed, with what each arm read and what it was scored on."""
    arms = arms_of(results)
    colours = _colours(arms)
    figure, axes = _axes(11, 3.4, len(DATA))
    for axis, (data, title) in zip(axes, DATA.items(), strict=True):
        for row, arm in enumerate(arms):
            losses = of_arm(results, data, arm, "loss")
            axis.plot(losses, [row] * len(losses), "o", color=colours[arm], ms=8, alpha=0.7, mec=LIGHT["paper"])
            axis.plot([mean(losses)] * 2, [row - 0.28, row + 0.28], color=colours[arm], lw=2.5)
        labels = []
        for arm in arms:
            read = mean(of_arm(results, data, arm, "tokens_read"))
            taught = mean(of_arm(results, data, arm, "tokens_taught"))
            labels.append(f"{arm}\n{_count(read)} tokens read, {_count(taught)} scored")
        axis.set_yticks(range(len(arms)), labels, fontsize=9)
        axis.set(ylim=(len(arms) - 0.5, -0.5), xlabel="loss on held-out targets, nats a token")
        axis.set_title(title, fontsize=11, color=LIGHT["ink"])
    figure.supxlabel("a dot is a seed, a bar their mean; less is better", fontsize=9, color=LIGHT["muted"])
    return figure


def _count(number: float) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"


def arms_in_words(results: dict) -> str:
    """Return the comparison in sentences. An arm is called better only if all of its seeds are better."""
    sentences = []
    for data, title in DATA.items():
        arms = arms_of(results)
        losses = {arm: of_arm(results, data, arm, "loss") for arm in arms}
        listed = ", ".join(
            f"{arm} {mean(ones):.3f} ({min(ones):.3f} to {max(ones):.3f})" for arm, ones in losses.items()
        )
        best, *others = sorted(arms, key=lambda arm: mean(losses[arm]))
        beaten = [arm for arm in others if max(losses[best]) < min(losses[arm])]
        if len(beaten) == len(others):
            verdict = f"every seed of «{best}» is better than every seed of the others"
        elif beaten:
            verdict = (
                f"every seed of «{best}» beats every seed of «{'» and «'.join(beaten)}», but the others overlap with it"
            )
        else:
            verdict = f"«{best}» has the lowest mean, but its seeds overlap with those of the others"
        sentences.append(f"On {title}, {verdict}: {listed}.")
    return " ".join(sentences)


def sweep_picture(results: dict) -> Figure:
    """Draw the loss at every prefix length, for models trained with one fixed P and with P drawn."""
    figure, (axis,) = _axes(8, 4)
    axis.grid(axis="y", color=LIGHT["line"], lw=0.6)
    for trained, colour in (("fixed", LIGHT["target"]), ("drawn", LIGHT["prefix"])):
        runs = [run for run in results["sweep"] if run["trained"] == trained]
        for run in runs:
            axis.plot(run["prefix_lens"], run["losses"], color=colour, lw=1, alpha=0.45)
        axis.plot(
            runs[0]["prefix_lens"], _mean_curve(runs), "o-" if trained == "drawn" else "s-", color=colour, lw=2.2, ms=6
        )
    fixed = results["fixed_prefix"]
    axis.axvline(fixed, color=LIGHT["ink"], lw=1.2, ls=(0, (4, 2)))
    axis.annotate(f" trained P = {fixed}", (fixed, axis.get_ylim()[1]), va="top", fontsize=9, color=LIGHT["ink"])
    handles = [
        Line2D([], [], marker="s", color=LIGHT["target"], label=f"trained with P = {fixed}"),
        Line2D([], [], marker="o", color=LIGHT["prefix"], label="trained with P drawn at random"),
    ]
    axis.legend(handles=handles, frameon=False)
    axis.set(xlabel=f"P when measured, in texts of {results['window_len']} tokens")
    axis.set_ylabel("loss on held-out targets, nats")
    return figure


def _mean_curve(runs: list[dict]) -> list[float]:
    return [mean(values) for values in zip(*(run["losses"] for run in runs), strict=True)]


def sweep_in_words(results: dict) -> str:
    """Return the sweep in sentences: at the trained P, and where the two differ most."""
    at = results["sweep"][0]["prefix_lens"]
    average = {
        trained: _mean_curve([run for run in results["sweep"] if run["trained"] == trained])
        for trained in ("fixed", "drawn")
    }  # fmt: skip
    home = at.index(results["fixed_prefix"])
    gaps = [fixed - drawn for fixed, drawn in zip(average["fixed"], average["drawn"], strict=True)]
    worst = max(range(len(at)), key=lambda i: abs(gaps[i]))
    better = "drawn" if gaps[worst] > 0 else "fixed"
    return (
        f"Loss against P. At P = {at[home]}, where the fixed model was trained: fixed {average['fixed'][home]:.3f}, "
        f"drawn {average['drawn'][home]:.3f}. They differ most at P = {at[worst]}: fixed "
        f"{average['fixed'][worst]:.3f}, drawn {average['drawn'][worst]:.3f}, where P {better} is better."
    )


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
    Published("Wang et al., mask switched only to finetune", "EleutherAI tasks", 51.3, 52.3),
    Published("Wang et al., mask switched only to finetune", "T0 tasks", 52.1, 52.0),
    Published("Ding et al., Table 8, PaLM 2 finetuned", "MMLU, Gecko", 43.3, 46.6),
    Published("Ding et al., Table 8, PaLM 2 finetuned", "MMLU, Otter", 61.0, 64.8),
    Published("Ding et al., Table 8, PaLM 2 finetuned", "MMLU, Unicorn", 78.0, 81.4),
)


def published_picture() -> Figure:
    """Draw the published comparisons, a line each from the causal score to the other."""
    figure, (axis,) = _axes(9.5, 6)
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


def published_plotly():
    """Return the same comparisons as a plotly figure, for hovering and zooming."""
    from plotly import graph_objects

    rows = [f"{one.source}: {one.what}" for one in PUBLISHED]
    figure = graph_objects.Figure()
    for name, values, symbol, colour in (
        ("prompt read causally", [one.causal for one in PUBLISHED], "square", LIGHT["target"]),
        ("prompt read both ways", [one.both_ways for one in PUBLISHED], "circle", LIGHT["prefix"]),
    ):
        marker = {"symbol": symbol, "size": 11, "color": colour}
        figure.add_scatter(x=values, y=rows, mode="markers", name=name, marker=marker)
    figure.update_layout(
        height=480,
        template="plotly_white",
        margin={"l": 10, "r": 10, "t": 30, "b": 40},
        yaxis={"autorange": "reversed", "automargin": True},
        xaxis_title="score; more is better",
        legend={"orientation": "h", "y": 1.08},
    )
    return figure


def published_in_words() -> str:
    """Return the published comparisons in one sentence."""
    ahead = sum(one.both_ways > one.causal for one in PUBLISHED)
    behind = "; ".join(f"{one.what} in {one.source}" for one in PUBLISHED if one.both_ways <= one.causal)
    return (
        f"{len(PUBLISHED)} published comparisons, the prompt read causally and both ways: both ways is ahead in "
        f"{ahead}, and not in {behind}."
    )
