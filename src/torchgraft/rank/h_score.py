"""Regularised H-score: how much of the features' variance the classes explain, with a shrunk covariance."""

from __future__ import annotations

import numpy as np

from torchgraft.features.mapping import ledoit_wolf, principal_axes
from torchgraft.rank.base import Evidence


def score(evidence: Evidence) -> float:
    """tr(S_a^-1 (1 - a) S_b) in [0, C - 1]; 0 where the features are constant. Costs N D min(N, D) + min(N, D)^3.

    S is the covariance of the features (D x D), S_b that of the class means, each counted as often as its class has
    samples, S_a = (1 - a) S + a tr(S) / D I with a from Ledoit and Wolf (2004); the inverse is the pseudo-inverse
    where a is 0 (Ibrahim, Ponomareva and Mazumder, "Newer is not always better", ECML PKDD 2022).

    The plain H-score (a = 0; Bao et al., ICIP 2019) is not used: where D reaches N it is C - 1 for any features at
    all, noise too, and below that it grows with D alone.
    """
    z, (_, codes, counts) = (
        evidence.z.astype(np.float64),
        np.unique(evidence.y, return_inverse=True, return_counts=True),
    )
    z -= z.mean(axis=0)
    axes, variances = principal_axes(z)
    shrinkage, level = ledoit_wolf(z, variances), variances.sum() / z.shape[1]
    means = np.stack([z[codes == c].mean(axis=0) for c in range(len(counts))])
    between = (counts / len(z)) @ (means @ axes) ** 2  # S_b along each axis; the axes span every mean
    shrunk = (1 - shrinkage) * variances + shrinkage * level
    kept = shrunk > 1e-11 * shrunk.max(initial=0.0)
    return float(((1 - shrinkage) * between[kept] / shrunk[kept]).sum())
