"""Linear attention under a prefix mask: the public face."""

import functools

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from .._check import check_flag, one_of
from ..masks import Visibility
from . import reference
from ._inputs import (
    check_choices,
    check_packed,
    check_prefix_len,
    check_qkv,
    check_state,
)
from ._segments import segments
from ._triton_choices import is_automatic
from .chunked import chunked_linear_attention
from .reference import LinearState, empty_state
from .triton import triton_linear_attention

__all__ = ["LinearState", "linear_attention_step", "prefix_linear_attention"]

BACKENDS = ("auto", "reference", "recurrent", "chunked", "triton")


def _out_of_graphs(function):
    """Keep torch.compile out of a function, whose loop over chunks it would unroll.

    `torch.compiler.disable` does the same, but loads the compiler on import, and `_disable_dynamo` at the first call.
    """
    uncompiled = _disable_dynamo(function)

    @functools.wraps(function)
    def call(*args, **kwargs):
        return (uncompiled if torch.compiler.is_compiling() else function)(*args, **kwargs)

    return call


@_out_of_graphs
def prefix_linear_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    prefix_len=0,
    *,
    scale: float = 1.0,
    normalize: bool = False,
    eps: float = 1e-6,
    initial_state: LinearState | None = None,
    return_state: bool = False,
    document_lens=None,
    backend: str = "auto",
) -> Tensor | tuple[Tensor, LinearState]:
    """Return linear attention where query i sees key j if j <= i or j < prefix_len: (B, H, T, Dv).

    out_i = scale * sum_j (q_i . k_j) v_j over the keys that i sees; with normalize, divided by
    scale * sum_j (q_i . k_j) + eps. Nothing is clamped: keep these sums positive by the feature map.

    q, k           (B, H, T, Dk), as a feature map left them; float32, float64, bfloat16 or float16, any strides.
    v              (B, H, T, Dv); Dv may differ from Dk. Nothing is broadcast; B, H and T may be 0.
    prefix_len     int, or a list or integer tensor (B,), each 0..T: 0 is causal, T is bidirectional. A tensor must be
                   on the device of q; on an accelerator, checking its values waits for the device once.
    scale          factor of the weights, 1 unless given; states are never scaled.
    initial_state  `LinearState` of earlier keys, which all T queries see. With normalize, its z is needed.
    return_state   also return the state after all T keys, in tensors of its own. It has a z whether or not normalize
                   is set, unless initial_state had none.
    document_lens  the lengths of documents packed in the row, or a list of such lists, one for each example: documents
                   never see each other. prefix_len is then shaped like it, or an int for all; what is left of a row
                   gets zeros. Not with initial_state or return_state: a packed row has no single state.
    backend        "reference"  the masked quadratic form, T^2 in memory; differentiable any number of times.
                   "recurrent"  token by token, to be read; differentiable any number of times.
                   "chunked"    the prefix by two dense products, the rest in chunks; differentiable once.
                   "triton"     the same in kernels for a CUDA device (compute capability 8.0 or more), parallel over
                                the length; needs the package triton. Dk and Dv up to 128, no float64; differentiable
                                once. With TRITON_INTERPRET=1 set before triton is imported, slowly on the CPU, too.
                   "auto"       the fastest that fits: "triton" where it can be, else "chunked".

    Padding on the right needs nothing where prefix_len is no more than the real length: no real query sees it. Where a
    prefix has padding in it, or the state is asked for, make its features 0: `k * real[:, None, :, None]`, after the
    feature map.

    A row may be cut after its prefix: for t >= prefix_len, f(x, P) is f(x[:t], P) and then f(x[t:], 0) from the state
    of the first. A cut within the prefix is another function: the first part would not see the second.

    With 16-bit inputs, sums are float32, and so are states. Autocast does not reach inside. One number of threads gives
    one set of bits. Gradients reach q, k, v and initial_state, from the output and the returned state. Wrong shapes,
    dtypes, devices, lengths and choices raise ValueError or TypeError.

    Source: Katharopoulos et al. 2020 (arXiv 2006.16236), section 3, under the mask of Raffel et al. 2020 (T5), section
    3.2.1. JRT-RNN's layer of nearly the same name is another function: there the prefix is seen by two streams.
    """
    check_qkv(q, k, v)
    choices = check_choices(scale, normalize, eps)
    check_flag("return_state", return_state)
    one_of("backend", backend, BACKENDS)
    documents = None
    if document_lens is None:
        prefix_len = check_prefix_len(prefix_len, q)
    elif initial_state is not None or return_state:
        name = "return_state" if return_state else "initial_state"
        raise ValueError(f"{name} cannot be combined with document_lens: a packed row has no single state")
    else:
        prefix_len, documents = check_packed(prefix_len, document_lens, q)
    state = empty_state(q, v) if initial_state is None else check_state("initial_state", initial_state, q, v, normalize)
    with torch.autocast(q.device.type, enabled=False):
        if backend == "reference":
            mask = Visibility(prefix_len, document_lens=documents).mask(q.shape[2], device=q.device)
            out, last = reference.linear_attention(q, k, v, mask, state, **choices)
        elif backend == "recurrent":
            out, last = _recurrent(q, k, v, prefix_len, state, documents, **choices)
        elif backend == "triton" or (backend == "auto" and is_automatic(q, v)):
            given = None if initial_state is None else state
            out, last = _triton(q, k, v, prefix_len, given, documents, return_state, **choices)
        else:
            out, last = _chunked(q, k, v, prefix_len, state, documents, return_state, **choices)
    return (out, last) if return_state else out


def linear_attention_step(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    state: LinearState | None = None,
    *,
    scale: float = 1.0,
    normalize: bool = False,
    eps: float = 1e-6,
) -> tuple[Tensor, LinearState]:
    """Return the output for one more token, (B, H, 1, Dv), and the state that holds its key, too.

    q and k are (B, H, 1, Dk), v is (B, H, 1, Dv); state is what was returned before, None for no keys yet. The query
    sees its own key. Nothing is written into the given state. The result, its gradients and what is refused are those
    of `prefix_linear_attention` with T = 1, P = 0 and that initial state; it is differentiable any number of times.

    Source: Katharopoulos et al. 2020 (arXiv 2006.16236), section 3.4, equations 16-20.
    """
    check_qkv(q, k, v)
    if q.shape[2] != 1:
        raise ValueError(f"q must hold one token, (batch, heads, 1, features), got shape {tuple(q.shape)}")
    choices = check_choices(scale, normalize, eps)
    state = empty_state(q, v) if state is None else check_state("state", state, q, v, normalize)
    with torch.autocast(q.device.type, enabled=False):
        return reference.linear_recurrence(q, k, v, 0, state, **choices)


def _recurrent(q, k, v, prefix_len, state, documents, **choices) -> tuple[Tensor, LinearState | None]:
    if documents is None:
        return reference.linear_recurrence(q, k, v, prefix_len, state, **choices)
    out = torch.zeros_like(v)
    for examples, start, stop, prefix in segments(prefix_len, documents, q.shape[0], q.shape[2]):
        inputs = (x[examples, :, start:stop] for x in (q, k, v))
        empty = LinearState(*(x[examples] for x in state))
        out[examples, :, start:stop] = reference.linear_recurrence(*inputs, prefix, empty, **choices)[0]
    return out, None


def _chunked(
    q, k, v, prefix_len, state, documents, return_state, *, normalize, **choices
) -> tuple[Tensor, LinearState | None]:
    joined = torch.cat([state.kv, state.z[..., None]], dim=-1) if normalize else state.kv
    out, last = chunked_linear_attention(
        q, k, v, prefix_len, joined, normalize=normalize, documents=documents, **choices
    )
    if not return_state:
        return out, None
    if normalize:
        return out, LinearState(last[..., :-1].contiguous(), last[..., -1].contiguous())
    return out, LinearState(last, None if state.z is None else state.z + k.sum(2, dtype=last.dtype))


def _triton(
    q, k, v, prefix_len, state, documents, return_state, *, normalize, **choices
) -> tuple[Tensor, LinearState | None]:
    z = normalize or (return_state and (state is None or state.z is not None))
    joined = None
    if state is not None:
        joined = torch.cat([state.kv.flatten(2), state.z], dim=-1) if z else state.kv.flatten(2)
    out, last = triton_linear_attention(
        q, k, v, prefix_len, joined, normalize=normalize, documents=documents, z=z, last=return_state, **choices
    )
    if not return_state:
        return out, None
    size = q.shape[3] * v.shape[3]
    kv = last[..., :size].unflatten(-1, (q.shape[3], v.shape[3])).contiguous()
    return out, LinearState(kv, last[..., size:].contiguous() if z else None)
