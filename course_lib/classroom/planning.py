"""When does one all-reduce less matter? The planning table of lesson 05, as text and as a picture."""

from dataclasses import replace

from matplotlib.figure import Figure

from course_lib.block_costs import PALM, Machine, planning_table

from .evidence import axes_of
from .palette import LIGHT

# TPU v4: peak bfloat16, memory, and two of its six links of 50 GB/s, those of one ring. Source: Jouppi et al. 2023
TPU_V4 = Machine(name="TPU v4", flops=275e12, memory=1.2e12, link=100e9, latency=5e-6)
# link speeds a reader may know, bytes a second in one direction
LINKS = {"100 Gb/s Ethernet": 12.5e9, "TPU v4, one ring": TPU_V4.link, "NVLink 4": 450e9}
LOOKS = dict(zip(PALM, (("target", "s"), ("added", "D"), ("prefix", "o")), strict=True))


def table(machine: Machine, **work) -> str:
    """Return `block_costs.planning_table` as text: milliseconds of one layer, and the gain."""
    lines = [f"{'':6}{'serial':>10}{'parallel':>10}{'one all-reduce':>16}{'gain':>8}"]
    for row in planning_table(machine, **work):
        times = f"{1e3 * row['serial']:7.2f} ms{1e3 * row['parallel']:7.2f} ms{1e3 * row['all_reduce']:13.2f} ms"
        lines.append(f"{row['model']:6}{times}{row['gain']:8.0%}")
    return "\n".join(lines)


def gains_most(machine: Machine, **work) -> str:
    """Return the model whose parallel block gains most."""
    return max(planning_table(machine, **work), key=lambda row: row["gain"])["model"]


def picture(machine: Machine, **work) -> Figure:
    """Draw the gain of the parallel block against the speed of the links, a line for each of PaLM's shapes."""
    figure, (axis,) = axes_of(8, 3.8, grid="y")
    speeds = [1e9 * 10 ** (0.75 + 0.05 * i) for i in range(44)]
    rows = [planning_table(replace(machine, link=speed), **work) for speed in speeds]
    for i, (model, (role, marker)) in enumerate(LOOKS.items()):
        gains = [100 * row[i]["gain"] for row in rows]
        axis.plot([s / 1e9 for s in speeds], gains, color=LIGHT[role], lw=2.2, marker=marker, markevery=6, label=model)
    axis.set(xscale="log", ylim=(0, None), xlabel="link of each device, GB/s", ylabel="gain of the parallel block, %")
    for name, speed in LINKS.items():
        axis.axvline(speed / 1e9, color=LIGHT["muted"], lw=1, ls=(0, (4, 2)))
        axis.annotate(f" {name}", (speed / 1e9, axis.get_ylim()[1]), va="top", fontsize=8.5, color=LIGHT["muted"])
    axis.legend(frameon=False, title="PaLM", loc="center right")
    return figure
