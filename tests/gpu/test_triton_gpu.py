"""The Triton kernels on a CUDA device, at sizes that fill it: `make test-gpu`. Elsewhere all of it is skipped."""

import math

import pytest
import torch
from linear_cases import assert_as_exact_as_plain_torch, attends, by_definition, inputs, with_gradients

from course_lib.kernels import linear_attention_step, prefix_linear_attention
from course_lib.kernels import triton as backend
from course_lib.masks import Visibility

T = 4097
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device: torch sees none")


def on_cuda(batch, heads, total, dim, value_dim, dtype, seed=0):
    return inputs(batch, heads, total, dim, value_dim, dtype, seed, device="cuda")


def compare(tensors, prefix, *, normalize, documents=None, scale=None, eps=1e-6):
    """Check results and gradients by FlashAttention's rule."""
    scale = 1 / tensors[0].shape[2] if scale is None else scale
    mask = Visibility(prefix, document_lens=documents).mask(tensors[0].shape[2], device="cuda")
    if documents is not None:
        tensors = [*tensors[:3], *(0 * x for x in tensors[3:])]
    attend = attends("triton", prefix, documents, scale=scale, normalize=normalize, eps=eps)
    used = slice(None) if documents is None else slice(1)

    def defined(*x):
        return by_definition(*x, mask, scale, normalize, eps)[used]

    dtype = tensors[0].dtype
    got = with_gradients(attend, tensors)
    rough = with_gradients(defined, [x.to(dtype) for x in tensors])
    exact = with_gradients(defined, [x.double() for x in tensors])
    if documents is not None:
        got, rough, exact = got[:4], rough[:4], exact[:4]
    words = f"P={prefix}, {dtype}, {tuple(tensors[0].shape)}, {tuple(tensors[2].shape)}, normalize={normalize}"
    assert_as_exact_as_plain_torch(got, rough, exact, words)


@pytest.fixture(autouse=True)
def plain_products():
    """Plain torch in float32 is float32, not TF32."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32 = before
    torch.cuda.empty_cache()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("dim", [64, 128])
@pytest.mark.parametrize("prefix", [0, 1, 2000, T - 1, T, "each"])
def test_results_and_gradients_are_those_of_the_definition(prefix, dim, dtype, normalize):
    if prefix == "each":
        prefix = torch.tensor([3000, 511], device="cuda")
    compare(on_cuda(2, 4, T, dim, dim, dtype), prefix, normalize=normalize)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("total", [0, 1, 15, 16, 17, 63, 64, 65, 511, 512, 513])
def test_short_rows(total, dtype, normalize):
    for prefix in sorted({0, min(1, total), total // 2, total}):
        compare(on_cuda(2, 2, total, 64, 64, dtype, seed=total), prefix, normalize=normalize, scale=1.0, eps=0.05)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("dim", "value_dim"), [(1, 1), (1, 128), (17, 40), (48, 80), (100, 64), (64, 128), (128, 33)])
def test_widths_that_are_no_powers_of_two(dim, value_dim, dtype):
    for normalize in (False, True):
        compare(on_cuda(1, 3, 700, dim, value_dim, dtype), 300, normalize=normalize)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_packed_documents(dtype, normalize):
    tensors = on_cuda(2, 2, 2000, 64, 64, dtype)
    compare(tensors, [100, 0, 700], documents=[100, 650, 1200], normalize=normalize)
    compare(tensors, [[7, 900], [3]], documents=[[50, 1950], [64]], normalize=normalize)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_same_inputs_same_bits(dtype):
    attend = attends("triton", [1000, 0], normalize=True)
    tensors = on_cuda(2, 4, T, 64, 64, dtype)
    first, second = (with_gradients(attend, tensors) for _ in range(2))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("prefix", [0, 2000, T])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_chunked_form_says_the_same(dtype, prefix):
    tensors = on_cuda(2, 4, T, 64, 64, dtype)
    choices = {"normalize": True, "scale": 1 / 64}
    first = with_gradients(attends("triton", prefix, **choices), tensors)
    second = with_gradients(attends("chunked", prefix, **choices), tensors)
    for a, b in zip(first, second, strict=True):
        allowed = 4 * torch.finfo(dtype).eps if dtype != torch.float32 else 1e-5
        assert (a.double() - b.double()).abs().max() <= allowed * b.double().abs().max()


@pytest.mark.parametrize("segment", [64, 512, 4096])
def test_the_cut_in_segments_does_not_matter(segment, monkeypatch):
    monkeypatch.setattr(backend, "segment_length", lambda *_: segment)
    compare(on_cuda(2, 2, T, 64, 64, torch.bfloat16), [1000, 0], normalize=True)


def test_nothing_is_read_before_it_is_written(monkeypatch):
    empty = torch.empty

    def poison(*arguments, **named):
        x = empty(*arguments, **named)
        return x.fill_(math.nan) if x.is_floating_point() else x

    monkeypatch.setattr(torch, "empty", poison)
    for normalize in (False, True):
        compare(on_cuda(2, 2, 1500, 64, 64, torch.bfloat16), [0, 700], normalize=normalize)
        q, k, v, _, _ = on_cuda(2, 2, 1500, 64, 64, torch.bfloat16)
        for prefix in (0, 700, 1500):
            got = with_gradients(lambda *x, p=prefix, n=normalize: (attend_only(*x, p, n),), [q, k, v])
            assert all(x.isfinite().all() for x in got)


def attend_only(q, k, v, prefix, normalize):
    return prefix_linear_attention(q, k, v, prefix, normalize=normalize, scale=1 / 64, backend="triton")


def test_any_strides():
    q, k, v, kv, z = on_cuda(2, 4, 1000, 64, 64, torch.bfloat16)
    attend = attends("triton", 300, normalize=True)
    wanted = with_gradients(attend, [q, k, v, kv, z])
    apart = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    odd = [torch.cat([x.flatten()[:1], x.flatten()])[1:].view_as(x) for x in (q, k, v)]  # not where a vector may begin
    for given in (apart, odd):
        for a, b in zip(with_gradients(attend, [*given, kv, z]), wanted, strict=True):
            torch.testing.assert_close(a, b)


def test_a_state_may_be_larger_than_float16():
    q, k, v, _, _ = on_cuda(1, 2, 8192, 64, 64, torch.float16)
    v = (v + 100).requires_grad_()
    for prefix in (0, 5000, 8192):
        out, last = prefix_linear_attention(q, 4 * k, v, prefix, normalize=True, return_state=True, backend="triton")
        assert last.kv.max() > torch.finfo(torch.float16).max
        torch.testing.assert_close(out.float(), torch.full_like(out, 100.0).float(), rtol=0.05, atol=0)
        assert torch.autograd.grad(out.float().sum(), v)[0].isfinite().all()


def test_steps_go_on_from_the_state():
    q, k, v, _, _ = on_cuda(2, 2, 100, 64, 64, torch.bfloat16)
    whole = prefix_linear_attention(q, k, v, 60, normalize=True, backend="triton")
    _, state = prefix_linear_attention(
        *(x[:, :, :60] for x in (q, k, v)), 60, normalize=True, return_state=True, backend="triton"
    )
    for t in range(60, 100):
        out, state = linear_attention_step(*(x[:, :, t : t + 1] for x in (q, k, v)), state, normalize=True)
        torch.testing.assert_close(out, whole[:, :, t : t + 1], rtol=0.02, atol=0.02)


def test_auto_takes_it_for_what_it_supports(monkeypatch):
    taken = []
    make_plan = backend.make_plan
    monkeypatch.setattr(backend, "make_plan", lambda *x: taken.append(1) or make_plan(*x))
    for dtype, dim, takes in ((torch.bfloat16, 64, True), (torch.float64, 64, False), (torch.float32, 129, False)):
        taken.clear()
        prefix_linear_attention(*on_cuda(1, 1, 10, dim, dim, dtype)[:3], 4)
        assert bool(taken) == takes


def test_a_prefix_on_the_host_costs_no_wait():
    q, k, v, _, _ = on_cuda(2, 2, 1000, 64, 64, torch.bfloat16)
    prefix_linear_attention(q, k, v, [10, 20], backend="triton")  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        prefix_linear_attention(q, k, v, [11, 21], backend="triton")
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("normalize", [False, True])
def test_more_numbers_than_32_bits_count(normalize):
    """The last head lies behind 2^31 numbers, and gets what it would get alone."""
    heads, total, dim = 17, 2**21, 64
    wanted = 12 * heads * total * dim * 2
    if torch.cuda.mem_get_info()[0] < wanted:
        pytest.skip(f"needs {wanted >> 30} GiB of free GPU memory")
    rng = torch.Generator("cuda").manual_seed(0)
    q, k, v = (torch.rand(1, heads, total, dim, generator=rng, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    assert q.numel() > 2**31

    def attend(q, k, v):
        q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
        out = prefix_linear_attention(q, k, v, total // 2, normalize=normalize, scale=2**-20, backend="triton")
        return [
            out.detach(),
            *torch.autograd.grad(out, (q, k, v), torch.ones((), dtype=out.dtype, device="cuda").expand_as(out)),
        ]

    many = [x[:, -1:].clone() for x in attend(q, k, v)]
    alone = attend(*(x[:, -1:] for x in (q, k, v)))
    for a, b in zip(many, alone, strict=True):  # cut in other segments, so not the same bits
        assert (a.double() - b.double()).abs().max() <= 0.02 * b.double().abs().max()
