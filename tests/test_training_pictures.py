"""Loss curves: what they say on their axes, and a smoothing that neither lags nor invents."""

import pytest
from hostile_values import VALUES, refused
from matplotlib.figure import Figure

from course_lib.classroom.pictures import png
from course_lib.classroom.training_pictures import loss_curve, smoothed
from course_lib.training_record import Record


def a_record(losses) -> Record:
    record = Record(objective="x", config={}, settings={"steps": 10}, seed=0, machine="m", date="2026-01-01")
    for loss in losses:
        record.add_step(loss, 10, 7, 0.1)
    return record


def test_smoothing_is_a_mean_of_neighbours():
    losses = [(7 * i) % 11 / 3 for i in range(100)]
    for i, mean in enumerate(smoothed(losses)):
        half = min(i, 3)  # 100 / 40, rounded up
        around = losses[i - half : i + half + 1]
        assert mean == pytest.approx(sum(around) / len(around))
    straight = [5 - i / 50 for i in range(100)]
    assert smoothed(straight)[:97] == pytest.approx(straight[:97])  # no lag on a straight line
    assert smoothed([]) == []
    assert smoothed([2.0]) == [2.0]


@pytest.mark.parametrize(
    ("x", "label", "places"),
    [
        ("steps", "step", [1, 2, 3]),
        ("tokens read", "tokens read", [10, 20, 30]),
        ("tokens taught", "tokens that carried loss", [7, 14, 21]),
    ],
)
def test_the_axes_say_what_they_count(x, label, places):
    axis = loss_curve(a_record([3.0, 2.0, 1.0]), x=x).axes[0]
    assert axis.get_xlabel() == label
    assert axis.get_ylabel() == "loss, nats a token"
    assert list(axis.lines[0].get_xdata()) == places
    assert list(axis.lines[0].get_ydata()) == [3.0, 2.0, 1.0]


def test_several_records_differ_by_more_than_their_colour():
    figure = loss_curve({"causal": a_record([3.0, 2.0]), "prefix": a_record([2.0, 1.0])}, log=True, title="$ a_b")
    axis = figure.axes[0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["causal", "prefix"]
    assert axis.lines[1].get_linestyle() != axis.lines[3].get_linestyle()
    assert axis.get_yscale() == "log"
    assert png(figure).startswith(b"\x89PNG")


def test_a_run_that_has_not_begun_is_drawn_too():
    figure = loss_curve(a_record([]))
    assert isinstance(figure, Figure)
    assert "no step" in figure.axes[0].texts[0].get_text()
    png(figure)


@pytest.mark.parametrize("records", [{"a": 3}, {str(i): a_record([]) for i in range(7)}])
def test_what_is_no_record_is_refused(records):
    with pytest.raises(ValueError, match="records must be"):
        loss_curve(records)


def test_other_forms_are_refused_in_words():
    for value in [*VALUES.values(), [a_record([1.0])] * 2]:
        assert refused(lambda value=value: loss_curve(value), "records must be") or value == {}
        assert refused(lambda value=value: loss_curve(a_record([]), x=value), "x must be")


def test_an_unknown_axis_is_refused():
    with pytest.raises(ValueError, match="x must be one of steps, tokens read, tokens taught, got 'seconds'"):
        loss_curve(a_record([]), x="seconds")
