"""PARC: whether samples with alike features have the same label, as a rank correlation over all pairs."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from torchgraft.features.mapping import PCA
from torchgraft.rank.base import Evidence

DIMENSIONS = 32
SAMPLES = 3000


def score(evidence: Evidence) -> float:
    """100 Spearman(1 - corr(z_i, z_j), 1 - corr(y_i, y_j)) over pairs i < j, in [-100, 100]; NaN for one class.

    corr is Pearson's, between two samples: of their first 32 principal components, each brought to variance 1, and of
    their one-hot labels (Bolya, Mittapalli and Hoffman, NeurIPS 2021, arXiv 2111.06977). The latter has two values,
    alike or not, so that Spearman's is Pearson's between the ranks of the former and "not alike". More than 3000 rows
    are drawn from, by `evidence.seed`. Costs N^2 (32 + log N) and the PCA. NaN too below rank 2.

    Pearson's takes the mean over components off each row, so the score depends on the components' signs; they are set
    as in `PCA`.
    """
    rows = np.sort(np.random.default_rng(evidence.seed).permutation(len(evidence.y))[:SAMPLES])
    z, y = evidence.z[rows], evidence.y[rows]
    z = PCA.fit(z, k=DIMENSIONS, whiten=True).transform(z).astype(np.float64)
    if z.shape[1] < 2 or (y == y[0]).all():
        return float("nan")
    z -= z.mean(axis=1, keepdims=True)
    z /= np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    pairs = np.triu_indices(len(y), 1)
    apart = (y[:, None] != y)[pairs]
    if apart.all():  # every sample is a class
        return float("nan")
    return float(100 * np.corrcoef(rankdata(-(z @ z.T)[pairs]), apart)[0, 1])
