"""The choice of the next token against the definitions of top-k and top-p, by loops."""

import math

import pytest
import torch
from torch import nn

from course_lib.generation import evaluating, next_token_probs, read_prompt


def softmax(scores):
    weights = [math.exp(x) for x in scores]
    return [w / sum(weights) for w in weights]


def chosen_by_loops(logits, temperature, top_k, top_p):
    """Go from the likeliest token down, and stop when k are kept or their share of the k reaches p."""
    probs = softmax([x / temperature for x in logits])
    order = sorted(range(len(probs)), key=lambda i: -probs[i])
    kept = order[: top_k or len(order)]
    whole = sum(probs[i] for i in kept)
    nucleus, share = [], 0.0
    for i in kept:
        nucleus.append(i)
        share += probs[i] / whole
        if top_p is not None and share >= top_p:
            break
    left = sum(probs[i] for i in nucleus)
    return [probs[i] / left if i in nucleus else 0.0 for i in range(len(probs))]


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("top_k", [None, 1, 3, 8])
@pytest.mark.parametrize("top_p", [None, 1e-9, 0.5, 0.9, 1.0])
def test_temperature_then_top_k_then_top_p(temperature, top_k, top_p):
    logits = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    probs = next_token_probs(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    wanted = [chosen_by_loops(row, temperature, top_k, top_p) for row in logits.tolist()]
    torch.testing.assert_close(probs, torch.tensor(wanted, dtype=torch.float64))


def test_the_nucleus_is_as_small_as_it_can_be():
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    assert [(next_token_probs(logits, top_p=p) > 0).sum().item() for p in (0.1, 0.5, 0.51, 0.75, 0.76)] == [
        1,
        1,
        2,
        2,
        3,
    ]


def test_ties_keep_exactly_k_and_zero_takes_the_first():
    logits = torch.zeros(1, 5)
    assert (next_token_probs(logits, top_k=2) > 0).sum() == 2
    assert next_token_probs(logits, temperature=0).tolist() == [[1, 0, 0, 0, 0]]
    assert next_token_probs(torch.tensor([[1.0, 4.0, 4.0]]), temperature=0).tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("options", [{}, {"temperature": 0}, {"temperature": 5e-324}, {"top_k": 3}, {"top_p": 0.9}])
def test_a_token_at_minus_infinity_is_as_if_it_were_not_there(options):
    logits = torch.randn(2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    banned = logits.clone()
    banned[:, [0, 5]] = -math.inf
    probs, left = next_token_probs(banned, **options), [1, 2, 3, 4, 6, 7]
    assert probs[:, [0, 5]].sum() == 0
    torch.testing.assert_close(probs[:, left], next_token_probs(logits[:, left], **options))


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-30, 1e30, 1e308])
def test_no_temperature_overflows(temperature):
    probs = next_token_probs(torch.tensor([[-60.0, 80.0, 0.0]]), temperature=temperature)
    wanted = [0, 1, 0] if temperature < 1 else [1 / 3] * 3
    torch.testing.assert_close(probs, torch.tensor([wanted], dtype=torch.float32))


def test_16_bit_logits_give_32_bit_probabilities():
    probs = next_token_probs(torch.randn(2, 300, generator=torch.Generator().manual_seed(0)).bfloat16())
    assert probs.dtype == torch.float32
    torch.testing.assert_close(probs.sum(1), torch.ones(2))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"temperature": -0.1}, "temperature must be finite and at least 0"),
        ({"temperature": math.nan}, "temperature must be finite and at least 0"),
        ({"temperature": math.inf}, "temperature must be finite and at least 0"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1, got 0"),
        ({"top_p": 1.1}, "top_p must be above 0 and at most 1, got 1.1"),
        ({"top_p": math.nan}, "top_p must be above 0"),
        ({"top_k": 0}, "top_k must be from 1 to vocab_size = 4, got 0"),
        ({"top_k": 5}, "top_k must be from 1 to vocab_size = 4, got 5"),
    ],
)
def test_choices_that_there_are_not(wrong, words):
    with pytest.raises(ValueError, match=words):
        next_token_probs(torch.zeros(1, 4), **wrong)


def test_other_refusals():
    for wrong in ({"temperature": "hot"}, {"temperature": True}, {"top_p": "all"}, {"top_k": 2.0}):
        with pytest.raises(TypeError, match=f"{next(iter(wrong))} must be a"):
            next_token_probs(torch.zeros(1, 4), **wrong)
    for wrong in ([0.0, math.nan], [0.0, math.inf], [-math.inf, math.nan], [-math.inf, -math.inf]):
        with pytest.raises(ValueError, match=r"-inf for a token that is banned, .* did the training diverge"):
            next_token_probs(torch.tensor([[0.0, 1.0], wrong]))
    with pytest.raises(ValueError, match="logits must be floats"):
        next_token_probs(torch.zeros(4))


def test_a_prompt_is_read_in_each_of_its_forms():
    for given in ([4, 5, 6], (4, 5, 6), torch.tensor([4, 5, 6]), torch.tensor([[4, 5, 6]])):
        ids, seen, longest = read_prompt(given)
        assert ids.tolist() == [[4, 5, 6]]
        assert (seen.prefix_len, seen.lengths, longest) == ((3,), (3,), 3)
    ids, seen, longest = read_prompt(torch.zeros(2, 5, dtype=torch.int64), lengths=[2, 4], prefix_len=1)
    assert (seen.prefix_len, seen.lengths, longest) == (1, (2, 4), 4)
    for empty in ([], torch.zeros(1, 0, dtype=torch.int64), torch.zeros(0, 3, dtype=torch.int64)):
        with pytest.raises(ValueError, match="prompt must not be empty"):
            read_prompt(empty)
    with pytest.raises(ValueError, match="prompt must not be empty"):
        read_prompt(torch.zeros(2, 5, dtype=torch.int64), lengths=[2, 0])
    with pytest.raises(ValueError, match="lengths must have one entry for each of the 2 prompts, got 1"):
        read_prompt(torch.zeros(2, 5, dtype=torch.int64), lengths=[2])
    with pytest.raises(ValueError, match=r"lengths\[1\] must be from 0 to the length of the prompt = 5, got 6"):
        read_prompt(torch.zeros(2, 5, dtype=torch.int64), lengths=[2, 6])
    with pytest.raises(ValueError, match=r"prompt must be a list of ids, or a tensor .*: vocabulary.encode\(text\)"):
        read_prompt("once upon a time")
    with pytest.raises(TypeError, match=r"prompt\[1\] must be a whole number, got 'b'"):
        read_prompt([1, "b"])
    for batch in ([[1, 2], [3]], [torch.tensor([1, 2])]):
        with pytest.raises(
            TypeError, match=r"prompt must be a list of ids, got one of .*: a batch is a tensor \(B, T\)"
        ):
            read_prompt(batch)


def test_every_part_keeps_its_mode():
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    model[1].eval()
    before = [part.training for part in model.modules()]

    def interrupted():
        with evaluating(model):
            assert not any(part.training for part in model.modules())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [part.training for part in model.modules()] == before
