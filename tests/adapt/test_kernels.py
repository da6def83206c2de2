from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel

from torchgraft.adapt._kernels import ALPHAS, gaussian_kernel, gaussian_kernels, squared_distances, unbiased_mmd


def test_distances_are_those_between_points() -> None:
    z = torch.randn(7, 3, dtype=torch.float64)
    torch.testing.assert_close(squared_distances(z), torch.cdist(z, z).square(), atol=1e-9, rtol=1e-6)
    assert (squared_distances(z).diagonal() == 0).all()


def test_the_kernel_is_scikit_learn_s() -> None:
    z = torch.randn(9, 4)
    gaps = squared_distances(z)
    expected = sum(rbf_kernel(z.numpy(), gamma=1 / (2 * a * gaps.mean().item())) for a in ALPHAS)
    np.testing.assert_allclose(gaussian_kernels(z).numpy(), expected, rtol=1e-4)
    np.testing.assert_allclose(gaussian_kernel(z, 0.92).numpy(), rbf_kernel(z.numpy(), gamma=1 / (2 * 0.92**2)), 1e-4)


def test_mmd_by_hand() -> None:
    """A linear kernel on 0, 2 and 3, 5: 0 + 15 - 2 * mean(0, 0, 6, 10)."""
    z = torch.tensor([[0.0], [2], [3], [5]])
    assert unbiased_mmd(z @ z.T, 2).item() == pytest.approx(15 - 8)


def test_the_unbiased_estimate_goes_below_zero_and_is_zero_in_the_mean() -> None:
    """Trap: a constant that lifts it, or a clamp, would hide that the domains are the same."""
    generator = torch.Generator().manual_seed(0)
    found = torch.stack(
        [unbiased_mmd(gaussian_kernel(torch.randn(40, 2, generator=generator), 1.0), 20) for _ in range(200)]
    )
    assert (found < 0).float().mean() > 0.3
    assert abs(found.mean()) < 3 * found.std() / math.sqrt(200)


def test_meets_the_closed_form_of_two_gaussians() -> None:
    """N(0, I) against N(mu, I): 2 (s^2 / (s^2 + 2))^(d/2) (1 - exp(-||mu||^2 / (2 (s^2 + 2)))) (Gaussian, width s)."""
    d, s, mu, n = 3, 1.5, 0.8, 150
    expected = 2 * (s**2 / (s**2 + 2)) ** (d / 2) * (1 - math.exp(-d * mu**2 / (2 * (s**2 + 2))))
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(100, 2 * n, d, generator=generator)
    draws[:, n:] += mu
    found = torch.stack([unbiased_mmd(gaussian_kernel(z, s), n) for z in draws])
    assert abs(found.mean() - expected) < 3 * found.std() / math.sqrt(100)
    assert found.mean().item() == pytest.approx(expected, rel=0.05)


def test_the_bandwidth_has_no_gradient_and_equal_samples_do_no_harm() -> None:
    z = torch.randn(6, 2, requires_grad=True)
    gaussian_kernels(2 * z)[0, 1].backward()
    assert torch.isfinite(z.grad).all()
    torch.testing.assert_close(gaussian_kernels(10 * z), gaussian_kernels(z))
    assert torch.isfinite(gaussian_kernels(torch.ones(4, 2))).all()
