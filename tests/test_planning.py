"""The planning table as lesson 05 shows it: the numbers are those of `block_costs`, and the sentences hold."""

from dataclasses import replace

from course_lib.block_costs import PALM, planning_table
from course_lib.classroom import planning

WORK = {"devices": 8, "tokens": 2048, "batch": 4, "training": True}


def test_the_table_is_the_numbers():
    lines = planning.table(planning.TPU_V4, **WORK).splitlines()
    assert lines[0].split() == ["serial", "parallel", "one", "all-reduce", "gain"]
    for line, row in zip(lines[1:], planning_table(planning.TPU_V4, **WORK), strict=True):
        name, serial, _, parallel, _, reduce, _, gain = line.split()
        assert name == row["model"]
        shown = [float(serial), float(parallel), float(reduce)]
        assert shown == [round(1e3 * row[key], 2) for key in ("serial", "parallel", "all_reduce")]
        assert gain == f"{row['gain']:.0%}"


def test_the_lesson_says_what_the_table_shows():
    """Next to nothing on one device; on eight, more for a smaller model; for 540B of the order of 15 %."""
    alone = planning_table(planning.TPU_V4, **WORK | {"devices": 1})
    assert all(row["gain"] < 0.03 for row in alone)
    gains = {row["model"]: row["gain"] for row in planning_table(planning.TPU_V4, **WORK)}
    assert gains["8B"] > gains["62B"] > gains["540B"]
    assert 0.05 < gains["540B"] < 0.3
    assert planning.gains_most(planning.TPU_V4, **WORK) == "8B"


def test_the_picture_draws_the_gains():
    (axis,) = planning.picture(planning.TPU_V4, **WORK).axes
    lines = {line.get_label(): line for line in axis.lines if line.get_label() in PALM}
    assert set(lines) == set(PALM)
    for i, (model, line) in enumerate(lines.items()):
        for link, gain in list(zip(*line.get_data(), strict=True))[::10]:
            row = planning_table(replace(planning.TPU_V4, link=link * 1e9), **WORK)[i]
            assert row["model"] == model
            assert abs(100 * row["gain"] - gain) < 1e-9
