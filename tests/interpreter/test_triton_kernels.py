"""The Triton kernels against the definition. In the interpreter this shows what they compute, not how a device does it.

Chunks and segments are short here, so that a small input has several; one test has them as they are on a device.
"""

import itertools

import pytest
import torch
from linear_cases import assert_as_exact_as_plain_torch, attends, by_definition, inputs, with_gradients

from course_lib.kernels import LinearState, prefix_linear_attention
from course_lib.kernels import triton as backend
from course_lib.kernels._triton_choices import is_automatic
from course_lib.masks import Visibility

CHUNK, SEGMENT = 16, 32
ON_A_DEVICE = {name: getattr(backend, name) for name in ("tiling_of", "SCAN_BLOCK", "SCAN_GROUP")}
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def sizes(monkeypatch):
    monkeypatch.setattr(backend, "tiling_of", lambda *_: backend.Tiling(CHUNK, 4, 1, 16))
    monkeypatch.setattr(backend, "segment_length", lambda *_: SEGMENT)
    monkeypatch.setattr(backend, "SCAN_BLOCK", 32)
    monkeypatch.setattr(backend, "SCAN_GROUP", 2)


@pytest.fixture(autouse=True)
def poisoned(monkeypatch):
    """What is not written yet is NaN, so that whoever reads it can be seen."""
    empty = torch.empty

    def poison(*arguments, **named):
        x = empty(*arguments, **named)
        return x.fill_(float("nan")) if x.is_floating_point() else x

    monkeypatch.setattr(torch, "empty", poison)


def small(*shape, dim=5, value_dim=3, dtype=torch.float32, seed=0):
    return inputs(*shape, dim=dim, value_dim=value_dim, dtype=dtype, seed=seed)


def compare(tensors, prefix, *, normalize, documents=None, scale=0.7, eps=0.05, which=(True, True, True)):
    """Check results and gradients by FlashAttention's rule."""
    mask = Visibility(prefix, document_lens=documents).mask(tensors[0].shape[2])
    if documents is not None:
        tensors = [*tensors[:3], *(0 * x for x in tensors[3:])]  # a packed row starts from nothing
    some = slice(None) if documents is None else slice(1)

    def defined(*x):
        return by_definition(*x, mask, scale, normalize, eps)[some]

    exact = with_gradients(defined, [x.double() for x in tensors], which)
    rough = with_gradients(defined, [*tensors[:3], *(x.to(tensors[0].dtype) for x in tensors[3:])], which)
    attend = attends("triton", prefix, documents, scale=scale, normalize=normalize, eps=eps)
    got = with_gradients(attend, tensors, which)
    if documents is not None:
        exact, rough, got = exact[:4], rough[:4], got[:4]
    words = f"P={prefix}, documents={documents}, shapes {[tuple(x.shape) for x in tensors[:3]]}"
    assert_as_exact_as_plain_torch(got, rough, exact, words)
    return got


SMALL = [(0, 0), (1, 0), (1, 1), (15, 0), (15, 7), (16, 16), (17, 0), (17, 1)]
SMALL += [(SEGMENT + 1, prefix) for prefix in (0, 1, SEGMENT, SEGMENT + 1)]
LARGE = [(2 * SEGMENT + 5, prefix) for prefix in (0, 1, CHUNK - 1, CHUNK, SEGMENT, SEGMENT + 1, 68, 69)]
CASES = [
    *((*case, bool(i % 2)) for i, case in enumerate(SMALL)),
    *((*case, True) for case in LARGE),
    *((*case, False) for case in LARGE[::2]),
    (4 * SEGMENT + 1, 20, True),
]


@pytest.mark.parametrize(("total", "prefix", "normalize"), CASES)
def test_results_and_gradients_are_those_of_the_definition(total, prefix, normalize):
    compare(small(1, 1, total, seed=total), prefix, normalize=normalize)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("prefixes", [[0, 70, 17], [33, 33, 33]])
def test_one_prefix_per_example(prefixes, normalize):
    compare(small(3, 1, 70), prefixes, normalize=normalize)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("prefixes", "documents"),
    [
        ([5, 0, 30, 2], [5, 20, 30, 15]),
        ([5, 20, 33], [5, 20, 40]),  # and a rest of the row that is no document's
        ([[3, 4], [40], [0, 0]], [[20, 30], [70], [0, 7]]),
        ([], []),
    ],
)
def test_packed_documents(prefixes, documents, normalize):
    batch = len(documents) if documents and isinstance(documents[0], list) else 1
    compare(small(batch, 1, 70), prefixes, documents=documents, normalize=normalize)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_smaller_types_err_no_more_than_plain_torch(dtype, normalize):
    got = compare(small(2, 1, 50, dim=16, value_dim=8, dtype=dtype), [40, 0], normalize=normalize)
    assert [x.dtype for x in got] == [dtype, torch.float32, torch.float32, *[dtype] * 3, torch.float32, torch.float32]


@pytest.mark.parametrize(
    ("dim", "value_dim", "normalize"), [(1, 1, True), (1, 40, True), (17, 16, True), (17, 16, False), (128, 100, True)]
)
def test_widths_that_are_no_powers_of_two(dim, value_dim, normalize, monkeypatch):
    monkeypatch.setattr(backend, "SCAN_BLOCK", 4096)
    compare(small(1, 1, 20, dim=dim, value_dim=value_dim), 7, normalize=normalize)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("which", [(True, False, False), (False, True, False), (False, False, True)])
def test_gradients_come_from_any_of_the_results(which, normalize):
    compare(small(1, 1, 50), 10, normalize=normalize, which=which)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("prefix", [0, 20, [0, 70]])
def test_without_a_state_in_or_out(prefix, normalize):
    """Then some sums are never made, and nobody may read them."""
    q, k, v, _, _ = small(2, 1, 70)
    mask = Visibility(prefix).mask(70)
    zeros = torch.zeros(2, 1, 5, 3, dtype=torch.float64), torch.zeros(2, 1, 5, dtype=torch.float64)
    exact = with_gradients(
        lambda *x: by_definition(*x, *zeros, mask, 1.0, normalize, 1e-6)[:1], [x.double() for x in (q, k, v)]
    )
    got = with_gradients(
        lambda *x: (prefix_linear_attention(*x, prefix, normalize=normalize, backend="triton"),), [q, k, v]
    )
    torch.testing.assert_close([x.double() for x in got], exact, rtol=1e-4, atol=1e-4)
    again = with_gradients(
        lambda *x: (prefix_linear_attention(*x, prefix, normalize=normalize, backend="chunked"),), [q, k, v]
    )
    torch.testing.assert_close(got, again, rtol=1e-4, atol=1e-4)


def test_any_strides_in_and_in_the_gradient():
    q, k, v, kv, z = small(1, 2, 20)
    attend = attends("triton", 9, normalize=True)
    wanted = with_gradients(attend, [q, k, v, kv, z])
    apart = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v)]
    wide = [torch.stack([x, x], dim=-1)[..., 0] for x in (q, k, v)]
    turned = [kv.mT.contiguous().mT, z]
    for given in (apart, wide):
        assert all(map(torch.equal, with_gradients(attend, [*given, *turned]), wanted))
    q, k, v = (x.clone().requires_grad_() for x in (q, k, v))
    out = prefix_linear_attention(q, k, v, 9, normalize=True, backend="triton")
    for upstream in (torch.ones(1).expand_as(out), torch.randn(1, 20, 2, 3).transpose(1, 2)):
        given, dense = (
            torch.autograd.grad(out, (q, k, v), x, retain_graph=True) for x in (upstream, upstream.contiguous())
        )
        assert all(map(torch.equal, given, dense))


def test_same_inputs_same_bits():
    attend = attends("triton", [40, 0], normalize=True)
    first, second = (with_gradients(attend, small(2, 1, 70)) for _ in range(2))
    assert all(map(torch.equal, first, second))
    with torch.no_grad():
        assert torch.equal(attend(*small(2, 1, 70))[0], first[0])


def test_chunks_and_segments_as_on_a_device(monkeypatch):
    for name, value in {**ON_A_DEVICE, "segment_length": lambda *_: 512}.items():
        monkeypatch.setattr(backend, name, value)
    tensors = small(1, 1, 1100, dim=64, value_dim=64, dtype=torch.bfloat16)
    compare(tensors, 520, normalize=True, scale=1 / 1024)
    compare(tensors, 520, normalize=False, scale=1 / 1024)


def test_a_state_may_be_larger_than_float16():
    q, k, v, _, _ = small(1, 1, 64, dim=16, value_dim=8, dtype=torch.float16)
    v = 200 + v
    k, v = 50 * k, v.requires_grad_()
    for prefix in (0, 30, 64):
        out, last = prefix_linear_attention(q, k, v, prefix, normalize=True, return_state=True, backend="triton")
        assert last.kv.max() > torch.finfo(torch.float16).max
        torch.testing.assert_close(out.float(), torch.full_like(out, 200.0).float(), rtol=0.02, atol=0)
        assert torch.autograd.grad(out.sum(), v)[0].isfinite().all()


@pytest.mark.filterwarnings("ignore:invalid value")  # NumPy's, who does the interpreter's products
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_what_is_no_number_is_not_hidden(dtype):
    for wrong in (float("nan"), -float("nan"), float("inf")):
        q, k, v, _, _ = small(1, 1, 40, dtype=dtype)
        v[:, :, 3] = wrong
        for prefix in (0, 10):
            out = prefix_linear_attention(q, k, v, prefix, backend="triton")
            first = 0 if prefix else CHUNK  # a chunk is one product: 0 times what is no number is none
            assert not out[:, :, first:].isfinite().any()


def test_a_large_segment_does_not_blur_what_precedes_it():
    q, k, v, kv, z = small(1, 1, 4 * SEGMENT)
    v[:, :, 2 * SEGMENT - 1] = 1e12
    early = 2 * SEGMENT - 1
    out = attends("triton", 0)(q, k, v, kv, z)[0][:, :, :early]
    wanted = attends("triton", 0)(*(x[:, :, :early] for x in (q, k, v)), kv, z)[0]
    torch.testing.assert_close(out, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("prefix", [0, 20])
def test_who_moves_when_a_token_is_changed(prefix):
    q, k, v, _, _ = small(1, 1, 40)
    before = prefix_linear_attention(q, k, v, prefix, normalize=True, backend="triton")
    for j in (0, 15, 19, 20, 32):
        for changed in (k, v):
            other = changed.clone()
            other[:, :, j] += 100
            now = (q, other, v) if changed is k else (q, k, other)
            moved = (prefix_linear_attention(*now, prefix, normalize=True, backend="triton") != before).any(-1)[0, 0]
            assert moved.tolist() == [j <= i or j < prefix for i in range(40)]


def test_states_are_fresh_and_nothing_is_written_into_the_inputs():
    tensors = small(2, 1, 20)
    copies = [x.clone() for x in tensors]
    for prefix, total in itertools.product((0, 20), (0, 20)):
        if prefix <= total:
            for normalize in (False, True):
                given = [x[:, :, :total] for x in tensors[:3]]
                for x in attends("triton", prefix, normalize=normalize)(*given, *tensors[3:]):
                    x.zero_()
    assert all(map(torch.equal, tensors, copies))
    state = LinearState(tensors[3])
    out, last = prefix_linear_attention(*tensors[:3], 9, initial_state=state, return_state=True, backend="triton")
    wanted = prefix_linear_attention(*tensors[:3], 9, initial_state=state, return_state=True, backend="chunked")
    torch.testing.assert_close((out, last.kv), (wanted[0], wanted[1].kv))
    assert last.z is None


@pytest.mark.parametrize("shape", [(0, 2, 5), (2, 0, 5), (2, 2, 0), (0, 2, 0)])
def test_nothing_in_nothing_out(shape):
    q, k, v, kv, z = (x.requires_grad_() for x in small(*shape))
    total = shape[2]
    for prefix in (0, total, [total] * shape[0]):
        for normalize in (False, True):
            results = attends("triton", prefix, normalize=normalize)(q, k, v, kv, z)
            assert results[0].shape == v.shape
            assert torch.equal(results[1], kv)
            assert torch.equal(results[2], z)
            gradients = torch.autograd.grad(sum(x.sum() for x in results), (q, k, v, kv, z))
            assert [x.shape for x in gradients] == [x.shape for x in (q, k, v, kv, z)]
            assert gradients[3].eq(1).all()
    assert prefix_linear_attention(q, k, v, 0, document_lens=[], backend="triton").eq(0).all()


def test_a_second_derivative_is_refused_in_words():
    q, k, v, _, _ = (x.requires_grad_() for x in small(1, 1, 4))
    out = prefix_linear_attention(q, k, v, 2, backend="triton")
    (dq,) = torch.autograd.grad(out.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="'triton' cannot be differentiated twice: call it with backend='reference'"):
        torch.autograd.grad(dq.sum(), k)


def test_autocast_does_not_reach_inside():
    tensors = small(1, 1, 40)
    wanted = with_gradients(attends("triton", 9, normalize=True), tensors)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = with_gradients(attends("triton", 9, normalize=True), tensors)
    assert all(map(torch.equal, got, wanted))


def test_compiled_code_calls_it_as_it_is():
    q, k, v, _, _ = (x.requires_grad_() for x in small(1, 1, 40))

    def twice(q, k, v):
        return 2 * prefix_linear_attention(q + 1, k, v, 9, backend="triton")

    out = torch.compile(twice, backend="eager")(q, k, v)
    assert torch.equal(out, twice(q, k, v))
    assert all(map(torch.equal, *(torch.autograd.grad(x.sum(), (q, k, v)) for x in (out, twice(q, k, v)))))


def test_auto_does_not_interpret():
    q, k, v, _, _ = small(1, 1, 40)
    assert not is_automatic(q, v)
    assert torch.equal(prefix_linear_attention(q, k, v, 9), prefix_linear_attention(q, k, v, 9, backend="chunked"))
