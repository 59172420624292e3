"""What the tests of every fast form of prefix linear attention share: inputs, the definition, and gradients."""

import math

import torch

from course_lib.kernels import LinearState, prefix_linear_attention


def inputs(batch, heads, total, dim=4, value_dim=3, dtype=torch.float64, seed=0, device="cpu"):
    """q, k, v, and the kv and z of a state. All but v and kv are positive, so that no normaliser is near 0."""
    rng = torch.Generator().manual_seed(seed)
    q, k = (torch.rand(batch, heads, total, dim, generator=rng, dtype=torch.float64) + 0.1 for _ in range(2))
    v = torch.randn(batch, heads, total, value_dim, generator=rng, dtype=torch.float64)
    kv = torch.randn(batch, heads, dim, value_dim, generator=rng, dtype=torch.float64)
    z = torch.rand(batch, heads, dim, generator=rng, dtype=torch.float64)
    state_dtype = torch.float64 if dtype == torch.float64 else torch.float32
    return [*(x.to(device, dtype) for x in (q, k, v)), *(x.to(device, state_dtype) for x in (kv, z))]


def by_definition(q, k, v, kv, z, mask, scale, normalize, eps):
    """The quadratic form with a mask that is made elsewhere, and the state after it, all in the dtype of q."""
    kv, z = kv.to(q.dtype), z.to(q.dtype)
    weights = torch.where(mask, torch.einsum("bhik,bhjk->bhij", q, k), 0)
    above = torch.einsum("bhij,bhjc->bhic", weights, v) + torch.einsum("bhik,bhkc->bhic", q, kv)
    below = weights.sum(-1) + torch.einsum("bhik,bhk->bhi", q, z)
    out = scale * above
    if normalize:
        out = out / (scale * below + eps)[..., None]
    return out, kv + torch.einsum("bhjk,bhjc->bhkc", k, v), z + k.sum(2)


def with_gradients(attend, tensors, which=(True, True, True)):
    """The results of attend(*tensors), and the gradients of a sum over some of them, each weighted at random."""
    leaves = [x.detach().requires_grad_() for x in tensors]
    results = attend(*leaves)
    rng = torch.Generator().manual_seed(5)
    weights = [torch.randint(-9, 10, x.shape, generator=rng).to(x.device).double() for x in results]  # exact everywhere
    loss = sum((x.double() * w).sum() for x, w, used in zip(results, weights, which, strict=False) if used)
    return [*results, *torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)]


def attends(backend, prefix, documents=None, **choices):
    """A function of q, k, v, kv and z, for `with_gradients`: output and state, or for documents the output alone."""

    def attend(q, k, v, kv, z):
        if documents is not None:
            return (prefix_linear_attention(q, k, v, prefix, document_lens=documents, backend=backend, **choices),)
        state = LinearState(kv, z)
        out, last = prefix_linear_attention(
            q, k, v, prefix, initial_state=state, return_state=True, backend=backend, **choices
        )
        return out, *last

    return attend


def assert_as_exact_as_plain_torch(got, rough, exact, words=""):
    """FlashAttention's rule: at most twice the error of the plain form in the same dtype, and the last bits of float32.

    Both errors are the largest over a tensor. Where the plain form overflows, as it may in float16, two roundings are
    allowed. Source: Dao-AILab/flash-attention, tests/test_flash_attn.py.
    """
    for i, (a, b, c) in enumerate(zip(got, rough, exact, strict=True)):
        if c.numel():
            error, allowed = ((x.double() - c).abs().max().item() for x in (a, b))
            largest = c.abs().max().item()
            allowed = allowed if math.isfinite(allowed) else torch.finfo(a.dtype).eps * largest
            allowed = 2 * allowed + 8 * torch.finfo(torch.float32).eps * largest
            assert error <= allowed, f"{words}: number {i} is {error:.2e} off, allowed are {allowed:.2e}"
