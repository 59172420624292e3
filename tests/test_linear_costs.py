"""Counts of linear attention against a loop that does the work and counts every multiplication."""

import pytest
import torch

from course_lib.linear_costs import FORMS, chunks, linear_cost, state_bytes
from course_lib.masks import prefix_mask

DK, DV = 3, 5


class Counted:
    """Products of matrices, and what they cost."""

    def __init__(self):
        self.flops = {"state": 0, "read": 0, "pairs": 0}

    def product(self, kind, a, b):
        self.flops[kind] += 2 * a.shape[0] * a.shape[1] * b.shape[1]
        return a @ b


def quadratic(count, q, k, v, P):
    scores = count.product("pairs", q, k.T) * prefix_mask(P, len(q))
    return count.product("pairs", scores, v), int(len(q) > 0)


def recurrent(count, q, k, v, P):
    state, steps, out = count.product("state", k[:P].T, v[:P]), int(P > 0), []
    if P:
        out.append(count.product("read", q[:P], state))
    for t in range(P, len(q)):
        state = state + count.product("state", k[t : t + 1].T, v[t : t + 1])
        out.append(count.product("read", q[t : t + 1], state))
        steps += 1
    return torch.cat(out), steps


def chunked(count, q, k, v, P, C):
    state, steps, out = count.product("state", k[:P].T, v[:P]), int(P > 0), []
    if P:
        out.append(count.product("read", q[:P], state))
    for begin in range(P, len(q), C):
        one = slice(begin, min(begin + C, len(q)))
        tile = count.product("pairs", q[one], k[one].T).tril()
        out.append(count.product("read", q[one], state) + count.product("pairs", tile, v[one]))
        state = state + count.product("state", k[one].T, v[one])
        steps += 1
    return torch.cat(out), steps


@pytest.mark.parametrize("C", [1, 2, 4, 7, 20])
@pytest.mark.parametrize("P", [0, 1, 4, 10, 11])
@pytest.mark.parametrize("form", FORMS)
def test_the_counts_are_those_of_the_work(form, P, C):
    rng = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(11, d, dtype=torch.float64, generator=rng) for d in (DK, DK, DV))
    count = Counted()
    out, steps = {
        "quadratic": lambda: quadratic(count, q, k, v, P),
        "recurrent": lambda: recurrent(count, q, k, v, P),
        "chunked": lambda: chunked(count, q, k, v, P, C),
    }[form]()
    torch.testing.assert_close(out, (q @ k.T * prefix_mask(P, 11)) @ v)  # the work is the right work
    cost = linear_cost(form, P, 11, key_dim=DK, value_dim=DV, chunk=C)
    assert {"state": cost.state, "read": cost.read, "pairs": cost.pairs} == count.flops
    assert cost.flops == sum(count.flops.values())
    assert cost.steps == steps


@pytest.mark.parametrize("P", [0, 5])
@pytest.mark.parametrize("form", FORMS)
def test_a_text_too_long_to_write_its_chunks_down_is_counted(form, P):
    T, C, each = 2**40 + 9, 64, DK + DV
    cost = linear_cost(form, P, T, key_dim=DK, value_dim=DV, chunk=C)
    chunks_of_all = [(C, (T - P) // C), ((T - P) % C, 1)]
    pairs = {"quadratic": 2 * T**2 * each, "chunked": sum(n * 2 * c**2 * each for c, n in chunks_of_all)}
    assert cost.pairs == pairs.get(form, 0)
    steps = {"quadratic": 1, "recurrent": T - P + (P > 0), "chunked": 2**34 + 1 + (P > 0)}
    assert cost.steps == steps[form]
    with pytest.raises(ValueError, match="chunk must be at least 1048577 for so long a text"):
        chunks(P, T, C)


def test_chunks_cover_the_target_once():
    for P in range(8):
        pieces = chunks(P, 7 + P, 3)
        assert [i for begin, end in pieces for i in range(begin, end)] == list(range(P, 7 + P))
        assert all(end - begin == 3 for begin, end in pieces[:-1])


def test_all_prefix_is_two_products_and_half_of_causal_at_64():
    """C = Dk = Dv = 64: 4 d d against 4 d d + 4 C d, so twice."""
    sizes = {"key_dim": 64, "value_dim": 64, "chunk": 64}
    causal, prefix = (linear_cost("chunked", P, 4096, **sizes) for P in (0, 4096))
    assert prefix.flops == 4 * 4096 * 64 * 64
    assert causal.flops == 2 * prefix.flops
    assert (causal.steps, prefix.steps) == (64, 1)


def test_no_tokens_cost_nothing():
    for form in FORMS:
        cost = linear_cost(form, 0, 0, key_dim=2, value_dim=2)
        assert (cost.flops, cost.steps) == (0, 0)


def test_a_state_is_as_large_as_its_tensors():
    state = [torch.zeros(8, 64, 32), torch.zeros(8, 64)]
    assert state_bytes(heads=8, key_dim=64, value_dim=32, layers=3) == 3 * sum(4 * one.numel() for one in state)


def test_refusals_in_words():
    with pytest.raises(ValueError, match="form must be one of quadratic, recurrent, chunked, got 'fast'"):
        linear_cost("fast", 0, 1, key_dim=1, value_dim=1)
    with pytest.raises(ValueError, match="prefix_len must be from 0 to total_len = 3, got 4"):
        linear_cost("chunked", 4, 3, key_dim=1, value_dim=1)
    with pytest.raises(ValueError, match="chunk must be at least 1, got 0"):
        chunks(0, 3, 0)
    with pytest.raises(ValueError, match="key_dim must be at least 1, got 0"):
        linear_cost("quadratic", 0, 3, key_dim=0, value_dim=1)
