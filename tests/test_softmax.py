"""Softmax attention under a prefix mask, each backend against the definition in plain loops."""

import math

import pytest
import torch

from course_lib.kernels import prefix_softmax_attention, softmax
from course_lib.kernels.reference import softmax_attention

BACKENDS = ("reference", "sdpa", "split", "auto")  # flex is compiled, and has a file of its own


def inputs(batch, heads, total, dim=4, value_dim=None, dtype=torch.float64, seed=0, requires_grad=False):
    rng = torch.Generator().manual_seed(seed)
    dims = (dim, dim, value_dim or dim)
    q, k, v = (torch.randn(batch, heads, total, d, generator=rng, dtype=torch.float64) for d in dims)
    return tuple(x.to(dtype).requires_grad_(requires_grad) for x in (q, k, v))


def by_loops(q, k, v, prefixes, scale):
    """One number at a time: whom may i see, how much does it look at each, and what does it get."""
    q, k, v = q.tolist(), k.tolist(), v.tolist()
    out = []
    for b, prefix in enumerate(prefixes):
        out.append([])
        for h in range(len(q[b])):
            out[b].append([])
            total = len(q[b][h])
            for i in range(total):
                seen = [j for j in range(total) if j <= i or j < prefix]
                weights = [
                    math.exp(scale * sum(x * y for x, y in zip(q[b][h][i], k[b][h][j], strict=True))) for j in seen
                ]
                total_weight = sum(weights)
                columns = range(len(v[b][h][i]))
                out[b][h].append(
                    [sum(w * v[b][h][j][c] for w, j in zip(weights, seen, strict=True)) / total_weight for c in columns]
                )
    return torch.tensor(out, dtype=torch.float64)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("total", range(1, 9))
def test_every_small_prefix_is_the_definition(total, backend):
    for prefix in range(total + 1):
        q, k, v = inputs(2, 2, total, value_dim=3, seed=prefix)
        wanted = by_loops(q, k, v, [prefix, prefix], 4**-0.5)
        torch.testing.assert_close(prefix_softmax_attention(q, k, v, prefix, backend=backend), wanted)
        single = prefix_softmax_attention(q.float(), k.float(), v.float(), prefix, backend=backend)
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("given", [list, tuple, torch.tensor, lambda x: torch.tensor(x, dtype=torch.int32)])
def test_one_prefix_per_example(backend, given):
    for prefixes in ([0, 1, 3, 6], [0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [6, 6, 6, 6]):
        q, k, v = inputs(4, 2, 6)
        out = prefix_softmax_attention(q, k, v, given(prefixes), scale=0.7, backend=backend)
        torch.testing.assert_close(out, by_loops(q, k, v, prefixes, 0.7))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("scale", [0, -1.5, 1e-3, 3])
def test_any_scale_even_one_that_turns_the_order_around(scale, backend):
    """torch's causal kernels hide a pair before they scale it, and -inf times 0 or -1.5 hides nothing."""
    for prefixes in ([0, 0], [3, 3], [6, 6], [0, 3]):
        q, k, v = inputs(2, 2, 6, requires_grad=True)
        out = prefix_softmax_attention(q, k, v, prefixes, scale=scale, backend=backend)
        torch.testing.assert_close(out, by_loops(q, k, v, prefixes, scale))
        wanted = prefix_softmax_attention(q, k, v, prefixes, scale=scale, backend="reference")
        for a, b in zip(*(torch.autograd.grad(one.square().sum(), (q, k, v)) for one in (out, wanted)), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("prefix", [0, 3, 5, [0, 3], [5, 5]])
def test_gradients_are_the_slopes(backend, prefix):
    q, k, v = inputs(2, 1, 5, dim=3, value_dim=2, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *x: prefix_softmax_attention(*x, prefix, backend=backend), (q, k, v))


def test_the_reference_can_be_differentiated_twice():
    q, k, v = inputs(1, 1, 4, dim=2, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda *x: prefix_softmax_attention(*x, 2, backend="reference"), (q, k, v))


@pytest.mark.parametrize("fast", ["sdpa", "split"])
@pytest.mark.parametrize("value_dim", [16, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("prefix", [0, 40, 97, [0, 40]])
def test_the_fast_err_at_most_twice_as_much_as_the_plain_form(dtype, prefix, value_dim, fast):
    exact = inputs(2, 3, 97, dim=16, value_dim=value_dim, requires_grad=True)
    rough = [x.detach().to(dtype).requires_grad_() for x in exact]
    upstream = torch.randn(2, 3, 97, value_dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def results(tensors, backend):
        out = prefix_softmax_attention(*tensors, prefix, backend=backend)
        return [out, *torch.autograd.grad(out, tensors, upstream.to(out.dtype))]

    wanted = results(exact, "reference")
    plain, fused = results(rough, "reference"), results(rough, fast)
    for name, a, b, c in zip(("out", "dq", "dk", "dv"), wanted, plain, fused, strict=True):
        assert c.dtype == dtype
        allowed = 2 * (b.double() - a).abs().max() + torch.finfo(dtype).eps * a.abs().max()
        assert (c.double() - a).abs().max() <= allowed, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(0, 2, 5), (2, 0, 5), (2, 2, 0), (0, 2, 0)])
def test_nothing_in_nothing_out(backend, shape):
    batch, _, total = shape
    q, k, v = inputs(*shape, value_dim=3, requires_grad=True)
    for prefix in (0, total, [total] * batch, torch.zeros(batch, dtype=torch.int64)):
        out = prefix_softmax_attention(q, k, v, prefix, backend=backend)
        assert out.shape == (*shape, 3)
        for x, gradient in zip((q, k, v), torch.autograd.grad(out.sum(), (q, k, v)), strict=True):
            assert gradient.shape == x.shape


@pytest.mark.parametrize("backend", BACKENDS)
def test_any_strides_and_nothing_is_written_into_the_inputs(backend):
    q, k, v = inputs(2, 3, 6)
    wanted = prefix_softmax_attention(q, k, v, 4, backend=backend)
    apart = [x.permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0) for x in (q, k, v)]
    copies = [x.clone() for x in apart]
    torch.testing.assert_close(prefix_softmax_attention(*apart, 4, backend=backend), wanted)
    assert all(torch.equal(x, copy) for x, copy in zip(apart, copies, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_large_scores_do_not_overflow(backend):
    q, k, v = inputs(1, 1, 5, dtype=torch.float32)
    out = prefix_softmax_attention(1e3 * q, 1e3 * k, v, 3, backend=backend)
    assert out.isfinite().all()
    # Scores this far apart pick one key.
    picked = (1e6 * q.double() @ k.double().mT / 2).masked_fill(
        ~torch.tensor([[j <= i or j < 3 for j in range(5)] for i in range(5)]), -math.inf
    )
    torch.testing.assert_close(out[0, 0], v[0, 0, picked[0, 0].argmax(-1)])


def test_the_reference_takes_any_mask_and_other_lengths():
    q, k, v = inputs(2, 1, 3)
    mask = torch.tensor([[True, False, True], [False, False, False], [False, True, False]])
    out = softmax_attention(q, k, v, mask)
    assert (out[:, :, 1] == 0).all()
    torch.testing.assert_close(out[:, :, 2], v[:, :, 1])
    assert softmax_attention(q, k[:, :, :0], v[:, :, :0], mask[:, :0]).eq(0).all()
    torch.testing.assert_close(softmax_attention(q[:, :, :1], k, v, mask[:1]), out[:, :, :1])


Q = torch.zeros(2, 3, 5, 4)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"q": [1]}, TypeError, r"q must be a tensor, got \[1\]"),
        ({"k": None}, TypeError, r"k must be a tensor"),
        ({"q": Q[0]}, ValueError, r"q must be \(batch, heads, length, features >= 1\), got shape \(3, 5, 4\)"),
        ({"v": Q[..., :0]}, ValueError, r"v must be .*got shape \(2, 3, 5, 0\)"),
        ({"k": Q[:, :1]}, ValueError, r"k must have the shape of q, \(2, 3, 5, 4\), got \(2, 1, 5, 4\)"),
        ({"k": Q[..., :3]}, ValueError, r"k must have the shape of q"),
        ({"v": Q[:, :, :4]}, ValueError, r"v must begin with the shape \(2, 3, 5\) of q, got \(2, 3, 4, 4\)"),
        ({"q": Q.long()}, TypeError, r"q must be one of float32, .*got torch.int64"),
        ({"v": Q.double()}, TypeError, r"v must have the dtype of q, torch.float32, got torch.float64"),
        ({"k": Q.to("meta")}, ValueError, r"k must be on the device of q, cpu, got meta"),
        ({"prefix_len": -1}, ValueError, r"prefix_len must be from 0 to the length T of q = 5, got -1"),
        ({"prefix_len": 6}, ValueError, r"prefix_len must be from 0 to the length T of q = 5, got 6"),
        ({"prefix_len": True}, TypeError, r"prefix_len must be a whole number"),
        ({"prefix_len": 2.0}, TypeError, r"prefix_len must be a whole number"),
        ({"prefix_len": [1]}, ValueError, r"prefix_len must have one entry for each of the 2 examples, got 1"),
        ({"prefix_len": [1, 6]}, ValueError, r"prefix_len\[1\] must be from 0 to the length T of q = 5, got 6"),
        ({"prefix_len": torch.tensor([1.0, 2.0])}, TypeError, r"prefix_len must be one-dimensional and hold integers"),
        ({"prefix_len": torch.tensor([[1, 2]])}, ValueError, r"prefix_len must be one-dimensional"),
        (
            {"prefix_len": torch.zeros(2, dtype=torch.int64, device="meta")},
            ValueError,
            r"prefix_len is on meta, but cpu",
        ),
        ({"scale": "1"}, TypeError, r"scale must be a number, got '1'"),
        ({"scale": True}, TypeError, r"scale must be a number, got True"),
        ({"scale": math.inf}, ValueError, r"scale must be finite, got inf"),
        ({"backend": "fastest"}, ValueError, r"backend must be one of auto, .*, split, flex, got 'fastest'"),
        ({"backend": None}, ValueError, r"backend must be one of auto, reference, sdpa, split, flex, got None"),
    ],
)
def test_what_cannot_be_attended_is_refused(change, error, words):
    arguments = {"q": Q, "k": Q, "v": Q, "prefix_len": 2, **change}
    with pytest.raises(error, match=words):
        prefix_softmax_attention(**arguments)


@pytest.mark.parametrize("total", [softmax.SPLIT_FROM - 1, softmax.SPLIT_FROM])
@pytest.mark.parametrize("prefix", [0, 1, 2, 500, -1, 0.5])
def test_auto_takes_the_split_form_for_long_rows_that_need_a_mask(total, prefix):
    prefix = {-1: total, 0.5: [total, 2]}.get(prefix, prefix)
    q, k, v = inputs(2, 1, total, dtype=torch.float32)
    wanted = "split" if total == softmax.SPLIT_FROM and prefix not in (0, 1, total) else "sdpa"
    chosen = prefix_softmax_attention(q, k, v, prefix)
    assert torch.equal(chosen, prefix_softmax_attention(q, k, v, prefix, backend=wanted))
    if wanted == "split":  # the two can be told apart by their last bits
        assert not torch.equal(chosen, prefix_softmax_attention(q, k, v, prefix, backend="sdpa"))


def test_where_there_is_no_split_form_auto_does_without_and_split_says_so():
    q = torch.empty(1, 1, softmax.SPLIT_FROM, 4, device="meta")
    assert prefix_softmax_attention(q, q, q, 500).shape == q.shape
    with pytest.raises(ValueError, match=r'backend "split" cannot be used here: .*q is on meta; use backend="sdpa"'):
        prefix_softmax_attention(q, q, q, 500, backend="split")


@pytest.mark.parametrize("backend", BACKENDS)
def test_under_autocast_the_result_has_the_type_of_sdpas(backend):
    q, k, v = inputs(1, 1, 8, dtype=torch.float32, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = prefix_softmax_attention(q, k, v, 3, backend=backend)
        assert prefix_softmax_attention(*inputs(1, 1, 8), 3, backend=backend).dtype == torch.float64
    assert out.dtype == torch.bfloat16
    assert all(x.dtype == torch.float32 for x in torch.autograd.grad(out.sum(), (q, k, v)))
