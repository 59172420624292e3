"""Pictures that are drawn from what a lesson computed show just that."""

import torch

from course_lib.classroom import lesson_pictures
from course_lib.classroom.palette import LIGHT
from course_lib.masks import prefix_mask


def test_rows_apart_has_a_bar_for_each_row_with_its_number():
    apart = {"1 layer": [0.5, 0.25, 0.0], "3 layers": [0.5, 1.0, 2.0]}
    figure = lesson_pictures.rows_apart(apart, prefix_len=1)
    for axis, (name, rows) in zip(figure.axes, apart.items(), strict=True):
        assert axis.get_title() == name
        assert [bar.get_height() for bar in axis.patches] == rows
        assert [text.get_text() for text in axis.texts] == ["0" if row == 0 else f"{row:.2f}" for row in rows]
        colours = [tuple(round(255 * part) for part in bar.get_facecolor()[:3]) for bar in axis.patches]
        wanted = [tuple(bytes.fromhex(LIGHT[role][1:])) for role in ("prefix", "target", "target")]
        assert colours == wanted


def test_a_difference_that_is_not_zero_is_not_called_zero():
    (axis,) = lesson_pictures.rows_apart({"tiny": [1e-9]}, prefix_len=0).axes
    assert axis.texts[0].get_text() != "0"


def test_seen_by_model_names_what_each_boundary_makes_of_it():
    seen = {P: prefix_mask(P, 5) for P in (0, 2, 5)}
    figure = lesson_pictures.seen_by_model(seen)
    assert [axis.get_title() for axis in figure.axes] == ["P = 0: a decoder", "P = 2: a prefix LM", "P = 5: an encoder"]
    for axis, cells in zip(figure.axes, seen.values(), strict=True):
        shown = torch.tensor(axis.images[0].get_array()[:, :, 3])  # opaque where something was seen
        assert torch.equal(shown.bool(), cells)
