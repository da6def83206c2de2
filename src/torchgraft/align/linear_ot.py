"""The optimal affine map between two Gaussians (linear optimal transport, Gelbrich 1990; Flamary et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from torchgraft.align._moments import chained, covariance, power, standardised
from torchgraft.align.base import Aligned, Domains, always, check_range, inductive
from torchgraft.features.mapping import Affine, Identity

applies = always


@dataclass(frozen=True, kw_only=True)
class Options:
    """What can be set.

    `ridge`: share >= 0 of the mean variance of both domains that is added to the diagonal of their covariances.
    `standardise`: bring each domain to its own mean 0 and variance 1 first.
    """

    ridge: float = 0.1
    standardise: bool = True


def fit(domains: Domains, options: Options) -> Aligned:
    """z_s = m_t + (x_s - m_s) A, z_t = x_t, with A of `transport`."""
    check_range(ridge=(options.ridge, 0, 1e6))
    xs, first_s = standardised(domains.xs, options.standardise)
    xt, first_t = standardised(domains.xt, options.standardise)
    source = chained(*first_s, Affine.of(xs.mean(axis=0), transport(xs, xt, options.ridge), xt.mean(axis=0)))
    return inductive(domains, source, chained(*first_t) if first_t else Identity())


def transport(xs: np.ndarray, xt: np.ndarray, ridge: float) -> np.ndarray:
    """A = C_s^(-1/2) (C_s^(1/2) C_t C_s^(1/2))^(1/2) C_s^(-1/2): the symmetric map of N(0, C_s) to N(0, C_t).

    Of all maps that do so it moves the samples least. Both covariances get `ridge` times their mean variance.
    """
    cs, ct = covariance(xs), covariance(xt)
    level = ridge * (np.trace(cs) + np.trace(ct)) / (2 * len(cs))
    cs.flat[:: len(cs) + 1] += level
    ct.flat[:: len(ct) + 1] += level
    values, axes = np.linalg.eigh(cs)
    keep = values > 1e-10 * max(values[-1], 1e-300)
    values, axes = values[keep], axes[:, keep]
    half, inverse = (axes * np.sqrt(values)) @ axes.T, (axes / np.sqrt(values)) @ axes.T
    return inverse @ power(half @ ct @ half, 0.5) @ inverse
