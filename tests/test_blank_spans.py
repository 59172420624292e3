"""The spans that GLM blanks: their lengths, their places, and that they come to an end however odd the wish."""

import itertools
import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch

from course_lib import blank_spans
from course_lib.blank_arms import lay_out
from course_lib.blank_spans import sample_document_span, sample_sentences, sample_spans
from course_lib.glm import blank_infilling
from course_lib.objectives import corrupt_spans, noise_spans, ul2
from course_lib.vocabulary import Vocabulary

WORDS = Vocabulary(["a", "b", "c"])


def apart(spans, length):
    assert all(start < end for start, end in spans)
    assert all(one[1] < other[0] for one, other in pairwise(spans))
    assert not spans or (spans[0][0] >= 0 and spans[-1][1] <= length)


def test_sampled_spans_cover_the_ratio_and_lie_apart():
    generator = torch.Generator().manual_seed(0)
    for length in (1, 2, 5, 7, 40, 200):
        for _ in range(60):
            spans = sample_spans(length, generator=generator)
            apart(spans, length)
            covered = [end - start for start, end in spans]
            assert sum(covered) >= 0.15 * length


def test_lengths_are_poisson_without_its_zero():
    generator, lengths = torch.Generator().manual_seed(1), Counter()
    for _ in range(2500):
        lengths.update(end - start for start, end in sample_spans(60, generator=generator))
    drawn = sum(lengths.values())
    for k in range(1, 7):
        expected = 3**k * math.exp(-3) / math.factorial(k) / (1 - math.exp(-3))
        # stopping at the ratio is no choice of a length; only what no longer fits is drawn anew, which is rare here
        assert lengths[k] / drawn == pytest.approx(expected, abs=4 * math.sqrt(expected / drawn))
    mean = sum(k * n for k, n in lengths.items()) / drawn
    assert mean == pytest.approx(3 / (1 - math.exp(-3)), abs=0.08)


def test_every_way_to_lay_down_spans_is_as_likely():
    """Spans of 2 and 1 in a text of 6: three tokens stay, so four places, of which two are chosen: six ways."""
    generator = torch.Generator().manual_seed(2)
    ways = Counter(tuple(blank_spans._laid_down([2, 1], 6, generator)) for _ in range(6000))
    assert len(ways) == 6
    assert max(abs(count - 1000) for count in ways.values()) < 150  # five standard deviations


def test_the_same_seed_draws_the_same():
    for draw in (sample_spans, sample_document_span):
        one, other = (draw(50, generator=torch.Generator().manual_seed(7)) for _ in range(2))
        assert one == other


def test_a_document_span_is_half_of_the_text_or_more_and_ends_with_it():
    generator = torch.Generator().manual_seed(3)
    drawn = [sample_document_span(20, generator=generator)[0] for _ in range(2000)]
    assert {end for _, end in drawn} == {20}
    assert {end - start for start, end in drawn} == set(range(10, 21))
    anywhere = {sample_document_span(4, at_end=False, generator=generator)[0] for _ in range(400)}
    assert anywhere == {(0, 2), (1, 3), (2, 4), (0, 3), (1, 4), (0, 4)}
    assert sample_document_span(1, generator=generator) == [(0, 1)]


def test_chosen_sentences_are_whole_and_never_neighbours():
    sentences = [(0, 4), (4, 9), (9, 12), (12, 20), (20, 23)]
    generator = torch.Generator().manual_seed(4)
    seen = set()
    for _ in range(300):
        chosen = sample_sentences(sentences, mask_ratio=0.3, generator=generator)
        assert set(chosen) <= set(sentences)
        apart(chosen, 23)
        assert sum(end - start for start, end in chosen) >= 0.3 * 23
        seen.update(chosen)
    assert seen == set(sentences)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: sample_spans(40, mask_ratio=0.9), "length = 40 is too short: spans of about 3 tokens"),
        (lambda: sample_spans(0), "length must be from 1 to 1048576, got 0"),
        (lambda: sample_spans(2**50), "length must be from 1 to 1048576"),
        (lambda: sample_spans(9, mask_ratio=0), "mask_ratio must be above 0 and below 1, got 0"),
        (lambda: sample_spans(9, mean_length=1e-30), "mean_length must be at least 0.1 and at most 1000000, got 1e-30"),
        (lambda: sample_document_span(9, low=0.9, high=0.5), "low must be at most high = 0.5, got 0.9"),
        (lambda: sample_document_span(2**63 - 1), "length must be from 1 to 1048576"),
        (lambda: sample_sentences([(0, 5), ()]), r"got \(\) as sentences\[1\]"),
        (lambda: sample_sentences([]), "sentences are 0, too few"),
        (lambda: sample_sentences([(0, 5), (5, 9)], mask_ratio=0.9), "under 90%; take more sentences"),
        (lambda: sample_sentences([(4, 9), (0, 4)]), r"got \(0, 4\) as sentences\[1\]"),
    ],
)
def test_what_cannot_be_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


@pytest.mark.usefixtures("in_time")
def test_a_very_long_text_takes_seconds_and_one_too_dense_is_given_up():
    spans = sample_spans(2**18, generator=torch.Generator().manual_seed(0))
    apart(spans, 2**18)
    assert sum(end - start for start, end in spans) / 2**18 == pytest.approx(0.15, abs=0.001)
    with pytest.raises(ValueError, match="length = 1048576 is too short"):
        sample_spans(2**20, mask_ratio=0.95)


def test_a_numpy_share_is_a_share():
    one, other = (
        sample_spans(60, mask_ratio=share, generator=torch.Generator().manual_seed(5))
        for share in (0.25, np.float32(0.25))
    )
    assert one == other


@pytest.mark.parametrize(
    "draw", [sample_spans, sample_document_span, noise_spans, lambda n, **more: ul2([60] * n, WORDS, **more)]
)
def test_a_generator_is_one_of_torchs(draw):
    for wrong in (0, "cpu", torch.Generator):
        with pytest.raises(TypeError, match=r"generator must be a torch.Generator on the CPU, or None, got"):
            draw(9, generator=wrong)


@pytest.mark.parametrize("spans", [math.nan, itertools.repeat((1, 2)), {(1, 2)}, torch.ones(2, 2), [(1, 2, 3)], [3]])
@pytest.mark.parametrize(
    "call",
    [
        lambda spans: blank_infilling([60] * 9, spans, mask_id=4, start_id=6, end_id=7),
        lambda spans: corrupt_spans([60] * 9, spans, WORDS),
        lambda spans: lay_out([60] * 9, spans, None, "GLM", WORDS),
        lambda spans: sample_sentences(spans),
    ],
)
def test_spans_that_are_none_are_refused_by_name(call, spans):
    with pytest.raises((TypeError, ValueError), match=r"^(spans|sentences)(\[0\])? must be"):
        call(spans)


def test_spans_may_be_a_tensor():
    for spans in (torch.tensor([[1, 3], [5, 6]]), np.array([[1, 3], [5, 6]])):
        assert [one.tolist() for one in corrupt_spans([60] * 9, spans, WORDS)] == [
            one.tolist() for one in corrupt_spans([60] * 9, [(1, 3), (5, 6)], WORDS)
        ]
