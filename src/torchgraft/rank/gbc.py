"""Gaussian Bhattacharyya coefficient: how much the classes overlap when each is a round cloud."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from torchgraft.features.mapping import PCA
from torchgraft.rank.base import Evidence

DIMENSIONS = 64


def score(evidence: Evidence) -> float:
    """-sum over ordered pairs of classes of exp(-B_ij), in [-C (C - 1), 0]; 0 is no overlap. Costs that of the PCA.

    B_ij = 1/8 ||m_i - m_j||^2 / s + K/2 ln(s / sqrt(s_i s_j)), s = (s_i + s_j) / 2, is the Bhattacharyya distance of
    two Gaussians with means m and covariances s I in the first K = 64 principal components (fewer where the rank is);
    s_i is the variance within class i, mean over components (Pandy et al., CVPR 2022, arXiv 2111.12780; spherical, not
    diagonal: one number per class is what few samples can carry). The authors' code counts the logarithm once, not K
    times. A class that does not vary (one sample, or copies of it) takes the variance pooled over those that do; where
    none does, classes overlap if their means are equal.
    """
    _, codes, counts = np.unique(evidence.y, return_inverse=True, return_counts=True)
    z = PCA.fit(evidence.z, k=DIMENSIONS).transform(evidence.z).astype(np.float64)
    means = np.stack([z[codes == c].mean(axis=0) for c in range(len(counts))])
    squares = np.bincount(codes, weights=((z - means[codes]) ** 2).sum(axis=1))  # sums over samples and components
    k, varies = max(z.shape[1], 1), squares > 1e-12 * (z**2).sum()
    pooled = squares[varies].sum() / (k * max(counts[varies].sum(), 1))
    variances = np.where(varies, squares / (k * counts), pooled or np.finfo(np.float64).tiny)
    middle = (variances[:, None] + variances) / 2
    volume = k / 2 * (np.log(middle) - (np.log(variances)[:, None] + np.log(variances)) / 2)
    with np.errstate(over="ignore"):  # far apart beyond all numbers: no overlap
        overlap = np.exp(-(cdist(means, means, "sqeuclidean") / (8 * middle) + volume))
    return float(np.trace(overlap) - overlap.sum())
