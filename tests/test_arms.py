"""The arms differ in what they say they differ in, and in nothing else; and all are measured alike."""

import pytest
import torch

from course_lib import arms, blank_arms, recall
from course_lib.objectives import prefix_lm, prefix_lm_batch
from course_lib.training import target_loss

EVERYWHERE, CAUSAL, PREFIX = arms.ARMS


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def small(monkeypatch):
    """Sizes that train in a moment."""
    tiny = {"dim": 16, "layers": 1, "heads": 2, "batch_size": 2, "steps": 2}
    monkeypatch.setattr(arms, "STORYTELLER", arms.STORYTELLER | tiny)
    monkeypatch.setattr(arms, "TEXT", arms.TEXT | tiny)
    monkeypatch.setattr(arms, "HELD_OUT", 4)
    arms._corpus.cache_clear()  # what is kept was cut by other sizes
    yield
    arms._corpus.cache_clear()


def batch():
    return prefix_lm_batch(torch.arange(12).view(2, 6) + 50, [2, 4], lengths=[6, 5])


def test_an_arm_changes_the_mask_or_the_loss_and_never_the_tokens():
    prefix, causal, everywhere = (arms.as_arm(batch(), arm) for arm in (PREFIX, CAUSAL, EVERYWHERE))
    for one in (causal, everywhere):
        assert torch.equal(one.inputs, prefix.inputs)
        assert torch.equal(one.targets, prefix.targets)
        assert one.prefix_len.tolist() == [0, 0]
    assert prefix.prefix_len.tolist() == [2, 4]
    # five inputs; the first text has five of them, the second four; row P - 1 predicts the first target
    assert prefix.loss_mask.int().tolist() == [[0, 1, 1, 1, 1], [0, 0, 0, 1, 0]]
    assert torch.equal(causal.loss_mask, prefix.loss_mask)
    assert everywhere.loss_mask.int().tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 1, 0]]


def test_an_example_without_lengths_and_one_text_alone_are_read_alike():
    without = prefix_lm_batch(torch.arange(12).view(2, 6) + 50, [2, 4])._replace(lengths=None)
    alone = prefix_lm(torch.arange(6) + 50, 2)
    for arm, wanted in ((EVERYWHERE, [1, 1, 1, 1, 1]), (CAUSAL, [0, 1, 1, 1, 1])):
        assert arms.as_arm(without, arm).loss_mask.int()[0].tolist() == wanted
        assert arms.as_arm(alone, arm).loss_mask.int().tolist() == wanted
        assert arms.as_arm(alone, arm).prefix_len == 0
    with pytest.raises(TypeError, match="example must be an Example, such as prefix_lm_batch returns, got 3"):
        arms.as_arm(3, PREFIX)


@pytest.mark.parametrize("make", [arms.storyteller_run, arms.text_run])
def test_every_change_is_made(make, small):
    run = make(0, PREFIX, changes={"batch_size": 3, "steps": 5, "learning_rate": 0.5, "layers": 2, "block": "parallel"})
    assert run.batch_of(0).inputs.shape[0] == 3
    assert (run.steps, run.learning_rate) == (5, 0.5)
    assert (run.model.config.layers, run.model.config.block) == (2, "parallel")


def test_windows_and_words_are_as_many_as_asked_for(small):
    run = arms.text_run(0, PREFIX, changes={"window_len": 9, "words": 20})
    assert run.batch_of(0).inputs.shape[1] == 8
    assert run.model.config.vocab_size == len(arms.Vocabulary([])) + 20
    assert arms.corpus(None, 9, 20).held_out.shape[1] == 9


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ("ab", TypeError, "changes must be a dict, such as"),
        ({"vocab_size": 9}, ValueError, r"changes must be of attention, batch_size, .*; got \['vocab_size'\]"),
        ({"wings": 2, "dim": 8}, ValueError, r"steps, .*got \['wings'\]"),
        ({"window_len": 1}, ValueError, "window_len must be at least 2, got 1"),
        ({"words": 0}, ValueError, "words must be at least 1, got 0"),
    ],
)
def test_a_change_that_there_is_not_is_refused(changes, error, says):
    with pytest.raises(error, match=says):
        arms.text_run(0, PREFIX, changes=changes)
    if isinstance(changes, dict):
        with pytest.raises(ValueError, match="changes must be of"):
            arms.storyteller_run(0, PREFIX, changes={**changes, "window_len": 3})


@pytest.mark.parametrize("seed", [2**60, 2**63 - 1])
def test_any_seed_trains(seed, small, monkeypatch):
    """torch takes numbers of 64 bits, and a seed is mixed with the step."""
    monkeypatch.setattr(blank_arms, "BLANKS", blank_arms.BLANKS | {"dim": 16, "layers": 1, "heads": 2, "batch_size": 2})
    monkeypatch.setattr(blank_arms, "GLM", blank_arms.GLM | {"dim": 16, "layers": 1, "heads": 2, "batch_size": 2})
    makes = (
        lambda: arms.text_run(seed, PREFIX),
        lambda: arms.storyteller_run(seed, PREFIX),
        lambda: blank_arms.blank_arm_run(seed, blank_arms.BLANK_ARMS[0]),
        lambda: blank_arms.glm_run(seed),
        lambda: recall.recall_run(seed, next(iter(recall.ARMS)), batch_size=2, dim=16),
    )
    for make in makes:
        run = make()
        run.evaluate = None
        assert run.train(1).steps_done == 1


@pytest.mark.parametrize("make", [arms.storyteller_run, arms.text_run])
def test_arms_begin_alike_and_read_alike(make, small):
    runs = [make(seed=3, arm=arm) for arm in arms.ARMS]
    for run in runs[1:]:
        for mine, first in zip(run.model.parameters(), runs[0].model.parameters(), strict=True):
            assert torch.equal(mine, first)
        for step in (0, 7):
            assert torch.equal(run.batch_of(step).inputs, runs[0].batch_of(step).inputs)
    other = make(seed=4, arm=PREFIX)
    assert not torch.equal(other.batch_of(0).inputs, runs[2].batch_of(0).inputs)


@pytest.mark.parametrize("make", [arms.storyteller_run, arms.text_run])
def test_the_causal_arms_are_measured_on_the_same_targets_before_any_training(make, small):
    """Same weights, same mask, and the loss on targets whatever they train on: one number."""
    values = [
        run.evaluate(run.model)["target loss"] for run in (make(seed=0, arm=EVERYWHERE), make(seed=0, arm=CAUSAL))
    ]
    assert values[0] == values[1]


def test_a_run_trains_and_says_what_it_kept(small):
    record = arms.storyteller_run(seed=0, arm=PREFIX).train()
    assert record.steps_done == 2
    assert 0 <= record.evaluations[-1]["cards kept"] <= 1
    assert sum(record.tokens_taught) < sum(record.tokens_read)


def test_a_fixed_prefix_is_the_prefix_of_every_window(small):
    run = arms.text_run(seed=0, arm=PREFIX, prefix=arms.FIXED_PREFIX)
    assert run.batch_of(5).prefix_len.tolist() == [arms.FIXED_PREFIX] * 2
    drawn = torch.cat([arms.text_run(seed=0, arm=PREFIX).batch_of(step).prefix_len for step in range(40)])
    assert drawn.min() >= 1
    assert drawn.max() < arms.TEXT["window_len"]
    assert len(drawn.unique()) > 20


def test_held_out_windows_are_whole_and_not_trained_on():
    vocabulary, train, windows = arms.corpus()
    assert windows.shape == (arms.HELD_OUT, arms.TEXT["window_len"])
    assert windows.max() < len(vocabulary)
    text = " ".join(map(str, train.tolist()))
    seen = sum(" ".join(map(str, window.tolist())) in text for window in windows)
    assert seen == 0


def test_a_text_of_the_learners_own_is_cut_into_two_parts_and_trained_on(small):
    words = [f"word{i % 700}" for i in range(1400)]
    vocabulary, train, windows = arms.corpus(" ".join(words))
    assert vocabulary.decode(train) == " ".join(words[:1260])
    assert windows.shape == (2, arms.TEXT["window_len"])
    assert vocabulary.decode(windows.flatten()) == " ".join(words[1260 : 1260 + 128])
    run = arms.text_run(0, PREFIX, text=" ".join(words))
    assert "target loss" in run.train().evaluations[-1]
    assert run.record.objective == "a text, prefix uniform: prefix, loss on targets"


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: arms.storyteller_run(seed=0, arm="prefix"), "arm must be one of causal, loss everywhere; "),
        (lambda: arms.as_arm(batch(), "none"), "arm must be one of"),
        (lambda: arms.text_run(seed=0, arm=PREFIX, prefix=64), "prefix must be from 0 to 63, got 64"),
        (lambda: arms.storyteller_run(seed=-1, arm=PREFIX), "seed must be at least 0"),
        (
            lambda: arms.text_run(0, PREFIX, text="too short"),
            "text must have at least 1280 words, 20 windows of 64, got 2",
        ),
    ],
)
def test_what_there_is_not_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_the_target_loss_of_an_untrained_model_is_that_of_guessing(small):
    """Small weights say nothing yet: about log(V) nats a token."""
    run = arms.text_run(seed=0, arm=PREFIX)
    vocabulary, _, windows = arms.corpus()
    loss = target_loss(run.model, prefix_lm_batch(windows, 8))
    assert abs(loss - torch.tensor(float(len(vocabulary))).log()) < 0.5


class AskedError(Exception):
    """What a model was asked with: where each tensor lay."""


@pytest.mark.parametrize(
    "make",
    [
        lambda: blank_arms.blank_arm_run(0, blank_arms.BLANK_ARMS[0]),
        lambda: blank_arms.glm_run(0),
        lambda: recall.recall_run(0, next(iter(recall.ARMS))),
    ],
)
def test_a_model_on_another_device_is_measured_there(small, make):
    """The meta device stands in for a card: it holds no numbers, so the first question to the model is the last."""
    run = make()
    model = run.model.to("meta")

    def asked(*given, **named):
        tensors = [one for one in (*given, *named.values()) if isinstance(one, torch.Tensor)]
        raise AskedError({one.device.type for one in tensors})

    model.forward = asked
    with pytest.raises(AskedError, match=r"^{'meta'}$"):
        run.evaluate(model)


def test_the_stories_that_a_model_writes_are_written_on_its_device(small):
    run = arms.storyteller_run(0, PREFIX)

    def asked(tokens, *given, **named):
        raise AskedError(tokens.device.type)

    run.model.to("meta").generate = asked
    with pytest.raises(AskedError, match="meta"):
        arms._cards_kept(run.model, arms.story_vocabulary(), PREFIX)


def test_a_run_begins_alike_on_every_device(small, monkeypatch):
    """Its weights are drawn on the CPU, and moved before the optimizer sees them."""
    moved = []
    monkeypatch.setattr(arms.PrefixLM, "to", lambda model, device: moved.append(device) or model)
    for make in (arms.storyteller_run, arms.text_run):
        make(0, PREFIX, device="meta")
    blank_arms.glm_run(0, device="meta")
    blank_arms.blank_arm_run(0, blank_arms.BLANK_ARMS[0], device="meta")
    assert moved == [torch.device("meta")] * 4
