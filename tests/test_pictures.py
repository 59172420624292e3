"""Pictures of masks: what a cell looks like must follow from the mask."""

import io
import warnings

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from course_lib.classroom.palette import LIGHT
from course_lib.classroom.pictures import draw_mask, png
from course_lib.masks import bidirectional_mask, causal_mask, prefix_mask


def colours_of(figure: Figure, T: int) -> list[list[str]]:
    """Draw the figure and name the colour near a corner of each cell, where no dot and no line is."""
    pixels = matplotlib.image.imread(io.BytesIO(png(figure)))[:, :, :3]
    axis = figure.axes[0]
    names = {name: np.array(to_rgb(LIGHT[name])) for name in ("prefix", "target", "added", "cross")}

    def name(i, j):
        x, y = axis.transData.transform((j + 0.25, i + 0.25))
        pixel = pixels[round(pixels.shape[0] - y), round(x)]
        return next((name for name, colour in names.items() if abs(colour - pixel).max() < 0.02), "closed")

    return [[name(i, j) for j in range(T)] for i in range(T)]


def test_a_prefix_mask_shows_prefix_target_and_what_is_added():
    P, T = 3, 6
    seen = colours_of(draw_mask(prefix_mask(P, T), prefix_len=P), T)
    for i in range(T):
        for j in range(T):
            open_role = "added" if j > i else "prefix" if j < P else "target"
            assert seen[i][j] == (open_role if j <= i or (j < P and i < P) else "closed")


def test_the_cross_block_of_an_encoder_decoder_has_a_colour_of_its_own():
    seen = colours_of(draw_mask(prefix_mask(2, 4), prefix_len=2, kind="encoder-decoder"), 4)
    assert seen == [
        ["prefix", "prefix", "closed", "closed"],
        ["prefix", "prefix", "closed", "closed"],
        ["cross", "cross", "target", "closed"],
        ["cross", "cross", "target", "target"],
    ]


def test_encoder_and_decoder():
    assert colours_of(draw_mask(bidirectional_mask(2), kind="encoder"), 2) == [["prefix", "added"], ["prefix"] * 2]
    assert colours_of(draw_mask(causal_mask(2), kind="decoder"), 2) == [["target", "closed"], ["target"] * 2]


@pytest.mark.parametrize("make", [torch.tensor, np.array, list])
def test_a_mask_comes_as_tensor_array_or_list(make):
    assert colours_of(draw_mask(make([[1, 0], [1, 1]])), 2) == [["target", "closed"], ["target", "target"]]


def test_tokens_are_labels_and_never_mathematics():
    tokens = ["$x^2$", "\\frac", "_a_", "$"]
    figure = draw_mask(causal_mask(4), tokens=tokens, title="$5 or 5 $?")
    png(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == tokens
    assert figure.axes[0].get_title() == "$5 or 5 $?"


def test_letters_that_the_font_has_not_become_indexes_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = draw_mask(causal_mask(4), tokens=["灯笼", "lamp", "👩‍👩‍👧‍👦", "x" * 40])
        png(figure)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["0", "lamp", "2", "x" * 11 + "…"]


@pytest.mark.parametrize("T", [0, 1, 2, 32, 33, 65, 256])
def test_every_size_can_be_drawn(T):
    picture = png(draw_mask(prefix_mask(T // 3, T), tokens=[str(i) for i in range(T)], prefix_len=T // 3, title="t"))
    assert picture.startswith(b"\x89PNG")
    assert len(picture) < 150_000


def test_it_can_draw_on_axes_of_yours():
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert draw_mask(causal_mask(3), ax=right, legend=False) is figure
    assert not left.images
    assert right.images
    assert right.get_legend() is None


def test_drawing_leaves_no_figure_behind():
    import matplotlib.pyplot as plt

    draw_mask(causal_mask(3))
    assert plt.get_fignums() == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"mask": torch.ones(2, 3)}, r"mask must be square, \(T, T\), got shape \(2, 3\)"),
        ({"mask": torch.ones(2, 2), "tokens": ["a"]}, "tokens must be 2, one a row of the mask, got 1"),
        ({"mask": torch.ones(2, 2), "prefix_len": 3}, "prefix_len must be from 0 to 2, got 3"),
        ({"mask": torch.ones(2, 2), "kind": "both"}, "kind must be one of encoder, .*, got 'both'"),
        ({"mask": torch.full((2, 2), -torch.inf)}, "mask must hold only bools, or zeros and ones"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(arguments, says):
    with pytest.raises(ValueError, match=says):
        draw_mask(**arguments)


def test_a_packed_picture_has_the_colours_that_were_drawn():
    """Soft edges and a colour map included: no channel is off by more than a hair."""
    figure = draw_mask(prefix_mask(3, 7), prefix_len=3, title="soft edges of letters")
    figure.axes[0].imshow(np.linspace(0, 1, 400).reshape(20, 20), cmap="cividis", extent=(0, 2, 2, 0), zorder=9)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", facecolor=LIGHT["paper"])
    before, after = (matplotlib.image.imread(io.BytesIO(one))[:, :, :3] for one in (drawn.getvalue(), png(figure)))
    assert np.abs(before - after).max() < 0.06
    assert np.abs(before - after).mean() < 0.002
    assert len(png(figure)) < 0.6 * len(drawn.getvalue())
