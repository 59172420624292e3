"""The chunked form: its cuts, its backward by hand, what it keeps, and that it reads nothing that is not written."""

import functools
import itertools

import pytest
import torch
from linear_cases import attends as attends_by
from linear_cases import by_definition, inputs, with_gradients

from course_lib.kernels import chunked, prefix_linear_attention
from course_lib.kernels._segments import segments
from course_lib.masks import Visibility

pytestmark = pytest.mark.usefixtures("one_thread")
attends = functools.partial(attends_by, "chunked")


@pytest.fixture(params=[(2, 2), (3, 1), (32, 8), None], ids=str)
def sizes(request, monkeypatch):
    """Chunks of so many tokens, so many at once, in short spans; or what one thread gets."""
    if request.param:
        monkeypatch.setattr(chunked, "_sizes", lambda q: request.param)
        monkeypatch.setattr(chunked, "SPAN", 3 * request.param[0] * request.param[1])
    return request.param


@pytest.fixture
def poisoned(monkeypatch):
    """What is not written yet is NaN, so that whoever reads it can be seen."""
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *a, **b: empty(*a, **b).fill_(float("nan")))


CASES = [
    *itertools.product((1, 2, 7), (0, 1, 2, 7)),
    *((total, prefix) for total in (31, 32, 33, 65, 100) for prefix in (0, 1, 17, 32, total - 1, total)),
    (600, 0),
    (600, 299),
    (600, 600),
]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("normalize", [False, True])
def test_results_and_gradients_are_those_of_the_definition(sizes, normalize):
    for number, (total, prefix) in enumerate((t, p) for t, p in CASES if p <= t):
        if total == 600 and sizes in ((2, 2), (3, 1)):
            continue  # nothing new, and slow
        shape = [(1, 1), (2, 2), (1, 9)][number % 3]
        tensors = inputs(*shape, total, seed=number)
        mask = Visibility(prefix).mask(total)
        terms = (0.7, normalize, 0.05)
        wanted = with_gradients(lambda *x, m=mask, t=terms: by_definition(*x, m, *t), tensors)
        got = with_gradients(attends(prefix, scale=0.7, normalize=normalize, eps=0.05), tensors)
        torch.testing.assert_close(got, wanted, msg=lambda m, c=(total, prefix, shape): f"{c}: {m}")


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("prefixes", [[0, 9, 0, 70, 9], [70] * 5, [0, 0, 40, 40, 40]])
def test_one_prefix_per_example(sizes, prefixes, normalize):
    tensors = inputs(5, 2, 70)
    mask = Visibility(prefixes).mask(70)
    wanted = with_gradients(lambda *x: by_definition(*x, mask, 1.0, normalize, 1e-6), tensors)
    torch.testing.assert_close(with_gradients(attends(prefixes, normalize=normalize), tensors), wanted)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    ("prefixes", "documents"),
    [
        ([5, 0, 30, 2], [5, 20, 30, 15]),
        ([5, 20, 30], [5, 20, 30]),  # all prefix, and a rest of the row that is no document's
        ([[3, 4], [70], [3, 4]], [[20, 30], [70], [20, 30]]),
        ([], []),
    ],
)
def test_packed_documents(sizes, prefixes, documents, normalize):
    q, k, v, kv, z = inputs(3, 2, 70)
    tensors = [q, k, v, 0 * kv, 0 * z]
    mask = Visibility(prefixes, document_lens=documents).mask(70)
    wanted = with_gradients(lambda *x: by_definition(*x, mask, 1.0, normalize, 1e-6)[:1], tensors)
    got = with_gradients(attends(prefixes, documents, normalize=normalize), tensors)
    torch.testing.assert_close(got[:4], wanted[:4])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("prefix", [0, 3, 7, [0, 5]])
def test_gradients_are_the_slopes(sizes, prefix, normalize):
    tensors = [x.requires_grad_() for x in inputs(2, 1, 7, dim=2, value_dim=2)]
    assert torch.autograd.gradcheck(attends(prefix, scale=0.5, normalize=normalize), tensors)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("which", list(itertools.product([False, True], repeat=3))[1:])
def test_gradients_come_from_any_of_the_results(which, normalize):
    tensors = inputs(2, 2, 50)
    mask = Visibility(20).mask(50)
    wanted = with_gradients(lambda *x: by_definition(*x, mask, 1.0, normalize, 1e-6), tensors, which)
    torch.testing.assert_close(with_gradients(attends(20, normalize=normalize), tensors, which), wanted)


def test_any_strides_in_and_in_the_gradient():
    tensors = inputs(3, 4, 50)
    wanted = with_gradients(attends(20, normalize=True), tensors)
    apart = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors[:3]]
    wide = [torch.stack([x, x], dim=-1)[..., 0] for x in tensors[:3]]
    for given in (apart, wide):
        torch.testing.assert_close(with_gradients(attends(20, normalize=True), [*given, *tensors[3:]]), wanted)
    q, k, v = (x.clone().requires_grad_() for x in tensors[:3])
    for upstream in (torch.ones(1, dtype=torch.float64).expand(3, 4, 50, 3), torch.randn(3, 50, 4, 3).double().mT.mT):
        upstream = upstream if upstream.shape[1] == 4 else upstream.transpose(1, 2)
        for prefix in (0, 20, 50):
            out = prefix_linear_attention(q, k, v, prefix)
            torch.testing.assert_close(
                torch.autograd.grad(out, (q, k, v), upstream, retain_graph=True),
                torch.autograd.grad(out, (q, k, v), upstream.contiguous()),
            )


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("prefix", [0, 260, 400, [0, 300]])
def test_smaller_types_err_by_their_last_bits(dtype, prefix, threads):
    torch.set_num_threads(threads)
    rough = inputs(2, 3, 400, dim=16, value_dim=8, dtype=dtype)
    mask = Visibility(prefix).mask(400)
    for normalize in (False, True):
        exact = with_gradients(
            lambda *x, n=normalize: by_definition(*x, mask, 1.0, n, 1e-6), [x.double() for x in rough]
        )
        got = with_gradients(attends(prefix, normalize=normalize), rough)
        for i, (a, b) in enumerate(zip(got, exact, strict=True)):
            narrow = i in (0, 3, 4, 5)
            assert a.dtype == (dtype if narrow else torch.float32)
            # Sums are float32 throughout. What is returned in 16 bits is rounded once; the gradients of a normalised
            # result read it as it was returned.
            rounded = dtype != torch.float32 and (narrow or (normalize and i > 2))
            allowed = torch.finfo(dtype).eps if rounded else 32 * torch.finfo(torch.float32).eps
            assert (a.double() - b).abs().max() <= allowed * b.abs().max(), (i, normalize)


@pytest.mark.parametrize("prefix", [0, 30_000, 65_536])
def test_a_long_sum_of_16_bit_keys_keeps_its_value(prefix):
    q, k, v, _, _ = inputs(1, 1, 65_536, dim=2, value_dim=2, dtype=torch.bfloat16)
    v = v.abs()
    _, last = prefix_linear_attention(q, k, v, prefix, return_state=True, normalize=True)
    torch.testing.assert_close(last.kv.double(), k.double().mT @ v.double(), rtol=1e-5, atol=0)
    torch.testing.assert_close(last.z.double(), k.double().sum(2), rtol=1e-5, atol=0)


@pytest.mark.parametrize("prefix", [0, 500, 1000, [0, 500, 0]])
def test_same_inputs_same_bits(prefix):
    tensors = inputs(3, 3, 1000, dtype=torch.float32)
    first, second = (with_gradients(attends(prefix, normalize=True), tensors) for _ in range(2))
    assert all(map(torch.equal, first, second))
    with torch.no_grad():
        assert torch.equal(attends(prefix, normalize=True)(*tensors)[0], first[0])


@pytest.mark.parametrize(("normalize", "extra"), [(False, 0), (True, 4 * (8 + 1))])
@pytest.mark.parametrize(("prefix", "kept"), [(0, 4), (5000, 2), (8192, 1)])
def test_what_is_kept_for_the_backward_is_a_state_a_span(prefix, kept, normalize, extra):
    q, k, v, _, _ = inputs(1, 2, 8192, dim=16, value_dim=8, dtype=torch.float32)
    q.requires_grad_()
    seen = {}

    def note(x):
        seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        out = prefix_linear_attention(q, k, v, prefix, normalize=normalize)
    tokens = 2 * 8192
    assert sum(seen.values()) == 4 * tokens * (16 + 16 + 8) + extra * tokens + kept * 4 * 2 * 16 * (8 + normalize)
    assert out.shape == (1, 2, 8192, 8)


def test_equal_examples_go_together_and_neighbours_are_not_copied():
    assert segments([3, 3, 5, 3, 5], None, 5, 8) == [([0, 1, 3], 0, 8, 3), ([2, 4], 0, 8, 5)]
    assert segments([3, 3, 5, 5, 5], None, 5, 8, most=2) == [
        (slice(0, 2), 0, 8, 3),
        (slice(2, 4), 0, 8, 5),
        (slice(4, 5), 0, 8, 5),
    ]
    assert segments((1, 0, 2), (3, 0, 4), 2, 8) == [(slice(0, 2), 0, 3, 1), (slice(0, 2), 3, 7, 2)]
    assert segments(((1, 2), (3,)), ((1, 4), (3,)), 2, 8) == [
        (slice(0, 1), 0, 1, 1),
        (slice(0, 1), 1, 5, 2),
        (slice(1, 2), 0, 3, 3),
    ]


@pytest.mark.parametrize("chunk", [1, 4, 32])
@pytest.mark.parametrize("most", [1, 3])
def test_blocks_are_the_span_in_order(chunk, most, monkeypatch):
    monkeypatch.setattr(chunked, "_sizes", lambda q: (chunk, most))
    for start, stop in ((0, 1), (5, 100), (7, 7 + 6 * chunk), (3, 3)):
        blocks = chunked._blocks(start, stop, None)
        assert [token for a, b, _ in blocks for token in range(a, b)] == list(range(start, stop))
        assert all((b - a) % chunks == 0 and 0 < (b - a) // chunks <= chunk for a, b, chunks in blocks)
        assert all(chunks <= most for *_, chunks in blocks)
