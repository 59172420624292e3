"""Recall: what is asked was told, what may be seen is what the order says, and the arms differ in what they say."""

import pytest
import torch

from course_lib import recall
from course_lib.recall import (
    ARMS,
    FACTS,
    FIRST_FACT,
    FIRST_QUESTION,
    ORDERS,
    QUESTIONS,
    VALUES,
    VOCAB_SIZE,
    recall_batch,
    recall_run,
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("order", ORDERS)
def test_every_question_is_answered_by_a_fact_of_the_prefix(order):
    batch = recall_batch(50, seed=1, order=order)
    length = int(batch.prefix_len[0])
    assert batch.inputs.shape[1] == length + QUESTIONS
    for inputs, targets in zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True):
        facts = dict(divmod(one - FIRST_FACT, VALUES) for one in inputs[:length] if one >= FIRST_FACT)
        assert len(facts) == FACTS
        for question, answer in zip(inputs[length:], targets[length:], strict=True):
            assert FIRST_QUESTION <= question < FIRST_FACT
            assert answer == facts[question - FIRST_QUESTION]
        assert len(set(inputs[length:])) == QUESTIONS
    assert batch.loss_mask.sum(1).tolist() == [QUESTIONS] * 50
    assert batch.loss_mask[:, -QUESTIONS:].all()


def test_the_orders_hold_the_same_facts_and_questions_in_other_places():
    first, last, twice = (
        recall_batch(3, seed=2, order=order).inputs for order in ("question first", "question last", "read twice")
    )
    facts, questions = last[:, :FACTS], last[:, FACTS : FACTS + QUESTIONS]
    assert torch.equal(first, torch.cat([questions, facts, questions], 1))
    assert torch.equal(twice, torch.cat([facts, questions, facts, questions, questions], 1))


def test_a_batch_is_a_function_of_its_seed_and_step():
    one, again, other, later = (recall_batch(4, seed=s, step=t).inputs for s, t in ((3, 0), (3, 0), (4, 0), (3, 1)))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, later)
    assert int(one.max()) < VOCAB_SIZE


def test_an_arm_changes_the_mask_or_the_order_and_never_the_facts():
    inputs = {}
    for arm, (attention, prefix, order) in ARMS.items():
        run = recall_run(0, arm, steps=1)
        batch = run.batch_of(0)
        assert run.model.config.attention == attention
        assert batch.prefix_len.unique().tolist() == [batch.inputs.shape[1] - QUESTIONS if prefix else 0]
        inputs.setdefault(order, batch.inputs)
        assert torch.equal(inputs[order], batch.inputs)


def test_a_facts_vector_is_its_keys_and_its_values_and_a_mark():
    model = recall_run(0, next(iter(ARMS)), steps=1).model
    fact = model.embedding(torch.tensor(FIRST_FACT + 5 * VALUES + 3))
    torch.testing.assert_close(fact, model.embedding.keys[5] + model.embedding.values[3] + model.embedding.marks[0])
    question = model.embedding(torch.tensor(FIRST_QUESTION + 5))
    torch.testing.assert_close(question, model.embedding.keys[5] + model.embedding.marks[1])
    assert model.embedding.weight.shape == (VOCAB_SIZE, model.config.dim)
    torch.testing.assert_close(model.embedding(torch.tensor(3)), model.embedding.answers[3])


def test_what_the_model_may_say_is_a_value():
    run = recall_run(0, next(iter(ARMS)), steps=1)
    logits, loss = run.model(
        *run.batch_of(0)[:1], 0, targets=run.batch_of(0).targets, loss_mask=run.batch_of(0).loss_mask
    )
    assert logits.shape[-1] == VALUES
    assert 0 < loss.item() < 10


def test_training_takes_steps_and_measures(monkeypatch):
    monkeypatch.setattr(recall, "HELD_OUT", 8)
    record = recall_run(0, "prefix, question last", steps=2).train()
    assert record.steps_done == 2
    assert 0 <= record.evaluations[-1]["recalled"] <= 1


def test_a_model_that_its_config_does_not_make_is_not_saved(tmp_path):
    """It could not be loaded again."""
    with pytest.raises(ValueError, match="its layers were replaced"):
        recall_run(0, next(iter(ARMS)), steps=1).save(tmp_path / "run.pt")
    assert list(tmp_path.iterdir()) == []


def test_refusals_in_words():
    with pytest.raises(ValueError, match="order must be one of question last, question first, read twice, got 'any'"):
        recall_batch(1, 0, order="any")
    with pytest.raises(ValueError, match="arm must be one of causal, question last"):
        recall_run(0, "best")
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        recall_batch(0, 0)
    with pytest.raises(ValueError, match="seed must not be 1000000: the held-out questions are drawn from it"):
        recall_run(10**6, next(iter(ARMS)))
    with pytest.raises(TypeError, match="seed must be a whole number, got nan"):
        recall_run(float("nan"), next(iter(ARMS)))
    with pytest.raises(ValueError, match=r"sizes must be of .*; got \['wings'\]"):
        recall_run(0, next(iter(ARMS)), wings=2)
