"""JRT-RNN's two streams against their definition in plain loops, and against the prefix mask that they are not."""

import pytest
import torch

from course_lib.kernels import prefix_linear_attention
from course_lib.kernels.jrt import jrt_linear_attention

pytestmark = pytest.mark.usefixtures("one_thread")


def inputs(batch, heads, total, encoded, dim=4, value_dim=3, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    sizes = ((total, dim), (total, dim), (total, value_dim), (encoded, dim), (encoded, value_dim))
    return [(torch.rand(batch, heads, *size, generator=rng, dtype=torch.float64) + 0.1).to(dtype) for size in sizes]


def by_loops(q, k, v, k_enc, v_enc, scale, normalize, eps):
    out = torch.zeros(v.shape, dtype=torch.float64)
    for b, h, i in ((b, h, i) for b in range(q.shape[0]) for h in range(q.shape[1]) for i in range(q.shape[2])):
        above, below = torch.zeros(v.shape[-1], dtype=torch.float64), 0.0
        for keys, values, count in ((k, v, i + 1), (k_enc, v_enc, k_enc.shape[2])):
            for j in range(count):
                weight = scale * (q[b, h, i] * keys[b, h, j]).sum()
                above, below = above + weight * values[b, h, j], below + weight
        out[b, h, i] = above / (below + eps) if normalize else above
    return out


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("total", "encoded"), [(1, 0), (1, 1), (5, 0), (5, 3), (5, 5), (40, 17)])
def test_both_streams_are_the_definition(total, encoded, normalize):
    tensors = inputs(2, 2, total, encoded)
    out = jrt_linear_attention(*tensors, scale=0.7, normalize=normalize, eps=0.05)
    torch.testing.assert_close(out, by_loops(*tensors, 0.7, normalize, 0.05))
    for dtype in (torch.float32, torch.bfloat16):
        rough = [x.to(dtype) for x in tensors]
        out = jrt_linear_attention(*rough, normalize=normalize)
        assert out.dtype == dtype
        exact = by_loops(*(x.double() for x in rough), 1.0, normalize, 1e-6)
        assert (out.double() - exact).abs().max() <= 4 * torch.finfo(dtype).eps * exact.abs().max()


def test_tied_streams_weigh_a_pair_zero_one_or_two_and_are_no_prefix_mask():
    q, k, v, *_ = inputs(1, 1, 6, 0)
    out = jrt_linear_attention(q, k, v, k[:, :, :4], v[:, :, :4], normalize=False)
    weight = torch.tensor([[float(j <= i) + float(j < 4) for j in range(6)] for i in range(6)], dtype=torch.float64)
    assert sorted(set(weight.flatten().tolist())) == [0, 1, 2]
    torch.testing.assert_close(out, (weight * (q @ k.mT)) @ v)
    prefix = prefix_linear_attention(q, k, v, 4)
    assert (out - prefix).abs().max() > 0.1
    torch.testing.assert_close(
        jrt_linear_attention(*inputs(1, 1, 6, 0)), prefix_linear_attention(q, k, v, normalize=True)
    )


def test_gradients_are_the_slopes():
    tensors = [x.requires_grad_() for x in inputs(1, 2, 5, 3, dim=2, value_dim=2)]
    assert torch.autograd.gradcheck(jrt_linear_attention, tensors)


def test_nothing_in_nothing_out():
    for batch, total in ((0, 3), (2, 0)):
        assert jrt_linear_attention(*inputs(batch, 2, total, 0)).shape == (batch, 2, total, 3)


Q = torch.zeros(2, 3, 5, 4)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"k_enc": None}, TypeError, r"k_enc must be a tensor, got None"),
        ({"k_enc": torch.zeros(2, 3, 6, 4), "v_enc": torch.zeros(2, 3, 6, 4)}, ValueError, r"M from 0 to .*T of q = 5"),
        ({"v_enc": Q[:, :, :1]}, ValueError, r"v_enc must have shape \(2, 3, M, 4\), with one M .*got \(2, 3, 1, 4\)"),
        ({"k_enc": Q[:1, :, :2]}, ValueError, r"k_enc must have shape \(2, 3, M, 4\)"),
        ({"k_enc": Q[0]}, ValueError, r"k_enc must have shape \(2, 3, M, 4\).*got \(3, 5, 4\)"),
        (
            {"v_enc": Q[:, :, :2].double()},
            TypeError,
            r"v_enc must have the dtype of q, torch.float32, got torch.float64",
        ),
        ({"k_enc": Q[:, :, :2].to("meta")}, ValueError, r"k_enc is on meta, but cpu is needed"),
        ({"normalize": None}, TypeError, r"normalize must be True or False"),
    ],
)
def test_what_cannot_be_attended_is_refused(change, error, words):
    with pytest.raises(error, match=words):
        jrt_linear_attention(**{"q": Q, "k": Q, "v": Q, "k_enc": Q[:, :, :2], "v_enc": Q[:, :, :2], **change})
