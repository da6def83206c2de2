"""Correlation alignment: the source takes the covariance of the target (CORAL, Sun, Feng and Saenko, AAAI 2016)."""

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

    `ridge`: lambda > 0, added to the diagonal of both covariances (1 in the paper, for standardised features).
    `standardise`: bring each domain to its own mean 0 and variance 1 first, as the paper does; the means then agree.
    `align_means`: without standardising, move the source onto the target's mean too (the paper's formula does not).
    """

    ridge: float = 1.0
    standardise: bool = True
    align_means: bool = True


def fit(domains: Domains, options: Options) -> Aligned:
    """z_s = (x_s - m_s) A + m_t and z_t = x_t, with A of `recolouring` and the means m; covariances with N - 1."""
    check_range(ridge=(options.ridge, 1e-12, 1e12))
    xs, xt, weights = domains.xs, domains.xt, domains.weights
    if options.standardise:
        first, target = scaling(xs, True, weights), scaling(xt, True)
        matrix = recolouring(xs, xt, options.ridge, (first.scale, target.scale), weights)
        return inductive(domains, Affine.of(first.mean, matrix / first.scale[:, None]), target)
    mean, matrix = mean_of(xs, weights), recolouring(xs, xt, options.ridge, weights=weights)
    offset = xt.mean(axis=0) if options.align_means else mean @ matrix
    return inductive(domains, Affine.of(mean, matrix, offset), Identity())


def recolouring(
    xs: np.ndarray,
    xt: np.ndarray,
    ridge: float = 1.0,
    scales: tuple[np.ndarray | None, np.ndarray | None] = (None, None),
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """A = (C_s + ridge I)^(-1/2) (C_t + ridge I)^(1/2), D x D, of rows whose columns are divided by `scales` (D,).

    `weights` (Ns,) are those of the source's rows.
    """
    return power(covariance(xs, ridge, scales[0], weights), -0.5) @ power(covariance(xt, ridge, scales[1]), 0.5)


def asymmetric_kernels(xs: np.ndarray, xt: np.ndarray, ridge: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """The paper's classifier: kernels X_s A X_s^T to fit on (Ns x Ns), and X_t A^T X_s^T to predict with (Nt x Ns).

    A moves the source on one side of the product alone, so the first is not symmetric; an SVM takes it as it is
    (`SVC(kernel="precomputed")`). The table of the paper comes from this form, not from rows X_s A.
    """
    moved = xs @ recolouring(xs, xt, ridge)
    return moved @ xs.T, xt @ moved.T
