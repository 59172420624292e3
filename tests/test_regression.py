"""Regression in context: the texts are solvable, the masks do what they say, and the training repeats."""

import pytest
import torch

from course_lib.regression import REGRESSION, InContextRegression, regression_batch, relative_error, train_regression

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_is_asked_is_what_the_examples_determine():
    tokens, asked = regression_batch(5, seed=1, dim=3, examples=6)
    assert tokens.shape == (5, 7, 4)
    for text, y in zip(tokens.double(), asked.double(), strict=True):
        w = torch.linalg.lstsq(text[:6, :3], text[:6, 3:]).solution[:, 0]
        assert text[6, :3] @ w == pytest.approx(y.item(), abs=1e-5)
        assert text[6, 3] == 0
        assert w.norm().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(tokens[..., :3].norm(dim=-1), torch.full((5, 7), 3**0.5))


def test_a_batch_is_a_function_of_its_seed_and_step():
    one, again, other, later = (regression_batch(4, seed=s, step=t)[0] for s, t in ((3, 0), (3, 0), (4, 0), (3, 1)))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert not torch.equal(one, later)


def by_loops(model, tokens, prefix_len):
    """One text, one number at a time: each example reads those it may see, the last token reads all of them."""
    rows = [row.tolist() for row in tokens.double()]
    count = len(rows) - 1
    for layer in model.layers:
        weights = {name: layer[name].weight.double().tolist() for name in ("query", "key", "value")}
        q, k, v = ([[sum(w * x for w, x in zip(line, row, strict=True)) for line in weights[name]] for row in rows]
                   for name in ("query", "key", "value"))  # fmt: skip
        for i in range(len(rows)):
            for j in range(count):
                if i == count or j <= i or j < prefix_len:
                    score = sum(a * b for a, b in zip(q[i], k[j], strict=True)) / count
                    rows[i] = [x + score * value for x, value in zip(rows[i], v[j], strict=True)]
    return rows[-1][-1]


@pytest.mark.parametrize("prefix_len", [0, 3, 5])
def test_the_model_is_linear_attention_by_its_definition(prefix_len):
    torch.manual_seed(0)
    model = InContextRegression(dim=2, layers=2)
    tokens, _ = regression_batch(2, seed=0, dim=2, examples=5)
    found = model(tokens, prefix_len).tolist()
    assert found == pytest.approx([by_loops(model, text, prefix_len) for text in tokens], abs=1e-5)


def test_one_layer_answers_the_same_under_both_masks_and_two_do_not():
    torch.manual_seed(0)
    tokens, _ = regression_batch(3, seed=0)
    for layers in (1, 2):
        model = InContextRegression(8, layers)
        causal, prefix = (model(tokens, P) for P in (0, 24))
        assert torch.allclose(causal, prefix, atol=1e-6) == (layers == 1)


def test_training_repeats_and_learns(monkeypatch):
    monkeypatch.setitem(REGRESSION, "steps", 60)
    monkeypatch.setitem(REGRESSION, "batch_size", 32)
    before = torch.get_rng_state()
    (model, losses), (_, again) = (train_regression(0, prefix=True, layers=1) for _ in range(2))
    assert losses == again
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])
    assert torch.equal(torch.get_rng_state(), before)
    assert relative_error(model, prefix=True) < 0.9


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_the_rate_is_back_at_its_lowest_when_the_steps_are_done(steps, monkeypatch):
    """However many there are; and the first of them are those of the whole run."""
    monkeypatch.setitem(REGRESSION, "batch_size", 4)
    rates, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(
        torch.optim.AdamW, "step", lambda self: (rates.append(self.param_groups[0]["lr"]), step(self))[1]
    )
    _, losses = train_regression(0, prefix=True, layers=1, steps=steps)
    assert len(rates) == steps
    assert rates[-1] == min(rates) < REGRESSION["learning_rate"] / 1000
    assert train_regression(0, prefix=True, layers=1, steps=steps, until=1)[1] == losses[:1]


def test_more_steps_than_were_recorded_are_trained(monkeypatch):
    monkeypatch.setitem(REGRESSION, "batch_size", 2)
    monkeypatch.setitem(REGRESSION, "steps", 3)
    assert len(train_regression(2**60, prefix=True, layers=1, steps=5)[1]) == 5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: regression_batch(0, 0), "size must be at least 1, got 0"),
        (lambda: InContextRegression(8, 0), "layers must be at least 1, got 0"),
        (lambda: train_regression(0, prefix=True, layers=1, steps=0), "steps must be at least 1, got 0"),
        (
            lambda: train_regression(0, prefix=True, layers=1, steps=2, until=3),
            "until must be from 0 to steps = 2, got 3",
        ),
        (lambda: train_regression(10**6, prefix=True, layers=1), "seed must not be 1000000: the held-out texts"),
        (lambda: InContextRegression(8, 1)(torch.zeros(2, 1, 9), 0), r"tokens must be .* dim \+ 1 = 9\), at least one"),
        (lambda: InContextRegression(8, 1)(torch.zeros(2, 4, 8), 0), r"tokens must be .* dim \+ 1 = 9\), at least one"),
    ],
)
def test_refusals_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()
