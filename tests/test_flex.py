"""FlexAttention under the prefix block mask. Compiling takes seconds, so one shape is compiled, for many lengths."""

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException
from torch._dynamo.utils import counters

from course_lib.kernels import flex, prefix_softmax_attention

MISSING = flex.missing_tool("cpu")


def inputs(batch, total, dim, value_dim, dtype=torch.float32):
    rng = torch.Generator().manual_seed(0)
    return tuple(torch.randn(batch, 2, total, d, generator=rng).to(dtype) for d in (dim, dim, value_dim))


@pytest.mark.skipif(MISSING is not None, reason=f"flex is compiled, and {MISSING} is missing")
def test_one_compiled_kernel_serves_every_prefix_length():
    torch.compiler.reset()
    q, k, v = inputs(2, 150, 12, 7)
    compiled = None
    for prefix in (0, 1, 70, 128, 150, [0, 150], [3, 149]):
        out = prefix_softmax_attention(q, k, v, prefix, scale=0.3, backend="flex")
        compiled = compiled or counters["stats"]["unique_graphs"]
        wanted = prefix_softmax_attention(*(x.double() for x in (q, k, v)), prefix, scale=0.3, backend="reference")
        torch.testing.assert_close(out.double(), wanted, atol=1e-5, rtol=1e-5)
        assert torch.equal(out, prefix_softmax_attention(q, k, v, prefix, scale=0.3, backend="flex"))
    assert counters["stats"]["unique_graphs"] == compiled


def test_nothing_in_nothing_out_and_nothing_compiled(monkeypatch):
    monkeypatch.setattr(flex, "_compiled", None)
    for batch, total in ((0, 5), (2, 0)):
        q, k, v = inputs(batch, total, 4, 3)
        assert prefix_softmax_attention(q, k, v, 0, backend="flex").shape == v.shape


def test_without_a_compiler_it_says_what_is_missing_and_what_else_there_is(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        RuntimeError, match=r'a C\+\+ compiler \(no-such-compiler is not on the PATH.*use backend="split" or "sdpa"'
    ):
        prefix_softmax_attention(*inputs(1, 5, 4, 4), 3, backend="flex")


def test_a_failed_compilation_is_told_in_words(monkeypatch):
    def fails(*arguments, **named):
        raise TorchDynamoException("the linker found no library\nand much more")

    monkeypatch.setattr(flex, "missing_tool", lambda device: None)
    monkeypatch.setattr(flex, "_compiled", lambda: fails)
    with pytest.raises(RuntimeError, match=r'"flex" could not be compiled .*no library\): use backend="split"'):
        prefix_softmax_attention(*inputs(1, 5, 4, 4), 3, backend="flex")


def test_gradients_and_float64_are_refused_on_the_cpu(monkeypatch):
    monkeypatch.setattr(flex, "missing_tool", lambda device: None)
    monkeypatch.setattr(flex, "_compiled", lambda: lambda q, k, v, **named: v)
    q, k, v = inputs(1, 5, 4, 4)
    with pytest.raises(ValueError, match=r'no gradient on the CPU, .*use backend="split" or "sdpa"'):
        prefix_softmax_attention(q, k, v.requires_grad_(), 3, backend="flex")
    with torch.no_grad():
        assert prefix_softmax_attention(q, k, v, 3, backend="flex") is v
    with pytest.raises(ValueError, match=r"float32, bfloat16 or float16 on the CPU, got q of torch.float64"):
        prefix_softmax_attention(q.double(), k.double(), v.detach().double(), 3, backend="flex")
