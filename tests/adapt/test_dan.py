from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from torchgraft.adapt import adapt, dan


def test_a_domain_with_itself_is_below_zero_by_the_diagonal(two) -> None:
    """The same n samples twice: the across mean has the n ones of each kernel that the within sums leave out."""
    z, _ = two
    n = len(z)
    k = torch.exp(-torch.cdist(z, z).square())
    within = (k.sum() - n) / (n * (n - 1))
    expected = 2 * (within - k.mean())
    alpha = 1 / (2 * torch.cdist(z, z).square().mean())
    from torchgraft.adapt._kernels import gaussian_kernels, unbiased_mmd

    found = unbiased_mmd(gaussian_kernels(torch.cat([z, z]), alphas=(alpha.item(),)), n)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert dan.dan(z, z) < 0


def test_by_hand() -> None:
    """Sources 0, 0 and targets 1, 1: half of all squared distances are 1, within it is 1 each, across exp(-1/a)."""
    expected = sum(2 - 2 * math.exp(-1 / (2 * a * 0.5)) for a in (0.125, 0.25, 0.5, 1, 2))
    assert dan.dan(torch.zeros(2, 1), torch.ones(2, 1)).item() == pytest.approx(expected, rel=1e-5)


def test_is_the_authors_index_form(two) -> None:
    """Sum of the kernel matrix times an index matrix: 1/(n (n - 1)) within, -1/n^2 across, 0 on the diagonal."""
    z_s, z_t = two[0][:7], two[1]
    n, z = 7, torch.cat([z_s, z_t]).numpy().astype(np.float64)
    gaps = ((z[:, None] - z[None]) ** 2).sum(axis=2)
    kernel = sum(np.exp(-gaps / (2 * 2.0**k * gaps.mean())) for k in range(-3, 2))
    index = np.zeros((2 * n, 2 * n))
    index[:n, :n] = index[n:, n:] = 1 / (n * (n - 1))
    index[:n, n:] = index[n:, :n] = -1 / n**2
    np.fill_diagonal(index, 0)
    assert dan.dan(z_s, z_t).item() == pytest.approx((kernel * index).sum(), rel=1e-5)


def test_brings_the_domains_together(two) -> None:
    z_s, moved = two[0], two[1].clone().requires_grad_(True)
    dan.dan(z_s, moved).backward()
    assert dan.dan(z_s, moved - 0.1 * moved.grad) < dan.dan(z_s, moved)


def test_is_better_than_the_source_alone_where_the_target_is_moved(shift, quick) -> None:
    found = {
        name: adapt(name, shift.xs, shift.ys, shift.xt, n_classes=3, options=quick) for name in ("source_only", "dan")
    }
    accuracy = {name: (one.logits.argmax(1) == shift.yt).mean() for name, one in found.items()}
    assert accuracy["dan"] > accuracy["source_only"] + 0.1
