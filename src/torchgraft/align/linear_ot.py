"""The optimal affine map between two Gaussians (linear optimal transport, Gelbrich 1990; Flamary et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.align._moments import covariance, mean_of, needs_covariance, power, scaling
from torchgraft.align.base import Aligned, Domains, check_range, inductive
from torchgraft.features.mapping import Affine, Identity

applies = needs_covariance


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `ridge`: multiple >= 0 of the mean variance of both domains that is added to the diagonal of their covariances.
    `standardise`: bring each domain to its own mean 0 and variance 1 first.
    """

    ridge: float = 1.0
    standardise: bool = True


def fit(domains: Domains, options: Options) -> Aligned:
    """z_s = m_t + (x_s - m_s) A, z_t = x_t, with A of `transport`."""
    check_range(ridge=(options.ridge, 0, 1e6))
    xs, xt, weights = domains.xs, domains.xt, domains.weights
    if options.standardise:
        first, target = scaling(xs, True, weights), scaling(xt, True)
        own = covariance(xs, scale=first.scale, weights=weights)
        matrix = transport(own, covariance(xt, scale=target.scale), options.ridge)
        return inductive(domains, Affine.of(first.mean, matrix / first.scale[:, None]), target)
    matrix = transport(covariance(xs, weights=weights), covariance(xt), options.ridge)
    return inductive(domains, Affine.of(mean_of(xs, weights), matrix, xt.mean(axis=0)), Identity())


def transport(cs: np.ndarray, ct: np.ndarray, ridge: float) -> np.ndarray:
    """A = C_s^(-1/2) (C_s^(1/2) C_t C_s^(1/2))^(1/2) C_s^(-1/2): the symmetric map of N(0, C_s) to N(0, C_t).

    Of all maps that do so it moves the samples least. Both covariances (D x D) get `ridge` times their mean variance.
    """
    level = ridge * (np.trace(cs) + np.trace(ct)) / (2 * len(cs))
    cs, ct = (c + level * np.eye(len(c)) for c in (cs, ct))
    values, axes = np.linalg.eigh(cs)
    keep = values > 1e-10 * max(values[-1], 1e-300)
    values, axes = values[keep], axes[:, keep]
    half, inverse = (axes * np.sqrt(values)) @ axes.T, (axes / np.sqrt(values)) @ axes.T
    return inverse @ power(half @ ct @ half, 0.5) @ inverse
