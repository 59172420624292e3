"""The split form against the definition: its merge, its backward, its groups, and what its fused kernel cannot take."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from course_lib.kernels import prefix_softmax_attention, split
from course_lib.kernels._segments import segments

FUSED = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
FUSED_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default


def inputs(*shape, value_dim=None, dtype=torch.float64, seed=0):
    rng = torch.Generator().manual_seed(seed)
    dims = (shape[-1], shape[-1], value_dim or shape[-1])
    return tuple(
        torch.randn(*shape[:-1], dim, generator=rng, dtype=torch.float64).to(dtype).requires_grad_() for dim in dims
    )


def results(tensors, prefix, *, backend="split"):
    """Return the output and the gradients of q, k and v, for one upstream gradient."""
    out = prefix_softmax_attention(*tensors, prefix, backend=backend)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out.dtype)
    return out, *torch.autograd.grad(out, tensors, upstream)


def assert_is_the_definition(tensors, prefix):
    wanted = results(tensors, prefix, backend="reference")
    for name, a, b in zip(("out", "dq", "dk", "dv"), results(tensors, prefix), wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-11, msg=lambda words, name=name: f"{name}: {words}")


@pytest.mark.parametrize("total", range(1, 13))
def test_outputs_and_gradients_of_every_small_prefix(total):
    for prefix in range(total + 1):
        assert_is_the_definition(inputs(2, 2, total, 3, seed=prefix), prefix)


@pytest.mark.parametrize(
    ("total", "prefixes"), [(33, (2, 31, 32)), (200, (2, 32, 100, 199)), (600, (31, 300, 511, 599)), (1100, (513,))]
)
def test_outputs_and_gradients_across_the_blocks_of_the_kernel(total, prefixes):
    """The fused kernel takes 32, 64 or 256 queries and 512 keys at a time."""
    for prefix in prefixes:
        assert_is_the_definition(inputs(1, 1, total, 4, seed=prefix), prefix)


@pytest.mark.parametrize(("dim", "value_dim"), [(1, 1), (1, 5), (5, 1), (4, 7), (7, 4), (33, 16), (300, 300)])
def test_any_two_widths(dim, value_dim):
    assert_is_the_definition(inputs(2, 2, 10, dim, value_dim=value_dim), [3, 10])
    assert_is_the_definition(inputs(2, 2, 10, dim, value_dim=value_dim), 6)


@pytest.mark.parametrize(
    "prefixes", [[3, 1, 3, 8], [0, 2, 8, 5], [2, 2, 6, 6], [6, 2, 2, 6], [0, 8, 0, 8], [0, 1, 0, 1], [4, 4, 4, 7]]
)
def test_one_prefix_per_example(prefixes):
    assert_is_the_definition(inputs(4, 2, 8, 3), prefixes)


def test_every_prefix_has_the_slopes_that_differences_show():
    for prefix in range(6):
        tensors = inputs(1, 1, 5, 2, seed=prefix)
        assert torch.autograd.gradcheck(
            lambda *x, prefix=prefix: prefix_softmax_attention(*x, prefix, backend="split"), tensors
        )


class Watch(TorchDispatchMode):
    """Count the calls of the fused kernel, and keep the size of the largest tensor that any operation makes."""

    def __init__(self):
        super().__init__()
        self.calls, self.largest = [], 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        if operation in (FUSED, FUSED_BACKWARD):
            self.calls.append(operation)
        for one in made if isinstance(made, tuple) else (made,):
            self.largest = max(self.largest, one.numel())
        return made


def test_nothing_is_as_large_as_a_mask():
    q, k, v = (x.detach() for x in inputs(1, 1, 300, 4))
    with Watch() as seen:
        out, lse = split._forward(q, k, v, 150, 0.5)
        split._backward(torch.ones_like(out), q, k, v, out, lse, 150, 0.5)
    assert seen.calls == [FUSED] * 2 + [FUSED_BACKWARD] * 2
    assert seen.largest == 300 * 4


def test_equal_lengths_share_their_calls():
    for prefixes, groups in (
        ([5, 5, 5], [(slice(0, 3), 5)]),
        ([5, 2, 5, 2, 0], [([0, 2], 5), ([1, 3], 2), (slice(4, 5), 0)]),
        ([0, 7, 7], [(slice(0, 1), 0), (slice(1, 3), 7)]),
    ):
        assert segments(prefixes, None, len(prefixes), 9) == [(rows, 0, 9, prefix) for rows, prefix in groups]


@pytest.mark.parametrize(("total", "prefix"), [(7, 0), (7, 3), (7, 6), (7, 7), (80, 40)])
def test_another_token_moves_those_who_see_it_and_not_a_bit_of_the_others(total, prefix):
    tensors = [x.detach() for x in inputs(1, 2, total, 4, dtype=torch.float32)]
    before = prefix_softmax_attention(*tensors, prefix, backend="split")
    for j in range(0, total, 1 + total // 10):
        other = [x.clone() for x in tensors]
        for x in other:
            x[:, :, j] += 1
        after = prefix_softmax_attention(*other, prefix, backend="split")
        moved = (after != before).any(-1).all(1)[0].tolist()
        assert moved == [j <= i or j < prefix for i in range(total)], f"token {j}"
        kept = (after == before).all(-1).all(1)[0].tolist()
        assert kept == [not one for one in moved]


def test_the_prefix_never_touches_the_target_whatever_it_holds():
    clean = [x.detach() for x in inputs(2, 2, 60, 4, dtype=torch.float32)]
    poisoned = [x.clone() for x in clean]
    for x in poisoned:
        x[0, :, 20:] = torch.nan
        x[1, :, 33:] = torch.inf
    wanted = prefix_softmax_attention(*clean, [20, 33], backend="split")
    out = prefix_softmax_attention(*poisoned, [20, 33], backend="split")
    assert torch.equal(out[0, :, :20], wanted[0, :, :20])
    assert torch.equal(out[1, :, :33], wanted[1, :, :33])


def test_a_later_key_that_is_no_number_is_never_weighed():
    q, k, v = (x.detach().clone() for x in inputs(1, 1, 60, 4, dtype=torch.float32))
    wanted = prefix_softmax_attention(q, k, v, 20, backend="split")
    k[:, :, 45:] = torch.nan
    out = prefix_softmax_attention(q, k, v, 20, backend="split")
    assert torch.equal(out[:, :, :45], wanted[:, :, :45])
    assert out[:, :, 45:].isnan().all()


def test_far_apart_scores_leave_all_the_weight_to_one_side():
    """One part outweighs the other by e^4000 and more; neither the merge nor the gradients may turn to NaN."""
    for loud in (2, 6):  # a key of the prefix, and one of the target
        q, k, v = (torch.ones(1, 1, 8, 1, dtype=torch.float64) for _ in range(3))
        k[:, :, loud], v[:, :, loud] = 4000.0, 5.0
        tensors = [x.requires_grad_() for x in (q, k, v)]
        found = results(tensors, 4)
        assert all(x.isfinite().all() for x in found)
        assert found[0][0, 0, loud:, 0].eq(5).all()
        assert_is_the_definition(tensors, 4)


def stretched(x):
    """The same values, features far apart in memory."""
    return x.mT.contiguous().mT


def of_a_layer(x):
    """The same values, the heads of a token side by side."""
    return x.transpose(1, 2).contiguous().transpose(1, 2)


@pytest.mark.parametrize("laid_out", [stretched, of_a_layer])
def test_any_strides_of_the_inputs_and_of_the_upstream_gradient(laid_out):
    plain = [x.detach() for x in inputs(2, 3, 9, 4)]
    other = [laid_out(x).requires_grad_() for x in plain]
    plain = [x.requires_grad_() for x in plain]
    for prefix in (0, 5, 9, [5, 2], [4, 4]):
        out = prefix_softmax_attention(*other, prefix, backend="split")
        upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        found = (out, *torch.autograd.grad(out, other, laid_out(upstream)))
        for a, b in zip(found, results(plain, prefix, backend="reference"), strict=True):
            torch.testing.assert_close(a, b)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_expanded_inputs_and_an_expanded_upstream_gradient(axis):
    tensors = [x.detach().select(axis, 0).unsqueeze(axis) for x in inputs(2, 3, 9, 4)]
    shape = [2, 3, 9, 4]

    def results(backend):
        leaves = [x.clone().requires_grad_() for x in tensors]
        out = prefix_softmax_attention(*(x.expand(shape) for x in leaves), [5, 2], backend=backend)
        return out, *torch.autograd.grad(out.sum(), leaves)

    for a, b in zip(results("split"), results("reference"), strict=True):
        torch.testing.assert_close(a, b)


def test_overlapping_rows_are_read_as_they_are():
    windows = torch.randn(30, generator=torch.Generator().manual_seed(0)).double().unfold(0, 4, 1)[None, None, :9]
    out = prefix_softmax_attention(windows, windows, windows, 5, backend="split")
    torch.testing.assert_close(out, prefix_softmax_attention(*[windows.clone()] * 3, 5, backend="reference"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_rerun_gives_the_same_bits(dtype):
    tensors = inputs(3, 2, 300, 16, dtype=dtype)
    first = results(tensors, [100, 250, 100])
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(first, results(tensors, [100, 250, 100]), strict=True))


def test_gradients_of_some_inputs_alone():
    q, k, v = inputs(1, 2, 6, 3)
    _, *wanted = results((q, k, v), 4)
    upstream = torch.randn(1, 2, 6, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for place in range(3):
        tensors = [x if i == place else x.detach() for i, x in enumerate((q, k, v))]
        out = prefix_softmax_attention(*tensors, 4, backend="split")
        assert torch.equal(torch.autograd.grad(out, tensors[place], upstream)[0], wanted[place])


def test_a_second_derivative_is_refused_in_words():
    q, k, v = inputs(1, 1, 5, 3)
    out = prefix_softmax_attention(q, k, v, 3, backend="split")
    (gradient,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match=r'differentiated once, .*use backend="reference"'):
        torch.autograd.grad(gradient.sum(), k)


def test_torch_func_goes_through():
    q, k, v = (x.detach() for x in inputs(1, 1, 5, 3))
    for backend in ("split", "reference"):
        gradient = torch.func.grad(lambda q, b=backend: prefix_softmax_attention(q, k, v, 3, backend=b).sum())(q)
        if backend == "split":
            found = gradient
    torch.testing.assert_close(found, gradient)


@pytest.mark.parametrize("compiler", ["eager", "aot_eager"])
def test_a_compiled_caller_keeps_it_whole_and_gets_the_same_bits(compiler):
    def layer(q, k, v, prefix):
        return 2 * prefix_softmax_attention(1.5 * q, k, v, prefix, backend="split")

    torch.compiler.reset()
    compiled = torch.compile(layer, backend=compiler, fullgraph=True)
    for prefix in (2, 3, 6, 0):
        tensors = inputs(2, 2, 6, 4, value_dim=3, seed=prefix)
        found, wanted = compiled(*tensors, prefix), layer(*tensors, prefix)
        assert torch.equal(found, wanted)
        for a, b in zip(
            torch.autograd.grad(found.square().sum(), tensors),
            torch.autograd.grad(wanted.square().sum(), tensors),
            strict=True,
        ):
            assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_what_the_compiler_is_told_of_the_operations_is_true(dtype):
    q, k, v = (x.detach() for x in inputs(2, 3, 7, 4, dtype=dtype))
    for prefixes in ([3, 3], [7, 0], [5, 2]):
        checks = ("test_schema", "test_faketensor")
        torch.library.opcheck(split._split, (q, k, v, prefixes, 0.5), test_utils=checks)
        out, lse = split._split(q, k, v, prefixes, 0.5)
        torch.library.opcheck(split._split_backward, (out, q, k, v, out, lse, prefixes, 0.5), test_utils=checks)


def test_a_torch_without_the_operation_is_named(monkeypatch):
    monkeypatch.setattr(split, "_FORWARD", "_no_such_operation")
    q, k, v = inputs(1, 1, 5, 3)
    with pytest.raises(
        ValueError, match=r'"split" cannot be used here: this torch, .*lacks .*aten::_no_such_operation'
    ):
        prefix_softmax_attention(q, k, v, 3, backend="split")
