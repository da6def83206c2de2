"""Geodesic flow kernel: all subspaces on the way from source to target (GFK, Gong et al., CVPR 2012)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.align._moments import scaling
from torchgraft.align._subspace import leading_axes
from torchgraft.align.base import Aligned, Domains, always, check_range, inductive
from torchgraft.features.mapping import Affine

applies = always


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `k`: axes of each domain (at least 1; cut at the smaller of the two ranks and at half the features).
    `standardise`: bring each domain to its own mean 0 and variance 1 first.
    """

    k: int = 20
    standardise: bool = True


def fit(domains: Domains, options: Options) -> Aligned:
    """Rows z = (x - m) W with each domain's own mean m and W W^T = G: products of them are those of the kernel."""
    check_range(k=(options.k, 1, 1e9))
    first_s = scaling(domains.xs, options.standardise, domains.weights)
    first_t = scaling(domains.xt, options.standardise)
    k = max(min(options.k, domains.dimension // 2), 1)
    axes_s = leading_axes(domains.xs, k, first_s.scale, domains.weights)
    axes_t = leading_axes(domains.xt, k, first_t.scale)
    k = min(axes_s.shape[1], axes_t.shape[1])
    root = flow_root(axes_s[:, :k], axes_t[:, :k])
    source, target = (Affine.of(first.mean, root / first.scale[:, None]) for first in (first_s, first_t))
    return inductive(domains, source, target)


def flow_root(axes_s: np.ndarray, axes_t: np.ndarray) -> np.ndarray:
    """W (D x 2k) with W W^T = G, the integral over t in [0, 1] of Phi(t) Phi(t)^T along the geodesic P_s -> P_t.

    P_s^T P_t = U cos(theta) V^T; R = (I - P_s P_s^T) P_t V / sin(theta) spans what the target has beside the source.
    G = [P_s U, R] [[L1, -L2], [-L2, L3]] [P_s U, R]^T with L1, L3 = (1 +- sin(2 theta) / (2 theta)) / 2 and
    L2 = (cos(2 theta) - 1) / (4 theta), each diagonal: its root is one of 2 x 2 blocks. Where theta = 0, G = P_s P_s^T.
    """
    left, cosines, right = np.linalg.svd(axes_s.T @ axes_t)
    beside = (axes_t - axes_s @ (axes_s.T @ axes_t)) @ right.T
    sines = np.linalg.norm(beside, axis=0)
    theta = np.arctan2(sines, cosines)  # exact for small angles, where arccos is not
    beside = beside / np.where(sines > 1e-12, sines, np.inf)
    wave = np.sinc(2 * theta / np.pi)  # sin(2 theta) / (2 theta), 1 at 0
    cross = np.sin(theta) * np.sinc(theta / np.pi) / 2  # (1 - cos(2 theta)) / (4 theta), 0 at 0
    blocks = np.empty((len(theta), 2, 2))
    blocks[:, 0, 0], blocks[:, 1, 1] = (1 + wave) / 2, (1 - wave) / 2
    blocks[:, 0, 1] = blocks[:, 1, 0] = cross
    values, vectors = np.linalg.eigh(blocks)
    roots = (vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]) @ vectors.transpose(0, 2, 1)
    start = axes_s @ left
    return np.hstack(
        [start * roots[:, 0, 0] + beside * roots[:, 1, 0], start * roots[:, 0, 1] + beside * roots[:, 1, 1]]
    )
