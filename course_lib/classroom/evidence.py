"""What the course itself measured: the recorded experiments of `results/*.json`, drawn and put into words.

Nothing here is typed from a run: `make experiments` writes the records, each with machine, date and command, and every
sentence about them is computed from them. What others published is in `published`.
"""

import json
import textwrap
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .palette import LIGHT

RESULTS = Path(__file__).parent / "results"
DATA = {
    "stories": "the storyteller's stories",
    "stories, half rate": "the storyteller's stories, at half the learning rate",
    "docs": "the Python documentation",
}
NO_WINNER = "no clear winner"
BELOW, ABOVE, NOWHERE = "far below it", "far above it", "nowhere: no weight knows of P"


def load(name: str) -> dict:
    """Read the record `results/NAME.json`; ValueError if there is none of that name."""
    known = sorted(file.stem for file in RESULTS.glob("*.json"))
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(known)}, got {name!r}")
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def provenance(results: dict) -> str:
    """Return on what machine, when and how a record was made, in lines that fit a narrow window."""
    said = f"{results['seeds']} seeds an arm, trained on {results['machine']}, on {results['date']}, by "
    return textwrap.fill(f"{said}`{results['command']}`.", 76, break_long_words=False, break_on_hyphens=False)


def of_arm(results: dict, arm: str, what: str, data: str | None = None) -> list[float]:
    """Return one number for each seed of an arm; `data` where a record has several."""
    return [run[what] for run in results["arms"] if run["arm"] == arm and (data is None or run["data"] == data)]


def arms_of(results: dict) -> list[str]:
    return list(dict.fromkeys(run["arm"] for run in results["arms"]))


def data_of(results: dict) -> dict[str, str]:
    """Return the titles of the data that a record's arms were trained on."""
    return {data: title for data, title in DATA.items() if any(run["data"] == data for run in results["arms"])}


def axes_of(width: float, height: float, columns: int = 1, *, grid: str = "x"):
    """Return a figure and its axes side by side, on the course's paper, with a grid across x or y."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor=LIGHT["paper"])
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for axis in axes:
        axis.set_facecolor(LIGHT["paper"])
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis=grid, color=LIGHT["line"], lw=0.6)
    return figure, axes


def dots(axis, row: int, values: list[float], colour: str) -> None:
    """Draw a row of an axis: a dot for each seed, and a bar for their mean."""
    axis.plot(values, [row] * len(values), "o", color=colour, ms=8, alpha=0.7, mec=LIGHT["paper"])
    axis.plot([mean(values)] * 2, [row - 0.28, row + 0.28], color=colour, lw=2.5)


# --- The arms ---


def arms_picture(results: dict) -> Figure:
    """Draw the held-out loss of every arm and seed, with what each arm read and what it was scored on."""
    arms, titles = arms_of(results), data_of(results)
    colours = dict(zip(reversed(arms), (LIGHT[role] for role in ("prefix", "target", "muted", "added")), strict=False))
    told = {data: {arm: _tokens(results, data, arm) for arm in arms} for data in titles}
    alike = all(len(set(of_data.values())) == 1 for of_data in told.values())  # then the title says it, once for all
    figure, axes = axes_of(max(7, 3.8 * len(titles)) if alike else 5.5 * len(titles), 1 + 0.8 * len(arms), len(titles))
    for axis, (data, title) in zip(axes, titles.items(), strict=True):
        for row, arm in enumerate(arms):
            dots(axis, row, of_arm(results, arm, "loss", data), colours[arm])
        labels = [arm if alike else f"{arm}\n{told[data][arm]}" for arm in arms]
        axis.set_yticks(range(len(arms)), labels if not alike or axis is axes[0] else [""] * len(arms), fontsize=9)
        axis.set(ylim=(len(arms) - 0.5, -0.5), xlabel="loss on held-out targets, nats a token")
        title = f"{title}\n{told[data][arms[0]]}" if alike else title
        axis.set_title(title, fontsize=10 if alike else 11, color=LIGHT["ink"])
    figure.supxlabel("a dot is a seed, a bar their mean; less is better", fontsize=9, color=LIGHT["muted"])
    return figure


def _tokens(results: dict, data: str, arm: str) -> str:
    read, taught = (mean(of_arm(results, arm, f"tokens_{what}", data)) for what in ("read", "taught"))
    return f"{_count(read)} tokens read, {_count(taught)} carried loss"


def _count(number: float) -> str:
    return f"{number / 1e6:.2f} M" if number >= 1e6 else f"{number / 1e3:.0f} k"


def winner(results: dict, data: str) -> str:
    """Return the arm of which every seed is better than every seed of the others, or NO_WINNER."""
    best, beaten = _best(results, data)
    return best if len(beaten) == len(arms_of(results)) - 1 else NO_WINNER


def _best(results: dict, data: str) -> tuple[str, list[str]]:
    """Return the arm with the lowest mean loss, and those that each of its seeds beats each seed of."""
    losses = {arm: of_arm(results, arm, "loss", data) for arm in arms_of(results)}
    best, *others = sorted(losses, key=lambda arm: mean(losses[arm]))
    return best, [arm for arm in others if max(losses[best]) < min(losses[arm])]


def arms_in_words(results: dict) -> str:
    """Return the comparison in sentences. An arm is called better only if all of its seeds are better."""
    return " ".join(_data_in_words(results, data) for data in data_of(results))


def _data_in_words(results: dict, data: str) -> str:
    listed = []
    for arm in arms_of(results):
        losses = of_arm(results, arm, "loss", data)
        listed.append(f"{arm} {mean(losses):.3f} ({min(losses):.3f} to {max(losses):.3f})")
    best, beaten = _best(results, data)
    if len(beaten) == len(listed) - 1:
        others = "the others" if len(beaten) > 1 else f"«{beaten[0]}»"
        verdict = f"every seed of «{best}» is better than every seed of {others}"
    elif beaten:
        verdict = f"every seed of «{best}» beats every seed of «{'» and «'.join(beaten)}», but not of the other"
    else:
        others = "the others" if len(listed) > 2 else "the other"
        verdict = f"«{best}» has the lowest mean, but its seeds overlap with those of {others}"
    return f"On {DATA[data]}, {verdict}: {', '.join(listed)}."


def stories(results: dict) -> str:
    """Return what the arms of the first seed wrote from one held-out outline, and how much of it each kept."""
    told = [run for run in results["arms"] if run["data"] == "stories" and run["seed"] == 0]
    parts = [f"Outline: {results['outline']}"]
    for run in told:
        kept = ", ".join(f"{share:.1%}" for share in of_arm(results, run["arm"], "cards_kept", "stories"))
        parts.append(f"{run['arm']} (cards kept, seed by seed: {kept})\n{textwrap.fill(run['story'], 90)}")
    return "\n\n".join(parts)


# --- P fixed against P drawn ---


def _curves(results: dict) -> dict[str, list[list[float]]]:
    """Return the losses at every P, one list for each seed, of the models trained with P "fixed" and "drawn"."""
    return {
        trained: [run["losses"] for run in results["sweep"] if run["trained"] == trained]
        for trained in ("fixed", "drawn")
    }


def _mean_curve(curves: list[list[float]]) -> list[float]:
    return [mean(values) for values in zip(*curves, strict=True)]


def sweep_picture(results: dict) -> Figure:
    """Draw the loss at every prefix length, for models trained with one fixed P and with P drawn."""
    figure, (axis,) = axes_of(8, 4, grid="y")
    at, fixed, handles = results["prefix_lens"], results["fixed_prefix"], []
    looks = {"fixed": ("target", "s", f"trained with P = {fixed}"), "drawn": ("prefix", "o", "trained with P drawn")}
    for trained, curves in _curves(results).items():
        role, marker, label = looks[trained]
        for curve in curves:
            axis.plot(at, curve, color=LIGHT[role], lw=1, alpha=0.45)
        axis.plot(at, _mean_curve(curves), color=LIGHT[role], marker=marker, lw=2.2, ms=6)
        runs = [run for run in results["sweep"] if run["trained"] == trained]
        read, taught = (mean(run[f"tokens_{what}"] for run in runs) for what in ("read", "taught"))
        label = f"{label} ({_count(read)} tokens read, {_count(taught)} carried loss)"
        handles.append(Line2D([], [], marker=marker, color=LIGHT[role], label=label))
    axis.axvline(fixed, color=LIGHT["ink"], lw=1.2, ls=(0, (4, 2)))
    axis.annotate(f" trained P = {fixed}", (fixed, axis.get_ylim()[1]), va="top", fontsize=9, color=LIGHT["ink"])
    figure.legend(handles=handles, frameon=False, fontsize=9, loc="outside upper left")
    axis.set(xlabel=f"P when measured, in texts of {results['window_len']} tokens; pale lines are seeds")
    axis.set_ylabel("loss on held-out targets, nats a token")
    return figure


def _gaps(results: dict) -> tuple[dict[str, list[float]], list[float]]:
    """Return the mean curves, and by how much "fixed" is worse than "drawn" at every P."""
    curves = {trained: _mean_curve(one) for trained, one in _curves(results).items()}
    return curves, [fixed - drawn for fixed, drawn in zip(curves["fixed"], curves["drawn"], strict=True)]


def weak_spot(results: dict) -> str:
    """Return where the models with a fixed P lose most against those that drew it: BELOW, ABOVE or NOWHERE.

    NOWHERE: at no P is each seed of the fixed ones worse than each seed of the others.
    """
    curves, at = _curves(results), results["prefix_lens"]
    _, gaps = _gaps(results)
    clear = [
        i
        for i in range(len(at))
        if min(curve[i] for curve in curves["fixed"]) > max(curve[i] for curve in curves["drawn"])
    ]
    if not clear:
        return NOWHERE
    return BELOW if at[max(clear, key=lambda i: gaps[i])] < results["fixed_prefix"] else ABOVE


def sweep_in_words(results: dict) -> str:
    """Return the sweep in sentences: at the trained P, and where the two differ most."""
    at = results["prefix_lens"]
    curves, gaps = _gaps(results)

    def both(i: int) -> str:
        return f"{curves['fixed'][i]:.2f} with P fixed and {curves['drawn'][i]:.2f} with P drawn"

    home = at.index(results["fixed_prefix"])
    worst = max(range(len(at)), key=lambda i: abs(gaps[i]))
    return (
        f"Loss against P. At P = {at[home]}, where the fixed models were trained, it is {both(home)}. The two differ "
        f"most at P = {at[worst]}: {both(worst)}."
    )
