"""The blank arms differ in what they say they differ in; and one seed gives all of them the same blanks."""

import pytest
import torch

from course_lib import blank_arms
from course_lib.blank_arms import BLANK_ARMS, blank_arm_run, glm_run, lay_out
from course_lib.data import story_vocabulary
from course_lib.glm import blank_infilling, collate_blanks

V = story_vocabulary()
FULL, IN_ORDER, OWN_MASKS, NO_BLOCKS, ORIGINAL = BLANK_ARMS
IDS = list(range(V.first_word, V.first_word + 6))
SPANS = [(2, 3), (4, 6)]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small(monkeypatch):
    """Sizes that train in a moment."""
    tiny = {"dim": 16, "layers": 1, "heads": 2, "batch_size": 2, "steps": 2}
    for name in ("BLANKS", "GLM"):
        monkeypatch.setattr(blank_arms, name, getattr(blank_arms, name) | tiny)
    monkeypatch.setattr(blank_arms, "HELD_OUT", 3)


def changed(arm):
    """The fields in which an arm's layout differs from GLM's."""
    full, other = (lay_out(IDS, SPANS, [1, 0], one, V) for one in (FULL, arm))
    return {name for name in full._fields[:5] if not torch.equal(getattr(full, name), getattr(other, name))}


def test_glm_is_blank_infilling():
    marks = {"mask_id": V.MASK, "start_id": V.START, "end_id": V.END}
    wanted = blank_infilling(IDS, SPANS, order=[1, 0], **marks)
    for mine, given in zip(lay_out(IDS, SPANS, [1, 0], FULL, V), wanted, strict=True):
        assert torch.equal(mine, given) if torch.is_tensor(given) else mine == given


def test_each_arm_leaves_one_thing_out():
    assert changed(IN_ORDER) == set()  # the order is the caller's
    assert changed(OWN_MASKS) == {"tokens", "targets"}
    assert changed(NO_BLOCKS) == {"block_positions"}
    assert changed(ORIGINAL) == {"positions"}


def test_the_layouts_by_hand():
    own = lay_out(IDS, SPANS, [1, 0], OWN_MASKS, V)
    assert own.tokens[:5].tolist() == [IDS[0], IDS[1], V.sentinel(0), IDS[3], V.sentinel(1)]
    assert own.targets[:5].tolist() == own.tokens[:5].tolist()
    assert lay_out(IDS, SPANS, [1, 0], NO_BLOCKS, V).block_positions.tolist() == [0] * 10
    original = lay_out([*IDS, V.first_word], SPANS, [1, 0], ORIGINAL, V)
    assert original.positions.tolist() == [0, 1, 2, 3, 4, 6, 4, 4, 5, 2, 2]  # after the MASK of two comes 6: a gap
    assert lay_out(IDS, SPANS, None, ORIGINAL, V).positions.tolist() == [0, 1, 2, 3, 4, 2, 2, 4, 4, 5]


def test_arms_begin_alike_and_blank_alike(small):
    runs = {arm: blank_arm_run(3, arm) for arm in BLANK_ARMS}
    full = runs[FULL].batch_of(5)
    for arm, run in runs.items():
        for mine, first in zip(run.model.parameters(), runs[FULL].model.parameters(), strict=True):
            assert torch.equal(mine, first)
        batch = run.batch_of(5)
        assert torch.equal(batch["prefix_len"], full["prefix_len"])
        assert torch.equal(batch["lengths"], full["lengths"])
        if arm != OWN_MASKS:
            P = int(full["prefix_len"][0])
            assert torch.equal(batch["tokens"][0, :P], full["tokens"][0, :P])
    ordered = runs[IN_ORDER].batch_of(5)
    for row in range(2):
        written = ordered["positions"][row][ordered["loss_mask"][row]].tolist()
        assert written == sorted(written)
    shuffled = [full["positions"][row][full["loss_mask"][row]].tolist() for row in range(2)]
    assert any(row != sorted(row) for row in shuffled)


def test_a_run_trains_and_measures_both_orders(small):
    values = blank_arm_run(0, FULL).train().evaluations[-1]
    assert set(values) == {"step", "loss in order", "filled in order", "loss reversed", "filled reversed"}
    assert 0 <= values["filled in order"] <= 1


def test_filled_counts_blanks_that_are_right_to_the_end():
    """A model that knows everything but one word of the second blank."""
    example = lay_out(IDS, SPANS, None, FULL, V)
    batch = collate_blanks([example, example], V.PAD)

    class Knows(torch.nn.Module):
        def forward(self, tokens, prefix_len, *, targets, **rest):
            logits = torch.nn.functional.one_hot(targets, len(V)).float() * 50
            logits[1, -1] = 0  # the END of the last blank of the second text
            return logits, logits.sum()

    assert blank_arms._filled(Knows(), batch)[1] == 3 / 4


def test_the_mixed_run_reads_and_writes(small, monkeypatch):
    run = glm_run(0)
    assert set(run.train().evaluations[-1]) == {"step", "short blanks, loss", "filled", "long blank, loss"}
    monkeypatch.setitem(blank_arms.GLM, "batch_size", 40)
    batch = glm_run(0).batch_of(0)
    long = (batch["tokens"] == V.GMASK).any(1)
    assert 6 < int(long.sum()) < 26
    row = int(long.nonzero()[0])
    P, length = int(batch["prefix_len"][row]), int(batch["lengths"][row])
    assert V.decode(batch["tokens"][row, :P]).endswith(". [GMASK] [EOS]")  # the outline, and one blank for the story
    assert batch["targets"][row, length - 1] == V.END


def test_the_mixed_run_takes_any_text(small, monkeypatch):
    """Windows of a text, framed; the long blank is the second half of one."""
    text = " ".join(f"word{i % 300}" for i in range(1400))
    run = glm_run(1, text=text)
    assert "filled" in run.train().evaluations[-1]
    monkeypatch.setitem(blank_arms.GLM, "batch_size", 10)
    batch = glm_run(1, text=text).batch_of(0)
    row = int((batch["tokens"] == V.GMASK).any(1).nonzero()[0])
    P, length = int(batch["prefix_len"][row]), int(batch["lengths"][row])
    read = batch["tokens"][row, :P].tolist()
    assert (read[0], read[-2], read[-1]) == (V.BOS, V.GMASK, V.EOS)
    assert (P, length) == (1 + 32 + 2, 35 + 1 + 32)  # BOS, half a window, GMASK and EOS; then START and the other half
    assert batch["targets"][row, length - 1] == V.END


def test_an_arm_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"arm must be one of GLM, .*, got 'BERT'"):
        blank_arm_run(0, "BERT")
