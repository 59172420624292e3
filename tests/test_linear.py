"""Prefix linear attention, each backend against the definition in plain loops."""

import math
import subprocess
import sys

import pytest
import torch

from course_lib.kernels import LinearState, linear_attention_step, prefix_linear_attention
from course_lib.masks import packed_prefix_mask

BACKENDS = ("reference", "recurrent", "chunked", "auto")
pytestmark = pytest.mark.usefixtures("one_thread")


def inputs(batch, heads, total, dim=4, value_dim=3, dtype=torch.float64, seed=0, requires_grad=False):
    """q, k, v; the first two are positive, so that a normaliser is nowhere near 0."""
    rng = torch.Generator().manual_seed(seed)
    q, k = (torch.rand(batch, heads, total, dim, generator=rng, dtype=torch.float64) + 0.1 for _ in range(2))
    v = torch.randn(batch, heads, total, value_dim, generator=rng, dtype=torch.float64)
    return tuple(x.to(dtype).requires_grad_(requires_grad) for x in (q, k, v))


def some_state(batch, heads, dim=4, value_dim=3, dtype=torch.float64, requires_grad=False):
    rng = torch.Generator().manual_seed(99)
    kv = torch.randn(batch, heads, dim, value_dim, generator=rng, dtype=torch.float64)
    z = torch.rand(batch, heads, dim, generator=rng, dtype=torch.float64)
    return LinearState(*(x.to(dtype).requires_grad_(requires_grad) for x in (kv, z)))


def dot(x, y):
    return sum(a * b for a, b in zip(x, y, strict=True))


def by_loops(q, k, v, sees, *, scale=1.0, normalize=False, eps=1e-6, state=None):
    """One number at a time; sees(b, i, j) says whether query i of example b may look at key j."""
    out = torch.zeros(*v.shape, dtype=torch.float64)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            keys, values = k[b, h].tolist(), v[b, h].tolist()
            kv, z = ([], []) if state is None else (state.kv[b, h].tolist(), state.z[b, h].tolist())
            for i, query in enumerate(q[b, h].tolist()):
                # A state is as good as one earlier key and value for each feature: the unit vectors.
                weights = [*query] if kv else []
                below = dot(query, z) if kv else 0.0
                seen = [j for j in range(len(keys)) if sees(b, i, j)]
                weights += [dot(query, keys[j]) for j in seen]
                below += sum(dot(query, keys[j]) for j in seen)
                rows = [*kv, *(values[j] for j in seen)]
                for c in range(v.shape[-1]):
                    above = scale * sum(w * row[c] for w, row in zip(weights, rows, strict=True))
                    out[b, h, i, c] = above / (scale * below + eps) if normalize else above
    return out


def prefix_rule(prefixes):
    return lambda b, i, j: j <= i or j < prefixes[b]


def state_by_loops(k, v, state=None):
    kv = torch.zeros(*k.shape[:2], k.shape[3], v.shape[3], dtype=torch.float64) if state is None else state.kv.clone()
    z = torch.zeros(*k.shape[:2], k.shape[3], dtype=torch.float64) if state is None else state.z.clone()
    for j in range(k.shape[2]):
        kv += k[:, :, j, :, None] * v[:, :, j, None, :]
        z += k[:, :, j]
    return kv, z


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("total", range(1, 7))
def test_every_small_prefix_is_the_definition(total, backend, normalize):
    for prefix in range(total + 1):
        q, k, v = inputs(2, 2, total, seed=prefix)
        state = some_state(2, 2) if prefix % 2 else None
        choices = {"scale": 0.7, "normalize": normalize, "eps": 0.05}
        out, last = prefix_linear_attention(
            q, k, v, prefix, initial_state=state, return_state=True, backend=backend, **choices
        )
        torch.testing.assert_close(out, by_loops(q, k, v, prefix_rule([prefix] * 2), state=state, **choices))
        for got, wanted in zip(last, state_by_loops(k, v, state), strict=True):
            torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("given", [list, tuple, torch.tensor, lambda x: torch.tensor(x, dtype=torch.int32)])
def test_one_prefix_per_example(backend, given):
    for prefixes in ([0, 1, 3, 6], [2, 2, 2, 2], [6, 3, 6, 3], [0, 0, 6, 6]):
        q, k, v = inputs(4, 2, 6)
        out = prefix_linear_attention(q, k, v, given(prefixes), normalize=True, backend=backend)
        torch.testing.assert_close(out, by_loops(q, k, v, prefix_rule(prefixes), normalize=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_defaults_are_causal_unscaled_and_not_normalised(backend):
    q, k, v = inputs(1, 1, 5)
    torch.testing.assert_close(
        prefix_linear_attention(q, k, v, backend=backend), by_loops(q, k, v, lambda b, i, j: j <= i)
    )


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_documents_never_see_each_other(backend, normalize):
    total, documents, prefixes = 9, [3, 0, 4], [2, 0, 4]  # two tokens belong to no document
    q, k, v = inputs(3, 2, total)
    mask = torch.zeros(total, total, dtype=torch.bool)
    mask[:7, :7] = packed_prefix_mask(prefixes, documents)
    choices = {"normalize": normalize, "backend": backend}
    out = prefix_linear_attention(q, k, v, prefixes, document_lens=documents, **choices)
    torch.testing.assert_close(out, by_loops(q, k, v, lambda b, i, j: mask[i, j].item(), normalize=normalize))
    assert (out[:, :, 7:] == 0).all()
    for rows, lens, each in (
        ([prefixes] * 3, [documents] * 3, [(prefixes, documents)] * 3),
        ([prefixes, [5], prefixes], [documents, [9], documents], [(prefixes, documents), ([5], [9])] * 2),
        (1, [[4, 4], [], [9]], [([1, 1], [4, 4]), ([], []), ([1], [9])]),
    ):
        out = prefix_linear_attention(q, k, v, rows, document_lens=lens, **choices)
        for b, (own_prefixes, own_lens) in enumerate(each[:3]):
            start = 0
            for prefix, length in zip(own_prefixes, own_lens, strict=True):
                own = [x[b : b + 1, :, start : start + length] for x in (q, k, v)]
                wanted = prefix_linear_attention(*own, prefix, normalize=normalize, backend="reference")
                torch.testing.assert_close(out[b : b + 1, :, start : start + length], wanted)
                start += length
            assert (out[b, :, start:] == 0).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("prefix", [0, 4, 9])
def test_who_moves_when_a_token_is_changed(backend, prefix):
    q, k, v = inputs(1, 1, 9)
    before = prefix_linear_attention(q, k, v, prefix, normalize=True, backend=backend)
    for j in range(9):
        for changed in (k, v):
            other = changed.clone()
            other[:, :, j] += 1
            now = (q, other, v) if changed is k else (q, k, other)
            moved = (prefix_linear_attention(*now, prefix, normalize=True, backend=backend) != before).any(-1)[0, 0]
            assert moved.tolist() == [j <= i or j < prefix for i in range(9)]
        other = q.clone()
        other[:, :, j] += torch.arange(4)
        moved = (prefix_linear_attention(other, k, v, prefix, normalize=True, backend=backend) != before).any(-1)[0, 0]
        assert moved.tolist() == [i == j for i in range(9)]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_row_may_be_cut_behind_its_prefix_but_not_within(backend, normalize):
    q, k, v = inputs(2, 2, 10)
    prefix, choices = 4, {"scale": 0.5, "normalize": normalize, "return_state": True, "backend": backend}
    start = some_state(2, 2)
    whole, end = prefix_linear_attention(q, k, v, prefix, initial_state=start, **choices)
    for cut in range(2, 11):
        first, state = prefix_linear_attention(
            *(x[:, :, :cut] for x in (q, k, v)), min(prefix, cut), initial_state=start, **choices
        )
        second, last = prefix_linear_attention(*(x[:, :, cut:] for x in (q, k, v)), initial_state=state, **choices)
        both = torch.cat([first, second], dim=2)
        if cut >= prefix:
            torch.testing.assert_close(both, whole)
        else:
            assert (both - whole).abs().max() > 0.01
        for got, wanted in zip(last, end, strict=True):  # the state holds all keys, whoever saw them
            torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_steps_go_on_from_the_state(dtype, normalize):
    q, k, v = inputs(2, 3, 9, dtype=dtype)
    choices = {"scale": 0.5, "normalize": normalize}
    whole, end = prefix_linear_attention(q, k, v, 5, return_state=True, **choices)
    _, state = prefix_linear_attention(*(x[:, :, :5] for x in (q, k, v)), 5, return_state=True, **choices)
    for t in range(5, 9):
        now = [x[:, :, t : t + 1] for x in (q, k, v)]
        copies = [x.clone() for x in state]
        out, following = linear_attention_step(*now, state, **choices)
        assert out.dtype == dtype
        torch.testing.assert_close(out, whole[:, :, t : t + 1])
        called, same = prefix_linear_attention(*now, initial_state=state, return_state=True, **choices)
        torch.testing.assert_close((out, *following), (called, *same))
        assert all(torch.equal(x, copy) for x, copy in zip(state, copies, strict=True))
        state = following
    torch.testing.assert_close(tuple(state), tuple(end))
    first, state = linear_attention_step(*(x[:, :, :1] for x in (q, k, v)), **choices)
    torch.testing.assert_close(first, prefix_linear_attention(*(x[:, :, :1] for x in (q, k, v)), **choices))
    assert state.kv.dtype == state.z.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_gradients_of_a_step_are_the_slopes_and_so_are_theirs():
    q, k, v = inputs(1, 2, 1, dim=2, value_dim=2, requires_grad=True)
    state = some_state(1, 2, dim=2, value_dim=2, requires_grad=True)

    def step(q, k, v, kv, z):
        out, new = linear_attention_step(q, k, v, LinearState(kv, z), normalize=True)
        return out, *new

    assert torch.autograd.gradcheck(step, (q, k, v, *state))
    assert torch.autograd.gradgradcheck(step, (q, k, v, *state))


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_state_without_z_stays_without(backend):
    q, k, v = inputs(2, 2, 5)
    known = some_state(2, 2)
    wanted = prefix_linear_attention(q, k, v, 2, initial_state=known, backend=backend)
    out, last = prefix_linear_attention(
        q, k, v, 2, initial_state=LinearState(known.kv), return_state=True, backend=backend
    )
    torch.testing.assert_close(out, wanted)
    assert last.z is None
    assert linear_attention_step(*(x[:, :, :1] for x in (q, k, v)), LinearState(known.kv))[1].z is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_states_are_fresh_and_nothing_is_written_into_the_inputs(backend):
    q, k, v = inputs(2, 3, 6)
    state = some_state(2, 3)
    wanted = prefix_linear_attention(q, k, v, 4, initial_state=state, normalize=True, backend=backend)
    apart = [x.permute(3, 2, 0, 1).contiguous().permute(2, 3, 1, 0) for x in (q, k, v, state.kv)]
    copies = [x.clone() for x in apart]
    start = LinearState(apart[3], state.z)
    for prefix, total in ((4, 6), (0, 6), (0, 0), (6, 6)):
        for normalize in (False, True):
            out, last = prefix_linear_attention(
                *(x[:, :, :total] for x in apart[:3]),
                prefix,
                initial_state=start,
                return_state=True,
                normalize=normalize,
                backend=backend,
            )
            if (prefix, normalize) == (4, True):
                torch.testing.assert_close(out, wanted)
            for x in last:
                x.zero_()
    assert all(torch.equal(x, copy) for x, copy in zip(apart, copies, strict=True))
    assert torch.equal(state.z, some_state(2, 3).z)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(0, 2, 5), (2, 0, 5), (2, 2, 0), (0, 2, 0)])
def test_nothing_in_nothing_out(backend, shape):
    batch, heads, total = shape
    q, k, v = inputs(*shape, requires_grad=True)
    start = some_state(batch, heads, requires_grad=True)
    for prefix in (0, total, [total] * batch):
        for normalize in (False, True):
            out, last = prefix_linear_attention(
                q, k, v, prefix, normalize=normalize, initial_state=start, return_state=True, backend=backend
            )
            assert out.shape == (*shape, 3)
            assert torch.equal(last.kv, start.kv)
            assert torch.equal(last.z, start.z)
            loss = out.sum() + last.kv.sum() + last.z.sum()
            for x, gradient in zip((q, k, v), torch.autograd.grad(loss, (q, k, v)), strict=True):
                assert gradient.shape == x.shape
    assert prefix_linear_attention(q, k, v, 0, document_lens=[], backend=backend).eq(0).all()


@pytest.mark.parametrize("backend", ["reference", "recurrent"])
def test_the_definitions_can_be_differentiated_twice(backend):
    q, k, v = inputs(1, 1, 4, dim=2, value_dim=2, requires_grad=True)
    state = some_state(1, 1, dim=2, value_dim=2, requires_grad=True)

    def attend(q, k, v, kv, z):
        out, last = prefix_linear_attention(
            q, k, v, 2, normalize=True, initial_state=LinearState(kv, z), return_state=True, backend=backend
        )
        return out, *last

    assert torch.autograd.gradcheck(attend, (q, k, v, *state))
    assert torch.autograd.gradgradcheck(attend, (q, k, v, *state))


def test_a_second_derivative_of_the_chunked_form_is_refused_in_words():
    q, k, v = inputs(1, 1, 4, requires_grad=True)
    (dq,) = torch.autograd.grad(
        prefix_linear_attention(q, k, v, 2, backend="chunked").square().sum(), q, None, True, True
    )
    with pytest.raises(RuntimeError, match="cannot be differentiated twice: call it with backend='reference'"):
        torch.autograd.grad(dq.sum(), k)


@pytest.mark.parametrize("backend", BACKENDS)
def test_autocast_does_not_reach_inside(backend):
    q, k, v = inputs(1, 2, 40, dtype=torch.float32, requires_grad=True)
    wanted = prefix_linear_attention(q, k, v, 9, normalize=True, backend=backend)
    gradients = torch.autograd.grad(wanted.sum(), (q, k, v))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = prefix_linear_attention(q, k, v, 9, normalize=True, backend=backend)
        assert out.dtype == torch.float32
        assert torch.equal(out, wanted)
        if backend in ("chunked", "auto"):  # of the others, autograd is the author
            assert all(map(torch.equal, torch.autograd.grad(out.sum(), (q, k, v)), gradients))


def test_compiled_code_calls_it_as_it_is():
    q, k, v = inputs(1, 2, 40, dtype=torch.float32, requires_grad=True)

    def twice(q, k, v):
        return 2 * prefix_linear_attention(q + 1, k, v, 9)

    torch._dynamo.utils.counters.clear()
    out = torch.compile(twice, backend="eager")(q, k, v)
    assert torch.equal(out, twice(q, k, v))
    assert torch._dynamo.utils.counters["graph_break"]  # the call itself is in no graph
    assert all(map(torch.equal, *(torch.autograd.grad(x.sum(), (q, k, v)) for x in (out, twice(q, k, v)))))


def test_a_call_does_not_load_the_compiler():
    code = (
        "import sys, torch; from course_lib.kernels import prefix_linear_attention as f; x = torch.ones(1, 1, 4, 2); "
    )
    code += "f(x, x, x.requires_grad_(), 2).sum().backward(); sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


Q = torch.zeros(2, 3, 5, 4)
STATE = LinearState(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4))


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"q": [1]}, TypeError, r"q must be a tensor, got \[1\]"),
        ({"q": Q[0]}, ValueError, r"q must be \(batch, heads, length, features >= 1\), got shape \(3, 5, 4\)"),
        ({"k": Q[:, :1]}, ValueError, r"k must have the shape of q, \(2, 3, 5, 4\), got \(2, 1, 5, 4\)"),
        ({"v": Q[:, :, :4]}, ValueError, r"v must begin with the shape \(2, 3, 5\) of q, got \(2, 3, 4, 4\)"),
        ({"q": Q.long()}, TypeError, r"q must be one of float32, .*got torch.int64"),
        ({"v": Q.double()}, TypeError, r"v must have the dtype of q, torch.float32, got torch.float64"),
        ({"k": Q.to("meta")}, ValueError, r"k must be on the device of q, cpu, got meta"),
        ({"prefix_len": -1}, ValueError, r"prefix_len must be from 0 to the length T of q = 5, got -1"),
        ({"prefix_len": 6}, ValueError, r"prefix_len must be from 0 to the length T of q = 5, got 6"),
        ({"prefix_len": True}, TypeError, r"prefix_len must be a whole number"),
        ({"prefix_len": [1]}, ValueError, r"prefix_len must have one entry for each of the 2 examples, got 1"),
        ({"prefix_len": [1, 6]}, ValueError, r"prefix_len\[1\] must be from 0 to the length T of q = 5, got 6"),
        ({"scale": "1"}, TypeError, r"scale must be a number, got '1'"),
        ({"scale": math.nan}, ValueError, r"scale must be finite, got nan"),
        ({"eps": None}, TypeError, r"eps must be a number, got None"),
        ({"eps": -1e-6}, ValueError, r"eps must be finite and at least 0, got -1e-06"),
        ({"eps": math.nan}, ValueError, r"eps must be finite and at least 0, got nan"),
        ({"normalize": 1}, TypeError, r"normalize must be True or False, got 1"),
        ({"return_state": None}, TypeError, r"return_state must be True or False, got None"),
        (
            {"backend": "quick"},
            ValueError,
            r"must be one of auto, reference, recurrent, chunked, triton, got 'quick'",
        ),
        ({"initial_state": Q}, TypeError, r"initial_state must be a LinearState, got Tensor"),
        ({"initial_state": LinearState(None)}, TypeError, r"initial_state.kv must be a tensor, got None"),
        ({"initial_state": LinearState(STATE.kv[:1])}, ValueError, r"initial_state.kv must have shape \(2, 3, 4, 4\)"),
        (
            {"initial_state": LinearState(STATE.kv, STATE.z[..., None])},
            ValueError,
            r"initial_state.z must have shape \(2, 3, 4\), got \(2, 3, 4, 1\)",
        ),
        (
            {"initial_state": LinearState(STATE.kv.bfloat16())},
            TypeError,
            r"initial_state.kv must be torch.float32 for q of torch.float32, got torch.bfloat16",
        ),
        ({"initial_state": LinearState(STATE.kv.to("meta"))}, ValueError, r"initial_state.kv is on meta, but cpu"),
        (
            {"initial_state": LinearState(STATE.kv), "normalize": True},
            ValueError,
            r"initial_state.z must be given with normalize=True, got None",
        ),
        ({"document_lens": [3, 3]}, ValueError, r"document_lens add up to 6, more than the length T of q = 5"),
        ({"document_lens": [3, 1]}, ValueError, r"prefix_len\[1\] must be from 0 to document_lens\[1\] = 1, got 2"),
        ({"document_lens": [[3]]}, ValueError, r"document_lens must have one list for each of the 2 examples, got 1"),
        ({"document_lens": [3], "prefix_len": [1, 2]}, ValueError, r"prefix_len must be shaped like document_lens"),
        (
            {"document_lens": [5], "return_state": True},
            ValueError,
            r"return_state cannot be combined with document_",
        ),
        (
            {"document_lens": [5], "initial_state": STATE},
            ValueError,
            r"initial_state cannot be combined with document_lens: a packed row has no single state",
        ),
    ],
)
def test_what_cannot_be_attended_is_refused(change, error, words):
    arguments = {"q": Q, "k": Q, "v": Q, "prefix_len": 2, **change}
    with pytest.raises(error, match=words):
        prefix_linear_attention(**arguments)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"q": Q, "k": Q, "v": Q}, ValueError, r"q must hold one token, \(batch, heads, 1, features\), got shape"),
        ({"state": tuple(STATE)}, TypeError, r"state must be a LinearState, got"),
        ({"state": LinearState(STATE.kv), "normalize": True}, ValueError, r"state.z must be given with normalize=True"),
        ({"scale": True}, TypeError, r"scale must be a number, got True"),
    ],
)
def test_what_is_no_step_is_refused(change, error, words):
    one = Q[:, :, :1]
    with pytest.raises(error, match=words):
        linear_attention_step(**{"q": one, "k": one, "v": one, "state": STATE, **change})


@pytest.mark.parametrize("backend", ["reference", "recurrent", "chunked"])
def test_tensors_without_numbers_are_refused_in_words(backend):
    for name in ("q", "k", "v"):
        given = {"q": Q, "k": Q, "v": Q}
        with pytest.raises(TypeError, match=f"{name} must be a dense tensor, got one of layout torch.sparse_coo"):
            prefix_linear_attention(**given | {name: Q.to_sparse()}, prefix_len=2, backend=backend)
    with pytest.raises(ValueError, match="q, k and v are on the meta device, which holds no values to read"):
        prefix_linear_attention(*[Q.to("meta")] * 3, 2, backend=backend)
