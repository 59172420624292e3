"""The picture of lesson 07: the counted claim is the formula's."""

import pytest

from course_lib.classroom import prefix_linear_pictures as pictures


def test_all_prefix_counts_half_and_falls_evenly():
    """C = Dk = Dv: causal is 4 d d + 4 C d a token, prefix 4 d d."""
    assert pictures.counted_costs() == pytest.approx([1, 0.875, 0.75, 0.625, 0.5], abs=0.006)


def test_the_claim_is_drawn_with_the_guess():
    (axis,) = pictures.costs([1, 1, 1, 1, 1]).axes
    lines = {line.get_label(): line.get_ydata() for line in axis.lines}
    assert lines["softmax, pairs"][-1] == pytest.approx(2, abs=0.01)
    assert lines["linear, operations"][-1] == pytest.approx(0.5)
    assert list(lines["your guess"]) == [1] * 5
