"""The feature maps: what their products stand for, and what they keep."""

import math

import pytest
import torch

from course_lib.kernels.feature_maps import elu_plus_one, identity, taylor_exp


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("d", [1, 3, 16])
def test_taylor_products_are_the_first_terms_of_exp(d):
    q, k = 2 * numbers(2, 7, d), numbers(2, 5, d, seed=1)
    s = q @ k.mT / math.sqrt(d)
    assert taylor_exp(q).shape == (2, 7, 1 + d + d * d)
    torch.testing.assert_close(taylor_exp(q) @ taylor_exp(k).mT, 1 + s + s**2 / 2)
    small = 1e-3 * q
    torch.testing.assert_close(taylor_exp(small) @ taylor_exp(k).mT, torch.exp(small @ k.mT / math.sqrt(d)))


def test_elu_plus_one_by_its_two_halves():
    x = torch.tensor([-30.0, -1.0, -0.0, 0.0, 0.5, 3.0], dtype=torch.float64)
    wanted = torch.tensor([math.exp(-30), math.exp(-1), 1, 1, 1.5, 4], dtype=torch.float64)
    torch.testing.assert_close(elu_plus_one(x), wanted, atol=1e-15, rtol=1e-15)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_is_kept_and_weights_are_not_negative(dtype):
    x = (3 * numbers(9, 6)).to(dtype)
    assert identity(x) is x
    for phi in (elu_plus_one, taylor_exp):
        features = phi(x)
        assert features.dtype == dtype
        assert (features.double() @ features.double().mT > 0).all()
    assert (elu_plus_one(x) >= 0).all()
    assert elu_plus_one(torch.zeros(3, dtype=dtype)).eq(1).all()  # padding has to be masked after the map


@pytest.mark.parametrize("phi", [identity, elu_plus_one, taylor_exp])
def test_gradients_are_the_slopes(phi):
    assert torch.autograd.gradcheck(phi, numbers(2, 3, 4).requires_grad_())
