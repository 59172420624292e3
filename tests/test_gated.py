"""The gated form, token by token in plain loops, and what becomes of it where the gate is open."""

import math

import pytest
import torch

from course_lib.kernels import gated, prefix_linear_attention
from course_lib.kernels.gated import fading_prefix, gated_prefix_linear_attention

pytestmark = pytest.mark.usefixtures("one_thread")


def inputs(batch, heads, total, dim=4, value_dim=3, gates=None, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(batch, heads, total, d, generator=rng, dtype=torch.float64) for d in (dim, dim, value_dim))
    log_decay = -2 * torch.rand(batch, heads, total, gates or dim, generator=rng, dtype=torch.float64)
    return [x.to(dtype) for x in (q, k, v, log_decay)]


def by_loops(q, k, v, log_decay, prefixes, scale, decay_prefix):
    out = torch.zeros(v.shape, dtype=torch.float64)
    for b, prefix in enumerate(prefixes):
        for h in range(q.shape[1]):
            whole = torch.zeros(q.shape[3], v.shape[3], dtype=torch.float64)
            for j in range(prefix):
                whole += k[b, h, j, :, None] * v[b, h, j]
            out[b, h, :prefix] = scale * q[b, h, :prefix] @ whole
            state = whole.clone() if decay_prefix else 0 * whole
            for i in range(prefix, q.shape[2]):
                state = log_decay[b, h, i].exp()[:, None] * state + k[b, h, i, :, None] * v[b, h, i]
                out[b, h, i] = scale * q[b, h, i] @ (state if decay_prefix else state + whole)
    return out


@pytest.mark.parametrize("decay_prefix", [True, False])
@pytest.mark.parametrize("gates", [1, 4])
def test_the_state_fades_from_the_prefix_on(gates, decay_prefix):
    for total, prefix in ((1, 0), (1, 1), (7, 3), (16, 0), (17, 0), (33, 5), (33, 32), (33, 33)):
        tensors = inputs(2, 2, total, gates=gates)
        out = gated_prefix_linear_attention(*tensors, prefix, scale=0.7, decay_prefix=decay_prefix)
        torch.testing.assert_close(out, by_loops(*tensors, [prefix] * 2, 0.7, decay_prefix))
    tensors = inputs(4, 2, 40, gates=gates)
    out = gated_prefix_linear_attention(*tensors, [5, 0, 5, 40], decay_prefix=decay_prefix)
    torch.testing.assert_close(out, by_loops(*tensors, [5, 0, 5, 40], 1.0, decay_prefix))


@pytest.mark.parametrize("decay_prefix", [True, False])
def test_an_open_gate_is_the_plain_form_and_a_closed_one_sees_itself(decay_prefix):
    q, k, v, g = inputs(2, 2, 40)
    open_gate = gated_prefix_linear_attention(q, k, v, 0 * g, 11, decay_prefix=decay_prefix)
    torch.testing.assert_close(open_gate, prefix_linear_attention(q, k, v, 11))
    for dtype in (torch.float64, torch.float32):  # exp(1e4) would be infinite: only differences of one sign are taken
        rough = [x.to(dtype) for x in (q, k, v, 0 * g - 1e4)]
        closed = gated_prefix_linear_attention(*rough, 11, decay_prefix=decay_prefix)
        alone = (q * k).sum(-1, keepdim=True) * v
        if not decay_prefix:
            alone = alone + q @ (k[:, :, :11].mT @ v[:, :, :11])
        torch.testing.assert_close(closed[:, :, 11:].double(), alone[:, :, 11:], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("gates", [1, 4])
def test_a_fading_prefix_has_the_state_of_the_recurrence(gates):
    q, k, v, g = inputs(3, 2, 20, gates=gates)
    prefixes = [0, 9, 20]
    state = gated_prefix_linear_attention(q, k, v, g, 0)  # the recurrence from the first token on
    out = gated_prefix_linear_attention(q, fading_prefix(k, g, prefixes), v, g, prefixes)
    torch.testing.assert_close(out[0], state[0])
    torch.testing.assert_close(
        out[1, :, 8:], state[1, :, 8:]
    )  # the last row of the prefix reads it, and all that follow
    torch.testing.assert_close(out[2, :, 19], state[2, :, 19])
    assert (out[1, :, :8] - state[1, :, :8]).abs().max() > 0.1


@pytest.mark.parametrize("decay_prefix", [True, False])
@pytest.mark.parametrize("gates", [1, 2])
def test_gradients_are_the_slopes(gates, decay_prefix, monkeypatch):
    monkeypatch.setattr(gated, "CHUNK", 2)
    tensors = inputs(2, 1, 5, dim=2, value_dim=2, gates=gates)
    tensors = [x.requires_grad_() for x in (*tensors[:3], tensors[3] - 0.1)]
    assert torch.autograd.gradcheck(
        lambda *x: gated_prefix_linear_attention(*x, [1, 4], decay_prefix=decay_prefix), tensors
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_smaller_types_keep_their_sums_in_float32(dtype):
    rough = inputs(2, 2, 100, dtype=dtype)
    out = gated_prefix_linear_attention(*rough, 30)
    exact = by_loops(*(x.double() for x in rough), [30, 30], 1.0, True)
    assert out.dtype == dtype
    assert (out.double() - exact).abs().max() <= max(torch.finfo(dtype).eps, 1e-5) * exact.abs().max()


def test_a_sum_that_only_its_scale_brings_into_range_is_scaled_first():
    q = torch.ones(1, 1, 4096, 64, dtype=torch.float16)
    out = gated_prefix_linear_attention(q, q, q, 0 * q, 4000, scale=1e-3)
    keys = torch.arange(4096).clamp(min=3999) + 1  # that a row sees, each with a weight of 64
    torch.testing.assert_close(out[0, 0], (1e-3 * 64 * keys)[:, None].expand(-1, 64).half())


def test_gates_that_are_not_used_may_be_anything():
    q, k, v, g = inputs(1, 2, 9)
    other = g.clone()
    other[:, :, :4] = math.nan
    assert torch.equal(*(gated_prefix_linear_attention(q, k, v, x, 4) for x in (g, other)))
    other = g.clone()
    other[:, :, 4:] = 7
    assert torch.equal(*(fading_prefix(k, x, 4) for x in (g, other)))


def test_nothing_in_nothing_out():
    for batch, total in ((0, 3), (2, 0)):
        assert gated_prefix_linear_attention(*inputs(batch, 2, total), 0).shape == (batch, 2, total, 3)


Q = torch.zeros(2, 3, 5, 4)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"log_decay": None}, TypeError, r"log_decay must be a tensor, got None"),
        (
            {"log_decay": Q[..., :2]},
            ValueError,
            r"must have shape \(2, 3, 5, 4\) or \(2, 3, 5, 1\), got \(2, 3, 5, 2\)",
        ),
        ({"log_decay": Q.double()}, TypeError, r"log_decay must have the dtype of q, torch.float32, or float32, got"),
        ({"log_decay": Q.to("meta")}, ValueError, r"log_decay is on meta, but cpu is needed"),
        ({"log_decay": Q + 0.5}, ValueError, r"log_decay must be finite and at most 0, .*got 0.5"),
        ({"log_decay": Q - math.inf}, ValueError, r"log_decay must be finite and at most 0"),
        ({"log_decay": Q + math.nan}, ValueError, r"log_decay must be .*got one that is not finite"),
        ({"prefix_len": 6}, ValueError, r"prefix_len must be from 0 to the length T of q = 5, got 6"),
        ({"decay_prefix": 1}, TypeError, r"decay_prefix must be True or False, got 1"),
    ],
)
def test_what_cannot_be_attended_is_refused(change, error, words):
    with pytest.raises(error, match=words):
        gated_prefix_linear_attention(**{"q": Q, "k": Q, "v": Q, "log_decay": Q, "prefix_len": 2, **change})


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"k": None}, TypeError, r"^k must be a tensor, got None"),
        ({"k": Q[0]}, ValueError, r"^k must be \(batch, heads, length, features >= 1\)"),
        ({"prefix_len": 6}, ValueError, r"prefix_len must be from 0 to the length T of k = 5, got 6"),
        ({"log_decay": Q.double()}, TypeError, r"log_decay must have the dtype of k, torch.float32, or float32, got"),
    ],
)
def test_a_fading_prefix_speaks_of_its_own_arguments(change, error, words):
    with pytest.raises(error, match=words):
        fading_prefix(**{"k": Q, "log_decay": Q, "prefix_len": 2, **change})


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lowest", [-1e3, -1e8, -3e38])
def test_what_a_gate_forgets_wholly_leaves_no_trace_in_what_comes_after(lowest, dtype):
    q, k, v, g = (x.to(dtype) for x in inputs(1, 2, 40))
    for place in (5, 6, 7, 20):
        g[:, :, place] = lowest
    wanted = torch.zeros_like(v)
    state = k[:, :, :3].mT @ v[:, :, :3]
    wanted[:, :, :3] = q[:, :, :3] @ state
    for i in range(3, 40):
        state = g[:, :, i, :, None].exp() * state + k[:, :, i, :, None] * v[:, :, i, None]
        wanted[:, :, i] = (q[:, :, i, None] @ state)[:, :, 0]
    close = {"atol": 1e-3 if dtype == torch.float32 else 1e-10, "rtol": 0}
    torch.testing.assert_close(gated_prefix_linear_attention(q, k, v, g, 3), wanted, **close)
    faded = fading_prefix(k, g, 12)
    assert (faded[:, :, :7] == 0).all()
    left = g[:, :, 8:12].flip(2).cumsum(2).flip(2)[:, :, 0]
    torch.testing.assert_close(faded[:, :, 7], k[:, :, 7] * left.exp(), **close)
