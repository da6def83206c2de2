"""Gaussian kernels over a batch of two domains, and the unbiased maximum mean discrepancy from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

ALPHAS = (0.125, 0.25, 0.5, 1.0, 2.0)
"""Bandwidths of the multi-kernel, as multiples of the mean squared distance (2^-3 to 2^1)."""


def squared_distances(z: Tensor) -> Tensor:
    """N x N of ||z_i - z_j||^2, never negative, 0 on the diagonal."""
    size = z.square().sum(dim=1)
    gaps = (size[:, None] + size[None, :] - 2 * z @ z.T).clamp(min=0)
    return gaps * (1 - torch.eye(len(z), dtype=z.dtype, device=z.device))


def gaussian_kernels(z: Tensor, alphas: Sequence[float] = ALPHAS) -> Tensor:
    """N x N of sum_a exp(-||z_i - z_j||^2 / (2 a m)), m the mean of all N^2 squared distances, without gradient.

    The bandwidths follow the batch (Long et al. 2015 take them from the median, the authors' library from the mean).
    """
    gaps = squared_distances(z.float())
    scale = gaps.detach().mean().clamp(min=torch.finfo(gaps.dtype).tiny)
    return sum(torch.exp(-gaps / (2 * a * scale)) for a in alphas)


def gaussian_kernel(z: Tensor, sigma: float) -> Tensor:
    """N x N of exp(-||z_i - z_j||^2 / (2 sigma^2))."""
    return torch.exp(-squared_distances(z.float()) / (2 * sigma**2))


def unbiased_mmd(kernel: Tensor, n: int) -> Tensor:
    """MMD^2 of the first n samples and the m others, from their (n + m) x (n + m) kernel matrix (Gretton et al. 2012).

    1/(n (n-1)) sum_{i != j} k(s_i, s_j) + 1/(m (m-1)) sum_{i != j} k(t_i, t_j) - 2/(n m) sum_{i, j} k(s_i, t_j): it is
    0 in the mean where the domains are the same, so it must be free to be negative. n and m are at least 2.
    """
    m = len(kernel) - n
    within_s, within_t, across = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    pairs_s = (within_s.sum() - within_s.diagonal().sum()) / (n * (n - 1))
    pairs_t = (within_t.sum() - within_t.diagonal().sum()) / (m * (m - 1))
    return pairs_s + pairs_t - 2 * across.mean()
